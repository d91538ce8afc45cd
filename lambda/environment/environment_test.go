package environment

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/internal/trust/signer"
	"gitlab-codedeploy/lambda/internal/allowlist"
)

func reader(env map[string]string) *Reader {
	return &Reader{Host: Host{Getenv: func(name string) string { return env[name] }}}
}

func TestS14_EverythingThatIsMissingIsReportedAtOnce(t *testing.T) {
	r := reader(map[string]string{"ARTIFACT_PREFIX": "artifacts", "AWS_ENDPOINT_URL": "localhost:5000", "LAMBDA_TASK_ROOT": t.TempDir()})
	r.Artifacts()
	r.AllowList()
	r.AWS()
	for _, want := range []string{
		"ARTIFACT_BUCKET is not set", `ARTIFACT_PREFIX is "artifacts"`, "no such file",
		"AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY not set", `AWS_ENDPOINT_URL is "localhost:5000"`,
	} {
		assert.ErrorContains(t, r.Err(), want)
	}

	r = reader(nil)
	r.AllowList()
	assert.Empty(t, r.URL("QUEUE_URL"), "an address may be left out")
	assert.EqualError(t, r.Err(), "LAMBDA_TASK_ROOT is not set: want the folder that holds deployment-groups.json")
}

// A connection that Lambda froze with the process is likely dead by the time
// it is used again.
func TestS14_AnIdleConnectionIsNotUsedAgain(t *testing.T) {
	r := reader(map[string]string{"AWS_REGION": "ap-northeast-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"})
	options := codedeploy.NewFromConfig(r.AWS()).Options()
	require.NoError(t, r.Err())
	client, ok := options.HTTPClient.(interface{ GetTransport() *http.Transport })
	require.True(t, ok)
	assert.Equal(t, idleConnection, client.GetTransport().IdleConnTimeout)
}

// See internal/httpbody.
func TestS14_NoAnswerIsLostOnTheWay(t *testing.T) {
	r := reader(map[string]string{"AWS_REGION": "ap-northeast-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"})
	stack := middleware.NewStack("call", smithyhttp.NewStackRequest)
	for _, option := range r.AWS().APIOptions {
		require.NoError(t, option(stack))
	}
	assert.Contains(t, stack.Deserialize.List(), "OnlyReadBody")
}

func TestS15_GitLabsKeysAreReadOrNoneIsKnown(t *testing.T) {
	root := t.TempDir()
	r := reader(map[string]string{"LAMBDA_TASK_ROOT": root, "GITLAB_URL": "https://gitlab.example.com"})
	assert.Empty(t, r.GitLab().Keys)
	require.NoError(t, r.Err())

	gitlab, err := signer.New("https://gitlab.example.com")
	require.NoError(t, err)
	file := filepath.Join(root, KeysFile)
	require.NoError(t, os.WriteFile(file, gitlab.Keys().Encode(), 0o600))
	assert.Equal(t, &trust.Verifier{Keys: gitlab.Keys(), URL: "https://gitlab.example.com"}, r.GitLab())
	require.NoError(t, r.Err())

	require.NoError(t, os.WriteFile(file, []byte("{}"), 0o600))
	r.GitLab()
	assert.ErrorContains(t, r.Err(), "gitlab-keys.json: got no key")

	for _, url := range []string{"", "gitlab.example.com", "http://gitlab.example.com", "https://", "https://gitlab.example.com/"} {
		r = reader(map[string]string{"LAMBDA_TASK_ROOT": t.TempDir(), "GITLAB_URL": url})
		r.GitLab()
		assert.ErrorContains(t, r.Err(), "GITLAB_URL is", url)
	}
}

func TestS15_AnAllowListThatIsThereHasToBeReadable(t *testing.T) {
	root := t.TempDir()
	r := reader(map[string]string{"LAMBDA_TASK_ROOT": root})
	assert.Nil(t, r.AllowListIfAny())
	require.NoError(t, r.Err())

	file := filepath.Join(root, allowlist.File)
	require.NoError(t, os.WriteFile(file, []byte(`[{"application":"web","deploymentGroup":"g"}]`), 0o600))
	assert.Equal(t, allowlist.List{{Application: "web", DeploymentGroup: "g"}: {}}, r.AllowListIfAny())
	require.NoError(t, r.Err())

	require.NoError(t, os.WriteFile(file, []byte(`[`), 0o600))
	assert.Nil(t, r.AllowListIfAny())
	require.ErrorContains(t, r.Err(), allowlist.File)
}
