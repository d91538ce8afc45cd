// Command markers is the Lambda function that tells of backups which were
// hidden by somebody else than the nightly pruning.
//
//	backup bucket ── Object Deleted ──▶ EventBridge ──▶ markers ──▶ metric ──▶ alarm
//
// What goes wrong is returned as an error: Lambda tries twice more, and then
// keeps the event in the dead-letter queue, which has an alarm of its own.
//
// Environment, besides what Lambda itself sets (region, credentials, name):
//
//	BACKUP_BUCKET     the bucket of GitLab's backups
//	KEEP_DAYS         for how many days a backup is kept
//	AWS_ENDPOINT_URL  optional: one endpoint for every service (the emulator)
package main

import (
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"gitlab-codedeploy/lambda/environment"
	"gitlab-codedeploy/lambda/internal/markers"
	"gitlab-codedeploy/lambda/internal/metric"
)

func main() {
	slog.SetDefault(lambdacontext.NewLogger())
	judge, err := newJudge(os.Getenv)
	if err != nil {
		slog.Error("cannot start: " + err.Error())
		os.Exit(1) // Lambda reports an exit before the first invocation as an init error.
	}
	lambda.Start(judge.Handle)
}

// newJudge wires the function. Its error names everything that is missing or
// wrong, not only the first thing.
func newJudge(getenv func(string) string) (*markers.Judge, error) {
	env := &environment.Reader{Host: environment.Host{Getenv: getenv}}
	bucket, keepDays := env.Backups()
	config := env.AWS()
	if err := env.Err(); err != nil {
		return nil, err
	}
	return &markers.Judge{
		Bucket:   bucket,
		KeepDays: keepDays,
		Objects:  environment.S3(config),
		Metrics:  &metric.Writer{Out: os.Stdout, FunctionName: getenv("AWS_LAMBDA_FUNCTION_NAME")},
		Log:      slog.Default(),
	}, nil
}
