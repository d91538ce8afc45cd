package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/awstest"
	"gitlab-codedeploy/test/inputs"
)

var buildDir string // of bootstrap, "" until a test wants it

// bootstrap builds the function once, with the flags of the deployed one.
var bootstrap = sync.OnceValues(func() (binary string, err error) {
	if buildDir, err = os.MkdirTemp("", "trigger-test-"); err != nil {
		return "", err
	}
	binary = filepath.Join(buildDir, "bootstrap")
	return binary, gobuild.Build(".", ".", binary, runtime.GOOS, runtime.GOARCH)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
	os.Exit(code)
}

// Start-up mistakes are all named at once, and end the process.
func TestS14_TheBinarySaysWhatIsMissingAtStart(t *testing.T) {
	binary, err := bootstrap()
	require.NoError(t, err)
	good := awstest.New(t).TriggerEnvironment(t, testBucket, testPrefix)
	for name, tt := range map[string]struct {
		change map[string]string
		want   []string
	}{
		"nothing set": {
			change: map[string]string{"ARTIFACT_BUCKET": "", "ARTIFACT_PREFIX": "", "LAMBDA_TASK_ROOT": "", "AWS_REGION": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "GITLAB_URL": ""},
			want:   []string{"ARTIFACT_BUCKET is not set", "ARTIFACT_PREFIX is", "LAMBDA_TASK_ROOT is not set", "GITLAB_URL is", "AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY not set"},
		},
		"prefix without slash": {change: map[string]string{"ARTIFACT_PREFIX": "artifacts"}, want: []string{"artifacts", "ends with /"}},
		"no list":              {change: map[string]string{"LAMBDA_TASK_ROOT": t.TempDir()}, want: []string{allowlist.File, "no such file"}},
		"GitLab over http":     {change: map[string]string{"GITLAB_URL": "http://gitlab.example.com"}, want: []string{"GITLAB_URL", "http://gitlab.example.com"}},
		"endpoint":             {change: map[string]string{"AWS_ENDPOINT_URL": "localhost:5000"}, want: []string{"AWS_ENDPOINT_URL", "localhost:5000"}},
	} {
		t.Run(name, func(t *testing.T) {
			env := maps.Clone(good)
			maps.Copy(env, tt.change)
			awstest.CannotStart(t, binary, environ(env), tt.want...)
		})
	}
}

// The deployed program against Lambda's runtime interface:
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
func TestS14_TheBinaryAnswersABatchOverTheRuntimeAPI(t *testing.T) {
	binary, err := bootstrap()
	require.NoError(t, err)
	server := awstest.NewWithArtifact(t, "/"+testBucket+"/"+testKey, nil)

	batch, err := json.Marshal(events.SQSEvent{Records: []events.SQSMessage{
		message("m1", testKey, "v1"), {MessageId: "m2", Body: "no event"}, message("m3", "artifacts/web/a.txt", "v2"),
	}})
	require.NoError(t, err)
	answers := make(chan string, 1)
	var once sync.Once
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/invocation/next") {
			text, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusAccepted)
			answers <- strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/invocation/") + " " + string(text)
			return
		}
		first := false
		once.Do(func() { first = true })
		if !first {
			<-r.Context().Done() // Nothing more comes.
			return
		}
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", "request-1")
		w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(20*time.Second).UnixMilli()))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:ap-northeast-1:222222222222:function:trigger")
		w.Write(batch)
	}))
	defer api.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary)
	env := server.TriggerEnvironment(t, testBucket, testPrefix)
	env["AWS_LAMBDA_RUNTIME_API"] = strings.TrimPrefix(api.URL, "http://")
	env["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
	cmd.Env = environ(env)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())

	var answer string
	select {
	case answer = <-answers:
	case <-ctx.Done():
	}
	cancel()
	_ = cmd.Wait()
	path, text, _ := strings.Cut(answer, " ")
	require.Equal(t, "request-1/response", path, "%s", log.String())
	var response events.SQSEventResponse
	require.NoError(t, json.Unmarshal([]byte(text), &response))
	assert.Equal(t, `{"batchItemFailures":[]}`, text)
	assert.Len(t, server.Bodies("CreateDeployment"), 1)
	assert.Len(t, server.Bodies("ChangeMessageVisibility"), 0, "nothing was given back")
	assert.Contains(t, server.Object(statusPath), `"state":"Created","deploymentId":"d-WIRE00001"`)
	assert.Contains(t, log.String(), `{"DeploymentsStarted":1,"FunctionName":"function",`)
	assert.Contains(t, log.String(), `"message":"deployment created"`)
	assert.Contains(t, log.String(), `"deploymentId":"d-WIRE00001"`)
	assert.Contains(t, log.String(), `"requestId":"request-1"`)
	assert.Equal(t, 2, strings.Count(log.String(), `"message":"rejected"`))
}

// Lambda loads the binary before the first invocation, so its size is start-up time.
func TestS14_TheDeployedBinariesAreSmall(t *testing.T) {
	require.NoError(t, inputs.Are("../..", "go.mod", "go.sum", "lambda"))
	for _, name := range []string{"trigger", "status"} {
		binary := filepath.Join(t.TempDir(), "bootstrap")
		require.NoError(t, gobuild.Build("..", "./"+name, binary, "linux", "arm64"))
		info, err := os.Stat(binary)
		require.NoError(t, err)
		t.Logf("%s: %.1f MB", name, float64(info.Size())/1e6)
		assert.Less(t, info.Size(), int64(10e6), name)
	}
}

const (
	testBucket = "example-deploy-test"
	testPrefix = "artifacts/"
	testKey    = "artifacts/web/artifact.gz"
	statusPath = "/" + testBucket + "/deployments/job-9.json"
)

// message is one delivery of S3's event about a version.
func message(id, key, version string) events.SQSMessage {
	body := fmt.Sprintf(`{"Records":[{"eventName":"ObjectCreated:Put","eventTime":"2026-11-23T01:02:03.004Z","s3":{"bucket":{"name":%q},"object":{"key":%q,"versionId":%q}}}]}`, testBucket, key, version)
	return events.SQSMessage{MessageId: id, ReceiptHandle: id, Body: body, Attributes: map[string]string{"ApproximateReceiveCount": "1"}}
}

func environ(env map[string]string) []string {
	var list []string
	for name, value := range env {
		if value != "" {
			list = append(list, name+"="+value)
		}
	}
	return list
}
