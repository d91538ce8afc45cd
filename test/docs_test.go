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

// documents are all pages that people write, by their paths from the root.
func documents(t *testing.T) []string {
	t.Helper()
	pages := []string{"README.md", "README.ja.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", pattern))
		require.NoError(t, err)
		require.NotEmpty(t, found, pattern)
		for _, page := range found {
			pages = append(pages, strings.TrimPrefix(page, "../"))
		}
	}
	return pages
}

func TestDocsNameMakeTargetsThatExist(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, path := range documents(t) {
		if path == "CHANGELOG.md" { // which names what is gone
			continue
		}
		// In code only: a sentence may make other things.
		for _, match := range regexp.MustCompile("(?m)(?:`|\\$\\()make ([a-z][a-z-]*)|^ *make ([a-z-]+)$").FindAllStringSubmatch(read(t, path), -1) {
			target := match[1] + match[2]
			is := regexp.MustCompile(`(?m)^([a-z-]+ )*` + target + `( [a-z-]+)*:`).MatchString(makefile)
			assert.True(t, is, "%s names make %s", path, target)
		}
	}
	for _, target := range []string{"demo", "up", "down", "test", "check", "synth", "help"} {
		assert.Contains(t, read(t, "README.md"), "make "+target)
	}
}

// TestDocsTablesNameCommandsThatExist is about the tables whose rows begin with commands of
// scripts/ops.
func TestDocsTablesNameCommandsThatExist(t *testing.T) {
	pages, err := filepath.Glob("../docs/reference/ops_*.md")
	require.NoError(t, err)
	var commands []string
	for _, page := range pages {
		commands = append(commands, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(page), "ops_"), ".md"))
	}
	for path, header := range map[string]string{"README.md": "| command | does |", "README.ja.md": "| コマンド |", "docs/operations.md": "| command |"} {
		_, table, found := strings.Cut(read(t, path), "\n"+header)
		require.True(t, found, path)
		table, _, _ = strings.Cut(table, "\n\n")
		named := 0
		for _, row := range regexp.MustCompile(`(?m)^\| (`+"`"+`[^|]*) \|`).FindAllStringSubmatch(table, -1) {
			for _, match := range regexp.MustCompile("`([a-z][a-z-]*)").FindAllStringSubmatch(row[1], -1) {
				named++
				assert.Contains(t, commands, match[1], "%s names a command", path)
			}
		}
		assert.Greater(t, named, 10, path)
	}
}

// TestDocsLinkToWhatExists follows every relative link of the documents, and its anchor to a
// heading: https://docs.github.com/en/get-started/writing-on-github/getting-started-with-writing-and-formatting-on-github/basic-writing-and-formatting-syntax#section-links
func TestDocsLinkToWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(?:#([^):]+))?\)`)
	links, anchors := 0, 0
	for _, document := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(read(t, document), -1) {
			links++
			to := filepath.Join(filepath.Dir(document), match[1])
			if match[1] == "" {
				to = document
			}
			if _, err := os.Stat(filepath.Join("..", to)); !assert.NoError(t, err, "%s links to %s", document, match[1]) || match[2] == "" {
				continue
			}
			anchors++
			assert.Contains(t, headings(t, to), match[2], "%s links to %s", document, match[0])
		}
	}
	assert.Greater(t, links, 100)
	assert.Greater(t, anchors, 20)
}

// headings are the anchors of a page's headings.
func headings(t *testing.T, page string) (anchors []string) {
	t.Helper()
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(read(t, page), -1) {
		words := regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(match[1]), "")
		anchors = append(anchors, strings.ReplaceAll(words, " ", "-"))
	}
	return anchors
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
