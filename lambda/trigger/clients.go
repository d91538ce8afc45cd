package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// idleConnection is how long an unused connection may be used again. Lambda
// freezes the process between invocations, and the far end may have hung up
// meanwhile without this side hearing of it. The next CreateDeployment would
// fail on such a connection, and is not sent twice (see createRetryer).
const idleConnection = 5 * time.Second

// createRetryer tries CreateDeployment again only when AWS refused to look at
// the call. The call has no idempotency token, so after a lost answer a second
// attempt could deploy twice; that one waits in the queue instead.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_CreateDeployment.html
var createRetryer = retry.NewStandard(func(o *retry.StandardOptions) {
	o.Retryables = []retry.IsErrorRetryable{
		retry.NoRetryCanceledError{},
		retry.RetryableErrorCode{Codes: retry.DefaultThrottleErrorCodes},
	}
})

func retryOnlyThrottling(o *codedeploy.Options) { o.Retryer = createRetryer }

// awsConfig reads the variables that Lambda gives every function.
//
// The SDK's config module would also look for profiles, single sign-on and
// instance roles. None of them exists in a function, and they are a sixth of
// the binary. Region, retries and AWS_ENDPOINT_URL work as they do there; the
// other AWS_* settings (AWS_MAX_ATTEMPTS, AWS_USE_FIPS_ENDPOINT, …) are not read.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func awsConfig(getenv func(string) string) (aws.Config, error) {
	var missing []string
	for _, name := range []string{"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		if getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return aws.Config{}, fmt.Errorf("%s not set: Lambda sets them, outside of it set them yourself", strings.Join(missing, ", "))
	}
	credentials := aws.Credentials{
		AccessKeyID:     getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:    getenv("AWS_SESSION_TOKEN"),
		Source:          "environment",
	}
	config := aws.Config{
		Region: getenv("AWS_REGION"),
		// Lambda starts a new process rather than change a running one's
		// credentials, so reading them once is enough.
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return credentials, nil
		}),
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.IdleConnTimeout = idleConnection
		}),
	}
	if endpoint := getenv("AWS_ENDPOINT_URL"); endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return aws.Config{}, fmt.Errorf("AWS_ENDPOINT_URL is %q: want an http:// or https:// address", endpoint)
		}
		config.BaseEndpoint = &endpoint
	}
	return config, nil
}

func newS3Client(config aws.Config) *s3.Client {
	return s3.NewFromConfig(config, func(o *s3.Options) {
		// The usual address puts the bucket's name in front of the host, and
		// <bucket>.localhost does not resolve everywhere.
		o.UsePathStyle = config.BaseEndpoint != nil
	})
}
