// Package reach finds out whether Session Manager reaches the hosts of GitLab's account, and what is in the way when it
// does not: the plug-in on this machine, the VPC's endpoints, the instances, their roles, and the agent on each.
package reach

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/plain"
)

// Plugin is the program that a session needs on this machine.
const Plugin = "session-manager-plugin"

// PluginPage says how to install it.
const PluginPage = "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"

// services are those that the agent talks to: each needs an interface endpoint in a network without another way.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/setup-create-vpc.html
var services = []string{"ssm", "ssmmessages", "ec2messages"}

// policy is AWS's own for instances of Systems Manager.
const policy = "AmazonSSMManagedInstanceCore"

// State is what there is to say of something that was looked at.
type State string

const (
	OK      State = "ok"
	Wrong   State = "wrong"
	Unknown State = "unknown" // AWS did not say
)

// What was looked at on each host.
const (
	instanceRow = "instance"
	roleRow     = "role"
	agentRow    = "SSM Agent"
)

// Finding is one thing that was looked at.
type Finding struct {
	Where string `json:"where"` // "this machine", "network", or a host's name
	What  string `json:"what"`
	State State  `json:"state"`
	Found string `json:"found"`
}

// Host is an instance that is to be reached.
type Host struct{ Name, Instance string }

// Clients are the parts of the SDK's clients that are needed.
type (
	Agents interface {
		DescribeInstanceInformation(context.Context, *ssm.DescribeInstanceInformationInput, ...func(*ssm.Options)) (*ssm.DescribeInstanceInformationOutput, error)
	}
	Network interface {
		DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
		DescribeVpcEndpoints(context.Context, *ec2.DescribeVpcEndpointsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcEndpointsOutput, error)
	}
	Roles interface {
		GetInstanceProfile(context.Context, *iam.GetInstanceProfileInput, ...func(*iam.Options)) (*iam.GetInstanceProfileOutput, error)
		ListAttachedRolePolicies(context.Context, *iam.ListAttachedRolePoliciesInput, ...func(*iam.Options)) (*iam.ListAttachedRolePoliciesOutput, error)
	}
)

// Look is what is to be looked at, and by whom.
type Look struct {
	Agents  Agents
	Network Network
	Roles   Roles
	VPC     string
	Hosts   []Host
	// Find finds a program on this machine: exec.LookPath.
	Find func(string) (string, error)
}

// answers are what AWS said, or why it did not.
type answers struct {
	agents       map[string]ssmtypes.InstanceInformation
	agentsErr    error
	instances    map[string]ec2types.Instance
	instancesErr error
	endpoints    []ec2types.VpcEndpoint
	endpointsErr error
	roles        map[string]role
}

// role is that of an instance, as far as it could be found out.
type role struct {
	profile, name string
	policies      []string
	err           error
}

// Run looks at everything. What AWS refuses to tell is a finding, and does not hide the rest.
func (l Look) Run(ctx context.Context) []Finding {
	a := l.ask(ctx)
	findings := []Finding{l.plugin()}
	for _, service := range services {
		findings = append(findings, a.endpoint(service))
	}
	for _, host := range l.Hosts {
		findings = append(findings, a.running(host), a.permitted(host), a.online(host))
	}
	return findings
}

