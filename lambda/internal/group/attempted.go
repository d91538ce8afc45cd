package group

import (
	"context"
	"fmt"
	"time"

	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/status"
)

// Attempted returns the deployment that came of the record's attempt, by what its
// job was told; nil when there is no attempt, or nobody was told of a deployment.
// That one is in the record as soon as somebody has to know of it, and no call
// earlier: telling the record and the job both would say the same thing twice.
func (r *Record) Attempted(ctx context.Context, states *status.Store, now time.Time) (*Deployment, error) {
	if r.Attempt == nil {
		return nil, nil
	}
	told := r.Attempt.Entry(states)
	if err := told.Load(ctx); err != nil {
		return nil, fmt.Errorf("find out what came of an attempt: %w", err)
	}
	// Somebody may have deployed the upload to another group by hand.
	if told.DeploymentID == "" || told.Application != r.Application || told.DeploymentGroup != r.DeploymentGroup {
		return nil, nil
	}
	made := &Deployment{Upload: r.Attempt.Upload, DeploymentID: told.DeploymentID, State: told.State, SeenAt: now}
	if told.State.Final() {
		made.Reason = clip.Line(told.Reason, 200)
	}
	return made, nil
}
