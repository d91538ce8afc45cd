//go:build unix

package backup_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/backup"
	"gitlab-codedeploy/internal/backups"
)

// moto is the emulator's S3, as the SDK reaches it over HTTP.
func moto(t *testing.T) *s3.Client {
	t.Helper()
	server, err := filepath.Abs("../../.venv/bin/moto_server")
	require.NoError(t, err)
	if _, err := os.Stat(server); err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "moto_server is missing: scripts/setup.sh installs it")
		t.Skip("moto_server is missing: scripts/setup.sh installs it")
	}
	command := exec.CommandContext(t.Context(), server, "-H", "127.0.0.1", "-p", "0")
	talk, err := command.StderrPipe()
	require.NoError(t, err)
	command.Stdout = command.Stderr
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Wait() }) // the end of the test's context ends it
	port := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(talk); lines.Scan(); {
			if found := regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`).FindStringSubmatch(lines.Text()); found != nil {
				port <- found[1]
			}
		}
		close(port)
	}()
	select {
	case url := <-port:
		require.NotEmpty(t, url, "moto_server ended")
		client := s3.New(s3.Options{Region: "ap-northeast-1", BaseEndpoint: &url, UsePathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
		_, err = client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("example-backups"), CreateBucketConfiguration: &types.CreateBucketConfiguration{
			LocationConstraint: types.BucketLocationConstraintApNortheast1}})
		require.NoError(t, err)
		return client
	case <-time.After(time.Minute):
		require.Fail(t, "moto_server does not start")
		return nil
	}
}

// The real client against the emulator's S3: parts and ranges, what is listed, what is
// removed.
func TestS10_backupAndRestoreThroughTheEmulatorsS3(t *testing.T) {
	client := moto(t)
	h := newGitLab(t, "13.10.2", "ce")
	h.members = func(members []tarMember) []tarMember {
		return append(members, tarMember{name: "extra", content: bytes.Repeat([]byte("12345678"), 4<<20)})
	}
	made, err := backup.Make(t.Context(), h.Machine, backup.NewBucket(h.Machine, client, "example-backups"))
	require.NoError(t, err)
	tar, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("example-backups"), Key: aws.String(backups.TarKey(made.ID))})
	require.NoError(t, err)
	assert.Regexp(t, `-\d+"$`, aws.ToString(tar.ETag), "it came in parts")
	list, err := backups.List(t.Context(), client, "example-backups", time.Now())
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.True(t, list[0].Complete)

	o := old{id: made.ID, data: h.dataOf(t)}
	restored := newServer(t, o)
	r := restored.restoring(made.ID)
	r.Store = backup.NewBucket(restored.Machine, client, "example-backups")
	_, err = r.Run(t.Context())
	restored.restored(t, o, err)

	r = restored.restoring("1606734002_2020_11_30_13.10.2")
	r.Store = backup.NewBucket(restored.Machine, client, "example-backups")
	_, err = r.Run(t.Context())
	require.ErrorContains(t, err, "has no manifest in s3://example-backups: it is not there")

	backup.Prune(t.Context(), h.Machine, client, "example-backups", "", 1, time.Now())
	list, err = backups.List(t.Context(), client, "example-backups", time.Now())
	require.NoError(t, err)
	assert.Len(t, list, 1, "never the newest three")
}
