package deploy

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/mark"
	"gitlab-codedeploy/lambda/internal/metric"
	"gitlab-codedeploy/lambda/internal/place"
	"gitlab-codedeploy/lambda/internal/status"
)

const (
	testBucket = "example-deploy-test"
	testPrefix = "artifacts/"
	testKey    = "artifacts/web/artifact.gz"
)

var testPair = allowlist.Pair{Application: "web", DeploymentGroup: "web-blue-green"}

// world plays S3 and CodeDeploy and records what was asked of them. A function
// left nil answers with success: the version asked for is the current one, the
// group is blue/green and has had no deployment.
type world struct {
	head   func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error)
	group  func(context.Context, *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error)
	list   func(context.Context, *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error)
	create func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error)
	get    func(*s3.GetObjectInput) error // fails a GetObject; nil lets it pass
	put    func(*s3.PutObjectInput) error // fails a PutObject; nil lets it pass
	hide   func(*sqs.ChangeMessageVisibilityInput) error

	deployments map[string]types.DeploymentInfo // what BatchGetDeployments finds
	now         func() time.Time                // of the statuses
	latency     time.Duration                   // of each call

	calls   []string // by name, in order
	heads   []*s3.HeadObjectInput
	groups  []*codedeploy.GetDeploymentGroupInput
	lists   []*codedeploy.ListDeploymentsInput
	batches []*codedeploy.BatchGetDeploymentsInput
	creates []*codedeploy.CreateDeploymentInput
	hides   []*sqs.ChangeMessageVisibilityInput
	objects map[string]string // status objects by key
	puts    int
	marked  []string // versions
	tokens  []token  // in the order in which they were put
	// versions of the artifact's key and of those that begin with it, the newest first;
	// with the text "deleted" it is a delete marker.
	versions []token
	log      bytes.Buffer
	metrics  bytes.Buffer
}

// token is one version of a job's token.
type token struct {
	key, version, text string
	at                 time.Time
}

// token answers with a version, or the newest one.
func (w *world) token(key, version string) (*s3.GetObjectOutput, error) {
	for _, v := range slices.Backward(w.tokens) {
		if v.key == key && (version == "" || v.version == version) {
			return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(v.text)), LastModified: aws.Time(v.at)}, nil
		}
	}
	return nil, httpError(404)
}

func (w *world) called(name string) {
	w.calls = append(w.calls, name)
	time.Sleep(w.latency)
}

func (w *world) HeadObject(ctx context.Context, in *s3.HeadObjectInput, _ ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	w.called("HeadObject")
	w.heads = append(w.heads, in)
	if w.head != nil {
		return w.head(ctx, in)
	}
	return headOf(goodMetadata(aws.ToString(in.Key))), nil
}

func (w *world) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	w.called("GetObject")
	if w.get != nil {
		if err := w.get(in); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(aws.ToString(in.Key), trust.Prefix) {
		return w.token(aws.ToString(in.Key), aws.ToString(in.VersionId))
	}
	text, ok := w.objects[aws.ToString(in.Key)]
	if !ok {
		return nil, httpError(404)
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(text)), ETag: aws.String(etagOf(text)), LastModified: aws.Time(testTime)}, nil
}

func (w *world) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	w.called("PutObject")
	w.puts++
	if w.put != nil {
		if err := w.put(in); err != nil {
			return nil, err
		}
	}
	text, ok := w.objects[aws.ToString(in.Key)]
	switch {
	case (in.IfMatch == nil) == (in.IfNoneMatch == nil):
		panic("a status object is written on exactly one condition")
	case ok && (in.IfNoneMatch != nil || etagOf(text) != aws.ToString(in.IfMatch)):
		return nil, httpError(412)
	case !ok && in.IfMatch != nil:
		return nil, httpError(404)
	}
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	if w.objects == nil {
		w.objects = map[string]string{}
	}
	w.objects[aws.ToString(in.Key)] = string(body)
	return &s3.PutObjectOutput{ETag: aws.String(etagOf(string(body)))}, nil
}

