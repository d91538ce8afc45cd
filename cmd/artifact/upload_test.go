package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/upload/uploadtest"
)

const defaultKey = "artifacts/web/artifact.gz"

// unpacked returns the members of a bundle by name; a folder's content is "/".
func unpacked(t *testing.T, bundle []byte) map[string]string {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(bundle))
	require.NoError(t, err)
	members := map[string]string{}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return members
		}
		require.NoError(t, err)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		if header.Typeflag == tar.TypeDir {
			content = []byte("/")
		}
		members[header.Name] = string(content)
	}
}

// noise is content that no compressor makes smaller.
func noise(size int) string {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return string(b)
}

// --- what reaches S3 -------------------------------------------------------

func TestS13_TheObjectIsATarInGzipWithTheAppSpecFileAtItsRootAndBothMetadataKeys(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	j.write(t, "new\nline and space", "odd\n")
	j.write(t, ".git/config", "secret")
	require.NoError(t, os.Mkdir(filepath.Join(j.source, "empty"), 0o755))
	r := j.upload(t)
	require.Equal(t, 0, r.status, r.stderr)
	assert.Equal(t, defaultKey, r.field(t, "key"))
	assert.Equal(t, []any{"web", "web-blue-green", "artifacts-test"}, []any{r.field(t, "application"), r.field(t, "deploymentGroup"), r.field(t, "bucket")})

	stored := b.Versions(defaultKey)
	require.Len(t, stored, 1)
	assert.Equal(t, map[string]string{"application-name": "web", "deploymentgroup-name": "web-blue-green", "upload-id": r.field(t, "uploadId").(string)}, stored[0].Metadata)
	assert.Equal(t, "application/gzip", stored[0].ContentType)
	assert.Equal(t, r.field(t, "versionId"), stored[0].VersionID)
	members := unpacked(t, b.Content(t, defaultKey))
	assert.Equal(t, "hello\n", members["./index.html"])
	assert.Contains(t, members, "./appspec.yml")
	assert.Equal(t, "odd\n", members["./new\nline and space"])
	assert.Equal(t, "/", members["./empty/"])
	assert.NotContains(t, members, "./.git/config")
	assert.Contains(t, r.stderr, "uploaded as version "+stored[0].VersionID+", upload id "+stored[0].Metadata["upload-id"])
}

func TestS13_TheResultTellsSizeSHA256AndETagOfWhatWasStored(t *testing.T) {
	for name, size := range map[string]int{"whole": 0, "in parts": 14_000_000} {
		t.Run(name, func(t *testing.T) {
			b := uploadtest.NewBucket(t, nil)
			j := newJob(t, b)
			j.write(t, "big", noise(size))
			r := j.upload(t)
			require.Equal(t, 0, r.status, r.stderr)
			got := b.Content(t, defaultKey)
			assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(got)), r.field(t, "sha256"))
			assert.EqualValues(t, len(got), r.field(t, "size"))
			etag := fmt.Sprintf("%x", md5.Sum(got))
			if size > 0 {
				etag = b.Versions(defaultKey)[0].ETag
				assert.True(t, strings.HasSuffix(etag, "-3"), etag)
				assert.Equal(t, noise(size), unpacked(t, got)["./big"])
			}
			assert.Equal(t, etag, r.field(t, "eTag"))
			assert.Zero(t, b.Unfinished())
			assert.Empty(t, b.Bad())
		})
	}
}

