package deploy

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
)

func TestS14_TheEventTellsTheRestOfTheSecondOfAnUpload(t *testing.T) {
	for name, tt := range map[string]struct {
		completed time.Time
		rest      time.Duration // of testTime's second
	}{
		"not told":              {time.Time{}, 0},
		"within the second":     {testTime.Add(345678 * time.Microsecond), 345 * time.Millisecond},
		"in the next second":    {testTime.Add(time.Second), 999 * time.Millisecond},
		"a long upload":         {testTime.Add(time.Hour), 999 * time.Millisecond},
		"before it, by a fault": {testTime.Add(-time.Second), 0},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, testTime.Add(tt.rest), uploadTime(testTime, tt.completed))
		})
	}
	assert.True(t, uploadTime(time.Time{}, testTime).IsZero())
}

// HeadObject shows only what lies on top. A delete marker below that counts, too.
func TestS14_WhatWasDeletedStaysSoUnderALaterUpload(t *testing.T) {
	own, later, marker := token{key: testKey, version: "v1"}, token{key: testKey, version: "v9"}, token{key: testKey, version: "m", text: "deleted"}
	longer := token{key: testKey + ".sig", version: "s", text: "deleted"}
	for name, tt := range map[string]struct {
		versions []token
		deleted  bool
	}{
		"another upload lies upon it":                 {[]token{later, own}, false},
		"it was deleted, and another lies upon that":  {[]token{later, marker, own}, true},
		"another, the marker, another":                {[]token{later, {key: testKey, version: "v8"}, marker, {key: testKey, version: "v7"}, own}, true},
		"what was before it had been deleted":         {[]token{later, own, marker}, false},
		"it is removed for good meanwhile":            {[]token{later}, false},
		"another key begins with its name":            {[]token{later, longer}, false},
		"a version of a key that begins with its own": {[]token{later, {key: testKey + ".sig", version: "s"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{versions: tt.versions, head: func(_ context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
				head := headOf(goodMetadata(testKey))
				if in.VersionId == nil {
					head.VersionId = aws.String("v9")
				}
				return head, nil
			}}
			_, end := start(t, w, testUpload("v1"))
			if !tt.deleted {
				assert.Equal(t, Created, end.End, end.Reason)
				return
			}
			assert.Equal(t, Rejected, end.End)
			assert.Contains(t, end.Reason, "the object was deleted before it could be deployed")
			assert.Empty(t, w.creates)
		})
	}
}

func TestS14_AnEventsTimeIsWorthHavingButNotNeeded(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-11-23T01:02:03.004Z":   testTime.Add(4 * time.Millisecond),
		"2026-11-23T01:02:03.004567": testTime.Add(4567 * time.Microsecond),
		"2026-11-23T01:02:03Z":       testTime,
		"":                           {},
		"yesterday":                  {},
		"2026-11-23T01:02:03+09:00":  {},
	} {
		assert.Equal(t, want, decodeTime(text), text)
	}
}
