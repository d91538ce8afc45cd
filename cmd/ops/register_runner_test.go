package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/remote/remotetest"
)

// registering is a runner that is to be registered, and the parameter that its token travels in.
type registering struct {
	*operating
	token      bool // the parameter holds one
	registered bool
	register   remotetest.Operation // on the runner
	refuse     error                // of DeleteParameter
}

func newRegistering(t *testing.T) *registering {
	t.Helper()
	r := &registering{operating: newOperating(t), register: remotetest.Operation{Takes: time.Minute, Result: `{"runner": "gitlab-codedeploy-staging", "state": "registered"}` + "\n"}}
	r.On("register-runner", func(parameters map[string]string) remotetest.Operation {
		switch {
		case parameters["Action"] == "check" && r.registered:
			return remotetest.Operation{Result: `{"runner": "gitlab-codedeploy-staging", "state": "alive"}` + "\n"}
		case parameters["Action"] == "check":
			return remotetest.Operation{Result: `{"runner": "gitlab-codedeploy-staging", "state": "none"}` + "\n"}
		}
		if r.register.Status == 0 && !r.register.Killed && r.register.Takes < time.Hour {
			r.registered, r.token = true, false
		}
		return r.register
	})
	r.On("runner-token", func(parameters map[string]string) remotetest.Operation {
		if parameters["Action"] == "online" {
			return remotetest.Operation{Result: `{"runner": "gitlab-codedeploy-staging", "online": true, "contactedSecondsAgo": 3}` + "\n"}
		}
		r.token = true
		return remotetest.Operation{Result: `{"version": "13.10.2", "token": "registration"}` + "\n"}
	})
	awstest.On(r.cloud, func(_ context.Context, in *ssm.DeleteParameterInput) (*ssm.DeleteParameterOutput, error) {
		assert.Equal(t, "/gitlab-codedeploy/staging/runner-token", aws.ToString(in.Name))
		switch {
		case r.refuse != nil:
			return nil, r.refuse
		case !r.token:
			return nil, &types.ParameterNotFound{}
		}
		r.token = false
		return &ssm.DeleteParameterOutput{}, nil
	})
	return r
}

func TestS13_TheTokenGoesFromServerToRunner(t *testing.T) {
	r := newRegistering(t)
	r.terminal = false // it asks nothing
	require.NoError(t, r.run(t, "register-runner", "--env", "staging"))
	assert.Equal(t, `{"runner": "gitlab-codedeploy-staging", "online": true, "contactedSecondsAgo": 3}`+"\n", r.out.String(), "of the last part alone")
	assert.Equal(t, []string{"register-runner", "runner-token", "register-runner", "runner-token"}, r.sent())
	assert.Equal(t, map[string]string{"Action": "register"}, r.parameters("register-runner"), "all else is the document's")
	for _, in := range awstest.Inputs[ssm.SendCommandInput](r.cloud) {
		if aws.ToString(in.DocumentName) == "gitlab-codedeploy-staging-runner-token" {
			assert.Equal(t, []string{remotetest.Server}, in.InstanceIds)
			delete(in.Parameters, "RunId")
			assert.Equal(t, map[string][]string{"Action": {"issue"}}, in.Parameters, "the parameter and its key are the document's, too")
			break
		}
	}
	assert.False(t, r.token)
	assert.NotContains(t, r.err.String(), "still held the token")

	t.Run("again nothing is handed over", func(t *testing.T) {
		r2 := newRegistering(t)
		r2.registered = true
		require.NoError(t, r2.run(t, "register-runner", "--env", "staging"))
		assert.Equal(t, []string{"register-runner", "runner-token"}, r2.sent())
		assert.Contains(t, r2.err.String(), "the runner gitlab-codedeploy-staging is registered and alive: it stays as it is")
		assert.NotContains(t, r2.cloud.Names(), "ssm:DeleteParameter")
	})
	t.Run("and it is unregistered", func(t *testing.T) {
		h := newOperating(t)
		h.answers("y")
		h.does("unregister-runner", "unregistering", `{"runner": "gitlab-codedeploy-staging", "state": "unregistered"}`+"\n")
		require.NoError(t, h.run(t, "unregister-runner", "--env", "staging"))
		assert.Empty(t, h.parameters("unregister-runner"), "the name is the document's")
		assert.Contains(t, h.questions[0], "unregister the runner gitlab-codedeploy-staging? Jobs that run on it are lost")
		assert.Contains(t, h.out.String(), `"state": "unregistered"`)
	})
}

