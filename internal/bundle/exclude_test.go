package bundle

import (
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tarLists are the members that GNU tar would pack, as the script called it.
func tarLists(t *testing.T, root string, excludes []string) []string {
	t.Helper()
	args := []string{"-c", "-v", "-f", "/dev/null", "--sort=name", "--quoting-style=literal", "--exclude=.git"}
	for _, pattern := range excludes {
		args = append(args, "--exclude="+pattern)
	}
	cmd := exec.Command("tar", append(args, "-C", root, ".")...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%q: %s", excludes, out)
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func weList(t *testing.T, root string, excludes []string) []string {
	t.Helper()
	entries, _ := headers(t, pack(t, root, Options{Exclude: excludes}))
	return names(entries)
}

var excludable = map[string]string{
	"appspec.yml": "", "notes.txt": "", "a/notes.txt": "", "a/b/notes.md": "", "a/b.txt": "", "ab": "", "a*b": "", "[x]": "", "a-b": "",
	".git/x": "", "a/.git": "", ".env": "", "a/.env.local": "", "node_modules/x/y.js": "", "a/node_modules/z.js": "",
	"b/a": "", "B/A": "", "c/日本.txt": "", "back\\slash": "", "]": "", "d/d/d": "", "0": "", "1 2": "", "back": "",
}

func TestS13_ExcludeMeansWhatTarsMeans(t *testing.T) {
	root := plant(t, excludable)
	for _, pattern := range []string{
		"notes.txt", "./notes.txt", "/notes.txt", "a/notes.txt", "a", "./a", "a/", "a/*", "*.txt", "*/b*", "a*b", `a\*b`, "a[*]b", "[x]", `\[x]`,
		"[[]x]", "[!a-z]*", "[^a-z]*", "[[:upper:]]", "[[:digit:]]*", "[[:nonsense:]]", "[b-a]", "[a", "a]", "[]]", "[]a]", "[!]a]*", "[a-]*", "[-a]*",
		`back\slash`, `back\\slash`, `back\`, `*\`, "?", "??", "b?a", "*?*", "", ".", "./.", "..", "*", "./*", "*/*", ".*", ".e*", "**", "*a*a*",
		"node_modules", "node_modules/x", "x/y.js", "[.]env", "[[.-.]]", "a[[.-.]]b", "[[=a=]]", "日本.txt", "??????.txt", "[日]*", "d/d", "D", "1 2", `[\]]`, `[a\-z]-b`,
		"[a-", "[[:alpha:]", "[[.a.]-c]", "[/]", "a[/]b*", "a?b.txt", "a?b*txt",
	} {
		if p, err := compile([]string{pattern}); err == nil && p.match(".") {
			continue // of these tar itself says nothing: see below
		}
		assert.Equal(t, tarLists(t, root, []string{pattern}), weList(t, root, []string{pattern}), "--exclude %q", pattern)
	}
	assert.Equal(t, tarLists(t, root, []string{"*.txt", "a/b", "[0-9]"}), weList(t, root, []string{"*.txt", "a/b", "[0-9]"}))
}

func TestS13_RandomPatternsExcludeWhatTarExcludes(t *testing.T) {
	root := plant(t, excludable)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	words := append(strings.Split("a b ab / ./ * ? [ ] ! ^ - \\ . [a-b] [!a] [[:alpha:]] txt notes node_modules git .git 本 d", " "), slices.Collect(maps.Keys(excludable))...)
	for range 150 {
		pattern := ""
		for range 1 + random.IntN(4) {
			pattern += words[random.IntN(len(words))]
		}
		if p, err := compile([]string{pattern}); err == nil && p.match(".") {
			continue
		}
		if !assert.Equal(t, tarLists(t, root, []string{pattern}), weList(t, root, []string{pattern}), "--exclude %q", pattern) {
			return
		}
	}
}

func TestS13_APatternThatMatchesTheFolderLeavesNothing(t *testing.T) {
	root := plant(t, excludable)
	for _, pattern := range []string{".", "*", "?", "**", ".*", "[!a]"} {
		tree, err := Scan(root, Options{Exclude: []string{pattern}})
		require.NoError(t, err)
		assert.Zero(t, tree.Files(), "--exclude %q", pattern)
		assert.True(t, tree.Excluded("appspec.yml"), "--exclude %q", pattern)
	}
}

func TestS13_ItIsKnownWhetherAPathIsExcluded(t *testing.T) {
	tree, err := Scan(plant(t, excludable), Options{Exclude: []string{"scripts", "*.md", "a/b"}})
	require.NoError(t, err)
	for path, want := range map[string]bool{
		"scripts/start.sh": true, "/scripts/start.sh": true, "./scripts/start.sh": true, ".//scripts": true, "x/../scripts/y": true,
		"notes.md": true, "a/b/c": true, "x/a/b": true, "a": false, "a/bc": false, "script": false, ".": false, "": false, "/": false,
		".git": true, "x/.git/config": true, ".gitignore": false,
	} {
		assert.Equal(t, want, tree.Excluded(path), path)
	}
}

// A matcher that goes back would take longer than the universe is old.
func TestS13_NoPatternTakesForEver(t *testing.T) {
	p, err := compile([]string{strings.Repeat("*a", 60) + "*b"})
	require.NoError(t, err)
	began := time.Now()
	assert.False(t, p.match("./"+strings.Repeat("a", 4000)))
	assert.Less(t, time.Since(began), 5*time.Second)
}
