package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/status"
)

// GroupReader is the part of the CodeDeploy client that BlueGreenGroups needs.
type GroupReader interface {
	GetDeploymentGroup(context.Context, *codedeploy.GetDeploymentGroupInput, ...func(*codedeploy.Options)) (*codedeploy.GetDeploymentGroupOutput, error)
}

// BlueGreenGroups knows which deployment groups are blue/green. The groups are
// not ours: somebody may make one in-place, and an artifact would then be
// installed over the running instances.
type BlueGreenGroups struct {
	Client GroupReader
	// TTL is how long a positive answer is believed; 0 means 5 minutes.
	// Others are asked for again each time: the fault may be cured by then.
	TTL time.Duration

	mu      sync.Mutex
	checked map[allowlist.Pair]checkedGroup // no larger than the allow-list
}

// checkedGroup is a group that was blue/green at a time.
type checkedGroup struct {
	at       time.Time
	settings status.Group
}

// Settings are those that the group had when it was looked at last; the zero
// value when it never was.
func (g *BlueGreenGroups) Settings(pair allowlist.Pair) status.Group {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.checked[pair].settings
}

// Check returns no fault when the pair is blue/green, and what to change when it
// is not, or does not exist.
func (g *BlueGreenGroups) Check(ctx context.Context, pair allowlist.Pair) (fault string, err error) {
	g.mu.Lock()
	checked, ok := g.checked[pair]
	g.mu.Unlock()
	if ok && time.Since(checked.at) < cmp.Or(g.TTL, 5*time.Minute) {
		return "", nil
	}

	out, err := g.Client.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{
		ApplicationName:     &pair.Application,
		DeploymentGroupName: &pair.DeploymentGroup,
	})
	if err != nil {
		if fault, ok := permanent("read the deployment group", err); ok {
			return fault, nil
		}
		return "", fmt.Errorf("read the deployment group: %w", err)
	}
	if out.DeploymentGroupInfo == nil {
		return "", errors.New("read the deployment group: CodeDeploy answered without one")
	}
	// A group that was made without a style is in-place.
	// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_DeploymentStyle.html
	style := out.DeploymentGroupInfo.DeploymentStyle
	if style == nil || style.DeploymentType != types.DeploymentTypeBlueGreen {
		return fmt.Sprintf("deployment group %q of %q is not blue/green: set its deployment type to BLUE_GREEN, then run the job again",
			pair.DeploymentGroup, pair.Application), nil
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	if g.checked == nil {
		g.checked = map[allowlist.Pair]checkedGroup{}
	}
	g.checked[pair] = checkedGroup{time.Now(), status.GroupOf(out.DeploymentGroupInfo.BlueGreenDeploymentConfiguration)}
	return "", nil
}
