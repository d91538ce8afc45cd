package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/test/inputs"
)

// checkout is a copy of this repository as a runner has it: on the default
// branch, with the tools that are installed here.
type checkout struct {
	dir       string
	variables []string
}

func newCheckout(t *testing.T, endpoint string) *checkout {
	t.Helper()
	c := &checkout{dir: filepath.Join(t.TempDir(), "gitlab-codedeploy"), variables: []string{
		"ENVIRONMENT=local", "PIPELINE_ACCESS=on",
		// The emulator's stacks have no outputs after a change set.
		"DEPLOY_METHOD=direct",
		// GitLab makes it from id_tokens; the emulator believes any.
		"AWS_ID_TOKEN=header.payload.signature",
		"AWS_ENDPOINT_URL=" + endpoint,
		"CDK_HOME=" + t.TempDir(), "CDK_DISABLE_CLI_TELEMETRY=true",
		// The emulator that is left running was deployed with it, from the same templates.
		"CDK_VALIDATION=false",
	}}
	names, err := inputs.Files(root)
	require.NoError(t, err)
	for _, name := range names {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil || !info.Mode().IsRegular() { // removed and not committed yet, or a link to tools
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(c.dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(c.dir, name), content, info.Mode().Perm()))
	}
	// The key of the emulator's GitLab, which an operator would have committed.
	keys := config.KeysFile("config", "local")
	if content, err := os.ReadFile(filepath.Join(root, keys)); err == nil {
		c.write(t, keys, string(content))
	}
	// What it would install is here already.
	c.write(t, "scripts/setup.sh", "#!/bin/sh\n")
	for _, name := range []string{"node_modules", ".tools"} { // with the programs that a synth publishes
		require.NoError(t, os.Symlink(filepath.Join(root, name), filepath.Join(c.dir, name)))
	}
	// From the same sources, and newer than they are here.
	if program, err := os.ReadFile(filepath.Join(root, "bin", "ops")); err == nil {
		require.NoError(t, os.Mkdir(filepath.Join(c.dir, "bin"), 0o755))
		c.write(t, "bin/ops", string(program))
	}
	for _, args := range [][]string{
		{"git", "init", "--quiet"},
		{"git", "symbolic-ref", "HEAD", "refs/heads/main"},
		{"git", "remote", "add", "origin", "git@gitlab.example.com:platform/gitlab-codedeploy.git"},
		{"git", "add", "--all"},
		{"git", "commit", "--quiet", "--message", "Copy the repository"},
		{"git", "update-ref", "refs/remotes/origin/main", "HEAD"},
		{"git", "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"},
	} {
		out, err := c.command(args...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	return c
}

func (c *checkout) write(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, name), []byte(content), 0o755))
}

func (c *checkout) read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.dir, name))
	require.NoError(t, err)
	return string(content)
}

// command runs with the tools of this checkout, and with nothing of the user's
// accounts, repositories or pipelines.
func (c *checkout) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = c.dir
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "CI") && !strings.HasPrefix(name, "GIT") && name != "PATH" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	if c.dir != "" { // A job's container would go, with what it leaves behind.
		cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Dir(c.dir))
	}
	path := []string{filepath.Join(root, "node_modules", ".bin"), filepath.Join(root, ".venv", "bin"), os.Getenv("PATH")}
	cmd.Env = append(cmd.Env, "PATH="+strings.Join(path, string(filepath.ListSeparator)), "AWS_EC2_METADATA_DISABLED=true",
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.com", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.com")
	return cmd
}

// job runs one job of .gitlab-ci.yml.
func (c *checkout) job(name string, variables ...string) (string, error) {
	args := []string{filepath.Join(root, "node_modules", ".bin", "gitlab-ci-local"), "--force-shell-executor", "--no-color", "--state-dir", ".gitlab-ci-local"}
	for _, v := range append(append([]string{}, c.variables...), variables...) {
		args = append(args, "--variable", v)
	}
	out, err := c.command(append(args, name)...).CombinedOutput()
	return string(out), err
}

