package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/metric"
	"gitlab-codedeploy/lambda/internal/origin"
	"gitlab-codedeploy/lambda/internal/status"
)

// DeploymentReader is the part of the CodeDeploy client that Reporter needs.
type DeploymentReader interface {
	GetDeployment(context.Context, *codedeploy.GetDeploymentInput, ...func(*codedeploy.Options)) (*codedeploy.GetDeploymentOutput, error)
}

// Reporter writes the state of deployments to the status objects of their uploads.
type Reporter struct {
	Bucket      string         // the artifact bucket
	Prefix      string         // of artifacts' keys
	Allowed     allowlist.List // the groups that artifacts are deployed to; nil is all
	Deployments DeploymentReader
	Statuses    *status.Store
	Metrics     *metric.Writer
	Log         *slog.Logger
}

// Handle works on one event of EventBridge's. An error means that it is worth
// another try.
func (r *Reporter) Handle(ctx context.Context, raw json.RawMessage) error {
	event, err := decodeEvent(raw)
	if err != nil {
		r.Log.ErrorContext(ctx, "ignored", "reason", err.Error())
		return nil
	}
	log := r.Log.With("deploymentId", event.DeploymentID)
	if r.Allowed != nil && !r.Allowed[event.Pair] {
		// The rule's pattern knows applications only, and there may be no right
		// to read the deployments of their other groups.
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
	revision, reason := r.artifact(info)
	if revision == nil {
		log.InfoContext(ctx, "ignored", "reason", reason)
		return nil
	}

	from := origin.Parse(aws.ToString(info.Description))
	entry := r.Statuses.Entry(from.UploadID, aws.ToString(revision.Key), aws.ToString(revision.Version))
	// Nearly always there is something, as the trigger writes first.
	if err := entry.Load(ctx); err != nil {
		return r.failed(ctx, log, err)
	}
	before := entry.State
	state := status.Of(info.Status)
	if event.State.After(state) {
		state = event.State // CodeDeploy's own answer may be behind its event.
	}
	err = entry.Merge(ctx, status.Status{
		State:           state,
		DeploymentID:    event.DeploymentID,
		Application:     aws.ToString(info.ApplicationName),
		DeploymentGroup: aws.ToString(info.DeploymentGroupName),
		Reason:          status.Reason(info),
	})
	log = log.With("uploadId", entry.ID(), "key", aws.ToString(revision.Key), "versionId", aws.ToString(revision.Version))
	if err != nil {
		return r.failed(ctx, log, err)
	}
	log.InfoContext(ctx, "state", "before", before, "state", entry.State)
	if state == status.Failed && event.State.Final() {
		r.countFailed(entry, info)
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

// artifact returns the artifact that is deployed, or why it is none of ours.
// Only deployments that somebody asked for are reported: what CodeDeploy makes
// by itself, to roll back or to equip a new instance, is about an upload whose
// story has been told.
func (r *Reporter) artifact(info *types.DeploymentInfo) (*types.S3Location, string) {
	switch {
	case info.Creator != "" && info.Creator != types.DeploymentCreatorUser:
		return nil, fmt.Sprintf("made by %s", clip.Line(string(info.Creator), 100))
	case info.Revision == nil || info.Revision.S3Location == nil:
		return nil, "the revision is not in S3"
	}
	revision := info.Revision.S3Location
	switch {
	case aws.ToString(revision.Bucket) != r.Bucket || !strings.HasPrefix(aws.ToString(revision.Key), r.Prefix):
		return nil, "the revision is not in the artifact bucket"
	case aws.ToString(revision.Version) == "":
		return nil, "the revision has no version"
	}
	return revision, ""
}

// failed logs an error once and passes it on to Lambda.
func (r *Reporter) failed(ctx context.Context, log *slog.Logger, err error) error {
	log.WarnContext(ctx, "retried later", "err", clip.Text(err.Error(), 1000))
	return err
}
