package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/internal/upload"
)

func newUpload(p program) *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:   "upload --bucket BUCKET --application NAME --deployment-group NAME",
		Short: "Pack a folder and upload it, which deploys it",
		Long: `Checks a folder as CodeDeploy's agent would, packs it as a gzip-compressed tar
with appspec.yml at its root, and puts it into the artifact bucket, which starts
a blue/green deployment. An AppSpec file for Amazon ECS or Lambda goes there alone.

Each option has a variable that stands in for it. Variables without an option:

    ARTIFACT_PREFIX          what keys begin with; the bucket refuses others. Default: artifacts/
    GITLAB_CODEDEPLOY_TOKEN  the token that GitLab signed for the job, which proves who deploys;
                             where there is none, CI_JOB_JWT_V2 or CI_JOB_JWT
    DEPLOY_POLL_SECONDS      pause between --wait's first looks at the state, 0.001 to 60; it
                             grows to 7.5 times as much. Default: 2

AWS is reached by the environment's settings, as the AWS CLI reaches it: AWS_REGION,
AWS_PROFILE, AWS_ENDPOINT_URL, AWS_CA_BUNDLE, AWS_MAX_ATTEMPTS, the role of jobs, …

Prints one line of JSON on stdout:

    {"uploadId","bucket","key","versionId","eTag","sha256","size","application","deploymentGroup"}

sha256 is that of the whole artifact in hex, size is in bytes, versionId is null in
a bucket without versions. --wait adds "state","deploymentId","reason", each null
while unknown; the line then comes at the end of the wait, whatever that end is. A
dry run adds "dryRun":true, and knows no versionId and eTag.

States: Waiting (for an earlier deployment), Created, InProgress, Ready; at the end
Succeeded, Failed, Stopped, Rejected (not deployed: the reason tells what to change)
or Superseded (not deployed: a newer upload took its place).`,
		Example: `  artifact upload --bucket example-artifacts --application web --deployment-group web-blue-green --source dist --wait`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.complete(p, c, true); err != nil {
				return err
			}
			return p.upload(c.Context(), o)
		},
	}
	command.Flags().SortFlags = false
	o.addDestination(command.Flags())
	o.addSource(command.Flags())
	o.addWait(command.Flags())
	command.Flags().BoolVar(&o.dryRun, "dry-run", false, "check and pack, send nothing")
	return command
}

// upload sends what o names, and waits for what comes of it.
func (p program) upload(ctx context.Context, o options) (err error) {
	token, err := p.token()
	if err != nil {
		return err
	}
	c, err := p.prepare(o)
	if err != nil {
		return err
	}
	if o.Key, err = o.KeyFor(c.form); err != nil {
		return usageError{err}
	}
	id := p.origin().UploadID()
	metadata, leftOut := o.Metadata(p.origin(), id, c.form)
	if leftOut != "" {
		p.log("%s", leftOut)
	}
	made := result{
		UploadID: text(id), Bucket: text(o.Bucket), Key: text(o.Key),
		Application: text(o.Application), DeploymentGroup: text(o.DeploymentGroup), DryRun: o.dryRun,
	}
	if o.wait {
		made.outcome = &outcome{}
	}
	object := upload.Object{Bucket: o.Bucket, Key: o.Key, ContentType: c.form.ContentType, Metadata: metadata}
	if o.dryRun {
		return p.pack(ctx, c, object, made)
	}

	client, region, err := p.s3(ctx)
	if err != nil {
		return err
	}
	if token != "" {
		if err := upload.PutToken(ctx, client, o.Bucket, id, token); err != nil {
			return err
		}
	}
	debug.FreeOSMemory() // of the check
	p.log("packing and uploading %s to s3://%s/%s", c.what, o.Bucket, o.Key)
	sent, err := upload.Send(ctx, client, object, c.size, p.writer(ctx, c))
	if err != nil {
		return err
	}
	made.VersionID, made.ETag, made.SHA256, made.Size = text(sent.VersionID), text(sent.ETag), text(sent.SHA256), sent.Bytes
	p.log("uploaded as version %s, upload id %s", orNone(sent.VersionID), id)
	if !o.wait {
		return p.print(made)
	}

	wait := p.waitFor(o.waiting, client, o.Bucket, region)
	wait.IDs, wait.Key, wait.VersionID = upload.StateIDs(id, o.Key, sent.VersionID), o.Key, sent.VersionID
	ended := wait.Follow(ctx)
	made.outcome = outcomeOf(wait.State)
	return firstOf(ended, p.print(made))
}

// pack makes the artifact and sends it nowhere.
func (p program) pack(ctx context.Context, c content, object upload.Object, made result) error {
	p.log("packing %s", c.what)
	counted, err := upload.Count(object, c.size, p.writer(ctx, c))
	if err != nil {
		return err
	}
	made.SHA256, made.Size = text(counted.SHA256), counted.Bytes
	shown, err := json.Marshal(object.Metadata)
	if err != nil {
		return err
	}
	p.log("dry run: would send %d bytes in %d part(s) to %s with metadata %s", counted.Bytes, counted.Parts, object, shown)
	return p.print(made)
}

// writer returns what writes the artifact, and tells how far it is.
func (p program) writer(ctx context.Context, c content) func(io.Writer) error {
	return func(w io.Writer) error {
		progress := newProgress(p, c.size)
		defer progress.end()
		return c.write(ctx, w, progress.set)
	}
}

// waitFor makes a wait of the options; the caller says for which upload.
func (p program) waitFor(w waiting, client upload.Reader, bucket, region string) *upload.Wait {
	return &upload.Wait{
		Client: client, Bucket: bucket, Region: region, Since: time.Now(), Timeout: w.timeout, Pause: w.pause,
		UntilTraffic: w.until == "traffic", JobTimeout: seconds(p.getenv("CI_JOB_TIMEOUT")), Log: p.log,
	}
}

// token returns the token that GitLab signed for the job, "" when there is none.
// It is a secret: it is never shown, not even when it is none.
// https://docs.gitlab.com/ee/ci/secrets/id_token_authentication.html
func (p program) token() (string, error) {
	for _, name := range trust.Variables {
		if token := p.getenv(name); token != "" {
			if !upload.ValidToken(token) {
				return "", usageError{fmt.Errorf("%s: got %d characters that are no token, want three parts with dots between, as GitLab signs them", name, len(token))}
			}
			return token, nil
		}
	}
	return "", nil
}

func orNone(version string) string {
	if version == "" {
		return "none"
	}
	return plain.Line(version, 200)
}

// firstOf returns the first error; a result that cannot be written hides no reason.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
