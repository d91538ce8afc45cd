package main

import (
	"flag"
	"testing"

	"gitlab-codedeploy/test/reference"
)

var update = flag.Bool("update", false, "rewrite docs/reference")

// TestGolden_theReferenceIsMadeOfTheCommands compares the pages of docs/reference
// with the commands' own help.
func TestGolden_theReferenceIsMadeOfTheCommands(t *testing.T) {
	reference.Compare(t, (&program{}).command(), "../../docs/reference", *update)
}
