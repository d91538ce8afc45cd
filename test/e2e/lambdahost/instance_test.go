package lambdahost

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func start(t *testing.T, f Function) *Instance {
	t.Helper()
	i := NewInstance(f)
	t.Cleanup(i.Close)
	return i
}

type surroundings struct {
	PID         int
	Environment []string
	Folder      string
	RequestID   string
	ARN         string
	Left        float64
	Trace       string
}

func ask(t *testing.T, i *Instance) surroundings {
	t.Helper()
	answer, err := i.Invoke(t.Context(), event(t, "tell"))
	require.NoError(t, err)
	var s surroundings
	require.NoError(t, json.Unmarshal(answer, &s))
	return s
}

func functionErrorType(t *testing.T, err error) string {
	t.Helper()
	var e *FunctionError
	require.ErrorAs(t, err, &e)
	return e.Type
}

func TestS14_FunctionSeesWhatLambdaShowsAndNothingElse(t *testing.T) {
	t.Setenv("AWS_PROFILE", "real-account")
	t.Setenv("HOME_SECRET", "stays here")
	f := testFunction(t, "normally")
	f.Environment["ARTIFACT_BUCKET"] = "example-deploy-local"

	s := ask(t, start(t, f))

	assert.Equal(t, f.ARN, s.ARN)
	assert.Len(t, s.RequestID, 36)
	assert.Contains(t, s.Trace, "Root=1-")
	assert.InDelta(t, 20, s.Left, 2, "the deadline is the function's timeout")
	taskRoot, err := os.Stat(f.TaskRoot)
	require.NoError(t, err)
	folder, err := os.Stat(s.Folder)
	require.NoError(t, err)
	assert.True(t, os.SameFile(taskRoot, folder), "Lambda starts a function in its task root")

	for _, want := range []string{
		"AWS_REGION=ap-northeast-1", "AWS_LAMBDA_FUNCTION_NAME=trigger", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "LAMBDA_TASK_ROOT=" + f.TaskRoot, "_HANDLER=bootstrap",
		"AWS_ACCESS_KEY_ID=ASIAEXAMPLE", "AWS_SESSION_TOKEN=token", "AWS_ENDPOINT_URL=http://127.0.0.1:1",
		"ARTIFACT_BUCKET=example-deploy-local",
	} {
		assert.Contains(t, s.Environment, want)
	}
	for _, inherited := range []string{"AWS_PROFILE=", "HOME_SECRET=", "HOME="} {
		assert.False(t, slices.ContainsFunc(s.Environment, func(v string) bool { return strings.HasPrefix(v, inherited) }),
			"%s… belongs to this machine", inherited)
	}
}

func TestS14_OneProcessServesManyEvents(t *testing.T) {
	i := start(t, testFunction(t, "normally"))
	first, second := ask(t, i), ask(t, i)
	assert.Equal(t, first.PID, second.PID)
	assert.NotEqual(t, first.RequestID, second.RequestID)
}

func TestS14_FunctionErrorReachesTheCallerAndKeepsTheProcess(t *testing.T) {
	i := start(t, testFunction(t, "normally"))
	before := ask(t, i).PID
	_, err := i.Invoke(t.Context(), event(t, "error"))
	assert.Equal(t, "errorString", functionErrorType(t, err))
	assert.ErrorContains(t, err, "no such luck")
	assert.Equal(t, before, ask(t, i).PID)
}

func TestS14_HangingFunctionIsKilledAtItsTimeoutAndReplaced(t *testing.T) {
	f := testFunction(t, "normally")
	f.Timeout = 1500 * time.Millisecond
	i := start(t, f)
	before := ask(t, i).PID

	began := time.Now()
	_, err := i.Invoke(t.Context(), event(t, "hang"))
	assert.Equal(t, "Sandbox.Timedout", functionErrorType(t, err))
	assert.Less(t, time.Since(began), 10*time.Second)

	assert.Equal(t, syscall.ESRCH, syscall.Kill(before, 0), "process %d still runs", before)
	assert.NotEqual(t, before, ask(t, i).PID)
}

func TestS14_CrashedFunctionIsReplaced(t *testing.T) {
	f := testFunction(t, "normally")
	i := start(t, f)
	before := ask(t, i).PID
	_, err := i.Invoke(t.Context(), event(t, "exit"))
	assert.Equal(t, "Runtime.ExitError", functionErrorType(t, err))
	assert.ErrorContains(t, err, "exit status 7")
	assert.NotEqual(t, before, ask(t, i).PID)

	log, err := os.ReadFile(f.Log)
	require.NoError(t, err)
	assert.Contains(t, string(log), "exit status 7", "the log says why")
}

func TestS14_FunctionKilledBetweenEventsIsReplaced(t *testing.T) {
	i := start(t, testFunction(t, "normally"))
	before := ask(t, i).PID
	process := i.process
	require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
	<-process.Done()
	assert.NotEqual(t, before, ask(t, i).PID)
}

func TestS14_FailedStartGivesTheFunctionsOwnReason(t *testing.T) {
	i := start(t, testFunction(t, "with an error"))
	for range 2 { // and each event tries again
		_, err := i.Invoke(t.Context(), event(t, "ok"))
		assert.Equal(t, "Config.Missing", functionErrorType(t, err))
		assert.ErrorContains(t, err, "ARTIFACT_BUCKET is not set")
	}
}

func TestS14_StartThatEndsAtOnceIsReported(t *testing.T) {
	_, err := start(t, testFunction(t, "by accident")).Invoke(t.Context(), event(t, "ok"))
	assert.Equal(t, "Runtime.ExitError", functionErrorType(t, err))
	assert.ErrorContains(t, err, "exit status 3")
}

func TestS14_StartThatTakesTooLongIsGivenUp(t *testing.T) {
	i := start(t, testFunction(t, "never"))
	i.initLimit = 200 * time.Millisecond
	_, err := i.Invoke(t.Context(), event(t, "ok"))
	assert.Equal(t, "Sandbox.Timedout", functionErrorType(t, err))
}

func TestS14_MissingBootstrapIsThisMachinesFault(t *testing.T) {
	f := testFunction(t, "normally")
	f.TaskRoot = t.TempDir()
	_, err := start(t, f).Invoke(t.Context(), event(t, "ok"))
	assert.ErrorContains(t, err, "bootstrap")
}

func TestS14_CancelledInvocationLeavesNoProcess(t *testing.T) {
	i := start(t, testFunction(t, "normally"))
	pid := ask(t, i).PID
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := i.Invoke(ctx, event(t, "hang"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, syscall.ESRCH, syscall.Kill(pid, 0), "process %d still runs", pid)
}