// ask asks side by side what does not depend on another answer.
func (l Look) ask(ctx context.Context) answers {
	a := answers{agents: map[string]ssmtypes.InstanceInformation{}, instances: map[string]ec2types.Instance{}, roles: map[string]role{}}
	var ids []string
	for _, host := range l.Hosts {
		ids = append(ids, host.Instance)
	}
	var asking errgroup.Group
	asking.Go(func() error {
		pages := ssm.NewDescribeInstanceInformationPaginator(l.Agents, &ssm.DescribeInstanceInformationInput{
			Filters: []ssmtypes.InstanceInformationStringFilter{{Key: aws.String("InstanceIds"), Values: ids}},
		})
		for pages.HasMorePages() && a.agentsErr == nil {
			var page *ssm.DescribeInstanceInformationOutput
			if page, a.agentsErr = pages.NextPage(ctx); a.agentsErr == nil {
				for _, agent := range page.InstanceInformationList {
					a.agents[aws.ToString(agent.InstanceId)] = agent
				}
			}
		}
		return nil
	})
	asking.Go(func() error {
		pages := ec2.NewDescribeVpcEndpointsPaginator(l.Network, &ec2.DescribeVpcEndpointsInput{
			Filters: []ec2types.Filter{{Name: aws.String("vpc-id"), Values: []string{l.VPC}}},
		})
		for pages.HasMorePages() && a.endpointsErr == nil {
			var page *ec2.DescribeVpcEndpointsOutput
			if page, a.endpointsErr = pages.NextPage(ctx); a.endpointsErr == nil {
				a.endpoints = append(a.endpoints, page.VpcEndpoints...)
			}
		}
		return nil
	})
	asking.Go(func() error {
		// By a filter: an id that is none any more would otherwise be an error, and hide the other host.
		out, err := l.Network.DescribeInstances(ctx, &ec2.DescribeInstancesInput{
			Filters: []ec2types.Filter{{Name: aws.String("instance-id"), Values: ids}},
		})
		if a.instancesErr = err; err != nil {
			return nil
		}
		for _, reservation := range out.Reservations {
			for _, instance := range reservation.Instances {
				a.instances[aws.ToString(instance.InstanceId)] = instance
			}
		}
		a.roles = l.askRoles(ctx, a.instances)
		return nil
	})
	_ = asking.Wait() // what was refused stands in the answers
	return a
}

func (l Look) askRoles(ctx context.Context, instances map[string]ec2types.Instance) map[string]role {
	found := make([]role, len(l.Hosts))
	var asking errgroup.Group
	for i, host := range l.Hosts {
		if profile := instances[host.Instance].IamInstanceProfile; profile != nil {
			arn := aws.ToString(profile.Arn)
			asking.Go(func() error {
				found[i] = l.askRole(ctx, arn[strings.LastIndex(arn, "/")+1:])
				return nil
			})
		}
	}
	_ = asking.Wait()
	roles := map[string]role{}
	for i, host := range l.Hosts {
		roles[host.Instance] = found[i]
	}
	return roles
}

func (l Look) askRole(ctx context.Context, profile string) role {
	r := role{profile: profile}
	out, err := l.Roles.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &profile})
	if err != nil {
		r.err = err
		return r
	}
	if out.InstanceProfile == nil || len(out.InstanceProfile.Roles) == 0 {
		return r
	}
	r.name = aws.ToString(out.InstanceProfile.Roles[0].RoleName)
	pages := iam.NewListAttachedRolePoliciesPaginator(l.Roles, &iam.ListAttachedRolePoliciesInput{RoleName: &r.name})
	for pages.HasMorePages() && r.err == nil {
		var page *iam.ListAttachedRolePoliciesOutput
		if page, r.err = pages.NextPage(ctx); r.err == nil {
			r.policies = append(r.policies, policyNames(page.AttachedPolicies)...)
		}
	}
	return r
}

func policyNames(policies []iamtypes.AttachedPolicy) []string {
	var names []string
	for _, p := range policies {
		names = append(names, aws.ToString(p.PolicyName))
	}
	return names
}

func (l Look) plugin() Finding {
	f := Finding{Where: "this machine", What: "plug-in of the AWS CLI", State: OK}
	path, err := l.Find(Plugin)
	if err != nil {
		f.State, path = Wrong, Plugin+" is not installed: "+PluginPage
	}
	f.Found = path
	return f
}

func (a answers) endpoint(service string) Finding {
	f := Finding{Where: "network", What: "endpoint " + service, State: Wrong}
	i := slices.IndexFunc(a.endpoints, func(e ec2types.VpcEndpoint) bool {
		return strings.HasSuffix(aws.ToString(e.ServiceName), "."+service)
	})
	switch {
	case a.endpointsErr != nil:
		return f.unknown(a.endpointsErr)
	case i < 0:
		return f.say("the VPC has no such endpoint")
	}
	endpoint := a.endpoints[i]
	id, state := aws.ToString(endpoint.VpcEndpointId), strings.ToLower(string(endpoint.State))
	switch {
	case state != "available":
		return f.say("%s is %s", id, state)
	case endpoint.PrivateDnsEnabled != nil && !*endpoint.PrivateDnsEnabled:
		return f.say("%s has no private DNS, so the agent does not find it", id)
	}
	f.State = OK
	return f.say("%s is available", id)
}

