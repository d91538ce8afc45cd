// Package sample makes and removes a target to deploy to, the smallest real one: one small instance behind a load balancer,
// and a blue/green deployment group that copies its Auto Scaling group.
//
// All but that group is a stack: CloudFormation makes it by the role of the CDK's bootstrap, tags it, and knows what a half-done
// start has left. It cannot make such a group, so the API does, after the stack; and it is removed before the stack, which
// has its names as parameters. So whoever finds the stack finds everything, and without it there is nothing.
package sample

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autoscalingtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/internal/plain"
)

//go:embed template.yaml
var template string

// Tag is on everything, with the sample's name.
const Tag = "gitlab-codedeploy-sample"

// Calls are those of Up and Down.
var Calls = []string{
	"ssm:GetParameter", "ec2:DescribeVpcs", "ec2:DescribeSubnets", "cloudformation:CreateStack", "cloudformation:DescribeStackEvents", "cloudformation:DeleteStack",
	"codedeploy:CreateDeploymentGroup", "codedeploy:DeleteDeploymentGroup", "autoscaling:DescribeAutoScalingGroups", "autoscaling:DeleteAutoScalingGroup",
}

// Sample is a target of one environment.
type Sample struct {
	Environment, Region, Partition, Account string
	Application, DeploymentGroup            string // of the configuration
	Bucket, Prefix                          string // where the artifacts are, and how the keys of the application begin
	AllowedRange                            string // that may look at it
	AWS                                     aws.Config
	Say                                     func(format string, values ...any)
	// Poll is the pause between two looks; 0 means 3 seconds.
	Poll time.Duration
}

// Stack is the name of the sample's stack.
func (s Sample) Stack() string { return "Sample-" + s.Environment }

// name is that of the things that have one; load balancers take 32 letters.
func (s Sample) name() string { return "sample-" + s.Environment }

// Role is the one that CloudFormation acts by: the CDK's bootstrap makes it.
func (s Sample) Role() string {
	return fmt.Sprintf("arn:%s:iam::%s:role/cdk-hnb659fds-cfn-exec-role-%s-%s", s.Partition, s.Account, s.Account, s.Region)
}

// Up makes what is not there yet, and answers the address to look at.
func (s Sample) Up(ctx context.Context) (string, error) {
	client := cloudformation.NewFromConfig(s.AWS)
	stack, err := s.find(ctx)
	if err != nil {
		return "", err
	}
	if stack == nil {
		if err := s.bootstrapped(ctx); err != nil {
			return "", err
		}
		vpc, subnets, err := s.network(ctx)
		if err != nil {
			return "", err
		}
		s.Say("making the stack %s", s.Stack())
		_, err = client.CreateStack(ctx, &cloudformation.CreateStackInput{
			StackName: aws.String(s.Stack()), TemplateBody: &template, RoleARN: aws.String(s.Role()),
			Capabilities: []cfntypes.Capability{cfntypes.CapabilityCapabilityIam}, OnFailure: cfntypes.OnFailureDoNothing,
			Tags: []cfntypes.Tag{{Key: aws.String(Tag), Value: aws.String(s.name())}},
			Parameters: parameters(map[string]string{"Name": s.name(), "Application": s.Application, "DeploymentGroup": s.DeploymentGroup, "Bucket": s.Bucket,
				"Prefix": s.Prefix, "AllowedRange": s.AllowedRange, "Vpc": vpc, "Subnets": strings.Join(subnets, ",")}),
		})
		if err != nil {
			return "", fmt.Errorf("make the stack %s: %w", s.Stack(), err)
		}
	}
	if stack, err = s.settled(ctx); err != nil {
		return "", err
	}
	if stack == nil || stack.StackStatus != cfntypes.StackStatusCreateComplete {
		return "", fmt.Errorf("the stack %s %s; scripts/ops sample down removes it", s.Stack(), s.reason(ctx, stack))
	}
	if parameter(stack, "Application") != s.Application || parameter(stack, "DeploymentGroup") != s.DeploymentGroup {
		return "", fmt.Errorf("there is a sample for %s, %s already; scripts/ops sample down removes it", parameter(stack, "Application"), parameter(stack, "DeploymentGroup"))
	}
	return output(stack, "Address"), s.makeGroup(ctx, output(stack, "ServiceRoleArn"))
}

