package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/plain"
)

const (
	// delivery is how long Systems Manager may take to hand a command over, in seconds; 30 at least. Later it is not run, so
	// that nothing starts hours afterwards.
	// https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
	delivery = 60
	// maxOutput is what Systems Manager tells of an output, in characters.
	// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetCommandInvocation.html
	maxOutput = 24000
	// callLimit bounds one call with its repetitions, endLimit the wait for a document's end: they start something or look, and end at once.
	callLimit = time.Minute
	endLimit  = (delivery + 180) * time.Second
	// maxSends is how often a document is sent whose answer is lost, maxLost how many looks in a row may be.
	maxSends, maxLost = 5, 3
)

// output is what a document's script has printed, and its exit status.
type output struct {
	status         int
	stdout, stderr string
}

// notRun says that a document is not run, now or later: AWS refused it, or the agent did not take it.
type notRun struct{ told }

// lost says that an answer did not come: whether the document ran, or how it ended, is not known.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

// runOften runs a document that may be sent again because it only looks, or starts nothing twice.
func (h Host) runOften(ctx context.Context, operation string, parameters map[string]string) (output, error) {
	for sends := 1; ; sends++ {
		out, err := h.run(ctx, operation, parameters)
		var answer lost
		if !errors.As(err, &answer) || refusal(err) != "" || sends == maxSends || ctx.Err() != nil {
			return out, err
		}
		h.say("no answer (%s): sending it again", plain.Line(err.Error(), 300))
		if err := sleep(ctx, h.poll()); err != nil {
			return out, err
		}
	}
}

// run sends a document and waits for its end. Errors of this side are notRun, lost, and those of ctx.
func (h Host) run(ctx context.Context, operation string, parameters map[string]string) (output, error) {
	id, err := h.send(ctx, operation, parameters)
	if err != nil {
		return output{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, endLimit, lost{fmt.Errorf("no word of what became of command %s", id)})
	defer cancel()
	for failures := 0; ; {
		// Right after it was sent there is nothing to see yet.
		if err := sleep(ctx, h.poll()); err != nil {
			return output{}, context.Cause(ctx)
		}
		out, over, err := h.look(ctx, id)
		switch {
		case ctx.Err() != nil:
			return output{}, context.Cause(ctx)
		case over:
			return out, err
		case err == nil:
			failures = 0
		default:
			if failures++; failures == maxLost || refusal(err) != "" {
				return output{}, lost{err}
			}
		}
	}
}

var commandID = regexp.MustCompile(`^[0-9a-f-]{36}$`)

// send sends a document and returns the command's id.
func (h Host) send(ctx context.Context, operation string, parameters map[string]string) (string, error) {
	values := map[string][]string{}
	for name, value := range parameters {
		values[name] = []string{value}
	}
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	document := h.document(operation)
	sent, err := h.Commands.SendCommand(call, &ssm.SendCommandInput{
		DocumentName: &document, InstanceIds: []string{h.Instance}, Parameters: values, TimeoutSeconds: aws.Int32(delivery),
	})
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, calls.ErrDryRun):
		return "", err
	case err != nil:
		return "", h.explain(operation, err)
	case sent.Command == nil || !commandID.MatchString(aws.ToString(sent.Command.CommandId)):
		return "", lost{fmt.Errorf("send %s to %s: Systems Manager answered without a command", document, h.Instance)}
	}
	return *sent.Command.CommandId, nil
}

// explain says of a failed SendCommand what it means.
func (h Host) explain(operation string, err error) error {
	err = fmt.Errorf("send %s to %s: %w", h.document(operation), h.Instance, err)
	switch refusal(err) {
	case "":
		return lost{err}
	case "InvalidInstanceId":
		return notRun{told{fmt.Sprintf("the instance is not online in Systems Manager. Why: %s (%s)", h.check(), err), err}}
	case "InvalidDocument":
		return notRun{told{fmt.Sprintf("there is no document %s: scripts/ops deploy makes it (%s)", h.document(operation), err), err}}
	}
	return notRun{told{err.Error(), err}}
}

// look asks what became of a command. It is over when it has ended, with an error when it did not run.
func (h Host) look(ctx context.Context, id string) (out output, over bool, err error) {
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	answer, err := h.Commands.GetCommandInvocation(call, &ssm.GetCommandInvocationInput{CommandId: &id, InstanceId: &h.Instance})
	switch {
	case refusal(err) == "InvocationDoesNotExist": // for a moment after it was sent
		return output{}, false, nil
	case err != nil:
		return output{}, false, fmt.Errorf("look what became of command %s: %w", id, err)
	}
	details := plain.Line(cmp.Or(aws.ToString(answer.StatusDetails), string(answer.Status)), 100)
	switch answer.Status {
	case types.CommandInvocationStatusPending, types.CommandInvocationStatusInProgress, types.CommandInvocationStatusDelayed, types.CommandInvocationStatusCancelling:
		return output{}, false, nil
	case "":
		return output{}, false, fmt.Errorf("look what became of command %s: Systems Manager's answer has no status", id)
	case types.CommandInvocationStatusSuccess:
		return printed(answer), true, nil
	case types.CommandInvocationStatusFailed:
		// Without a status of the script itself, nothing of it has run, or it was cut off.
		if answer.ResponseCode > 0 {
			return printed(answer), true, nil
		}
	}
	switch details {
	case "Execution Timed Out", "ExecutionTimedOut":
		return output{}, true, lost{fmt.Errorf("the document did not end in time (%s)", details)}
	case "Delivery Timed Out", "DeliveryTimedOut", "Undeliverable":
		return output{}, true, notRun{told{text: fmt.Sprintf("the agent on the instance did not take it within %d s (%s). Why: %s", delivery, details, h.check())}}
	}
	return output{}, true, notRun{told{text: fmt.Sprintf("the agent did not run it (%s)", details)}}
}

func printed(answer *ssm.GetCommandInvocationOutput) output {
	return output{int(answer.ResponseCode), aws.ToString(answer.StandardOutputContent), aws.ToString(answer.StandardErrorContent)}
}

func (h Host) poll() time.Duration { return cmp.Or(h.Poll, time.Second) }
