package deploy

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/lambda/internal/status"
)

func TestS14_TheDelayDoublesUpToSixMinutes(t *testing.T) {
	for receives, want := range map[int]time.Duration{
		-1: 10 * time.Second, 0: 10 * time.Second, 1: 10 * time.Second, 2: 20 * time.Second, 3: 40 * time.Second,
		4: 80 * time.Second, 5: 160 * time.Second, 6: 320 * time.Second, 7: 6 * time.Minute, 8: 6 * time.Minute, 1000: 6 * time.Minute,
	} {
		shortest := (&Patience{Random: func() float64 { return 0 }}).delay(receives)
		longest := (&Patience{Random: func() float64 { return 1 }}).delay(receives)
		assert.Equal(t, want, shortest, "after %d receives", receives)
		assert.Equal(t, want*11/10, longest, "after %d receives", receives)
	}
	seen := map[time.Duration]bool{}
	for range 20 {
		delay := (&Patience{}).delay(9)
		assert.True(t, 6*time.Minute <= delay && delay < 396*time.Second, "%s", delay)
		seen[delay] = true
	}
	assert.Greater(t, len(seen), 1, "messages that were given back together come apart")
}

func groupBusy(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
	return nil, &types.DeploymentLimitExceededException{Message: aws.String("The Deployment Group 'web-blue-green' already has an active Deployment 'd-ABCDEF123'")}
}

func TestS14_ABusyGroupKeepsTheMessageAndTellsTheJob(t *testing.T) {
	w := &world{create: groupBusy}
	h := w.handler()
	for receive := 1; receive <= 3; receive++ {
		assert.Equal(t, []string{"m1"}, handle(t, t.Context(), h, message("m1", receive)))
		got := w.status(t, "artifact")
		assert.Equal(t, status.Waiting, got.State)
		assert.Equal(t, "the group's deployment before this one has not ended", got.Reason)
	}
	assert.Equal(t, []int32{10, 20, 40}, []int32{w.hides[0].VisibilityTimeout, w.hides[1].VisibilityTimeout, w.hides[2].VisibilityTimeout})
	assert.Equal(t, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: aws.String("https://sqs.test/queue"), ReceiptHandle: aws.String("r1"), VisibilityTimeout: 10,
	}, w.hides[0])
	assert.Equal(t, "waiting", w.logged(t)[0]["msg"])
	assert.Equal(t, "INFO", w.logged(t)[0]["level"], "waiting is no fault")

	w.create = nil
	assert.Empty(t, handle(t, t.Context(), h, message("m1", 4)))
	assert.Len(t, w.hides, 3, "what is done is not hidden")
	got := w.status(t, "artifact")
	assert.Equal(t, status.Created, got.State)
	assert.Empty(t, got.Reason)
}

//fault:words an upload waits | its state says what for
func TestS14_TheJobLearnsWhatItWaitsFor(t *testing.T) {
	throttled := &smithy.GenericAPIError{Code: "ThrottlingException", Message: "Rate exceeded, request 123"}
	for name, tt := range map[string]struct {
		sabotage func(*world)
		want     string
	}{
		"CreateDeployment": {func(w *world) {
			w.create = func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
				return nil, throttled
			}
		}, "will be tried again: AWS answered ThrottlingException"},
		"ListDeployments": {func(w *world) {
			w.list = func(context.Context, *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
				return nil, throttled
			}
		}, "will be tried again: AWS answered ThrottlingException"},
		"GetDeploymentGroup": {func(w *world) {
			w.group = func(context.Context, *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error) {
				return nil, throttled
			}
		}, "will be tried again: AWS answered ThrottlingException"},
		"no answer": {func(w *world) {
			w.create = func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
				return nil, errors.New("connection reset")
			}
		}, "will be tried again: AWS did not answer as it should, see the trigger's log"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			tt.sabotage(w)
			assert.Equal(t, []string{"m1"}, handle(t, t.Context(), w.handler(), message("m1", 1)))
			got := w.status(t, "artifact")
			assert.Equal(t, status.Waiting, got.State)
			assert.Equal(t, tt.want, got.Reason)
			assert.Contains(t, w.metrics.String(), `"UploadsFailed":1`)

			later := time.Now().Add(Lease)
			*w = world{objects: w.objects, now: func() time.Time { return later }}
			assert.Empty(t, handle(t, t.Context(), w.handler(), message("m1", 2)), "cured")
			assert.Equal(t, status.Created, w.status(t, "artifact").State)
		})
	}
}

