package main

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/test/inputs"
)

// Start-up mistakes are all named at once, and end the process.
func TestS10_TheBinarySaysWhatIsMissingAtStart(t *testing.T) {
	require.NoError(t, inputs.Are("../..", "go.mod", "go.sum", "lambda"))
	binary := filepath.Join(t.TempDir(), "bootstrap")
	require.NoError(t, gobuild.Build(".", ".", binary, runtime.GOOS, runtime.GOARCH))
	cmd := exec.Command(binary)
	cmd.Env = []string{"AWS_REGION=ap-northeast-1"}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", out)
	assert.Equal(t, 1, exit.ExitCode())
	assert.Equal(t, 1, strings.Count(string(out), "\n"), "one line of log: %s", out)
	for _, want := range []string{"cannot start: ", "BACKUP_BUCKET is not set", "KEEP_DAYS is", "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY not set"} {
		assert.Contains(t, string(out), want)
	}
}
