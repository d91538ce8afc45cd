package sample

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autoscalingtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/calls"
)

// account is account B with what the sample is made of. Its stack takes two looks to be made, and to be gone.
type account struct {
	cloud  *awstest.Cloud
	stack  *cfntypes.Stack
	looks  int               // until the stack's state changes
	groups map[string]bool   // CodeDeploy's, "application/group"
	scales map[string]string // Auto Scaling groups with their tag
	fails  bool              // the next stack is not made
	dies   int               // the call before which the laptop is switched off, or after which; 0 for none
	after  bool
}

var errSwitchedOff = errors.New("switched off")

func newAccount(t *testing.T) *account {
	a := &account{cloud: awstest.New(t), groups: map[string]bool{"web/mine": true}, scales: map[string]string{"mine": "", "of-another-sample": "sample-production"}}
	awstest.On(a.cloud, func(context.Context, *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) {
		return &ssm.GetParameterOutput{}, nil
	})
	awstest.On(a.cloud, func(context.Context, *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
		return &ec2.DescribeVpcsOutput{Vpcs: []ec2types.Vpc{{VpcId: aws.String("vpc-1")}}}, nil
	})
	awstest.On(a.cloud, func(context.Context, *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
		return &ec2.DescribeSubnetsOutput{Subnets: []ec2types.Subnet{{SubnetId: aws.String("subnet-1")}, {SubnetId: aws.String("subnet-2")}, {SubnetId: aws.String("subnet-3")}}}, nil
	})
	awstest.On(a.cloud, func(_ context.Context, in *cloudformation.CreateStackInput) (*cloudformation.CreateStackOutput, error) {
		a.stack, a.looks = &cfntypes.Stack{StackId: in.StackName, StackStatus: cfntypes.StackStatusCreateInProgress, Parameters: in.Parameters, Tags: in.Tags}, 2
		return &cloudformation.CreateStackOutput{}, nil
	})
	awstest.On(a.cloud, func(context.Context, *cloudformation.DescribeStacksInput) (*cloudformation.DescribeStacksOutput, error) {
		a.move()
		if a.stack == nil {
			return nil, awstest.Refusal("ValidationError", "Stack with id Sample-staging does not exist")
		}
		return &cloudformation.DescribeStacksOutput{Stacks: []cfntypes.Stack{*a.stack}}, nil
	})
	awstest.On(a.cloud, func(context.Context, *cloudformation.DescribeStackEventsInput) (*cloudformation.DescribeStackEventsOutput, error) {
		return &cloudformation.DescribeStackEventsOutput{StackEvents: []cfntypes.StackEvent{
			{LogicalResourceId: aws.String("Listener"), ResourceStatus: "CREATE_FAILED", ResourceStatusReason: aws.String("Resource creation cancelled")},
			{LogicalResourceId: aws.String("Balancer"), ResourceStatus: "CREATE_FAILED", ResourceStatusReason: aws.String("too many\x1b[2J load balancers")},
		}}, nil
	})
	awstest.On(a.cloud, func(context.Context, *cloudformation.DeleteStackInput) (*cloudformation.DeleteStackOutput, error) {
		if a.stack != nil {
			a.stack.StackStatus, a.looks = cfntypes.StackStatusDeleteInProgress, 2
		}
		return &cloudformation.DeleteStackOutput{}, nil
	})
	awstest.On(a.cloud, func(_ context.Context, in *codedeploy.CreateDeploymentGroupInput) (*codedeploy.CreateDeploymentGroupOutput, error) {
		if name := *in.ApplicationName + "/" + *in.DeploymentGroupName; a.groups[name] {
			return nil, awstest.Refusal("DeploymentGroupAlreadyExistsException", "exists")
		} else {
			a.groups[name] = true
		}
		return &codedeploy.CreateDeploymentGroupOutput{}, nil
	})
	awstest.On(a.cloud, func(_ context.Context, in *codedeploy.DeleteDeploymentGroupInput) (*codedeploy.DeleteDeploymentGroupOutput, error) {
		delete(a.groups, *in.ApplicationName+"/"+*in.DeploymentGroupName)
		return &codedeploy.DeleteDeploymentGroupOutput{}, nil
	})
	awstest.On(a.cloud, func(_ context.Context, in *autoscaling.DescribeAutoScalingGroupsInput) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
		out := &autoscaling.DescribeAutoScalingGroupsOutput{}
		for name, tag := range a.scales {
			if aws.ToString(in.Filters[0].Name) == "tag:"+Tag && tag == in.Filters[0].Values[0] {
				out.AutoScalingGroups = append(out.AutoScalingGroups, autoscalingtypes.AutoScalingGroup{AutoScalingGroupName: &name})
			}
		}
		return out, nil
	})
	awstest.On(a.cloud, func(_ context.Context, in *autoscaling.DeleteAutoScalingGroupInput) (*autoscaling.DeleteAutoScalingGroupOutput, error) {
		delete(a.scales, *in.AutoScalingGroupName)
		return &autoscaling.DeleteAutoScalingGroupOutput{}, nil
	})
	return a
}

