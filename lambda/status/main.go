// Command status is the Lambda function that tells the uploading job how its
// deployment goes.
//
//	CodeDeploy ── state change ──▶ EventBridge ──▶ status ──▶ deployments/<upload-id>.json
//
// The events come in any order, twice, or not at all (EventBridge calls it best
// effort), so each one is only the occasion to look at the deployment. What goes wrong is returned as an error:
// Lambda tries twice more, and then keeps the event in the dead-letter queue.
//
// Environment, besides what Lambda itself sets (region, credentials, name):
//
//	ARTIFACT_BUCKET   the bucket whose uploads are deployed
//	ARTIFACT_PREFIX   the keys that are artifacts; ends with /
//	AWS_ENDPOINT_URL  optional: one endpoint for every service (the emulator)
//
// When deployment-groups.json lies next to the binary, events of other groups
// are left aside without a look at the deployment.
package main

import (
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"

	"gitlab-codedeploy/lambda/internal/environment"
	"gitlab-codedeploy/lambda/internal/metric"
	"gitlab-codedeploy/lambda/internal/status"
)

func main() {
	slog.SetDefault(lambdacontext.NewLogger())
	reporter, err := newReporter(os.Getenv)
	if err != nil {
		slog.Error("cannot start: " + err.Error())
		os.Exit(1) // Lambda reports an exit before the first invocation as an init error.
	}
	lambda.Start(reporter.Handle)
}

// newReporter wires the function. Its error names everything that is missing
// or wrong, not only the first thing.
func newReporter(getenv func(string) string) (*Reporter, error) {
	env := &environment.Reader{Getenv: getenv}
	bucket, prefix := env.Artifacts()
	allowed := env.AllowListIfAny()
	config := env.AWS()
	if err := env.Err(); err != nil {
		return nil, err
	}
	return &Reporter{
		Bucket:      bucket,
		Prefix:      prefix,
		Allowed:     allowed,
		Deployments: codedeploy.NewFromConfig(config),
		Statuses:    &status.Store{Objects: environment.S3(config), Bucket: bucket},
		Metrics:     &metric.Writer{Out: os.Stdout, FunctionName: getenv("AWS_LAMBDA_FUNCTION_NAME")},
		Log:         slog.Default(),
	}, nil
}
