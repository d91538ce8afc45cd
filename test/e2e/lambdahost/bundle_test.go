package lambdahost

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gobuild"
)

// bundle zips the files; bootstrap is executable.
func bundle(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		header := &zip.FileHeader{Name: name}
		header.SetMode(0o644)
		if name == "bootstrap" {
			header.SetMode(0o755)
		}
		f, err := w.CreateHeader(header)
		require.NoError(t, err)
		_, err = f.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func program(t *testing.T, goarch string) []byte {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "go.mod"), []byte("module tiny\n\ngo 1.26\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o644))
	output := filepath.Join(folder, "bootstrap")
	require.NoError(t, gobuild.Build(folder, ".", output, "linux", goarch))
	content, err := os.ReadFile(output)
	require.NoError(t, err)
	return content
}

func TestS14_DeployedZipIsUnpackedWithoutItsProgram(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, Unpack(bundle(t, map[string][]byte{
		"bootstrap": program(t, "arm64"), "deployment-groups.json": []byte("[]"),
	}), root))
	content, err := os.ReadFile(filepath.Join(root, "deployment-groups.json"))
	require.NoError(t, err)
	assert.Equal(t, "[]", string(content))
	assert.NoFileExists(t, filepath.Join(root, "bootstrap"))
}

func TestS14_ZipThatLambdaCouldNotStartIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"wrong processor":    {map[string][]byte{"bootstrap": program(t, "amd64")}, "EM_X86_64"},
		"not a program":      {map[string][]byte{"bootstrap": []byte("#!/bin/sh\n")}, "no Linux program"},
		"no bootstrap":       {map[string][]byte{"trigger": []byte("x")}, "no bootstrap"},
		"outside its folder": {map[string][]byte{"../evil": []byte("x")}, "outside its folder"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorContains(t, Unpack(bundle(t, c.files), t.TempDir()), c.want)
		})
	}
	assert.ErrorContains(t, Unpack([]byte("no zip"), t.TempDir()), "zip")
}
