package preflight

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// StackReader is the part of the CloudFormation client that tells what belongs to a stack.
type StackReader interface {
	DescribeStacks(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error)
	DescribeStackResources(context.Context, *cloudformation.DescribeStackResourcesInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackResourcesOutput, error)
}

// stack is an account's own stack as it is now.
type stack struct {
	name string
	// exists is false also for one that CloudFormation has rolled back to nothing.
	exists  bool
	outputs map[string]string
}

func (a *asking) stackName() string {
	if a.account == A {
		return "GitLab-" + a.config.Environment
	}
	return "Deploy-" + a.config.Environment
}

const describeStacks = "cloudformation:DescribeStacks"

// nothingLeft are the states of a stack that has no resources, except what it was told to retain.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
var nothingLeft = []types.StackStatus{types.StackStatusReviewInProgress, types.StackStatusRollbackComplete, types.StackStatusDeleteComplete}

func describeStack(ctx context.Context, a *asking) (stack, error) {
	name := a.stackName()
	out, err := ask(ctx, a, a.Stacks.DescribeStacks, &cloudformation.DescribeStacksInput{StackName: &name})
	if doesNotExist(err) {
		return stack{name: name}, nil
	}
	if err != nil {
		return stack{}, err
	}
	if len(out.Stacks) != 1 {
		return stack{}, errors.New("CloudFormation answered without the stack")
	}
	s := stack{name: name, exists: !slices.Contains(nothingLeft, out.Stacks[0].StackStatus), outputs: map[string]string{}}
	for _, o := range out.Stacks[0].Outputs {
		s.outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	return s, nil
}

// doesNotExist knows CloudFormation's answer about a stack, or a resource in any stack, that is not there: it has no
// code of its own.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html
func doesNotExist(err error) bool {
	return code(err) == "ValidationError" && strings.Contains(err.Error(), "does not exist")
}

// stackOf names the stack that a resource belongs to; "" when it belongs to none.
func stackOf(ctx context.Context, a *asking, physicalID string) (string, error) {
	out, err := ask(ctx, a, a.Stacks.DescribeStackResources, &cloudformation.DescribeStackResourcesInput{PhysicalResourceId: &physicalID})
	if doesNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, r := range out.StackResources {
		// A resource that a stack has let go of stays in its list for a while.
		gone := r.ResourceStatus == types.ResourceStatusDeleteComplete || r.ResourceStatus == types.ResourceStatusDeleteSkipped
		if aws.ToString(r.PhysicalResourceId) == physicalID && !gone {
			return aws.ToString(r.StackName), nil
		}
	}
	return "", nil
}
