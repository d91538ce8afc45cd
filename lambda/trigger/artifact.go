package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// ObjectReader is the part of the S3 client that Artifacts needs.
type ObjectReader interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
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
// event did not say: the current one. S3 is strongly consistent, so a version
// that is not the current one of its key will never be again, unless somebody
// deletes; such a one is returned with a verdict. What could be read is
// returned in any case, for the report.
//
// "Current" follows S3: of two uploads it is the one that was begun later, also
// when the earlier one, being in parts, was completed last.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
func (a *Artifacts) Find(ctx context.Context, u *Upload) (artifact, error) {
	current, err := a.head(ctx, u, "")
	gone := httpStatus(err) == http.StatusNotFound
	switch {
	case err != nil && (!gone || u.VersionID == ""):
		return artifact{}, headFault(err)
	case err == nil && (u.VersionID == "" || u.VersionID == current.version):
		u.VersionID = current.version
		if u.VersionID == "" || u.VersionID == "null" { // never had versions, or has no longer
			// CodeDeploy would fetch whatever is current by then. The operator can
			// cure it, so the message waits.
			u.VersionID = ""
			return artifact{}, errors.New("the object has no version: turn versioning of the artifact bucket on")
		}
		return current.artifact, nil
	}

	own, err := a.head(ctx, u, u.VersionID)
	switch {
	case err != nil:
		return artifact{}, headFault(err)
	case gone:
		return own.artifact, reject("the object was deleted before it could be deployed: upload the artifact again")
	}
	return own.artifact, supersede("a newer artifact was uploaded to the same key")
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

// StillCurrent says whether no newer version of u's key has come since Find.
func (a *Artifacts) StillCurrent(ctx context.Context, u *Upload) (bool, error) {
	current, err := a.head(ctx, u, "")
	if err != nil && httpStatus(err) != http.StatusNotFound {
		return false, headFault(err)
	}
	return current.version == u.VersionID, nil
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
