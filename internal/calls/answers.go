package calls

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"gitlab-codedeploy/internal/plain"
)

// NoAnswer says that what came is no answer of AWS: a web page, say, of an emulator that does not serve the call, or of a
// proxy in between.
type NoAnswer struct {
	Call   string // such as "ssm:StartSession"
	Status int    // of HTTP
	Title  string // of the page, if it is one
	Err    error  // the SDK's
}

func (n *NoAnswer) Error() string {
	page := "something else than an answer of AWS"
	if n.Title != "" {
		page = fmt.Sprintf("the web page %q", n.Title)
	}
	return fmt.Sprintf("got HTTP status %d with %s: an emulator does not serve every call, or there is a proxy in between", n.Status, page)
}

func (n *NoAnswer) Unwrap() error { return n.Err }

// HTTPStatusCode lets the SDK try again where a status says so.
func (n *NoAnswer) HTTPStatusCode() int { return n.Status }

// maxPage bounds what is read of an answer that is none.
const maxPage = 64 << 10

// KnowAnswers makes a NoAnswer of whatever the SDK does not understand, of all clients that are made of cfg.
func KnowAnswers(cfg *aws.Config) {
	cfg.APIOptions = append(cfg.APIOptions, func(stack *middleware.Stack) error {
		// The innermost one, to see what came before the SDK reads it; the outermost one sees what the SDK says of it.
		if err := stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("KnowPages", knowPages), middleware.After); err != nil {
			return err
		}
		if err := stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("KnowAnswers", knowAnswers), middleware.Before); err != nil {
			return err
		}
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("NameNoAnswer", nameNoAnswer), middleware.Before)
	})
}

// knowPages takes a web page out of the way of a service's error. A page that came with success may be an object of S3.
func knowPages(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	response, is := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !is || response.StatusCode < http.StatusBadRequest || !isPage(response) {
		return out, metadata, err
	}
	page, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	if err != nil {
		return out, metadata, &smithy.DeserializationError{Err: err}
	}
	response.Body = io.NopCloser(bytes.NewReader(page))
	return out, metadata, &NoAnswer{Call: Of(ctx, nil).Name(), Status: response.StatusCode, Title: titleOf(page)}
}

func isPage(response *smithyhttp.Response) bool {
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return kind == "text/html"
}

var title = regexp.MustCompile(`(?is)<title>(.*?)</title>`)

// titleOf is a page's title, or its first words.
func titleOf(page []byte) string {
	if found := title.FindSubmatch(page); found != nil {
		page = found[1]
	}
	return plain.Line(string(page), 100)
}

func knowAnswers(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	var garbled *smithy.DeserializationError
	if response, is := out.RawResponse.(*smithyhttp.Response); is && errors.As(err, &garbled) {
		err = &NoAnswer{Call: Of(ctx, nil).Name(), Status: response.StatusCode, Err: err}
	}
	return out, metadata, err
}

// nameNoAnswer leaves out what the SDK says of attempts and of a request without an id.
func nameNoAnswer(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleInitialize(ctx, in)
	var none *NoAnswer
	if errors.As(err, &none) {
		err = none
	}
	return out, metadata, err
}
