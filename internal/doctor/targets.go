package doctor

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/plain"
)

// targets are those of the load balancer: whether GitLab answers it.
func targets(ctx context.Context, l *look) []Finding {
	dns, missing := l.output(account.GitLab, "LoadBalancerDnsName", `[A-Za-z0-9.-]+`)
	if missing != nil {
		return missing
	}
	client := elb.NewFromConfig(l.accounts[account.GitLab].AWS)
	var balancer *string
	pages := elb.NewDescribeLoadBalancersPaginator(client, &elb.DescribeLoadBalancersInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return []Finding{refused("elasticloadbalancing:DescribeLoadBalancers", err)}
		}
		for _, b := range page.LoadBalancers {
			if aws.ToString(b.DNSName) == dns {
				balancer = b.LoadBalancerArn
			}
		}
	}
	if balancer == nil {
		return []Finding{wrong("scripts/ops deploy --env "+l.config.Environment, "there is no load balancer %s", dns)}
	}
	groups, err := client.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{LoadBalancerArn: balancer})
	if err != nil {
		return []Finding{refused("elasticloadbalancing:DescribeTargetGroups", err)}
	}
	var found []Finding
	for _, group := range groups.TargetGroups {
		health, err := client.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: group.TargetGroupArn})
		if err != nil {
			return []Finding{refused("elasticloadbalancing:DescribeTargetHealth", err)}
		}
		for _, t := range health.TargetHealthDescriptions {
			id, state, reason := "", types.TargetHealthStateEnum(""), ""
			if t.Target != nil {
				id = aws.ToString(t.Target.Id)
			}
			if t.TargetHealth != nil {
				state, reason = t.TargetHealth.State, aws.ToString(t.TargetHealth.Description)
			}
			if state == types.TargetHealthStateEnumHealthy {
				found = append(found, ok("%s answers the load balancer", plain.Line(id, 40)))
				continue
			}
			found = append(found, wrong("scripts/ops status --env "+l.config.Environment+"; on the host gitlab-ctl status, gitlab-ctl tail",
				"%s is %s: %s", plain.Line(id, 40), plain.Line(string(state), 40), plain.Line(reason, 200)))
		}
	}
	if found == nil {
		return []Finding{wrong("scripts/ops deploy --env "+l.config.Environment, "the load balancer has no target")}
	}
	return found
}