func TestS14_APermanentFaultOfCodeDeployIsToldAtOnce(t *testing.T) {
	for name, sabotage := range map[string]func(*world){
		"at the look": func(w *world) {
			w.list = func(context.Context, *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
				return nil, &types.DeploymentGroupDoesNotExistException{}
			}
		},
		"at the call": func(w *world) {
			w.create = func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
				return nil, &types.DeploymentGroupDoesNotExistException{}
			}
		},
		"before": func(w *world) {
			w.group = func(context.Context, *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error) {
				return nil, &types.DeploymentGroupDoesNotExistException{}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			sabotage(w)
			assert.Empty(t, handle(t, t.Context(), w.handler(), message("m1", 1)))
			got := w.status(t, "artifact")
			assert.Equal(t, status.Rejected, got.State)
			assert.Contains(t, got.Reason, "create the deployment group, or correct deploymentgroup-name, then run the job again")
			assert.Contains(t, w.metrics.String(), `"UploadsRejected":1`)

			*w = world{objects: w.objects}
			assert.Empty(t, handle(t, t.Context(), w.handler(), message("m1", 2)))
			assert.Empty(t, w.creates, "the end stays the end")
			assert.Empty(t, w.metrics.String(), "and is counted once")
		})
	}
}

func TestS14_AVerdictThatCannotBeToldIsTriedAgain(t *testing.T) {
	w := &world{put: func(*s3.PutObjectInput) error { return httpError(503) }}
	h := w.handler()
	h.Trigger.Allowed = nil
	assert.Equal(t, []string{"m1"}, handle(t, t.Context(), h, message("m1", 1)))
	w.put = nil
	assert.Empty(t, handle(t, t.Context(), h, message("m1", 2)))
	assert.Equal(t, status.Rejected, w.status(t, "artifact").State)
}

func TestS14_AStatusThatCannotBeReadStopsBeforeAnythingIsDeployed(t *testing.T) {
	w := &world{get: func(*s3.GetObjectInput) error { return httpError(403) }}
	assert.Equal(t, []string{"m1"}, handle(t, t.Context(), w.handler(), message("m1", 2)))
	assert.Empty(t, w.creates)
}

//fault:words SQS refuses to hide a message | it comes back at the pace of the queue
func TestS14_WithoutAQueueOrItsLeaveMessagesComeAtItsOwnPace(t *testing.T) {
	w := &world{create: groupBusy}
	h := w.handler()
	h.Patience = nil
	assert.Equal(t, []string{"m1"}, handle(t, t.Context(), h, message("m1", 1)))
	assert.Empty(t, w.hides)

	w.hide = func(*sqs.ChangeMessageVisibilityInput) error { return errors.New("AccessDenied") }
	assert.Equal(t, []string{"m1"}, handle(t, t.Context(), w.handler(), message("m1", 2)))
	lines := w.logged(t)
	assert.Equal(t, "a message waits as long as the queue says", lines[len(lines)-1]["msg"])
}

func TestS14_DelaysTakeNoMoreThanHalfOfTheTimeForTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.head = func(ctx context.Context, _ *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		h := w.handler()
		h.Patience.Client = sleeper{}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		assert.Len(t, handle(t, ctx, h, batchOf(body(s3Record(testBucket, testKey, "v1")), "{}", "{}")), 3)
		deadline, _ := ctx.Deadline()
		assert.Equal(t, 500*time.Millisecond, time.Until(deadline))
	})
}

// sleeper never answers.
type sleeper struct{}

func (sleeper) ChangeMessageVisibility(ctx context.Context, _ *sqs.ChangeMessageVisibilityInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestS14_AMessageWithoutACountCountsAsNew(t *testing.T) {
	for text, want := range map[string]int{"": 0, "x": 0, "7": 7} {
		assert.Equal(t, want, receives(events.SQSMessage{Attributes: map[string]string{"ApproximateReceiveCount": text}}))
	}
	assert.Zero(t, receives(events.SQSMessage{}))
	(*Patience)(nil).GiveBack(t.Context(), slog.Default(), []events.SQSMessage{{}})
}
