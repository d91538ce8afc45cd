package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
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
)

// store is the bucket of backups: what lies there by its key.
type store struct {
	*session
	objects map[string]string
	refuse  map[string]error // by the operation
}

func newStore(t *testing.T) *store {
	s := &store{session: newSession(t), objects: map[string]string{}, refuse: map[string]error{}}
	awstest.On(s.cloud, func(_ context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
		out := &s3.ListObjectsV2Output{}
		var last string
		for key, text := range s.objects { // one a page
			if strings.HasPrefix(key, *in.Prefix) && key > aws.ToString(in.ContinuationToken) && (last == "" || key < last) {
				last = key
				out.Contents = []s3types.Object{{Key: &key, Size: aws.Int64(int64(len(text)))}}
			}
		}
		if last != "" {
			out.NextContinuationToken, out.IsTruncated = &last, aws.Bool(true)
		}
		return out, s.refuse["ListObjectsV2"]
	})
	awstest.On(s.cloud, func(_ context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
		text, exists := s.objects[*in.Key]
		require.True(t, exists && strings.HasSuffix(*in.Key, "/manifest.json"), *in.Key)
		return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(text))}, s.refuse["GetObject"]
	})
	return s
}

// add puts a complete backup there.
func (s *store) add(id, version, edition string) {
	tar, secrets := "backups/"+id+"/"+id+"_gitlab_backup.tar", "secrets/"+id+"/gitlab-secrets.json"
	s.objects[tar], s.objects[secrets] = strings.Repeat("t", 1500), "secret"
	s.objects["backups/"+id+"/manifest.json"] = seal(id, version, edition, tar, 1500, secrets, 6)
}

// seal is a manifest as internal/backup writes it.
func seal(id, version, edition, tar string, tarSize int, secrets string, secretsSize int) string {
	head := fmt.Sprintf("{\n\"format\": \"gitlab-codedeploy-backup-1\",\n\"id\": %q,\n\"version\": %q,\n\"edition\": %q,\n\"host\": \"old.example.com\",\n\"createdAt\": \"2026-11-24T18:54:36Z\",\n\"parts\": [\n"+
		"{\"key\": %q, \"size\": %d, \"sha256\": \"%064d\"},\n{\"key\": %q, \"size\": %d, \"sha256\": \"%064d\"},\nnull],\n", id, version, edition, tar, tarSize, 0, secrets, secretsSize, 0)
	return head + fmt.Sprintf("\"sha256\": \"%x\"\n}\n", sha256.Sum256([]byte(head)))
}

func (s *store) list(t *testing.T) []map[string]any {
	t.Helper()
	s.out.Reset()
	require.NoError(t, s.run(t, "backups", "--env", "staging", "--json"))
	var rows []map[string]any
	require.NoError(t, json.Unmarshal(s.out.Bytes(), &rows))
	return rows
}

func TestS10_BackupsAreListedTheNewestFirst(t *testing.T) {
	s := newStore(t)
	s.now = func() time.Time { return time.Unix(1606734000+3*3600, 0) }
	s.add("1606734000_2020_11_30_13.10.2", "13.10.2", "ce")
	s.add("1606000000_2020_11_21_13.10.2-ee", "13.10.2", "ee")
	s.objects["backups/by-hand/x.tar"] = "nobody's"
	require.NoError(t, s.run(t, "backups", "--env", "staging", "--profile", "a"))
	assert.Equal(t, ""+
		"BACKUP                            GITLAB      SIZE  AGE     COMPLETE\n"+
		"1606734000_2020_11_30_13.10.2     13.10.2 ce  3 kB  3 h     yes\n"+
		"1606000000_2020_11_21_13.10.2-ee  13.10.2 ee  3 kB  9 days  yes\n", s.out.String())
	rows := s.list(t)
	require.Len(t, rows, 2)
	assert.Equal(t, map[string]any{
		"backup": "1606734000_2020_11_30_13.10.2", "version": "13.10.2", "edition": "ce", "bytes": 1506. + float64(len(s.objects["backups/1606734000_2020_11_30_13.10.2/manifest.json"])),
		"ageSeconds": 10800., "host": "old.example.com", "complete": true, "reason": nil,
	}, rows[0])
}

