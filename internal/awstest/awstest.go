// Package awstest plays AWS for tests of the operator's program: each operation that a test expects is a function
// over the SDK's own types, and answers in the place of the network. What nobody plays fails the test by its name.
package awstest

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"gitlab-codedeploy/internal/calls"
)

// Cloud is what AWS is in a test. It may be asked from several goroutines.
type Cloud struct {
	t     testing.TB
	mu    sync.Mutex
	plays map[reflect.Type]func(context.Context, any) (any, error)
	calls []calls.Call
}

// New is a cloud in which nothing is played yet.
func New(t testing.TB) *Cloud {
	return &Cloud{t: t, plays: map[reflect.Type]func(context.Context, any) (any, error){}}
}

// On plays an operation, in the place of what played it before.
func On[In, Out any](c *Cloud, answer func(context.Context, *In) (*Out, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plays[reflect.TypeFor[*In]()] = func(ctx context.Context, in any) (any, error) { return answer(ctx, in.(*In)) }
}

// Inputs are the inputs of an operation so far, in their order.
func Inputs[In any](c *Cloud) []*In {
	var found []*In
	for _, call := range c.Calls() {
		if in, is := call.Input.(*In); is {
			found = append(found, in)
		}
	}
	return found
}

// Calls are those that were made, in their order.
func (c *Cloud) Calls() []calls.Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]calls.Call{}, c.calls...)
}

// Names are those of the calls, such as "ssm:SendCommand".
func (c *Cloud) Names() []string {
	var names []string
	for _, call := range c.Calls() {
		names = append(names, call.Name())
	}
	return names
}

// Config is for clients of the SDK. Their inputs are checked as the SDK checks them.
func (c *Cloud) Config(region string) aws.Config {
	return aws.Config{Region: region, APIOptions: []func(*middleware.Stack) error{func(stack *middleware.Stack) error {
		// The last one, so that what the SDK refuses by itself does not come here.
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("Play", func(ctx context.Context, in middleware.InitializeInput, _ middleware.InitializeHandler) (out middleware.InitializeOutput, metadata middleware.Metadata, err error) {
			out.Result, err = c.answer(ctx, in.Parameters)
			return out, metadata, err
		}), middleware.After)
	}}}
}

func (c *Cloud) answer(ctx context.Context, input any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, &aws.RequestCanceledError{Err: err} // as the SDK says it
	}
	call := calls.Of(ctx, input)
	c.mu.Lock()
	c.calls = append(c.calls, call)
	play := c.plays[reflect.TypeOf(input)]
	c.mu.Unlock()
	if play == nil {
		c.t.Errorf("%s is asked, and nobody plays it", call.Name())
		return nil, fmt.Errorf("%s is not played", call.Name())
	}
	return play(ctx, input)
}

// Refusal is an answer by which a service refuses.
func Refusal(code, message string) error {
	return &smithy.GenericAPIError{Code: code, Message: message, Fault: smithy.FaultClient}
}

// PlayAccount plays whose credentials there are, and the outputs of stacks by their name.
func (c *Cloud) PlayAccount(id string, stacks map[string]map[string]string) {
	On(c, func(context.Context, *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
		return &sts.GetCallerIdentityOutput{Account: &id, Arn: aws.String("arn:aws:sts::" + id + ":assumed-role/operator/alice")}, nil
	})
	On(c, func(_ context.Context, in *cloudformation.DescribeStacksInput) (*cloudformation.DescribeStacksOutput, error) {
		name := aws.ToString(in.StackName)
		outputs, exists := stacks[name]
		if !exists {
			return nil, Refusal("ValidationError", "Stack with id "+name+" does not exist")
		}
		stack := cfntypes.Stack{StackName: &name, StackStatus: cfntypes.StackStatusCreateComplete}
		for key, value := range outputs {
			stack.Outputs = append(stack.Outputs, cfntypes.Output{OutputKey: &key, OutputValue: &value})
		}
		return &cloudformation.DescribeStacksOutput{Stacks: []cfntypes.Stack{stack}}, nil
	})
}
