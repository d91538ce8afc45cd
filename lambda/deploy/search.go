package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/place"
	"gitlab-codedeploy/lambda/internal/status"
)

// DeploymentLister is the part of the CodeDeploy client that History needs.
type DeploymentLister interface {
	ListDeployments(context.Context, *codedeploy.ListDeploymentsInput, ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentsOutput, error)
	BatchGetDeployments(context.Context, *codedeploy.BatchGetDeploymentsInput, ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentsOutput, error)
}

// History is what CodeDeploy knows of a group's deployments. It is looked
// through once: what was seen is kept in the group's record.
type History struct {
	Client DeploymentLister
	Places *place.Finder
	Bucket string // of artifacts
	Prefix string // of their keys
	Now    func() time.Time
}

const (
	// clockSkew is how far CodeDeploy's clock may be behind S3's and ours.
	clockSkew = time.Minute
	// listLag is for how long a new deployment may be missing in the list.
	listLag = time.Minute
	// fresh is how old a look may be that an action follows.
	fresh = 10 * time.Second
	// batchGet is the most deployments that one BatchGetDeployments takes.
	// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_BatchGetDeployments.html
	batchGet = 25
	// reserve of the time for a record is kept for saving how far a look came.
	reserve = 4 * time.Second
)

// findings are what a look brought besides what it wrote into the record.
type findings struct {
	complete bool   // else the look goes on at the next try
	active   string // id of a deployment that keeps the group busy
	fault    string // why the group's deployments can never be looked at
}

// Look brings the record up to date with what the group was given, at least
// since u was uploaded: whatever is of u, or of a newer upload, was made after
// that. A look goes on where the last one ended.
//
// Only what somebody asked for has a place in the order. When CodeDeploy rolls
// back, or equips a new instance of an Auto Scaling group, it deploys an older
// revision again by itself. RollbackInfo does not tell: the deployment that
// failed has one too.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_DeploymentInfo.html
func (h *History) Look(ctx context.Context, r *group.Record, u group.Upload) (found findings, err error) {
	s := &r.Searched
	from := s.Until.Add(-listLag - 2*clockSkew)
	if s.Until.IsZero() || u.Uploaded.Before(s.From.Add(clockSkew)) {
		from = u.Uploaded.Add(-clockSkew)
		s.From, s.Until = from, from
	}
	if s.Page != nil && s.Page.From.After(from) {
		s.Page = nil // The page of a look that began later than this one has to.
	}
	unfinished := unfinishedOf(r)
	for {
		if s.Page == nil {
			s.Page = &group.Page{From: from, Began: h.Now()}
		}
		ids, next, err := h.list(ctx, r, s.Page)
		if err != nil {
			if reason, ok := permanent("list the group's deployments", err); ok {
				found.fault, err = reason, nil
			}
			return found, err
		}
		ids = slices.DeleteFunc(ids, func(id string) bool {
			return finished(r, id) || slices.Contains(unfinished, id) || slices.Contains(s.Page.Read, id)
		})
		if all, err := h.read(ctx, r, append(unfinished, ids...), &found); err != nil || !all {
			return found, err
		}
		unfinished = nil
		s.Page.Token, s.Page.Read = next, nil
		if next == "" {
			from = s.Page.Began.Add(-listLag - 2*clockSkew)
			s.Until = s.Page.Began
			old := h.Now().Sub(s.Page.Began) > fresh
			if s.Page = nil; !old {
				found.complete = true
				return found, nil
			}
		}
		if late(ctx) {
			return found, nil
		}
	}
}

func late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < reserve
}

func unfinishedOf(r *group.Record) (ids []string) {
	for _, d := range r.Deployments {
		if !d.State.Final() {
			ids = append(ids, d.DeploymentID)
		}
	}
	return ids
}

func finished(r *group.Record, id string) bool {
	return slices.ContainsFunc(r.Deployments, func(d group.Deployment) bool { return d.DeploymentID == id && d.State.Final() })
}

// list returns the ids of one page. A token that is no longer good begins the
// list again.
func (h *History) list(ctx context.Context, r *group.Record, page *group.Page) (ids []string, next string, err error) {
	in := &codedeploy.ListDeploymentsInput{
		ApplicationName:     &r.Application,
		DeploymentGroupName: &r.DeploymentGroup,
		CreateTimeRange:     &types.TimeRange{Start: &page.From},
		NextToken:           optional(page.Token),
	}
	out, err := h.Client.ListDeployments(ctx, in)
	var invalid *types.InvalidNextTokenException
	if errors.As(err, &invalid) && page.Token != "" {
		page.Token, in.NextToken, page.Began = "", nil, h.Now()
		out, err = h.Client.ListDeployments(ctx, in)
	}
	if err != nil {
		return nil, "", fmt.Errorf("list the group's deployments: %w", err)
	}
	return slices.Clone(out.Deployments), aws.ToString(out.NextToken), nil
}

// read reads deployments, all of them or as many as there is time for.
func (h *History) read(ctx context.Context, r *group.Record, list []string, found *findings) (all bool, err error) {
	for ids := range slices.Chunk(list, batchGet) {
		if late(ctx) {
			return false, nil
		}
		out, err := h.Client.BatchGetDeployments(ctx, &codedeploy.BatchGetDeploymentsInput{DeploymentIds: ids})
		if err != nil {
			return false, fmt.Errorf("read the group's deployments: %w", err)
		}
		if len(out.DeploymentsInfo) < len(ids) {
			// The missing one may be the upload's own.
			return false, fmt.Errorf("read the group's deployments: asked for %d, got %d", len(ids), len(out.DeploymentsInfo))
		}
		for _, info := range out.DeploymentsInfo {
			// What needs no call is kept, or every try would read it again.
			if artifact, _ := h.Places.Artifact(&info); artifact != nil && late(ctx) {
				return false, nil
			}
			if err := h.consider(ctx, r, &info, found); err != nil {
				return false, err
			}
			r.Searched.Page.Read = append(r.Searched.Page.Read, aws.ToString(info.DeploymentId))
		}
	}
	return true, nil
}

func (h *History) consider(ctx context.Context, r *group.Record, info *types.DeploymentInfo, found *findings) error {
	state := status.OfDeployment(info, "")
	// Auto Scaling's deployments may go on beside others.
	if !state.State.Final() && info.Creator != types.DeploymentCreatorAutoscaling {
		found.active = state.DeploymentID
	}
	u, ok, err := h.Places.Of(ctx, r, info)
	if err != nil || !ok {
		return err
	}
	r.Heard(group.Deployment{Upload: u, DeploymentID: state.DeploymentID, State: state.State, Reason: state.Reason, SeenAt: h.Now()})
	return nil
}
