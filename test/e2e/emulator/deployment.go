package emulator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Deployment is what came out, as CodeDeploy tells it; State is what the job was
// told at the end.
type Deployment struct {
	DeploymentID    string `json:"deploymentId"`
	Application     string `json:"application"`
	DeploymentGroup string `json:"deploymentGroup"`
	DeploymentStyle string `json:"deploymentStyle"`
	Bucket          string `json:"bucket"`
	Key             string `json:"key"`
	VersionID       string `json:"versionId"`
	State           string `json:"state"`
}

const (
	// deploymentLimit is how long an upload may take to become a deployment; it
	// takes well under a second.
	deploymentLimit = 30 * time.Second
	pollInterval    = 50 * time.Millisecond
)

// waitForQueue waits until every event of account B's queue has been handled.
// An event that failed stays invisible for minutes: that is an error here.
func (e *Emulator) waitForQueue(ctx context.Context, b *Stack) error {
	url, err := b.output("QueueUrl")
	if err != nil {
		return err
	}
	client := sqs.NewFromConfig(e.awsConfig(e.B))
	ctx, cancel := context.WithTimeout(ctx, deploymentLimit)
	defer cancel()
	for {
		out, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
			QueueUrl: aws.String(e.queueURL(url)), AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameAll},
		})
		if err == nil {
			waiting := out.Attributes["ApproximateNumberOfMessages"] + "+" + out.Attributes["ApproximateNumberOfMessagesNotVisible"]
			if waiting == "0+0" {
				return nil
			}
			err = fmt.Errorf("events are left in the queue (waiting+in flight: %s)", waiting)
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return &stepFailure{err: err, log: e.log("trigger")}
		}
	}
}

// deployments lists account B's deployments.
func (e *Emulator) deployments(ctx context.Context) ([]string, error) {
	out, err := codedeploy.NewFromConfig(e.awsConfig(e.B)).ListDeployments(ctx, &codedeploy.ListDeploymentsInput{})
	if err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	return out.Deployments, nil
}

// waitForDeployment waits for the one deployment of an upload and checks it.
// The event is in the queue before the upload has its answer, so once the queue
// is empty nothing more can come of it.
func (e *Emulator) waitForDeployment(ctx context.Context, b *Stack, u upload) (Deployment, error) {
	if err := e.waitForQueue(ctx, b); err != nil {
		return Deployment{}, err
	}
	ids, err := e.deployments(ctx)
	if err != nil {
		return Deployment{}, err
	}
	if len(ids) != 1 {
		return Deployment{}, &stepFailure{err: fmt.Errorf("got %d deployments of one upload, want exactly 1", len(ids)), log: e.log("trigger")}
	}
	d, err := e.readDeployment(ctx, ids[0])
	if err != nil {
		return d, err
	}
	d.State = u.State
	return d, e.checkDeployment(ctx, d, u)
}

// readDeployment asks CodeDeploy about a deployment and its group.
func (e *Emulator) readDeployment(ctx context.Context, id string) (Deployment, error) {
	client := codedeploy.NewFromConfig(e.awsConfig(e.B))
	out, err := client.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: &id})
	if err != nil {
		return Deployment{}, fmt.Errorf("deployment %s: %w", id, err)
	}
	info := out.DeploymentInfo
	group, err := client.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{
		ApplicationName: info.ApplicationName, DeploymentGroupName: info.DeploymentGroupName,
	})
	if err != nil {
		return Deployment{}, fmt.Errorf("deployment group of %s: %w", id, err)
	}
	if info.Revision == nil || info.Revision.S3Location == nil {
		return Deployment{}, fmt.Errorf("deployment %s has no revision in S3", id)
	}
	d := Deployment{
		DeploymentID:    aws.ToString(info.DeploymentId),
		Application:     aws.ToString(info.ApplicationName),
		DeploymentGroup: aws.ToString(info.DeploymentGroupName),
		Bucket:          aws.ToString(info.Revision.S3Location.Bucket),
		Key:             aws.ToString(info.Revision.S3Location.Key),
		VersionID:       aws.ToString(info.Revision.S3Location.Version),
	}
	if style := group.DeploymentGroupInfo.DeploymentStyle; style != nil {
		d.DeploymentStyle = string(style.DeploymentType)
	}
	return d, nil
}

// checkDeployment compares a deployment with the object it should deploy.
func (e *Emulator) checkDeployment(ctx context.Context, d Deployment, u upload) error {
	object, err := e.s3(e.B).HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.Bucket, Key: &u.Key})
	if err != nil {
		return fmt.Errorf("the uploaded object: %w", err)
	}
	out, err := codedeploy.NewFromConfig(e.awsConfig(e.B)).GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: &d.DeploymentID})
	if err != nil {
		return fmt.Errorf("deployment %s: %w", d.DeploymentID, err)
	}
	location := out.DeploymentInfo.Revision.S3Location
	var wrong []error
	for _, c := range []struct{ what, got, want string }{
		{"the group's deployment style", d.DeploymentStyle, string(types.DeploymentTypeBlueGreen)},
		{"the deployment that the job was told of", u.DeploymentID, d.DeploymentID},
		{"the deployed bucket", d.Bucket, u.Bucket},
		{"the deployed key", d.Key, u.Key},
		{"the deployed version", d.VersionID, aws.ToString(object.VersionId)},
		{"the deployed eTag", unquote(aws.ToString(location.ETag)), unquote(aws.ToString(object.ETag))},
		{"the deployed bundle type", string(location.BundleType), string(types.BundleTypeTarGZip)},
		{"the version the pipeline names", u.VersionID, aws.ToString(object.VersionId)},
		{"the eTag the pipeline names", unquote(u.ETag), unquote(aws.ToString(object.ETag))},
	} {
		if c.got != c.want {
			wrong = append(wrong, fmt.Errorf("%s: got %q, want %q", c.what, c.got, c.want))
		}
	}
	return errors.Join(wrong...)
}

func unquote(eTag string) string { return strings.Trim(eTag, `"`) }
