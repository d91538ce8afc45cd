//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/operation"
)

// console is the program on a played host, and what it has printed.
type console struct {
	*machinetest.Host
	program
	stdout bytes.Buffer
}

func newConsole(t *testing.T) *console {
	c := &console{Host: machinetest.New(t)}
	c.program = program{
		machine: c.Machine, root: true, stdout: &c.stdout, stderr: c.Talk,
		runs: &operation.Runs{Machine: c.Machine, Program: "/opt/host", Path: "/usr/bin"},
	}
	return c
}

// types runs a command line as a person would type it.
func (c *console) types(args ...string) (status int, stdout string) {
	c.stdout.Reset()
	c.Talk.Reset()
	status = c.run(context.Background(), args)
	return status, c.stdout.String()
}

func TestS8_FollowRefusesWhatIsNeitherARunNorAnOperation(t *testing.T) {
	c := newConsole(t)
	for _, wrong := range []string{"", "x;y", "../..", "20261124T185436-0a1b2c3d/..", "a b", "$(id)", "backup'", "Backup"} {
		status, stdout := c.types("follow", "--run", wrong)
		assert.Equal(t, 2, status, wrong)
		assert.Empty(t, stdout)
		assert.Contains(t, c.Talk.String(), "--run: got ")
	}
	for _, args := range [][]string{{"--log-from", "-1"}, {"--result-from", "x"}, {"--wait", "100"}, {"--wait", "-1"}, {"--log-from", "099"}, {"surplus"}, {"--other"}} {
		status, _ := c.types(append([]string{"follow", "--run", "test"}, args...)...)
		assert.Equal(t, 2, status, args)
	}
	status, stdout := c.types("follow", "--run", "test", "--log-from", "99")
	assert.Zero(t, status, c.Talk)
	assert.Contains(t, stdout, `"state":"none"`)
	entries, err := os.ReadDir(c.Root)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "it makes nothing")
}

func TestS8_OperationsRemoveOldBuildsOfTheProgram(t *testing.T) {
	c := newConsole(t)
	build := func(n int) string { return fmt.Sprintf("%s/%064x/host", operation.Builds, n) }
	for n := range 5 {
		c.Put(build(n), "a program")
		at := time.Now().Add(time.Duration(n-10) * 24 * time.Hour)
		require.NoError(t, os.Chtimes(c.Path(build(n)), at, at))
	}
	left := func() int {
		names, err := c.List(operation.Builds)
		require.NoError(t, err)
		return len(names)
	}
	c.Answers("rpm -q", "")
	_, _ = c.types("upgrade", "--mode", "plan", "--from", "13.10.2")
	assert.Equal(t, 5, left(), "who looks removes nothing")
	lock, err := c.Lock(machine.OperationLock, "upgrade (run 20261124T185436-0a1b2c3d)")
	require.NoError(t, err)
	status, _ := c.types("backup", "--to-dir", "/mnt")
	assert.Equal(t, 1, status)
	assert.Equal(t, 5, left(), "while another operation is under way")
	lock.Release()
	status, _ = c.types("backup", "--to-dir", "/mnt")
	assert.Equal(t, 1, status, "there is no GitLab")
	assert.Equal(t, 3, left())
	assert.Contains(t, c.Talk.String(), "removing a build of this program that is not used any more: 000000000000")
}

func TestS15_TheKeysThatGitLabSignsWith(t *testing.T) {
	shows := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Host != "gitlab.example.com" || r.Header.Get("X-Forwarded-Proto") != "https" || r.Header.Get("X-Forwarded-Port") != "443" {
				http.Redirect(w, r, "https://gitlab.example.com", http.StatusMovedPermanently)
				return
			}
			_, _ = w.Write([]byte(text))
		}
	}
	const keys, jwks = "http://localhost/oauth/discovery/keys", "http://localhost/-/jwks"
	ask := []string{"keys", "--external-url", "https://gitlab.example.com"}

	t.Run("both addresses of GitLab are asked at localhost, and each answer is one line", func(t *testing.T) {
		c := newConsole(t)
		c.OnPage(keys, shows("{\"keys\":\r\n[]}"))
		c.OnPage(jwks, shows(`{"keys":[{"kid":"a"}]}`))
		status, stdout := c.types(ask...)
		assert.Zero(t, status, c.Talk)
		assert.Equal(t, "keys /oauth/discovery/keys {\"keys\":[]}\nkeys /-/jwks {\"keys\":[{\"kid\":\"a\"}]}\n", stdout)
	})
	t.Run("one address is enough: GitLab 13.10 has jobs' key at one only", func(t *testing.T) {
		c := newConsole(t)
		c.OnPage(keys, http.NotFound)
		c.OnPage(jwks, shows(`{"keys":[]}`))
		status, stdout := c.types(ask...)
		assert.Zero(t, status, c.Talk)
		assert.Equal(t, "keys /-/jwks {\"keys\":[]}\n", stdout)
	})
	t.Run("a GitLab that shows no keys, or a page of its own instead, fails and says what to look at", func(t *testing.T) {
		for _, page := range []string{"<html>502</html>", "", string(bytes.Repeat([]byte("{"), 30000))} {
			c := newConsole(t)
			c.OnPage(jwks, shows(page))
			status, stdout := c.types(ask...)
			assert.Equal(t, 1, status)
			assert.Empty(t, stdout)
			assert.Contains(t, c.Talk.String(), "error: GitLab shows no keys at http://localhost")
			assert.Contains(t, c.Talk.String(), "scripts/ops status")
		}
	})
	t.Run("anything but the address of a GitLab is wrong use", func(t *testing.T) {
		for _, wrong := range []string{"", "http://gitlab.example.com", "https://", "https://a/b", "https://a b", "https://a;id"} {
			c := newConsole(t)
			status, _ := c.types("keys", "--external-url", wrong)
			assert.Equal(t, 2, status, wrong)
			assert.Contains(t, c.Talk.String(), "--external-url: got ")
		}
	})
}
