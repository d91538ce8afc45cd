package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// faultTest is the name of a test that lets a command meet a fault:
// "S8 upgrade | what went wrong | what happened".
var faultTest = regexp.MustCompile(`(?m)^@test "(S[0-9]+) ([^|"]+) \| ([^|]+) \| (.+)" \{$`)

// TestGolden_theDocsListEveryFault compares docs/faults.md with the names of the tests,
// from which it is made.
func TestGolden_theDocsListEveryFault(t *testing.T) {
	files, err := filepath.Glob("scripts/*.bats")
	require.NoError(t, err)
	slices.Sort(files)
	var text strings.Builder
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		text.Write(raw)
	}
	got := faultsDocument(t, text.String())
	path := "../docs/faults.md"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "make it with: go test ./test -run Golden -update")
	assert.Equal(t, got, string(want), "docs/faults.md is not what the tests say: go test ./test -run Golden -update")
}

const faultsHeader = `# What was tried against the operator's commands

Made from the names of the tests in [test/scripts](../test/scripts), each of which lets a command meet the fault and asserts
what happened: ` + "`go test ./test -run Golden -update`" + ` writes it anew. "any operation" is what holds for each command that
runs on a host.

| row | command | what went wrong | what happened |
|---|---|---|---|
`

// faultsDocument returns the table of all fault tests in a text, by command.
func faultsDocument(t *testing.T, tests string) string {
	matches := faultTest.FindAllStringSubmatch(tests, -1)
	require.NotEmpty(t, matches, "no test is named by a fault")
	// A name with pipes that the pattern does not read would be missing in silence.
	named := regexp.MustCompile(`(?m)^@test ".* \| .*$`).FindAllString(tests, -1)
	require.Len(t, matches, len(named), "want \"row command | what went wrong | what happened\"")
	slices.SortStableFunc(matches, func(a, b []string) int { return strings.Compare(a[2], b[2]) })
	var out strings.Builder
	out.WriteString(faultsHeader)
	seen := map[string]bool{}
	for _, match := range matches {
		row := fmt.Sprintf("| %s | %s | %s | %s |\n", match[1], match[2], match[3], strings.ReplaceAll(match[4], "|", `\|`))
		assert.False(t, seen[row], "two tests of one name: %s", row)
		seen[row] = true
		out.WriteString(row)
	}
	return out.String()
}