// move is CloudFormation at work.
func (a *account) move() {
	if a.stack == nil || !strings.HasSuffix(string(a.stack.StackStatus), "_IN_PROGRESS") {
		return
	}
	if a.looks--; a.looks > 0 {
		return
	}
	switch {
	case a.stack.StackStatus == cfntypes.StackStatusDeleteInProgress:
		a.stack = nil
		delete(a.scales, "sample-staging")
	case a.fails:
		a.stack.StackStatus, a.fails = cfntypes.StackStatusCreateFailed, false
	default:
		a.stack.StackStatus = cfntypes.StackStatusCreateComplete
		a.stack.Outputs = []cfntypes.Output{{OutputKey: aws.String("Address"), OutputValue: aws.String("http://sample.example.com")}, {OutputKey: aws.String("ServiceRoleArn"), OutputValue: aws.String("arn:aws:iam::222222222222:role/s")}}
		a.scales["sample-staging"] = "sample-staging"
	}
}

// sample is the sample of this account. The laptop is switched off at the call a.dies.
func (a *account) sample() Sample {
	cfg := a.cloud.Config("ap-northeast-1")
	made := 0
	calls.Watch(&cfg, func(context.Context, calls.Call) error {
		if made++; a.dies > 0 && (made == a.dies && !a.after || made > a.dies) {
			return errSwitchedOff
		}
		return nil
	})
	return Sample{Environment: "staging", Region: "ap-northeast-1", Partition: "aws", Account: "222222222222", Application: "sample-web", DeploymentGroup: "blue-green",
		Bucket: "example", Prefix: "artifacts/", AllowedRange: "203.0.113.0/24", AWS: cfg, Say: func(string, ...any) {}}
}

func run(t *testing.T, do func(ctx context.Context) error) (err error) {
	synctest.Test(t, func(t *testing.T) { err = do(t.Context()) })
	return err
}

// onlyForeign fails when something of the sample is left, or something else is gone.
func (a *account) onlyForeign(t *testing.T) {
	t.Helper()
	assert.Nil(t, a.stack)
	assert.Equal(t, map[string]bool{"web/mine": true}, a.groups)
	assert.Equal(t, map[string]string{"mine": "", "of-another-sample": "sample-production"}, a.scales)
}

func TestSampleIsMadeAndRemoved(t *testing.T) {
	a := newAccount(t)
	require.NoError(t, run(t, func(ctx context.Context) error {
		address, err := a.sample().Up(ctx)
		assert.Equal(t, "http://sample.example.com", address)
		return err
	}))
	assert.True(t, a.groups["sample-web/blue-green"])
	in := awstest.Inputs[codedeploy.CreateDeploymentGroupInput](a.cloud)[0]
	assert.EqualValues(t, "BLUE_GREEN", in.DeploymentStyle.DeploymentType)
	assert.EqualValues(t, "WITH_TRAFFIC_CONTROL", in.DeploymentStyle.DeploymentOption)
	// A deployment puts a copy in the place of the stack's own.
	delete(a.scales, "sample-staging")
	a.scales["CodeDeploy_blue-green_d-1"] = "sample-staging"
	require.NoError(t, run(t, a.sample().Down))
	a.onlyForeign(t)
	require.NoError(t, run(t, a.sample().Down), "nothing to do")
}

// TestSampleIsFoundAfterADeathAtAnyCall switches the laptop off before and after each call of up, and of down after it: down
// finds everything, and up goes on.
func TestSampleIsFoundAfterADeathAtAnyCall(t *testing.T) {
	const most = 40
	died := map[string]int{}
	for _, after := range []bool{false, true} {
		for call := 1; call <= most; call++ {
			for _, goOn := range []bool{false, true} {
				t.Run(fmt.Sprintf("call %d, after it: %t, up again: %t", call, after, goOn), func(t *testing.T) {
					a := newAccount(t)
					up := func(ctx context.Context) error { _, err := a.sample().Up(ctx); return err }
					a.dies, a.after = call, after
					if errors.Is(run(t, up), errSwitchedOff) {
						died["up"]++
					}
					if goOn {
						a.dies = 0
						require.NoError(t, run(t, up))
						assert.True(t, a.groups["sample-web/blue-green"])
						a.scales["CodeDeploy_copy"] = "sample-staging"
						a.dies = call
					}
					if errors.Is(run(t, a.sample().Down), errSwitchedOff) {
						died["down"]++
					}
					a.dies = 0
					require.NoError(t, run(t, a.sample().Down))
					a.onlyForeign(t)
				})
			}
		}
	}
	assert.Greater(t, died["up"], 15, "the deaths are at the calls")
	assert.Greater(t, died["down"], 15)
}

