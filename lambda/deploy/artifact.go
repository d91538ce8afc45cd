package deploy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/lambda/internal/object"
)

// ObjectReader is the part of the S3 client that Artifacts needs.
type ObjectReader interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error)
}

// Artifacts is what S3 knows of the uploads.
type Artifacts struct {
	Client ObjectReader
}

// artifact is one version of an object.
type artifact struct {
	ETag     string // without quotes
	Modified time.Time
	Metadata map[string]string
}

// Find reads the version that u is about, and settles which one that is if the
// event did not say: the current one. A fault says why it cannot be deployed;
// what could be read is returned in any case, for the report.
//
// A version that another one lies upon stays what it is: the group's order
// decides. But who deletes an object takes it back.
func (a *Artifacts) Find(ctx context.Context, u *Upload) (found artifact, fault string, err error) {
	current, err := a.head(ctx, u, "")
	deleted := object.Status(err) == http.StatusNotFound
	switch {
	case err != nil && (!deleted || u.VersionID == ""):
		return found, gone(err), unless(gone(err), err)
	case err == nil && (u.VersionID == "" || u.VersionID == current.version):
		u.VersionID = current.version
		if u.VersionID == "" || u.VersionID == "null" { // never had versions, or has no longer
			// CodeDeploy would fetch whatever is current by then. The operator can
			// cure it, so the message waits.
			u.VersionID = ""
			return found, "", errors.New("the object has no version: turn versioning of the artifact bucket on")
		}
		return current.artifact, "", nil
	}
	own, err := a.head(ctx, u, u.VersionID)
	if err != nil {
		return found, gone(err), unless(gone(err), err)
	}
	if !deleted {
		if deleted, err = a.takenBack(ctx, u); err != nil {
			return found, "", err
		}
	}
	if deleted {
		fault = "the object was deleted before it could be deployed: upload the artifact again"
	}
	return own.artifact, fault, nil
}

// maxAbove bounds how many versions are looked through that lie upon an upload.
const maxAbove = 1000

// takenBack says whether the object was deleted after an upload that is not the
// current version any more: then a delete marker lies between the two. S3 shows the
// newest first. The SDK tells markers and versions in lists of their own, so their
// order is known only when each comes on a page of its own.
func (a *Artifacts) takenBack(ctx context.Context, u *Upload) (bool, error) {
	pages := s3.NewListObjectVersionsPaginator(a.Client, &s3.ListObjectVersionsInput{
		Bucket: &u.Bucket, Prefix: &u.Key, MaxKeys: aws.Int32(1),
	})
	for range maxAbove {
		if !pages.HasMorePages() {
			return false, nil
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return false, fmt.Errorf("look for what lies upon the artifact: %w", err)
		}
		if len(page.DeleteMarkers) > 0 {
			return aws.ToString(page.DeleteMarkers[0].Key) == u.Key, nil
		}
		for _, v := range page.Versions {
			if aws.ToString(v.Key) != u.Key || aws.ToString(v.VersionId) == u.VersionID {
				return false, nil
			}
		}
	}
	return false, nil
}

// unless leaves an error out that a fault explains.
func unless(fault string, err error) error {
	if fault != "" {
		return nil
	}
	return fmt.Errorf("read the artifact's metadata: %w", err)
}

// uploadTime is S3's Last-Modified, by which S3 itself orders versions, but
// which it tells in whole seconds. The rest of the second comes from the event,
// as long as that is of the same second.
func uploadTime(modified, completed time.Time) time.Time {
	if modified.IsZero() || completed.IsZero() {
		return modified
	}
	rest := completed.Sub(modified).Truncate(time.Millisecond)
	return modified.Add(min(max(rest, 0), time.Second-time.Millisecond))
}

type versioned struct {
	artifact
	version string
}

func (a *Artifacts) head(ctx context.Context, u *Upload, version string) (versioned, error) {
	head, err := a.Client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket:    &u.Bucket,
		Key:       &u.Key,
		VersionId: optional(version),
	})
	if err != nil {
		return versioned{}, err
	}
	return versioned{
		artifact: artifact{
			ETag:     strings.Trim(aws.ToString(head.ETag), `"`),
			Modified: aws.ToTime(head.LastModified).UTC(),
			Metadata: head.Metadata,
		},
		version: aws.ToString(head.VersionId),
	}, nil
}

// optional leaves an empty value out of a request.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
