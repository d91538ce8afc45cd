//go:build unix

package backup_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/backup"
	"gitlab-codedeploy/internal/backups"
)

// moto is the emulator's S3, as the SDK reaches it over HTTP.
func moto(t *testing.T) *s3.Client {
	t.Helper()
	client := s3.NewFromConfig(awstest.Moto(t, "../..", "ap-northeast-1"), func(o *s3.Options) { o.UsePathStyle = true })
	_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("example-backups"), CreateBucketConfiguration: &types.CreateBucketConfiguration{
		LocationConstraint: types.BucketLocationConstraintApNortheast1}})
	require.NoError(t, err)
	return client
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
