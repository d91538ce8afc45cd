// Package redrive sends back what could not be deployed: the uploads among the
// trigger's dead letters, and the state changes among the status function's.
package redrive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/plain"
)

// Queues is the part of the SQS client that is needed.
type Queues interface {
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	ListMessageMoveTasks(context.Context, *sqs.ListMessageMoveTasksInput, ...func(*sqs.Options)) (*sqs.ListMessageMoveTasksOutput, error)
	StartMessageMoveTask(context.Context, *sqs.StartMessageMoveTaskInput, ...func(*sqs.Options)) (*sqs.StartMessageMoveTaskOutput, error)
}

// Objects is the part of the S3 client that is needed.
type Objects interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
}

// Functions is the part of the Lambda client that is needed.
type Functions interface {
	Invoke(context.Context, *lambda.InvokeInput, ...func(*lambda.Options)) (*lambda.InvokeOutput, error)
}

// Redrive is one of an environment.
type Redrive struct {
	Queues    Queues
	Objects   Objects
	Functions Functions

	Bucket           string // of artifacts
	DeadLetters      string // URL of the trigger's dead letters
	Queue            string // URL of its queue
	StateDeadLetters string // URL of the status function's dead letters, "" without any
	StatusFunction   func() (string, error)

	Where   string // account and Region, for messages
	Timeout time.Duration
	Now     func() time.Time
	Log     func(format string, values ...any)
	Confirm func(question string) error
	Show    func(line string) // a line of what would be moved
}

// Result is how it ended.
type Result struct {
	DeadLetterQueue string `json:"deadLetterQueue"`
	Queue           string `json:"queue"`
	Status          string `json:"status"` // COMPLETED, or NOTHING
	Moved           int64  `json:"moved"`
	Events          int    `json:"events"`
}

const (
	poll = 2 * time.Second // between two looks at the move
	// patience is for how many failures in a row, after the SDK's own tries, the
	// move is followed.
	patience = 3
	peek     = 5 // messages to look into before the question
)

// Event lets the status function work off its dead letters.
const Event = `{"source": "gitlab-codedeploy", "detail-type": "Redrive"}`

// run is what one redrive knows.
type run struct {
	*Redrive
	deadLetters, queue       string // by name
	deadLettersARN, queueARN string
	count, inFlight          int
	letters                  string // the status function's, by name
	letterCount              int
	function                 string
}

// Run does all of it.
func (r *Redrive) Run(ctx context.Context) (result Result, err error) {
	w := &run{Redrive: r, deadLetters: nameOf(r.DeadLetters), queue: nameOf(r.Queue)}
	if w.deadLettersARN, err = w.arn(ctx, r.DeadLetters); err != nil {
		return result, err
	}
	if w.queueARN, err = w.arn(ctx, r.Queue); err != nil {
		return result, err
	}
	if err := w.findLetters(ctx); err != nil {
		return result, err
	}
	task, err := w.task(ctx)
	if err != nil {
		return result, fmt.Errorf("looking for moves from %s: %w", w.deadLetters, err)
	}
	result = Result{DeadLetterQueue: w.deadLetters, Queue: w.queue, Status: "NOTHING"}
	before, start, follow := task.StartedTimestamp, false, false
	if running(task) {
		r.Log("a move from %s is under way already (%d messages moved): following that one", w.deadLetters, task.ApproximateNumberOfMessagesMoved)
		before, follow = 0, true
	} else {
		if err := w.look(ctx); err != nil {
			return result, err
		}
		if w.count == 0 {
			if w.inFlight > 0 {
				return result, fmt.Errorf("%d messages of %s are being read by somebody at the moment; try again when that is over", w.inFlight, w.deadLetters)
			}
			r.Log("nothing to move: %s is empty", w.deadLetters)
		} else {
			start, follow = true, true
		}
	}
	if err := w.confirm(start); err != nil {
		return result, err
	}
	if start {
		if err := w.start(ctx); err != nil {
			return result, err
		}
	}
	if follow {
		moved, err := w.follow(ctx, before)
		if err != nil {
			return result, err
		}
		result.Status, result.Moved = "COMPLETED", moved
	}
	result.Events, err = w.states(ctx)
	return result, err
}

func nameOf(url string) string { return url[strings.LastIndex(url, "/")+1:] }