// bootstrapped refuses an account that the CDK has not prepared, whose role makes the stack.
// https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html
func (s Sample) bootstrapped(ctx context.Context) error {
	_, err := ssm.NewFromConfig(s.AWS).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/cdk-bootstrap/hnb659fds/version")})
	if code(err) == "ParameterNotFound" {
		return fmt.Errorf("account %s has no bootstrap stack of the CDK in %s, whose role makes the sample: make setup-tools, then node_modules/.bin/cdk bootstrap aws://%s/%s",
			s.Account, s.Region, s.Account, s.Region)
	}
	if err != nil {
		return fmt.Errorf("look for the CDK's bootstrap stack: %w", err)
	}
	return nil
}

// network is the default VPC and a subnet in each of two zones, as a load balancer needs them.
func (s Sample) network(ctx context.Context) (vpc string, subnets []string, err error) {
	client := ec2.NewFromConfig(s.AWS)
	filter := func(name, value string) []ec2types.Filter {
		return []ec2types.Filter{{Name: &name, Values: []string{value}}}
	}
	vpcs, err := client.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: filter("is-default", "true")})
	if err != nil {
		return "", nil, fmt.Errorf("look for the default VPC: %w", err)
	}
	if len(vpcs.Vpcs) != 1 {
		return "", nil, fmt.Errorf("account %s has no default VPC in %s, and the sample is made in that: aws ec2 create-default-vpc", s.Account, s.Region)
	}
	vpc = aws.ToString(vpcs.Vpcs[0].VpcId)
	found, err := client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: append(filter("vpc-id", vpc), filter("default-for-az", "true")...)})
	if err != nil {
		return "", nil, fmt.Errorf("look for subnets: %w", err)
	}
	for _, subnet := range found.Subnets {
		if subnets = append(subnets, aws.ToString(subnet.SubnetId)); len(subnets) == 2 {
			return vpc, subnets, nil
		}
	}
	return "", nil, fmt.Errorf("the default VPC %s has %d default subnets, want 2: aws ec2 create-default-subnet", vpc, len(subnets))
}

func (s Sample) makeGroup(ctx context.Context, role string) error {
	s.Say("making the deployment group %s of %s", s.DeploymentGroup, s.Application)
	// https://docs.aws.amazon.com/codedeploy/latest/userguide/deployment-groups-create-blue-green.html
	_, err := codedeploy.NewFromConfig(s.AWS).CreateDeploymentGroup(ctx, &codedeploy.CreateDeploymentGroupInput{
		ApplicationName: &s.Application, DeploymentGroupName: &s.DeploymentGroup, ServiceRoleArn: &role,
		DeploymentConfigName: aws.String("CodeDeployDefault.AllAtOnce"), AutoScalingGroups: []string{s.name()},
		DeploymentStyle: &types.DeploymentStyle{DeploymentType: types.DeploymentTypeBlueGreen, DeploymentOption: types.DeploymentOptionWithTrafficControl},
		BlueGreenDeploymentConfiguration: &types.BlueGreenDeploymentConfiguration{
			DeploymentReadyOption:                     &types.DeploymentReadyOption{ActionOnTimeout: types.DeploymentReadyActionContinueDeployment},
			GreenFleetProvisioningOption:              &types.GreenFleetProvisioningOption{Action: types.GreenFleetProvisioningActionCopyAutoScalingGroup},
			TerminateBlueInstancesOnDeploymentSuccess: &types.BlueInstanceTerminationOption{Action: types.InstanceActionTerminate, TerminationWaitTimeInMinutes: 5},
		},
		LoadBalancerInfo: &types.LoadBalancerInfo{TargetGroupInfoList: []types.TargetGroupInfo{{Name: aws.String(s.name())}}},
		Tags:             []types.Tag{{Key: aws.String(Tag), Value: aws.String(s.name())}},
	})
	if code(err) == "DeploymentGroupAlreadyExistsException" { // of an earlier start
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the deployment group %s: %w", s.DeploymentGroup, err)
	}
	return nil
}

// Down removes everything, also what a start that ended anywhere has left.
func (s Sample) Down(ctx context.Context) error {
	stack, err := s.settled(ctx) // what is being made cannot be removed
	if err != nil || stack == nil {
		return err
	}
	if application := parameter(stack, "Application"); application != "" {
		s.Say("removing the deployment group %s of %s", parameter(stack, "DeploymentGroup"), application)
		_, err := codedeploy.NewFromConfig(s.AWS).DeleteDeploymentGroup(ctx, &codedeploy.DeleteDeploymentGroupInput{
			ApplicationName: &application, DeploymentGroupName: aws.String(parameter(stack, "DeploymentGroup"))})
		if err != nil && code(err) != "ApplicationDoesNotExistException" && code(err) != "DeploymentGroupDoesNotExistException" {
			return fmt.Errorf("remove the deployment group: %w", err)
		}
	}
	if err := s.removeCopies(ctx); err != nil {
		return err
	}
	s.Say("removing the stack %s", s.Stack())
	if _, err := cloudformation.NewFromConfig(s.AWS).DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: aws.String(s.Stack()), RoleARN: aws.String(s.Role())}); err != nil {
		return fmt.Errorf("remove the stack %s: %w", s.Stack(), err)
	}
	if stack, err = s.settled(ctx); err != nil || stack == nil {
		return err
	}
	return fmt.Errorf("the stack %s %s; run scripts/ops sample down again", s.Stack(), s.reason(ctx, stack))
}

