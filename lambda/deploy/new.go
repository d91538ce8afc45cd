// Package deploy is the trigger: it turns an uploaded artifact into a blue/green
// deployment.
//
//	artifact bucket ── ObjectCreated ──▶ SQS queue ──▶ trigger ──▶ CodeDeploy
//	       ▲                                 ▲            │
//	       ├─ orders/… ── an operator's ──▶──┤            │
//	       ├─ deployments/<upload-id>.json ──┼────────────┤
//	       └─ groups/<application>/<group>.json ──────────┤
//	                                         └── later ───┘
//
// An artifact says in its metadata which deployment group it is for. What may
// get better by itself goes back to the queue, and comes again later and later;
// what a retry cannot cure ends at once, with a reason that says what to change.
// Either way the job that uploaded reads it from the status object.
package deploy

import (
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"gitlab-codedeploy/lambda/environment"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/mark"
	"gitlab-codedeploy/lambda/internal/metric"
	"gitlab-codedeploy/lambda/internal/place"
	"gitlab-codedeploy/lambda/internal/status"
)

// New wires the function by its environment, besides what Lambda itself sets
// (region, credentials, name):
//
//	ARTIFACT_BUCKET   the bucket whose uploads are deployed
//	ARTIFACT_PREFIX   the keys that are artifacts; ends with /
//	GITLAB_URL        of the GitLab whose jobs deploy, https://…
//	QUEUE_URL         optional: the queue; without it, what waits comes again
//	                  at the queue's own pace
//	AWS_ENDPOINT_URL  optional: one endpoint for every service (the emulator)
//
// The pairs that may be deployed, and by whom, stand in deployment-groups.json, in
// the folder LAMBDA_TASK_ROOT, and GitLab's public keys in gitlab-keys.json. The error names everything that is missing or wrong, not
// only the first thing.
func New(host environment.Host) (*Handler, error) {
	env := &environment.Reader{Host: host}
	bucket, prefix := env.Artifacts()
	allowed := env.AllowList()
	gitlab := env.GitLab()
	queueURL := env.URL("QUEUE_URL")
	config := env.AWS()
	if err := env.Err(); err != nil {
		return nil, err
	}
	objects := environment.S3(config)
	deployer := codedeploy.NewFromConfig(config)
	records := &group.Store{Objects: objects, Bucket: bucket}
	handler := &Handler{
		Bucket: bucket,
		Prefix: prefix,
		Trigger: &Trigger{
			Artifacts: &Artifacts{Client: objects},
			Tokens:    &Tokens{Client: objects, Bucket: bucket},
			GitLab:    gitlab,
			Groups:    &BlueGreenGroups{Client: deployer},
			Records:   records,
			Statuses:  &status.Store{Objects: objects, Bucket: bucket},
			History: &History{
				Client: deployer,
				Places: &place.Finder{Client: objects, Bucket: bucket, Prefix: prefix},
				Now:    records.Time,
			},
			Deployer: deployer,
			Orders:   &Orders{Client: objects, Bucket: bucket},
			Marker:   &mark.Marker{Client: objects, Bucket: bucket},
			Allowed:  allowed,
			Prefix:   prefix,
			Log:      host.Log,
		},
		Metrics: &Metrics{metric.Writer{Out: host.Out, FunctionName: host.Getenv("AWS_LAMBDA_FUNCTION_NAME")}},
		Log:     host.Log,
	}
	if queueURL != "" {
		handler.Patience = &Patience{Client: sqs.NewFromConfig(config), QueueURL: queueURL}
	}
	return handler, nil
}
