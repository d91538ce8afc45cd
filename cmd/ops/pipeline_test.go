package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/cdk"
	"gitlab-codedeploy/internal/notes/notestest"
)

// job is a job of this repository's pipeline, in the default branch.
type job struct {
	*accounts
	gitlab    *notestest.GitLab
	variables map[string]string
	folder    string // of the notes as files
}

// newJob has one open merge request, whose job synth has made what is deployed, and a queue.
func newJob(t *testing.T) *job {
	t.Helper()
	j := &job{accounts: newReview(t), folder: t.TempDir(), gitlab: &notestest.GitLab{HeadPipeline: `{"id": 70, "project_id": 42}`, Made: map[string]string{}}}
	j.variables = map[string]string{
		"REVIEW_NOTE_TOKEN": notestest.Token, "CI_API_V4_URL": notestest.API, "CI_PROJECT_ID": "42", "CI_DEFAULT_BRANCH": "main",
		"CI_JOB_ID": "77", "AWS_ID_TOKEN": "header.payload.signature",
	}
	j.variable = func(name string) string { return j.variables[name] }
	j.secret = func(name string) string {
		value := j.variables[name]
		delete(j.variables, name)
		return value
	}
	j.web = &http.Client{Transport: j.gitlab}
	j.cdk.template = `{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}, "Queue": {"Type": "AWS::SQS::Queue"}}}`
	made := cdk.Assembly(filepath.Join(t.TempDir(), "made"))
	j.cdk.synthesise(string(made))
	for _, file := range []string{made.Manifest(), made.Template("GitLab-staging"), made.Template("Deploy-staging")} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		j.gitlab.Made["cdk.out/"+filepath.Base(file)] = string(text)
	}
	return j
}

// notes runs the command, with the profiles of accounts.
func (j *job) notes(t *testing.T, args ...string) error {
	t.Helper()
	return j.run(t, append([]string{"pipeline", "notes", "--env", "staging", "--profile-a", "profile-a", "--profile-b", "profile-b", "--output", j.folder}, args...)...)
}

// fetched are the artifacts that were asked for.
func (j *job) fetched() (names []string) {
	for _, request := range j.gitlab.Requests() {
		if _, name, is := strings.Cut(request, "/artifacts/"); is {
			names = append(names, name)
		}
	}
	return names
}

const stagingMark = "<!-- gitlab-codedeploy: changes in staging -->"

func TestS15_NotesAreMadeOfTheTemplatesAlone(t *testing.T) {
	j := newJob(t)
	require.NoError(t, j.notes(t), j.err.String())
	require.Len(t, j.gitlab.Notes(), 1)
	note := j.gitlab.Notes()[0]
	assert.True(t, strings.HasPrefix(note, "1 5 "+stagingMark+"|## What changes in staging|"), note)
	assert.Contains(t, note, "| `Queue` | AWS::SQS::Queue |")
	assert.True(t, strings.HasSuffix(note, "|Compared by the tool of `main`. The templates are those that job 701 of this branch has made.|"), note)
	assert.Equal(t, []string{"cdk.out/manifest.json", "cdk.out/GitLab-staging.template.json", "cdk.out/Deploy-staging.template.json"}, j.fetched())
	assert.Equal(t, []string{"sts:GetCallerIdentity", "sts:GetCallerIdentity", "cloudformation:GetTemplate", "cloudformation:GetTemplate"}, j.did(2), "nothing of the branch is run, and nothing is synthesised")
	assert.Contains(t, j.err.String(), "merge request 7 has a new note, 1, with the changes in staging")
	left, err := os.ReadFile(filepath.Join(j.folder, "7.md"))
	require.NoError(t, err)
	assert.Equal(t, note, "1 5 "+stagingMark+"|"+strings.ReplaceAll(string(left), "\n", "|"))
	assert.Empty(t, j.out.String())
	j.leavesNothing(t)

	assert.NotContains(t, j.variables, "REVIEW_NOTE_TOKEN", "it is not for what compares the templates")
	assert.NotContains(t, j.err.String()+note, notestest.Token)
}

func TestS15_TheNextRunChangesTheNote(t *testing.T) {
	j := newJob(t)
	require.NoError(t, j.notes(t))
	j.variables["REVIEW_NOTE_TOKEN"] = notestest.Token
	j.a.template = j.gitlab.Made["cdk.out/GitLab-staging.template.json"]
	require.NoError(t, j.notes(t))
	require.Len(t, j.gitlab.Notes(), 1)
	assert.Contains(t, j.gitlab.Notes()[0], "|Nothing changes.|")
	assert.Contains(t, j.err.String(), "note 1 of merge request 7 shows the changes in staging")
}

