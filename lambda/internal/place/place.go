// Package place finds out which upload a deployment is of, and where that
// stands in its group's order.
package place

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/metadata"
	"gitlab-codedeploy/lambda/internal/object"
	"gitlab-codedeploy/lambda/internal/origin"
)

// ObjectReader is the part of the S3 client that Finder needs.
type ObjectReader interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
}

// Finder asks S3.
type Finder struct {
	Client ObjectReader
	Bucket string // of artifacts
	Prefix string // of their keys
}

// Artifact returns the object version that a deployment is of, or nil and why it
// has no place in the order: somebody else made it than a job or a person, or
// it is of no artifact.
func (f *Finder) Artifact(info *types.DeploymentInfo) (*types.S3Location, string) {
	switch {
	case info.Creator != "" && info.Creator != types.DeploymentCreatorUser:
		return nil, "made by " + string(info.Creator)
	case info.Revision == nil || info.Revision.S3Location == nil:
		return nil, "the revision is not in S3"
	}
	revision := info.Revision.S3Location
	switch {
	case aws.ToString(revision.Bucket) != f.Bucket || !strings.HasPrefix(aws.ToString(revision.Key), f.Prefix):
		return nil, "the revision is not in the artifact bucket"
	case aws.ToString(revision.Version) == "":
		return nil, "the revision has no version"
	}
	return revision, ""
}

// Of returns the upload of a deployment; ok is false when it has no place in the
// order. What the record knows costs no call. Otherwise somebody has deployed
// by hand, and S3 tells when the revision was uploaded: its description may say
// anything, and is believed for the part of a second only.
func (f *Finder) Of(ctx context.Context, r *group.Record, info *types.DeploymentInfo) (u group.Upload, ok bool, err error) {
	revision, _ := f.Artifact(info)
	if revision == nil {
		return u, false, nil
	}
	u = group.Upload{Key: aws.ToString(revision.Key), VersionID: aws.ToString(revision.Version)}
	said := origin.Parse(aws.ToString(info.Description))
	if known := ordered(r, u, aws.ToString(info.DeploymentId), said.UploadID); known != nil {
		return *known, true, nil
	}
	if known := r.Find(u); known != nil {
		return *known, true, nil
	}
	head, err := f.Client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &f.Bucket, Key: &u.Key, VersionId: &u.VersionID})
	switch {
	case object.Status(err) == 404:
		// Nobody can tell any more when it was uploaded, or whose it was: it is older
		// than what is there, and its description may be anybody's.
		return u, true, nil
	case err != nil:
		return u, false, fmt.Errorf("look for the revision of deployment %s: %w", aws.ToString(info.DeploymentId), err)
	}
	request, _ := metadata.Parse(head.Metadata)
	u.ID, u.Uploaded = request.UploadID, aws.ToTime(head.LastModified).UTC()
	if said.Uploaded.Truncate(time.Second).Equal(u.Uploaded) {
		u.Uploaded = said.Uploaded
	}
	return u, true, nil
}

// ordered returns the operator's order that a deployment of an artifact is of, nil
// if it is of none. One artifact may be deployed several times by orders: so it is
// the deployment that the record has, or the one that says which order it is of
// while the record waits for that one.
func ordered(r *group.Record, artifact group.Upload, deployment, id string) *group.Upload {
	if i := slices.IndexFunc(r.Deployments, func(d group.Deployment) bool { return d.DeploymentID == deployment }); i >= 0 {
		if !r.Deployments[i].Ordered() {
			return nil
		}
		return &r.Deployments[i].Upload
	}
	is := func(u group.Upload) bool { return u.Ordered() && u.ID == id && u.SameArtifact(artifact) }
	if r.Attempt != nil && is(r.Attempt.Upload) {
		return &r.Attempt.Upload
	}
	if r.Waiting != nil && is(*r.Waiting) {
		return r.Waiting
	}
	for i := range r.Ended {
		if is(r.Ended[i].Upload) {
			return &r.Ended[i].Upload
		}
	}
	return nil
}
