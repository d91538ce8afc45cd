package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/awstest"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/metric"
)

func TestS14_EachEndHasItsMetric(t *testing.T) {
	now := testTime.Add(90 * time.Second)
	started := Upload{Upload: group.Upload{ID: "job-9", Uploaded: testTime}, Pair: testPair, Started: testTime.Add(2500 * time.Millisecond)}
	for name, tt := range map[string]struct {
		upload Upload
		end    Outcome
		want   map[string]float64
	}{
		"started":                      {started, Outcome{End: Created}, map[string]float64{"DeploymentsStarted": 1, "UploadToStartSeconds": 2.5}},
		"started, status not written":  {started, failed(errors.New("x")), map[string]float64{"DeploymentsStarted": 1, "UploadToStartSeconds": 2.5, "UploadsFailed": 1, "WaitingSeconds": 90}},
		"started by a clock behind":    {Upload{Upload: group.Upload{Uploaded: testTime}, Started: testTime.Add(-time.Second)}, Outcome{End: Created}, map[string]float64{"DeploymentsStarted": 1, "UploadToStartSeconds": 0}},
		"started, upload time unknown": {Upload{Started: testTime}, Outcome{End: Created}, map[string]float64{"DeploymentsStarted": 1}},
		"repeated":                     {Upload{}, Outcome{Repeated, "x"}, nil},
		"ignored":                      {Upload{}, Outcome{Ignored, "x"}, nil},
		"rejected":                     {Upload{}, Outcome{Rejected, "x"}, map[string]float64{"UploadsRejected": 1}},
		"superseded":                   {Upload{}, Outcome{Superseded, "x"}, map[string]float64{"UploadsSuperseded": 1}},
		"superseded after a wait":      {Upload{Upload: group.Upload{Uploaded: testTime}}, Outcome{Superseded, "x"}, map[string]float64{"UploadsSuperseded": 1}},
		"waiting":                      {Upload{Upload: group.Upload{Uploaded: testTime}}, Outcome{Waiting, "x"}, map[string]float64{"UploadsWaiting": 1, "WaitingSeconds": 90}},
		"failed":                       {Upload{Upload: group.Upload{Uploaded: testTime}}, failed(errors.New("x")), map[string]float64{"UploadsFailed": 1, "WaitingSeconds": 90}},
		"failed, S3 did not answer":    {Upload{Completed: testTime.Add(time.Second)}, failed(errors.New("x")), map[string]float64{"UploadsFailed": 1, "WaitingSeconds": 89}},
		"failed, upload time unknown":  {Upload{}, failed(errors.New("x")), map[string]float64{"UploadsFailed": 1}},
		"failed by a clock behind":     {Upload{Upload: group.Upload{Uploaded: now.Add(time.Second)}}, failed(errors.New("x")), map[string]float64{"UploadsFailed": 1, "WaitingSeconds": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			m := &Metrics{metric.Writer{Out: &out, FunctionName: "trigger", Now: func() time.Time { return now }}}
			m.Count(tt.upload, tt.end)
			if tt.want == nil {
				assert.Empty(t, out.String())
				return
			}
			assert.Equal(t, tt.want, decodeMetrics(t, now, out.Bytes()))
		})
	}
	(*Metrics)(nil).Count(started, Outcome{End: Created})
}

// decodeMetrics reads one line the way CloudWatch does: what is declared must
// be there, and the other way round no number is undeclared.
func decodeMetrics(t *testing.T, at time.Time, line []byte) map[string]float64 {
	t.Helper()
	require.Equal(t, 1, bytes.Count(line, []byte("\n")), "%s", line)
	var root map[string]any
	require.NoError(t, json.Unmarshal(line, &root))
	var meta struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
	}
	require.NoError(t, json.Unmarshal(line, &meta))
	assert.Equal(t, at.UnixMilli(), meta.AWS.Timestamp)
	require.Len(t, meta.AWS.CloudWatchMetrics, 1)
	directive := meta.AWS.CloudWatchMetrics[0]
	assert.Equal(t, "GitLabCodeDeploy", directive.Namespace)
	assert.Equal(t, [][]string{{"FunctionName"}}, directive.Dimensions)
	assert.Equal(t, "trigger", root["FunctionName"])
	values := map[string]float64{}
	for _, m := range directive.Metrics {
		value, ok := root[m.Name].(float64)
		require.True(t, ok, "%s is declared", m.Name)
		values[m.Name] = value
		assert.Equal(t, map[bool]string{true: "Seconds", false: "Count"}[strings.HasSuffix(m.Name, "Seconds")], m.Unit)
	}
	for name, value := range root {
		if _, number := value.(float64); number {
			assert.Contains(t, values, name)
		}
	}
	return values
}

func TestS14_AMetricLeadsToItsUpload(t *testing.T) {
	w := &world{now: func() time.Time { return testTime }}
	handle(t, t.Context(), w.handler(), batchOf(body(s3Record(testBucket, testKey, "v1")), "no event"))
	lines := bytes.SplitAfter(w.metrics.Bytes(), []byte("\n"))
	require.Len(t, lines, 3)
	var first map[string]any
	require.NoError(t, json.Unmarshal(lines[0], &first))
	assert.Equal(t, "artifact", first["uploadId"])
	assert.Equal(t, "web", first["application"])
	assert.Equal(t, "web-blue-green", first["deploymentGroup"])
	assert.Equal(t, map[string]float64{"UploadsRejected": 1}, decodeMetrics(t, testTime, lines[1]))
}

// What goes back to the queue is measured on the whole way, also while S3
// refuses: the event knows its age.
func TestS14_AnUploadThatGoesBackToTheQueueHasItsAgeMeasured(t *testing.T) {
	for name, sabotage := range map[string]func(*world){
		"UploadsWaiting": func(w *world) {
			w.create = func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
				return nil, &types.DeploymentLimitExceededException{}
			}
		},
		"UploadsFailed": func(w *world) {
			w.head = func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) { return nil, httpError(403) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := eventTime.Add(time.Hour)
			w := &world{now: func() time.Time { return now }}
			sabotage(w)
			assert.Equal(t, []string{"m1"}, handle(t, t.Context(), w.handler(), batchOf(body(s3Record(testBucket, testKey, "v1")))))
			assert.Equal(t, map[string]float64{name: 1, "WaitingSeconds": 3600}, decodeMetrics(t, now, w.metrics.Bytes()))
		})
	}
}

func TestS14_TheAlarmsTestsKnowWhatTheTriggerWrites(t *testing.T) {
	lines := map[string]string{}
	proving := map[string]bool{"refused": true}
	for happened, sabotage := range map[string]func(*world){
		"started": func(*world) {},
		"waiting": func(w *world) {
			w.create = func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
				return nil, &types.DeploymentLimitExceededException{}
			}
		},
		"failed": func(w *world) {
			w.head = func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) { return nil, httpError(403) }
		},
		"refused": func(*world) {},
		"rejected": func(w *world) {
			w.head = func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
				metadata := goodMetadata(testKey)
				metadata["application-name"] = "unknown"
				return headOf(metadata), nil
			}
		},
	} {
		w := &world{now: func() time.Time { return eventTime.Add(time.Minute) }}
		sabotage(w)
		h := w.handler()
		if proving[happened] {
			h = w.proving()
		}
		handle(t, t.Context(), h, batchOf(body(s3Record(testBucket, testKey, "v1"))))
		lines[happened] = w.metrics.String()
	}
	awstest.MetricLines(t, lines)
}
