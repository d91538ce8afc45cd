package main

import (
	"context"
	"errors"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
)

// maxMessage bounds an error's text: what is in it may come from others.
const maxMessage = 5000

// usageError is wrong use: nothing was done.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// timedOut says that what was waited for did not end in time. It may go on.
type timedOut struct{ error }

func (t timedOut) Unwrap() error { return t.error }

// ended is an end with a status of its own, such as that of a host's operation. Its message may be empty: then all was said.
type ended struct {
	status int
	text   string
}

func (e ended) Error() string { return e.text }

// exitStatus is the only place that knows the statuses: 0 done, 1 failed or not confirmed, 2 wrong use, configuration
// or credentials, 3 timed out.
func exitStatus(err error) int {
	var (
		end      ended
		wrong    usageError
		unusable account.Unusable
		late     timedOut
	)
	switch {
	case err == nil, errors.Is(err, calls.ErrDryRun):
		return 0
	case errors.As(err, &end):
		return end.status
	case errors.As(err, &wrong), errors.As(err, &unusable):
		return 2
	case errors.As(err, &late):
		return 3
	}
	return 1
}

// message is what is said of an error on stderr, if anything.
func message(ctx context.Context, err error) string {
	var end ended
	switch {
	case err == nil, errors.As(err, &end) && end.text == "":
		return ""
	case errors.Is(err, calls.ErrDryRun):
		return calls.ErrDryRun.Error()
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return "interrupted: " + err.Error()
	}
	return "error: " + err.Error()
}
