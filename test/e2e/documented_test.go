package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/trust"
)

// readmeStep is the text of a numbered step of README.md, "Deploy".
func readmeStep(t *testing.T, number string) string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	_, list, found := strings.Cut(string(readme), "\nFrom nothing to a first real deployment")
	require.True(t, found)
	_, step, found := strings.Cut(list, "\n"+number+". ")
	require.True(t, found)
	if end := regexp.MustCompile(`\n([0-9]+\. |[^ \n])`).FindStringIndex(step); end != nil {
		step = step[:end[0]]
	}
	return step
}

// block is the code of a language in a step.
func block(t *testing.T, step, language string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)\n( +)```" + language + "\n(.*?)\n +```").FindStringSubmatch(step)
	require.NotNil(t, found, step)
	return strings.ReplaceAll("\n"+found[2]+"\n", "\n"+found[1], "\n")[1:]
}

// TestS15_AReadersProjectDeploysByTheStepsOfTheReadme takes an application that knows nothing of this project, does what
// the last two steps say, word by word, and nothing else.
func TestS15_AReadersProjectDeploysByTheStepsOfTheReadme(t *testing.T) {
	outputs := up(t)
	step := readmeStep(t, "9")
	variables := regexp.MustCompile(`set the CI/CD variables (.*?),\s+copy \[scripts/ci\]\(scripts/ci\) to (\S+), and write\s+(\S+):`).FindStringSubmatch(step)
	require.NotNil(t, variables, step)
	assert.Equal(t, []string{"`ARTIFACT_BUCKET` and `AWS_DEFAULT_REGION`", "`.gitlab/deploy/`", "`.gitlab-ci.yml`"}, variables[1:])

	project := &checkout{dir: filepath.Join(t.TempDir(), "reader's project")}
	require.NoError(t, os.CopyFS(filepath.Join(project.dir, ".gitlab", "deploy"), os.DirFS(filepath.Join(root, "scripts", "ci"))))
	project.write(t, ".gitlab-ci.yml", block(t, step, "yaml"))
	project.write(t, "index.html", "a reader's page\n")
	project.write(t, "appspec.yml", "version: 0.0\nos: linux\nfiles:\n  - source: /index.html\n    destination: /var/www/html\n")
	for _, args := range [][]string{
		{"git", "init", "--quiet"}, {"git", "symbolic-ref", "HEAD", "refs/heads/main"},
		{"git", "remote", "add", "origin", "git@gitlab.example.com:team/sample-web.git"},
		{"git", "add", "--all"}, {"git", "commit", "--quiet", "--message", "Deploy from now on"},
		{"git", "update-ref", "refs/remotes/origin/main", "HEAD"},
		{"git", "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"},
	} {
		out, err := project.command(args...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}

	// What the runner's host gives a job: its role, the program, and GitLab's token.
	var state struct{ Endpoint string }
	readJSON(t, "state.json", &state)
	program, err := artifact()
	require.NoError(t, err)
	role, err := sts.NewFromConfig(awssdk.Config{
		Region: "ap-northeast-1", BaseEndpoint: &state.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("anybody", "anything", ""),
	}).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: awssdk.String(outputs["GitLab-local"]["RunnerRoleArn"]), RoleSessionName: awssdk.String("reader")})
	require.NoError(t, err)
	push := project.command(filepath.Join(root, "node_modules", ".bin", "gitlab-ci-local"), "--force-shell-executor", "--no-color", "--state-dir", "../state", // GitLab has none in the folder that is packed
		"--variable", "ARTIFACT_BUCKET="+outputs["Deploy-local"]["ArtifactBucketName"], "--variable", "AWS_DEFAULT_REGION=ap-northeast-1",
		"--variable", trust.Variables[0]+"="+jobToken(t, "--project", "team/sample-web", "--ref", "main"))
	push.Env = append(push.Env, "HOME="+t.TempDir(), "ARTIFACT_PROGRAM="+program, "AWS_ENDPOINT_URL="+state.Endpoint,
		"AWS_ACCESS_KEY_ID="+*role.Credentials.AccessKeyId, "AWS_SECRET_ACCESS_KEY="+*role.Credentials.SecretAccessKey, "AWS_SESSION_TOKEN="+*role.Credentials.SessionToken)
	said, err := push.CombinedOutput()
	require.NoError(t, err, "%s", said)
	var result struct{ State, DeploymentID, DeploymentGroup string }
	require.NoError(t, json.Unmarshal([]byte(project.read(t, "artifact.json")), &result), "%s", said)
	assert.Equal(t, "Succeeded", result.State)
	assert.Equal(t, "sample-web-blue-green", result.DeploymentGroup)

	command, is := strings.CutPrefix(strings.TrimSpace(block(t, readmeStep(t, "10"), "")), "scripts/ops ")
	require.True(t, is)
	args := strings.Fields(strings.NewReplacer("<env>", "local", "<b>", "account-b").Replace(command))
	stdout, stderr, err := ops(t, root, args...)
	require.NoError(t, err, stderr)
	assert.Contains(t, stdout, result.DeploymentID)
}
