// Package overview puts on one screen how a GitLab is: what its server says of itself, its last backup, its load balancer and
// the agents of both hosts. What cannot be read says so, and does not hide the rest.
package overview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"golang.org/x/sync/errgroup"

	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/reach"
)

// Part is one of them.
type Part struct {
	Name  string `json:"part"`
	State string `json:"state"` // ok, wrong, unknown, or - for what is only told
	Found string `json:"found"`
}

// stale is the age from which on something is wrong with the nightly backup.
const stale = 26 * time.Hour

// Look is what is to be looked at, and by whom.
type Look struct {
	Agents    *ssm.Client
	Backups   s3.ListObjectsV2APIClient
	Balancers *elb.Client
	Bucket    string
	Balancer  string // its DNS name
	Server    reach.Host
	Runner    reach.Host
	Now       func() time.Time
	// Ask asks the server, and returns what its status prints: a line for each part, in columns divided by tabs.
	Ask func(context.Context) (string, error)
}

// Run looks at everything, side by side: the server takes a minute or two where GitLab's Rails has to be started.
func (l Look) Run(ctx context.Context) []Part {
	var server, agents []Part
	var backup, balancer Part
	var looking errgroup.Group
	looking.Go(func() error { server = l.server(ctx); return nil })
	looking.Go(func() error { agents = l.agents(ctx); return nil })
	looking.Go(func() error { backup = l.backup(ctx); return nil })
	looking.Go(func() error { balancer = l.balancer(ctx); return nil })
	_ = looking.Wait() // what was refused stands in the parts
	return slices.Concat(server, []Part{backup, balancer}, agents)
}

// AllOK says whether nothing is wrong, and nothing unknown.
func AllOK(parts []Part) bool {
	return !slices.ContainsFunc(parts, func(p Part) bool { return p.State != "ok" && p.State != "-" })
}

func part(name, state, format string, values ...any) Part {
	return Part{plain.Line(name, 60), state, plain.Line(fmt.Sprintf(format, values...), 500)}
}

func unknown(name string, err error) Part {
	return part(name, "unknown", "AWS did not say: %s", reach.Reason(err))
}

func (l Look) server(ctx context.Context) []Part {
	text, err := l.Ask(ctx)
	if err != nil {
		return []Part{part("server", "unknown", "%s", err)}
	}
	var parts []Part
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			continue
		}
		columns := append(strings.Split(line, "\t"), "", "")
		state := columns[1]
		if !slices.Contains([]string{"ok", "wrong", "unknown", "-"}, state) {
			state = "unknown"
		}
		parts = append(parts, part(columns[0], state, "%s", columns[2]))
	}
	if len(parts) == 0 {
		return []Part{part("server", "unknown", "it said nothing")}
	}
	return parts
}

func (l Look) backup(ctx context.Context) Part {
	newest, err := backups.Newest(ctx, l.Backups, l.Bucket)
	switch made, is := backups.Made(newest); {
	case err != nil:
		return unknown("last backup", err)
	case !is:
		return part("last backup", "wrong", "there is no complete one")
	default:
		age, state := l.Now().Sub(made), "ok"
		if age > stale {
			state = "wrong"
		}
		shown := fmt.Sprintf("%.0f hours", age.Hours())
		if age >= 48*time.Hour {
			shown = fmt.Sprintf("%.0f days", age.Hours()/24)
		}
		return part("last backup", state, "%s, %s old", newest, shown)
	}
}

// errNothing says that AWS answered, and had nothing of it.
var errNothing = errors.New("nothing found")

func (l Look) balancer(ctx context.Context) Part {
	health, err := l.health(ctx)
	switch {
	case err != nil:
		return unknown("load balancer", err)
	case len(health.TargetHealthDescriptions) == 0 || health.TargetHealthDescriptions[0].TargetHealth == nil:
		return part("load balancer", "wrong", "it has no target")
	}
	state := health.TargetHealthDescriptions[0].TargetHealth
	if state.State == "healthy" {
		return part("load balancer", "ok", "the server is healthy")
	}
	return part("load balancer", "wrong", "the server is %s: %s", state.State, cmp.Or(aws.ToString(state.Description), string(state.Reason)))
}

func (l Look) health(ctx context.Context) (*elb.DescribeTargetHealthOutput, error) {
	arn := ""
	pages := elb.NewDescribeLoadBalancersPaginator(l.Balancers, &elb.DescribeLoadBalancersInput{})
	for pages.HasMorePages() && arn == "" {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, balancer := range page.LoadBalancers {
			if strings.EqualFold(aws.ToString(balancer.DNSName), l.Balancer) {
				arn = aws.ToString(balancer.LoadBalancerArn)
			}
		}
	}
	if arn == "" {
		return nil, errNothing
	}
	groups, err := l.Balancers.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{LoadBalancerArn: &arn})
	switch {
	case err != nil:
		return nil, err
	case len(groups.TargetGroups) == 0:
		return nil, errNothing
	}
	return l.Balancers.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: groups.TargetGroups[0].TargetGroupArn})
}

func (l Look) agents(ctx context.Context) []Part {
	out, err := l.Agents.DescribeInstanceInformation(ctx, &ssm.DescribeInstanceInformationInput{
		Filters: []ssmtypes.InstanceInformationStringFilter{{Key: aws.String("InstanceIds"), Values: []string{l.Server.Instance, l.Runner.Instance}}},
	})
	var parts []Part
	for _, host := range []reach.Host{l.Server, l.Runner} {
		name := host.Name + "'s agent"
		if err != nil {
			parts = append(parts, unknown(name, err))
			continue
		}
		status := "not registered"
		for _, agent := range out.InstanceInformationList {
			if aws.ToString(agent.InstanceId) == host.Instance {
				status = string(agent.PingStatus)
			}
		}
		if status == string(ssmtypes.PingStatusOnline) {
			parts = append(parts, part(name, "ok", "online, %s", host.Instance))
			continue
		}
		parts = append(parts, part(name, "wrong", "%s, %s: scripts/ops check says why", status, host.Instance))
	}
	return parts
}
