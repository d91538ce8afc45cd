package lambdahost

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Mapping connects a queue with a function, as an event source mapping does.
type Mapping struct {
	Function                   string // name
	QueueURL, QueueARN, Region string
	BatchSize                  int32 // at most 10 messages come at a time, however large it is
	PartialFailures            bool  // the function answers which messages failed
}

// Queue is the part of SQS's API a mapping needs.
type Queue interface {
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
}

// poller moves messages from a queue to a function until its context ends.
// Messages that failed are left alone: they come back when the queue's
// visibility timeout is over, and move on when its redrive policy says so.
type poller struct {
	mapping Mapping
	queue   Queue
	invoke  func(context.Context, []byte) ([]byte, error)
	log     *slog.Logger
	pause   time.Duration // between two tries when the queue does not answer
}

func (p poller) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := p.batch(ctx); err != nil && ctx.Err() == nil {
			p.log.Error("batch", "function", p.mapping.Function, "err", err)
		}
	}
}

// batch handles the messages that are there, or waits a moment for some.
func (p poller) batch(ctx context.Context) error {
	out, err := p.queue.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:                    &p.mapping.QueueURL,
		MaxNumberOfMessages:         min(p.mapping.BatchSize, 10),
		WaitTimeSeconds:             5,
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		select {
		case <-ctx.Done():
		case <-time.After(p.pause):
		}
		return fmt.Errorf("receive: %w", err)
	}
	if len(out.Messages) == 0 {
		return nil
	}
	event, err := sqsEvent(p.mapping, out.Messages)
	if err != nil {
		return err
	}
	answer, err := p.invoke(ctx, event)
	if err != nil {
		return fmt.Errorf("%d messages go back to the queue: %w", len(out.Messages), err)
	}
	done, err := succeeded(p.mapping, out.Messages, answer)
	if err != nil {
		return fmt.Errorf("%d messages go back to the queue: %w", len(out.Messages), err)
	}
	p.log.Info("batch", "function", p.mapping.Function, "messages", len(out.Messages), "failed", len(out.Messages)-len(done))
	return p.remove(done)
}

func (p poller) remove(messages []types.Message) error {
	if len(messages) == 0 {
		return nil
	}
	entries := make([]types.DeleteMessageBatchRequestEntry, 0, len(messages))
	for i, m := range messages {
		entries = append(entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
	}
	// Also while stopping: what was handled must not be handled again.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := p.queue.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &p.mapping.QueueURL, Entries: entries})
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if len(out.Failed) > 0 {
		return fmt.Errorf("delete: %d of %d refused, the first because of %s", len(out.Failed), len(entries), aws.ToString(out.Failed[0].Message))
	}
	return nil
}
