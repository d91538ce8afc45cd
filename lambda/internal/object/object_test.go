package object

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/environment"
	"gitlab-codedeploy/lambda/internal/awstest"
)

func client(t *testing.T) (*awstest.Server, *s3.Client) {
	server := awstest.New(t)
	env := server.Environment("bucket", "artifacts/")
	reader := &environment.Reader{Host: environment.Host{
		Getenv: func(name string) string { return env[name] },
		Adjust: func(c *aws.Config) { c.RetryMaxAttempts = 1 },
	}}
	config := reader.AWS()
	require.NoError(t, reader.Err())
	return server, environment.S3(config)
}

func TestS14_AnObjectIsReplacedOnlyByWhoHasSeenItLast(t *testing.T) {
	server, s3 := client(t)
	body, etag, err := Read(t.Context(), s3, "bucket", "o.json", 3)
	require.NoError(t, err)
	assert.Empty(t, body)
	assert.Empty(t, etag, "there is none")

	first, err := Write(t.Context(), s3, "bucket", "o.json", []byte("first"), "")
	require.NoError(t, err)
	body, etag, err = Read(t.Context(), s3, "bucket", "o.json", 3)
	require.NoError(t, err)
	assert.Equal(t, "firs", string(body), "one byte more than the limit, to tell that there is more")
	assert.Equal(t, first, etag)

	_, err = Write(t.Context(), s3, "bucket", "o.json", []byte("x"), "")
	assert.ErrorIs(t, err, ErrChanged, "there is one by now")
	second, err := Write(t.Context(), s3, "bucket", "o.json", []byte("second"), first)
	require.NoError(t, err)
	assert.NotEqual(t, first, second)
	_, err = Write(t.Context(), s3, "bucket", "o.json", []byte("x"), first)
	assert.ErrorIs(t, err, ErrChanged)
	assert.Equal(t, "second", server.Object("/bucket/o.json"))
}

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func TestS14_WhatS3AnswersToAWriteIsToldApart(t *testing.T) {
	server, s3 := client(t)
	for _, tt := range []struct {
		answer  int
		etag    string
		changed bool
	}{
		{412, "", true}, {412, `"e"`, true},
		{409, "", true}, {409, `"e"`, true},
		{404, `"e"`, true}, // the object to replace is gone
		{404, "", false},   // there is no such bucket
		{403, "", false}, {403, `"e"`, false},
		{500, "", false}, {500, `"e"`, false},
	} {
		server.S3 = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(tt.answer); return true }
		_, err := Write(t.Context(), s3, "bucket", "o.json", nil, tt.etag)
		require.Error(t, err)
		assert.Equal(t, tt.changed, errors.Is(err, ErrChanged), "%d, with the ETag %q", tt.answer, tt.etag)
	}
}

func TestS14_AnObjectThatCannotBeReadIsNotOneThatIsMissing(t *testing.T) {
	server, s3 := client(t)
	server.S3 = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(403); return true }
	_, _, err := Read(t.Context(), s3, "bucket", "o.json", 9)
	require.Error(t, err)
	assert.Equal(t, 403, Status(err))

	server.S3 = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", "9")
		_, _ = io.WriteString(w, "half")
		return true
	}
	_, _, err = Read(t.Context(), s3, "bucket", "o.json", 9)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)

	assert.Zero(t, Status(nil))
	assert.Zero(t, Status(io.EOF))
}
