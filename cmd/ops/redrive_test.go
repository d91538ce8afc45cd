package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
)

const (
	deadLettersARN = "arn:aws:sqs:ap-northeast-1:222222222222:dead-letters"
	queueARN       = "arn:aws:sqs:ap-northeast-1:222222222222:uploads"
)

// letters plays the dead letters of an account: three of uploads, unless said otherwise.
type letters struct {
	*session
	depths   map[string][2]int // of queues by name: visible, and in flight
	messages []types.Message
	uploadID any         // of the artifact; an error refuses the look
	looks    int         // at moves
	tasks    map[int]any // by look, from 1: an error, or what SQS says; the last one stays
	answers  []string    // of the status function, then {"events":0,"left":0}
	failure  *string     // its FunctionError
	invoked  int
}

func newLetters(t *testing.T) *letters {
	t.Helper()
	l := &letters{session: newDeploySession(t), uploadID: "42-7-abc", depths: map[string][2]int{"dead-letters": {3, 0}}, tasks: map[int]any{}}
	l.messages = []types.Message{letter("m-1", "artifacts/web/artifact.gz", "v-1", artifactBucket)}
	awstest.On(l.cloud, func(_ context.Context, in *sqs.GetQueueAttributesInput) (*sqs.GetQueueAttributesOutput, error) {
		name := (*in.QueueUrl)[strings.LastIndex(*in.QueueUrl, "/")+1:]
		depth := l.depths[name]
		return &sqs.GetQueueAttributesOutput{Attributes: map[string]string{
			"QueueArn": "arn:aws:sqs:ap-northeast-1:222222222222:" + name, "ApproximateNumberOfMessages": fmt.Sprint(depth[0]), "ApproximateNumberOfMessagesNotVisible": fmt.Sprint(depth[1]),
		}}, nil
	})
	awstest.On(l.cloud, func(context.Context, *sqs.ReceiveMessageInput) (*sqs.ReceiveMessageOutput, error) {
		return &sqs.ReceiveMessageOutput{Messages: l.messages}, nil
	})
	awstest.On(l.cloud, func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		if err, refused := l.uploadID.(error); refused {
			return nil, err
		}
		return &s3.HeadObjectOutput{Metadata: map[string]string{"upload-id": l.uploadID.(string)}}, nil
	})
	awstest.On(l.cloud, func(ctx context.Context, _ *sqs.ListMessageMoveTasksInput) (*sqs.ListMessageMoveTasksOutput, error) {
		l.looks++
		said := l.tasks[l.looks]
		for n := l.looks; said == nil && n > 0; n-- {
			said = l.tasks[n]
		}
		switch said := said.(type) {
		case error:
			return nil, said
		case func():
			said()
			return nil, ctx.Err()
		case types.ListMessageMoveTasksResultEntry:
			return &sqs.ListMessageMoveTasksOutput{Results: []types.ListMessageMoveTasksResultEntry{{StartedTimestamp: 1, Status: aws.String("FAILED")}, said}}, nil
		}
		return &sqs.ListMessageMoveTasksOutput{}, nil
	})
	awstest.On(l.cloud, func(context.Context, *sqs.StartMessageMoveTaskInput) (*sqs.StartMessageMoveTaskOutput, error) {
		return &sqs.StartMessageMoveTaskOutput{TaskHandle: aws.String("handle")}, nil
	})
	awstest.On(l.cloud, func(context.Context, *lambda.InvokeInput) (*lambda.InvokeOutput, error) {
		said := `{"events":0,"left":0}`
		if len(l.answers) > 0 {
			said = l.answers[min(l.invoked, len(l.answers)-1)]
		}
		l.invoked++
		return &lambda.InvokeOutput{StatusCode: 200, FunctionError: l.failure, Payload: []byte(said)}, nil
	})
	return l
}

// letter is a message of S3.
func letter(id, key, version, bucket string) types.Message {
	body, err := json.Marshal(map[string]any{"Records": []any{map[string]any{"s3": map[string]any{"bucket": map[string]any{"name": bucket}, "object": map[string]any{"key": key, "versionId": version}}}}})
	if err != nil {
		panic(err)
	}
	return types.Message{MessageId: &id, Body: aws.String(string(body))}
}

