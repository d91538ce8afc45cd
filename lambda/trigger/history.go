package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"gitlab-codedeploy/lambda/internal/origin"
)

// DeploymentLister is the part of the CodeDeploy client that History needs.
type DeploymentLister interface {
	ListDeployments(context.Context, *codedeploy.ListDeploymentsInput, ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentsOutput, error)
	BatchGetDeployments(context.Context, *codedeploy.BatchGetDeploymentsInput, ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentsOutput, error)
}

// History is what CodeDeploy knows of a group's deployments.
type History struct {
	Client DeploymentLister
	Prefix string // of artifacts' keys
}

const (
	// clockSkew is how far CodeDeploy's clock may be behind S3's.
	clockSkew = time.Minute
	// batchGet is the most deployments that one BatchGetDeployments takes.
	// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_BatchGetDeployments.html
	batchGet = 25
)

// findings are the deployments that matter to an upload.
type findings struct {
	own   *types.DeploymentInfo // of the upload itself
	newer string                // id of a deployment of a newer upload
	// level is the id of a deployment of another version of the same key that
	// was uploaded within the same second: the times do not tell which of the
	// two is newer.
	level string
}

// Look goes through what the group was given since u was uploaded, which is
// usually nothing. Older deployments cannot matter: one of this upload, or of a
// newer one, was created after the upload.
//
// Only what somebody asked for counts. When CodeDeploy rolls back, or equips a
// new instance of an Auto Scaling group, it deploys an older revision again by
// itself. RollbackInfo does not tell: the deployment that failed has one too.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_DeploymentInfo.html
func (h *History) Look(ctx context.Context, u *Upload) (findings, error) {
	var found findings
	in := &codedeploy.ListDeploymentsInput{
		ApplicationName:     &u.Application,
		DeploymentGroupName: &u.DeploymentGroup,
		CreateTimeRange:     &types.TimeRange{Start: aws.Time(u.Uploaded.Add(-clockSkew))},
	}
	for {
		page, err := h.Client.ListDeployments(ctx, in)
		if err != nil {
			return found, codeDeployFault("list the group's deployments", err)
		}
		for ids := range slices.Chunk(page.Deployments, batchGet) {
			out, err := h.Client.BatchGetDeployments(ctx, &codedeploy.BatchGetDeploymentsInput{DeploymentIds: ids})
			if err != nil {
				return found, codeDeployFault("read the group's deployments", err)
			}
			if len(out.DeploymentsInfo) < len(ids) {
				// The missing one may be the upload's own.
				return found, fmt.Errorf("read the group's deployments: asked for %d, got %d", len(ids), len(out.DeploymentsInfo))
			}
			for _, info := range out.DeploymentsInfo {
				h.consider(&found, u, info)
			}
		}
		if aws.ToString(page.NextToken) == "" {
			return found, nil
		}
		in.NextToken = page.NextToken
	}
}

func (h *History) consider(found *findings, u *Upload, info types.DeploymentInfo) {
	if info.Creator != "" && info.Creator != types.DeploymentCreatorUser ||
		info.Revision == nil || info.Revision.S3Location == nil {
		return
	}
	revision := info.Revision.S3Location
	key := aws.ToString(revision.Key)
	if aws.ToString(revision.Bucket) != u.Bucket || !strings.HasPrefix(key, h.Prefix) {
		return
	}
	if key == u.Key && aws.ToString(revision.Version) == u.VersionID {
		// The first one, should there be more.
		if found.own == nil || aws.ToTime(info.CreateTime).Before(aws.ToTime(found.own.CreateTime)) {
			found.own = &info
		}
		return
	}
	// What was deployed by hand tells no time, and counts as older.
	uploaded := origin.Parse(aws.ToString(info.Description)).Uploaded
	switch order := compareUploads(uploaded, key, u.Uploaded, u.Key); {
	case order > 0:
		found.newer = aws.ToString(info.DeploymentId)
	case order == 0:
		found.level = aws.ToString(info.DeploymentId)
	}
}

// compareUploads orders uploads to one group: by their time, and by key where
// that is the same, which is arbitrary, but the same for everybody. Two versions
// of one key within a second stay level: there only S3 knows which is current.
func compareUploads(aTime time.Time, aKey string, bTime time.Time, bKey string) int {
	if aKey == bKey {
		return aTime.Truncate(time.Second).Compare(bTime.Truncate(time.Second))
	}
	return cmp.Or(aTime.Compare(bTime), strings.Compare(aKey, bKey))
}
