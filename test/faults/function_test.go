package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"gitlab-codedeploy/lambda/deploy"
	"gitlab-codedeploy/lambda/environment"
	"gitlab-codedeploy/lambda/report"
	"gitlab-codedeploy/test/faults/cloud"
)

// arrival is something a function did.
type arrival struct {
	from *function
	// One of:
	call   *call   // it called AWS
	gone   *call   // it hung up on a call that nobody had answered
	result *result // it answered an invocation
	err    error   // it did something that this simulation does not understand
}

// call is a request to AWS that waits for its answer.
type call struct {
	request cloud.Request
	answer  chan *cloud.Response // nil resets the connection
}

// result is how an invocation ended, in the function's words.
type result struct {
	back   []string // messages that have to come again
	failed string   // "" or the error that was returned
	killed bool
}

// function is one Lambda execution environment: the library that the program
// wires, with what it keeps from invocation to invocation. It runs in this
// process, and all of its calls to AWS come here.
//
// A killed function goes on computing, as a thread without a core would: but
// none of its calls reaches AWS, and nobody hears its answer.
type function struct {
	name    string
	arrived func(arrival)
	upload  *deploy.Handler
	events  *report.Reporter
	dead    atomic.Bool
	kill    context.CancelFunc // of the present invocation
	log     tail
}

// taskRoot is a folder with the functions' allow-list and GitLab's keys.
var taskRoot = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "faults-")
	if err != nil {
		return "", err
	}
	removeAtEnd = append(removeAtEnd, dir)
	return dir, errors.Join(
		os.WriteFile(filepath.Join(dir, "deployment-groups.json"), allowList(), 0o600),
		os.WriteFile(filepath.Join(dir, "gitlab-keys.json"), gitlab().Keys().Encode(), 0o600))
})

// newFunction starts a function by its name: "trigger" or "status".
func newFunction(name string, arrived func(arrival)) (*function, error) {
	root, err := taskRoot()
	if err != nil {
		return nil, err
	}
	f := &function{name: name, arrived: arrived}
	env := map[string]string{
		"AWS_ENDPOINT_URL": "http://localhost", "AWS_LAMBDA_FUNCTION_NAME": name, "AWS_REGION": "ap-northeast-1",
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
		"LAMBDA_TASK_ROOT": root,
		"ARTIFACT_BUCKET":  bucketName, "ARTIFACT_PREFIX": artifactPrefix, "QUEUE_URL": queueURL,
		"DEAD_LETTER_QUEUE_URL": queueURL + "-dead", "GITLAB_URL": gitlabURL,
	}
	host := environment.Host{
		Getenv: func(name string) string { return env[name] },
		Out:    io.Discard,
		Log:    slog.New(slog.NewJSONHandler(&f.log, nil)),
		Adjust: func(config *aws.Config) {
			config.HTTPClient = f
			config.Credentials = aws.AnonymousCredentials{} // The simulated AWS looks at no signature.
			config.Retryer = func() aws.Retryer {
				return retry.NewStandard(func(o *retry.StandardOptions) {
					o.RateLimiter = ratelimit.None
					// No jitter: the same seed gives the same run.
					o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
						return time.Duration(attempt) * 200 * time.Millisecond, nil
					})
				})
			}
		},
	}
	if name == "trigger" {
		f.upload, err = deploy.New(host)
		if err == nil {
			f.upload.Patience.Random = func() float64 { return 0 }
		}
	} else {
		f.events, err = report.New(host)
		if err == nil {
			f.events.AtOnce = 1 // Several calls at once have no order of ours.
		}
	}
	return f, err
}

// invoke begins an invocation. Everything it does from here on arrives.
func (f *function) invoke(id string, payload any, limit time.Duration) {
	ctx := lambdacontext.NewContext(context.Background(), &lambdacontext.LambdaContext{AwsRequestID: id})
	ctx, f.kill = context.WithTimeout(ctx, limit)
	go func() {
		growStack()
		defer f.kill()
		r := &result{}
		if batch, ok := payload.(events.SQSEvent); ok {
			answer, err := f.upload.Handle(ctx, batch)
			for _, failure := range answer.BatchItemFailures {
				r.back = append(r.back, failure.ItemIdentifier)
			}
			if err != nil {
				r.failed = err.Error()
			}
		} else {
			raw, err := json.Marshal(payload)
			if err == nil {
				_, err = f.events.Handle(ctx, raw)
			}
			if err != nil {
				r.failed = err.Error()
			}
		}
		f.arrive(arrival{result: r})
	}()
}

// growStack makes a new goroutine's stack as large as a call of the SDK needs it, while there is
// nothing on it. It would be copied several times on the way there, for each invocation.
//
//go:noinline
func growStack() {
	var room [24 << 10]byte
	runtime.KeepAlive(&room)
}

func (f *function) arrive(a arrival) {
	if !f.dead.Load() {
		a.from = f
		f.arrived(a)
	}
}

// Do is the way to AWS.
func (f *function) Do(r *http.Request) (*http.Response, error) {
	if f.dead.Load() {
		return nil, errors.New("killed")
	}
	request, err := cloud.Read(r)
	if err != nil {
		f.arrive(arrival{err: err})
		return nil, err
	}
	c := &call{request: request, answer: make(chan *cloud.Response, 1)}
	f.arrive(arrival{call: c})
	select {
	case a := <-c.answer:
		if a == nil {
			return nil, errors.New("connection reset by peer")
		}
		return &http.Response{
			StatusCode: a.Status, Status: http.StatusText(a.Status), Header: a.Header, Request: r,
			Body: io.NopCloser(bytes.NewReader(a.Body)), ContentLength: int64(len(a.Body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}, nil
	case <-r.Context().Done():
		f.arrive(arrival{gone: c})
		return nil, r.Context().Err()
	}
}

// end kills the function.
func (f *function) end() {
	f.dead.Store(true)
	if f.kill != nil {
		f.kill()
	}
}