func TestS13_EverythingMayComeFromVariablesAndThePipelineGoesIntoTheMetadata(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	j.env = map[string]string{
		"ARTIFACT_BUCKET": "artifacts-test", "APPLICATION_NAME": "web", "DEPLOYMENT_GROUP_NAME": "eu,1=a", "DEPLOY_SOURCE": j.source,
		"ARTIFACT_KEY": "builds/x.tgz", "ARTIFACT_PREFIX": "builds/",
		"CI_COMMIT_SHA": "8595dc0256c95cb540075d4e5be80ac445fd3789", "CI_PIPELINE_ID": "4711", "CI_JOB_ID": "90210",
		"CI_PIPELINE_URL": "https://gitlab.example.com/a/b/-/pipelines/4711?x=1,2&y=z",
	}
	r := j.run(t, "upload")
	require.Equal(t, 0, r.status, r.stderr)
	assert.Regexp(t, `^4711-90210-[0-9a-f]{12}$`, r.field(t, "uploadId"))
	assert.Equal(t, map[string]string{
		"application-name": "web", "deploymentgroup-name": "eu,1=a", "upload-id": r.field(t, "uploadId").(string),
		"commit-sha": "8595dc0256c95cb540075d4e5be80ac445fd3789", "pipeline-url": "https://gitlab.example.com/a/b/-/pipelines/4711?x=1,2&y=z",
	}, b.Versions("builds/x.tgz")[0].Metadata)
}

func TestS13_AnOptionCountsForMoreThanItsVariable(t *testing.T) {
	j := newJob(t, nil)
	j.env["ARTIFACT_BUCKET"], j.env["DEPLOY_SOURCE"] = "another", "/no/such/folder"
	r := j.upload(t, "--dry-run")
	require.Equal(t, 0, r.status, r.stderr)
	assert.Equal(t, "artifacts-test", r.field(t, "bucket"))
}

func TestS13_ADryRunChecksAndPacksAndAsksNothingOfAWS(t *testing.T) {
	j := newJob(t, nil)
	r := j.upload(t, "--dry-run")
	require.Equal(t, 0, r.status, r.stderr)
	assert.Equal(t, []any{true, nil, nil}, []any{r.field(t, "dryRun"), r.field(t, "versionId"), r.field(t, "eTag")})
	assert.Regexp(t, `^[0-9a-f]{64}$`, r.field(t, "sha256"))
	assert.Contains(t, r.stderr, "bytes in 1 part(s) to s3://artifacts-test/"+defaultKey+` with metadata {"application-name":"web"`)
}

func TestS13_CheckIsADryRunThatNeedsNoPlace(t *testing.T) {
	j := newJob(t, nil)
	r := j.run(t, "check", "--source", j.source)
	require.Equal(t, 0, r.status, r.stderr)
	assert.Equal(t, []any{true, nil, nil, nil}, []any{r.field(t, "dryRun"), r.field(t, "bucket"), r.field(t, "key"), r.field(t, "application")})
	assert.Equal(t, j.upload(t, "--dry-run").field(t, "sha256"), r.field(t, "sha256"))

	r = j.run(t, "check", "--source", j.source, "--bucket", "My_Bucket")
	assert.Equal(t, 2, r.status, "what is given is checked")
	assert.Equal(t, 2, j.run(t, "check", "--source", j.source, "--wait").status)
}

func TestS13_EachUploadHasAnIDOfItsOwnAlsoWhenAJobRunsAgain(t *testing.T) {
	j := newJob(t, nil)
	j.env["CI_PIPELINE_ID"], j.env["CI_JOB_ID"] = "1", "2"
	assert.NotEqual(t, j.upload(t, "--dry-run").field(t, "uploadId"), j.upload(t, "--dry-run").field(t, "uploadId"))
	j.env["CI_PIPELINE_ID"] = "1;x"
	assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, j.upload(t, "--dry-run").field(t, "uploadId"))
}

func TestS13_TheSameFolderGivesTheSameArtifactAndTheCommitItsTime(t *testing.T) {
	j := newJob(t, nil)
	sum := func() any { return j.upload(t, "--dry-run").field(t, "sha256") }
	first := sum()
	assert.Equal(t, first, sum())
	j.env["CI_COMMIT_TIMESTAMP"] = "2026-11-23T10:00:00+09:00"
	commit := sum()
	assert.NotEqual(t, first, commit)
	j.env["CI_COMMIT_TIMESTAMP"] = "2026-11-23T01:00:00Z"
	assert.Equal(t, commit, sum(), "the same moment")
	j.env["CI_COMMIT_TIMESTAMP"] = "yesterday"
	assert.Equal(t, first, sum())
}