// task is what SQS says of its newest move when it is asked for the nth time.
func (l *letters) task(n int, status string, moved int64, started ...int64) {
	entry := types.ListMessageMoveTasksResultEntry{Status: &status, ApproximateNumberOfMessagesMoved: moved, ApproximateNumberOfMessagesToMove: aws.Int64(3), StartedTimestamp: 2000}
	if len(started) > 0 {
		entry.StartedTimestamp = started[0]
	}
	l.tasks[n] = entry
}

// moves plays a move that ends at the third look; the first one is before it begins.
func (l *letters) moves() {
	l.task(2, "RUNNING", 1)
	l.task(3, "COMPLETED", 3)
}

// states makes the stack have so many dead letters of the status function.
func (l *letters) states(visible, inFlight int, function string) {
	l.cloud.PlayAccount(deployAccount, map[string]map[string]string{"Deploy-staging": deployOutputs(
		"StatusDeadLetterQueueUrl", "https://sqs.ap-northeast-1.amazonaws.com/222222222222/state-letters", "StatusFunctionName", function)})
	l.depths["state-letters"] = [2]int{visible, inFlight}
}

// noUploads leaves the trigger's dead letters empty.
func (l *letters) noUploads() { l.depths["dead-letters"], l.messages = [2]int{}, nil }

// redrive runs the command; a look at the clock takes no time.
func (l *letters) redrive(t *testing.T, args ...string) error {
	t.Helper()
	l.out.Reset()
	l.err.Reset()
	return l.run(t, append([]string{"redrive", "--env", "staging", "--profile", "b"}, args...)...)
}

func (l *letters) started() []*sqs.StartMessageMoveTaskInput {
	return awstest.Inputs[sqs.StartMessageMoveTaskInput](l.cloud)
}

// ended is the result.
func (l *letters) ended(t *testing.T) string {
	t.Helper()
	var r map[string]any
	require.NoError(t, json.Unmarshal(l.out.Bytes(), &r), "%s", l.out.String())
	return fmt.Sprint(r["status"], " ", r["moved"], " ", r["deadLetterQueue"], " ", r["queue"], " ", r["events"])
}

// failed checks an end, and that there is no result.
func (l *letters) failed(t *testing.T, err error, status int, words ...string) {
	t.Helper()
	assert.Equal(t, status, exitStatus(err))
	for _, w := range words {
		assert.ErrorContains(t, err, w)
	}
	assert.Empty(t, l.out.String())
}