// notes plays GitLab's notes of merge request 7 of project 42, and what its job synth has made.
type notes struct {
	sync.Mutex
	made     string // the folder
	bodies   []string
	requests []string
}

func (n *notes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.Lock()
	defer n.Unlock()
	const path = "/api/v4/projects/42/merge_requests/7/notes"
	n.requests = append(n.requests, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/api/v4/projects/42/merge_requests/7"))
	text, _ := io.ReadAll(r.Body)
	var sent struct{ Body string }
	_ = json.Unmarshal(text, &sent)
	all := []map[string]any{}
	for i, body := range n.bodies {
		all = append(all, map[string]any{"id": i + 1, "author": map[string]any{"id": 5}, "body": body})
	}
	var answer any
	switch {
	case r.Header.Get("PRIVATE-TOKEN") != "secret-token":
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/api/v4/user":
		answer = map[string]any{"id": 5}
	case r.URL.Path == path && r.Method == http.MethodGet:
		answer = all
	case r.URL.Path == path && r.Method == http.MethodPost:
		n.bodies = append(n.bodies, sent.Body)
		w.WriteHeader(http.StatusCreated)
		answer = map[string]any{"id": len(n.bodies)}
	case r.URL.Path == path+"/1" && r.Method == http.MethodPut:
		n.bodies[0] = sent.Body
		answer = map[string]any{"id": 1}
	case r.URL.Path == "/api/v4/projects/42/merge_requests" && r.URL.Query().Get("target_branch") == "main":
		answer = []any{map[string]any{"iid": 7}}
	case r.URL.Path == "/api/v4/projects/42/merge_requests/7":
		answer = map[string]any{"head_pipeline": map[string]any{"id": 70, "project_id": 42}}
	case r.URL.Path == "/api/v4/projects/42/pipelines/70/jobs":
		answer = []any{map[string]any{"id": 700, "name": "check"}, map[string]any{"id": 701, "name": "synth"}}
	case strings.HasPrefix(r.URL.Path, "/api/v4/projects/42/jobs/701/artifacts/cdk.out/"):
		http.ServeFile(w, r, filepath.Join(n.made, filepath.Base(r.URL.Path)))
		return
	default:
		w.WriteHeader(http.StatusNotFound)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// TestPipelineOfThisRepository runs the jobs that reach AWS, in their order,
// against the accounts that are up. These are deployed from the same sources, so
// that nothing changes until a script is edited.
func TestPipelineOfThisRepository(t *testing.T) {
	outputs := up(t)
	var state struct{ Endpoint string }
	readJSON(t, "state.json", &state)
	c := newCheckout(t, state.Endpoint)
	gitlab := &notes{}
	server := httptest.NewServer(gitlab)
	defer server.Close()
	review := []string{
		"CI_PROJECT_ID=42", "CI_API_V4_URL=" + server.URL + "/api/v4", "REVIEW_NOTE_TOKEN=secret-token", "CI_DEFAULT_BRANCH=main", "CI_PIPELINE_SOURCE=schedule",
	}
	gitlab.made = filepath.Join(c.dir, "cdk.out")

	out, err := c.job("synth")
	require.NoError(t, err, out)
	for name, variables := range map[string][]string{"diff": nil, "notes": review} {
		out, err := c.job(name, variables...)
		require.NoError(t, err, "%s: %s", name, out)
		assert.NotContains(t, out, "secret-token")
		assert.NotContains(t, out, "header.payload.signature")
	}
	assert.Contains(t, c.read(t, "diff.md"), "## What changes in local\n\nNothing changes.")
	require.Len(t, gitlab.bodies, 1)
	assert.Contains(t, gitlab.bodies[0], "<!-- gitlab-codedeploy: changes in local -->\n## What changes in local")

	out, err = c.job("deploy-a")
	require.NoError(t, err, out)
	var deployed map[string]map[string]string
	require.NoError(t, json.Unmarshal([]byte(c.read(t, "outputs-a.json")), &deployed))
	assert.Equal(t, outputs["GitLab-local"]["S3EndpointId"], deployed["GitLab-local"]["S3EndpointId"])
	out, err = c.job("deploy-b")
	require.NoError(t, err, out)
	assert.Contains(t, out, "deploying Deploy-local to account 222222222222")

	const file, before = "constructs/runner.go", "Install Docker and GitLab Runner; what is installed is left as it is"
	require.Contains(t, c.read(t, file), before)
	c.write(t, file, strings.Replace(c.read(t, file), before, "A line for the review", 1))
	out, err = c.job("synth")
	require.NoError(t, err, out)
	out, err = c.job("notes", review...)
	require.NoError(t, err, out)
	note := c.read(t, "review-notes/7.md")
	assert.Contains(t, note, "0 resources are replaced, 0 removed, 0 created, 1 changed.")
	assert.Contains(t, note, before)
	assert.Contains(t, note, "A line for the review")
	require.Len(t, gitlab.bodies, 1, "the note is changed, not followed by another: %v", gitlab.requests)
	assert.Contains(t, gitlab.bodies[0], "A line for the review")
}

// TestPipelineJobsThatReachAWSAreOff unless the project says that the accounts
// trust it; and only the default branch deploys.
func TestPipelineJobsThatReachAWSAreOff(t *testing.T) {
	c := newCheckout(t, "")
	jobs := func(variables ...string) []string {
		args := []string{filepath.Join(root, "node_modules", ".bin", "gitlab-ci-local"), "--list-json", "--no-color", "--state-dir", ".gitlab-ci-local"}
		var predefined []string
		for _, v := range variables {
			name, _, _ := strings.Cut(v, "=")
			predefined = append(predefined, name)
			args = append(args, "--variable", v)
		}
		args = append(args, "--ignore-predefined-vars", strings.Join(predefined, ","))
		cmd := c.command(args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "%s", stderr.String())
		var listed []struct{ Name, When string }
		require.NoError(t, json.Unmarshal(out, &listed), "%s", out)
		var found []string
		for _, job := range listed {
			if job.When != "never" {
				found = append(found, fmt.Sprintf("%s %s", job.Name, job.When))
			}
		}
		return found
	}
	always := []string{"check on_success", "test on_success", "synth on_success"}
	assert.ElementsMatch(t, always, jobs("CI_COMMIT_BRANCH=main", "CI_DEFAULT_BRANCH=main"))
	assert.ElementsMatch(t, append([]string{"diff on_success", "deploy-a manual", "deploy-b manual"}, always...),
		jobs("CI_COMMIT_BRANCH=main", "CI_DEFAULT_BRANCH=main", "PIPELINE_ACCESS=on"))
	assert.ElementsMatch(t, always, jobs("CI_COMMIT_BRANCH=feature", "CI_DEFAULT_BRANCH=main", "PIPELINE_ACCESS=on", "CI_PIPELINE_SOURCE=merge_request_event"),
		"who can push a branch writes its jobs")
	assert.Equal(t, []string{"notes on_success"}, jobs("CI_COMMIT_BRANCH=main", "CI_DEFAULT_BRANCH=main", "PIPELINE_ACCESS=on", "CI_PIPELINE_SOURCE=schedule"))
}

// TestPipelineChecksItself runs the job that needs no account, on this checkout
// with its tools.
func TestPipelineChecksItself(t *testing.T) {
	require.NoError(t, inputs.Are(root))
	// Nothing may be made in the repository's folders: their times are inputs, too.
	state, err := filepath.Rel(root, t.TempDir())
	require.NoError(t, err)
	out, err := new(checkout).command(filepath.Join(root, "node_modules", ".bin", "gitlab-ci-local"), "--force-shell-executor", "--no-color",
		"--cwd", "../..", "--state-dir", state, "check").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "all well after")
}
