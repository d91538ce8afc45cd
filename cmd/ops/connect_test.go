package main

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/calls"
)

// playedPlugin is AWS's plug-in as far as this program sees it.
type playedPlugin struct {
	path, version string
	args, env     []string
	status        int
	err           error
}

func (p *playedPlugin) Version(context.Context) (string, error) { return p.version, nil }

func (p *playedPlugin) Run(args, environment []string) (int, error) {
	p.args, p.env = args, environment
	return p.status, p.err
}

func newShell(t *testing.T) *session {
	s := newSession(t)
	awstest.On(s.cloud, func(context.Context, *ssm.StartSessionInput) (*ssm.StartSessionOutput, error) {
		return &ssm.StartSessionOutput{SessionId: aws.String("alice-1"), TokenValue: aws.String("the-token"), StreamUrl: aws.String("wss://stream")}, nil
	})
	return s
}

func TestS7_ConnectAndForwardStartTheSessions(t *testing.T) {
	for name, tt := range map[string]struct {
		args    []string
		request string
		said    string
	}{
		"connect":             {[]string{"connect", "--profile", "a"}, `{"Target":"` + serverID + `"}`, "opening a shell on the server (" + serverID + ") of account 111111111111, ap-northeast-1"},
		"connect to a runner": {[]string{"connect", "--host", "runner"}, `{"Target":"` + runnerID + `"}`, "opening a shell on the runner"},
		"forward": {[]string{"forward"}, `{"Target":"` + serverID + `","DocumentName":"AWS-StartPortForwardingSession","Parameters":{"portNumber":["80"],"localPortNumber":["8080"]}}`,
			"http://localhost:8080 becomes port 80 of " + serverID},
		"forward to a port": {[]string{"forward", "--port", "9000"}, `{"Target":"` + serverID + `","DocumentName":"AWS-StartPortForwardingSession","Parameters":{"portNumber":["80"],"localPortNumber":["9000"]}}`,
			"http://localhost:9000 becomes port 80 of " + serverID},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShell(t)
			require.NoError(t, s.run(t, append(tt.args, "--env", "staging")...))
			assert.Equal(t, "/usr/local/bin/session-manager-plugin", s.shell.path)
			require.Len(t, s.shell.args, 6)
			assert.Equal(t, []string{"AWS_SSM_START_SESSION_RESPONSE", "ap-northeast-1", "StartSession"}, s.shell.args[:3])
			assert.JSONEq(t, tt.request, s.shell.args[4])
			assert.Equal(t, "https://ssm.ap-northeast-1.amazonaws.com", s.shell.args[5])
			assert.Contains(t, s.err.String(), tt.said)
			assert.Empty(t, s.out.String())
			// What is asked of AWS is what the plug-in is told.
			sent := awstest.Inputs[ssm.StartSessionInput](s.cloud)
			require.Len(t, sent, 1)
			var request ssm.StartSessionInput
			require.NoError(t, json.Unmarshal([]byte(tt.request), &request))
			assert.Equal(t, &request, sent[0])
		})
	}
	s := newShell(t)
	require.NoError(t, s.run(t, "connect", "--env", "staging", "--profile", "a"))
	assert.Equal(t, "a", s.shell.args[3], "the plug-in asks AWS with the same profile")
}

func TestS7_ASessionsOwnStatusIsTheCommands(t *testing.T) {
	s := newShell(t)
	s.shell.status = 143
	err := s.run(t, "connect", "--env", "staging")
	assert.Equal(t, 143, exitStatus(err))
	assert.Empty(t, message(t.Context(), err))
}

func TestS7_ConnectMeetsFaults(t *testing.T) {
	t.Run("S7 connect | session-manager-plugin is not installed | exit 2, where to get it, and AWS is not asked", func(t *testing.T) {
		for _, command := range []string{"connect", "forward"} {
			s := newShell(t)
			s.find = func(string) (string, error) { return "", exec.ErrNotFound }
			err := s.run(t, command, "--env", "staging")
			require.ErrorContains(t, err, "session-manager-plugin is not installed; without it there is no session: https://docs.aws.amazon.com/")
			assert.Equal(t, 2, exitStatus(err))
			assert.Empty(t, s.cloud.Calls())
		}
	})
	t.Run("S7 connect | the session does not come up | exit 1 with AWS's words", func(t *testing.T) {
		s := newShell(t)
		awstest.On(s.cloud, func(context.Context, *ssm.StartSessionInput) (*ssm.StartSessionOutput, error) {
			return nil, awstest.Refusal("TargetNotConnected", "i-0 is not connected.")
		})
		err := s.run(t, "connect", "--env", "staging")
		require.ErrorContains(t, err, "TargetNotConnected: i-0 is not connected.")
		assert.Equal(t, 1, exitStatus(err))
		assert.Nil(t, s.shell.args)
	})
	t.Run("S7 connect | the plug-in cannot be started | the session is ended, so that none stays open on the host", func(t *testing.T) {
		s := newShell(t)
		s.shell.err = errors.New("exec format error")
		var ended []string
		awstest.On(s.cloud, func(_ context.Context, in *ssm.TerminateSessionInput) (*ssm.TerminateSessionOutput, error) {
			ended = append(ended, *in.SessionId)
			return &ssm.TerminateSessionOutput{}, nil
		})
		err := s.run(t, "connect", "--env", "staging")
		require.ErrorContains(t, err, "exec format error")
		assert.Equal(t, 1, exitStatus(err))
		assert.Equal(t, []string{"alice-1"}, ended)
	})
}

func TestS7_ConnectAndForwardRefuseWhatTheyDoNotKnow(t *testing.T) {
	for _, tt := range []struct{ command, flag, value, want string }{
		{"connect", "--host", "database", "--host: want server or runner, got 'database'"},
		{"forward", "--port", "80", "--port: want 1024 to 65535, got '80'"},
		{"forward", "--port", "70000", "got '70000'"},
		{"forward", "--port", "x", "got 'x'"},
		{"forward", "--port", "08080", "got '08080'"},
		{"forward", "--port", "8080,host=x", "got '8080,host=x'"},
		{"forward", "--port", "-8080", "got '-8080'"},
		{"forward", "--port", "", "got ''"},
	} {
		s := newShell(t)
		err := s.run(t, tt.command, "--env", "staging", tt.flag, tt.value)
		require.ErrorContains(t, err, tt.want)
		assert.Equal(t, 2, exitStatus(err))
		assert.Empty(t, s.cloud.Calls())
	}
}

func TestS7_DryRunOpensNoSession(t *testing.T) {
	for _, command := range []string{"connect", "forward"} {
		s := newShell(t)
		s.find = func(string) (string, error) { return "", exec.ErrNotFound }
		err := s.run(t, command, "--env", "staging", "--dry-run")
		require.ErrorIs(t, err, calls.ErrDryRun)
		assert.Zero(t, exitStatus(err))
		assert.Contains(t, s.out.String(), `ssm:StartSession {`)
		assert.Empty(t, awstest.Inputs[ssm.StartSessionInput](s.cloud))
		assert.Nil(t, s.shell.args)
	}
}
