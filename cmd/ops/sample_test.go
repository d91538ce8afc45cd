package main

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
)

// newTarget is account B, in which a stack is made and gone at once.
func newTarget(t *testing.T) *session {
	s := newSession(t)
	s.cloud.PlayAccount(deployAccount, nil)
	var stack *cfntypes.Stack
	awstest.On(s.cloud, func(context.Context, *cloudformation.DescribeStacksInput) (*cloudformation.DescribeStacksOutput, error) {
		if stack == nil {
			return nil, awstest.Refusal("ValidationError", "Stack with id Sample-staging does not exist")
		}
		return &cloudformation.DescribeStacksOutput{Stacks: []cfntypes.Stack{*stack}}, nil
	})
	awstest.On(s.cloud, func(_ context.Context, in *cloudformation.CreateStackInput) (*cloudformation.CreateStackOutput, error) {
		stack = &cfntypes.Stack{StackStatus: cfntypes.StackStatusCreateComplete, Parameters: in.Parameters,
			Outputs: []cfntypes.Output{{OutputKey: aws.String("Address"), OutputValue: aws.String("http://sample.example.com")}, {OutputKey: aws.String("ServiceRoleArn"), OutputValue: aws.String("arn:aws:iam::222222222222:role/s")}}}
		return &cloudformation.CreateStackOutput{}, nil
	})
	awstest.On(s.cloud, func(context.Context, *cloudformation.DeleteStackInput) (*cloudformation.DeleteStackOutput, error) {
		stack = nil
		return &cloudformation.DeleteStackOutput{}, nil
	})
	awstest.On(s.cloud, func(context.Context, *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) {
		return &ssm.GetParameterOutput{}, nil
	})
	awstest.On(s.cloud, func(context.Context, *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
		return &ec2.DescribeVpcsOutput{Vpcs: []ec2types.Vpc{{VpcId: aws.String("vpc-1")}}}, nil
	})
	awstest.On(s.cloud, func(context.Context, *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
		return &ec2.DescribeSubnetsOutput{Subnets: []ec2types.Subnet{{SubnetId: aws.String("subnet-1")}, {SubnetId: aws.String("subnet-2")}}}, nil
	})
	awstest.On(s.cloud, func(context.Context, *codedeploy.CreateDeploymentGroupInput) (*codedeploy.CreateDeploymentGroupOutput, error) {
		return &codedeploy.CreateDeploymentGroupOutput{}, nil
	})
	awstest.On(s.cloud, func(context.Context, *codedeploy.DeleteDeploymentGroupInput) (*codedeploy.DeleteDeploymentGroupOutput, error) {
		return &codedeploy.DeleteDeploymentGroupOutput{}, nil
	})
	awstest.On(s.cloud, func(context.Context, *autoscaling.DescribeAutoScalingGroupsInput) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
		return &autoscaling.DescribeAutoScalingGroupsOutput{}, nil
	})
	return s
}

func TestSampleIsForTheFirstPairOfTheConfiguration(t *testing.T) {
	s := newTarget(t)
	require.NoError(t, s.run(t, "sample", "up", "--env", "staging", "--profile", "deploy"))
	assert.Equal(t, "http://sample.example.com\n", s.out.String(), "stdout is the result")
	assert.Contains(t, s.err.String(), "Make a sample target for sample-web, sample-web-blue-green in account 222222222222, open to 203.0.113.0/24? It costs about 1.25 USD a day")
	group := awstest.Inputs[codedeploy.CreateDeploymentGroupInput](s.cloud)[0]
	assert.Equal(t, "sample-web-blue-green", aws.ToString(group.DeploymentGroupName))
	require.NoError(t, s.run(t, "sample", "down", "--env", "staging", "--yes"))
	assert.Len(t, awstest.Inputs[cloudformation.DeleteStackInput](s.cloud), 1)
}

func TestSampleTouchesNothingWithoutAWord(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*session)
		args   []string
		want   string
		status int
	}{
		"no":              {func(s *session) { s.answer = func() string { return "n" } }, []string{"up", "--env", "staging"}, "not confirmed", 1},
		"no terminal":     {func(s *session) { s.terminal = false }, []string{"down", "--env", "staging"}, "pass --yes", 2},
		"account A":       {func(s *session) { s.cloud.PlayAccount(gitlabAccount, nil) }, []string{"up", "--env", "staging"}, "belongs to account 222222222222 (deploy.account", 2},
		"an unknown pair": {nil, []string{"up", "--env", "staging", "--application", "shop"}, `deploy.deploymentGroups has no pair "shop", ""`, 2},
		"neither":         {nil, nil, "want up or down", 2},
		"a dry run":       {nil, []string{"up", "--env", "staging", "--dry-run"}, "dry run", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTarget(t)
			if tt.change != nil {
				tt.change(s)
			}
			err := s.run(t, append([]string{"sample"}, tt.args...)...)
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, tt.status, exitStatus(err))
			assert.Empty(t, awstest.Inputs[cloudformation.CreateStackInput](s.cloud))
			assert.Empty(t, awstest.Inputs[cloudformation.DeleteStackInput](s.cloud))
		})
	}
}
