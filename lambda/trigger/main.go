// Command trigger is the Lambda function that turns an uploaded artifact into
// a blue/green deployment.
//
//	artifact bucket ── ObjectCreated ──▶ SQS queue ──▶ trigger ──▶ CodeDeploy
//	       ▲                                 ▲            │
//	       └─ deployments/<upload-id>.json ──┼────────────┤
//	                                         └── later ───┘
//
// An artifact says in its metadata which deployment group it is for. What may
// get better by itself goes back to the queue, and comes again later and later;
// what a retry cannot cure ends at once, with a reason that says what to change.
// Either way the job that uploaded reads it from the status object.
//
// Environment, besides what Lambda itself sets (region, credentials, name):
//
//	ARTIFACT_BUCKET   the bucket whose uploads are deployed
//	ARTIFACT_PREFIX   the keys that are artifacts; ends with /
//	QUEUE_URL         optional: the queue; without it, what waits comes again
//	                  at the queue's own pace
//	AWS_ENDPOINT_URL  optional: one endpoint for every service (the emulator)
//
// The pairs that may be deployed stand in deployment-groups.json, next to the
// binary.
package main

import (
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"gitlab-codedeploy/lambda/internal/environment"
	"gitlab-codedeploy/lambda/internal/metric"
	"gitlab-codedeploy/lambda/internal/status"
)

func main() {
	slog.SetDefault(lambdacontext.NewLogger())
	handler, err := newHandler(os.Getenv)
	if err != nil {
		slog.Error("cannot start: " + err.Error())
		os.Exit(1) // Lambda reports an exit before the first invocation as an init error.
	}
	lambda.Start(handler.Handle)
}

// newHandler wires the function. Its error names everything that is missing or
// wrong, not only the first thing.
func newHandler(getenv func(string) string) (*Handler, error) {
	env := &environment.Reader{Getenv: getenv}
	bucket, prefix := env.Artifacts()
	allowed := env.AllowList()
	queueURL := env.URL("QUEUE_URL")
	config := env.AWS()
	if err := env.Err(); err != nil {
		return nil, err
	}
	objects := environment.S3(config)
	deployer := codedeploy.NewFromConfig(config)
	handler := &Handler{
		Bucket: bucket,
		Prefix: prefix,
		Trigger: &Trigger{
			Artifacts: &Artifacts{Client: objects},
			Groups:    &BlueGreenGroups{Client: deployer},
			Statuses:  &status.Store{Objects: objects, Bucket: bucket},
			History:   &History{Client: deployer, Prefix: prefix},
			Deployer:  deployer,
			Allowed:   allowed,
		},
		Metrics: &Metrics{metric.Writer{Out: os.Stdout, FunctionName: getenv("AWS_LAMBDA_FUNCTION_NAME")}},
		Log:     slog.Default(),
	}
	if queueURL != "" {
		handler.Patience = &Patience{Client: sqs.NewFromConfig(config), QueueURL: queueURL}
	}
	return handler, nil
}
