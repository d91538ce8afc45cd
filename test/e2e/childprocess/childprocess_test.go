package childprocess

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func shell(t *testing.T, script string) Command {
	t.Helper()
	return Command{Args: []string{"/bin/sh", "-c", script}, Log: filepath.Join(t.TempDir(), "logs", "child.log"), Env: []string{"PATH=/usr/bin:/bin"}}
}

// grandchild is the process id that a script wrote to file pid.
func grandchild(t *testing.T, file string) int {
	t.Helper()
	var pid int
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid > 0
	}, 10*time.Second, 10*time.Millisecond)
	return pid
}

func assertGone(t *testing.T, pid int) {
	t.Helper()
	assert.Eventually(t, func() bool {
		_, err := startTime(pid) // also for one that nobody has waited for yet
		return err != nil
	}, 5*time.Second, 10*time.Millisecond, "process %d still runs", pid)
}

func TestChildGetsOnlyTheGivenEnvironment(t *testing.T) {
	t.Setenv("AWS_PROFILE", "production")
	c := shell(t, "echo profile=$AWS_PROFILE")
	require.NoError(t, Run(t.Context(), c))
	assert.Equal(t, "profile=", Tail(c.Log, 5))
}

func TestFailureNamesTheProgramAndItsLog(t *testing.T) {
	c := shell(t, "echo no such bucket >&2; exit 3")
	err := Run(t.Context(), c)
	var failure *Error
	require.ErrorAs(t, err, &failure)
	assert.EqualError(t, err, "sh failed: exit status 3")
	assert.Equal(t, "no such bucket", Tail(failure.Command.Log, 5))
}

func TestCommandThatTakesTooLongIsStoppedWithAllItStarted(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := Run(ctx, shell(t, "sleep 60 & echo $! >"+pidFile+"; wait"))
	assert.EqualError(t, err, "sh took too long and was stopped")
	assertGone(t, grandchild(t, pidFile))
}

func TestCommandThatEndsTakesItsChildrenAlong(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	require.NoError(t, Run(t.Context(), shell(t, "sleep 60 & echo $! >"+pidFile)))
	assertGone(t, grandchild(t, pidFile))
}

func TestStopForcesAChildThatDoesNotListen(t *testing.T) {
	c := shell(t, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
	p, err := Start(c)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return Tail(c.Log, 1) == "ready" }, 5*time.Second, 10*time.Millisecond)
	p.Stop(100 * time.Millisecond)
	assert.ErrorContains(t, p.Err(), "killed")
	p.Stop(time.Minute) // at once: it is gone
}

func TestMissingProgramIsNamed(t *testing.T) {
	c := shell(t, "")
	c.Args = []string{"/nonexistent/cdk"}
	assert.ErrorContains(t, Run(t.Context(), c), "start cdk")
}

func TestCancelledCommandKeepsTheReason(t *testing.T) {
	reason := errors.New("somebody pressed Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	assert.ErrorIs(t, Run(ctx, shell(t, "sleep 60")), reason)
}

func TestTailIsTheLastLinesWithoutBlankOnes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(path, []byte("one\n\ntwo\r\n   \nthree\n\n"), 0o644))
	assert.Equal(t, "two\nthree", Tail(path, 2))
	assert.Equal(t, "one\ntwo\nthree", Tail(path, 9))
	assert.Empty(t, Tail(path+"-missing", 9))
}

func TestRecordedProcessIsFoundAndStopped(t *testing.T) {
	c := shell(t, "sleep 60")
	c.Detached = true
	p, err := Start(c)
	require.NoError(t, err)
	t.Cleanup(func() { p.Stop(0) })
	r, err := p.Record()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "child.pid")
	require.NoError(t, r.Write(file))

	read, found, err := ReadRecord(file)
	require.NoError(t, err)
	require.True(t, found)
	assert.True(t, read.Alive())
	require.NoError(t, read.Stop(5*time.Second))
	<-p.Done()
	assert.False(t, read.Alive())
	assert.NoError(t, read.Stop(5*time.Second), "stopping it again is fine")
}

func TestProcessThatGotARecordedIDLaterIsLeftAlone(t *testing.T) {
	p, err := Start(shell(t, "sleep 60"))
	require.NoError(t, err)
	t.Cleanup(func() { p.Stop(0) })
	r, err := p.Record()
	require.NoError(t, err)
	r.Started += "0" // another moment

	assert.False(t, r.Alive())
	require.NoError(t, r.Stop(time.Second))
	assert.NoError(t, syscall.Kill(p.PID(), 0), "it was none of ours")
}

func TestPidFileThatIsMissingOrBrokenHoldsNoRecord(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "cut off": `{"pid":12`, "no id": `{}`, "a group": `{"pid":-1}`, "init": `{"pid":1}`} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
			_, found, err := ReadRecord(file)
			require.NoError(t, err)
			assert.False(t, found)
		})
	}
	_, found, err := ReadRecord(filepath.Join(t.TempDir(), "missing"))
	require.NoError(t, err)
	assert.False(t, found)
}

func TestStartTimeIsReadThroughPSWhereThereIsNoProc(t *testing.T) {
	p, err := Start(shell(t, "sleep 60"))
	require.NoError(t, err)
	first, err := startTimeFromPS(p.PID())
	require.NoError(t, err)
	again, err := startTimeFromPS(p.PID())
	require.NoError(t, err)
	assert.Equal(t, first, again)
	p.Stop(0)
	_, err = startTimeFromPS(p.PID())
	assert.ErrorContains(t, err, "has ended")
}