// removeCopies removes the Auto Scaling groups: CodeDeploy has put a copy in the place of the stack's with each deployment, and a
// stack whose group is gone is deleted all the same.
func (s Sample) removeCopies(ctx context.Context) error {
	client := autoscaling.NewFromConfig(s.AWS)
	for {
		var names []string
		pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(client, &autoscaling.DescribeAutoScalingGroupsInput{
			Filters: []autoscalingtypes.Filter{{Name: aws.String("tag:" + Tag), Values: []string{s.name()}}}})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return fmt.Errorf("look for Auto Scaling groups: %w", err)
			}
			for _, group := range page.AutoScalingGroups {
				if group.Status == nil { // else it is being deleted
					names = append(names, aws.ToString(group.AutoScalingGroupName))
				}
			}
			if len(page.AutoScalingGroups) == 0 {
				return nil
			}
		}
		for _, name := range names {
			s.Say("removing the Auto Scaling group %s with its instances", plain.Line(name, 100))
			if _, err := client.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: &name, ForceDelete: aws.Bool(true)}); err != nil {
				return fmt.Errorf("remove the Auto Scaling group %s: %w", plain.Line(name, 100), err)
			}
		}
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
}

// find answers the stack, nil when there is none.
func (s Sample) find(ctx context.Context) (*cfntypes.Stack, error) {
	out, err := cloudformation.NewFromConfig(s.AWS).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(s.Stack())})
	switch {
	case code(err) == "ValidationError" && strings.Contains(err.Error(), "does not exist"):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for the stack %s: %w", s.Stack(), err)
	case len(out.Stacks) != 1:
		return nil, fmt.Errorf("look for the stack %s: got %d, want 1", s.Stack(), len(out.Stacks))
	case out.Stacks[0].StackStatus == cfntypes.StackStatusDeleteComplete:
		return nil, nil
	}
	return &out.Stacks[0], nil
}

// settled is find, once nothing is under way.
func (s Sample) settled(ctx context.Context) (*cfntypes.Stack, error) {
	for {
		stack, err := s.find(ctx)
		if err != nil || stack == nil || !strings.HasSuffix(string(stack.StackStatus), "_IN_PROGRESS") {
			return stack, err
		}
		if err := s.pause(ctx); err != nil {
			return nil, err
		}
	}
}

func (s Sample) pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for the sample: %w", context.Cause(ctx))
	case <-time.After(cmp.Or(s.Poll, 3*time.Second)):
		return nil
	}
}

// reason says why a stack is not as it should be: the first thing that failed.
func (s Sample) reason(ctx context.Context, stack *cfntypes.Stack) string {
	if stack == nil {
		return "is gone"
	}
	state := "is " + string(stack.StackStatus)
	first := ""
	pages := cloudformation.NewDescribeStackEventsPaginator(cloudformation.NewFromConfig(s.AWS), &cloudformation.DescribeStackEventsInput{StackName: stack.StackId})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return state
		}
		for _, event := range page.StackEvents { // the newest first
			if strings.HasSuffix(string(event.ResourceStatus), "_FAILED") {
				first = fmt.Sprintf(": %s: %s", aws.ToString(event.LogicalResourceId), aws.ToString(event.ResourceStatusReason))
			}
		}
	}
	return state + plain.Line(first, 500)
}

func parameters(values map[string]string) []cfntypes.Parameter {
	var list []cfntypes.Parameter
	for key, value := range values {
		list = append(list, cfntypes.Parameter{ParameterKey: &key, ParameterValue: &value})
	}
	return list
}

func parameter(stack *cfntypes.Stack, name string) string {
	for _, p := range stack.Parameters {
		if aws.ToString(p.ParameterKey) == name {
			return aws.ToString(p.ParameterValue)
		}
	}
	return ""
}

func output(stack *cfntypes.Stack, name string) string {
	for _, o := range stack.Outputs {
		if aws.ToString(o.OutputKey) == name {
			return aws.ToString(o.OutputValue)
		}
	}
	return ""
}

func code(err error) string {
	if api := (smithy.APIError)(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
