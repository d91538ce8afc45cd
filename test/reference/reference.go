// Package reference keeps docs/reference in step with the commands' own help.
package reference

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Compare compares the pages of a program's commands in the folder pages with the
// commands, or writes them with update.
func Compare(t *testing.T, root *cobra.Command, pages string, update bool) {
	t.Helper()
	made := t.TempDir()
	root.DisableAutoGenTag = true
	root.InitDefaultHelpCmd()
	require.NoError(t, doc.GenMarkdownTree(root, made))
	have := pagesIn(t, pages, root.Name())
	if update {
		for _, page := range have {
			require.NoError(t, os.Remove(page))
		}
		require.NoError(t, os.CopyFS(pages, os.DirFS(made)))
		have = pagesIn(t, pages, root.Name())
	}
	want := pagesIn(t, made, root.Name())
	require.NotEmpty(t, want)
	require.Len(t, have, len(want), "make them with: go test ./cmd/%s -run Golden -update", root.Name())
	for _, page := range want {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(pages, filepath.Base(page)))
		require.NoError(t, err)
		assert.Equal(t, string(text), string(got), "%s is not what the commands say: go test ./cmd/%s -run Golden -update", filepath.Base(page), root.Name())
	}
}

func pagesIn(t *testing.T, folder, program string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, program+"*.md"))
	require.NoError(t, err)
	return found
}
