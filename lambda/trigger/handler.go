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
)

// Handler works through a batch of queue messages and answers with those that
// have to come again (partial batch response):
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
type Handler struct {
	Bucket  string // the artifact bucket
	Prefix  string // of artifacts' keys
	Trigger *Trigger
	Log     *slog.Logger

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
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	retry := func(messages ...events.SQSMessage) {
		for _, m := range messages {
			answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
		}
	}
	for i, message := range batch.Records {
		// The first one is always tried, or a function with too short a
		// time-out would never get anything done.
		if i > 0 && h.late(ctx) {
			rest := batch.Records[i:]
			h.Log.WarnContext(ctx, "out of time, the rest of the batch is retried", "messages", len(rest))
			retry(rest...)
			break
		}
		if !h.message(ctx, message) {
			retry(message)
		}
	}
	return answer, nil
}

// message reports whether the message is done with.
func (h *Handler) message(ctx context.Context, message events.SQSMessage) bool {
	log := h.Log.With("messageId", clip(message.MessageId, 100))
	records, err := decodeMessage(message.Body)
	if err != nil {
		return report(ctx, log, Upload{}, err)
	}
	done := true
	for i, raw := range records {
		if i > 0 && h.late(ctx) {
			log.WarnContext(ctx, "out of time, the message is retried", "records", len(records)-i)
			return false
		}
		var upload Upload
		err := h.record(ctx, log, raw, &upload)
		done = report(ctx, log, upload, err) && done
	}
	return done
}

// record does the work for one record. A panic is an error like another one,
// worth a retry: it must not cost the other messages their answer.
func (h *Handler) record(ctx context.Context, log *slog.Logger, raw json.RawMessage, upload *Upload) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.ErrorContext(ctx, "panic", "stack", clip(string(debug.Stack()), 8<<10))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if *upload, err = decodeRecord(raw, h.Bucket, h.Prefix); err != nil {
		return err
	}
	limit := cmp.Or(h.RecordTimeout, 10*time.Second)
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-cmp.Or(h.AnswerTime, time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return h.Trigger.Start(ctx, upload)
}

func (h *Handler) late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < cmp.Or(h.MinTimeLeft, 5*time.Second)
}

// report logs how a record ended, in one line, and tells whether it is done.
func report(ctx context.Context, log *slog.Logger, upload Upload, err error) (done bool) {
	log = log.With("", upload) // an unnamed group: its fields stand at the top
	var verdict *Verdict
	switch {
	case err == nil:
		log.InfoContext(ctx, "deployment created")
	case errors.As(err, &verdict) && verdict.Kind == ErrIgnored:
		log.InfoContext(ctx, "ignored", "reason", clip(verdict.Reason, 1000))
	case errors.As(err, &verdict):
		log.ErrorContext(ctx, "rejected", "reason", clip(verdict.Reason, 1000))
	default:
		log.WarnContext(ctx, "retried later", "err", clip(err.Error(), 1000))
		return false
	}
	return true
}
