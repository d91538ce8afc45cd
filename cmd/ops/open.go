package main

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/httpbody"
)

// openAWS loads a profile; "" leaves the credentials to the SDK's own rules.
//
// The SDK exchanges a job's token by a client that it makes before it has read AWS_ENDPOINT_URL. So it is loaded
// once more, with a client that has.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
func openAWS(ctx context.Context, region, profile string) (aws.Config, error) {
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithRegion(region), awsconfig.WithSharedConfigProfile(profile),
		awsconfig.WithLogger(logging.Nop{})} // the SDK's warnings are for its makers, and stderr is for people
	first, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return first, err
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, append(options, awsconfig.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) {
		o.Client = sts.NewFromConfig(first)
	}))...)
	httpbody.OnlyRead(&cfg)
	calls.KnowAnswers(&cfg)
	return cfg, err
}