func TestRedrive(t *testing.T) {
	const all = "COMPLETED 3 dead-letters uploads 0"

	t.Run("S14: it finds the uploads among the dead letters, moves them, and finds nothing after that", func(t *testing.T) {
		l := newLetters(t)
		l.states(1, 0, "status-function")
		l.messages = []types.Message{letter("m-1", "artifacts/sample+web/artifact.gz", "", artifactBucket), {MessageId: aws.String("m-2"), Body: aws.String("{}")}}
		l.depths["dead-letters"] = [2]int{2, 0}
		l.answers = []string{`{"events":1,"left":0}`, `{"events":0,"left":0}`}
		l.task(2, "COMPLETED", 2)
		require.NoError(t, l.redrive(t, "--yes"))
		assert.Contains(t, l.err.String(), "about 2 messages in dead-letters of account 222222222222, ap-northeast-1, such as:\n  artifacts/sample web/artifact.gz upload 42-7-abc\n  message m-2, which is about no artifact\n")
		assert.Contains(t, l.err.String(), "status-function worked off 1 messages of state-letters")
		assert.Equal(t, "COMPLETED 2 dead-letters uploads 1", l.ended(t))
		for _, in := range awstest.Inputs[lambda.InvokeInput](l.cloud) {
			assert.JSONEq(t, `{"source": "gitlab-codedeploy", "detail-type": "Redrive"}`, string(in.Payload))
		}
		l.noUploads()
		l.states(0, 0, "status-function")
		require.NoError(t, l.redrive(t, "--yes"))
		assert.Equal(t, "NOTHING 0 dead-letters uploads 0", l.ended(t))
		assert.Contains(t, l.err.String(), "nothing to move: dead-letters is empty")
		assert.Len(t, l.started(), 1)
		assert.Equal(t, 2, l.invoked)
	})

	t.Run("S15: redrive refuses a profile of another account, and names both accounts", func(t *testing.T) {
		l := newLetters(t)
		l.cloud.PlayAccount("333333333333", nil)
		l.failed(t, l.redrive(t, "--yes"), 2, "the credentials are of account 333333333333, but Deploy-staging belongs to account 222222222222 (deploy.account in config/staging.yaml)")
	})

	t.Run("S14: the move goes from the dead-letter queue to the queue, and is followed to its end", func(t *testing.T) {
		l := newLetters(t)
		l.moves()
		require.NoError(t, l.redrive(t, "--yes"))
		require.Len(t, l.started(), 1)
		assert.Equal(t, []string{deadLettersARN, queueARN}, []string{*l.started()[0].SourceArn, *l.started()[0].DestinationArn})
		assert.Regexp(t, `(?s)moved 1 of about 3.*moved 3 messages from dead-letters to uploads`, l.err.String())
		assert.Equal(t, all, l.ended(t))
	})

	t.Run("S14: peeking leaves the messages where they are", func(t *testing.T) {
		l := newLetters(t)
		l.moves()
		require.NoError(t, l.redrive(t, "--yes"))
		peeked := awstest.Inputs[sqs.ReceiveMessageInput](l.cloud)
		require.Len(t, peeked, 1)
		assert.Equal(t, []int32{0, 1, 5}, []int32{peeked[0].VisibilityTimeout, peeked[0].WaitTimeSeconds, peeked[0].MaxNumberOfMessages})
		assert.Contains(t, l.err.String(), "about 3 messages in dead-letters of account 222222222222, ap-northeast-1, such as:\n  artifacts/web/artifact.gz version v-1 upload 42-7-abc\n")
		head := awstest.Inputs[s3.HeadObjectInput](l.cloud)
		require.Len(t, head, 1)
		assert.Equal(t, []string{artifactBucket, "artifacts/web/artifact.gz", "v-1"}, []string{*head[0].Bucket, *head[0].Key, *head[0].VersionId})
	})

	t.Run("S14: nothing to move is no failure, and starts nothing", func(t *testing.T) {
		l := newLetters(t)
		l.noUploads()
		require.NoError(t, l.redrive(t, "--yes"))
		assert.Contains(t, l.err.String(), "nothing to move: dead-letters is empty")
		assert.Equal(t, "NOTHING 0 dead-letters uploads 0", l.ended(t))
		assert.Empty(t, l.started())
	})

	t.Run("S14: a depth of 0 that is out of date does not hide a message at hand", func(t *testing.T) {
		l := newLetters(t)
		l.depths["dead-letters"] = [2]int{}
		l.moves()
		require.NoError(t, l.redrive(t, "--yes"))
		assert.Contains(t, l.err.String(), "about 1 messages in dead-letters")
		assert.Len(t, l.started(), 1)
	})

	t.Run("S14: messages that somebody is reading are not taken for none", func(t *testing.T) {
		l := newLetters(t)
		l.depths["dead-letters"], l.messages = [2]int{0, 4}, nil
		l.failed(t, l.redrive(t, "--yes"), 1, "4 messages of dead-letters are being read by somebody")
	})

	t.Run("S14: a move that is under way is followed instead of asked for again", func(t *testing.T) {
		l := newLetters(t)
		l.task(1, "RUNNING", 1, 1000)
		l.task(2, "RUNNING", 2, 1000)
		l.task(3, "COMPLETED", 3, 1000)
		require.NoError(t, l.redrive(t, "--yes"))
		assert.Contains(t, l.err.String(), "a move from dead-letters is under way already (1 messages moved): following that one")
		assert.Equal(t, all, l.ended(t))
		assert.Empty(t, l.started())
	})

	t.Run("S14: the end of an earlier move is not taken for the end of this one", func(t *testing.T) {
		l := newLetters(t)
		l.task(1, "COMPLETED", 9, 1000)
		l.task(2, "COMPLETED", 9, 1000)
		l.task(3, "RUNNING", 1, 2000)
		l.task(4, "COMPLETED", 3, 2000)
		require.NoError(t, l.redrive(t, "--yes"))
		assert.Equal(t, all, l.ended(t))
		assert.NotContains(t, l.err.String(), "moved 9")
	})

	t.Run("S14: a failed or cancelled move ends with 1, what was moved and why", func(t *testing.T) {
		for _, how := range []string{"FAILED", "CANCELLED"} {
			l := newLetters(t)
			l.tasks[2] = types.ListMessageMoveTasksResultEntry{Status: &how, ApproximateNumberOfMessagesMoved: 1, ApproximateNumberOfMessagesToMove: aws.Int64(3), StartedTimestamp: 2000, FailureReason: aws.String("AccessDenied\x1b[2J to uploads")}
			err := l.redrive(t, "--yes")
			l.failed(t, err, 1, "the move from dead-letters ended as "+how+" after 1 of 3 messages: AccessDenied to uploads; the rest is still there")
			printable(t, err.Error())
		}
	})

	t.Run("S14: a move that SQS refuses to start ends with 1 and AWS's words", func(t *testing.T) {
		l := newLetters(t)
		refuse[sqs.StartMessageMoveTaskInput, sqs.StartMessageMoveTaskOutput](l.session, "AccessDenied", "no")
		l.failed(t, l.redrive(t, "--yes"), 1, "starting the move from dead-letters to uploads: ", "AccessDenied")
	})

	t.Run("S14: a look that fails now and then does not end the following, three in a row do", func(t *testing.T) {
		l := newLetters(t)
		l.tasks[1] = types.ListMessageMoveTasksResultEntry{}
		l.tasks[2], l.tasks[3] = errors.New("no such host"), errors.New("no such host")
		l.task(4, "COMPLETED", 3)
		require.NoError(t, l.redrive(t, "--yes"))

		l = newLetters(t)
		l.tasks[1], l.tasks[2] = types.ListMessageMoveTasksResultEntry{}, awstest.Refusal("ExpiredToken", "expired")
		l.failed(t, l.redrive(t, "--yes"), 1, "following the move: operation error SQS: ListMessageMoveTasks, api error ExpiredToken: expired; SQS goes on with the move.", "aws sqs list-message-move-tasks --source-arn "+deadLettersARN)
		assert.Equal(t, 4, l.looks)
	})

	t.Run("S14: a move that takes too long goes on, and it is said how to look", func(t *testing.T) {
		l := newLetters(t)
		l.tasks[1] = types.ListMessageMoveTasksResultEntry{}
		l.task(2, "RUNNING", 1)
		l.failed(t, l.redrive(t, "--yes", "--timeout", "7"), 1, "not finished after 7 s (--timeout); SQS goes on with the move.", "scripts/ops redrive again, or aws sqs list-message-move-tasks")
		// Once, not at each look.
		assert.Equal(t, 1, strings.Count(l.err.String(), "moved 1 of"))
		assert.Equal(t, 1+5, l.looks, "one before, and one each two seconds")
	})

	// interrupt runs the command and interrupts it in the middle.
	interrupt := func(t *testing.T, l *letters, at func(interrupt func())) (said string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			at(cancel)
			root := l.command()
			root.SetArgs([]string{"redrive", "--env", "staging", "--yes"})
			err := root.ExecuteContext(ctx)
			said = message(ctx, err)
			assert.Equal(t, 1, exitStatus(err))
		})
		assert.Empty(t, l.out.String())
		return said
	}

	t.Run("S14: interrupted while it follows, it says that the move goes on and how to look", func(t *testing.T) {
		l := newLetters(t)
		l.tasks[1] = types.ListMessageMoveTasksResultEntry{}
		said := interrupt(t, l, func(now func()) { l.tasks[2] = now })
		assert.Regexp(t, `^interrupted: .*SQS goes on with the move.*aws sqs list-message-move-tasks --source-arn `+deadLettersARN, said)
		assert.Len(t, l.started(), 1)

		l = newLetters(t)
		l.task(2, "RUNNING", 1)
		said = interrupt(t, l, func(now func()) { time.AfterFunc(5*time.Second, now) })
		assert.Contains(t, said, "SQS goes on with the move")
	})

	t.Run("S14: interrupted before the move it says nothing of one", func(t *testing.T) {
		l := newLetters(t)
		said := interrupt(t, l, func(now func()) {
			awstest.On(l.cloud, func(ctx context.Context, _ *sqs.ReceiveMessageInput) (*sqs.ReceiveMessageOutput, error) {
				now()
				return nil, ctx.Err()
			})
		})
		assert.Contains(t, said, "interrupted: ")
		assert.NotContains(t, said, "goes on")
		assert.Empty(t, l.started())
	})

	t.Run("S14: on a terminal it names account, region, queues and count, and a no moves nothing", func(t *testing.T) {
		l := newLetters(t)
		l.answer = func() string { return "n" }
		l.failed(t, l.redrive(t), 1, "not confirmed; nothing was done")
		assert.Contains(t, l.err.String(), "Account 222222222222, ap-northeast-1: move about 3 messages from dead-letters back to uploads? [y/N]")
		assert.Empty(t, l.started())
		l.answer = func() string { return "y" }
		l.looks = 0
		l.moves()
		require.NoError(t, l.redrive(t))
		assert.Len(t, l.started(), 1)
	})

	t.Run("S14: without --yes and without a terminal nothing is called", func(t *testing.T) {
		l := newLetters(t)
		l.terminal = false
		l.failed(t, l.redrive(t), 2, "pass --yes")
		assert.Empty(t, l.cloud.Names())
	})

	t.Run("S14: --dry-run prints the calls up to the one that starts the move, which is not made", func(t *testing.T) {
		l := newLetters(t)
		l.terminal = false
		err := l.redrive(t, "--dry-run")
		assert.Equal(t, 0, exitStatus(err))
		assert.Contains(t, l.out.String(), `sqs:StartMessageMoveTask {"DestinationArn":"`+queueARN+`","SourceArn":"`+deadLettersARN+`"}`)
		assert.Empty(t, l.started())

		l = newLetters(t)
		l.noUploads()
		l.states(1, 0, "status-function")
		assert.Equal(t, 0, exitStatus(l.redrive(t, "--dry-run")))
		assert.Contains(t, l.out.String(), `lambda:Invoke {"FunctionName":"status-function"`)
		assert.Zero(t, l.invoked)
	})

	t.Run("S14: hostile messages are shown as text", func(t *testing.T) {
		l := newLetters(t)
		l.depths["dead-letters"] = [2]int{9, 0}
		l.moves()
		l.messages = []types.Message{
			letter("m-1", "artifacts/a%1B%5B2J%0Ab.gz", "v-1", artifactBucket),
			letter("m-2", "file:///etc/passwd", "", artifactBucket),
			letter("m-3", "artifacts/other.gz", "v-3", "another-bucket"),
			letter("m-4", "artifacts/%ZZ.gz", "", artifactBucket),
			letter("m-5", "artifacts/ok.gz", "--profile x", artifactBucket),
			{MessageId: aws.String("m-6\x1b[2J"), Body: aws.String(`{"Event":"s3:TestEvent"}`)},
			{MessageId: aws.String("m-7"), Body: aws.String("\x1b]0;owned\x07")},
			letter("m-8", "artifacts/seen-once.gz", "", artifactBucket),
			letter("m-8", "artifacts/seen-twice.gz", "", artifactBucket),
		}
		require.NoError(t, l.redrive(t, "--yes"))
		printable(t, l.err.String())
		for _, want := range []string{
			"artifacts/a b.gz version v-1", "file:///etc/passwd", "artifacts/other.gz version v-3\n", "message m-4, which is about no artifact",
			"artifacts/ok.gz version --profile?x", "message m-6??2J, which is about no artifact", "message m-7, which", "artifacts/seen-twice.gz upload 42-7-abc",
		} {
			assert.Contains(t, l.err.String(), "\n  "+want)
		}
		// The last body of a message that came twice counts; what is in another bucket is not looked up.
		assert.NotContains(t, l.err.String(), "seen-once")
		for _, in := range awstest.Inputs[s3.HeadObjectInput](l.cloud) {
			assert.NotEqual(t, "artifacts/other.gz", *in.Key)
		}
	})

	t.Run("S14: an upload id that is none, or an object that is gone, does not stop the redrive", func(t *testing.T) {
		for shown, id := range map[string]any{
			" without an upload id\n": "../../x",
			" without an upload id":   "",
			" (the object cannot be read: operation error S3: HeadObject, api error NotFound: Not Found)": awstest.Refusal("NotFound", "Not Found"),
		} {
			l := newLetters(t)
			l.moves()
			l.uploadID = id
			require.NoError(t, l.redrive(t, "--yes"))
			assert.Contains(t, l.err.String(), "version v-1"+shown)
		}
	})

	t.Run("S14: after the move the status function works off its own dead letters, until it finds none", func(t *testing.T) {
		l := newLetters(t)
		l.moves()
		l.states(12, 0, "status-function")
		l.answers = []string{`{"events":10,"left":0}`, `{"events":2,"left":0}`, `{"events":0,"left":0}`}
		require.NoError(t, l.redrive(t, "--yes"))
		assert.Regexp(t, `(?s)about 12 messages in state-letters, which status-function failed on.*moved 3 messages.*status-function worked off 12 messages of state-letters`, l.err.String())
		assert.Equal(t, "COMPLETED 3 dead-letters uploads 12", l.ended(t))
		assert.Equal(t, 3, l.invoked)
	})

	t.Run("S14: state changes are worked off also when no upload is a dead letter, or when a move is under way", func(t *testing.T) {
		l := newLetters(t)
		l.noUploads()
		l.states(1, 0, "status-function")
		l.answers = []string{`{"events":1,"left":0}`, `{"events":0,"left":0}`}
		require.NoError(t, l.redrive(t, "--yes"))
		assert.Equal(t, "NOTHING 0 dead-letters uploads 1", l.ended(t))
		assert.Empty(t, l.started())

		l = newLetters(t)
		l.task(1, "RUNNING", 1, 1000)
		l.task(2, "COMPLETED", 3, 1000)
		l.states(1, 0, "status-function")
		l.answers = []string{`{"events":1,"left":0}`, `{"events":0,"left":0}`}
		require.NoError(t, l.redrive(t, "--yes"))
		assert.Equal(t, "COMPLETED 3 dead-letters uploads 1", l.ended(t))
	})

	t.Run("S14: without dead letters of its own the status function is not called", func(t *testing.T) {
		for _, inFlight := range []int{0, 2} {
			l := newLetters(t)
			l.noUploads()
			l.states(0, inFlight, "status-function")
			require.NoError(t, l.redrive(t, "--yes"))
			assert.Zero(t, l.invoked)
			assert.Equal(t, "NOTHING 0 dead-letters uploads 0", l.ended(t))
			assert.Equal(t, inFlight > 0, strings.Contains(l.err.String(), "note: 2 messages of state-letters are being read by somebody"))
		}
	})

	t.Run("S14: on a terminal the status function is named in the question, and a no calls nothing", func(t *testing.T) {
		l := newLetters(t)
		l.answer = func() string { return "" }
		l.states(7, 0, "status-function")
		l.failed(t, l.redrive(t), 1)
		assert.Contains(t, l.err.String(), "move about 3 messages from dead-letters back to uploads, and let status-function work off about 7 messages of state-letters? [y/N]")
		l.noUploads()
		l.failed(t, l.redrive(t), 1)
		assert.Contains(t, l.err.String(), "ap-northeast-1: let status-function work off about 7 messages of state-letters? [y/N]")
		assert.Empty(t, l.started())
		assert.Zero(t, l.invoked)
	})

	t.Run("S14 redrive | the status function answers 200 and has failed | exit 1 with its error; the uploads are moved", func(t *testing.T) {
		l := newLetters(t)
		l.moves()
		l.states(1, 0, "status-function")
		l.failure, l.answers = aws.String("Unhandled"), []string{`{"errorMessage":"look into the dead letters: \u001b[2J denied","errorType":"wrapError"}`}
		err := l.redrive(t, "--yes")
		l.failed(t, err, 1, "status-function did not work off state-letters: Unhandled: look into the dead letters: denied")
		printable(t, err.Error())
		assert.Contains(t, l.err.String(), "moved 3 messages")
		assert.Equal(t, 1, l.invoked)
	})

	t.Run("S14 redrive | the status function fails again on some events | exit 1 with how many; they stay", func(t *testing.T) {
		l := newLetters(t)
		l.noUploads()
		l.states(3, 0, "status-function")
		l.answers = []string{`{"events":1,"left":2}`}
		l.failed(t, l.redrive(t, "--yes"), 1, "status-function worked off 1 messages of state-letters, and failed again on 2, which are still there: its log says why")
	})

	t.Run("S14 redrive | the status function may not be called | exit 1 with AWS's words; the uploads are moved", func(t *testing.T) {
		l := newLetters(t)
		l.moves()
		l.states(3, 0, "status-function")
		refuse[lambda.InvokeInput, lambda.InvokeOutput](l.session, "AccessDeniedException", "no")
		l.failed(t, l.redrive(t, "--yes"), 1, "letting status-function work off state-letters: ", "AccessDeniedException")
		assert.Contains(t, l.err.String(), "moved 3 messages")
	})

	t.Run("S14 redrive | the status function's answer is that of an older one, or none | exit 1 with the answer", func(t *testing.T) {
		for _, said := range []string{"null", "", `{"events":"1","left":0}`, `{"events":-1,"left":0}`, `{"events":1}`, "x", "[]"} {
			l := newLetters(t)
			l.noUploads()
			l.states(3, 0, "status-function")
			l.answers = []string{said}
			l.failed(t, l.redrive(t, "--yes"), 1, `status-function did not work off state-letters: want {"events", "left"} for an answer, got '`+said+`'; redeploy it`)
		}
	})

	t.Run("S14 redrive | the status function finds none of its dead letters | exit 1, to be run again", func(t *testing.T) {
		l := newLetters(t)
		l.noUploads()
		l.states(3, 0, "status-function")
		l.failed(t, l.redrive(t, "--yes"), 1, "status-function found none of about 3 messages of state-letters", "run it again in a minute")
	})

	t.Run("S14 redrive | the status function is never finished | it ends after --timeout, and says so", func(t *testing.T) {
		l := newLetters(t)
		l.noUploads()
		l.states(3, 0, "status-function")
		awstest.On(l.cloud, func(context.Context, *lambda.InvokeInput) (*lambda.InvokeOutput, error) {
			time.Sleep(time.Minute)
			return &lambda.InvokeOutput{Payload: []byte(`{"events":10,"left":0}`)}, nil
		})
		l.failed(t, l.redrive(t, "--yes", "--timeout", "150"), 1, "status-function worked off 30 messages of state-letters, and is not finished after 150 s (--timeout); run it again")
	})

	t.Run("S14 redrive | interrupted while the status function works | it says that the function may go on", func(t *testing.T) {
		l := newLetters(t)
		l.noUploads()
		l.states(3, 0, "status-function")
		said := interrupt(t, l, func(now func()) {
			awstest.On(l.cloud, func(ctx context.Context, _ *lambda.InvokeInput) (*lambda.InvokeOutput, error) {
				now()
				return nil, ctx.Err()
			})
		})
		assert.Regexp(t, `^interrupted: .*; status-function may still work off its dead letters`, said)
	})

	t.Run("S15: an output that is no function's name reaches no call", func(t *testing.T) {
		l := newLetters(t)
		l.states(3, 0, "--profile")
		l.failed(t, l.redrive(t, "--yes"), 1, `output StatusFunctionName of stack Deploy-staging is "--profile"`)
		assert.Empty(t, l.started())
		assert.Zero(t, l.invoked)
	})

	t.Run("S15: redrive with expired credentials names account, AWS's words and the remedy", func(t *testing.T) {
		l := newLetters(t)
		refuse[sts.GetCallerIdentityInput, sts.GetCallerIdentityOutput](l.session, "ExpiredToken", "The security token included in the request is expired")
		l.failed(t, l.redrive(t, "--yes"), 2, "no credentials for account 222222222222 (deploy.account in config/staging.yaml)", "ExpiredToken", "aws sso login")
		assert.Equal(t, []string{"sts:GetCallerIdentity"}, l.cloud.Names())
	})

	t.Run("S15: redrive in an environment that does not exist is answered with the ones that do", func(t *testing.T) {
		l := newLetters(t)
		l.failed(t, l.run(t, "redrive", "--env", "nope", "--yes"), 2, `got "nope", want one of staging`)
		assert.Empty(t, l.cloud.Names())
	})

	t.Run("S15: redrive of a stack that is not deployed names the command that makes it", func(t *testing.T) {
		l := newLetters(t)
		l.cloud.PlayAccount(deployAccount, nil)
		l.failed(t, l.redrive(t, "--yes"), 2, "no stack Deploy-staging in account 222222222222, ap-northeast-1: scripts/ops deploy --env staging makes it")
	})

	t.Run("S15: whatever AWS refuses before the move ends with 1, and starts nothing", func(t *testing.T) {
		for words, deny := range map[string]func(*session){
			"read the outputs of stack Deploy-staging": func(s *session) {
				refuse[cloudformation.DescribeStacksInput, cloudformation.DescribeStacksOutput](s, "AccessDenied", "no")
			},
			"looking for moves from dead-letters": func(s *session) {
				refuse[sqs.ListMessageMoveTasksInput, sqs.ListMessageMoveTasksOutput](s, "AccessDenied", "no")
			},
			"looking at dead-letters": func(s *session) {
				refuse[sqs.GetQueueAttributesInput, sqs.GetQueueAttributesOutput](s, "AccessDenied", "no")
			},
			"looking into dead-letters": func(s *session) {
				refuse[sqs.ReceiveMessageInput, sqs.ReceiveMessageOutput](s, "AccessDenied", "no")
			},
		} {
			l := newLetters(t)
			deny(l.session)
			l.failed(t, l.redrive(t, "--yes"), 1, words, "AccessDenied")
			assert.Empty(t, l.started())
		}
	})

	t.Run("S15: what a queue says of itself has to make sense", func(t *testing.T) {
		for want, attributes := range map[string]map[string]string{
			`the ARN of dead-letters is "x", want one of SQS`: {"QueueArn": "x"},
			"the depth of dead-letters is ":                   {"QueueArn": deadLettersARN, "ApproximateNumberOfMessages": "many"},
		} {
			l := newLetters(t)
			awstest.On(l.cloud, func(context.Context, *sqs.GetQueueAttributesInput) (*sqs.GetQueueAttributesOutput, error) {
				return &sqs.GetQueueAttributesOutput{Attributes: maps.Clone(attributes)}, nil
			})
			l.failed(t, l.redrive(t, "--yes"), 1, want)
		}
	})

	t.Run("S15: outputs that are no queues reach no call", func(t *testing.T) {
		l := newLetters(t)
		outputs := deployOutputs()
		outputs["DeadLetterQueueUrl"] = "https://evil.example.com/?/222222222222/x"
		l.cloud.PlayAccount(deployAccount, map[string]map[string]string{"Deploy-staging": outputs})
		l.failed(t, l.redrive(t, "--yes"), 1, `output DeadLetterQueueUrl of stack Deploy-staging is "https://evil.example.com/?/222222222222/x"`)
		assert.NotContains(t, strings.Join(l.cloud.Names(), " "), "sqs:")
	})

	t.Run("S15: wrong use of redrive ends with 2, says what is wrong, and calls nothing", func(t *testing.T) {
		for args, want := range map[string]string{
			"--yes":                      "--env is required",
			"--profile b --env":          "flag needs an argument: --env",
			"--env staging --all":        "unknown flag: --all",
			"--env staging --timeout 2h": "--timeout: want seconds, got '2h'",
		} {
			l := newLetters(t)
			l.failed(t, l.run(t, append([]string{"redrive"}, strings.Fields(args)...)...), 2, want)
			assert.Empty(t, l.cloud.Names())
		}
	})

	t.Run("S15: ops lists redrive, and it has a help", func(t *testing.T) {
		l := newLetters(t)
		require.NoError(t, l.run(t, "--help"))
		assert.Regexp(t, `(?m)^  redrive +Move the uploads in the dead-letter queue`, l.out.String())
		require.NoError(t, l.run(t, "redrive", "--help"))
		assert.Contains(t, l.out.String(), "ops redrive --env NAME")
	})
}
