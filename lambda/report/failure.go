package report

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/status"
)

// TargetReader is the part of the CodeDeploy client that tells what happened on
// an instance.
type TargetReader interface {
	ListDeploymentTargets(context.Context, *codedeploy.ListDeploymentTargetsInput, ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentTargetsOutput, error)
	BatchGetDeploymentTargets(context.Context, *codedeploy.BatchGetDeploymentTargetsInput, ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentTargetsOutput, error)
}

const (
	// targetsAtOnce is the most targets that one BatchGetDeploymentTargets takes.
	// The first that tells anything is enough.
	// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_BatchGetDeploymentTargets.html
	targetsAtOnce = 25
	// explaining bounds how long is asked.
	explaining = 5 * time.Second
)

// explain adds to a deployment that failed on which instance and in which
// lifecycle event it did, and the end of that one's log. That is a courtesy: when
// it cannot be found out, the reason is CodeDeploy's alone.
func (r *Reporter) explain(ctx context.Context, known *status.Status) {
	if known.State != status.Failed || r.Targets == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, explaining)
	defer cancel()
	where, log, err := r.failedTarget(ctx, known.DeploymentID)
	if err != nil {
		r.Log.WarnContext(ctx, "where a deployment failed is not known", "deploymentId", known.DeploymentID, "err", clip.Text(err.Error(), 1000))
		return
	}
	if where == "" {
		return
	}
	if known.Reason != "" {
		// What is longer in it is less worth than the place.
		where = clip.Line(known.Reason, 500) + "; " + where
	}
	known.Reason, known.LogTail = where, log
}

// failedTarget returns what the first target says that failed in a lifecycle
// event; nothing when none does.
func (r *Reporter) failedTarget(ctx context.Context, deployment string) (where, log string, err error) {
	list, err := r.Targets.ListDeploymentTargets(ctx, &codedeploy.ListDeploymentTargetsInput{
		DeploymentId:  &deployment,
		TargetFilters: map[string][]string{string(types.TargetFilterNameTargetStatus): {string(types.TargetStatusFailed)}},
	})
	if err != nil {
		return "", "", fmt.Errorf("list the targets: %w", err)
	}
	ids := list.TargetIds[:min(len(list.TargetIds), targetsAtOnce)]
	if len(ids) == 0 {
		return "", "", nil
	}
	out, err := r.Targets.BatchGetDeploymentTargets(ctx, &codedeploy.BatchGetDeploymentTargetsInput{DeploymentId: &deployment, TargetIds: ids})
	if err != nil {
		return "", "", fmt.Errorf("read the targets: %w", err)
	}
	for _, target := range out.DeploymentTargets {
		id, events := eventsOf(target)
		for _, event := range events {
			if event.Status == types.LifecycleEventStatusFailed {
				return describe(id, event)
			}
		}
	}
	return "", "", nil
}

// eventsOf are those of a target of any kind.
func eventsOf(target types.DeploymentTarget) (id string, events []types.LifecycleEvent) {
	switch {
	case target.InstanceTarget != nil:
		return aws.ToString(target.InstanceTarget.TargetId), target.InstanceTarget.LifecycleEvents
	case target.EcsTarget != nil:
		return aws.ToString(target.EcsTarget.TargetId), target.EcsTarget.LifecycleEvents
	case target.LambdaTarget != nil:
		return aws.ToString(target.LambdaTarget.TargetId), target.LambdaTarget.LifecycleEvents
	}
	return "", nil
}

// describe is a failed lifecycle event in a line, and its log.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_Diagnostics.html
func describe(id string, event types.LifecycleEvent) (where, log string, err error) {
	where = fmt.Sprintf("%s failed on %s", clip.Line(aws.ToString(event.LifecycleEventName), 100), clip.Line(id, 100))
	d := event.Diagnostics
	if d == nil {
		return where, "", nil
	}
	where += " (" + clip.Line(string(d.ErrorCode), 100)
	if script := clip.Line(aws.ToString(d.ScriptName), 200); script != "" {
		where += ", " + script
	}
	return where + "): " + clip.Line(aws.ToString(d.Message), 300), aws.ToString(d.LogTail), nil
}