func TestS13_AURLThatIsNoPlainTextIsLeftOut(t *testing.T) {
	for _, url := range []string{"https://example.com/\"x\"\n", "ftp://example.com", "https://example.com/" + strings.Repeat("x", 1024), "https://例え.jp/"} {
		b := uploadtest.NewBucket(t, nil)
		j := newJob(t, b)
		j.env["CI_PIPELINE_URL"] = url
		r := j.upload(t)
		require.Equal(t, 0, r.status, r.stderr)
		assert.Contains(t, r.stderr, "leaving pipeline-url out")
		assert.NotContains(t, b.Versions(defaultKey)[0].Metadata, "pipeline-url")
	}
}

// --- an AppSpec file alone -------------------------------------------------

const ecs = `version: 0.0
Resources:
  - TargetService:
      Type: AWS::ECS::Service
      Properties:
        TaskDefinition: "arn:aws:ecs:ap-northeast-1:222222222222:task-definition/web:1"
        LoadBalancerInfo:
          ContainerName: "web"
          ContainerPort: 80
`

func TestS13_AnAppSpecFileForECSGoesAlone(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	j.write(t, "appspec.yml", ecs)
	r := j.upload(t)
	require.Equal(t, 0, r.status, r.stderr)
	const key = "artifacts/web/artifact.yaml"
	assert.Equal(t, key, r.field(t, "key"))
	assert.Equal(t, ecs, string(b.Content(t, key)))
	assert.Equal(t, "YAML", b.Versions(key)[0].Metadata["bundle-type"])
	assert.Equal(t, "application/yaml", b.Versions(key)[0].ContentType)
	assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(ecs))), r.field(t, "sha256"))

	r = j.upload(t, "--key", "artifacts/web/artifact.gz")
	assert.Equal(t, 2, r.status)
	assert.Contains(t, r.stderr, "key: got 'artifacts/web/artifact.gz', want one that ends in .yaml or .yml")
	assert.Len(t, b.Sent(), 1)
}

func TestS13_AnAppSpecFileForLambdaInJSONGoesAlone(t *testing.T) {
	const lambda = `{"version": 0.0, "Resources": [{"web": {"Type": "AWS::Lambda::Function", "Properties": {
  "Name": "web", "Alias": "live", "CurrentVersion": "1", "TargetVersion": "2"}}}]}
`
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	require.NoError(t, os.Remove(filepath.Join(j.source, "appspec.yml")))
	j.write(t, "appspec.json", lambda)
	r := j.upload(t)
	require.Equal(t, 0, r.status, r.stderr)
	const key = "artifacts/web/artifact.json"
	assert.Equal(t, key, r.field(t, "key"))
	assert.Equal(t, lambda, string(b.Content(t, key)), "byte for byte")
	assert.Equal(t, "JSON", b.Versions(key)[0].Metadata["bundle-type"])
	assert.Equal(t, "application/json", b.Versions(key)[0].ContentType)
	assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(lambda))), r.field(t, "sha256"))
	assert.EqualValues(t, len(lambda), r.field(t, "size"))

	r = j.upload(t, "--key", "artifacts/web/artifact.yaml")
	assert.Equal(t, 2, r.status)
	assert.Contains(t, r.stderr, "key: got 'artifacts/web/artifact.yaml', want one that ends in .json")

	for name, tt := range map[string]struct{ text, want string }{
		"no JSON":          {"version: 0.0\nResources: []\n", "appspec.json"},
		"JSON that is cut": {lambda[:60], "appspec.json"},
		"a server's":       {`{"version": 0.0, "os": "linux", "files": []}`, "appspec.json"},
	} {
		t.Run(name, func(t *testing.T) {
			j.write(t, "appspec.json", tt.text)
			r := j.upload(t)
			assert.Equal(t, 2, r.status, r.stderr)
			assert.Contains(t, r.stderr, tt.want)
		})
	}
	assert.Len(t, b.Sent(), 1)
}

