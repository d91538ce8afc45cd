package status

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bucket is S3's conditional writes in memory.
type bucket struct {
	mu      sync.Mutex
	objects map[string]string
	calls   []string
	// before is called before each PutObject, unlocked; an error is its answer.
	before func(key string) error
	// lose makes the next PutObject happen, but answer with an error.
	lose error
}

func (b *bucket) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, "get "+*in.Key)
	text, ok := b.objects[*in.Key]
	if !ok {
		return nil, httpError(404)
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(text)), ETag: aws.String(etag(text))}, nil
}

func (b *bucket) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	if b.before != nil {
		if err := b.before(*in.Key); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, "put "+*in.Key)
	text, ok := b.objects[*in.Key]
	switch {
	case ok && (in.IfNoneMatch != nil || in.IfMatch == nil || *in.IfMatch != etag(text)):
		return nil, httpError(412)
	case !ok && in.IfMatch != nil:
		return nil, httpError(404)
	}
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	if b.objects == nil {
		b.objects = map[string]string{}
	}
	b.objects[*in.Key] = string(body)
	if lose := b.lose; lose != nil {
		b.lose = nil
		return nil, lose
	}
	return &s3.PutObjectOutput{ETag: aws.String(etag(string(body)))}, nil
}

func etag(text string) string { return fmt.Sprintf(`"%x"`, md5.Sum([]byte(text))) }

func httpError(code int) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: code}},
		Err:      errors.New(http.StatusText(code)),
	}
}

func (b *bucket) status(t *testing.T, id string) Status {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := decode([]byte(b.objects[Prefix+id+suffix]))
	require.NoError(t, err, "%s in %v", id, b.objects)
	return s
}

const key = "artifacts/x.gz"

func entryOf(b *bucket, uploadID string) *Entry {
	store := &Store{Objects: b, Bucket: "bucket", Now: func() time.Time { return time.Date(2026, 11, 23, 10, 2, 3, 4_567_890, time.FixedZone("JST", 9*60*60)) }}
	return store.Entry(uploadID, key, "v1")
}

// A message that the status function has sent again does not say who ordered it.
//
//fault:operator an order's message is sent again, and the group's record cannot be read | its state still says who ordered it
func TestS15_AStateKeepsWhoOrderedIt(t *testing.T) {
	b := &bucket{}
	e := entryOf(b, "order.1")
	told := Order{Kind: "rollback", Operator: "AROA:kim"}
	require.NoError(t, e.Merge(t.Context(), Status{State: Waiting, Order: told}))
	require.NoError(t, e.Merge(t.Context(), Status{State: Waiting, Reason: "will be tried again", Order: Order{Kind: "rollback"}}))
	assert.Equal(t, told, b.status(t, "order.1").Order)
	require.NoError(t, e.Merge(t.Context(), Status{State: Superseded}))
	assert.Equal(t, told, b.status(t, "order.1").Order)
}

func TestS15_ANewStatusIsOneCall(t *testing.T) {
	b := &bucket{}
	e := entryOf(b, "job-9")
	require.NoError(t, e.Merge(t.Context(), Status{State: Waiting, Reason: " the group\n is busy ", Application: "web"}))
	require.NoError(t, e.Merge(t.Context(), Status{State: Created, DeploymentID: "d-1"}))
	assert.Equal(t, []string{"put deployments/job-9.json", "put deployments/job-9.json"}, b.calls)

	got := b.status(t, "job-9")
	assert.Equal(t, e.Status, got, "the entry knows what it wrote")
	assert.Equal(t, Status{
		UploadID: "job-9", State: Created, DeploymentID: "d-1", Key: key, VersionID: "v1",
		UpdatedAt: time.Date(2026, 11, 23, 1, 2, 3, 4e6, time.UTC),
	}, got)
}

func TestS15_AnObjectThatChangedMeanwhileIsMergedWith(t *testing.T) {
	b := &bucket{}
	trigger, status := entryOf(b, "job-9"), entryOf(b, "job-9")
	require.NoError(t, trigger.Merge(t.Context(), Status{State: Waiting}))
	require.NoError(t, status.Merge(t.Context(), Status{State: InProgress, DeploymentID: "d-1"}))
	require.NoError(t, trigger.Merge(t.Context(), Status{State: Created, DeploymentID: "d-1"}))
	assert.Equal(t, InProgress, b.status(t, "job-9").State)
	assert.Equal(t, InProgress, trigger.State, "the entry has caught up")

	delete(b.objects, "deployments/job-9.json") // 404 on If-Match
	require.NoError(t, status.Merge(t.Context(), Status{State: Ready, DeploymentID: "d-1"}))
	assert.Equal(t, Ready, b.status(t, "job-9").State)
}

