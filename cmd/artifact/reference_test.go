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
	root := newRoot(program{})
	root.DisableAutoGenTag = true
	root.InitDefaultHelpCmd()
	require.NoError(t, doc.GenMarkdownTree(root, made))
	if *update {
		require.NoError(t, os.MkdirAll(pages, 0o755))
		require.NoError(t, removePages(pages))
		require.NoError(t, os.CopyFS(pages, os.DirFS(made)))
	}
	want, err := filepath.Glob(filepath.Join(made, "*.md"))
	require.NoError(t, err)
	have, err := filepath.Glob(filepath.Join(pages, "artifact*.md"))
	require.NoError(t, err)
	require.Len(t, have, len(want), "make it with: go test ./cmd/artifact -run Golden -update")
	for _, page := range want {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(pages, filepath.Base(page)))
		require.NoError(t, err)
		assert.Equal(t, string(text), string(got), "%s is not what the commands say: go test ./cmd/artifact -run Golden -update", filepath.Base(page))
	}
}

func removePages(folder string) error {
	old, err := filepath.Glob(filepath.Join(folder, "artifact*.md"))
	for _, page := range old {
		if err == nil {
			err = os.Remove(page)
		}
	}
	return err
}
