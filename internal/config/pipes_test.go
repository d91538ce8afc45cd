//go:build unix

package config

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestConfigWaitsForNoPipe: to read one would take until somebody writes.
func TestConfigWaitsForNoPipe(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "staging.yaml"), []byte(base), 0o600))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600))
	_, err := Load(dir, "pipe")
	assert.EqualError(t, err, `environment: got "pipe", want one of staging (the .yaml files in `+dir+")")

	require.NoError(t, syscall.Mkfifo(KeysFile(dir, "staging"), 0o600))
	_, err = Load(dir, "staging")
	assert.ErrorContains(t, err, "got something else, want a file")
}
