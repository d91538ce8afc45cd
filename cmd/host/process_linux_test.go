package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/operation"
	"gitlab-codedeploy/internal/remote/remotetest"
)

// unit is a run whose operation is a script, and the real program that supervises it
// in a session of its own, as systemd has it in a unit.
type unit struct {
	folder  string
	process *exec.Cmd
}

func startUnit(t *testing.T, script string) *unit {
	t.Helper()
	const id = "20261124T185436-0a1b2c3d"
	root := t.TempDir()
	u := &unit{folder: filepath.Join(root, operation.Folder, id)}
	require.NoError(t, os.MkdirAll(u.folder, 0o700))
	record, err := json.Marshal(map[string]any{"operation": "test", "started": time.Now(), "command": []string{"/bin/sh", "-c", script, "sh"}})
	require.NoError(t, err)
	for name, text := range map[string]string{"run.json": string(record), "log": "", "result": ""} {
		require.NoError(t, os.WriteFile(filepath.Join(u.folder, name), []byte(text), 0o600))
	}
	u.process = exec.Command(remotetest.HostProgram(t), "supervise", id)
	u.process.Env = append(os.Environ(), remotetest.RootVariable+"="+root)
	u.process.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(t, u.process.Start())
	t.Cleanup(func() { _ = u.process.Process.Kill() })
	return u
}

func (u *unit) waitFor(t *testing.T, name, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		found, _ := os.ReadFile(filepath.Join(u.folder, name))
		return strings.Contains(string(found), text)
	}, 20*time.Second, 10*time.Millisecond, "%s never has %q", name, text)
}

// processes are all of the unit.
func (u *unit) processes(t *testing.T) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if fields[3] == strconv.Itoa(u.process.Process.Pid) { // its session
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestS8_AUnitKeepsHowItsOperationEnds has the real program, and real signals.
func TestS8_AUnitKeepsHowItsOperationEnds(t *testing.T) {
	t.Run("by itself", func(t *testing.T) {
		u := startUnit(t, `echo "$*" >&2; echo '{}'; exit 3`)
		require.NoError(t, u.process.Wait())
		u.waitFor(t, "end.json", `"status":3`)
		u.waitFor(t, "log", "--run 20261124T185436-0a1b2c3d")
		u.waitFor(t, "result", "{}")
		assert.FileExists(t, filepath.Join(u.folder, "begun"))
	})
	t.Run("S8 any operation | its unit is stopped | the operation is told, and how it ended is kept", func(t *testing.T) {
		u := startUnit(t, `trap 'echo stopped >&2; exit 9' TERM; echo working >&2; while :; do sleep 0.02; done`)
		u.waitFor(t, "log", "working")
		for _, pid := range u.processes(t) { // systemd stops all processes of a unit at once
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
		require.NoError(t, u.process.Wait())
		u.waitFor(t, "end.json", `"status":9`)
		u.waitFor(t, "log", "stopped")
	})
	t.Run("S8 any operation | its process is killed by a real SIGKILL | it has ended with 137", func(t *testing.T) {
		u := startUnit(t, `kill -KILL $$`)
		require.NoError(t, u.process.Wait())
		u.waitFor(t, "end.json", `"status":137`)
	})
}
