package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"gitlab-codedeploy/lambda/internal/clip"
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
	records, end := decodeMessage(message.Body)
	if end.End != "" {
		return h.report(ctx, log, Upload{}, end)
	}
	// One try of one message: what nobody else can call himself.
	owner := clip.Text(message.MessageId, 100) + "/" + strconv.Itoa(receives(message))
	if invocation, ok := lambdacontext.FromContext(ctx); ok {
		owner += "/" + invocation.AwsRequestID
	}
	done := true
	for i, raw := range records {
		if i > 0 && h.late(ctx) {
			log.WarnContext(ctx, "out of time, the message is retried", "records", len(records)-i)
			return false
		}
		upload, end := h.record(ctx, log, raw, try{owner: owner, again: receives(message) > 1})
		done = h.report(ctx, log, upload, end) && done
	}
	return done
}

// record does the work for one record. A panic is an error like another one,
// worth a retry: it must not cost the other messages their answer.
func (h *Handler) record(ctx context.Context, log *slog.Logger, raw json.RawMessage, t try) (upload Upload, end Outcome) {
	defer func() {
		if p := recover(); p != nil {
			log.ErrorContext(ctx, "panic", "stack", clip.Text(string(debug.Stack()), 8<<10))
			end = outcome(Failed, "panic: %v", p)
		}
	}()
	upload, end = decodeRecord(raw, h.Bucket, h.Prefix)
	if end.End != "" {
		return upload, end
	}
	limit := cmp.Or(h.RecordTimeout, 10*time.Second)
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-h.answerTime())
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	end = h.Trigger.Deploy(ctx, &upload, t)
	return upload, end
}

// once says whether the message about an upload has one try only: the status
// function sends another one as long as the upload's turn has come.
func once(u Upload) bool { return u.Known.Application != "" }

func (h *Handler) late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < cmp.Or(h.MinTimeLeft, 5*time.Second)
}

func (h *Handler) answerTime() time.Duration { return cmp.Or(h.AnswerTime, time.Second) }

// report logs how a record ended, in one line, counts it, and tells whether it
// is done.
func (h *Handler) report(ctx context.Context, log *slog.Logger, upload Upload, end Outcome) (done bool) {
	log = log.With("", upload) // an unnamed group: its fields stand at the top
	reason := clip.Text(end.Reason, 1000)
	switch end.End {
	case Created:
		log.InfoContext(ctx, string(end.End))
	case Rejected, Refused:
		log.ErrorContext(ctx, string(end.End), "reason", reason)
	case Failed:
		log.WarnContext(ctx, string(end.End), "err", reason)
	default:
		log.InfoContext(ctx, string(end.End), "reason", reason)
	}
	h.Metrics.Count(upload, end)
	return end.Done() || once(upload)
}
