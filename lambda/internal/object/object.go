// Package object reads and replaces small objects of a bucket that several
// processes write at the same time: an object is only ever replaced by who has
// seen it last.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Client is the part of the S3 client that is needed.
type Client interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// ErrChanged says that somebody else has written since the last look.
var ErrChanged = errors.New("the object has changed")

// Read returns up to limit+1 bytes of an object and its ETag; the ETag is ""
// when there is none.
func Read(ctx context.Context, client Client, bucket, key string, limit int64) (body []byte, etag string, err error) {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if Status(err) == 404 {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer out.Body.Close()
	body, err = io.ReadAll(io.LimitReader(out.Body, limit+1))
	if err != nil {
		return nil, "", err
	}
	return body, aws.ToString(out.ETag), nil
}

// Write replaces the object that has etag, or makes one when there is none
// (etag is ""). It returns the new ETag.
//
// S3 answers 412 when the condition does not hold, 409 when it met another
// write, and 404 when the object to replace is gone. The SDK sends a call again
// whose answer was lost, so ErrChanged may be about our own write: whoever gets
// it looks again.
func Write(ctx context.Context, client Client, bucket, key string, body []byte, etag string) (string, error) {
	in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), ContentType: aws.String("application/json")}
	if etag == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = &etag
	}
	out, err := client.PutObject(ctx, in)
	switch code := Status(err); {
	case err == nil:
		return aws.ToString(out.ETag), nil
	case code == 412, code == 409, code == 404 && etag != "":
		return "", fmt.Errorf("%w: %d", ErrChanged, code)
	}
	return "", err
}

// Status is that of the answer an error is about, 0 if it is about none.
func Status(err error) int {
	var answer interface{ HTTPStatusCode() int }
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}
