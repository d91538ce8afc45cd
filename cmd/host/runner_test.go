//go:build unix

package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/jobrole/jobroletest"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/runner"
)

var registers = []string{
	"register-runner", "--action", "register", "--name", "gitlab-codedeploy-staging", "--url", "https://gitlab.example.com",
	"--parameter", "/gitlab-codedeploy/staging/runner-token", "--region", "ap-northeast-1",
	"--job-role", jobroletest.Role.ARN,
}

// newRunnerConsole is a host whose runner is registered and alive, with a token that
// was handed over.
func newRunnerConsole(t *testing.T) (*console, *awstest.Cloud, *bool) {
	c, cloud, token := newConsole(t), awstest.New(t), true
	c.aws = func(_ context.Context, region string) (aws.Config, error) { return cloud.Config(region), nil }
	awstest.On(cloud, func(context.Context, *ssm.DeleteParameterInput) (*ssm.DeleteParameterOutput, error) {
		if !token {
			return nil, &types.ParameterNotFound{}
		}
		token = false
		return &ssm.DeleteParameterOutput{}, nil
	})
	c.Put("/proc/meminfo", "MemTotal:        8388608 kB\n")
	c.Put(runner.Config, "[[runners]]\n  name = \"gitlab-codedeploy-staging\"\n  token = \"0123456789\"\n  executor = \"docker\"\n  [runners.docker]\n")
	c.On("gitlab-runner verify", func(call machinetest.Call) int {
		call.Complain("Verifying runner... is alive  runner=01234567\n")
		return 0
	})
	c.Answers("systemctl is-active", "")
	jobroletest.Play(c.Host)
	return c, cloud, &token
}

func TestS13_TheTokenIsGoneHoweverRegisterRunnerEnds(t *testing.T) {
	c, _, token := newRunnerConsole(t)
	status, stdout := c.types(registers...)
	require.Zero(t, status, c.Talk)
	assert.Equal(t, "{\"runner\":\"gitlab-codedeploy-staging\",\"state\":\"kept\"}\n", stdout)
	assert.False(t, *token)
	assert.Contains(t, c.Get(runner.Config), `cap_drop = ["NET_RAW"]`, "jobs of one that was there before are kept apart, too")

	t.Run("S13 register-runner | another operation is under way on the host | it ends at once and names it, and the parameter is gone", func(t *testing.T) {
		c, _, token := newRunnerConsole(t)
		lock, err := c.Lock(machine.OperationLock, "upgrade-runner (run 20261124T185436-0a1b2c3d)")
		require.NoError(t, err)
		defer lock.Release()
		status, _ := c.types(registers...)
		assert.Equal(t, 1, status)
		assert.Contains(t, c.Talk.String(), "upgrade-runner (run 20261124T185436-0a1b2c3d), since ")
		assert.False(t, *token)
		assert.Empty(t, c.Ran())
		// It looks without waiting for anybody, and takes nothing away.
		*token = true
		status, stdout := c.types("register-runner", "--action", "check", "--name", "gitlab-codedeploy-staging")
		assert.Zero(t, status, c.Talk)
		assert.Contains(t, stdout, `"state":"alive"`)
		assert.True(t, *token)
	})
}

func TestS13_UnregisterRunnerPrintsWhatItDid(t *testing.T) {
	c, _, _ := newRunnerConsole(t)
	status, stdout := c.types("unregister-runner", "--name", "another")
	require.Zero(t, status, c.Talk)
	assert.Equal(t, "{\"runner\":\"another\",\"state\":\"none\"}\n", stdout)
}

func TestS13_ArgumentsOfRunnersAreCheckedByPatternBeforeAnythingIsDone(t *testing.T) {
	for flag, values := range map[string][]string{
		"--action":      {"steal", ""},
		"--name":        {`a"b`, "a'b", "$(id)", "-a", ""},
		"--url":         {"http://gitlab.example.com", "https://a/$(id)", "https://a:1", ""},
		"--parameter":   {"name", "/a b", ""},
		"--region":      {"tokyo", ""},
		"--job-role":    {"arn:aws:iam::1:role/x", "arn:aws:iam::111111111111:user/x", "arn:aws:iam::111111111111:role/x\nExecStartPre=/bin/sh", "arn:aws:iam::111111111111:role/x y", "arn:aws:iam::111111111111:role/%n", ""},
		"--image":       {"$(id)", "--privileged", ""},
		"--tags":        {"a,'b'", "a,,b", ","},
		"--concurrency": {"0", "1000", "1;id"},
	} {
		for _, value := range values {
			c, cloud, _ := newRunnerConsole(t)
			status, stdout := c.types(append(registers, flag, value)...)
			assert.Equal(t, 2, status, "%s %s", flag, value)
			assert.Empty(t, stdout)
			assert.Contains(t, c.Talk.String(), flag[2:])
			assert.Empty(t, c.Ran())
			assert.Empty(t, cloud.Calls())
		}
	}
	c, _, _ := newRunnerConsole(t)
	status, _ := c.types("unregister-runner", "--name", "$(id)")
	assert.Equal(t, 2, status)
}

