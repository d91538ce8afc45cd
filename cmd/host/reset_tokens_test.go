//go:build unix

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/machine/machinetest"
)

// newDatabase is a server whose database answers as internal/tokens finds a real one to do.
func newDatabase(t *testing.T) *console {
	c := newConsole(t)
	c.On("gitlab-psql", func(call machinetest.Call) int {
		switch {
		case strings.Contains(call.Input, "pg_attribute"):
			call.Print("application_settings\tsignup_enabled\nprojects\trunners_token\n")
		case strings.Contains(call.Input, "coalesce((SELECT signup_enabled"):
			call.Print("t\n")
		case strings.Contains(call.Input, "UPDATE"):
			call.Print("projects\t0\n")
		default:
			call.Print("projects\t3\n")
		}
		return 0
	})
	c.Answers("gitlab-rails runner -e production -", "gitlab-codedeploy: []\n")
	return c
}

func TestS12_ResetTokensPrintsWhatItDid(t *testing.T) {
	c := newDatabase(t)
	status, stdout := c.types("reset-tokens", "--lost-secrets", "no", "--check", "yes", "--yes", "no")
	assert.Zero(t, status, c.Talk)
	missing := `["application_settings.runners_registration_token","application_settings.runners_registration_token_encrypted","namespaces.runners_token","namespaces.runners_token_encrypted","projects.runners_token_encrypted"]`
	assert.JSONEq(t, `{"reset":{"projects":{"before":3}},"missing":`+missing+`,"names":"","signingKeys":[],"signUp":"open"}`, stdout)
	status, stdout = c.types("reset-tokens", "--yes", "yes")
	assert.Zero(t, status, c.Talk)
	assert.JSONEq(t, `{"reset":{"projects":{"before":3,"after":0}},"missing":`+missing+`,"names":"","signingKeys":[],"signUp":"open"}`, stdout)
	status, stdout = c.types("reset-tokens", "--yes", "yes", "--sign-up", "close")
	assert.Zero(t, status, c.Talk)
	assert.Contains(t, stdout, `"signUp":"closed"`)
}

func TestS12_ResetTokensAsksOnceAndTwiceForLostSecrets(t *testing.T) {
	for _, tt := range []struct {
		args    []string
		answers string
		status  int
	}{
		{nil, "n\n", 1}, {nil, "", 1}, {nil, "y\n", 0},
		{[]string{"--lost-secrets", "yes"}, "y\nn\n", 1},
		{[]string{"--lost-secrets", "yes"}, "y\ny\n", 0},
	} {
		c := newDatabase(t)
		c.terminal, c.stdin = true, io.NopCloser(strings.NewReader(tt.answers))
		status, _ := c.types(append([]string{"reset-tokens"}, tt.args...)...)
		assert.Equal(t, tt.status, status, c.Talk)
		assert.Equal(t, len(tt.args) > 0 && strings.HasPrefix(tt.answers, "y"), strings.Contains(c.Talk.String(), "This cannot be undone"))
		assert.Equal(t, tt.status == 0, len(c.RanLike("gitlab-psql")) > 3, "nothing is changed without consent")
	}
}

func TestS12_ResetTokensRefusesWrongArguments(t *testing.T) {
	c := newDatabase(t)
	for _, wrong := range [][]string{nil, {"--lost-secrets", "maybe", "--yes", "yes"}, {"--force"}, {"--yes", "yes", "--sign-up", "open"}, {"--yes", "yes", "surplus"}} {
		status, stdout := c.types(append([]string{"reset-tokens"}, wrong...)...)
		assert.Equal(t, 2, status, wrong)
		assert.Empty(t, stdout)
	}
	_, _ = c.types("reset-tokens", "--lost-secrets", "maybe")
	assert.Contains(t, c.Talk.String(), "--lost-secrets")
	assert.Contains(t, c.Talk.String(), "want yes or no")
	assert.Empty(t, c.Ran())
}

func TestS12_ResetTokensWaitsForNobody(t *testing.T) {
	t.Run("S12 reset-tokens | another operation is under way | it ends at once, and says which", func(t *testing.T) {
		c := newDatabase(t)
		lock, err := c.Lock(machine.OperationLock, "upgrade (run 20261124T185436-0a1b2c3d)")
		require.NoError(t, err)
		defer lock.Release()
		status, _ := c.types("reset-tokens", "--yes", "yes")
		assert.Equal(t, 1, status)
		assert.Contains(t, c.Talk.String(), "upgrade (run 20261124T185436-0a1b2c3d)")
		assert.Empty(t, c.Ran())
	})
}
