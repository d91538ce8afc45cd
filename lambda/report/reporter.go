package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"gitlab-codedeploy/lambda/internal/again"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/mark"
	"gitlab-codedeploy/lambda/internal/metric"
	"gitlab-codedeploy/lambda/internal/origin"
	"gitlab-codedeploy/lambda/internal/place"
	"gitlab-codedeploy/lambda/internal/status"
)

// DeploymentReader is the part of the CodeDeploy client that Reporter needs.
type DeploymentReader interface {
	GetDeployment(context.Context, *codedeploy.GetDeploymentInput, ...func(*codedeploy.Options)) (*codedeploy.GetDeploymentOutput, error)
	BatchGetDeployments(context.Context, *codedeploy.BatchGetDeploymentsInput, ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentsOutput, error)
}

// ObjectLister is the part of the S3 client that Reporter needs.
type ObjectLister interface {
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
}

// Queues is the part of the SQS client that Reporter needs.
type Queues interface {
	SendMessage(context.Context, *sqs.SendMessageInput, ...func(*sqs.Options)) (*sqs.SendMessageOutput, error)
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessage(context.Context, *sqs.DeleteMessageInput, ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error)
}

// Reporter writes the state of deployments to the status objects of their uploads.
type Reporter struct {
	Bucket      string         // the artifact bucket
	Prefix      string         // of artifacts' keys
	Allowed     allowlist.List // the groups that artifacts are deployed to; nil is all
	Deployments DeploymentReader
	Targets     TargetReader
	Statuses    *status.Store
	Records     *group.Store
	Objects     ObjectLister
	Places      *place.Finder
	Marker      *mark.Marker
	Queues      Queues
	Queue       string // the trigger's, or ""
	DeadLetters string // the trigger's, or ""
	// OwnDeadLetters is the function's own queue of what it failed on, or "".
	OwnDeadLetters string
	Metrics        *metric.Writer
	Log            *slog.Logger
	AtOnce         int // groups that are reconciled side by side; 0 means 8

	mu   sync.Mutex
	calm map[string]string // ETags of records in which nothing is unfinished, by key
	from string            // key after which the next reconciliation begins
}

// Answer is what the function returns to who calls it.
type Answer struct {
	// Events is how many dead letters were worked off by a redrive, and Left how
	// many could not be.
	Events int `json:"events"`
	Left   int `json:"left"`
}

// Handle works on one event. An error means that it is worth another try.
func (r *Reporter) Handle(ctx context.Context, raw json.RawMessage) (answer Answer, err error) {
	what, event, err := decodeEvent(raw)
	switch {
	case err != nil:
		r.Log.ErrorContext(ctx, "ignored", "reason", err.Error())
		return answer, nil
	case what == scheduled:
		return answer, r.Reconcile(ctx)
	case what == redrive:
		return r.Redrive(ctx)
	}
	return answer, r.change(ctx, event)
}

// change works on one state change.
func (r *Reporter) change(ctx context.Context, event change) error {
	log := r.Log.With("deploymentId", event.DeploymentID)
	if r.Allowed != nil && !r.Allowed.Has(event.Pair) {
		// The rule's pattern knows applications only. Deployments of a group that
		// was on the list are looked after by the schedule.
		log.InfoContext(ctx, "ignored", "reason", "no artifacts are deployed to the group",
			"application", clip.Text(event.Application, 100), "deploymentGroup", clip.Text(event.DeploymentGroup, 100))
		return nil
	}
	out, err := r.Deployments.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: &event.DeploymentID})
	if err == nil && out.DeploymentInfo == nil {
		err = errors.New("CodeDeploy answered without one")
	}
	if err != nil {
		return r.failed(ctx, log, fmt.Errorf("read the deployment: %w", err))
	}
	info := out.DeploymentInfo
	log = log.With("application", aws.ToString(info.ApplicationName), "deploymentGroup", aws.ToString(info.DeploymentGroupName))
	revision, reason := r.Places.Artifact(info)
	if revision == nil {
		log.InfoContext(ctx, "ignored", "reason", clip.Line(reason, 100))
		return nil
	}
	entry, before, err := r.tell(ctx, info, event.State)
	if err != nil {
		return r.failed(ctx, log, err)
	}
	log = log.With("uploadId", entry.ID(), "key", aws.ToString(revision.Key), "versionId", aws.ToString(revision.Version))
	log.InfoContext(ctx, "state", "before", before, "state", entry.State)
	state := status.OfDeployment(info, event.State)
	if state.State == status.Failed && event.State.Final() {
		r.countFailed(entry, info)
	}
	if !state.State.Final() {
		return nil // The record has to know of ends only.
	}
	if err := r.ended(ctx, info, state, entry.DeploymentID == state.DeploymentID); err != nil {
		return r.failed(ctx, log, err)
	}
	return nil
}

