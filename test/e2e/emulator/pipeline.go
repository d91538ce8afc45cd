package emulator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/test/e2e/childprocess"
)

// pipelineLimit bounds the sample's pipeline, which takes some seconds.
const pipelineLimit = 2 * time.Minute

// upload is what the job's script says it has done, and how that ended.
type upload struct {
	Bucket       string `json:"bucket"`
	Key          string `json:"key"`
	VersionID    string `json:"versionId"`
	ETag         string `json:"eTag"`
	State        string `json:"state"`
	DeploymentID string `json:"deploymentId"`
	Reason       string `json:"reason"`
}

// push makes a repository of the sample application, commits it, and runs its
// pipeline, which has to succeed.
func (e *Emulator) push(ctx context.Context, a, b *Stack) (upload, error) {
	token, err := JobToken(e.Root, TokenRequest{Project: sampleProject, Ref: "main", Audience: trust.Audience, TTL: pipelineLimit})
	if err != nil {
		return upload{}, err
	}
	u, err := e.runPipeline(ctx, a, b, "pipeline", tokenVariable(token))
	switch {
	case err != nil:
		return u, err
	case u.Key == "" || u.VersionID == "" || u.ETag == "":
		err = fmt.Errorf("the pipeline's result is not complete: %+v", u)
	case u.State != "Succeeded" || u.DeploymentID == "":
		err = fmt.Errorf("the job is green, and its deployment is %q (%s)", u.State, u.Reason)
	}
	if err != nil {
		return u, &stepFailure{err: err, log: e.log("pipeline")}
	}
	return u, nil
}

// sampleProject is the one that config/local.yaml lets deploy.
const sampleProject = "team/sample-web"

// tokenVariable gives a job its token, as GitLab does by id_tokens.
func tokenVariable(token string) string { return trust.Variables[0] + "=" + token }

// pushFromAnother does the same in another project. The job has to fail.
func (e *Emulator) pushFromAnother(ctx context.Context, a, b *Stack) (upload, error) {
	token, err := JobToken(e.Root, TokenRequest{Project: "team/another", Ref: "main", Audience: trust.Audience, TTL: pipelineLimit})
	if err != nil {
		return upload{}, err
	}
	return e.pushRejected(ctx, a, b, "pipeline-another-project", tokenVariable(token))
}

// pushUnlisted does the same for a deployment group that is not on the list. The
// job has to fail.
func (e *Emulator) pushUnlisted(ctx context.Context, a, b *Stack) (upload, error) {
	return e.pushRejected(ctx, a, b, "pipeline-unlisted", "DEPLOYMENT_GROUP_NAME=not-listed")
}

// pushRejected runs a pipeline whose artifact may not be deployed.
func (e *Emulator) pushRejected(ctx context.Context, a, b *Stack, name string, variables ...string) (upload, error) {
	u, err := e.runPipeline(ctx, a, b, name, variables...)
	var failed *childprocess.Error
	switch {
	case err == nil:
		err = fmt.Errorf("the job is green, although its artifact is %q", u.State)
	case !errors.As(err, &failed):
	case u.State != "Rejected" || u.DeploymentID != "" || u.Reason == "":
		err = fmt.Errorf("the job failed for another reason: %w: %+v", err, u)
	default:
		return u, nil
	}
	return u, &stepFailure{err: err, log: e.log(name)}
}

// runPipeline runs the sample's pipeline in a new repository, with variables as
// NAME=VALUE and the role that jobs have in account A. It returns what the job left,
// also when the job failed.
func (e *Emulator) runPipeline(ctx context.Context, a, b *Stack, name string, variables ...string) (upload, error) {
	ctx, cancel := context.WithTimeout(ctx, pipelineLimit)
	defer cancel()
	bucket, err := b.output("ArtifactBucketName")
	if err != nil {
		return upload{}, err
	}
	role, err := a.output("JobRoleArn")
	if err != nil {
		return upload{}, err
	}
	job, err := e.assumeRole(ctx, role, "pipeline")
	if err != nil {
		return upload{}, err
	}
	repository := filepath.Join(e.Work, name)
	if err := e.writeSample(repository); err != nil {
		return upload{}, err
	}
	env := childEnvironment(e.Root,
		// Neither the user's Git settings nor their gitlab-ci-local variables.
		"HOME="+filepath.Join(e.Work, "home"), "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=sample", "GIT_AUTHOR_EMAIL=sample@example.com",
		"GIT_COMMITTER_NAME=sample", "GIT_COMMITTER_EMAIL=sample@example.com",
		"AWS_ACCESS_KEY_ID="+job.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+job.SecretAccessKey, "AWS_SESSION_TOKEN="+job.SessionToken,
		"AWS_DEFAULT_REGION="+e.Config.Region, "AWS_ENDPOINT_URL="+e.Endpoint,
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
		"ARTIFACT_PROGRAM="+e.program(),
	)
	pipeline := []string{
		filepath.Join(e.Root, "node_modules", ".bin", "gitlab-ci-local"), "--force-shell-executor", "--no-color",
		"--state-dir", ".gitlab-ci-local", "--variable", "ARTIFACT_BUCKET=" + bucket,
	}
	for _, v := range variables {
		pipeline = append(pipeline, "--variable", v)
	}
	for _, args := range [][]string{
		{"git", "init", "--quiet"},
		{"git", "symbolic-ref", "HEAD", "refs/heads/main"},
		{"git", "remote", "add", "origin", "git@" + e.Config.GitLab.LoadBalancer.DomainName + ":team/sample-web.git"},
		{"git", "add", "--all"},
		{"git", "commit", "--quiet", "--message", "Release the sample"},
		// What a clone would know about its origin; the CI interpreter asks.
		{"git", "update-ref", "refs/remotes/origin/main", "HEAD"},
		{"git", "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"},
		pipeline,
	} {
		if err = childprocess.Run(ctx, childprocess.Command{Args: args, Dir: repository, Env: env, Log: e.log(name)}); err != nil {
			break
		}
	}
	var u upload
	if readErr := readJSON(filepath.Join(repository, "artifact.json"), &u); readErr != nil && err == nil {
		err = &stepFailure{err: fmt.Errorf("the pipeline left no result: %w", readErr), log: e.log(name)}
	}
	if err == nil && u.Bucket != bucket {
		err = &stepFailure{err: fmt.Errorf("the pipeline names bucket %q, want %q", u.Bucket, bucket), log: e.log(name)}
	}
	return u, err
}

// writeSample copies the sample application, and beside it the two files that
// every application repository takes over.
func (e *Emulator) writeSample(repository string) error {
	if err := os.MkdirAll(filepath.Join(e.Work, "home"), 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(repository, os.DirFS(filepath.Join(e.Root, "test", "e2e", "sample"))); err != nil {
		return err
	}
	deploy := filepath.Join(repository, ".gitlab", "deploy")
	if err := os.MkdirAll(deploy, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"upload-artifact.sh", "deploy.gitlab-ci.yml", "id-token.gitlab-ci.yml"} {
		content, err := os.ReadFile(filepath.Join(e.Root, "scripts", "ci", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(deploy, name), content, 0o755); err != nil {
			return err
		}
	}
	return nil
}
