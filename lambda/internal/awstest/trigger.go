package awstest

import (
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/allowlist"
)

// NewWithArtifact is a server with an artifact for the blue/green group
// web/web-blue-green, which has had no deployment.
func NewWithArtifact(t *testing.T, path string, metadata http.Header) *Server {
	server := New(t)
	for name, answer := range map[string]string{
		"GetDeploymentGroup": `{"deploymentGroupInfo":{"applicationName":"web","deploymentGroupName":"web-blue-green",
			"deploymentStyle":{"deploymentType":"BLUE_GREEN","deploymentOption":"WITH_TRAFFIC_CONTROL"}}}`,
		"ListDeployments":         `{"deployments":[]}`,
		"CreateDeployment":        `{"deploymentId":"d-WIRE00001"}`,
		"ChangeMessageVisibility": `{}`,
	} {
		server.Operations[name] = func(w http.ResponseWriter, _ string, _ int) { io.WriteString(w, answer) }
	}
	server.PutArtifact(path, metadata)
	return server
}

// PutArtifact puts an artifact for that group. Metadata comes on top of its own.
func (s *Server) PutArtifact(path string, metadata http.Header) {
	header := http.Header{
		"X-Amz-Meta-Application-Name":     {"web"},
		"X-Amz-Meta-Deploymentgroup-Name": {"web-blue-green"},
		"X-Amz-Meta-Upload-Id":            {"job-9"},
		"ETag":                            {`"9a0364b9e99bb480dd25e1f0284c8555-3"`},
		"X-Amz-Version-Id":                {"v1"},
	}
	maps.Copy(header, metadata)
	s.Put(path, header, "")
}

// TriggerEnvironment is what Lambda gives the trigger: that group is on its list.
func (s *Server) TriggerEnvironment(t *testing.T, bucket, prefix string) map[string]string {
	t.Helper()
	env := s.Environment(bucket, prefix)
	env["LAMBDA_TASK_ROOT"] = t.TempDir()
	env["GITLAB_URL"] = "https://gitlab.example.com"
	env["QUEUE_URL"] = env["AWS_ENDPOINT_URL"] + "/222222222222/queue"
	require.NoError(t, os.WriteFile(filepath.Join(env["LAMBDA_TASK_ROOT"], allowlist.File),
		[]byte(`[{"application":"web","deploymentGroup":"web-blue-green","anyProject":true}]`), 0o600))
	return env
}

// CannotStart checks that a function's program ends at once in an environment, and
// says everything that is wrong in one line.
func CannotStart(t *testing.T, program string, env []string, want ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", out)
	assert.Equal(t, 1, exit.ExitCode())
	assert.Equal(t, 1, strings.Count(string(out), "\n"), "one line of log: %s", out)
	for _, text := range append(want, "cannot start: ") {
		assert.Contains(t, string(out), text)
	}
}
