package emulator

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"gitlab-codedeploy/test/e2e/lambdahost"
)

// statePause stands between two states of a deployment, which takes minutes on
// AWS, so that a job that waits sees more than the last one.
const statePause = 700 * time.Millisecond

// playInterval stands between two looks for new deployments: an emulator that nobody
// uses has to be no burden.
const playInterval = 250 * time.Millisecond

// player stands in for what moto's CodeDeploy does not do: nobody is told there how
// a deployment goes on. The player sends the status function the events that EventBridge
// would, for a deployment that goes well.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-cloudwatch-events.html
type player struct {
	deployments     *codedeploy.Client
	host            *lambdahost.Host
	function        string // name of the status function
	account, region string
	log             *slog.Logger
}

// run plays each deployment once, in the order of their coming, until ctx ends.
func (p player) run(ctx context.Context) {
	played := map[string]bool{}
	var playing sync.WaitGroup
	defer playing.Wait()
	for ctx.Err() == nil {
		out, err := p.deployments.ListDeployments(ctx, &codedeploy.ListDeploymentsInput{})
		if err == nil {
			for _, id := range out.Deployments {
				if !played[id] {
					played[id] = true
					playing.Go(func() { p.play(ctx, id) })
				}
			}
		}
		wait(ctx, playInterval)
	}
}

// play sends the events of one deployment.
func (p player) play(ctx context.Context, id string) {
	out, err := p.deployments.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: &id})
	if err != nil {
		p.log.Error("play", "deployment", id, "err", err)
		return
	}
	for _, state := range []string{"START", "READY", "SUCCESS"} {
		wait(ctx, statePause)
		if ctx.Err() != nil {
			return
		}
		event, err := p.event(out.DeploymentInfo, state)
		if err == nil {
			_, err = p.host.Invoke(ctx, p.function, event)
		}
		p.log.Info("play", "deployment", id, "state", state, "err", err)
	}
}

// event is CodeDeploy's, as EventBridge hands it on.
func (p player) event(d *types.DeploymentInfo, state string) ([]byte, error) {
	id := aws.ToString(d.DeploymentId)
	arn := fmt.Sprintf("arn:aws:codedeploy:%s:%s", p.region, p.account)
	application, group := aws.ToString(d.ApplicationName), aws.ToString(d.DeploymentGroupName)
	return json.Marshal(map[string]any{
		"version": "0", "id": id + "-" + strings.ToLower(state),
		"source": "aws.codedeploy", "detail-type": "CodeDeploy Deployment State-change Notification",
		"account": p.account, "region": p.region, "time": time.Now().UTC().Format(time.RFC3339),
		"resources": []string{arn + ":application:" + application, arn + ":deploymentgroup:" + application + "/" + group},
		"detail": map[string]string{
			"region": p.region, "instanceGroupId": "00000000-0000-4000-8000-000000000000",
			"deploymentId": id, "application": application, "deploymentGroup": group, "state": state,
		},
	})
}

// wait sleeps, unless ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