func (w *world) ListObjectVersions(_ context.Context, in *s3.ListObjectVersionsInput, _ ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	w.called("ListObjectVersions")
	if !strings.HasPrefix(aws.ToString(in.Prefix), trust.Prefix) {
		return w.above(in)
	}
	out := &s3.ListObjectVersionsOutput{}
	for _, v := range slices.Backward(w.tokens) {
		if strings.HasPrefix(v.key, aws.ToString(in.Prefix)) {
			out.Versions = append(out.Versions, s3types.ObjectVersion{Key: aws.String(v.key), VersionId: aws.String(v.version), LastModified: aws.Time(v.at)})
		}
	}
	return out, nil
}

// above shows what lies upon an artifact, a version a page as S3 does.
func (w *world) above(in *s3.ListObjectVersionsInput) (*s3.ListObjectVersionsOutput, error) {
	if len(w.versions) == 0 {
		return &s3.ListObjectVersionsOutput{}, nil // nobody looks what there is
	}
	at := 0
	if in.VersionIdMarker != nil {
		at = 1 + slices.IndexFunc(w.versions, func(v token) bool { return v.version == *in.VersionIdMarker })
	}
	if aws.ToInt32(in.MaxKeys) != 1 || at == len(w.versions) {
		return nil, fmt.Errorf("got %d versions from number %d on, want one that is there", aws.ToInt32(in.MaxKeys), at)
	}
	v := w.versions[at]
	out := &s3.ListObjectVersionsOutput{
		IsTruncated: aws.Bool(at+1 < len(w.versions)), NextKeyMarker: aws.String(v.key), NextVersionIdMarker: aws.String(v.version),
	}
	if v.text == "deleted" {
		out.DeleteMarkers = []s3types.DeleteMarkerEntry{{Key: &v.key, VersionId: &v.version}}
	} else {
		out.Versions = []s3types.ObjectVersion{{Key: &v.key, VersionId: &v.version}}
	}
	return out, nil
}

func etagOf(text string) string { return fmt.Sprintf(`"%x"`, md5.Sum([]byte(text))) }

func httpError(code int) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: code}},
		Err:      errors.New(http.StatusText(code)),
	}
}

func (w *world) PutObjectTagging(_ context.Context, in *s3.PutObjectTaggingInput, _ ...func(*s3.Options)) (*s3.PutObjectTaggingOutput, error) {
	w.called("PutObjectTagging")
	w.marked = append(w.marked, aws.ToString(in.VersionId))
	return &s3.PutObjectTaggingOutput{}, nil
}

func (w *world) GetDeploymentGroup(ctx context.Context, in *codedeploy.GetDeploymentGroupInput, _ ...func(*codedeploy.Options)) (*codedeploy.GetDeploymentGroupOutput, error) {
	w.called("GetDeploymentGroup")
	w.groups = append(w.groups, in)
	if w.group != nil {
		return w.group(ctx, in)
	}
	return groupOf(types.DeploymentTypeBlueGreen), nil
}

func (w *world) ListDeployments(ctx context.Context, in *codedeploy.ListDeploymentsInput, _ ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentsOutput, error) {
	w.called("ListDeployments")
	asked := *in
	w.lists = append(w.lists, &asked)
	if w.list != nil {
		return w.list(ctx, in)
	}
	return &codedeploy.ListDeploymentsOutput{Deployments: slices.Sorted(maps.Keys(w.deployments))}, nil
}

func (w *world) BatchGetDeployments(_ context.Context, in *codedeploy.BatchGetDeploymentsInput, _ ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentsOutput, error) {
	w.called("BatchGetDeployments")
	w.batches = append(w.batches, in)
	out := &codedeploy.BatchGetDeploymentsOutput{}
	for _, id := range in.DeploymentIds {
		if info, ok := w.deployments[id]; ok {
			out.DeploymentsInfo = append(out.DeploymentsInfo, info)
		}
	}
	return out, nil
}

func (w *world) CreateDeployment(ctx context.Context, in *codedeploy.CreateDeploymentInput, _ ...func(*codedeploy.Options)) (*codedeploy.CreateDeploymentOutput, error) {
	w.called("CreateDeployment")
	w.creates = append(w.creates, in)
	if w.create != nil {
		return w.create(ctx, in)
	}
	return &codedeploy.CreateDeploymentOutput{DeploymentId: aws.String("d-TEST00001")}, nil
}

