// Package report is the status function: it tells the uploading job how its
// deployment goes, and sees to it that every upload's state becomes final and
// true.
//
//	CodeDeploy ── state change ──▶ EventBridge ──▶ status ──▶ deployments/<upload-id>.json
//	                    every five minutes ────────▶  │  ├──▶ groups/<application>/<group>.json
//	                                                  │  └──▶ queue: an upload's turn has come
//	                                                  └─ looks at what is unfinished, and at dead letters
//
// The events come in any order, twice, or not at all (EventBridge calls it best
// effort), so each one is only the occasion to look at the deployment. What goes
// wrong is returned as an error: Lambda tries twice more, and then keeps the
// event in the dead-letter queue. The schedule repairs what is missing.
package report

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
//	ARTIFACT_BUCKET            the bucket whose uploads are deployed
//	ARTIFACT_PREFIX            the keys that are artifacts; ends with /
//	QUEUE_URL                  optional: the trigger's queue
//	DEAD_LETTER_QUEUE_URL      optional: that queue's dead letters
//	OWN_DEAD_LETTER_QUEUE_URL  optional: this function's dead letters
//	AWS_ENDPOINT_URL           optional: one endpoint for every service (the emulator)
//
// When deployment-groups.json lies in the folder LAMBDA_TASK_ROOT, events of
// other groups are left aside without a look at the deployment. The error names
// everything that is missing or wrong, not only the first thing.
func New(host environment.Host) (*Reporter, error) {
	env := &environment.Reader{Host: host}
	bucket, prefix := env.Artifacts()
	allowed := env.AllowListIfAny()
	queue, dead, own := env.URL("QUEUE_URL"), env.URL("DEAD_LETTER_QUEUE_URL"), env.URL("OWN_DEAD_LETTER_QUEUE_URL")
	config := env.AWS()
	if err := env.Err(); err != nil {
		return nil, err
	}
	objects, deployments := environment.S3(config), codedeploy.NewFromConfig(config)
	return &Reporter{
		Bucket:         bucket,
		Prefix:         prefix,
		Allowed:        allowed,
		Deployments:    deployments,
		Targets:        deployments,
		Statuses:       &status.Store{Objects: objects, Bucket: bucket},
		Records:        &group.Store{Objects: objects, Bucket: bucket},
		Objects:        objects,
		Places:         &place.Finder{Client: objects, Bucket: bucket, Prefix: prefix},
		Marker:         &mark.Marker{Client: objects, Bucket: bucket},
		Queues:         sqs.NewFromConfig(config),
		Queue:          queue,
		DeadLetters:    dead,
		OwnDeadLetters: own,
		Metrics:        &metric.Writer{Out: host.Out, FunctionName: host.Getenv("AWS_LAMBDA_FUNCTION_NAME")},
		Log:            host.Log,
	}, nil
}
