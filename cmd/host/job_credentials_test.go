//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/jobrole/jobroletest"
)

func TestS13_JobCredentialsIsUsedWrongly(t *testing.T) {
	right := []string{"job-credentials", "--role-arn", jobroletest.Role.ARN, "--region", "ap-northeast-1"}
	t.Run("S13 job-credentials | it is started by hand, without a socket | it says who starts it", func(t *testing.T) {
		c := newConsole(t)
		t.Setenv("LISTEN_PID", "1")
		status, _ := c.types(right...)
		assert.Equal(t, 1, status)
		assert.Contains(t, c.Talk.String(), "got no socket: systemd starts this")
	})
	t.Run("S13 job-credentials | its arguments are wrong | exit 2", func(t *testing.T) {
		for _, wrong := range [][]string{{"--role-arn", "jobs"}, {"--role-arn", ""}, {"--region", "tokyo"}, {"surplus"}} {
			c := newConsole(t)
			status, _ := c.types(append(right[:len(right):len(right)], wrong...)...)
			assert.Equal(t, 2, status, wrong)
		}
	})
	t.Run("what a job reads of its help leads to the address", func(t *testing.T) {
		c := newConsole(t)
		status, stdout := c.types("job-credentials", "--help")
		require.Zero(t, status)
		assert.True(t, strings.Contains(stdout, "http://169.254.170.2/job-role"))
	})
}
