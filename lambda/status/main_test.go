package main

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/lambda/internal/awstest"
	"gitlab-codedeploy/test/inputs"
)

// Start-up mistakes are all named at once, and end the process.
func TestS15_TheBinarySaysWhatIsMissingAtStart(t *testing.T) {
	require.NoError(t, inputs.Are("../..", "go.mod", "go.sum", "lambda"))
	binary := filepath.Join(t.TempDir(), "bootstrap")
	require.NoError(t, gobuild.Build(".", ".", binary, runtime.GOOS, runtime.GOARCH))
	awstest.CannotStart(t, binary, []string{"AWS_REGION=ap-northeast-1"}, "ARTIFACT_BUCKET is not set", "ARTIFACT_PREFIX is", "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY not set")
}
