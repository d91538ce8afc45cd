package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// ObjectReader is the part of the S3 client that Trigger needs.
type ObjectReader interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
}

// Deployer is the part of the CodeDeploy client that Trigger needs.
type Deployer interface {
	CreateDeployment(context.Context, *codedeploy.CreateDeploymentInput, ...func(*codedeploy.Options)) (*codedeploy.CreateDeploymentOutput, error)
}

// Upload is one artifact on its way to a deployment. Its fields are filled in
// as they become known, and stay "" until then.
type Upload struct {
	ID string // upload-id of the metadata, else VersionID
	Pair
	Bucket       string
	Key          string
	VersionID    string
	DeploymentID string
}

// LogValue lists what is known; each value is bounded, as all come from outside.
func (u Upload) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, field := range []struct{ name, value string }{
		{"uploadId", u.ID},
		{"application", u.Application},
		{"deploymentGroup", u.DeploymentGroup},
		{"key", u.Key},
		{"versionId", u.VersionID},
		{"deploymentId", u.DeploymentID},
	} {
		if field.value != "" {
			attrs = append(attrs, slog.String(field.name, clip(field.value, maxKey)))
		}
	}
	return slog.GroupValue(attrs...)
}

// Trigger starts the deployment that an upload asks for.
type Trigger struct {
	Objects  ObjectReader
	Groups   *BlueGreenGroups
	Deployer Deployer
	Allowed  AllowList
}

// Start takes an upload with bucket, key and, if the event had it, version. It
// returns nil once CodeDeploy has the deployment, a Verdict when it never will,
// and any other error when it is worth another try.
func (t *Trigger) Start(ctx context.Context, u *Upload) error {
	head, err := t.head(ctx, u)
	if err != nil {
		return err
	}
	request, err := parseMetadata(head.Metadata)
	u.Pair = request.Pair
	if request.UploadID != "" {
		u.ID = request.UploadID
	}
	if err != nil {
		return err
	}
	// Before any call to CodeDeploy: the pair comes from outside.
	if !t.Allowed[u.Pair] {
		return reject("application %q with deployment group %q is not on the list of what may be deployed: correct the job's variables, or have the pair added to deploymentGroups in the environment's configuration",
			clip(u.Application, 100), clip(u.DeploymentGroup, 100))
	}
	bundle, err := bundleType(request.BundleType, u.Key)
	if err != nil {
		return err
	}
	if err := t.Groups.Check(ctx, u.Pair); err != nil {
		return err
	}
	return t.create(ctx, u, request, bundle, head)
}

// head reads the object's metadata and settles which version is meant: the
// event's, else the current one.
func (t *Trigger) head(ctx context.Context, u *Upload) (*s3.HeadObjectOutput, error) {
	u.ID = u.VersionID
	head, err := t.Objects.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket:    &u.Bucket,
		Key:       &u.Key,
		VersionId: optional(u.VersionID),
	})
	if err != nil {
		return nil, headFault(err)
	}
	if u.VersionID == "" {
		u.VersionID = aws.ToString(head.VersionId)
		u.ID = u.VersionID
	}
	if u.VersionID == "" {
		// Without one CodeDeploy would fetch whatever is current by then. The
		// operator can cure it, so the message waits.
		return nil, errors.New("the object has no version: turn versioning of the artifact bucket on")
	}
	return head, nil
}

// create sends the one call that deploys. It overrides nothing of the group,
// and neither fileExistsBehavior nor the two switches are set: their defaults
// are the safe side, and a blue/green group gets fresh instances anyway.
func (t *Trigger) create(ctx context.Context, u *Upload, request Request, bundle types.BundleType, head *s3.HeadObjectOutput) error {
	out, err := t.Deployer.CreateDeployment(ctx, &codedeploy.CreateDeploymentInput{
		ApplicationName:     &u.Application,
		DeploymentGroupName: &u.DeploymentGroup,
		Description:         aws.String(description(u.ID, request.Commit, request.Pipeline)),
		Revision: &types.RevisionLocation{
			RevisionType: types.RevisionLocationTypeS3,
			S3Location: &types.S3Location{
				Bucket:     &u.Bucket,
				Key:        &u.Key,
				Version:    &u.VersionID,
				ETag:       optional(strings.Trim(aws.ToString(head.ETag), `"`)),
				BundleType: bundle,
			},
		},
	}, retryOnlyThrottling)
	if err != nil {
		return codeDeployFault("create the deployment", err)
	}
	u.DeploymentID = aws.ToString(out.DeploymentId)
	return nil
}

// maxDescription is CodeDeploy's limit.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/limits.html
const maxDescription = 256

// description names the origin of a deployment in CodeDeploy's console:
// "upload-id=… commit=… pipeline=…". A part that would not fit whole is left
// out, as half an id or address helps nobody.
func description(uploadID, commit, pipeline string) string {
	text := ""
	for _, part := range []struct{ name, value string }{
		{"upload-id", uploadID}, {"commit", commit}, {"pipeline", pipeline},
	} {
		if part.value == "" {
			continue
		}
		if next := strings.TrimPrefix(text+" "+part.name+"="+part.value, " "); len(next) <= maxDescription {
			text = next
		}
	}
	return text
}

// optional leaves an empty value out of a request.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
