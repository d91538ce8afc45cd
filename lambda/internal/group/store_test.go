package group

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/environment"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/awstest"
	"gitlab-codedeploy/lambda/internal/status"
)

var pair = allowlist.Pair{Application: "web", DeploymentGroup: "blue"}

const recordPath = "/bucket/groups/web/blue.json"

// store is a Store on a server, with a clock that stands still.
func store(t *testing.T) (*awstest.Server, *Store) {
	server := awstest.New(t)
	env := server.Environment("bucket", "artifacts/")
	reader := &environment.Reader{Host: environment.Host{Getenv: func(name string) string { return env[name] }, Adjust: func(c *aws.Config) {
		c.RetryMaxAttempts = 1
	}}}
	s := &Store{Objects: environment.S3(reader.AWS()), Bucket: "bucket", Now: func() time.Time { return start.Add(1_999_999) }}
	require.NoError(t, reader.Err())
	return server, s
}

func TestS14_ARecordIsWrittenOverWhatWasSeenOnly(t *testing.T) {
	server, s := store(t)
	mine, err := s.Load(t.Context(), pair)
	require.NoError(t, err)
	assert.False(t, mine.Exists())
	assert.Equal(t, pair, mine.Pair())
	theirs, err := s.LoadKey(t.Context(), Key(pair))
	require.NoError(t, err)
	theirs.Application, theirs.DeploymentGroup = pair.Application, pair.DeploymentGroup

	note := func(n int) func(*Record) { return func(r *Record) { r.Note(upload(n)) } }
	require.NoError(t, mine.Put(t.Context(), note(1)))
	assert.True(t, mine.Exists())
	assert.Equal(t, start.Add(time.Millisecond), mine.UpdatedAt)
	before := server.Object(recordPath)
	assert.ErrorIs(t, theirs.Put(t.Context(), note(2)), ErrChanged)
	assert.Equal(t, before, server.Object(recordPath))
	assert.Equal(t, mine.Record, theirs.Record, "what was there is known now")
	assert.Equal(t, mine.ETag(), theirs.ETag())
	require.NoError(t, theirs.Put(t.Context(), note(2)))
	assert.Equal(t, []Upload{upload(1), upload(2)}, theirs.Noted)

	require.NoError(t, mine.Change(t.Context(), note(3)), "a change is worked out again")
	again, err := s.LoadKey(t.Context(), Key(pair))
	require.NoError(t, err)
	assert.Equal(t, []Upload{upload(1), upload(2), upload(3)}, again.Noted)

	calls := len(server.Requests())
	require.NoError(t, again.Put(t.Context(), note(3)))
	assert.Len(t, server.Requests(), calls, "nothing changed")
}

// The SDK sends a write again whose answer was lost, and hears that somebody has
// written: it was itself.
func TestS14_AnOwnWriteIsKnownAgain(t *testing.T) {
	server, s := store(t)
	e, err := s.Load(t.Context(), pair)
	require.NoError(t, err)
	server.S3 = lostAnswer(server)
	require.NoError(t, e.Put(t.Context(), func(r *Record) { r.Note(upload(1)) }))
	assert.Equal(t, []Upload{upload(1)}, e.Noted)
	assert.True(t, e.Exists())
}

// lostAnswer lets a write happen, and answers as if another had come before.
func lostAnswer(server *awstest.Server) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		e := encode(Record{Application: pair.Application, DeploymentGroup: pair.DeploymentGroup, Noted: []Upload{upload(1)}, UpdatedAt: start.Add(time.Millisecond)})
		server.Put(recordPath, nil, string(e))
		w.WriteHeader(http.StatusPreconditionFailed)
		return true
	}
}

func TestS14_AChangeGivesUpWhenOthersAreAlwaysFaster(t *testing.T) {
	server, s := store(t)
	e, err := s.Load(t.Context(), pair)
	require.NoError(t, err)
	puts := 0
	server.S3 = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		puts++
		server.Put(recordPath, nil, fmt.Sprintf(`{"application":"web","deploymentGroup":"blue","newest":{"uploadId":"u%d"}}`, puts))
		w.WriteHeader(http.StatusConflict)
		return true
	}
	assert.ErrorContains(t, e.Change(t.Context(), func(r *Record) { r.Note(upload(1)) }), "somebody else was faster 10 times")
	assert.Equal(t, 10, puts)
}

func TestS14_FaultsOfTheRecordAreTold(t *testing.T) {
	for name, tt := range map[string]struct {
		object string
		method string // that is refused
		want   string
	}{
		"no JSON":         {"hello", "", "s3 object groups/web/blue.json is no record"},
		"no record":       {`{"uploadId":"job-9"}`, "", "s3 object groups/web/blue.json is no record"},
		"may not be read": {"", http.MethodGet, "read the group's record: "},
		"nor written":     {"", http.MethodPut, "write the group's record: "},
	} {
		t.Run(name, func(t *testing.T) {
			server, s := store(t)
			if tt.object != "" {
				server.Put(recordPath, nil, tt.object)
			}
			server.S3 = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != tt.method {
					return false
				}
				w.WriteHeader(http.StatusForbidden)
				return true
			}
			e, err := s.Load(t.Context(), pair)
			if err == nil {
				err = e.Change(t.Context(), func(r *Record) { r.Finish(End{Upload: upload(1), State: status.Rejected}) })
			}
			require.ErrorContains(t, err, tt.want)
			assert.False(t, errors.Is(err, ErrChanged))
		})
	}

	// The look after a lost race may fail, too.
	server, s := store(t)
	e, err := s.Load(t.Context(), pair)
	require.NoError(t, err)
	server.S3 = func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(map[string]int{http.MethodPut: http.StatusPreconditionFailed, http.MethodGet: http.StatusForbidden}[r.Method])
		return true
	}
	err = e.Put(t.Context(), func(r *Record) { r.Note(upload(1)) })
	require.ErrorContains(t, err, "read the group's record: ")
	assert.False(t, errors.Is(err, ErrChanged))
}

func TestS14_TheClockIsTheMachinesUnlessAnotherIsGiven(t *testing.T) {
	assert.WithinDuration(t, time.Now(), (&Store{}).Time(), time.Minute)
	assert.Equal(t, start.Add(time.Millisecond), (&Store{Now: func() time.Time { return start.Add(1_999_999).In(time.FixedZone("JST", 9*3600)) }}).Time())
}
