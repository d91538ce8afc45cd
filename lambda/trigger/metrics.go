package main

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"gitlab-codedeploy/lambda/internal/clip"
)

// metricNamespace is where CloudWatch shows the metrics.
const metricNamespace = "GitLabCodeDeploy"

// Metrics counts how records end, in CloudWatch's embedded metric format: one
// line of JSON in the function's log for each record.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
//
//	DeploymentsStarted    deployments that were created
//	UploadToStartSeconds  how long after S3 had the upload
//	UploadsWaiting        tries that found the group busy
//	UploadsFailed         tries that failed for another reason, and are repeated
//	UploadsSuperseded     uploads that a newer one has overtaken
//	UploadsRejected       uploads and messages that nobody can deploy
//
// The function's name is the only dimension: each further value of one is a
// metric to pay for. Application and group can be searched for in the log.
type Metrics struct {
	Out          io.Writer // the function's stdout
	FunctionName string
	// Now is the time; nil means time.Now.
	Now func() time.Time
}

type metric struct {
	Name string `json:"Name"`
	Unit string `json:"Unit"`
}

// Count writes how a record ended. A failing write would fail the function's
// log too, so nothing is done about it.
func (m *Metrics) Count(u Upload, err error) {
	if m == nil {
		return
	}
	values := map[string]any{}
	var metrics []metric
	add := func(name, unit string, value float64) {
		metrics = append(metrics, metric{name, unit})
		values[name] = value
	}
	if !u.Started.IsZero() { // also when its status could not be written
		add("DeploymentsStarted", "Count", 1)
		if !u.Uploaded.IsZero() {
			add("UploadToStartSeconds", "Seconds", max(0, u.Started.Sub(u.Uploaded).Seconds()))
		}
	}
	switch {
	case err == nil, errors.Is(err, ErrRepeated), errors.Is(err, ErrIgnored):
	case errors.Is(err, ErrRejected):
		add("UploadsRejected", "Count", 1)
	case errors.Is(err, ErrSuperseded):
		add("UploadsSuperseded", "Count", 1)
	case errors.Is(err, ErrWaiting):
		add("UploadsWaiting", "Count", 1)
	default:
		add("UploadsFailed", "Count", 1)
	}
	if len(metrics) == 0 {
		return
	}
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	values["_aws"] = map[string]any{
		"Timestamp": now().UnixMilli(),
		"CloudWatchMetrics": []any{map[string]any{
			"Namespace":  metricNamespace,
			"Dimensions": [][]string{{"FunctionName"}},
			"Metrics":    metrics,
		}},
	}
	values["FunctionName"] = m.FunctionName
	for name, value := range map[string]string{"uploadId": u.ID, "application": u.Application, "deploymentGroup": u.DeploymentGroup} {
		if value != "" {
			values[name] = clip.Text(value, 200)
		}
	}
	if line, err := json.Marshal(values); err == nil {
		_, _ = m.Out.Write(append(line, '\n'))
	}
}
