package emulator

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func queuesHavePolicy(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	var queues []string
	if _, err := s.property(id, "Queues", &queues); err != nil {
		return false, err
	}
	for _, url := range queues {
		out, err := sqs.NewFromConfig(e.awsConfig(s.account)).GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
			QueueUrl: aws.String(e.queueURL(url)), AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNamePolicy},
		})
		if err != nil || out.Attributes["Policy"] == "" {
			return false, err
		}
	}
	return len(queues) > 0, nil
}

func setQueuePolicy(ctx context.Context, e *Emulator, s *Stack, id string) error {
	var queues []string
	if _, err := s.property(id, "Queues", &queues); err != nil {
		return err
	}
	policy, err := s.policy(id)
	if err != nil {
		return err
	}
	for _, url := range queues {
		if _, err := sqs.NewFromConfig(e.awsConfig(s.account)).SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{
			QueueUrl: aws.String(e.queueURL(url)), Attributes: map[string]string{"Policy": policy},
		}); err != nil {
			return err
		}
	}
	return nil
}

func (e *Emulator) functionConfiguration(ctx context.Context, s *Stack, id string) (*lambda.GetFunctionConfigurationOutput, error) {
	return lambda.NewFromConfig(e.awsConfig(s.account)).GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{
		FunctionName: aws.String(s.physical[id]),
	})
}

func functionIsArm(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	out, err := e.functionConfiguration(ctx, s, id)
	return err == nil && len(out.Architectures) == 1 && out.Architectures[0] == lambdatypes.ArchitectureArm64, err
}

func functionHasLogging(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	out, err := e.functionConfiguration(ctx, s, id)
	return err == nil && out.LoggingConfig != nil, err
}
