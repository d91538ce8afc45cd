package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/calls"
)

// The script for the old server is the one that the document holds, and runs alone.
func TestS10_AHostsScriptIsOneFile(t *testing.T) {
	for _, name := range []string{"backup-gitlab", "install-runner"} {
		s := newCheckout(t)
		require.NoError(t, s.run(t, "script", name))
		text := s.out.String()
		assert.True(t, strings.HasPrefix(text, "#!/usr/bin/env bash\n#/ Usage: "+name+".sh"))
		assert.NotContains(t, text, "\nsource ")
		file := filepath.Join(t.TempDir(), "script.sh")
		require.NoError(t, os.WriteFile(file, s.out.Bytes(), 0o700))
		out, err := exec.Command("bash", file, "--help").Output() //nolint:gosec // a file of ours
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(out), "Usage: "+name+".sh"))
		assert.Empty(t, s.cloud.Calls())
	}
}

func TestS10_WhatIsNoHostsScriptIsRefused(t *testing.T) {
	for _, args := range [][]string{{"../ops"}, {"nothing"}, {""}, {"server/backup-gitlab"}, {"backup-gitlab.sh"}} {
		err := newCheckout(t).run(t, append([]string{"script"}, args...)...)
		require.ErrorContains(t, err, "no script \""+args[0]+"\": want one of backup-gitlab ")
		assert.Equal(t, 2, exitStatus(err))
	}
	for _, args := range [][]string{{"script"}, {"script", "a", "b"}} {
		err := newCheckout(t).run(t, args...)
		require.ErrorContains(t, err, "want one name of a script")
		assert.Equal(t, 2, exitStatus(err))
	}
	s := newCheckout(t)
	require.ErrorIs(t, s.run(t, "script", "backup-gitlab", "--dry-run", "--yes"), calls.ErrDryRun)
	assert.Empty(t, s.out.String())
}