func TestS15_WhatTheGroupWaitsForStaysKnown(t *testing.T) {
	b := &bucket{}
	e := entryOf(b, "job-9")
	first, newer := Group{"manual", 90, "terminate", 60}, Group{"automatic", 0, "keep", 0}
	require.NoError(t, e.Merge(t.Context(), Status{State: Waiting, Group: first}))
	require.NoError(t, e.Merge(t.Context(), Status{State: Created, DeploymentID: "d-1"}))
	assert.Equal(t, first, b.status(t, "job-9").Group, "whoever writes next may not know it")
	require.NoError(t, e.Merge(t.Context(), Status{State: InProgress, DeploymentID: "d-1", Group: newer}))
	assert.Equal(t, newer, b.status(t, "job-9").Group, "the deployment's own settings count")
}

func TestS15_OfALongLogTheEndIsKept(t *testing.T) {
	b := &bucket{}
	log := strings.Repeat("line\n", 10_000) + "the end\n"
	require.NoError(t, entryOf(b, "job-9").Merge(t.Context(), Status{State: Failed, DeploymentID: "d-1", Reason: "x", LogTail: log}))
	got := b.status(t, "job-9").LogTail
	assert.LessOrEqual(t, len(got), maxLogTail)
	assert.True(t, strings.HasPrefix(got, "line\n") && strings.HasSuffix(got, "line\nthe end\n"))
}

func TestS15_AConflictWithAnotherWriteIsTriedAgain(t *testing.T) {
	conflicts := 0
	b := &bucket{before: func(string) error {
		if conflicts++; conflicts < 4 {
			return httpError(409)
		}
		return nil
	}}
	require.NoError(t, entryOf(b, "job-9").Merge(t.Context(), Status{State: Created, DeploymentID: "d-1"}))
	assert.Equal(t, Created, b.status(t, "job-9").State)

	b.before = func(string) error { return httpError(409) }
	err := entryOf(b, "job-8").Merge(t.Context(), Status{State: Created})
	require.ErrorContains(t, err, "somebody else was faster 8 times")
}

// The SDK repeats a write whose answer was lost, and is told 412 about its own.
func TestS15_AWriteWhoseAnswerWasLostIsNotTakenForSomebodyElses(t *testing.T) {
	b := &bucket{lose: httpError(412)}
	e := entryOf(b, "job-9")
	tries := 0
	require.NoError(t, e.Change(t.Context(), func(seen Status) (Status, error) {
		if tries++; seen.Reason == "mine" {
			return seen, nil
		}
		return Status{State: Waiting, Reason: "mine"}, nil
	}))
	assert.Equal(t, 2, tries)
	require.NoError(t, e.Merge(t.Context(), Status{State: Created, DeploymentID: "d-1"}), "the ETag is known")
}

func TestS15_OtherFaultsArePassedOn(t *testing.T) {
	b := &bucket{before: func(string) error { return httpError(403) }}
	err := entryOf(b, "job-9").Merge(t.Context(), Status{State: Waiting})
	require.ErrorContains(t, err, "write the status: ")
	assert.Len(t, b.calls, 0)

	stop := errors.New("stop")
	require.ErrorIs(t, entryOf(b, "job-9").Change(t.Context(), func(s Status) (Status, error) { return s, stop }), stop)
}

func TestS15_AnIDOfAnotherVersionIsLeftAlone(t *testing.T) {
	for name, other := range map[string]string{
		"another version": statusJSON(Status{State: Succeeded, Key: key, VersionID: "v0", DeploymentID: "d-0"}),
		"another key":     statusJSON(Status{State: Waiting, Key: "artifacts/y.gz", VersionID: "v1"}),
		"no status":       "hello",
	} {
		t.Run(name, func(t *testing.T) {
			b := &bucket{objects: map[string]string{"deployments/job-9.json": other}}
			e := entryOf(b, "job-9")
			assert.Equal(t, "job-9", e.ID())
			require.NoError(t, e.Merge(t.Context(), Status{State: Waiting}))
			assert.Equal(t, other, b.objects["deployments/job-9.json"])
			assert.Equal(t, "v1", e.ID())
			assert.Equal(t, "v1", b.status(t, "v1").UploadID)

			again := entryOf(b, "job-9")
			require.NoError(t, again.Load(t.Context()))
			assert.Equal(t, e.Status, again.Status, "the next one finds the way")

			b.objects["deployments/v1.json"] = other // forged as well
			last := entryOf(b, "job-9")
			require.NoError(t, last.Merge(t.Context(), Status{State: Rejected}))
			assert.Regexp(t, "^sha256[.]", last.ID())
			assert.Equal(t, Rejected, b.status(t, last.ID()).State)
		})
	}
}

func TestS15_ManyWritersAtOnceLoseNothing(t *testing.T) {
	b := &bucket{}
	var all sync.WaitGroup
	for _, state := range []State{Waiting, Created, InProgress, Ready, Succeeded} {
		for range 3 {
			all.Go(func() {
				known := Status{State: state, DeploymentID: "d-1"}
				if state == Waiting {
					known.DeploymentID = ""
				}
				for entryOf(b, "job-9").Merge(t.Context(), known) != nil {
				}
			})
		}
	}
	all.Wait()
	assert.Equal(t, Succeeded, b.status(t, "job-9").State)
}
