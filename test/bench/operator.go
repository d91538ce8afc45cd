package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	proof "gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/test/e2e/emulator"
)

// scripted is the last commit whose operator's commands are all scripts: bash,
// Node.js and the AWS CLI, in scripts/ops.d.
const scripted = "e80fcc3fd916587a5019cde0514ddf96bdde8bc4"

// benchOperator times three of the operator's commands on the emulator, where
// some backups and deployments lie, against the scripts that they were.
func benchOperator(ctx context.Context, options Options, report *Report) error {
	ours, reference, err := operators(ctx, options)
	if err != nil {
		return err
	}
	e, err := emulator.Open(options.Root, options.Emulator)
	if err != nil {
		return err
	}
	made, err := fill(ctx, options, e)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name, profile string
		status        int    // that it ends with
		says          string // when it has done its work
	}{
		{"deployments", e.B.Profile, 0, made},
		{"check", e.A.Profile, 1, "endpoint ssmmessages"}, // no agent answers
		{"backups", e.A.Profile, 0, backupID(emulatedBackups)},
	} {
		var took Series
		for n := range options.Uncounted + options.OperatorPairs {
			options.logf("ops %s: pair %d of %d", c.name, n+1-options.Uncounted, options.OperatorPairs)
			var pair [2]usage
			for i, ops := range []string{ours, reference} {
				if ops == "" {
					continue
				}
				run := command{args: []string{ops, c.name, "--env", "local", "--profile", c.profile},
					dir: options.Work, env: operatorEnvironment(options, e.Profiles()...), status: c.status, says: c.says}
				if pair[i], err = run.run(ctx); err != nil {
					return err
				}
			}
			if n >= options.Uncounted {
				took.compare(pair[0].wall.Seconds(), pair[1].wall.Seconds())
			}
		}
		report.Rows = append(report.Rows, Row{Name: "ops " + c.name + ", on the emulator", Unit: Seconds, Series: took, Target: &Target{Most: 0.4}})
	}
	report.Notes = append(report.Notes, fmt.Sprintf("ops: on the emulator of make up, with %d deployments and %d backups. Reference are the scripts of commit %.7s, with the AWS CLI and Node.js of this checkout; "+
		"without that commit there is none.", emulatedPushes, emulatedBackups, scripted))
	return nil
}

// compare is add where there may be no reference.
func (s *Series) compare(ours, reference float64) {
	s.Ours = append(s.Ours, ours)
	if reference > 0 {
		s.Reference = append(s.Reference, reference)
	}
}

// operators are scripts/ops of this checkout and of the scripted commit, which is
// "" when this clone does not have it.
func operators(ctx context.Context, options Options) (ours, reference string, err error) {
	ours = filepath.Join(options.Root, "scripts", "ops")
	if out, err := exec.CommandContext(ctx, ours, "--version").CombinedOutput(); err != nil { // which builds it
		return "", "", fmt.Errorf("%s --version: %w: %s", ours, err, out)
	}
	old := filepath.Join(options.Work, "scripted")
	reference = filepath.Join(old, "scripts", "ops")
	if _, err := os.Stat(reference); err == nil {
		return ours, reference, nil
	}
	if !options.hasOldScripts(ctx, scripted) {
		return ours, "", nil
	}
	if err := os.MkdirAll(old, 0o700); err != nil {
		return "", "", err
	}
	unpack := exec.CommandContext(ctx, "bash", "-c", `set -o pipefail; git -C "$1" archive "$2" | tar -x -C "$3"`, "bash", options.Root, scripted, old)
	if out, err := unpack.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("unpack commit %s: %w: %s", scripted, err, out)
	}
	for _, tools := range []string{"node_modules", ".venv"} {
		if err := os.Symlink(filepath.Join(options.Root, tools), filepath.Join(old, tools)); err != nil {
			return "", "", err
		}
	}
	return ours, reference, nil
}

// hasOldScripts says whether the scripts of a commit are to be compared with, and are in this clone.
func (o Options) hasOldScripts(ctx context.Context, commit string) bool {
	if !o.OldScripts {
		return false
	}
	has := exec.CommandContext(ctx, "git", "-C", o.Root, "cat-file", "-e", commit+"^{commit}").Run() == nil
	if !has {
		o.logf("this clone has no commit %.7s, so there is nothing to compare with", commit)
	}
	return has
}

// operatorEnvironment is that of a laptop without accounts of its own.
func operatorEnvironment(options Options, variables ...string) []string {
	env := []string{"PATH=" + filepath.Join(options.Root, "node_modules", ".bin") + ":" + filepath.Join(options.Root, ".venv", "bin") + ":" + os.Getenv("PATH"),
		"HOME=" + os.Getenv("HOME"), "LANG=en_US.UTF-8", "AWS_EC2_METADATA_DISABLED=true"}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS", "GOTOOLCHAIN"} {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return append(env, variables...)
}

// emulatedPushes and emulatedBackups are what the commands find.
const emulatedPushes, emulatedBackups = 3, 5