func TestS15_AMergeRequestWithoutTemplatesOfThisProjectGetsNoNoteAndStopsNoOther(t *testing.T) {
	for _, pipeline := range []string{`null`, `{"id": 70, "project_id": 43}`, `{"id": 71, "project_id": 42}`} {
		j := newJob(t)
		j.gitlab.HeadPipeline = pipeline
		require.NoError(t, j.notes(t))
		assert.Empty(t, j.gitlab.Notes())
		assert.Contains(t, j.err.String(), "merge request 7 has no ")
		assert.Empty(t, j.fetched())
		assert.Empty(t, j.did(1))
	}
}

func TestS15_WhatCannotBeComparedIsNamedAndWrittenIntoNoNote(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*job)
		want   string
	}{
		"S15 notes | AWS gives no template | the reason is told, and no note written": {
			func(j *job) { withoutRight[cloudformation.GetTemplateInput, cloudformation.GetTemplateOutput](j.a) },
			"error: merge request 7: what it has made cannot be compared: read the template of GitLab-staging as profile-a: ",
		},
		"S15 notes | the branch's manifest names another account | no note": {
			func(j *job) {
				j.gitlab.Made["cdk.out/manifest.json"] = strings.ReplaceAll(j.gitlab.Made["cdk.out/manifest.json"], deployAccount, "333333333333")
			},
			"profile profile-b is of account 222222222222, but Deploy-staging belongs to account 333333333333",
		},
		"S15 notes | the branch's manifest is none | no note": {
			func(j *job) { j.gitlab.Made["cdk.out/manifest.json"] = "<html>" },
			"error: merge request 7: what it has made cannot be compared: ",
		},
		"S15 notes | synth has made no manifest | it is named": {
			func(j *job) { delete(j.gitlab.Made, "cdk.out/manifest.json") },
			"jobs/701/artifacts/cdk.out/manifest.json: GitLab answers 404",
		},
		"S15 notes | the token may not write | the answer is told": {
			func(j *job) {
				j.gitlab.Before = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method == http.MethodPost {
						w.WriteHeader(http.StatusForbidden)
					}
					return r.Method == http.MethodPost
				}
			},
			"error: merge request 7: its note cannot be written: POST projects/42/merge_requests/7/notes: GitLab answers 403",
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t)
			tt.change(j)
			err := j.notes(t)
			assert.Equal(t, 1, exitStatus(err))
			assert.Empty(t, message(t.Context(), err), "all was said")
			assert.Contains(t, j.err.String(), tt.want)
			assert.Empty(t, j.gitlab.Notes())
			assert.NotContains(t, j.err.String(), notestest.Token)
		})
	}
}

func TestS15_WhatIsMissingForNotesIsNamedAtOnce(t *testing.T) {
	j := newJob(t)
	delete(j.variables, "REVIEW_NOTE_TOKEN")
	delete(j.variables, "CI_API_V4_URL")
	err := j.notes(t)
	assert.Equal(t, 2, exitStatus(err))
	require.EqualError(t, err, "not set: REVIEW_NOTE_TOKEN CI_API_V4_URL")

	j = newJob(t)
	j.variables["REVIEW_NOTE_TOKEN"] = "wrong-token"
	err = j.notes(t)
	assert.Equal(t, 1, exitStatus(err))
	require.ErrorContains(t, err, "reading the open merge requests: GET projects/42/merge_requests: GitLab answers 401")
	require.ErrorContains(t, err, "needs scope api")
	assert.NotContains(t, err.Error(), "wrong-token")

	for _, folder := range []string{"", "/etc", "../x", "a/../b", "a?b", ".git"} {
		j = newJob(t)
		err = j.notes(t, "--assembly", folder)
		assert.Equal(t, 2, exitStatus(err), folder)
		assert.ErrorContains(t, err, "--assembly: want a folder of the job's artifacts", folder)
		assert.Empty(t, j.gitlab.Requests())
	}
	j = newJob(t)
	j.variables["CI_PROJECT_ID"] = "group/project"
	assert.Equal(t, 2, exitStatus(j.notes(t)))
	assert.Equal(t, 2, exitStatus(newJob(t).run(t, "pipeline")))
}

func TestS15_ADryRunOfNotesWritesNone(t *testing.T) {
	j := newJob(t)
	require.ErrorIs(t, j.notes(t, "--dry-run"), calls.ErrDryRun)
	assert.Regexp(t, `^merge request 7: a note of \d+ characters\n$`, j.out.String())
	assert.Empty(t, j.gitlab.Notes())
	assert.NoFileExists(t, filepath.Join(j.folder, "7.md"))
}

func TestS15_TheTokenOfNotesIsInNoOtherProgramsEnvironment(t *testing.T) {
	t.Setenv("REVIEW_NOTE_TOKEN", "secret-token")
	assert.Equal(t, "secret-token", takeVariable("REVIEW_NOTE_TOKEN"))
	_, there := os.LookupEnv("REVIEW_NOTE_TOKEN")
	assert.False(t, there)
	assert.Empty(t, takeVariable("REVIEW_NOTE_TOKEN"))
}