// tell writes what a deployment says of its upload.
func (r *Reporter) tell(ctx context.Context, info *types.DeploymentInfo, heard status.State) (entry *status.Entry, before status.State, err error) {
	from := origin.Parse(aws.ToString(info.Description))
	revision := info.Revision.S3Location
	entry = r.Statuses.Entry(from.UploadID, aws.ToString(revision.Key), aws.ToString(revision.Version))
	// Nearly always there is something, as the trigger writes first.
	if err := entry.Load(ctx); err != nil {
		return nil, "", err
	}
	state := status.OfDeployment(info, heard)
	if entry.DeploymentID == "" {
		// Somebody has deployed by hand, and the description is his. The group's
		// record, or the upload itself, says under which id its job looks.
		record, err := r.Records.Load(ctx, allowlist.Pair{Application: aws.ToString(info.ApplicationName), DeploymentGroup: aws.ToString(info.DeploymentGroupName)})
		if err != nil {
			return nil, "", err
		}
		u, _, err := r.Places.Of(ctx, &record.Record, info)
		if err != nil {
			return nil, "", err
		}
		// Before the job is told: only what the record knows is followed to its end
		// when the events that come after this one are lost. And whose it is may not
		// be found out twice, as the version may be removed.
		now := r.Records.Time()
		if err := record.Change(ctx, func(known *group.Record) {
			known.HeardBeside(group.Deployment{Upload: u, DeploymentID: state.DeploymentID, State: state.State, SeenAt: now})
		}); err != nil {
			return nil, "", err
		}
		// A trigger that died after it created the deployment has told nobody whose it is.
		state.Deployer, state.Order = u.By, u.Order.Order
		if u.ID != from.UploadID {
			entry = r.Statuses.Entry(u.ID, u.Key, u.VersionID)
			if err := entry.Load(ctx); err != nil {
				return nil, "", err
			}
		}
	}
	before = entry.State
	r.explain(ctx, &state)
	return entry, before, entry.Merge(ctx, state)
}

// ended notes a deployment's end in its group's record, and lets the upload that
// waited for it have its turn. It is the upload's own when the job was told of it.
func (r *Reporter) ended(ctx context.Context, info *types.DeploymentInfo, state status.Status, own bool) error {
	record, err := r.Records.Load(ctx, allowlist.Pair{Application: state.Application, DeploymentGroup: state.DeploymentGroup})
	if err != nil {
		return err
	}
	u, ok, err := r.Places.Of(ctx, &record.Record, info)
	if err != nil || !ok {
		return err
	}
	now := r.Records.Time()
	err = record.Change(ctx, func(known *group.Record) {
		end := group.Deployment{Upload: u, DeploymentID: state.DeploymentID, State: state.State, Reason: clip.Line(state.Reason, 200), SeenAt: now, Told: true}
		if own {
			known.Heard(end)
		} else {
			known.HeardBeside(end)
		}
	})
	if err != nil || record.Waiting == nil {
		return err
	}
	return r.again(ctx, record.Pair(), *record.Waiting)
}

// again lets the trigger look at an upload once more.
func (r *Reporter) again(ctx context.Context, pair allowlist.Pair, u group.Upload) error {
	if r.Queue == "" {
		return nil
	}
	_, err := r.Queues.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &r.Queue, MessageBody: aws.String(again.Message(r.Bucket, pair, u))})
	if err != nil {
		return fmt.Errorf("send a message about upload %s: %w", u.ID, err)
	}
	return nil
}

// countFailed counts a deployment that failed, once for each event that tells
// of its end. There is one such event a deployment, which EventBridge delivers
// at least once; the state that was there before does not tell the first one
// from a second, for the trigger may have written it.
func (r *Reporter) countFailed(entry *status.Entry, info *types.DeploymentInfo) {
	r.Metrics.Write([]metric.Value{{Name: "DeploymentsFailed", Unit: metric.Count, Value: 1}}, map[string]string{
		"uploadId":        entry.ID(),
		"deploymentId":    aws.ToString(info.DeploymentId),
		"application":     aws.ToString(info.ApplicationName),
		"deploymentGroup": aws.ToString(info.DeploymentGroupName),
	})
}

// failed logs an error once and passes it on to Lambda.
func (r *Reporter) failed(ctx context.Context, log *slog.Logger, err error) error {
	log.WarnContext(ctx, "retried later", "err", clip.Text(err.Error(), 1000))
	return err
}
