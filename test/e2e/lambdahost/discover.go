package lambdahost

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// LambdaAPI is the part of Lambda's API that describes deployed functions.
type LambdaAPI interface {
	GetFunctionConfiguration(context.Context, *lambda.GetFunctionConfigurationInput, ...func(*lambda.Options)) (*lambda.GetFunctionConfigurationOutput, error)
	ListEventSourceMappings(context.Context, *lambda.ListEventSourceMappingsInput, ...func(*lambda.Options)) (*lambda.ListEventSourceMappingsOutput, error)
	UpdateEventSourceMapping(context.Context, *lambda.UpdateEventSourceMappingInput, ...func(*lambda.Options)) (*lambda.UpdateEventSourceMappingOutput, error)
}

// QueueURLs is the part of SQS's API that turns an ARN into an address.
type QueueURLs interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
}

// Describe reads a deployed function: its settings without the fields that
// belong to this machine (from TaskRoot on), and without LogFormat, which moto
// does not tell.
func Describe(ctx context.Context, api LambdaAPI, name string) (Function, error) {
	c, err := api.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name})
	if err != nil {
		return Function{}, fmt.Errorf("function %s: %w", name, err)
	}
	if c.Runtime != types.RuntimeProvidedal2023 {
		return Function{}, fmt.Errorf("function %s: got runtime %q, this host runs %s only", name, c.Runtime, types.RuntimeProvidedal2023)
	}
	arn := aws.ToString(c.FunctionArn)
	f := Function{
		Name:     aws.ToString(c.FunctionName),
		ARN:      arn,
		Region:   strings.Split(arn+":::", ":")[3],
		Handler:  aws.ToString(c.Handler),
		MemoryMB: int(aws.ToInt32(c.MemorySize)),
		Timeout:  time.Duration(aws.ToInt32(c.Timeout)) * time.Second,
		Role:     aws.ToString(c.Role),
	}
	if c.Environment != nil {
		f.Environment = c.Environment.Variables
	}
	return f, nil
}

// TakeOver reads the enabled SQS mappings of a function and switches the
// emulator's own delivery off.
//
// moto delivers a message inside SendMessage: it receives a batch itself, asks
// Docker for a container, and puts the messages back when there is none. That
// would cost a receive of every waiting message each time (the redrive policy
// counts them), hold up the uploader for the queue's receive wait time, and on a
// machine that does have Docker it would start each deployment twice.
func TakeOver(ctx context.Context, api LambdaAPI, urls QueueURLs, function string) ([]Mapping, error) {
	out, err := api.ListEventSourceMappings(ctx, &lambda.ListEventSourceMappingsInput{FunctionName: &function})
	if err != nil {
		return nil, fmt.Errorf("event source mappings of %s: %w", function, err)
	}
	var mappings []Mapping
	for _, source := range out.EventSourceMappings {
		arn := strings.Split(aws.ToString(source.EventSourceArn), ":")
		if len(arn) != 6 || arn[2] != "sqs" || aws.ToString(source.State) != "Enabled" {
			continue
		}
		url, err := urls.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &arn[5], QueueOwnerAWSAccountId: &arn[4]})
		if err != nil {
			return nil, fmt.Errorf("queue %s: %w", aws.ToString(source.EventSourceArn), err)
		}
		if _, err := api.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: source.UUID, Enabled: aws.Bool(false)}); err != nil {
			return nil, fmt.Errorf("take over the mapping of %s: %w", function, err)
		}
		mappings = append(mappings, Mapping{
			Function:        function,
			QueueURL:        aws.ToString(url.QueueUrl),
			QueueARN:        aws.ToString(source.EventSourceArn),
			Region:          arn[3],
			BatchSize:       aws.ToInt32(source.BatchSize),
			PartialFailures: slices.Contains(source.FunctionResponseTypes, types.FunctionResponseTypeReportBatchItemFailures),
		})
	}
	return mappings, nil
}
