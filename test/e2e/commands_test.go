package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
)

// ops runs the operator's program of a checkout as a user does who evaluated the line that "up" printed.
func ops(t *testing.T, checkout string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.Command("bash", append([]string{"-c", both().up.stdout + `exec "$@"`, "bash", filepath.Join(checkout, "bin", "ops")}, args...)...)
	cmd.Env = append(os.Environ(), "AWS_PROFILE=", "CDK_VALIDATION=false")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	return out.String(), said.String(), err
}

// opsJSON is ops for a command that ends well and prints JSON.
func opsJSON(t *testing.T, answer any, args ...string) {
	t.Helper()
	stdout, stderr, err := ops(t, root, args...)
	require.NoError(t, err, "%s%s", stdout, stderr)
	require.NoError(t, json.Unmarshal([]byte(stdout), answer), stdout)
}

// TestS15_AnOperatorsWay goes from nothing to a deployment, back and forward, with the operator's program alone.
func TestS15_AnOperatorsWay(t *testing.T) {
	bucket := up(t)["Deploy-local"]["ArtifactBucketName"] // by scripts/ops deploy
	both := []string{"--profile-a", "account-a", "--profile-b", "account-b"}

	t.Run("init", func(t *testing.T) {
		checkout := t.TempDir()
		require.NoError(t, os.CopyFS(filepath.Join(checkout, "config"), os.DirFS(filepath.Join(root, "config"))))
		require.NoError(t, os.Mkdir(filepath.Join(checkout, "bin"), 0o700))
		require.NoError(t, os.Link(filepath.Join(root, "bin", "ops"), filepath.Join(checkout, "bin", "ops")))
		_, stderr, err := ops(t, checkout, append([]string{"init", "--env", "trial", "--yes", "--region", "ap-northeast-1",
			"--domain", "gitlab.example.com", "--allow", "203.0.113.0/24"}, both...)...)
		require.NoError(t, err, stderr)
		cfg, err := config.Load(filepath.Join(checkout, "config"), "trial")
		require.NoError(t, err)
		assert.Equal(t, []string{"111111111111", "222222222222"}, []string{cfg.GitLab.Account, cfg.Deploy.Account})
		assert.Len(t, cfg.Deploy.DeploymentGroups, 2, "what CodeDeploy has")
	})

	t.Run("doctor", func(t *testing.T) {
		stdout, stderr, err := ops(t, root, append([]string{"doctor", "--env", "local", "--json"}, both...)...)
		require.Error(t, err, "nobody has made a backup here")
		var findings []struct{ Where, Check, State, Found, Remedy string }
		require.NoError(t, json.Unmarshal([]byte(stdout), &findings), "%s%s", stdout, stderr)
		states := map[string]string{}
		for _, f := range findings {
			states[f.Where+": "+f.Check] = f.State
			if f.State == "wrong" {
				assert.NotEmpty(t, f.Remedy, f.Check)
			}
		}
		for check, want := range map[string]string{
			"account A: certificate": "ok", "account A: backups": "wrong", "account A: GitLab's keys": "unchecked", "account B: uploads": "ok",
		} {
			assert.Equal(t, want, states[check], "%s: %s", check, stdout)
		}
	})

	push := func() string {
		id := putToken(t, bucket, jobToken(t, "--project", "team/sample-web", "--ref", "main"))
		version := putArtifact(t, bucket, id)
		require.Equal(t, "Succeeded", ended(t, bucket, id).State)
		return version
	}
	first, second := push(), push()
	type row struct{ DeploymentGroup, State, VersionID, Project, Ref string }
	live := func(group string) (rows []row) {
		opsJSON(t, &rows, "deployments", "--env", "local", "--profile", "account-b", "--application", "sample-web", "--deployment-group", group, "--json")
		return rows
	}
	newest := live("sample-web-blue-green")[0]
	assert.Equal(t, row{"sample-web-blue-green", "Succeeded", second, "team/sample-web", "main"}, newest)

	type order struct{ State, VersionID, Operator string }
	var back order
	opsJSON(t, &back, "rollback", "--env", "local", "--profile", "account-b", "--application", "sample-web",
		"--deployment-group", "sample-web-blue-green", "--yes", "--follow")
	assert.Equal(t, "Succeeded", back.State)
	assert.Equal(t, first, back.VersionID)
	assert.NotEmpty(t, back.Operator)
	assert.Equal(t, first, live("sample-web-blue-green")[0].VersionID)

	var forward order
	opsJSON(t, &forward, "promote", "--env", "local", "--profile", "account-b", "--application", "sample-web",
		"--from", "sample-web-blue-green", "--to", "sample-web-production", "--yes", "--follow")
	assert.Equal(t, "Succeeded", forward.State)
	assert.Equal(t, first, forward.VersionID)
	assert.Equal(t, first, live("sample-web-production")[0].VersionID)

	third := push()
	assert.Equal(t, third, live("sample-web-blue-green")[0].VersionID, "the next push ends the rollback")
}
