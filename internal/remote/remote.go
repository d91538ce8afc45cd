// Package remote asks a host something through Systems Manager: it starts a document there, and takes what it prints.
package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// Commands is the part of the client of Systems Manager that is needed.
type Commands interface {
	SendCommand(context.Context, *ssm.SendCommandInput, ...func(*ssm.Options)) (*ssm.SendCommandOutput, error)
	GetCommandInvocation(context.Context, *ssm.GetCommandInvocationInput, ...func(*ssm.Options)) (*ssm.GetCommandInvocationOutput, error)
}

// Host is an instance that a document is run on.
type Host struct {
	Commands Commands
	Instance string
	// Poll is the pause between two looks, Patience the time after which nobody waits any more. 0 means 1 s and 3 minutes.
	Poll, Patience time.Duration
}

// delivery is how long Systems Manager may take to hand a command over, in seconds; 30 at least. Later it is not run, so
// that nothing starts hours afterwards.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
const delivery = 60

// maxOutput is what Systems Manager tells of an output, in characters.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetCommandInvocation.html
const maxOutput = 24000

// ErrNoAnswer says that the host did not end in time.
var ErrNoAnswer = errors.New("no answer")

// Ask runs a document that ends at once, and returns what it has printed.
func (h Host) Ask(ctx context.Context, document string, parameters map[string][]string) (string, error) {
	sent, err := h.Commands.SendCommand(ctx, &ssm.SendCommandInput{
		DocumentName: &document, InstanceIds: []string{h.Instance}, Parameters: parameters, TimeoutSeconds: aws.Int32(delivery),
	})
	if err != nil {
		return "", fmt.Errorf("send %s to %s: %w", document, h.Instance, err)
	}
	if sent.Command == nil || aws.ToString(sent.Command.CommandId) == "" {
		return "", fmt.Errorf("send %s to %s: Systems Manager answered without a command", document, h.Instance)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(h.Patience, 3*time.Minute), ErrNoAnswer)
	defer cancel()
	for {
		out, err := h.Commands.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: sent.Command.CommandId, InstanceId: &h.Instance})
		var early *types.InvocationDoesNotExist // for a moment after it was sent
		switch {
		case ctx.Err() != nil:
			return "", fmt.Errorf("wait for %s on %s: %w", document, h.Instance, context.Cause(ctx))
		case errors.As(err, &early):
		case err != nil:
			return "", fmt.Errorf("look how %s is getting on: %w", document, err)
		case out.Status == types.CommandInvocationStatusSuccess:
			if text := aws.ToString(out.StandardOutputContent); len([]rune(text)) < maxOutput {
				return text, nil
			}
			return "", fmt.Errorf("%s on %s: it printed more than Systems Manager tells", document, h.Instance)
		case !waiting(out.Status):
			return "", fmt.Errorf("%s on %s: %s: %s", document, h.Instance, cmp.Or(aws.ToString(out.StatusDetails), string(out.Status)),
				cmp.Or(Harmless(lastLine(aws.ToString(out.StandardErrorContent))), "it said nothing"))
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for %s on %s: %w", document, h.Instance, context.Cause(ctx))
		case <-time.After(cmp.Or(h.Poll, time.Second)):
		}
	}
}

func waiting(s types.CommandInvocationStatus) bool {
	return s == types.CommandInvocationStatusPending || s == types.CommandInvocationStatusInProgress || s == types.CommandInvocationStatusDelayed
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// Harmless is a remote text as a terminal may have it: one line of bounded length, without what controls a terminal.
func Harmless(text string) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, " "), func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }), " ")
	if letters := []rune(text); len(letters) > 300 {
		text = string(letters[:300]) + "…"
	}
	return text
}