func (w *world) ChangeMessageVisibility(_ context.Context, in *sqs.ChangeMessageVisibilityInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error) {
	w.hides = append(w.hides, in)
	if w.hide != nil {
		return nil, w.hide(in)
	}
	return &sqs.ChangeMessageVisibilityOutput{}, nil
}

func (w *world) handler() *Handler {
	records := &group.Store{Objects: w, Bucket: testBucket, Now: w.now}
	log := slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	// What is proven has tests of its own; the others are about everything else.
	allowed := allowlist.List{testPair: {AnyProject: true}}
	for _, id := range []string{"1", "2", "3", "5", "6", "busy", "bad", "slow", "a+b"} {
		allowed[allowlist.Pair{Application: "web", DeploymentGroup: id}] = trust.Rule{AnyProject: true}
	}
	return &Handler{
		Bucket: testBucket,
		Prefix: testPrefix,
		Trigger: &Trigger{
			Artifacts: &Artifacts{Client: w},
			Tokens:    &Tokens{Client: w, Bucket: testBucket},
			GitLab:    &trust.Verifier{URL: "https://gitlab.example.com"},
			Groups:    &BlueGreenGroups{Client: w},
			Records:   records,
			Statuses:  &status.Store{Objects: w, Bucket: testBucket, Now: w.now},
			History:   &History{Client: w, Places: &place.Finder{Client: w, Bucket: testBucket, Prefix: testPrefix}, Now: records.Time},
			Deployer:  w,
			Orders:    &Orders{Client: w, Bucket: testBucket},
			Marker:    &mark.Marker{Client: w, Bucket: testBucket},
			Allowed:   allowed,
			Prefix:    testPrefix,
			Log:       log,
		},
		Patience: &Patience{Client: w, QueueURL: "https://sqs.test/queue", Random: func() float64 { return 0 }},
		Metrics:  &Metrics{metric.Writer{Out: &w.metrics, FunctionName: "trigger", Now: w.now}},
		Log:      log,
	}
}

// status returns the status object of an upload id.
func (w *world) status(t *testing.T, id string) status.Status {
	t.Helper()
	text, ok := w.objects["deployments/"+id+".json"]
	require.True(t, ok, "no status %q among %v", id, slices.Sorted(maps.Keys(w.objects)))
	var s status.Status
	require.NoError(t, json.Unmarshal([]byte(text), &s))
	return s
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

// goodMetadata names the upload after its key: artifacts/web/x.gz is upload x,
// for a group x of its own.
func goodMetadata(key string) map[string]string {
	id, _, _ := strings.Cut(path.Base(key), ".")
	group := id
	if key == testKey {
		group = testPair.DeploymentGroup
	}
	return map[string]string{
		"application-name":     testPair.Application,
		"deploymentgroup-name": group,
		"upload-id":            id,
	}
}

// testTime is when every object was uploaded, unless a test says otherwise, and
// eventTime is what the events say of it.
var (
	testTime  = time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	eventTime = testTime.Add(4 * time.Millisecond)
)

func headOf(metadata map[string]string) *s3.HeadObjectOutput {
	return &s3.HeadObjectOutput{
		Metadata:     metadata,
		VersionId:    aws.String("v1"),
		ETag:         aws.String(`"9a0364b9e99bb480dd25e1f0284c8555"`),
		LastModified: aws.Time(testTime),
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
		"eventTime":    eventTime.Format(time.RFC3339Nano),
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
		batch.Records = append(batch.Records, events.SQSMessage{
			MessageId:     "m" + string(rune('1'+i)),
			ReceiptHandle: "r" + string(rune('1'+i)),
			Body:          b,
			Attributes:    map[string]string{"ApproximateReceiveCount": "1"},
		})
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

// message is one delivery of an event about testKey's version v1.
func message(id string, receive int) events.SQSEvent {
	batch := batchOf(body(s3Record(testBucket, testKey, "v1")))
	batch.Records[0].MessageId = id
	batch.Records[0].Attributes["ApproximateReceiveCount"] = fmt.Sprint(receive)
	return batch
}