func TestSampleSaysWhyItsStackFailed(t *testing.T) {
	a := newAccount(t)
	a.fails = true
	err := run(t, func(ctx context.Context) error { _, err := a.sample().Up(ctx); return err })
	require.ErrorContains(t, err, "is CREATE_FAILED: Balancer: too many load balancers; scripts/ops sample down removes it")
	assert.False(t, a.groups["sample-web/blue-green"])
	require.NoError(t, run(t, a.sample().Down))
	a.onlyForeign(t)
}

// TestSampleDeclaresWhatItCalls is about rights that nobody needs.
func TestSampleDeclaresWhatItCalls(t *testing.T) {
	a := newAccount(t)
	a.fails = true
	up := func(ctx context.Context) error { _, err := a.sample().Up(ctx); return err }
	require.Error(t, run(t, up))
	require.NoError(t, run(t, a.sample().Down))
	require.NoError(t, run(t, up))
	require.NoError(t, run(t, a.sample().Down))
	made := append(a.cloud.Names(), "cloudformation:DescribeStacks") // which opens the account, too
	assert.ElementsMatch(t, slices.Compact(slices.Sorted(slices.Values(made))), append(slices.Clone(Calls), "cloudformation:DescribeStacks"))
}

func TestSampleOfAnotherPairIsNotTaken(t *testing.T) {
	a := newAccount(t)
	require.NoError(t, run(t, func(ctx context.Context) error { _, err := a.sample().Up(ctx); return err }))
	other := a.sample()
	other.Application = "shop"
	err := run(t, func(ctx context.Context) error { _, err := other.Up(ctx); return err })
	require.ErrorContains(t, err, "there is a sample for sample-web, blue-green already")
	require.NoError(t, run(t, other.Down), "down removes what is there, whatever the configuration says by now")
	a.onlyForeign(t)
}

func TestSampleNeedsANetwork(t *testing.T) {
	a := newAccount(t)
	awstest.On(a.cloud, func(context.Context, *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
		return &ec2.DescribeVpcsOutput{}, nil
	})
	err := run(t, func(ctx context.Context) error { _, err := a.sample().Up(ctx); return err })
	require.ErrorContains(t, err, "has no default VPC in ap-northeast-1, and the sample is made in that: aws ec2 create-default-vpc")
	a.onlyForeign(t)
}

func TestSampleNeedsTheRoleOfTheBootstrap(t *testing.T) {
	a := newAccount(t)
	awstest.On(a.cloud, func(context.Context, *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) {
		return nil, awstest.Refusal("ParameterNotFound", "")
	})
	err := run(t, func(ctx context.Context) error { _, err := a.sample().Up(ctx); return err })
	require.ErrorContains(t, err, "account 222222222222 has no bootstrap stack of the CDK in ap-northeast-1")
	require.ErrorContains(t, err, "cdk bootstrap aws://222222222222/ap-northeast-1")
	a.onlyForeign(t)
}

// TestSampleTemplateNeedsWhatUpGives keeps the template and its parameters together.
func TestSampleTemplateNeedsWhatUpGives(t *testing.T) {
	var made struct {
		Parameters map[string]struct {
			Default string `yaml:"Default"`
		} `yaml:"Parameters"`
		Resources map[string]struct {
			Type string `yaml:"Type"`
		} `yaml:"Resources"`
		Outputs map[string]any `yaml:"Outputs"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(template), &made))
	a := newAccount(t)
	require.NoError(t, run(t, func(ctx context.Context) error { _, err := a.sample().Up(ctx); return err }))
	in := awstest.Inputs[cloudformation.CreateStackInput](a.cloud)[0]
	var given, wanted []string
	for _, p := range in.Parameters {
		given = append(given, *p.ParameterKey)
	}
	for name, p := range made.Parameters {
		if p.Default == "" {
			wanted = append(wanted, name)
		}
	}
	slices.Sort(given)
	slices.Sort(wanted)
	assert.Equal(t, wanted, given)
	assert.Contains(t, made.Outputs, "ServiceRoleArn")
	assert.Contains(t, made.Outputs, "Address")
	for name, r := range made.Resources {
		assert.NotEmpty(t, r.Type, name)
	}
}
