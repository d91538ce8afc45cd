package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/upload/uploadtest"
)

// run is one run of the program.
type run struct {
	status         int
	stdout, stderr string
}

// field returns a field of the result, nil for null.
func (r run) field(t *testing.T, name string) any {
	t.Helper()
	require.Equal(t, 1, strings.Count(r.stdout, "\n"), "one line: %s%s", r.stdout, r.stderr)
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &fields), r.stdout)
	require.Contains(t, fields, name)
	return fields[name]
}

// last is the last line of the talk.
func (r run) last() string {
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	return lines[len(lines)-1]
}

// job is a CI job that runs the program.
type job struct {
	source string
	env    map[string]string
	bucket *uploadtest.Bucket // nil: nothing of AWS may be asked
	stdout io.Writer
	ctx    context.Context
}

// newJob has a folder that can be deployed.
func newJob(t *testing.T, b *uploadtest.Bucket) *job {
	t.Helper()
	j := &job{source: t.TempDir(), bucket: b, ctx: t.Context(), env: map[string]string{"DEPLOY_POLL_SECONDS": "0.001"}}
	j.write(t, "index.html", "hello\n")
	j.write(t, "scripts/start.sh", "#!/bin/sh\n")
	require.NoError(t, os.Chmod(filepath.Join(j.source, "scripts/start.sh"), 0o755))
	j.write(t, "appspec.yml", `version: 0.0
os: linux
files:
  - source: /index.html
    destination: /srv/www
hooks:
  ApplicationStart:
    - location: scripts/start.sh
      timeout: 60
`)
	return j
}

func (j *job) write(t *testing.T, name, content string) {
	t.Helper()
	file := filepath.Join(j.source, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
}

// upload runs upload with all that is required.
func (j *job) upload(t *testing.T, args ...string) run {
	t.Helper()
	return j.run(t, append([]string{
		"upload", "--bucket", "artifacts-test", "--application", "web", "--deployment-group", "web-blue-green", "--source", j.source,
	}, args...)...)
}

func (j *job) run(t *testing.T, args ...string) run {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := program{getenv: func(name string) string { return j.env[name] }, stdout: &stdout, stderr: &stderr}
	if j.stdout != nil {
		p.stdout = j.stdout
	}
	p.aws = func(context.Context) (aws.Config, error) {
		if j.bucket == nil {
			t.Error("AWS was asked for")
			return aws.Config{}, nil
		}
		return aws.Config{
			Region: "ap-northeast-1", BaseEndpoint: &j.bucket.Front.URL,
			Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""), RetryMaxAttempts: 1,
		}, nil
	}
	status := p.run(j.ctx, args)
	return run{status, stdout.String(), stderr.String()}
}
