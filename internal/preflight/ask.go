package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// calls bounds the calls of all checks together: how many are under way, and how long each may take.
type calls struct {
	free           chan struct{}
	timeout        time.Duration
	made, answered atomic.Int64
}

func newCalls(atOnce int, timeout time.Duration) *calls {
	return &calls{free: make(chan struct{}, atOnce), timeout: timeout}
}

// ask makes one call of an SDK's client.
func ask[I, O, Option any](ctx context.Context, a *asking, call func(context.Context, *I, ...func(*Option)) (*O, error), input *I) (*O, error) {
	select {
	case a.calls.free <- struct{}{}:
		defer func() { <-a.calls.free }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, a.calls.timeout)
	defer cancel()
	a.calls.made.Add(1)
	output, err := call(ctx, input)
	if err == nil || answered(err) {
		a.calls.answered.Add(1)
	}
	return output, err
}

// answered says whether an error is AWS's own word, and not a connection's, a proxy's or the credentials'.
func answered(err error) bool {
	var (
		api      smithy.APIError
		response *awshttp.ResponseError
	)
	if errors.As(err, &response) && response.HTTPStatusCode() >= http.StatusInternalServerError {
		return false
	}
	return errors.As(err, &api) && !slices.Contains(noCredentials, api.ErrorCode())
}

// code is AWS's code of an error, "" for one that is not AWS's.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html and the same page of the other services; EC2
// has its own: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
var (
	noRight       = []string{"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized", "OptInRequired", "Forbidden"}
	noCredentials = []string{"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure",
		"InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestExpired"}
)

func lacksRight(err error) bool { return slices.Contains(noRight, code(err)) }

// said is an error in AWS's words, without the SDK's.
func said(err error) string {
	var api smithy.APIError
	switch {
	case errors.As(err, &api):
		return "AWS says: " + harmless(api.ErrorCode()+": "+api.ErrorMessage())
	case errors.Is(err, context.DeadlineExceeded):
		return "AWS did not answer in time"
	case errors.Is(err, context.Canceled):
		return "interrupted"
	}
	var (
		network   *net.OpError
		response  *awshttp.ResponseError
		operation *smithy.OperationError
	)
	switch {
	case errors.As(err, &network):
		return harmless(network.Error())
	case errors.As(err, &response) && response.HTTPStatusCode() > 0:
		return fmt.Sprintf("AWS answered with HTTP status %d and no reason", response.HTTPStatusCode())
	case errors.As(err, &operation):
		return harmless(operation.Err.Error())
	}
	return harmless(err.Error())
}
