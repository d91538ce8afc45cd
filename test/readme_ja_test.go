package test

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// outline is what both languages of a document have in common.
type outline struct {
	Headings  []string // their signs only
	Steps     []string // the numbers of lists, and the bullets
	TableRows int
	Blocks    []string // of code, word for word
	Code      []string // in the text
	Links     []string // where to
	Figures   []string // such as 410 and 18.11.13
}

var (
	fencedBlock = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	inlineCode  = regexp.MustCompile("`[^`]+`")
	linkTarget  = regexp.MustCompile(`\]\(([^)]+)\)`)
	figure      = regexp.MustCompile(`[0-9]+(?:[.,-][0-9]+)*`)
)

// outlineOf leaves out the link to the other language, and what has no fixed order in a
// sentence is sorted.
func outlineOf(text string) outline {
	var o outline
	o.Blocks = fencedBlock.FindAllString(text, -1)
	text = fencedBlock.ReplaceAllString(text, "")
	o.Code = inlineCode.FindAllString(text, -1)
	prose := inlineCode.ReplaceAllString(text, "")
	for _, match := range linkTarget.FindAllStringSubmatch(text, -1) {
		if !slices.Contains([]string{"README.md", "README.ja.md"}, match[1]) {
			o.Links = append(o.Links, match[1])
		}
	}
	o.Figures = figure.FindAllString(linkTarget.ReplaceAllString(prose, ""), -1)
	for line := range strings.SplitSeq(text, "\n") {
		first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.Trim(first, "#") == "" && first != "":
			o.Headings = append(o.Headings, first)
		case first == "-" || strings.HasSuffix(first, ".") && strings.Trim(first, "0123456789.") == "":
			o.Steps = append(o.Steps, first)
		case strings.HasPrefix(first, "|"):
			o.TableRows++
		}
	}
	slices.Sort(o.Code)
	slices.Sort(o.Links)
	slices.Sort(o.Figures)
	return o
}

// TestTheJapaneseReadmeIsInStep: who changes one README changes the other, too.
func TestTheJapaneseReadmeIsInStep(t *testing.T) {
	english, japanese := outlineOf(read(t, "README.md")), outlineOf(read(t, "README.ja.md"))
	require.NotEmpty(t, english.Headings)
	require.NotEmpty(t, english.Blocks)
	require.NotEmpty(t, english.Links)
	diff, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: english.lines(), FromFile: "README.md", B: japanese.lines(), ToFile: "README.ja.md", Context: 1,
	})
	require.NoError(t, err)
	assert.Empty(t, diff, "README.ja.md is not in step with README.md")
	assert.True(t, reflect.DeepEqual(english, japanese))
}

// lines are those of an outline for a comparison that people read.
func (o outline) lines() []string {
	var lines []string
	for _, part := range [][]string{o.Headings, o.Steps, {fmt.Sprint(o.TableRows, " rows of tables")}, o.Blocks, o.Code, o.Links, o.Figures} {
		lines = append(lines, difflib.SplitLines(strings.Join(part, "\n"))...)
	}
	return lines
}

// TestReadmesThatAreNotInStepAreTold: each part of the comparison notices something.
func TestReadmesThatAreNotInStepAreTold(t *testing.T) {
	const text = "# A\n\n## B\n\nSee [c](d.md) and `e`, 12 of them.\n\n1. f\n- g\n\n| h |\n|---|\n| i |\n\n```\nj\n```\n"
	require.Equal(t, outlineOf(text), outlineOf(strings.NewReplacer("A", "あ", "See", "い", "f", "う").Replace(text)))
	for from, to := range map[string]string{
		"## B": "### B", "1. f": "f", "- g": "g", "| i |\n": "", "j": "k", "d.md": "x.md", "`e`": "`x`", "12": "13",
	} {
		assert.NotEqual(t, outlineOf(text), outlineOf(strings.Replace(text, from, to, 1)), "%q as %q", from, to)
	}
}
