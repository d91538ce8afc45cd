package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", path))
	require.NoError(t, err)
	return string(raw)
}

func TestDocsNameEveryOutput(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	readme := read(t, "README.md")
	for prefix, tpl := range map[string]template{"| `GitLab-<env>` |": gitlab, "| `Deploy-<env>` |": deploy} {
		_, row, found := strings.Cut(readme, prefix)
		require.True(t, found, "the table of outputs has no row %s", prefix)
		row, _, _ = strings.Cut(row, "\n")
		var documented, defined []string
		for _, match := range regexp.MustCompile("`([A-Za-z0-9]+)`").FindAllStringSubmatch(row, -1) {
			documented = append(documented, match[1])
		}
		for name := range tpl.Outputs {
			defined = append(defined, name)
		}
		assert.ElementsMatch(t, defined, documented)
	}
}

func TestDocsNameMakeTargetsThatExist(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, path := range []string{"README.md", "docs/operations.md"} {
		// In code only: a sentence may make other things.
		for _, match := range regexp.MustCompile("(?m)(?:`|\\$\\()make ([a-z]+)|^ *make ([a-z]+)$").FindAllStringSubmatch(read(t, path), -1) {
			target := match[1] + match[2]
			assert.Regexp(t, `(?m)^`+target+`:`, makefile, "%s names make %s", path, target)
		}
	}
	for _, target := range []string{"demo", "up", "down", "test", "check", "synth", "help"} {
		assert.Contains(t, read(t, "README.md"), "make "+target)
	}
}

// TestDocsLinkToWhatExists follows every relative link of the documents.
func TestDocsLinkToWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	documents, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	records, err := filepath.Glob("../docs/adr/*.md")
	require.NoError(t, err)
	links := 0
	for _, document := range append(append(documents, records...), "../README.md", "../README.ja.md", "../CONTRIBUTING.md", "../SECURITY.md", "../CHANGELOG.md") {
		raw, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(raw), -1) {
			links++
			_, err := os.Stat(filepath.Join(filepath.Dir(document), match[1]))
			assert.NoError(t, err, "%s links to %s", document, match[1])
		}
	}
	assert.NotZero(t, links)
}

func TestDocsListEveryDecision(t *testing.T) {
	index := read(t, "docs/adr/README.md")
	records, err := filepath.Glob("../docs/adr/0*.md")
	require.NoError(t, err)
	require.NotEmpty(t, records)
	for _, path := range records {
		name := filepath.Base(path)
		assert.Contains(t, index, "("+name+")")
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, heading := range []string{"**Context.**", "**Decision.**", "**Why.**", "**Consequences.**", "**Not taken.**"} {
			assert.Contains(t, string(raw), heading, name)
		}
	}
}
