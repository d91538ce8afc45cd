package lambdahost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/stretchr/testify/require"
)

// The test binary is the function, too: a task root's bootstrap is a link to
// it, and the variable START, which only function processes have, says how to start.
func TestMain(m *testing.M) {
	switch os.Getenv("START") {
	case "":
		os.Exit(m.Run())
	case "normally":
		lambda.Start(handle)
	case "with an error":
		reportInitError()
		os.Exit(1)
	case "never":
		time.Sleep(time.Minute)
	default:
		os.Exit(3)
	}
}

// handle does what the message bodies say.
func handle(ctx context.Context, event events.SQSEvent) (map[string]any, error) {
	failures := []map[string]string{}
	for _, record := range event.Records {
		switch record.Body {
		case "ok":
		case "fail":
			failures = append(failures, map[string]string{"itemIdentifier": record.MessageId})
		case "name a stranger":
			failures = append(failures, map[string]string{"itemIdentifier": "stranger"})
		case "error":
			return nil, errors.New("no such luck")
		case "hang":
			time.Sleep(time.Minute)
		case "exit":
			os.Exit(7)
		case "tell":
			return tell(ctx), nil
		default:
			return nil, fmt.Errorf("unknown body %q", record.Body)
		}
	}
	return map[string]any{"batchItemFailures": failures}, nil
}

// tell answers with all that the function knows about its surroundings.
func tell(ctx context.Context) map[string]any {
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	folder, _ := os.Getwd()
	return map[string]any{
		"pid": os.Getpid(), "environment": os.Environ(), "folder": folder,
		"requestID": lc.AwsRequestID, "arn": lc.InvokedFunctionArn,
		"left": time.Until(deadline).Seconds(), "trace": os.Getenv("_X_AMZN_TRACE_ID"),
	}
}

func reportInitError() {
	url := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/init/error"
	response, err := http.Post(url, "application/json", strings.NewReader(`{"errorType":"Config.Missing","errorMessage":"ARTIFACT_BUCKET is not set"}`))
	if err == nil {
		response.Body.Close()
	}
}

// testFunction is a hosted copy of this test binary.
func testFunction(t *testing.T, start string) Function {
	t.Helper()
	root := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(root, "bootstrap")))
	return Function{
		Name: "trigger", ARN: "arn:aws:lambda:ap-northeast-1:222222222222:function:trigger",
		Region: "ap-northeast-1", Handler: "bootstrap", MemoryMB: 128, Timeout: 20 * time.Second,
		Environment: map[string]string{"START": start},
		TaskRoot:    root, Log: filepath.Join(t.TempDir(), "function.log"),
		Endpoint:    "http://127.0.0.1:1",
		Credentials: credentials.NewStaticCredentialsProvider("ASIAEXAMPLE", "secret", "token"),
	}
}

// event is a batch with one message per body; message N has the id "m<N>".
func event(t *testing.T, bodies ...string) []byte {
	t.Helper()
	var e events.SQSEvent
	for i, body := range bodies {
		e.Records = append(e.Records, events.SQSMessage{MessageId: fmt.Sprintf("m%d", i), Body: body})
	}
	payload, err := json.Marshal(e)
	require.NoError(t, err)
	return payload
}
