package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/internal/upload/uploadtest"
	"gitlab-codedeploy/test/inputs"
)

// artifact builds the jobs' program once.
var artifact = sync.OnceValues(func() (string, error) {
	file := filepath.Join(dir, "artifact")
	return file, gobuild.Build(root, "./cmd/artifact", file, runtime.GOOS, runtime.GOARCH)
})

// repository is one of the sample, as a user makes it: with the two files of
// scripts/ci in .gitlab/deploy.
type repository struct {
	dir    string
	bucket *uploadtest.Bucket
}

func newRepository(t *testing.T, bucket *uploadtest.Bucket) *repository {
	t.Helper()
	require.NoError(t, inputs.Are(root))
	r := &repository{filepath.Join(t.TempDir(), "sample-web"), bucket}
	require.NoError(t, os.CopyFS(r.dir, os.DirFS(filepath.Join(root, "test", "e2e", "sample"))))
	require.NoError(t, os.CopyFS(filepath.Join(r.dir, ".gitlab", "deploy"), os.DirFS(filepath.Join(root, "scripts", "ci"))))
	for _, args := range [][]string{
		{"git", "init", "--quiet"}, {"git", "symbolic-ref", "HEAD", "refs/heads/main"},
		{"git", "remote", "add", "origin", "git@gitlab.example.com:team/sample-web.git"},
		{"git", "add", "--all"}, {"git", "commit", "--quiet", "--message", "Release the sample"},
		{"git", "update-ref", "refs/remotes/origin/main", "HEAD"},
		{"git", "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"},
	} {
		out, err := r.command(t, args...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	return r
}

func (r *repository) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := artifact()
	require.NoError(t, err)
	cmd := (&checkout{dir: r.dir}).command(args...)
	cmd.Env = append(cmd.Env, "HOME="+t.TempDir(), "ARTIFACT_PROGRAM="+program, "AWS_ENDPOINT_URL="+r.bucket.Front.URL,
		"AWS_DEFAULT_REGION=ap-northeast-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret")
	return cmd
}

// pipeline runs the sample's pipeline and returns the exit status, what it said,
// and the result that the job left, nil when there is none.
func (r *repository) pipeline(t *testing.T, variables ...string) (status int, said string, result map[string]any) {
	t.Helper()
	args := []string{
		filepath.Join(root, "node_modules", ".bin", "gitlab-ci-local"), "--force-shell-executor", "--no-color", "--state-dir", ".gitlab-ci-local",
		"--variable", "ARTIFACT_BUCKET=artifacts-test", "--variable", "DEPLOY_POLL_SECONDS=0.05",
	}
	for _, v := range variables {
		args = append(args, "--variable", v)
	}
	cmd := r.command(t, args...)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err, "%s", out)
	}
	if text, err := os.ReadFile(filepath.Join(r.dir, "artifact.json")); err == nil {
		require.NoError(t, json.Unmarshal(text, &result), "%s", text)
	}
	return cmd.ProcessState.ExitCode(), string(out), result
}

func TestS13_S15_TheSamplesPipelineUploadsWhatItBuiltAndWaitsForItsEnd(t *testing.T) {
	bucket := uploadtest.NewBucket(t, nil)
	bucket.Says(map[string]any{"state": "Succeeded", "deploymentId": "d-7"})
	r := newRepository(t, bucket)
	status, said, result := r.pipeline(t)
	require.Equal(t, 0, status, said)
	const key = "artifacts/sample-web/artifact.gz"
	assert.Equal(t, []any{key, "Succeeded", "d-7", bucket.Versions(key)[0].VersionID},
		[]any{result["key"], result["state"], result["deploymentId"], result["versionId"]})

	head, err := r.command(t, "git", "rev-parse", "HEAD").Output()
	require.NoError(t, err)
	plain, err := gzip.NewReader(bytes.NewReader(bucket.Content(t, key)))
	require.NoError(t, err)
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		require.NoError(t, err, "./index.html is not in the bundle")
		if header.Name == "./index.html" {
			page, err := io.ReadAll(archive)
			require.NoError(t, err)
			assert.Contains(t, string(page), string(head[:8]))
			break
		}
	}
}

// As a person does who runs a pipeline with another DEPLOYMENT_GROUP_NAME.
func TestS15_ARejectedArtifactTurnsTheJobRedWithReasonAndResult(t *testing.T) {
	bucket := uploadtest.NewBucket(t, nil)
	bucket.Says(map[string]any{"state": "Rejected", "reason": "not-on-the-list is not on the list"})
	status, said, result := newRepository(t, bucket).pipeline(t, "DEPLOYMENT_GROUP_NAME=not-on-the-list")
	assert.Equal(t, 1, status, said)
	assert.Regexp(t, `FAIL +deploy`, said)
	assert.Regexp(t, `Rejected after .*: not-on-the-list is not on the list`, said)
	assert.Equal(t, []any{"not-on-the-list", "Rejected"}, []any{result["deploymentGroup"], result["state"]})
}

func TestS15_AJobThatWaitedInVainIsRedWithTheExitCodeThatAllowFailureCanName(t *testing.T) {
	status, said, result := newRepository(t, uploadtest.NewBucket(t, nil)).pipeline(t, "DEPLOY_TIMEOUT=1")
	assert.Equal(t, 1, status, said)
	assert.Contains(t, said, "timed out after")
	assert.Regexp(t, `FAIL +deploy`, said)
	assert.Contains(t, result, "state")
	assert.Nil(t, result["state"])
}

func TestS13_TheJobTurnsRedWhenS3Refuses(t *testing.T) {
	bucket := uploadtest.NewBucket(t, func(uploadtest.Call) uploadtest.Fault { return uploadtest.Fault{Status: 403, Code: "AccessDenied"} })
	status, said, result := newRepository(t, bucket).pipeline(t)
	assert.Equal(t, 1, status, said)
	assert.Regexp(t, `FAIL +deploy`, said)
	assert.Contains(t, said, "S3 refused s3://artifacts-test/")
	assert.Nil(t, result)
}

func TestS13_OnlyTheDefaultBranchDeploys(t *testing.T) {
	r := newRepository(t, uploadtest.NewBucket(t, nil))
	out, err := r.command(t, "git", "checkout", "--quiet", "-b", "feature").CombinedOutput()
	require.NoError(t, err, "%s", out)
	list, err := r.command(t, filepath.Join(root, "node_modules", ".bin", "gitlab-ci-local"), "--no-color", "--state-dir", ".gitlab-ci-local", "--list").Output()
	require.NoError(t, err)
	assert.Contains(t, string(list), "build")
	assert.NotContains(t, strings.ReplaceAll(string(list), ".gitlab/deploy", ""), "deploy")
}
