package lambdahost

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// memoryQueue hands each message out once and remembers which were deleted.
type memoryQueue struct {
	mu      sync.Mutex
	waiting []types.Message
	deleted []string
	broken  int // the next so many receives fail
	asked   []int32
}

func (q *memoryQueue) send(bodies ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, body := range bodies {
		id := fmt.Sprintf("%s-%d", body, len(q.waiting))
		q.waiting = append(q.waiting, types.Message{MessageId: &id, ReceiptHandle: aws.String("handle of " + id), Body: aws.String(body)})
	}
}

func (q *memoryQueue) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken > 0 {
		q.broken--
		return nil, fmt.Errorf("connection refused")
	}
	q.asked = append(q.asked, in.MaxNumberOfMessages)
	n := min(int(in.MaxNumberOfMessages), len(q.waiting))
	if n == 0 {
		q.mu.Unlock()
		select { // a short long poll
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
		q.mu.Lock()
	}
	out := q.waiting[:n]
	q.waiting = q.waiting[n:]
	return &sqs.ReceiveMessageOutput{Messages: out}, nil
}

func (q *memoryQueue) DeleteMessageBatch(_ context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range in.Entries {
		q.deleted = append(q.deleted, *e.ReceiptHandle)
	}
	return &sqs.DeleteMessageBatchOutput{}, nil
}

func (q *memoryQueue) gone() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]string{}, q.deleted...)
}

// host runs the test function on the queue until the test ends; it returns the host's log.
func host(t *testing.T, q *memoryQueue, f Function, m Mapping) *lockedBuffer {
	t.Helper()
	m.Function, m.QueueARN, m.Region = f.Name, "arn:aws:sqs:ap-northeast-1:222222222222:artifacts", "ap-northeast-1"
	log := &lockedBuffer{}
	h, err := New([]Function{f}, []Mapping{m}, q, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { h.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return log
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const soon, step = 60 * time.Second, 5 * time.Millisecond

func TestS14_OnlyMessagesThatSucceededAreDeleted(t *testing.T) {
	q := &memoryQueue{}
	q.send("ok", "fail", "ok")
	log := host(t, q, testFunction(t, "normally"), Mapping{BatchSize: 10, PartialFailures: true})
	require.Eventually(t, func() bool { return len(q.gone()) > 0 }, soon, step, "log: %s", log)
	assert.Equal(t, []string{"handle of ok-0", "handle of ok-2"}, q.gone())
}

func TestS14_WithoutPartialFailuresAnAnswerDeletesTheWholeBatch(t *testing.T) {
	q := &memoryQueue{}
	q.send("ok", "fail")
	host(t, q, testFunction(t, "normally"), Mapping{BatchSize: 10})
	require.Eventually(t, func() bool { return len(q.gone()) == 2 }, soon, step)
}

func TestS14_BatchThatFailedGoesBackAndTheNextOneIsHandled(t *testing.T) {
	for _, bad := range []string{"error", "exit", "hang", "name a stranger"} {
		t.Run(bad, func(t *testing.T) {
			f := testFunction(t, "normally")
			f.Timeout = 1500 * time.Millisecond
			q := &memoryQueue{}
			q.send("ok", bad)
			log := host(t, q, f, Mapping{BatchSize: 2, PartialFailures: true})
			require.Eventually(t, func() bool { return bytes.Contains([]byte(log.String()), []byte("go back to the queue")) }, soon, step)
			assert.Empty(t, q.gone(), "nothing of a failed batch may be deleted")

			q.send("ok")
			require.Eventually(t, func() bool { return len(q.gone()) == 1 }, soon, step, "log: %s", log)
		})
	}
}

func TestS14_BatchesAreNoLargerThanTheMappingSays(t *testing.T) {
	q := &memoryQueue{}
	q.send("ok", "ok", "ok")
	host(t, q, testFunction(t, "normally"), Mapping{BatchSize: 1, PartialFailures: true})
	require.Eventually(t, func() bool { return len(q.gone()) == 3 }, soon, step)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, asked := range q.asked {
		assert.EqualValues(t, 1, asked)
	}
}

func TestS14_PollingSurvivesAQueueThatDoesNotAnswer(t *testing.T) {
	q := &memoryQueue{broken: 1}
	q.send("ok")
	log := host(t, q, testFunction(t, "normally"), Mapping{BatchSize: 10, PartialFailures: true})
	require.Eventually(t, func() bool { return len(q.gone()) == 1 }, soon, step)
	assert.Contains(t, log.String(), "connection refused")
}

func TestS14_MappingToAnUnknownFunctionIsRefused(t *testing.T) {
	_, err := New(nil, []Mapping{{Function: "status", QueueARN: "arn:aws:sqs:r:a:q"}}, &memoryQueue{}, slog.Default())
	assert.ErrorContains(t, err, "status")
}

func TestS14_EventWithoutAQueueReachesItsFunction(t *testing.T) {
	h, err := New([]Function{testFunction(t, "normally")}, nil, nil, slog.Default())
	require.NoError(t, err)
	t.Cleanup(h.Close)
	answer, err := h.Invoke(t.Context(), "trigger", event(t, "ok"))
	require.NoError(t, err)
	assert.JSONEq(t, `{"batchItemFailures":[]}`, string(answer))
	_, err = h.Invoke(t.Context(), "status", nil)
	assert.ErrorContains(t, err, "status is not hosted")
}
