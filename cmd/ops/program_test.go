package main

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/gobuild"
)

func newCheckout(t *testing.T) *session {
	s := newSession(t)
	s.root = "../.."
	return s
}

// What an old server gets is what the documents start.
func TestS10_TheHostsProgramIsOneFile(t *testing.T) {
	dir := t.TempDir()
	published := filepath.Join(dir, "published")
	require.NoError(t, gobuild.Build("../..", "./cmd/host", published, "linux", "arm64"))
	want, err := os.ReadFile(published)
	require.NoError(t, err)

	s := newCheckout(t)
	file := filepath.Join(dir, "host")
	require.NoError(t, os.WriteFile(file, []byte("an older one"), 0o644))
	require.NoError(t, s.run(t, "program", "--arch", "arm64", "--output", file, "--json"))
	var told struct {
		File, SHA256 string
		Bytes        int
	}
	require.NoError(t, json.Unmarshal(s.out.Bytes(), &told))
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	sum := fmt.Sprintf("%x", sha256.Sum256(want))
	assert.Equal(t, sum, fmt.Sprintf("%x", sha256.Sum256(got)), "not the build that is published")
	assert.Equal(t, sum, told.SHA256)
	assert.Equal(t, file, told.File)
	assert.Equal(t, len(want), told.Bytes)
	assert.Empty(t, s.cloud.Calls())

	binary, err := elf.Open(file)
	require.NoError(t, err)
	defer binary.Close()
	assert.Equal(t, elf.EM_AARCH64, binary.Machine)
	libraries, err := binary.ImportedLibraries()
	require.NoError(t, err)
	assert.Empty(t, libraries, "an old server has others")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "nothing else is left")
}

func TestS10_WhatIsNoHostIsRefused(t *testing.T) {
	for want, args := range map[string][]string{
		`--os: got "windows", want linux`:           {"--os", "windows"},
		`--arch: got "x86_64", want amd64 or arm64`: {"--arch", "x86_64"},
		"surplus": {"surplus"},
	} {
		err := newCheckout(t).run(t, append([]string{"program"}, args...)...)
		require.ErrorContains(t, err, want)
		assert.Equal(t, 2, exitStatus(err))
	}
	err := newCheckout(t).run(t, "program", "--output", filepath.Join(t.TempDir(), "nowhere", "host"))
	require.ErrorContains(t, err, "--output: ")
	s := newCheckout(t)
	file := filepath.Join(t.TempDir(), "host")
	require.ErrorIs(t, s.run(t, "program", "--output", file, "--dry-run"), calls.ErrDryRun)
	assert.Empty(t, s.out.String())
	assert.NoFileExists(t, file)
}
