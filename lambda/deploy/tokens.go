package deploy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/object"
)

// TokenReader is the part of the S3 client that Tokens needs.
type TokenReader interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error)
}

// Tokens reads the tokens that jobs put into the bucket before their artifacts.
// Jobs can read none, so nobody sees another one's.
type Tokens struct {
	Client TokenReader
	Bucket string
}

// maxTokenPages bounds how many versions of a token are looked through, a
// thousand a page: there is one, unless somebody makes more to be in the way.
const maxTokenPages = 5

// Of returns the token of an upload: what lay there when the artifact arrived. One
// that was put there later, over the first or where there was none, counts for
// nothing: nobody may improve on an upload afterwards, or spoil it.
//
// S3 tells times in whole seconds. Within the artifact's second, the last counts.
func (t *Tokens) Of(ctx context.Context, id string, uploaded, now time.Time) (token string, refusal *trust.Refusal, err error) {
	if id == "" {
		return "", refuseToken("the upload has no upload-id, and so no token: upload it with upload-artifact.sh"), nil
	}
	key := trust.TokenKey(id)
	out, err := t.get(ctx, key, "")
	switch {
	case object.Status(err) == http.StatusNotFound:
		return "", noToken(key), nil
	case err != nil:
		return "", nil, fmt.Errorf("read the token: %w", err)
	}
	defer func() { out.Body.Close() }()
	if later(out.LastModified, uploaded) {
		out.Body.Close()
		version, err := t.before(ctx, key, uploaded)
		if err != nil {
			return "", nil, fmt.Errorf("look for the token: %w", err)
		}
		if version == "" {
			return "", refuseToken("the token was put to %s after the artifact was uploaded, want it before: upload the artifact again", key), nil
		}
		if out, err = t.get(ctx, key, version); err != nil {
			return "", nil, fmt.Errorf("read the token: %w", err)
		}
	}
	if now.Sub(aws.ToTime(out.LastModified)) > group.TokenLife {
		return "", noToken(key), nil // S3 is late in removing it.
	}
	text, err := io.ReadAll(io.LimitReader(out.Body, trust.MaxToken+1))
	if err != nil {
		return "", nil, fmt.Errorf("read the token: %w", err)
	}
	return string(text), nil, nil
}

func (t *Tokens) get(ctx context.Context, key, version string) (*s3.GetObjectOutput, error) {
	out, err := t.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &t.Bucket, Key: &key, VersionId: optional(version)})
	if err != nil {
		out = &s3.GetObjectOutput{Body: http.NoBody}
	}
	return out, err
}

// before finds the last version of the token that is not from after a time; "" if
// there is none.
func (t *Tokens) before(ctx context.Context, key string, uploaded time.Time) (version string, err error) {
	pages := s3.NewListObjectVersionsPaginator(t.Client, &s3.ListObjectVersionsInput{Bucket: &t.Bucket, Prefix: &key})
	for range maxTokenPages {
		if !pages.HasMorePages() {
			break
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, v := range page.Versions { // of a key, the newest first
			if aws.ToString(v.Key) == key && !later(v.LastModified, uploaded) {
				return aws.ToString(v.VersionId), nil
			}
		}
	}
	return "", nil
}

func later(at *time.Time, uploaded time.Time) bool {
	return aws.ToTime(at).Truncate(time.Second).After(uploaded.Truncate(time.Second))
}

// RuleMissing and RuleSpent are the rules that no token by itself can break.
const (
	RuleMissing = "missing" // there is a token
	RuleSpent   = "spent"   // it was worth no other upload to the group
)

func refuseToken(format string, args ...any) *trust.Refusal {
	return &trust.Refusal{Rule: RuleMissing, Reason: fmt.Sprintf(format, args...)}
}

func noToken(key string) *trust.Refusal {
	return refuseToken("there is no token of the job at %s: upload with upload-artifact.sh, in a job that has id_tokens (GitLab 15.7 and later) or CI_JOB_JWT (before)", key)
}