// --- the token -------------------------------------------------------------

func TestS13_TheTokenIsThereBeforeTheArtifactAndNeverShown(t *testing.T) {
	const token = "eyJhbGciOiJSUzI1NiJ9.eyJwcm9qZWN0X2lkIjoiMjIifQ.c2lnbmF0dXJl"
	for _, name := range []string{"GITLAB_CODEDEPLOY_TOKEN", "CI_JOB_JWT_V2", "CI_JOB_JWT"} {
		b := uploadtest.NewBucket(t, nil)
		j := newJob(t, b)
		j.env[name] = token
		r := j.upload(t)
		require.Equal(t, 0, r.status, r.stderr)
		assert.Equal(t, map[string]string{"tokens/" + r.field(t, "uploadId").(string): token}, b.Tokens())
		assert.Equal(t, []string{"token", "artifact"}, b.Sent())
		assert.NotContains(t, r.stdout+r.stderr, "eyJ")
	}

	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	j.env["GITLAB_CODEDEPLOY_TOKEN"], j.env["CI_JOB_JWT"] = token, "a.b.c"
	r := j.upload(t)
	assert.Equal(t, token, b.Tokens()["tokens/"+r.field(t, "uploadId").(string)], "the one that is made for this")
}

//fault:whole the token of a job is none | nothing is sent, and it is not shown
func TestS13_WhatIsNoTokenIsRefusedWithoutShowingIt(t *testing.T) {
	for _, token := range []string{"secret", "a.b", "a.b.c.d", "a.b.c\n", "a.ü.c", "..", strings.Repeat("a", 70_000) + ".b.c"} {
		b := uploadtest.NewBucket(t, nil)
		j := newJob(t, b)
		j.env["GITLAB_CODEDEPLOY_TOKEN"] = token
		r := j.upload(t)
		assert.Equal(t, 2, r.status)
		assert.Contains(t, r.stderr, fmt.Sprintf("GITLAB_CODEDEPLOY_TOKEN: got %d characters that are no token", len(token)))
		assert.NotContains(t, r.stderr, "secret")
		assert.Empty(t, b.Sent())
	}
}

// --- what S3 answers -------------------------------------------------------

// at is a fault of each call of an operation.
func at(operation string, fault uploadtest.Fault) func(uploadtest.Call) uploadtest.Fault {
	return func(c uploadtest.Call) uploadtest.Fault {
		if c.Operation == operation {
			return fault
		}
		return uploadtest.Fault{}
	}
}

//fault:whole S3 stores something else, or tells no checksum | that is no success, and a part of it is taken back
func TestS13_WhatS3StoredDifferentlyIsNoSuccess(t *testing.T) {
	for _, fault := range []uploadtest.Fault{{Lie: true}, {Silent: true}} {
		for operation, size := range map[string]int{"PutObject": 0, "UploadPart": 14_000_000, "CompleteMultipartUpload": 14_000_000} {
			if fault.Silent && operation == "CompleteMultipartUpload" {
				continue // What it told of each part adds up to the whole: see upload.Send.
			}
			b := uploadtest.NewBucket(t, at(operation, fault))
			j := newJob(t, b)
			j.write(t, "big", noise(size))
			r := j.upload(t)
			assert.Equal(t, 1, r.status, "%s %+v: %s", operation, fault, r.stderr)
			assert.Contains(t, r.stderr, "as it was sent")
			assert.Empty(t, r.stdout)
			assert.Zero(t, b.Unfinished())
		}
	}
}

