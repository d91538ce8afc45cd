//go:build unix

package machine_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine"
)

func newMachine(t *testing.T) (*machine.Machine, *bytes.Buffer) {
	log := &bytes.Buffer{}
	return &machine.Machine{Runner: machine.System{}, Root: t.TempDir(), Log: log}, log
}

func TestACommandThatFailedSaysHowAndWhy(t *testing.T) {
	m, _ := newMachine(t)
	out, err := m.Ask(t.Context(), machine.Cmd("sh", "-c", "echo out; echo why >&2; exit 3"))
	assert.Equal(t, "out\n", out)
	assert.Equal(t, 3, machine.Status(err))
	assert.ErrorContains(t, err, "ended with 3: why")
	_, err = m.Ask(t.Context(), machine.Cmd("sh", "-c", "kill -KILL $$"))
	assert.Equal(t, 137, machine.Status(err), "as a shell says it")
	_, err = m.Ask(t.Context(), machine.Cmd("no-such-program"))
	assert.Equal(t, -1, machine.Status(err))
}

// What a command has started ends with it, or its output would be waited for.
func TestATimeOutEndsChildrenToo(t *testing.T) {
	m, _ := newMachine(t)
	command := machine.Cmd("sh", "-c", "sleep 60 & wait")
	command.Timeout = 100 * time.Millisecond
	begin := time.Now()
	_, err := m.Ask(t.Context(), command)
	require.ErrorContains(t, err, "no end within 100ms")
	assert.Less(t, time.Since(begin), 30*time.Second)
}

// GitLab's reconfigure writes Ruby's form of a secret, and GitLab Runner colours it.
func TestASecretIsInNoLog(t *testing.T) {
	m, log := newMachine(t)
	m.Secrets = []string{`pa"ss\1`}
	require.NoError(t, m.Logged(t.Context(), machine.Cmd("printf", `%s\n`, `a pa"ss\1 b`, `c pa\"ss\\1 d`, "e pa\x1b[0;m\"ss\\1 f")))
	kept, err := os.ReadFile(m.Path(machine.InstallLog))
	require.NoError(t, err)
	assert.Equal(t, "a ******** b\nc ******** d\ne ******** f\n", log.String())
	assert.Equal(t, log.String(), string(kept))
}

func TestALockIsHeldByOneAndSaysByWhom(t *testing.T) {
	m, _ := newMachine(t)
	lock, err := m.Lock(machine.InstallLock, "install-gitlab")
	require.NoError(t, err)
	_, err = m.Lock(machine.InstallLock, "another")
	var held machine.Held
	require.True(t, errors.As(err, &held))
	assert.Contains(t, held.Error(), "install-gitlab")
	lock.Release()
	again, err := m.LockWithin(context.Background(), machine.InstallLock, "another", time.Minute)
	require.NoError(t, err)
	again.Release()
}