func TestS13_RegisterRunnerLeavesNoTokenBehind(t *testing.T) {
	const removed = "/gitlab-codedeploy/staging/runner-token still held the token: it is removed"
	// interrupted runs the command and interrupts it after a while, in one bubble of time.
	interrupted := func(t *testing.T, r *registering, after time.Duration) (text string, err error) {
		synctest.Test(t, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			time.AfterFunc(after, interrupt)
			err = r.execute(ctx, "register-runner --env staging")
			text = message(ctx, err)
		})
		return text, err
	}
	t.Run("S13 register-runner | the command is ended while the runner registers | the laptop removes the parameter, the runner goes on", func(t *testing.T) {
		r := newRegistering(t)
		r.register.Takes = 2 * time.Hour
		text, err := interrupted(t, r, 3*time.Minute)
		require.ErrorIs(t, err, context.Canceled)
		assert.Regexp(t, `^interrupted: run \S+ goes on, to follow it: scripts/ops register-runner --env staging --follow \S+$`, text)
		assert.Contains(t, r.err.String(), removed)
		assert.False(t, r.token)
		assert.Len(t, r.Runs(), 3, "of the runner's registration, too")
	})
	t.Run("S13 register-runner | the command is ended while the server hands over | the laptop removes the parameter, and says that one may still come", func(t *testing.T) {
		r := newRegistering(t)
		r.On("runner-token", func(map[string]string) remotetest.Operation { return remotetest.Operation{Takes: 2 * time.Hour} })
		text, err := interrupted(t, r, 3*time.Minute)
		require.ErrorIs(t, err, context.Canceled)
		assert.Regexp(t, `^interrupted: run \S+ goes on, what it is a part of can be started again$`, text)
		assert.Contains(t, r.err.String(), "warning: the server may still put a token into /gitlab-codedeploy/staging/runner-token. This command removes it when it is run again")
		assert.Contains(t, r.cloud.Names(), "ssm:DeleteParameter")
	})
	t.Run("S13 register-runner | all of the runner's unit is killed once the token is there | the laptop removes the parameter", func(t *testing.T) {
		r := newRegistering(t)
		r.register.Killed = true
		err := r.run(t, "register-runner", "--env", "staging")
		assert.Equal(t, 1, exitStatus(err))
		require.ErrorContains(t, err, "of register-runner ended without a status: it was killed")
		assert.Contains(t, r.err.String(), removed)
		assert.False(t, r.token)
	})
	t.Run("S13 register-runner | the runner's agent takes no more commands once the token is there | the laptop removes the parameter", func(t *testing.T) {
		r := newRegistering(t)
		r.On("runner-token", func(map[string]string) remotetest.Operation {
			r.token, r.Offline[remotetest.Runner] = true, true
			return remotetest.Operation{}
		})
		err := r.run(t, "register-runner", "--env", "staging")
		assert.Equal(t, 1, exitStatus(err))
		require.ErrorContains(t, err, "register-runner was not started: the agent on the instance did not take it")
		assert.Contains(t, r.err.String(), removed)
		assert.False(t, r.token)
	})
	t.Run("S13 register-runner | the parameter cannot be removed | it says so, and with which command", func(t *testing.T) {
		r := newRegistering(t)
		r.register = remotetest.Operation{Status: 1}
		r.refuse = awstest.Refusal("AccessDeniedException", "no\x1b[2J")
		err := r.run(t, "register-runner", "--env", "staging", "--profile", "a")
		assert.Equal(t, 1, exitStatus(err), "of the runner's script")
		assert.Contains(t, r.err.String(), "warning: /gitlab-codedeploy/staging/runner-token may still hold a token, which only the runner can decrypt: ")
		assert.Contains(t, r.err.String(), "AccessDeniedException: no. Remove it with: aws ssm delete-parameter --region ap-northeast-1 --name /gitlab-codedeploy/staging/runner-token --profile a\n")
	})
	t.Run("S13 register-runner | the server has no token to hand over | its status is the command's, and nothing is registered", func(t *testing.T) {
		r := newRegistering(t)
		r.On("runner-token", func(map[string]string) remotetest.Operation {
			return remotetest.Operation{Log: remotetest.Says("error: GitLab shows no registration token"), Status: 1}
		})
		err := r.run(t, "register-runner", "--env", "staging")
		assert.Equal(t, 1, exitStatus(err))
		assert.True(t, errors.As(err, new(ended)))
		assert.Equal(t, []string{"register-runner", "runner-token"}, r.sent())
		assert.Empty(t, r.out.String())
	})
}