var arnPattern = regexp.MustCompile(`^arn:[a-z-]+:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$`)

func (w *run) attributes(ctx context.Context, queue string, names ...types.QueueAttributeName) (map[string]string, error) {
	out, err := w.Queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &queue, AttributeNames: names})
	if err != nil {
		return nil, fmt.Errorf("looking at %s: %w", nameOf(queue), err)
	}
	return out.Attributes, nil
}

func (w *run) arn(ctx context.Context, queue string) (string, error) {
	attributes, err := w.attributes(ctx, queue, types.QueueAttributeNameQueueArn)
	if err != nil {
		return "", err
	}
	arn := attributes[string(types.QueueAttributeNameQueueArn)]
	if !arnPattern.MatchString(arn) {
		return "", fmt.Errorf("the ARN of %s is %q, want one of SQS", nameOf(queue), plain.Line(arn, 200))
	}
	return arn, nil
}

// depth is how many messages a queue has, and how many somebody holds at the moment.
func (w *run) depth(ctx context.Context, queue string) (count, inFlight int, err error) {
	visible, hidden := types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible
	attributes, err := w.attributes(ctx, queue, visible, hidden)
	if err != nil {
		return 0, 0, err
	}
	count, err = strconv.Atoi(attributes[string(visible)])
	if err == nil {
		inFlight, err = strconv.Atoi(attributes[string(hidden)])
	}
	if err != nil {
		return 0, 0, fmt.Errorf("the depth of %s is %q, want numbers", nameOf(queue), plain.Line(fmt.Sprint(attributes), 200))
	}
	return count, inFlight, nil
}

// task is the newest move from the dead-letter queue, the zero one if there never
// was any.
func (w *run) task(ctx context.Context) (types.ListMessageMoveTasksResultEntry, error) {
	out, err := w.Queues.ListMessageMoveTasks(ctx, &sqs.ListMessageMoveTasksInput{SourceArn: &w.deadLettersARN})
	if err != nil || len(out.Results) == 0 {
		return types.ListMessageMoveTasksResultEntry{}, err
	}
	return slices.MaxFunc(out.Results, func(a, b types.ListMessageMoveTasksResultEntry) int {
		return cmp.Compare(a.StartedTimestamp, b.StartedTimestamp)
	}), nil
}

func running(task types.ListMessageMoveTasksResultEntry) bool {
	return aws.ToString(task.Status) == "RUNNING" || aws.ToString(task.Status) == "CANCELLING"
}

