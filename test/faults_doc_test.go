package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// faultRow is the name of a sub-test, or of a row of a table of tests, that lets a command
// meet a fault: "S8 upgrade | what went wrong | what happened". beginsLikeOne is what a name
// that the first does not read must not be: it would be missing in silence.
var (
	faultRow      = regexp.MustCompile(`^(S[0-9]+) ([^|]+) \| ([^|]+) \| ([^|]+)$`)
	beginsLikeOne = regexp.MustCompile(`^S[0-9]+ [^|]+ \| `)
)

// TestGolden_theDocsListEveryFault compares docs/faults.md with the names and
// comments of the tests, from which it is made.
func TestGolden_theDocsListEveryFault(t *testing.T) {
	got := faultsDocument(t, faultRows(t)) + functionsDocument(t)
	path := "../docs/faults.md"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "make it with: go test ./test -run Golden -update")
	assert.Equal(t, got, string(want), "docs/faults.md is not what the tests say: go test ./test -run Golden -update")
}

// faultRows returns the names of tests of the operator's program that are fault rows.
func faultRows(t *testing.T) []string {
	var rows []string
	for _, root := range []string{"../cmd/host", "../cmd/ops", "../internal"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if literal, is := n.(*ast.BasicLit); is && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil && beginsLikeOne.MatchString(text) {
						rows = append(rows, text)
					}
				}
				return true
			})
			return nil
		}))
	}
	return rows
}

const faultsHeader = `# What was tried, and what happened

What was tried against the operator's commands stands here first, and then [what was tried against the
functions](#the-functions).

## The operator's commands

Made from the names of the tests in [cmd/ops](../cmd/ops), [cmd/host](../cmd/host) and [internal](../internal), each of which lets
a command meet the fault and asserts what happened: ` + "`go test ./test -run Golden -update`" + ` writes it anew. "any operation" is what holds for each command that
runs on a host.

| row | command | what went wrong | what happened |
|---|---|---|---|
`

// faultsDocument returns the table of all fault tests, by command.
func faultsDocument(t *testing.T, rows []string) string {
	require.NotEmpty(t, rows, "no test is named by a fault")
	var matches [][]string
	for _, row := range rows {
		match := faultRow.FindStringSubmatch(row)
		require.NotNil(t, match, "got %q, want \"row command | what went wrong | what happened\"", row)
		matches = append(matches, match)
	}
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

// promises are what the functions and the program of jobs keep whatever goes wrong, by the word that a
// test names one by.
var promises = []struct{ word, text string }{
	{"order", "One order for a group: its accepted uploads, by the time of their upload"},
	{"hands", "What other hands deploy is part of that order"},
	{"operator", "An operator's order goes the way of an upload"},
	{"once", "An upload is deployed exactly once"},
	{"end", "A final state always comes, and is true"},
	{"words", "States mean what they say, and a wait is as long as the configuration says"},
	{"large", "A group with hundreds of deployments gets its upload"},
	{"live", "What is live never expires"},
	{"alarms", "Somebody is told in time"},
	{"trust", "A token decides who may deploy, and nothing else does"},
	{"whole", "A job's artifact arrives whole or not at all, and the job tells how it ends"},
	{"hard", "The simulation is as hard as reality"},
	{"tests", "The tests can fail"},
}

// faultDirective is a line in the comment of a Go test that proves a promise:
// "//fault:order what went wrong | what happened".
var faultDirective = regexp.MustCompile(`^//fault:([a-z]+) ([^|]+) \| ([^|]+)$`)

const functionsHeader = `
## The functions

Made from the lines ` + "`//fault:`" + ` in the comments of the tests, in the same way: each row names the test that lets the functions,
or the program of jobs, meet the fault and asserts what happened. ` + "`go test ./lambda/... ./cmd/... ./internal/... ./test/... -run NAME`" + ` runs it. What each promise says to the
word, and why no more can be known, is in [ADR 0036](adr/0036-what-cannot-be-known.md).
`

// functionsDocument returns the tables of the functions, one for each promise.
func functionsDocument(t *testing.T) string {
	rows := map[string][]string{}
	for _, root := range []string{"../lambda", "../cmd", "../internal", "."} {
		require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			link := strings.TrimPrefix(filepath.ToSlash(filepath.Join("test", path)), "test/../")
			proofs := map[*ast.Comment]bool{}
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok || f.Doc == nil || !strings.HasPrefix(f.Name.Name, "Test") {
					continue
				}
				for _, comment := range f.Doc.List {
					if !strings.HasPrefix(comment.Text, "//fault:") {
						continue
					}
					proofs[comment] = true
					match := faultDirective.FindStringSubmatch(comment.Text)
					if assert.NotNil(t, match, "%s: %s: want //fault:PROMISE what went wrong | what happened", path, comment.Text) {
						rows[match[1]] = append(rows[match[1]], fmt.Sprintf("| %s | %s | [%s](../%s) |\n", match[2], match[3], f.Name.Name, link))
					}
				}
			}
			for _, group := range file.Comments {
				for _, comment := range group.List {
					assert.False(t, strings.HasPrefix(comment.Text, "//fault:") && !proofs[comment], "%s: %s belongs to no test", path, comment.Text)
				}
			}
			return nil
		}))
	}
	var out strings.Builder
	out.WriteString(functionsHeader)
	for _, promise := range promises {
		assert.NotEmpty(t, rows[promise.word], "no test proves: %s", promise.text)
		fmt.Fprintf(&out, "\n### %s\n\n| what went wrong | what happened | test |\n|---|---|---|\n", promise.text)
		for i, row := range rows[promise.word] {
			assert.NotContains(t, rows[promise.word][:i], row, "two rows of one test")
			out.WriteString(row)
		}
		delete(rows, promise.word)
	}
	assert.Empty(t, rows, "promises that nobody made")
	return out.String()
}
