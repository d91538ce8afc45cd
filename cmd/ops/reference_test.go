package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra/doc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite docs/reference")

// TestGolden_theReferenceIsMadeOfTheCommands compares the pages of docs/reference
// with the commands' own help.
func TestGolden_theReferenceIsMadeOfTheCommands(t *testing.T) {
	const pages = "../../docs/reference"
	made := t.TempDir()
	root := (&program{}).root()
	root.DisableAutoGenTag = true
	root.InitDefaultHelpCmd()
	require.NoError(t, doc.GenMarkdownTree(root, made))
	want, err := filepath.Glob(filepath.Join(made, "*.md"))
	require.NoError(t, err)
	if *update {
		old, err := filepath.Glob(filepath.Join(pages, "ops*.md"))
		require.NoError(t, err)
		for _, page := range old {
			require.NoError(t, os.Remove(page))
		}
		require.NoError(t, os.CopyFS(pages, os.DirFS(made)))
	}
	have, err := filepath.Glob(filepath.Join(pages, "ops*.md"))
	require.NoError(t, err)
	require.Len(t, have, len(want), "make it with: go test ./cmd/ops -run Golden -update")
	for _, page := range want {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(pages, filepath.Base(page)))
		require.NoError(t, err)
		assert.Equal(t, string(text), string(got), "%s is not what the commands say: go test ./cmd/ops -run Golden -update", filepath.Base(page))
	}
}