func TestS10_BackupsTellsWhyOneDoesNotCount(t *testing.T) {
	const id = "1500200000_2017_07_16_14.9.5"
	manifest := "backups/" + id + "/manifest.json"
	tar, secrets := "backups/"+id+"/"+id+"_gitlab_backup.tar", "secrets/"+id+"/gitlab-secrets.json"
	for name, tt := range map[string]struct {
		change func(*store)
		reason string
		host   any
	}{
		"no manifest": {func(s *store) { delete(s.objects, manifest) }, "it has no manifest: it was never completed, or is on its way", nil},
		"forged": {func(s *store) { s.objects[manifest] = "{\"id\": \"\x1b]0;owned\x07\", \"parts\": []}\n" },
			"its manifest was changed, or is cut off", nil},
		"cut off":      {func(s *store) { s.objects[manifest] = s.objects[manifest][:100] }, "its manifest was changed, or is cut off", nil},
		"one byte":     {func(s *store) { s.objects[manifest] = strings.Replace(s.objects[manifest], "1500,", "1501,", 1) }, "its manifest was changed, or is cut off", nil},
		"far too long": {func(s *store) { s.objects[manifest] = strings.Repeat(" ", 70000) + s.objects[manifest] }, "its manifest was changed, or is cut off", nil},
		"no JSON":      {func(s *store) { s.objects[manifest] = resealed("[1,\n") }, "its manifest makes no sense", nil},
		"of another one": {func(s *store) {
			s.objects[manifest] = seal("1500200000_2017_07_16_14.9.6", "14.9.6", "ce", tar, 1500, secrets, 6)
		}, "its manifest is of another backup", nil},
		"another version": {func(s *store) { s.objects[manifest] = seal(id, "14.9.4", "ce", tar, 1500, secrets, 6) }, "its manifest is of another backup", nil},
		"another edition": {func(s *store) { s.objects[manifest] = seal(id, "14.9.5", "ee", tar, 1500, secrets, 6) }, "its manifest is of another backup", nil},
		"another's parts": {func(s *store) {
			s.objects[manifest] = seal(id, "14.9.5", "ce", tar, 1500, "secrets/x/gitlab-secrets.json", 6)
		}, "its manifest is of another backup", nil},
		"a negative size": {func(s *store) { s.objects[manifest] = seal(id, "14.9.5", "ce", tar, -1, secrets, 6) }, "its manifest is of another backup", nil},
		"a part is gone":  {func(s *store) { delete(s.objects, tar) }, tar + " is missing", "old.example.com"},
		"a part is short": {func(s *store) { s.objects[secrets] = "sec" }, secrets + " has 3 bytes, and 6 were written", "old.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.add(id, "14.9.5", "ce")
			tt.change(s)
			rows := s.list(t)
			require.Len(t, rows, 1)
			assert.Equal(t, false, rows[0]["complete"])
			assert.Equal(t, tt.reason, rows[0]["reason"])
			assert.Equal(t, tt.host, rows[0]["host"])
			s.out.Reset()
			require.NoError(t, s.run(t, "backups", "--env", "staging"))
			assert.Contains(t, s.out.String(), "no: "+tt.reason)
			assert.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f\x{80}-\x{9f}]`, s.out.String())
		})
	}
}

func resealed(head string) string {
	return head + fmt.Sprintf("\"sha256\": \"%x\"\n}\n", sha256.Sum256([]byte(head)))
}

func TestS10_AnEmptyBucketIsSaidToBeOne(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.run(t, "backups", "--env", "staging"))
	assert.Empty(t, s.out.String())
	assert.Contains(t, s.err.String(), "there is no backup in gitlab-staging-backups")
	assert.Empty(t, s.list(t))
	assert.Equal(t, "[]\n", s.out.String())
}

func TestS10_BackupsMeetFaults(t *testing.T) {
	for name, tt := range map[string]struct{ operation, want string }{
		"S10 backups | the profile may not list the bucket | exit 1 with AWS's words, and nothing on stdout": {"ListObjectsV2", "in gitlab-staging-backups: "},
		"S10 backups | the profile may not read a manifest | exit 1 with AWS's words, and nothing on stdout": {"GetObject", "read backups/1606734000_2020_11_30_13.10.2/manifest.json in gitlab-staging-backups: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.add("1606734000_2020_11_30_13.10.2", "13.10.2", "ce")
			s.refuse[tt.operation] = awstest.Refusal("AccessDenied", "no")
			err := s.run(t, "backups", "--env", "staging")
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, "AccessDenied: no")
			assert.Equal(t, 1, exitStatus(err))
			assert.Empty(t, s.out.String())
		})
	}
}

func TestS10_DryRunOfBackupsShowsItsCalls(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.run(t, "backups", "--env", "staging", "--dry-run"))
	for _, call := range []string{`s3:ListObjectsV2 {"Bucket":"gitlab-staging-backups","Prefix":"backups/"}`, `"Prefix":"secrets/"}`} {
		assert.Contains(t, s.out.String(), call)
	}
}

// A hundred manifests are read side by side, some at a time.
func TestS10_ManifestsAreReadSideBySide(t *testing.T) {
	s := newStore(t)
	for i := range 100 {
		s.add(fmt.Sprintf("16067%05d_2020_11_30_13.10.2", i), "13.10.2", "ce")
	}
	awstest.On(s.cloud, func(_ context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
		time.Sleep(time.Second)
		return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader([]byte(s.objects[*in.Key])))}, nil
	})
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		root := s.command()
		root.SetArgs([]string{"backups", "--env", "staging"})
		require.NoError(t, root.ExecuteContext(t.Context()))
		assert.Equal(t, 7*time.Second, time.Since(begun)) // 16 at a time
	})
	assert.Equal(t, 100, strings.Count(s.out.String(), " yes\n"))
}
