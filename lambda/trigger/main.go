// Command trigger is the Lambda function that turns an uploaded artifact into
// a blue/green deployment: see package deploy.
package main

import (
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"gitlab-codedeploy/lambda/deploy"
	"gitlab-codedeploy/lambda/environment"
)

func main() {
	log := lambdacontext.NewLogger()
	slog.SetDefault(log)
	handler, err := deploy.New(environment.Host{Getenv: os.Getenv, Out: os.Stdout, Log: log})
	if err != nil {
		log.Error("cannot start: " + err.Error())
		os.Exit(1) // Lambda reports an exit before the first invocation as an init error.
	}
	lambda.Start(handler.Handle)
}