func (a answers) running(host Host) Finding {
	f := Finding{Where: host.Name, What: instanceRow, State: Wrong}
	instance, exists := a.instances[host.Instance]
	switch {
	case a.instancesErr != nil:
		return f.unknown(a.instancesErr)
	case !exists || instance.State == nil:
		return f.say("there is no instance %s", host.Instance)
	case instance.State.Name != ec2types.InstanceStateNameRunning:
		return f.say("%s is %s: start it", host.Instance, instance.State.Name)
	}
	f.State = OK
	return f.say("%s is running", host.Instance)
}

func (a answers) permitted(host Host) Finding {
	f := Finding{Where: host.Name, What: roleRow, State: Wrong}
	r := a.roles[host.Instance]
	_, exists := a.instances[host.Instance]
	switch {
	case a.instancesErr != nil:
		return f.unknown(a.instancesErr)
	case !exists:
		return f.say("no instance")
	case r.profile == "":
		return f.say("%s has no instance profile, so its agent may not register", host.Instance)
	case r.err != nil:
		return f.unknown(r.err)
	case r.name == "":
		return f.say("the instance profile %s has no role", r.profile)
	case !slices.Contains(r.policies, policy):
		return f.say("%s lacks the policy %s", r.name, policy)
	}
	f.State = OK
	return f.say("%s has %s", r.name, policy)
}

func (a answers) online(host Host) Finding {
	f := Finding{Where: host.Name, What: agentRow, State: Wrong}
	agent, registered := a.agents[host.Instance]
	version := aws.ToString(agent.AgentVersion)
	switch {
	case a.agentsErr != nil:
		return f.unknown(a.agentsErr)
	case !registered:
		return f.say("the agent has never registered, or has been away for a month")
	case agent.PingStatus != ssmtypes.PingStatusOnline:
		return f.say("%s: nothing heard since %s, agent %s", agent.PingStatus, aws.ToTime(agent.LastPingDateTime).UTC().Format(time.RFC3339), version)
	}
	f.State = OK
	return f.say("online, agent %s", version)
}

// say sets what was found. AWS's words among it may have come from anywhere.
func (f Finding) say(format string, values ...any) Finding {
	f.Found = plain.Line(fmt.Sprintf(format, values...), 500)
	return f
}

func (f Finding) unknown(err error) Finding {
	f.State = Unknown
	return f.say("AWS did not say: %s", Reason(err))
}

// Reason is an error in AWS's own words, without the SDK's about the request.
func Reason(err error) string {
	var none *calls.NoAnswer
	if errors.As(err, &none) {
		return none.Error()
	}
	var refused smithy.APIError
	if errors.As(err, &refused) {
		return refused.ErrorCode() + ": " + refused.ErrorMessage()
	}
	return err.Error()
}

// AllOK says whether nothing is wrong, and nothing unknown.
func AllOK(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return f.State != OK })
}

// Conclusions say for each host whether it is reached, and what to do first when it is not: an agent that is away while
// all before it is well has a trouble of its own.
func Conclusions(findings []Finding) []string {
	var conclusions []string
	for _, agent := range findings {
		if agent.What != agentRow {
			continue
		}
		host := agent.Where
		switch agent.State {
		case OK:
			conclusions = append(conclusions, "Session Manager reaches the "+host)
		case Wrong:
			cause := "all before the agent is well; a restart of the instance restarts the agent, and its console output tells more"
			if first, found := firstWrong(findings, host); found {
				cause = fmt.Sprintf("%s, %s: %s", first.Where, first.What, first.Found)
			}
			conclusions = append(conclusions, fmt.Sprintf("Session Manager does not reach the %s: %s", host, cause))
		}
	}
	return conclusions
}

// firstWrong is what keeps a host's agent away: an instance that does not run before everything else.
func firstWrong(findings []Finding, host string) (Finding, bool) {
	var first []Finding
	for _, f := range findings {
		switch {
		case f.State != Wrong || f.What == agentRow || f.Where != host && f.Where != "network":
		case f.What == instanceRow:
			return f, true
		default:
			first = append(first, f)
		}
	}
	if len(first) == 0 {
		return Finding{}, false
	}
	return first[0], true
}