// look tells what is in the dead-letter queue. The depth is approximate and up to
// a minute old, so that a message at hand counts more than a depth of 0.
func (w *run) look(ctx context.Context) (err error) {
	if w.count, w.inFlight, err = w.depth(ctx, w.DeadLetters); err != nil {
		return err
	}
	// Waiting a second makes SQS ask all of its servers, and a visibility timeout of
	// zero leaves the messages where they are: it is no more than a look.
	out, err := w.Queues.ReceiveMessage(calls.OnlyReads(ctx), &sqs.ReceiveMessageInput{
		QueueUrl: &w.DeadLetters, MaxNumberOfMessages: peek, VisibilityTimeout: 0, WaitTimeSeconds: 1,
	})
	if err != nil {
		return fmt.Errorf("looking into %s: %w", w.deadLetters, err)
	}
	var order []string
	bodies := map[string]string{} // The last one of a message that came twice.
	for _, m := range out.Messages {
		id := aws.ToString(m.MessageId)
		if _, seen := bodies[id]; !seen {
			order = append(order, id)
		}
		bodies[id] = aws.ToString(m.Body)
	}
	var lines []string
	for _, id := range order {
		artifacts := artifactsOf(bodies[id])
		if len(artifacts) == 0 {
			lines = append(lines, fmt.Sprintf("message %s, which is about no artifact", plain.Word(id)))
		}
		for _, a := range artifacts {
			lines = append(lines, a.shown()+w.upload(ctx, a))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	w.count = max(w.count, len(lines))
	w.Log("about %d messages in %s of %s, such as:", w.count, w.deadLetters, w.Where)
	for _, line := range lines {
		w.Show("  " + line)
	}
	return nil
}

// artifact is an object version that a message is about.
type artifact struct{ bucket, key, version string }

func (a artifact) shown() string {
	shown := plain.Line(a.key, 1024)
	if a.version != "" {
		shown += " version " + plain.Word(a.version)
	}
	return shown
}

// artifactsOf reads a message. Keys come form-encoded.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
func artifactsOf(body string) (found []artifact) {
	var message struct {
		Records []struct {
			S3 struct {
				Bucket struct{ Name string }
				Object struct{ Key, VersionID string }
			}
		}
	}
	if json.Unmarshal([]byte(body), &message) != nil {
		return nil
	}
	for _, r := range message.Records {
		key, err := url.QueryUnescape(r.S3.Object.Key)
		if err != nil || key == "" {
			return nil
		}
		found = append(found, artifact{r.S3.Bucket.Name, key, r.S3.Object.VersionID})
	}
	return found
}

var uploadID = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// upload is what the uploading job called an artifact.
func (w *run) upload(ctx context.Context, a artifact) string {
	if a.bucket != w.Bucket {
		return ""
	}
	in := &s3.HeadObjectInput{Bucket: &w.Bucket, Key: &a.key}
	if a.version != "" {
		in.VersionId = &a.version
	}
	out, err := w.Objects.HeadObject(ctx, in)
	if err != nil {
		return fmt.Sprintf(" (the object cannot be read: %s)", plain.Line(err.Error(), 200))
	}
	if id := cmp.Or(out.Metadata["upload-id"], out.Metadata["x-amz-meta-upload-id"]); uploadID.MatchString(id) {
		return " upload " + id
	}
	return " without an upload id"
}

// confirm asks about all that is to be done, unless that is nothing.
func (w *run) confirm(start bool) error {
	var what []string
	if start {
		what = append(what, fmt.Sprintf("move about %d messages from %s back to %s", w.count, w.deadLetters, w.queue))
	}
	if w.letterCount > 0 {
		what = append(what, fmt.Sprintf("let %s work off about %d messages of %s", w.function, w.letterCount, w.letters))
	}
	if len(what) == 0 {
		return nil
	}
	// At the beginning of a sentence.
	return w.Confirm(fmt.Sprintf("%s: %s?", strings.ToUpper(w.Where[:1])+w.Where[1:], strings.Join(what, ", and ")))
}

// start names the destination: without it SQS sends each message to the queue
// that it remembers, which may be one of an earlier stack.
func (w *run) start(ctx context.Context) error {
	_, err := w.Queues.StartMessageMoveTask(ctx, &sqs.StartMessageMoveTaskInput{SourceArn: &w.deadLettersARN, DestinationArn: &w.queueARN})
	if err != nil && ctx.Err() != nil {
		return w.goesOn(err) // It may have begun.
	}
	if err != nil {
		return fmt.Errorf("starting the move from %s to %s: %w", w.deadLetters, w.queue, err)
	}
	w.Log("moving about %d messages from %s to %s", w.count, w.deadLetters, w.queue)
	return nil
}

// goesOn is what is said when this command ends before the move does.
func (w *run) goesOn(err error) error {
	return fmt.Errorf("%w; SQS goes on with the move. How far it is: scripts/ops redrive again, or aws sqs list-message-move-tasks --source-arn %s", err, w.deadLettersARN)
}

func (w *run) follow(ctx context.Context, before int64) (moved int64, err error) {
	deadline, failures, said := w.Now().Add(w.Timeout), 0, int64(-1)
	for {
		task, err := w.task(ctx)
		switch {
		case err != nil:
			if failures++; failures == patience || ctx.Err() != nil {
				return 0, w.goesOn(fmt.Errorf("following the move: %w", err))
			}
		case task.StartedTimestamp <= before: // A list that does not have the move yet shows an earlier one.
			failures = 0
		default:
			failures, moved = 0, task.ApproximateNumberOfMessagesMoved
			switch status := aws.ToString(task.Status); status {
			case "COMPLETED":
				w.Log("moved %d messages from %s to %s", moved, w.deadLetters, w.queue)
				return moved, nil
			case "FAILED", "CANCELLED":
				why := ""
				if reason := plain.Line(aws.ToString(task.FailureReason), 500); reason != "" {
					why = ": " + reason
				}
				return 0, fmt.Errorf("the move from %s ended as %s after %d of %d messages%s; the rest is still there",
					w.deadLetters, status, moved, aws.ToInt64(task.ApproximateNumberOfMessagesToMove), why)
			}
			if moved != said {
				w.Log("moved %d of about %d", moved, aws.ToInt64(task.ApproximateNumberOfMessagesToMove))
				said = moved
			}
		}
		if !w.Now().Before(deadline) {
			return 0, w.goesOn(fmt.Errorf("not finished after %.0f s (--timeout)", w.Timeout.Seconds()))
		}
		select {
		case <-ctx.Done():
			return 0, w.goesOn(ctx.Err())
		case <-time.After(poll):
		}
	}
}

// findLetters reads the depth of the status function's dead letters. SQS cannot
// move these back, since Lambda and EventBridge put them there, and no queue: the
// function takes them by itself.
func (w *run) findLetters(ctx context.Context) (err error) {
	here := w.DeadLetters[:strings.LastIndex(w.DeadLetters, "/")+1]
	if !regexp.MustCompile(`^` + regexp.QuoteMeta(here) + `[A-Za-z0-9_-]{1,80}$`).MatchString(w.StateDeadLetters) {
		return nil // An older stack.
	}
	w.letters = nameOf(w.StateDeadLetters)
	count, inFlight, err := w.depth(ctx, w.StateDeadLetters)
	if err != nil {
		return err
	}
	if count == 0 && inFlight > 0 {
		w.Log("note: %d messages of %s are being read by somebody at the moment; try again when that is over", inFlight, w.letters)
	}
	if count == 0 {
		return nil
	}
	if w.function, err = w.StatusFunction(); err != nil {
		return err
	}
	w.letterCount = count
	w.Log("about %d messages in %s, which %s failed on", count, w.letters, w.function)
	return nil
}

// states calls the status function until it finds no more: a call ends in time,
// and one look into a queue may find less than there is.
func (w *run) states(ctx context.Context) (events int, err error) {
	if w.letterCount == 0 {
		return 0, nil
	}
	for deadline := w.Now().Add(w.Timeout); ; {
		out, err := w.Functions.Invoke(ctx, &lambda.InvokeInput{FunctionName: &w.function, Payload: []byte(Event)})
		if err != nil && ctx.Err() != nil {
			return events, fmt.Errorf("%w; %s may still work off its dead letters; what is left then stays in %s", err, w.function, w.letters)
		}
		if err != nil {
			return events, fmt.Errorf("letting %s work off %s: %w", w.function, w.letters, err)
		}
		found, left, err := answer(out)
		if err != nil {
			return events, fmt.Errorf("%s did not work off %s: %w", w.function, w.letters, err)
		}
		events += found
		switch {
		case left > 0:
			return events, fmt.Errorf("%s worked off %d messages of %s, and failed again on %d, which are still there: its log says why", w.function, events, w.letters, left)
		case found == 0 && events == 0:
			return events, fmt.Errorf("%s found none of about %d messages of %s: somebody reads them, or has just worked them off; run it again in a minute", w.function, w.letterCount, w.letters)
		case found == 0:
			w.Log("%s worked off %d messages of %s", w.function, events, w.letters)
			return events, nil
		case !w.Now().Before(deadline):
			return events, fmt.Errorf("%s worked off %d messages of %s, and is not finished after %.0f s (--timeout); run it again", w.function, events, w.letters, w.Timeout.Seconds())
		}
	}
}

// answer reads what the function says. Lambda answers 200 also when it fails.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
func answer(out *lambda.InvokeOutput) (events, left int, err error) {
	if failure := aws.ToString(out.FunctionError); failure != "" {
		var said struct {
			ErrorMessage string `json:"errorMessage"`
		}
		if json.Unmarshal(out.Payload, &said) != nil || said.ErrorMessage == "" {
			said.ErrorMessage = string(out.Payload)
		}
		return 0, 0, errors.New(plain.Line(failure+": "+said.ErrorMessage, 1000))
	}
	var said struct{ Events, Left *int }
	if json.Unmarshal(out.Payload, &said) != nil || said.Events == nil || said.Left == nil || *said.Events < 0 || *said.Left < 0 {
		return 0, 0, fmt.Errorf(`want {"events", "left"} for an answer, got '%s'; redeploy it with scripts/ops deploy`, plain.Line(string(out.Payload), 200))
	}
	return *said.Events, *said.Left, nil
}
