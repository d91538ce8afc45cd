// Command trigger is the Lambda function that turns an uploaded artifact into
// a blue/green deployment.
//
//	artifact bucket ── ObjectCreated ──▶ SQS queue ──▶ trigger ──▶ CodeDeploy
//
// An artifact says in its metadata which deployment group it is for. What may
// get better by itself goes back to the queue; what a retry cannot cure ends
// at once, with a reason that says what to change.
//
// Environment, besides what Lambda itself sets (region, credentials):
//
//	ARTIFACT_BUCKET   the bucket whose uploads are deployed
//	ARTIFACT_PREFIX   the keys that are artifacts; ends with /
//	AWS_ENDPOINT_URL  optional: one endpoint for every service (the emulator)
//
// The pairs that may be deployed stand in deployment-groups.json, next to the
// binary.
package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
)

// allowListFile lies in the function's package rather than in its environment,
// which Lambda limits to 4 KB: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const allowListFile = "deployment-groups.json"

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
	var problems []string
	check := func(err error) {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}

	bucket := getenv("ARTIFACT_BUCKET")
	if bucket == "" {
		check(errors.New("ARTIFACT_BUCKET is not set: want the name of the artifact bucket"))
	}
	prefix := getenv("ARTIFACT_PREFIX")
	if prefix == "" || prefix == "/" || !strings.HasSuffix(prefix, "/") {
		check(fmt.Errorf("ARTIFACT_PREFIX is %q: want a key prefix that ends with /, such as artifacts/", prefix))
	}
	var allowed AllowList
	if root := getenv("LAMBDA_TASK_ROOT"); root == "" {
		check(errors.New("LAMBDA_TASK_ROOT is not set: want the folder that holds " + allowListFile))
	} else {
		var err error
		allowed, err = LoadAllowList(filepath.Join(root, allowListFile))
		check(err)
	}
	config, err := awsConfig(getenv)
	check(err)

	if len(problems) > 0 {
		return nil, errors.New(strings.Join(problems, "; "))
	}
	deployer := codedeploy.NewFromConfig(config)
	return &Handler{
		Bucket: bucket,
		Prefix: prefix,
		Trigger: &Trigger{
			Objects:  newS3Client(config),
			Groups:   &BlueGreenGroups{Client: deployer},
			Deployer: deployer,
			Allowed:  allowed,
		},
		Log: slog.Default(),
	}, nil
}
