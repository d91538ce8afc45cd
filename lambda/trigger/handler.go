package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/status"
)

// Handler works through a batch of queue messages and answers with those that
// have to come again (partial batch response):
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
type Handler struct {
	Bucket   string // the artifact bucket
	Prefix   string // of artifacts' keys
	Trigger  *Trigger
	Patience *Patience // nil leaves it to the queue when messages come again
	Metrics  *Metrics  // nil counts nothing
	Log      *slog.Logger

	// RecordTimeout bounds the calls for one record; 0 means 10 s.
	RecordTimeout time.Duration
	// MinTimeLeft of the invocation, below which no further record is begun;
	// 0 means 5 s.
	MinTimeLeft time.Duration
	// AnswerTime of the invocation is kept for sending the answer. A function
	// that runs out of time has its whole batch repeated; 0 means 1 s.
	AnswerTime time.Duration
}

// Handle never fails as a whole.
func (h *Handler) Handle(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
	var back []events.SQSMessage
	for i, message := range batch.Records {
		// The first one is always tried, or a function with too short a
		// time-out would never get anything done.
		if i > 0 && h.late(ctx) {
			rest := batch.Records[i:]
			h.Log.WarnContext(ctx, "out of time, the rest of the batch is retried", "messages", len(rest))
			back = append(back, rest...)
			break
		}
		if !h.message(ctx, message) {
			back = append(back, message)
		}
	}
	h.giveBack(ctx, back)
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for _, m := range back {
		answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
	}
	return answer, nil
}

// giveBack has half of the answer's time: the delays are worth less than it.
func (h *Handler) giveBack(ctx context.Context, messages []events.SQSMessage) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-h.answerTime()/2))
		defer cancel()
	}
	h.Patience.GiveBack(ctx, h.Log, messages)
}

// message reports whether the message is done with.
func (h *Handler) message(ctx context.Context, message events.SQSMessage) bool {
	log := h.Log.With("messageId", clip.Text(message.MessageId, 100))
	records, err := decodeMessage(message.Body)
	if err != nil {
		return h.report(ctx, log, Upload{}, err)
	}
	claim := status.Claim{Message: clip.Text(message.MessageId, 100), Receive: receives(message)}
	if invocation, ok := lambdacontext.FromContext(ctx); ok {
		claim.Request = invocation.AwsRequestID
	}
	done := true
	for i, raw := range records {
		if i > 0 && h.late(ctx) {
			log.WarnContext(ctx, "out of time, the message is retried", "records", len(records)-i)
			return false
		}
		upload := Upload{Claim: claim}
		err := h.record(ctx, log, raw, &upload)
		done = h.report(ctx, log, upload, err) && done
	}
	return done
}

// record does the work for one record. A panic is an error like another one,
// worth a retry: it must not cost the other messages their answer.
func (h *Handler) record(ctx context.Context, log *slog.Logger, raw json.RawMessage, upload *Upload) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.ErrorContext(ctx, "panic", "stack", clip.Text(string(debug.Stack()), 8<<10))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	claim := upload.Claim
	*upload, err = decodeRecord(raw, h.Bucket, h.Prefix)
	upload.Claim = claim
	if err != nil {
		return err
	}
	limit := cmp.Or(h.RecordTimeout, 10*time.Second)
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-h.answerTime())
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return h.Trigger.Start(ctx, upload)
}

func (h *Handler) late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < cmp.Or(h.MinTimeLeft, 5*time.Second)
}

func (h *Handler) answerTime() time.Duration { return cmp.Or(h.AnswerTime, time.Second) }

// report logs how a record ended, in one line, counts it, and tells whether it
// is done.
func (h *Handler) report(ctx context.Context, log *slog.Logger, upload Upload, err error) (done bool) {
	log = log.With("", upload) // an unnamed group: its fields stand at the top
	verdict := verdictOf(err)
	switch {
	case err == nil:
		log.InfoContext(ctx, "deployment created")
	case verdict != nil && verdict.Kind == ErrRejected:
		log.ErrorContext(ctx, "rejected", "reason", clip.Text(verdict.Reason, 1000))
	case verdict != nil:
		log.InfoContext(ctx, verdict.Kind.Error(), "reason", clip.Text(verdict.Reason, 1000))
	case errors.Is(err, ErrWaiting):
		log.InfoContext(ctx, "waiting", "err", clip.Text(err.Error(), 1000))
	default:
		log.WarnContext(ctx, "retried later", "err", clip.Text(err.Error(), 1000))
	}
	h.Metrics.Count(upload, err)
	return err == nil || verdict != nil
}
