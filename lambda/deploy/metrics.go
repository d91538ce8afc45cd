package deploy

import (
	"gitlab-codedeploy/lambda/internal/metric"
)

// Metrics counts how records end, with one line for each of them.
//
//	DeploymentsStarted    deployments that were created
//	UploadToStartSeconds  how long after S3 had the upload
//	UploadsWaiting        tries that found the group busy
//	UploadsFailed         tries that failed for another reason, and are repeated
//	WaitingSeconds        the age of an upload whose message goes back to the queue
//	UploadsSuperseded     uploads that a newer one has overtaken
//	UploadsRejected       uploads and messages that nobody can deploy
//	UploadsRefused        uploads of which nobody has proven that he may deploy them
//
// The queue's own age of its oldest message is no substitute for WaitingSeconds:
// SQS leaves out what has been received three times.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
type Metrics struct {
	metric.Writer
}

// Count writes how a record ended.
func (m *Metrics) Count(u Upload, o Outcome) {
	if m == nil {
		return
	}
	var values []metric.Value
	add := func(name, unit string, value float64) {
		values = append(values, metric.Value{Name: name, Unit: unit, Value: value})
	}
	if !u.Started.IsZero() { // also when its status could not be written
		add("DeploymentsStarted", metric.Count, 1)
		if !u.Uploaded.IsZero() {
			add("UploadToStartSeconds", metric.Seconds, max(0, u.Started.Sub(u.Uploaded).Seconds()))
		}
	}
	if name := endMetrics[o.End]; name != "" {
		add(name, metric.Count, 1)
	}
	if !o.Done() { // the message goes back
		since := u.Uploaded
		if since.IsZero() {
			since = u.Completed // S3 could not be asked.
		}
		if !since.IsZero() {
			add("WaitingSeconds", metric.Seconds, max(0, m.Time().Sub(since).Seconds()))
		}
	}
	m.Write(values, map[string]string{"uploadId": u.ID, "application": u.Application, "deploymentGroup": u.DeploymentGroup})
}

var endMetrics = map[End]string{
	Rejected: "UploadsRejected", Refused: "UploadsRefused", Superseded: "UploadsSuperseded", Waiting: "UploadsWaiting", Failed: "UploadsFailed",
}
