package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
)

const (
	testBucket = "example-deploy-test"
	testPrefix = "artifacts/"
	testKey    = "artifacts/web/artifact.gz"
)

var testPair = Pair{Application: "web", DeploymentGroup: "web-blue-green"}

// world plays S3 and CodeDeploy and records what was asked of them. A function
// left nil answers with success.
type world struct {
	head   func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error)
	group  func(context.Context, *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error)
	create func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error)

	heads   []*s3.HeadObjectInput
	groups  []*codedeploy.GetDeploymentGroupInput
	creates []*codedeploy.CreateDeploymentInput
	log     bytes.Buffer
}

func (w *world) HeadObject(ctx context.Context, in *s3.HeadObjectInput, _ ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	w.heads = append(w.heads, in)
	if w.head != nil {
		return w.head(ctx, in)
	}
	return headOf(goodMetadata()), nil
}

func (w *world) GetDeploymentGroup(ctx context.Context, in *codedeploy.GetDeploymentGroupInput, _ ...func(*codedeploy.Options)) (*codedeploy.GetDeploymentGroupOutput, error) {
	w.groups = append(w.groups, in)
	if w.group != nil {
		return w.group(ctx, in)
	}
	return groupOf(types.DeploymentTypeBlueGreen), nil
}

func (w *world) CreateDeployment(ctx context.Context, in *codedeploy.CreateDeploymentInput, _ ...func(*codedeploy.Options)) (*codedeploy.CreateDeploymentOutput, error) {
	w.creates = append(w.creates, in)
	if w.create != nil {
		return w.create(ctx, in)
	}
	return &codedeploy.CreateDeploymentOutput{DeploymentId: aws.String("d-TEST00001")}, nil
}

func (w *world) handler() *Handler {
	return &Handler{
		Bucket: testBucket,
		Prefix: testPrefix,
		Trigger: &Trigger{
			Objects:  w,
			Groups:   &BlueGreenGroups{Client: w},
			Deployer: w,
			Allowed:  AllowList{testPair: true},
		},
		Log: slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// logged returns the log lines as objects.
func (w *world) logged(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(w.log.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), "a log line is one JSON object: %s", line)
		lines = append(lines, fields)
	}
	return lines
}

func goodMetadata() map[string]string {
	return map[string]string{
		"application-name":     testPair.Application,
		"deploymentgroup-name": testPair.DeploymentGroup,
		"upload-id":            "pipeline-7-job-9",
	}
}

func headOf(metadata map[string]string) *s3.HeadObjectOutput {
	return &s3.HeadObjectOutput{
		Metadata:  metadata,
		VersionId: aws.String("current-version"),
		ETag:      aws.String(`"9a0364b9e99bb480dd25e1f0284c8555"`),
	}
}

func groupOf(style types.DeploymentType) *codedeploy.GetDeploymentGroupOutput {
	return &codedeploy.GetDeploymentGroupOutput{DeploymentGroupInfo: &types.DeploymentGroupInfo{
		DeploymentStyle: &types.DeploymentStyle{DeploymentType: style},
	}}
}

// s3Record is one record as S3 sends it; key is already form-encoded.
func s3Record(bucket, key, version string) string {
	object := map[string]any{"key": key, "size": 1024, "eTag": "9a0364b9e99bb480dd25e1f0284c8555", "sequencer": "0055AED6DCD90281E5"}
	if version != "" {
		object["versionId"] = version
	}
	text, err := json.Marshal(map[string]any{
		"eventVersion": "2.1",
		"eventSource":  "aws:s3",
		"awsRegion":    "ap-northeast-1",
		"eventTime":    "2026-11-23T01:02:03.004Z",
		"eventName":    "ObjectCreated:Put",
		"s3": map[string]any{
			"bucket": map[string]any{"name": bucket, "arn": "arn:aws:s3:::" + bucket},
			"object": object,
		},
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func body(records ...string) string {
	return `{"Records":[` + strings.Join(records, ",") + `]}`
}

func batchOf(bodies ...string) events.SQSEvent {
	var batch events.SQSEvent
	for i, b := range bodies {
		batch.Records = append(batch.Records, events.SQSMessage{MessageId: "m" + string(rune('1'+i)), Body: b})
	}
	return batch
}

// handle runs the batch and returns the ids of the messages to come again.
func handle(t *testing.T, ctx context.Context, h *Handler, batch events.SQSEvent) []string {
	t.Helper()
	answer, err := h.Handle(ctx, batch)
	require.NoError(t, err)
	require.NotNil(t, answer.BatchItemFailures)
	failed := []string{}
	for _, f := range answer.BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	return failed
}