const pipelineKey = `
pipeline:
  issuerUrl: https://ci.example.com
  projectPath: platform/gitlab-codedeploy
  branch: main
  forkPipelines: issuer-is-18.2.2-or-later
`

// configured gives the environment the key pipeline, in a Region.
func (j *job) configured(t *testing.T, region string) {
	t.Helper()
	file := filepath.Join(j.configs, "staging.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	partition := map[string]string{"cn-north-1": "aws-cn"}[region]
	changed := strings.ReplaceAll(string(text), "ap-northeast-1", region)
	if partition != "" {
		changed = strings.ReplaceAll(changed, "arn:aws:", "arn:"+partition+":")
	}
	require.NoError(t, os.WriteFile(file, []byte(changed+pipelineKey), 0o600))
}

func TestS15_AJobsProfilesTakeARoleInEachAccountByTheJobsOwnToken(t *testing.T) {
	j := newJob(t)
	j.configured(t, "ap-northeast-1")
	require.NoError(t, j.run(t, "pipeline", "credentials", "deploy", "--env", "staging"))
	line := regexp.MustCompile(`^export AWS_CONFIG_FILE=(\S+)/config AWS_SHARED_CREDENTIALS_FILE=/dev/null\n$`).FindStringSubmatch(j.out.String())
	require.NotNil(t, line, j.out.String())
	folder := line[1]
	text, err := os.ReadFile(filepath.Join(folder, "config"))
	require.NoError(t, err)
	assert.Equal(t, `[profile gitlab-account]
region = ap-northeast-1
role_arn = arn:aws:iam::111111111111:role/gitlab-codedeploy-staging-deploy
role_session_name = job-77
web_identity_token_file = `+folder+`/token

[profile deploy-account]
region = ap-northeast-1
role_arn = arn:aws:iam::222222222222:role/gitlab-codedeploy-staging-deploy
role_session_name = job-77
web_identity_token_file = `+folder+`/token

`, string(text))
	token, err := os.ReadFile(filepath.Join(folder, "token"))
	require.NoError(t, err)
	assert.Equal(t, "header.payload.signature", string(token))
	for name, mode := range map[string]os.FileMode{"": 0o700, "config": 0o600, "token": 0o600} {
		info, err := os.Stat(filepath.Join(folder, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), name)
	}
	assert.NotContains(t, j.out.String()+j.err.String(), "signature")
	assert.Empty(t, j.did(1), "AWS is not asked")
}

func TestS15_TheLineOfCredentialsIsForAShell(t *testing.T) {
	j := newJob(t)
	j.configured(t, "ap-northeast-1")
	folder := filepath.Join(t.TempDir(), "a 'quoted' folder")
	require.NoError(t, os.Mkdir(folder, 0o700))
	t.Setenv("TMPDIR", folder)
	require.NoError(t, j.run(t, "pipeline", "credentials", "review", "--env", "staging"))
	out, err := exec.Command("bash", "-c", `eval "$1"; grep -c role_arn "$AWS_CONFIG_FILE"`, "bash", j.out.String()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "2\n", string(out))
}

func TestS15_RolesOfOtherPartitionsHaveTheirOwnARNs(t *testing.T) {
	j := newJob(t)
	j.configured(t, "cn-north-1")
	require.NoError(t, j.run(t, "pipeline", "credentials", "review", "--env", "staging"))
	text, err := os.ReadFile(strings.TrimPrefix(strings.Fields(j.out.String())[1], "AWS_CONFIG_FILE="))
	require.NoError(t, err)
	assert.Contains(t, string(text), "\nrole_arn = arn:aws-cn:iam::111111111111:role/gitlab-codedeploy-staging-review\n")
}

func TestS15_AnEnvironmentWithoutPipelineAccessAndAJobWithoutATokenSaySo(t *testing.T) {
	j := newJob(t)
	err := j.run(t, "pipeline", "credentials", "review", "--env", "staging")
	assert.Equal(t, 2, exitStatus(err))
	require.ErrorContains(t, err, "config/staging.yaml has no key pipeline")
	delete(j.variables, "AWS_ID_TOKEN")
	err = j.run(t, "pipeline", "credentials", "review", "--env", "staging")
	assert.Equal(t, 2, exitStatus(err))
	require.ErrorContains(t, err, "AWS_ID_TOKEN is not set")
	for _, args := range [][]string{{"review"}, {"--env", "staging"}, {"root", "--env", "staging"}, {"review", "deploy", "--env", "staging"}, {"review", "--env", ""}} {
		assert.Equal(t, 2, exitStatus(j.run(t, append([]string{"pipeline", "credentials"}, args...)...)), args)
	}
	assert.Empty(t, j.out.String())
	j.leavesNothing(t)

	j = newJob(t)
	j.configured(t, "ap-northeast-1")
	require.ErrorIs(t, j.run(t, "pipeline", "credentials", "review", "--env", "staging", "--dry-run"), calls.ErrDryRun)
	j.leavesNothing(t)
}
