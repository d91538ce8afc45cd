package emulator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gitlab-codedeploy/test/e2e/childprocess"
)

// pipelineLimit bounds the sample's pipeline, which takes some seconds.
const pipelineLimit = 2 * time.Minute

// upload is what the job's script says it has done.
type upload struct {
	Bucket    string `json:"bucket"`
	Key       string `json:"key"`
	VersionID string `json:"versionId"`
	ETag      string `json:"eTag"`
}

// push makes a repository of the sample application in the work folder, commits
// it, and runs its pipeline with the rights of account A's runner.
func (e *Emulator) push(ctx context.Context, a, b *Stack) (upload, error) {
	ctx, cancel := context.WithTimeout(ctx, pipelineLimit)
	defer cancel()
	bucket, err := b.output("ArtifactBucketName")
	if err != nil {
		return upload{}, err
	}
	role, err := a.output("RunnerRoleArn")
	if err != nil {
		return upload{}, err
	}
	runner, err := e.assumeRole(ctx, role, "pipeline")
	if err != nil {
		return upload{}, err
	}
	repository := filepath.Join(e.Work, "sample")
	if err := e.writeSample(repository); err != nil {
		return upload{}, err
	}
	env := childEnvironment(e.Root,
		// Neither the user's Git settings nor their gitlab-ci-local variables.
		"HOME="+filepath.Join(e.Work, "home"), "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=sample", "GIT_AUTHOR_EMAIL=sample@example.com",
		"GIT_COMMITTER_NAME=sample", "GIT_COMMITTER_EMAIL=sample@example.com",
		"AWS_ACCESS_KEY_ID="+runner.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+runner.SecretAccessKey, "AWS_SESSION_TOKEN="+runner.SessionToken,
		"AWS_DEFAULT_REGION="+e.Config.Region, "AWS_ENDPOINT_URL="+e.Endpoint,
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
	)
	for _, args := range [][]string{
		{"git", "init", "--quiet"},
		{"git", "symbolic-ref", "HEAD", "refs/heads/main"},
		{"git", "remote", "add", "origin", "git@" + e.Config.GitLab.LoadBalancer.DomainName + ":team/sample-web.git"},
		{"git", "add", "--all"},
		{"git", "commit", "--quiet", "--message", "Release the sample"},
		// What a clone would know about its origin; the CI interpreter asks.
		{"git", "update-ref", "refs/remotes/origin/main", "HEAD"},
		{"git", "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"},
		{
			filepath.Join(e.Root, "node_modules", ".bin", "gitlab-ci-local"), "--force-shell-executor", "--no-color",
			"--state-dir", ".gitlab-ci-local", "--variable", "ARTIFACT_BUCKET=" + bucket,
		},
	} {
		if err := childprocess.Run(ctx, childprocess.Command{Args: args, Dir: repository, Env: env, Log: e.log("pipeline")}); err != nil {
			return upload{}, err
		}
	}
	var u upload
	if err := readJSON(filepath.Join(repository, "artifact.json"), &u); err != nil {
		return u, &stepFailure{err: fmt.Errorf("the pipeline left no result: %w", err), log: e.log("pipeline")}
	}
	if u.Bucket != bucket || u.Key == "" || u.VersionID == "" || u.ETag == "" {
		return u, &stepFailure{err: fmt.Errorf("the pipeline's result is not complete: %+v", u), log: e.log("pipeline")}
	}
	return u, nil
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
	for _, name := range []string{"upload-artifact.sh", "deploy.gitlab-ci.yml"} {
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
