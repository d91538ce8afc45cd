// Command status is the Lambda function that tells the uploading job how its
// deployment goes: see package report.
package main

import (
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"gitlab-codedeploy/lambda/environment"
	"gitlab-codedeploy/lambda/report"
)

func main() {
	log := lambdacontext.NewLogger()
	slog.SetDefault(log)
	reporter, err := report.New(environment.Host{Getenv: os.Getenv, Out: os.Stdout, Log: log})
	if err != nil {
		log.Error("cannot start: " + err.Error())
		os.Exit(1) // Lambda reports an exit before the first invocation as an init error.
	}
	lambda.Start(reporter.Handle)
}
