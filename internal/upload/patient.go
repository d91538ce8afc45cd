package upload

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// patientClient ends a request on which nothing moves, so that it is tried again:
// the SDK itself waits for ever on a connection that is open and dead. A slow one
// is let be.
type patientClient struct {
	next     aws.HTTPClient
	patience time.Duration
	attempts *attempts
}

// Do sends one request, which may be one of several attempts of a call.
func (c *patientClient) Do(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	watch := time.AfterFunc(c.patience, func() {
		cancel(fmt.Errorf("nothing has moved on the connection to S3 for %s", c.patience))
	})
	// S3 cannot have done what it was not told to the end.
	var told atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		told.Store(i.Err == nil)
	}})
	moved := func() { watch.Reset(c.patience) }
	request = request.WithContext(ctx)
	if request.Body != nil && request.Body != http.NoBody {
		request.Body = &watched{ReadCloser: request.Body, moved: moved}
	}
	response, err := c.next.Do(request)
	if err != nil {
		watch.Stop()
		if told.Load() {
			c.attempts.unanswered.Add(1)
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause // not the bare "context canceled", which is never tried again
		}
		cancel(nil)
		return response, err
	}
	moved()
	response.Body = &watched{
		ReadCloser: response.Body, moved: moved,
		broken: func() { c.attempts.unanswered.Add(1) },
		closed: func() { watch.Stop(); cancel(nil) },
	}
	return response, nil
}

// watched tells of each step of a body.
type watched struct {
	io.ReadCloser
	moved          func()
	broken, closed func() // may be nil
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.moved()
	if err != nil && err != io.EOF && w.broken != nil {
		w.broken()
	}
	return n, err
}

func (w *watched) Close() error {
	if w.closed != nil {
		w.closed()
	}
	return w.ReadCloser.Close()
}
