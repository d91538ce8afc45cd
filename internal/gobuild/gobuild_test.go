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

func TestS14_whatIsCompiledAheadIsTheSame(t *testing.T) {
	dir := module(t, "package main\n\nfunc main() {}\n")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "other"), 0o755))
	other := filepath.Join(dir, "other", "main.go")
	require.NoError(t, os.WriteFile(other, []byte("package main\n\nfunc main() { println() }\n"), 0o644))
	alone := filepath.Join(t.TempDir(), "bootstrap")
	require.NoError(t, Build(dir, "./other", alone, "linux", "arm64"))
	want, err := os.ReadFile(alone)
	require.NoError(t, err)

	forget := Ahead(dir, "linux", "arm64", ".", "./other")
	output := filepath.Join(t.TempDir(), "bootstrap")
	require.NoError(t, Build(dir, "./other", output, "linux", "arm64"))
	// It is not compiled again: nobody sees the change.
	require.NoError(t, os.WriteFile(other, []byte("package main\n\nfunc main() { missing() }\n"), 0o644))
	require.NoError(t, Build(dir, "./other", output, "linux", "arm64"))
	got, err := os.ReadFile(output)
	require.NoError(t, err)
	assert.Equal(t, want, got)

	forget()
	assert.Error(t, Build(dir, "./other", output, "linux", "arm64"), "nothing is left of it")
	work, err := os.ReadDir(filepath.Join(dir, ".tools", "build", "work"))
	require.NoError(t, err)
	assert.Empty(t, work, "the compiler takes its own files away")
	defer Ahead(dir, "linux", "arm64", ".", "./other")()
	assert.ErrorContains(t, Build(dir, "./other", output, "linux", "arm64"), "build ./other for linux/arm64")
	assert.NoError(t, Build(dir, ".", output, "linux", "arm64"), "the mistake of another program")
}

func TestS14_whatIsKeptIsNotLinkedAgainUntilItChanges(t *testing.T) {
	dir := module(t, "package main\n\nfunc main() {}\n")
	kept := filepath.Join(dir, ".tools", "build", "linux-arm64", "example")
	output := filepath.Join(t.TempDir(), "bootstrap")
	build := func() []byte {
		defer Ahead(dir, "linux", "arm64", "example")()
		require.NoError(t, Build(dir, "example", output, "linux", "arm64"))
		binary, err := os.ReadFile(output)
		require.NoError(t, err)
		return binary
	}
	first := build()
	written, err := os.Stat(kept)
	require.NoError(t, err)
	assert.Equal(t, first, build())
	again, err := os.Stat(kept)
	require.NoError(t, err)
	assert.True(t, os.SameFile(written, again), "it is still the same file")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() { println() }\n"), 0o644))
	assert.NotEqual(t, first, build())
}
