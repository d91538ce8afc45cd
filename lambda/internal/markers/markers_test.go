package markers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/lambda/internal/markers"
	"gitlab-codedeploy/lambda/internal/metric"
)

const (
	bucket   = "backups-of-gitlab"
	keepDays = 30
)

// now is the time of the marker.
var now = time.Date(2026, 11, 27, 18, 20, 0, 0, time.UTC)

// event is the one of AWS's page, about a key.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
func event(key string, pairs ...string) json.RawMessage {
	quoted, _ := json.Marshal(key)
	return json.RawMessage(strings.NewReplacer(pairs...).Replace(`{
		"version": "0", "id": "2ee9cc15-d022-99ea-1fb8-1b1bac4850f9", "detail-type": "Object Deleted", "source": "aws.s3",
		"account": "111111111111", "time": "2026-11-27T18:20:00Z", "region": "ap-northeast-1",
		"resources": ["arn:aws:s3:::` + bucket + `"],
		"detail": {"version": "0", "bucket": {"name": "` + bucket + `"},
			"object": {"key": ` + string(quoted) + `, "etag": "d41d8cd98f00b204e9800998ecf8427e", "version-id": "1QW9g1Z99LUNbvaaYVpW9xDlOLU.qxgF", "sequencer": "617f0837b476e463"},
			"request-id": "0BH729840619AG5K", "requester": "111111111111", "source-ip-address": "203.0.113.7",
			"reason": "DeleteObject", "deletion-type": "Delete Marker Created"}}`))
}

// made returns the id of a backup of that age.
func made(age time.Duration) string {
	at := now.Add(-age)
	return fmt.Sprintf("%d_%s_13.10.2", at.Unix(), at.Format("2006_01_02"))
}

const day = 24 * time.Hour

// store lists keys, a few a page.
type store struct {
	keys  []string
	fails error
	asked []*s3.ListObjectsV2Input
}

func (s *store) ListObjectsV2(_ context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	s.asked = append(s.asked, in)
	if s.fails != nil {
		return nil, s.fails
	}
	from := 0
	if in.ContinuationToken != nil {
		fmt.Sscan(*in.ContinuationToken, &from)
	}
	to := min(from+2, len(s.keys))
	out := &s3.ListObjectsV2Output{IsTruncated: aws.Bool(to < len(s.keys)), NextContinuationToken: aws.String(fmt.Sprint(to))}
	for _, key := range s.keys[from:to] {
		out.Contents = append(out.Contents, types.Object{Key: &key})
	}
	return out, nil
}

// withComplete is a store of n complete backups, and of what looks like one.
func withComplete(n int) *store {
	s := &store{keys: []string{
		"backups/" + made(2*day) + "/" + made(2*day) + "_gitlab_backup.tar", // no manifest yet
		"backups/" + made(3*day) + "/deeper/manifest.json",
		"backups/name/manifest.json",
		"backups/" + made(3*day) + "/manifest.json.part",
		"backups/" + made(3*day) + "/backups/" + made(4*day) + "/manifest.json",
	}}
	for i := range n {
		s.keys = append(s.keys, "backups/"+made(time.Duration(i)*day)+"/shared.tar.gz", "backups/"+made(time.Duration(i)*day)+"/manifest.json")
	}
	return s
}

type run struct {
	metrics, log bytes.Buffer
}

func (r *run) judge(objects markers.Lister) *markers.Judge {
	return &markers.Judge{
		Bucket: bucket, KeepDays: keepDays, Objects: objects,
		Metrics: &metric.Writer{Out: &r.metrics, FunctionName: "markers", Now: func() time.Time { return now }},
		Log:     slog.New(slog.NewJSONHandler(&r.log, nil)),
	}
}