func TestS13_InstallProgramIsUsedWrongly(t *testing.T) {
	right := map[string]string{"--name": "artifact", "--sha256": strings.Repeat("0", 64), "--bucket": "assets", "--key": "1.bin", "--region": "ap-northeast-1", "--job-role": jobroletest.Role.ARN}
	t.Run("S13 install-program | an argument is missing or wrong | exit 2, and nothing is fetched", func(t *testing.T) {
		for flag, wrong := range map[string]string{"--sha256": "123", "--name": "../artifact", "--bucket": "s3://assets", "--key": "/etc/passwd", "--region": "tokyo", "--job-role": "jobs", "--other": "x"} {
			for _, value := range []string{wrong, ""} {
				args := []string{"install-program"}
				for name, value := range right {
					args = append(args, name, value)
				}
				c, cloud, _ := newRunnerConsole(t)
				status, _ := c.types(append(args, flag, value)...)
				assert.Equal(t, 2, status, "%s %s", flag, value)
				assert.Contains(t, c.Talk.String(), flag)
				assert.Empty(t, cloud.Calls())
			}
		}
	})
}

func TestS8_HoldAndReleaseTakeNoArguments(t *testing.T) {
	for _, command := range []string{"hold-operations", "release-operations"} {
		c := newConsole(t)
		status, _ := c.types(command, "--force")
		assert.Equal(t, 2, status)
		assert.Contains(t, c.Talk.String(), "--force")
		status, stdout := c.types(command, "--help")
		assert.Zero(t, status)
		assert.Contains(t, stdout, "host "+command)
	}
	c := newConsole(t)
	status, _ := c.types("release-operations")
	assert.Zero(t, status)
	assert.Contains(t, c.Talk.String(), "operations are not held")
}

// TestS8_ATrailingLineEndIsHarmless: some engines let $ match before one. Even then the
// value stays between its quotes, and the program refuses it.
func TestS8_ATrailingLineEndIsHarmless(t *testing.T) {
	for _, args := range [][]string{
		{"install-runner", "--version", "13.10.2\n", "--repository-url", "https://packages.example.com/runner"},
		{"upgrade-runner", "--version", "15.4.2\n", "--repository-url", "https://packages.example.com/runner"},
		{"upgrade-runner", "--version", "15.4.2", "--repository-url", "https://packages.example.com/runner\n"},
		{"upgrade-runner", "--version", "15.4", "--repository-url", "https://packages.example.com/runner", "--jobs-timeout", "60\n"},
		{"register-runner", "--action", "check\n", "--name", "a"},
	} {
		c := newConsole(t)
		status, _ := c.types(args...)
		assert.Equal(t, 2, status, "%q", args)
		assert.Empty(t, c.Ran())
	}
}

func TestS11_ArgumentsOfInstallRunnerAreRefusedBeforeAnythingIsDoneAndTheDeployHearsOfIt(t *testing.T) {
	const url = "https://cloudformation-waitcondition.s3.amazonaws.com/arn"
	right := []string{"--repository-url", "https://packages.example.com/runner", "--version", "13.10.0", "--signal-url", url}
	for _, wrong := range [][]string{
		{"--version", "13.10"}, {"--version", "v13.10.0"}, {"--version", "13.10.0;id"}, {"--repository-url", "http://example.com/runner"}, {"--repository-url", ""}, {"--token", "secret"},
	} {
		c := newConsole(t)
		var told []string
		c.OnPage(url, func(_ http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			told = append(told, string(text))
		})
		status, _ := c.types(append(append([]string{"install-runner"}, right...), wrong...)...)
		assert.Equal(t, 2, status, "%q", wrong)
		require.Len(t, told, 1)
		assert.Contains(t, told[0], `"Status":"FAILURE"`)
		assert.Contains(t, told[0], `"UniqueId":"runner"`)
		assert.Contains(t, told[0], wrong[0])
		assert.Empty(t, c.Ran())
	}
}
