package gobuild

import (
	"crypto/sha256"
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func module(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644))
	return dir
}

func TestS14_theSameSourcesGiveTheSameBytesForArm64(t *testing.T) {
	var sums [][32]byte
	for range 2 {
		dir := module(t, "package main\n\nfunc main() {}\n")
		output := filepath.Join(t.TempDir(), "bootstrap")
		require.NoError(t, Build(dir, ".", output, "linux", "arm64"))
		binary, err := os.ReadFile(output)
		require.NoError(t, err)
		sums = append(sums, sha256.Sum256(binary))

		file, err := elf.Open(output)
		require.NoError(t, err)
		assert.Equal(t, elf.EM_AARCH64, file.Machine)
		require.NoError(t, file.Close())
	}
	assert.Equal(t, sums[0], sums[1], "built in two folders")
}

func TestS14_aFailedBuildShowsTheCompilersOutput(t *testing.T) {
	dir := module(t, "package main\n\nfunc main() { missing() }\n")
	err := Build(dir, ".", filepath.Join(t.TempDir(), "bootstrap"), "linux", "arm64")
	assert.ErrorContains(t, err, "main.go:3:15: undefined: missing")
}
