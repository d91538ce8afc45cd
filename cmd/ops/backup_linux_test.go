package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/backup"
	"gitlab-codedeploy/internal/remote/remotetest"
)

// laptop has a GitLab to back up: its own commands are played, its files, tar, git and S3
// are real.
type laptop struct {
	*screen
	host   *remotetest.RealHost
	bucket *s3.Client
}

// Two projects with commits, the first with a wiki, too, and one that never had any.
var (
	projects = []string{"@hashed/6b/86/6b86b273ff34", "@hashed/d4/73/d4735e3a265e"}
	wiki     = projects[0] + ".wiki"
)

const (
	gitlabData    = "/var/opt/gitlab"
	databaseDump  = gitlabData + "/postgresql/data/dump.sql"
	backupFolder  = gitlabData + "/backups"
	unnamedBucket = "some-resource" // as documents have it before CloudFormation has made it
)

func newLaptop(t *testing.T) *laptop {
	t.Helper()
	for _, tool := range []string{"git", "tar", "gzip"} {
		_, err := exec.LookPath(tool)
		require.NoError(t, err)
	}
	l := &laptop{screen: newScreen(t)}
	l.now = time.Now
	l.host = l.OnRealHost(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "gitlab.example.com /users/sign_in", r.Host+" "+r.URL.Path)
	}))
	t.Cleanup(page.Close)
	emulator := awstest.Moto(t, "../..", "ap-northeast-1")
	l.host.Env = []string{
		remotetest.PageVariable + "=" + strings.TrimPrefix(page.URL, "http://"), "HOME=/root",
		"AWS_ENDPOINT_URL=" + *emulator.BaseEndpoint, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_EC2_METADATA_DISABLED=true",
	}
	l.bucket = s3.NewFromConfig(emulator, func(o *s3.Options) { o.UsePathStyle = true })
	_, err := l.bucket.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(unnamedBucket), CreateBucketConfiguration: &s3types.CreateBucketConfiguration{
		LocationConstraint: s3types.BucketLocationConstraintApNortheast1}})
	require.NoError(t, err)
	awstest.On(l.cloud, func(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
		assert.Equal(t, gitlabOutputs["BackupBucketName"], *in.Bucket)
		in.Bucket = aws.String(unnamedBucket)
		return l.bucket.ListObjectsV2(ctx, in)
	})
	awstest.On(l.cloud, func(ctx context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
		assert.Equal(t, gitlabOutputs["BackupBucketName"], *in.Bucket)
		in.Bucket = aws.String(unnamedBucket)
		return l.bucket.GetObject(ctx, in)
	})
	l.installGitLab(t)
	return l
}

// installGitLab puts GitLab 15.4.6 on the host, with data.
func (l *laptop) installGitLab(t *testing.T) {
	t.Helper()
	commands, err := filepath.Abs("testdata/gitlab.sh")
	require.NoError(t, err)
	for name, word := range map[string]string{"gitlab-ctl": "ctl", "gitlab-psql": "psql", "gitlab-rails": "rails", "gitlab-rake": "rake", "gitlab-backup": "backup"} {
		l.host.Stub(name, fmt.Sprintf(`exec '%s' %s "$@"`, commands, word))
	}
	l.host.Stub("getconf", `echo "glibc 2.26"`)
	l.host.Put("/opt/gitlab/bin/gitlab-ctl", "#!/bin/sh\nexec gitlab-ctl \"$@\"\n")
	require.NoError(t, os.Chmod(l.path("/opt/gitlab/bin/gitlab-ctl"), 0o755))
	for name, text := range map[string]string{
		"/opt/gitlab/version-manifest.txt":                               "gitlab-ce 15.4.6\n",
		"/etc/os-release":                                                "ID=\"amzn\"\nVERSION_ID=\"2\"\n",
		"/etc/gitlab/gitlab.rb":                                          "external_url 'https://gitlab.example.com'\n",
		"/etc/gitlab/gitlab-secrets.json":                                `{"gitlab_rails": {"db_key_base": "old"}}`,
		"/etc/ssh/ssh_host_ed25519_key":                                  "a key",
		gitlabData + "/gitaly/config.toml":                               "[[storage]]\nname = \"default\"\npath = \"/var/opt/gitlab/git-data/repositories\"\n",
		gitlabData + "/gitlab-rails/etc/gitlab.yml":                      "production: &base\n  backup:\n    path: \"/var/opt/gitlab/backups\"\n",
		gitlabData + "/gitlab-rails/uploads/図.png":                       strings.Repeat("picture", 3000),
		gitlabData + "/gitlab-rails/shared/artifacts/report":             "report",
		gitlabData + "/gitlab-rails/shared/lfs-objects/ab/cd/ef":         "object",
		gitlabData + "/gitlab-rails/shared/packages/ab/package":          "package",
		gitlabData + "/gitlab-rails/shared/terraform_state/cd/1.tfstate": "state",
		"/sign-up":   "t\n",
		databaseDump: dumpOf(projects),
	} {
		l.host.Put(name, text)
	}
	require.NoError(t, os.MkdirAll(l.path(backupFolder), 0o700))
	for _, project := range append([]string{wiki}, projects...) {
		repository := l.repository(project)
		git(t, "init", "--quiet", "--bare", repository)
		commit := git(t, "-C", repository, "commit-tree", "-m", "The first of "+project, git(t, "-C", repository, "mktree"))
		git(t, "-C", repository, "update-ref", "refs/heads/main", commit)
	}
}

