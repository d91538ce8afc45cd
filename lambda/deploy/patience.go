package deploy

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"gitlab-codedeploy/lambda/internal/clip"
)

// MessageHider is the part of the SQS client that Patience needs.
type MessageHider interface {
	ChangeMessageVisibility(context.Context, *sqs.ChangeMessageVisibilityInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error)
}

// Patience decides when a message that was given back comes again: after 10
// seconds, then twice as long each time, at most 6 minutes, and up to a tenth
// more. Without it, or when SQS refuses, the message comes after the queue's own
// visibility timeout, which is 6 minutes as well: a message may be received a
// thousand times, so that no pause may be shorter if it is to wait for four days.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
type Patience struct {
	Client   MessageHider
	QueueURL string
	// Random is a number in [0, 1); nil means math/rand. What was given back
	// together shall not all come together again.
	Random func() float64
}

const (
	firstDelay   = 10 * time.Second
	longestDelay = 6 * time.Minute
)

// delay is how long a message waits that has been received so many times.
func (p *Patience) delay(receives int) time.Duration {
	random := rand.Float64
	if p.Random != nil {
		random = p.Random
	}
	least := longestDelay
	if doublings := max(receives-1, 0); doublings < 6 { // 10 s · 2⁶ is more than the longest
		least = firstDelay << doublings
	}
	return time.Duration(float64(least) * (1 + 0.1*random()))
}

// GiveBack hides the messages for a while.
func (p *Patience) GiveBack(ctx context.Context, log *slog.Logger, messages []events.SQSMessage) {
	if p == nil {
		return
	}
	for _, m := range messages {
		_, err := p.Client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
			QueueUrl:          &p.QueueURL,
			ReceiptHandle:     &m.ReceiptHandle,
			VisibilityTimeout: int32(p.delay(receives(m)) / time.Second),
		})
		if err != nil {
			log.WarnContext(ctx, "a message waits as long as the queue says", "messageId", clip.Text(m.MessageId, 100), "err", clip.Text(err.Error(), 1000))
		}
	}
}

// receives is how often the queue has handed the message out, 0 if unknown.
func receives(m events.SQSMessage) int {
	n, err := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
	if err != nil {
		return 0
	}
	return n
}