func TestS10_MarkersThatPruningDoesNotSetAreCounted(t *testing.T) {
	old := made(31 * day)
	for name, tt := range map[string]struct {
		key    string
		left   int
		reason string // "" for pruning's
	}{
		"an old backup's archive":            {"backups/" + old + "/" + old + "_gitlab_backup.tar", 3, ""},
		"an old backup's manifest":           {"backups/" + old + "/manifest.json", 30, ""},
		"an old backup's secrets":            {"secrets/" + old + "/gitlab-secrets.json", 3, ""},
		"an old backup of the other edition": {"secrets/" + old + "-ee/gitlab-secrets.json", 3, ""},
		"a second past its days":             {"backups/" + made(30*day+time.Second) + "/manifest.json", 3, ""},
		"on the last second of its days":     {"backups/" + made(30*day) + "/manifest.json", 30, "the backup is 720h0m0s old, and is kept for 30 days"},
		"last night's":                       {"backups/" + made(20*time.Minute) + "/manifest.json", 30, "the backup is 20m0s old, and is kept for 30 days"},
		"secrets of last night's":            {"secrets/" + made(20*time.Minute) + "/gitlab.rb", 30, "the backup is 20m0s old, and is kept for 30 days"},
		"of the future":                      {"backups/" + made(-400*day) + "/manifest.json", 30, "the backup is -9600h0m0s old, and is kept for 30 days"},
		"one of the last three":              {"backups/" + old + "/manifest.json", 2, "2 complete backups are left, and pruning leaves 3"},
		"the last one":                       {"secrets/" + old + "/gitlab.rb", 0, "0 complete backups are left, and pruning leaves 3"},
		"a key that is no backup's":          {"elsewhere/" + old + "/manifest.json", 30, "the key is no part of a backup"},
		"a key without a time":               {"backups/latest/manifest.json", 30, "the key is no part of a backup"},
		"a time with more digits":            {"backups/0" + old + "/manifest.json", 30, "the key is no part of a backup"},
		"a deeper key":                       {"backups/" + old + "/deeper/manifest.json", 30, "the key is no part of a backup"},
		"a folder's own key":                 {"backups/" + old + "/", 30, "the key is no part of a backup"},
		"a key of two lines":                 {"backups/" + old + "/manifest.json\nbackups/" + old + "/x", 30, "the key is no part of a backup"},
		"a key that paints the terminal":     {"backups/\x1b[31m" + old + "/manifest.json", 30, "the key is no part of a backup"},
	} {
		t.Run(name, func(t *testing.T) {
			var r run
			require.NoError(t, r.judge(withComplete(tt.left)).Handle(t.Context(), event(tt.key)))
			var line map[string]any
			require.NoError(t, json.Unmarshal(r.log.Bytes(), &line), "one line: %s", r.log.String())
			assert.NotContains(t, r.log.String(), "\x1b")
			if tt.reason == "" {
				assert.Empty(t, r.metrics.String())
				assert.Equal(t, "pruned", line["msg"])
				return
			}
			assert.Equal(t, tt.reason, line["reason"])
			assert.Equal(t, "ERROR", line["level"])
			assert.Equal(t, "203.0.113.7", line["from"])
			var counted map[string]any
			require.NoError(t, json.Unmarshal(r.metrics.Bytes(), &counted), "one line: %s", r.metrics.String())
			assert.EqualValues(t, 1, counted["UnexpectedDeleteMarkers"])
			assert.Equal(t, "markers", counted["FunctionName"])
		})
	}
}

// A backup whose key condemns it is told of also when S3 cannot be asked.
func TestS10_AYoungBackupIsToldOfWithoutALook(t *testing.T) {
	var r run
	s := &store{fails: errors.New("503")}
	require.NoError(t, r.judge(s).Handle(t.Context(), event("backups/"+made(day)+"/manifest.json")))
	assert.Empty(t, s.asked)
	assert.Contains(t, r.metrics.String(), markers.Unexpected)
}

func TestS10_WhatIsNotKnownIsTriedAgain(t *testing.T) {
	old := "backups/" + made(31*day) + "/manifest.json"
	t.Run("S3 does not list", func(t *testing.T) {
		var r run
		err := r.judge(&store{fails: errors.New("503 SlowDown")}).Handle(t.Context(), event(old))
		assert.EqualError(t, err, "list the backups: 503 SlowDown")
		assert.Empty(t, r.metrics.String())
	})
	for name, raw := range map[string]json.RawMessage{
		"no JSON":             json.RawMessage(`{`),
		"another source":      event(old, `"aws.s3"`, `"aws.codedeploy"`),
		"a created object":    event(old, "Object Deleted", "Object Created"),
		"a deleted version":   event(old, "Delete Marker Created", "Permanently Deleted"),
		"a bucket of others":  event(old, `"name": "`+bucket+`"`, `"name": "stranger"`),
		"no key":              event(""),
		"no time":             event(old, `"time": "2026-11-27T18:20:00Z", `, ""),
		"a time that is none": event(old, `"time": "2026-11-27T18:20:00Z"`, `"time": "yesterday"`),
	} {
		t.Run(name, func(t *testing.T) {
			var r run
			assert.Error(t, r.judge(withComplete(30)).Handle(t.Context(), raw), "it would vanish")
			assert.Empty(t, r.metrics.String())
		})
	}
}

// What pruning does stands in a package that a function may not import.
func TestS10_TheServerPrunesByTheSameRule(t *testing.T) {
	raw, err := os.ReadFile("../../../internal/backup/prune.go")
	require.NoError(t, err)
	assert.Contains(t, string(raw), "\nconst keptAlways = 3\n")
	assert.Contains(t, string(raw), "oldest := now.Add(-time.Duration(days) * 24 * time.Hour)\n")
	assert.Contains(t, string(raw), "; !made.Before(oldest) {\n")
	assert.True(t, backups.IsID(made(day)))
	raw, err = os.ReadFile("../../../internal/backups/backups.go")
	require.NoError(t, err)
	assert.Contains(t, string(raw), "`^([0-9]{10})_[0-9]{4}_[0-9]{2}_[0-9]{2}_([0-9]+\\.[0-9]+\\.[0-9]+)(-ee)?$`", "then change package markers, too")
}