//fault:whole S3 refuses any step of an upload in parts | it is taken back
func TestS13_EachFailingStepOfAnUploadInPartsTakesItBack(t *testing.T) {
	for _, operation := range []string{"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} {
		b := uploadtest.NewBucket(t, at(operation, uploadtest.Fault{Status: 403, Code: "AccessDenied"}))
		j := newJob(t, b)
		j.write(t, "big", noise(14_000_000))
		r := j.upload(t)
		assert.Equal(t, 1, r.status, r.stderr)
		assert.Empty(t, r.stdout)
		assert.Zero(t, b.Unfinished())
		assert.Empty(t, b.Versions(defaultKey))
		if operation != "CreateMultipartUpload" {
			assert.Contains(t, r.stderr, "the unfinished upload is taken back")
		}
	}
}

//fault:whole a file changes while it is packed | the upload is taken back
func TestS13_AFileThatChangesWhileItIsPackedEndsTheUpload(t *testing.T) {
	var j *job
	b := uploadtest.NewBucket(t, at("CreateMultipartUpload", uploadtest.Fault{Do: func() { _ = os.Remove(filepath.Join(j.source, "z")) }}))
	j = newJob(t, b)
	j.write(t, "big", noise(80_000_000))
	j.write(t, "z", "late")
	r := j.upload(t)
	assert.Equal(t, 1, r.status, r.stderr)
	assert.Contains(t, r.last(), `"z" changed while it was packed`)
	assert.Contains(t, r.last(), "the unfinished upload is taken back")
	assert.Zero(t, b.Unfinished())
	assert.Empty(t, b.Versions(defaultKey))
}

func TestS13_WhatS3SaysIsToldOnceWithWhatToDo(t *testing.T) {
	for code, tt := range map[string]struct {
		status int
		hint   string
	}{
		"AccessDenied":                {403, "only under its prefix, through account A's S3 endpoint and from the role of the GitLab runner's host"},
		"NoSuchBucket":                {404, "there is no such bucket: check ARTIFACT_BUCKET"},
		"PermanentRedirect":           {301, "the bucket is in another Region: check AWS_DEFAULT_REGION"},
		"ExpiredToken":                {400, "the job has no valid AWS credentials"},
		"XAmzContentChecksumMismatch": {400, "the data was damaged on its way: upload again"},
		"MethodNotAllowed":            {405, "the upload did not happen"},
	} {
		b := uploadtest.NewBucket(t, at("PutObject", uploadtest.Fault{Status: tt.status, Code: code}))
		r := newJob(t, b).upload(t)
		assert.Equal(t, 1, r.status, r.stderr)
		assert.Contains(t, r.stderr, "error: S3 refused s3://artifacts-test/"+defaultKey+"; ")
		assert.Contains(t, r.stderr, tt.hint)
		assert.Contains(t, r.stderr, "("+code+")")
		assert.Equal(t, 1, strings.Count(r.stderr, "error:"))
		assert.Empty(t, r.stdout)
	}
}

func TestS13_AnS3ThatIsNotReachedIsTold(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	b.Front.Close()
	r := newJob(t, b).upload(t)
	assert.Equal(t, 1, r.status)
	assert.Contains(t, r.last(), "S3 was not reached: check the runner's route to it")
}

// --- wrong use -------------------------------------------------------------

