//go:build unix

package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
)

func newServer(t *testing.T) *console {
	c := newConsole(t)
	c.Put("/opt/gitlab/bin/gitlab-ctl", "")
	c.Put(omnibus.MainSettings, "external_url 'https://old.example.com'\n")
	c.Answers("/opt/gitlab/bin/gitlab-ctl reconfigure", "gitlab Reconfigured!\n")
	c.OnPage("http://localhost/users/sign_in", func(http.ResponseWriter, *http.Request) {})
	return c
}

func TestS8_ConfigurePrintsItsState(t *testing.T) {
	c := newServer(t)
	status, stdout := c.types("configure", "--external-url", "https://gitlab.example.com", "--check", "yes", "--yes", "no")
	assert.Zero(t, status, c.Talk)
	assert.JSONEq(t, `{"settings": "/etc/gitlab/gitlab-codedeploy.rb", "state": "differs"}`, stdout)
	assert.False(t, c.Exists(omnibus.Settings))
	status, stdout = c.types("configure", "--external-url", "https://gitlab.example.com", "--check", "no", "--yes", "yes")
	assert.Zero(t, status, c.Talk)
	assert.JSONEq(t, `{"settings": "/etc/gitlab/gitlab-codedeploy.rb", "state": "applied"}`, stdout)
}

func TestS8_ConfigureAsks(t *testing.T) {
	c := newServer(t)
	c.terminal = true
	for answer, want := range map[string]int{"": 1, "n\n": 1, "no\n": 1, "Yes\n": 0} {
		c.program.stdin = strings.NewReader(answer)
		status, _ := c.types("configure", "--external-url", "https://gitlab.example.com")
		assert.Equal(t, want, status, c.Talk)
		assert.Contains(t, c.Talk.String(), "Write this and reconfigure GitLab? It restarts what the settings concern. [y/N] ")
		assert.Equal(t, want == 0, c.Exists(omnibus.Settings))
		_ = c.Remove(omnibus.Settings)
		c.Put(omnibus.MainSettings, "external_url 'https://old.example.com'\n")
	}
}

func TestS8_ConfigureRefusesBeforeAnythingIsDone(t *testing.T) {
	c := newServer(t)
	for _, wrong := range [][]string{
		{},
		{"--check", "maybe"},
		{"--check"},
		{"--yes", "yes", "--external-url", "http://gitlab.example.com"},
		{"--yes", "yes", "--external-url", "https://a/b"},
		{"--yes", "yes", "--external-url", "https://a'; system('id"},
		{"--yes", "yes", "--external-url", ""},
		{"--yes", "yes", "surplus"},
	} {
		status, stdout := c.types(append([]string{"configure", "--external-url", "https://gitlab.example.com"}, wrong...)...)
		assert.Equal(t, 2, status, wrong)
		assert.Empty(t, stdout)
	}
	_, _ = c.types("configure", "--external-url", "https://gitlab.example.com")
	assert.Contains(t, c.Talk.String(), "there is no terminal to ask on")
	c.root = false
	status, _ := c.types("configure", "--external-url", "https://gitlab.example.com", "--yes", "yes")
	assert.Equal(t, 1, status)
	assert.Contains(t, c.Talk.String(), "run this as root")
	assert.Empty(t, c.Ran())
}

func TestS8_ConfigureWaitsForNobody(t *testing.T) {
	t.Run("S8 configure | another operation is under way | it ends at once", func(t *testing.T) {
		c := newServer(t)
		lock, err := c.Lock(machine.OperationLock, "backup (process 7)")
		assert.NoError(t, err)
		defer lock.Release()
		status, stdout := c.types("configure", "--external-url", "https://gitlab.example.com", "--yes", "yes")
		assert.Equal(t, 1, status)
		assert.Empty(t, stdout)
		assert.Regexp(t, `error: backup \(process 7\), since .* is under way on this host: nothing was done`, c.Talk)
		assert.False(t, c.Exists(omnibus.Settings))
		status, _ = c.types("configure", "--external-url", "https://gitlab.example.com", "--check", "yes")
		assert.Zero(t, status, "a look disturbs nobody")
	})
}