// dumpOf is what pg_dump writes of the tables that are read. The last project has no commits.
func dumpOf(projects []string) string {
	var paths, commits strings.Builder
	for i, path := range append(append([]string{}, projects...), "@hashed/aa/bb/empty") {
		_, _ = fmt.Fprintf(&paths, "%d\t1\t%s\t%d\n", i+1, path, i+1)
		if i < len(projects) {
			_, _ = fmt.Fprintf(&commits, "%d\t%d\t1\t12\n", i+1, i+1)
		}
	}
	return "-- PostgreSQL database dump\n\nCREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;\n\nALTER TABLE public.projects OWNER TO gitlab;\n\n" +
		"COPY public.project_repositories (id, shard_id, disk_path, project_id) FROM stdin;\n" + paths.String() + "\\.\n\n" +
		"COPY public.project_statistics (id, project_id, namespace_id, commit_count) FROM stdin;\n" + commits.String() + "\\.\n\n" +
		"COPY public.uploads (id, size, store) FROM stdin;\n1\t21000\t1\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
}

func git(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.Command("git", args...)
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.bareRepository", "GIT_CONFIG_VALUE_0=all")
	out, err := command.CombinedOutput()
	require.NoError(t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

func (l *laptop) path(name string) string { return filepath.Join(l.host.Dir, name) }

func (l *laptop) repository(project string) string {
	return l.path(gitlabData + "/git-data/repositories/" + project + ".git")
}

func (l *laptop) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(l.path(name))
	require.NoError(t, err)
	return string(text)
}

// backups is what the operator's list shows.
func (l *laptop) backups(t *testing.T) string {
	t.Helper()
	l.out.Reset()
	// S3 is real: its connections are none of a bubble's.
	require.NoError(t, l.execute(t.Context(), "backups --env staging"))
	return l.out.String()
}

// backUp makes a backup, and returns its id.
func (l *laptop) backUp(t *testing.T) string {
	t.Helper()
	l.out.Reset()
	require.NoError(t, l.run(t, "backup", "--env", "staging"), "%s", &l.err)
	return backupOf(t, l.out.String())
}

// backupOf is the id in a backup's result.
func backupOf(t *testing.T, result string) string {
	t.Helper()
	var made struct {
		Backup, Version, Edition, Store string
		Bytes                           int64
	}
	require.NoError(t, json.Unmarshal([]byte(result), &made), result)
	assert.Equal(t, "15.4.6 ce s3://"+unnamedBucket, made.Version+" "+made.Edition+" "+made.Store)
	assert.Greater(t, made.Bytes, int64(10_000))
	return made.Backup
}

// losesAll is what happens to a GitLab that is to be restored.
func (l *laptop) losesAll(t *testing.T) {
	t.Helper()
	for _, project := range append([]string{wiki}, projects...) {
		require.NoError(t, os.RemoveAll(l.repository(project)))
	}
	l.host.Put("/etc/gitlab/gitlab-secrets.json", `{"gitlab_rails": {"db_key_base": "new"}}`)
	l.host.Put(gitlabData+"/gitlab-rails/uploads/図.png", "another picture")
	l.host.Put(databaseDump, dumpOf(nil))
}

// hasAll says that all is there again.
func (l *laptop) hasAll(t *testing.T, but ...string) {
	t.Helper()
	for _, project := range append([]string{wiki}, projects...) {
		if len(but) == 0 || but[0] != project {
			assert.Equal(t, "The first of "+project, git(t, "-C", l.repository(project), "log", "--format=%s", "main"))
		}
	}
	assert.Contains(t, l.read(t, "/etc/gitlab/gitlab-secrets.json"), "old")
	assert.Equal(t, strings.Repeat("picture", 3000), l.read(t, gitlabData+"/gitlab-rails/uploads/図.png"))
	assert.Equal(t, "state", l.read(t, gitlabData+"/gitlab-rails/shared/terraform_state/cd/1.tfstate"))
	assert.Equal(t, dumpOf(projects), l.read(t, databaseDump))
	assert.NoDirExists(t, l.path("/down"), "all services run again")
	left, err := os.ReadDir(l.path(backupFolder))
	require.NoError(t, err)
	assert.Empty(t, left, "the disk is not filled up")
}

// TestS10_ABackupAndItsRestoreGoTheirWholeWay from the operator's commands through the played Systems Manager and the real
// documents to the real program, and to S3 and back.
func TestS10_ABackupAndItsRestoreGoTheirWholeWay(t *testing.T) {
	l := newLaptop(t)
	id := l.backUp(t)
	assert.Contains(t, l.err.String(), "2 repositories with commits in the database, 1 wikis and designs on the disk, 3 bundles in the archive")
	assert.Regexp(t, `(?m)^`+id+` +15\.4\.6 ce +\d+ kB +0 min +yes$`, l.backups(t))
	left, err := os.ReadDir(l.path(backupFolder))
	require.NoError(t, err)
	assert.Empty(t, left)

	l.losesAll(t)
	l.answers("n", "y")
	err = l.run(t, "restore", "--env", "staging", "--backup", id)
	require.EqualError(t, err, "not confirmed; nothing was done")
	assert.Equal(t, []string{"backup"}, l.sent())
	l.out.Reset()
	require.NoError(t, l.run(t, "restore", "--env", "staging", "--backup", id), "%s", &l.err)
	assert.Contains(t, l.questions[1], "restore "+id+" onto "+serverID+", the GitLab at https://gitlab.example.com? Its database, repositories, uploads and secrets are overwritten")
	assert.Equal(t, []string{"backup", "restore"}, l.sent())
	assert.Contains(t, l.err.String(), "3 of 3 repositories, wikis and designs counted on the disk, 0 missing")
	assert.Equal(t, "repositories\tok\tall 2 with commits are there\n"+
		"sign-in\tok\tthe page answers with 200\n"+
		"services\tok\tall are up\n"+
		"statistics\tok\tANALYZE is done\n"+
		"order\tok\tthe indexes are in the order of this host (glibc 2.26)\n"+
		"secrets\tok\tall that is encrypted can be read\n"+
		"gitlab:check\tok\tnothing to fix\n"+
		"migrations\tok\tnone is left\n"+
		"sign-up\tok\tit was open in the backup, and is closed now\n", l.out.String())
	l.hasAll(t)
	assert.Equal(t, "f\n", l.read(t, "/sign-up"))
	assert.NoFileExists(t, l.path(backup.UnfinishedRestore))
}

func TestS10_WhatGoesWrongOnTheWayOfABackupReachesTheLaptop(t *testing.T) {
	t.Run("S10 backup | the laptop is gone in the middle of it | it goes on, and --follow gets its end", func(t *testing.T) {
		l := newLaptop(t)
		l.host.Put("/hold", "")
		synctest.Test(t, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			l.stderr = &noticing{to: &l.err, word: "gitlab-backup create", then: interrupt}
			err := l.execute(ctx, "backup --env staging")
			assert.Regexp(t, `^interrupted: run \S+ goes on, to follow it: scripts/ops backup --env staging --follow \S+$`, message(ctx, err))
			assert.Equal(t, 1, exitStatus(err))
			require.NoError(t, os.Remove(l.path("/hold"))) // the last question about it ends with the test's bubble
		})
		l.stderr = &l.err
		l.out.Reset()
		require.NoError(t, l.run(t, "backup", "--env", "staging", "--follow"), "%s", &l.err)
		id := backupOf(t, l.out.String())
		assert.Equal(t, []string{"backup"}, l.sent(), "it was started once")
		assert.Regexp(t, `(?m)^`+id+` .* yes$`, l.backups(t))
	})
	t.Run("S10 backup | a repository with commits has no bundle | exit 1, the last line names it, and no backup is listed", func(t *testing.T) {
		l := newLaptop(t)
		l.host.Put("/forget", projects[1])
		err := l.run(t, "backup", "--env", "staging")
		assert.Equal(t, 1, exitStatus(err))
		assert.Empty(t, message(t.Context(), err), "the log has said why")
		assert.Empty(t, l.out.String())
		assert.Regexp(t, ` error: .*_15\.4\.6_gitlab_backup\.tar has no bundle of 1 repositories: `+projects[1]+`$`, lastLine(l.err.String()))
		assert.Empty(t, l.backups(t))
		assert.Contains(t, l.err.String(), "there is no backup in "+gitlabOutputs["BackupBucketName"])
	})
	t.Run("S10 backup | a part cannot be read after others are stored | exit 1, the last line says why, and the list says that it does not count", func(t *testing.T) {
		l := newLaptop(t)
		require.NoError(t, os.Remove(l.path("/etc/gitlab/gitlab.rb")))
		require.NoError(t, os.Mkdir(l.path("/etc/gitlab/gitlab.rb"), 0o700))
		err := l.run(t, "backup", "--env", "staging")
		assert.Equal(t, 1, exitStatus(err))
		assert.Regexp(t, ` error: .*/etc/gitlab/gitlab\.rb: is a directory$`, lastLine(l.err.String()))
		assert.Regexp(t, `(?m)_15\.4\.6 +15\.4\.6 ce .* no: it has no manifest: it was never completed, or is on its way$`, l.backups(t))
	})
	t.Run("S10 restore | a bundle cannot be restored, and GitLab says nothing | exit 1, it is named, and can be given up by number", func(t *testing.T) {
		l := newLaptop(t)
		id := l.backUp(t)
		l.losesAll(t)
		l.host.Put("/lose", projects[0])
		err := l.run(t, "restore", "--env", "staging", "--backup", id, "--yes")
		assert.Equal(t, 1, exitStatus(err))
		assert.Contains(t, lastLines(l.err.String(), 3), "not restored: 1 repositories: "+projects[0]+". If they may be lost, restore the backup again with --accept-lost 1")
		assert.FileExists(t, l.path(backup.UnfinishedRestore))
		err = l.run(t, "backup", "--env", "staging")
		assert.Equal(t, 1, exitStatus(err))
		assert.Contains(t, lastLine(l.err.String()), "the restore of "+id+" did not finish")

		l.out.Reset()
		require.NoError(t, l.run(t, "restore", "--env", "staging", "--backup", id, "--yes", "--accept-lost", "1"), "%s", &l.err)
		assert.Contains(t, l.out.String(), "repositories\tlook\trestored without 1 repositories: "+projects[0]+", as accepted\n")
		l.hasAll(t, projects[0])
		assert.NoFileExists(t, l.path(backup.UnfinishedRestore))
	})
}

func lastLine(text string) string { return lastLines(text, 1) }

func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// noticing calls then once, when a word is written.
type noticing struct {
	to   *bytes.Buffer
	word string
	then func()
}

func (n *noticing) Write(p []byte) (int, error) {
	if regexp.MustCompile(n.word).Match(p) {
		n.then()
	}
	return n.to.Write(p)
}