// fill makes some pushes and backups, and returns the id of the last push.
func fill(ctx context.Context, options Options, e *emulator.Emulator) (last string, err error) {
	options.logf("ops: %d pushes and %d backups", emulatedPushes, emulatedBackups)
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("the emulator deploys nothing"))
	defer cancel()
	client := func(a emulator.Account) *s3.Client {
		c := a.Credentials
		return s3.New(s3.Options{Region: e.Config.Region, BaseEndpoint: &e.Endpoint, UsePathStyle: true,
			Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)})
	}
	put := func(a emulator.Account, bucket, key, body string, metadata map[string]string) error {
		_, err := client(a).PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body), Metadata: metadata})
		if err != nil {
			return fmt.Errorf("put %s: %w", key, err)
		}
		return nil
	}
	group := e.Config.Deploy.DeploymentGroups[0]
	artifacts := e.Config.Deploy.Artifacts.BucketName
	for n := range emulatedPushes {
		token, err := exec.CommandContext(ctx, filepath.Join(e.Work, "job-token"), "--project", "team/sample-web", "--ref", "main").Output()
		if err != nil {
			return "", fmt.Errorf("job-token: %w", err)
		}
		last = fmt.Sprintf("bench-%d", n)
		if err := put(e.B, artifacts, proof.TokenKey(last), strings.TrimSpace(string(token)), nil); err != nil {
			return "", err
		}
		if err := put(e.B, artifacts, "artifacts/"+group.Application+"/artifact.gz", last, map[string]string{
			"application-name": group.Application, "deploymentgroup-name": group.DeploymentGroup, "upload-id": last}); err != nil {
			return "", err
		}
		if err := succeeded(ctx, client(e.B), artifacts, "deployments/"+last+".json"); err != nil {
			return "", err
		}
	}
	backups, err := backupBucket(e)
	if err != nil {
		return "", err
	}
	for n := range emulatedBackups {
		for key, body := range backup(backupID(n + 1)) {
			if err := put(e.A, backups, key, body, nil); err != nil {
				return "", err
			}
		}
	}
	return last, nil
}

// succeeded waits for the state of an upload.
func succeeded(ctx context.Context, client *s3.Client, bucket, key string) error {
	for {
		if out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key}); err == nil {
			var text bytes.Buffer
			_, err := text.ReadFrom(out.Body)
			out.Body.Close()
			if err == nil && strings.Contains(text.String(), `"Succeeded"`) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", key, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// backupBucket is an output of account A's stack.
func backupBucket(e *emulator.Emulator) (string, error) {
	text, err := os.ReadFile(filepath.Join(e.Work, "outputs.json"))
	if err != nil {
		return "", err
	}
	var outputs map[string]map[string]string
	if err := json.Unmarshal(text, &outputs); err != nil {
		return "", err
	}
	return outputs["GitLab-local"]["BackupBucketName"], nil
}

func backupID(n int) string { return fmt.Sprintf("%d_2026_11_%02d_18.11.13", 1762000000+n*86400, n) }

// backup is a complete one by its keys, as internal/backup writes it.
func backup(id string) map[string]string {
	tar, secrets := "backups/"+id+"/"+id+"_gitlab_backup.tar", "secrets/"+id+"/gitlab-secrets.json"
	text := fmt.Sprintf("{\n\"id\": %q,\n\"version\": \"18.11.13\",\n\"edition\": \"ce\",\n\"host\": \"gitlab.example.com\",\n\"parts\": [\n"+
		"{\"key\": %q, \"size\": 3, \"sha256\": \"%064d\"},\n{\"key\": %q, \"size\": 6, \"sha256\": \"%064d\"},\nnull],\n", id, tar, 0, secrets, 0)
	return map[string]string{tar: "tar", secrets: "secret",
		"backups/" + id + "/manifest.json": text + fmt.Sprintf("\"sha256\": \"%x\"\n}\n", sha256.Sum256([]byte(text)))}
}

// benchFollowing measures the processor time that following an operation of a
// host takes, against the scripts. The host and Systems Manager are played.
func benchFollowing(ctx context.Context, options Options, report *Report) error {
	ours, reference, err := operators(ctx, options)
	if err != nil {
		return err
	}
	var minute Series
	for n := range options.FollowPairs {
		options.logf("ops backup: followed for %s, pair %d of %d", options.FollowFor, n+1, options.FollowPairs)
		var pair [2]float64
		for i, ops := range []string{ours, reference} {
			if ops == "" {
				continue
			}
			if pair[i], err = followed(ctx, options, ops); err != nil {
				return err
			}
		}
		minute.compare(pair[0], pair[1])
	}
	report.Rows = append(report.Rows, Row{Name: "ops backup: CPU time a minute", Unit: Seconds, Series: minute, Target: &Target{Most: 0.5}})
	report.Notes = append(report.Notes, fmt.Sprintf("ops backup: processor time of starting an operation of %s and following it to its end over TLS, as that of a minute. Systems Manager and the host are played: "+
		"one line of log every five seconds.", options.FollowFor))
	return nil
}

// followed is the processor time a minute of one command that follows an operation.
func followed(ctx context.Context, options Options, ops string) (float64, error) {
	host := newHost(options.FollowFor)
	defer host.server.Close()
	certificates := filepath.Join(options.Work, "certificates.pem")
	if err := trust(host.server, certificates); err != nil {
		return 0, err
	}
	used, err := command{
		args: []string{ops, "backup", "--env", "local", "--yes"}, dir: options.Work, says: followedResult,
		env: operatorEnvironment(options, "AWS_ENDPOINT_URL="+host.server.URL, "AWS_CA_BUNDLE="+certificates, "SSL_CERT_FILE="+certificates,
			"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret"),
	}.run(ctx)
	if err == nil {
		err = host.check()
	}
	return used.cpu.Seconds() / used.wall.Minutes(), err
}
