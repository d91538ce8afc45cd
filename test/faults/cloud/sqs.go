package cloud

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// Queue is a standard SQS queue with its dead-letter queue. Receiving and
// deleting is what Lambda's poller does, and therefore a method; only
// ChangeMessageVisibility comes over the wire.
type Queue struct {
	Visibility  time.Duration // of a message that was received
	MaxReceives int           // then a message is a dead letter

	// Changed is told of each ChangeMessageVisibility, and answers with the
	// delay to use: a function's own jitter would make no two runs alike. May
	// be nil.
	Changed func(*Message, time.Duration) time.Duration

	// Told is told of each message that came over the wire. May be nil.
	Told func(*Message)

	clock    *Clock
	random   *rand.Rand
	messages []*Message
	dead     []*Message
	sent     int
}

// Message is one message of the queue.
type Message struct {
	ID, Body string
	Receipt  string // of the last receive
	Receives int
	Sent     time.Time
	// Twice makes the queue hand the message out again at once after its first
	// receive, as a standard queue may:
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues-at-least-once-delivery.html
	Twice bool

	visible time.Time
}

// Send puts a message into the queue.
func (q *Queue) Send(body string, twice bool) *Message {
	q.sent++
	m := &Message{ID: fmt.Sprintf("message-%d", q.sent), Body: body, Sent: q.clock.Now(), Twice: twice, visible: q.clock.Now()}
	q.messages = append(q.messages, m)
	q.wake(0)
	return m
}

// Visible counts the messages that a receive would find.
func (q *Queue) Visible() int {
	n := 0
	for _, m := range q.messages {
		if !m.visible.After(q.clock.Now()) {
			n++
		}
	}
	return n
}

// Receive takes up to limit messages, in any order.
func (q *Queue) Receive(limit int) []*Message {
	var taken []*Message
	for _, i := range q.random.Perm(len(q.messages)) {
		m := q.messages[i]
		if m.visible.After(q.clock.Now()) || len(taken) == limit {
			continue
		}
		if m.Receives >= q.MaxReceives {
			m.visible = q.clock.Now()
			q.dead = append(q.dead, m)
			continue
		}
		m.Receives++
		m.Receipt = fmt.Sprintf("%s/%d", m.ID, m.Receives)
		if m.Twice && m.Receives == 1 {
			q.wake(0)
		} else {
			q.hide(m, q.Visibility)
		}
		taken = append(taken, m)
	}
	for _, m := range q.dead {
		q.Delete(m)
	}
	return taken
}

// Delete removes a message; one that is gone already does not matter.
func (q *Queue) Delete(m *Message) {
	for i, other := range q.messages {
		if other == m {
			q.messages = append(q.messages[:i:i], q.messages[i+1:]...)
			return
		}
	}
}

// Waiting returns the messages that are neither deleted nor dead letters.
func (q *Queue) Waiting() []*Message { return q.messages }

// Dead returns the dead letters.
func (q *Queue) Dead() []*Message { return q.dead }

// Redrive sends the dead letters back.
func (q *Queue) Redrive() {
	for _, m := range q.dead {
		m.Receives, m.visible = 0, q.clock.Now()
		q.messages = append(q.messages, m)
		q.wake(0)
	}
	q.dead = nil
}

func (q *Queue) hide(m *Message, d time.Duration) {
	m.visible = q.clock.Now().Add(d)
	q.wake(d)
}

// wake makes the clock stop when something may have become visible.
func (q *Queue) wake(d time.Duration) { q.clock.After(d, func() {}) }

// serveQueue finds the queue by the last part of its URL: "artifacts" and
// "artifacts-dead" are the queue and its dead letters.
func (a *AWS) serveQueue(r Request) Response {
	var in struct{ QueueUrl string }
	if err := json.Unmarshal(r.Body, &in); err != nil {
		return Refuse(r, http.StatusBadRequest, "InvalidParameterValue", err.Error())
	}
	if strings.HasSuffix(in.QueueUrl, "-dead") {
		return a.Queue.serveDead(r)
	}
	return a.Queue.serve(r)
}

func (q *Queue) serve(r Request) Response {
	switch r.Operation {
	case "ChangeMessageVisibility":
		return q.change(r)
	case "SendMessage":
		var in struct{ MessageBody string }
		if err := json.Unmarshal(r.Body, &in); err != nil || in.MessageBody == "" {
			return Refuse(r, http.StatusBadRequest, "MissingParameter", "MessageBody")
		}
		m := q.Send(in.MessageBody, false)
		if q.Told != nil {
			q.Told(m)
		}
		return answer(r, http.StatusOK, map[string]string{"MessageId": m.ID, "MD5OfMessageBody": fmt.Sprintf("%x", md5.Sum([]byte(in.MessageBody)))})
	}
	return Refuse(r, http.StatusNotImplemented, "NotImplemented", r.Operation)
}

// serveDead lets somebody look at the dead letters, each of which is hidden for
// a while then. Who does not wait asks some of SQS's servers only, and finds
// nothing half of the time:
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
func (q *Queue) serveDead(r Request) Response {
	var in struct{ MaxNumberOfMessages, VisibilityTimeout, WaitTimeSeconds int }
	if err := json.Unmarshal(r.Body, &in); err != nil || r.Operation != "ReceiveMessage" {
		return Refuse(r, http.StatusNotImplemented, "NotImplemented", r.Operation)
	}
	type message struct{ MessageId, ReceiptHandle, Body, MD5OfBody string }
	found := []message{}
	if in.WaitTimeSeconds == 0 && q.random.IntN(2) == 0 {
		return answer(r, http.StatusOK, map[string]any{"Messages": found})
	}
	for _, m := range q.dead {
		if len(found) == max(1, in.MaxNumberOfMessages) || m.visible.After(q.clock.Now()) {
			continue
		}
		m.visible = q.clock.Now().Add(time.Duration(in.VisibilityTimeout) * time.Second)
		found = append(found, message{m.ID, m.ID + "/dead", m.Body, fmt.Sprintf("%x", md5.Sum([]byte(m.Body)))})
	}
	return answer(r, http.StatusOK, map[string]any{"Messages": found})
}

func (q *Queue) change(r Request) Response {
	var in struct {
		QueueUrl          string
		ReceiptHandle     string
		VisibilityTimeout *int
	}
	if err := json.Unmarshal(r.Body, &in); err != nil || in.VisibilityTimeout == nil || *in.VisibilityTimeout < 0 || *in.VisibilityTimeout > 43200 {
		return Refuse(r, http.StatusBadRequest, "InvalidParameterValue", "VisibilityTimeout")
	}
	for _, m := range q.messages {
		if m.Receipt != in.ReceiptHandle {
			continue
		}
		delay := time.Duration(*in.VisibilityTimeout) * time.Second
		if q.Changed != nil {
			delay = q.Changed(m, delay)
		}
		q.hide(m, delay)
		return answer(r, http.StatusOK, struct{}{})
	}
	return Refuse(r, http.StatusBadRequest, "MessageNotInflight", "The specified message isn't in flight.")
}