//fault:whole an option is wrong | nothing is sent, and it says what came and what is allowed
func TestS13_WrongUseIsToldWithWhatCameAndNothingIsSent(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{"--bucket My_Bucket", "bucket: got 'My_Bucket', want 3 to 63 of a-z 0-9 . - and not an IP address"},
		{"--bucket ab", "bucket: got 'ab'"},
		{"--bucket 192.168.0.1", "bucket: got '192.168.0.1'"},
		{"--bucket a..b", "bucket: got 'a..b'"},
		{"--application a/b", "application: got 'a/b', want 1 to 100 of A-Z a-z 0-9 . _ + = , @ -"},
		{"--deployment-group grün", "deployment group: got 'grün'"},
		{"--key deployments/x.gz", "key: got 'deployments/x.gz', want one under artifacts/"},
		{"--key artifacts/", "key: got 'artifacts/'"},
		{"--key artifacts/x.zip", "want one that ends in .gz or .tgz"},
		{"--key artifacts/.gz", "key: got 'artifacts/.gz'"},
		{"--key artifacts/../x.gz", "key: got 'artifacts/../x.gz'"},
		{"--key artifacts//x.gz", "key: got 'artifacts//x.gz'"},
		{"--key artifacts/" + strings.Repeat("x", 1024) + ".gz", "want up to 1,024 of"},
		{"--source /no/such/folder", "source: there is no folder '/no/such/folder' in /"},
		{"--source /", "source: / is not a folder to deploy"},
		{"--timeout 1h", "timeout: got '1h', want 1 to 999999 seconds"},
		{"--timeout 0", "timeout: got '0'"},
		{"--timeout 1000000", "timeout: got '1000000'"},
		{"--timeout", "needs an argument: --timeout"},
		{"--timeout=", "--timeout needs a value"},
		{"--await", "unknown flag: --await"},
		{"--bucket", "needs an argument: --bucket"},
		{"--until noon", "until: got 'noon', want end or traffic"},
		{"here", "unknown argument: here"},
		{"--application a\x1b[31mb", "application: got 'ab'"},
	} {
		b := uploadtest.NewBucket(t, nil)
		r := newJob(t, b).upload(t, strings.Fields(tt.args)...)
		assert.Equal(t, 2, r.status, "%s: %s", tt.args, r.stderr)
		assert.Contains(t, r.stderr, tt.want)
		assert.Contains(t, r.stderr, "(see --help)")
		assert.Equal(t, 1, strings.Count(r.stderr, "\n"), "one message: %s", r.stderr)
		assert.Empty(t, r.stdout)
		assert.Empty(t, b.Sent())
	}
}

func TestS13_EachRequiredArgumentIsAskedForByBothOfItsNames(t *testing.T) {
	j := newJob(t, nil)
	for _, tt := range []struct{ args, want string }{
		{"upload", "--bucket or ARTIFACT_BUCKET is required"},
		{"upload --bucket b23", "--application or APPLICATION_NAME is required"},
		{"upload --bucket b23 --application a", "--deployment-group or DEPLOYMENT_GROUP_NAME is required"},
		{"status x", "--bucket or ARTIFACT_BUCKET is required"},
		{"status", "got 0 arguments, want the id of one upload"},
		{"status ../x --bucket b23", "id: got '../x'"},
		{"", "got no command, want upload, check or status"},
		{"deploy", "unknown command: deploy, want upload, check or status"},
	} {
		r := j.run(t, strings.Fields(tt.args)...)
		assert.Equal(t, 2, r.status, r.stderr)
		assert.Contains(t, r.stderr, tt.want)
	}
}

func TestS13_AWrongVariableIsWrongUse(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"ARTIFACT_PREFIX", "/artifacts", "ARTIFACT_PREFIX: got '/artifacts', want a folder such as artifacts/"},
		{"DEPLOY_WAIT", "yes", "DEPLOY_WAIT: got 'yes', want true or false"},
		{"DEPLOY_TIMEOUT", "1000000", "timeout: got '1000000'"},
		{"DEPLOY_UNTIL", "noon", "until: got 'noon'"},
		{"DEPLOY_POLL_SECONDS", "0", "DEPLOY_POLL_SECONDS: got '0', want 0.001 to 60 seconds"},
		{"DEPLOY_POLL_SECONDS", "0.000", ""}, {"DEPLOY_POLL_SECONDS", "61", ""}, {"DEPLOY_POLL_SECONDS", "1,5", ""},
		{"DEPLOY_POLL_SECONDS", ".5", ""}, {"DEPLOY_POLL_SECONDS", "08x", ""}, {"DEPLOY_POLL_SECONDS", "NaN", ""},
	} {
		b := uploadtest.NewBucket(t, nil)
		j := newJob(t, b)
		j.env[tt.name] = tt.value
		r := j.upload(t, "--wait")
		assert.Equal(t, 2, r.status, "%s=%s: %s", tt.name, tt.value, r.stderr)
		assert.Contains(t, r.stderr, tt.want)
		assert.Contains(t, r.stderr, "got '"+tt.value+"'")
		assert.Empty(t, b.Sent())
	}
}

