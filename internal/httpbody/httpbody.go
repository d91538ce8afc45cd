// Package httpbody keeps answers that are on their way from being lost.
//
// The body of a request of the AWS SDK has a WriteTo that returns io.EOF once the body is closed. The SDK closes it as soon as the
// header of the answer is there. net/http looks, after the body is sent, whether there is more of it than was said. Where the first
// comes before the second, as on a busy machine in one of some thousand requests, net/http takes the io.EOF for a request that could
// not be sent, and closes the connection under the answer's body ("use of closed network connection"). The SDK then asks again
// for what is done already.
//
// https://github.com/aws/smithy-go/blob/v1.28.9/transport/http/internal/io/safe.go
package httpbody

import (
	"context"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// OnlyRead makes the clients of a configuration send bodies that can only be read: for a reader, a body that is closed has ended.
func OnlyRead(config *aws.Config) {
	config.APIOptions = append(config.APIOptions, func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("OnlyReadBody", onlyRead), middleware.After)
	})
}

func onlyRead(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (out middleware.DeserializeOutput, metadata middleware.Metadata, err error) {
	if request, is := in.Request.(*smithyhttp.Request); is {
		if body, seeks := request.GetStream().(io.ReadSeeker); seeks {
			if in.Request, err = request.SetStream(struct{ io.ReadSeeker }{body}); err != nil {
				return out, metadata, err
			}
		}
	}
	return next.HandleDeserialize(ctx, in)
}
