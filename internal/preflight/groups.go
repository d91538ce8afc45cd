package preflight

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"gitlab-codedeploy/internal/config"
)

// GroupReader is the part of the CodeDeploy client that tells of deployment groups.
type GroupReader interface {
	BatchGetDeploymentGroups(context.Context, *codedeploy.BatchGetDeploymentGroupsInput, ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentGroupsOutput, error)
}

// groupsAtOnce is what one call takes: a thousand groups are ten calls, and one more for each further application.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_BatchGetDeploymentGroups.html
const groupsAtOnce = 100

// batch is what one call asks for: groups of one application.
type batch struct {
	application string
	pairs       []*config.DeploymentGroup
}

// deploymentGroups asks for every pair of the allow-list. It wants what the trigger wants of a group (blue/green, on
// whatever platform) and what CodeDeploy wants of a blue/green one.
func deploymentGroups(ctx context.Context, a *asking) []Finding {
	batches := batchesOf(a.config.Deploy.DeploymentGroups)
	return each(len(batches), func(i int) []Finding { return batches[i].check(ctx, a) })
}

// batchesOf keeps the order of the configuration.
func batchesOf(groups []config.DeploymentGroup) []batch {
	var batches []batch
	open := map[string]int{} // by application
	for i := range groups {
		application := groups[i].Application
		n, ok := open[application]
		if !ok || len(batches[n].pairs) == groupsAtOnce {
			n = len(batches)
			open[application] = n
			batches = append(batches, batch{application: application})
		}
		batches[n].pairs = append(batches[n].pairs, &groups[i])
	}
	return batches
}

func (b batch) check(ctx context.Context, a *asking) []Finding {
	var names []string
	for _, pair := range b.pairs {
		names = append(names, pair.DeploymentGroup)
	}
	out, err := ask(ctx, a, a.Groups.BatchGetDeploymentGroups, &codedeploy.BatchGetDeploymentGroupsInput{ApplicationName: &b.application, DeploymentGroupNames: names})
	switch {
	case code(err) == "ApplicationDoesNotExistException":
		return []Finding{a.wrong(&b.pairs[0].Application, quote(b.application)+", which there is not", "an application of CodeDeploy in account "+a.accountID()+", "+a.config.Region,
			"create it, correct the name, or take its pairs out")}
	case err != nil:
		return []Finding{a.unchecked(&b.pairs[0].Application, "codedeploy:BatchGetDeploymentGroups", err)}
	}
	var found []Finding
	for _, pair := range b.pairs {
		i := slices.IndexFunc(out.DeploymentGroupsInfo, func(g types.DeploymentGroupInfo) bool {
			return aws.ToString(g.DeploymentGroupName) == pair.DeploymentGroup
		})
		if i < 0 {
			found = append(found, a.wrong(&pair.DeploymentGroup, quote(pair.DeploymentGroup)+", which there is not", fmt.Sprintf("a deployment group of %s in account %s", quote(b.application), a.accountID()),
				"create it, correct the name, or take the pair out"))
			continue
		}
		found = append(found, checkStyle(a, pair, out.DeploymentGroupsInfo[i].DeploymentStyle)...)
	}
	return found
}

// checkStyle takes a group without a style for an in-place one, as CodeDeploy does.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_DeploymentStyle.html
func checkStyle(a *asking, pair *config.DeploymentGroup, style *types.DeploymentStyle) []Finding {
	at := &pair.DeploymentGroup
	if style == nil {
		style = &types.DeploymentStyle{}
	}
	switch {
	case style.DeploymentType != types.DeploymentTypeBlueGreen:
		return []Finding{a.wrong(at, quote(pair.DeploymentGroup)+", which deploys in place", "a blue/green deployment group: the trigger rejects artifacts for any other",
			"set its deployment type to BLUE_GREEN, or name another group")}
	case style.DeploymentOption != types.DeploymentOptionWithTrafficControl:
		return []Finding{a.wrong(at, quote(pair.DeploymentGroup)+", which moves no traffic", "a blue/green deployment group WITH_TRAFFIC_CONTROL",
			"give it a load balancer and the deployment option WITH_TRAFFIC_CONTROL")}
	}
	return nil
}
