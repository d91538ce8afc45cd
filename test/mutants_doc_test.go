package test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/mutate"
)

// TestGolden_theDocsListEveryAcceptedMutant compares docs/mutants.md with the
// list, from which it is made.
func TestGolden_theDocsListEveryAcceptedMutant(t *testing.T) {
	list, err := mutate.Accepted()
	require.NoError(t, err)
	got := mutate.Page(list)
	path := "../docs/mutants.md"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "make it with: go test ./test -run Golden -update")
	assert.Equal(t, got, string(want), "docs/mutants.md is not what the list says: go test ./test -run Golden -update")
}
