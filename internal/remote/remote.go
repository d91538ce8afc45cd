// Package remote starts an operation on a host through Systems Manager, and follows it there.
//
// An operation runs on by itself (docs/adr/0009): its document only starts a unit of the host, under an id that the
// sender has made, so that a document which is sent twice starts nothing twice. What becomes of it is asked of another
// document, follow, again and again: each answer brings what is new of the operation's log and, at its end, its result
// and exit status. Whatever happens to the sender or to the network, the operation goes on.
//
//	Start  ── SendCommand …-backup {RunId} ──▶ a unit on the host
//	Follow ── SendCommand …-follow {Run, LogFrom, ResultFrom} ──▶ its log, result and status
//	Ask    ── SendCommand …-keys ──▶ what a document prints that only looks
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"
)

// Commands is the part of the client of Systems Manager that is needed.
type Commands interface {
	SendCommand(context.Context, *ssm.SendCommandInput, ...func(*ssm.Options)) (*ssm.SendCommandOutput, error)
	GetCommandInvocation(context.Context, *ssm.GetCommandInvocationInput, ...func(*ssm.Options)) (*ssm.GetCommandInvocationOutput, error)
}

// Host is an instance that documents are run on.
type Host struct {
	Commands Commands
	// Kind is what people call it, "server" or "runner"; Instance its id.
	Kind, Instance string
	// Environment is part of the documents' names: gitlab-codedeploy-<environment>-<operation>.
	Environment string
	// Flags choose environment and account on a command line, such as "--env staging --profile a": for what people are told to type.
	Flags string
	// Place is where the host is, for people, such as "account 111111111111, ap-northeast-1".
	Place string

	// Log takes the operation's own log as it comes. Say is told, a line at a time, what happens between us and the host. Both are optional.
	Log io.Writer
	Say func(line string)

	// Poll is the pause between two looks. 0 means 1 s.
	Poll time.Duration
	// Patience is how long following goes on without any news, and how long Ask waits. 0 means 15 minutes, and 3 minutes of Ask.
	Patience time.Duration
	// Timeout is how long an operation is followed. 0 means a day.
	Timeout time.Duration
}

// Operation is one of a host's operations, as it is started.
type Operation struct {
	Name       string            // the end of its document's name, such as "backup"
	Parameters map[string]string // of its document, but for RunId
	// Command is the one of scripts/ops that follows it, such as "backup". Optional: an operation that is part of a
	// longer way is not followed by itself, and that way is gone again.
	Command string
}

// Ended is how an operation has ended.
type Ended struct {
	Run    string
	Status int    // of the hosts' program: 0 done, 1 failed, 2 wrong use
	Result string // as the host has it: not yet fit for a terminal
}

// ErrTimedOut says that an operation was not followed to its end. It goes on.
var ErrTimedOut = errors.New("timed out")

// BadParameter says that a value has a letter that no document lets through.
type BadParameter struct{ Name, Value string }

func (b BadParameter) Error() string {
	return fmt.Sprintf("%s: got %q, want no quotes, $, backticks, backslashes, semicolons, braces or control characters", b.Name, b.Value)
}

// told is an error in our own words, which need not repeat those of its cause.
type told struct {
	text  string
	cause error
}

func (t told) Error() string { return t.text }
func (t told) Unwrap() error { return t.cause }

// passing are refusals of another moment. A profile's credentials are renewed in another window.
var passing = map[string]bool{
	"ExpiredToken": true, "ExpiredTokenException": true, "RequestExpired": true,
	"InternalServerError": true, "InternalFailure": true, "ServiceUnavailable": true, "ServiceUnavailableException": true,
	"UnknownError": true, // an answer that is not AWS's, such as the page of a proxy
}

var retryable = retry.IsErrorRetryables(retry.DefaultRetryables)

// refusal is the code of an answer by which AWS refuses, and which asking again does not change; or "".
func refusal(err error) string {
	var answer smithy.APIError
	if !errors.As(err, &answer) || passing[answer.ErrorCode()] || answer.ErrorFault() == smithy.FaultServer ||
		retryable.IsErrorRetryable(err) == aws.TrueTernary {
		return ""
	}
	return answer.ErrorCode()
}

// hostile are letters that could leave the quotes which a document puts a parameter in.
var hostile = regexp.MustCompile("[\"$`\\\\;{}'\\pC]")

func (h Host) document(operation string) string {
	return "gitlab-codedeploy-" + h.Environment + "-" + operation
}

// check is the command that says what is between us and the host.
func (h Host) check() string { return "scripts/ops check " + h.Flags }

// following says how somebody goes on with a run.
func (h Host) following(o Operation, run string) string {
	if o.Command == "" {
		return "what it is a part of can be started again"
	}
	return fmt.Sprintf("to follow it: scripts/ops %s %s --follow %s", o.Command, h.Flags, run)
}

func (h Host) say(format string, values ...any) {
	if h.Say != nil {
		h.Say(fmt.Sprintf(format, values...))
	}
}

// sleep waits, or not to the end when ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