func TestS13_HelpNeedsNothing(t *testing.T) {
	j := newJob(t, nil)
	for _, args := range []string{"--help", "upload --help", "check --help", "status --help"} {
		r := j.run(t, strings.Fields(args)...)
		assert.Equal(t, 0, r.status)
		assert.Contains(t, r.stdout, "Usage:")
	}
	assert.Contains(t, j.run(t, "--help").stdout, "Exit status:")
	assert.Equal(t, "artifact version devel\n", j.run(t, "--version").stdout)
}

// --- wrong content ---------------------------------------------------------

func TestS13_AFolderWithoutAnAppSpecFileIsRefusedAndANearMissNamed(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	require.NoError(t, os.Rename(filepath.Join(j.source, "appspec.yml"), filepath.Join(j.source, "appspec.yaml")))
	r := j.upload(t)
	assert.Equal(t, 2, r.status)
	assert.Contains(t, r.stderr, "appspec.yaml")
	assert.Contains(t, r.last(), "; nothing was uploaded")
	assert.Empty(t, b.Sent())
	assert.Empty(t, r.stdout)

	require.NoError(t, os.Remove(filepath.Join(j.source, "appspec.yaml")))
	assert.Equal(t, 2, j.upload(t).status)
	assert.Empty(t, b.Sent())
}

func TestS13_AllThatIsWrongIsToldAtOnce(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	require.NoError(t, os.Remove(filepath.Join(j.source, "index.html")))
	require.NoError(t, os.Remove(filepath.Join(j.source, "scripts/start.sh")))
	r := j.upload(t)
	assert.Equal(t, 2, r.status)
	assert.Regexp(t, `error: appspec\.yml:4:\d+: .*index\.html`, r.stderr)
	assert.Regexp(t, `error: appspec\.yml:8:\d+: .*scripts/start\.sh`, r.stderr)
	assert.Empty(t, b.Sent())
}

func TestS13_WhatExcludeLeavesOutMustNotBeNeeded(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	j.write(t, "notes.txt", "note")
	for exclude, want := range map[string]string{"scripts": "scripts/start.sh", "*.yml": "appspec.yml"} {
		r := j.upload(t, "--exclude", exclude)
		assert.Equal(t, 2, r.status, r.stderr)
		assert.Contains(t, r.stderr, want)
	}
	assert.Empty(t, b.Sent())
	all := j.upload(t, "--dry-run").field(t, "sha256")
	r := j.upload(t, "--dry-run", "--exclude", "notes.txt")
	require.Equal(t, 0, r.status, r.stderr)
	assert.NotEqual(t, all, r.field(t, "sha256"))
}

func TestS13_WarningsAreToldAndStrictMakesThemErrors(t *testing.T) {
	j := newJob(t, nil)
	j.write(t, "appspec.yml", "version: 0.0\nos: linux\nhook: {}\nfiles:\n  - source: /index.html\n    destination: /srv/www\n")
	r := j.upload(t, "--dry-run")
	require.Equal(t, 0, r.status, r.stderr)
	assert.Contains(t, r.stderr, "Z appspec.yml:3:1: warning: ")
	for _, command := range []run{j.upload(t, "--dry-run", "--strict"), j.run(t, "check", "--source", j.source, "--strict")} {
		assert.Equal(t, 2, command.status)
		assert.Contains(t, command.stderr, "error: appspec.yml:3:1: warning: ")
	}
}

func TestS13_WhatCannotBePackedIsRefusedByName(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	require.NoError(t, syscall.Mkfifo(filepath.Join(j.source, "pipe"), 0o644))
	r := j.upload(t)
	assert.Equal(t, 2, r.status, r.stderr)
	assert.Contains(t, r.last(), "pipe")
	assert.Contains(t, r.last(), "; nothing was uploaded")
	assert.Empty(t, b.Sent())
}
