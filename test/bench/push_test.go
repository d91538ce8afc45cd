package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/bundle"
	"gitlab-codedeploy/internal/upload/uploadtest"
)

// What a team has today, and what it gets: the files on the instance are the same.
func TestS13_OursUnpacksToTheTreeThatAwsDeployPushPacks(t *testing.T) {
	options := tiny(t)
	folder := filepath.Join(options.Work, "folder")
	require.NoError(t, makeFolder(folder, 3e6))
	for name, mode := range map[string]fs.FileMode{
		"scripts/start.sh": 0o755, "conf/secret.key": 0o600, ".hidden/.env": 0o644, "日本語/大きさ.txt": 0o644, "with space.txt": 0o640, "empty": 0o644,
	} {
		file := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(name[:len(name)-min(len(name), 5)]), 0o644))
		require.NoError(t, os.Chmod(file, mode))
	}
	require.NoError(t, os.Symlink("scripts/start.sh", filepath.Join(folder, "link")))

	_, push, err := uploaders(options)
	require.NoError(t, err)
	store := uploadtest.New(uploadtest.Options{Keep: options.Keep})
	defer store.Server.Close()
	_, err = push.upload(t.Context(), store, folder)
	require.NoError(t, err)
	pushed := zipTree(t, filepath.Join(options.Keep, pushKey))

	tree, err := bundle.Scan(folder, bundle.Options{})
	require.NoError(t, err)
	var packed bytes.Buffer
	require.NoError(t, tree.Write(t.Context(), &packed, nil))
	out := t.TempDir()
	// As CodeDeploy's agent unpacks it.
	cmd := exec.Command("tar", "-zxpsf", "-", "-C", out)
	cmd.Stdin = &packed
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, string(said))
	ours := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(out), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		// A zip of AWS's has a link's content, and a tar the link.
		info, err := os.Stat(filepath.Join(out, path))
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(out, path))
		ours[path] = describe(info.Mode(), text)
		return err
	}))
	assert.Greater(t, len(ours), 7)
	assert.Equal(t, pushed, ours)
}

// describe leaves out the rights to write of others than the owner, as ours does.
func describe(mode fs.FileMode, text []byte) string {
	return fmt.Sprintf("%s %x", mode.Perm()&^0o022, sha256.Sum256(text))
}

func zipTree(t *testing.T, file string) map[string]string {
	t.Helper()
	archive, err := zip.OpenReader(file)
	require.NoError(t, err)
	defer archive.Close()
	files := map[string]string{}
	for _, entry := range archive.File {
		if entry.Mode().IsDir() {
			continue
		}
		in, err := entry.Open()
		require.NoError(t, err)
		text, err := io.ReadAll(in)
		require.NoError(t, err)
		in.Close()
		files[entry.Name] = describe(entry.Mode(), text)
	}
	return files
}
