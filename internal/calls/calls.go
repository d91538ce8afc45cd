// Package calls knows every call to AWS before it is sent, by the words of IAM: a dry run
// prints it, and a test of rights collects it.
package calls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
)

// Call is one operation of one service.
type Call struct {
	Service   string // as IAM's actions have it, such as "ssm" or "elasticloadbalancing"
	Operation string // such as "SendCommand"
	Input     any    // the SDK's, such as *ssm.SendCommandInput
}

// Name is the call as people write it, such as "ssm:SendCommand".
func (c Call) Name() string { return c.Service + ":" + c.Operation }

// prefixes are those of IAM's actions, where they are not the service's own name in the SDK without its blanks.
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
var prefixes = map[string]string{
	"cloudwatchlogs":         "logs",
	"elasticloadbalancingv2": "elasticloadbalancing",
}

// Of is the call that a middleware is about.
func Of(ctx context.Context, input any) Call {
	name := strings.ToLower(strings.ReplaceAll(middleware.GetServiceID(ctx), " ", ""))
	if prefix, other := prefixes[name]; other {
		name = prefix
	}
	return Call{name, middleware.GetOperationName(ctx), input}
}

// Watch lets see look at each call of the clients that are made of cfg. An error of it is the call's: then nothing is sent.
func Watch(cfg *aws.Config, see func(context.Context, Call) error) {
	cfg.APIOptions = append(cfg.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("Watch", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			if err := see(ctx, Of(ctx, in.Parameters)); err != nil {
				return middleware.InitializeOutput{}, middleware.Metadata{}, err
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.Before)
	})
}

// ErrDryRun ends the first call that would change something.
var ErrDryRun = errors.New("dry run: nothing was changed")

// DryRun prints each call on w as one line, lets those through that only read, and ends the others with ErrDryRun.
func DryRun(cfg *aws.Config, w io.Writer) {
	var printing sync.Mutex // calls may be made side by side
	Watch(cfg, func(ctx context.Context, call Call) error {
		printing.Lock()
		err := call.Print(w)
		printing.Unlock()
		if err != nil {
			return err
		}
		if !call.Reads() && ctx.Value(onlyReads{}) == nil {
			return ErrDryRun
		}
		return nil
	})
}

// Print writes the call as one line, such as ssm:SendCommand {"DocumentName": …}.
func (c Call) Print(w io.Writer) error {
	input, err := line(c.Input)
	if err != nil {
		return fmt.Errorf("print %s: %w", c.Name(), err)
	}
	_, err = fmt.Fprintln(w, c.Name(), input)
	return err
}

// reading are the words that operations which change nothing begin with.
var reading = regexp.MustCompile(`^(BatchGet|Describe|Filter|Get|Head|List|Lookup|Search|Simulate)[A-Z]`)

// Reads says whether the call changes nothing, and tells no secret.
func (c Call) Reads() bool {
	return reading.MatchString(c.Operation) && c.Operation != "GetSecretValue"
}

type onlyReads struct{}

// OnlyReads marks calls that change nothing although their names do not say so, such as SendCommand of a document that only looks.
func OnlyReads(ctx context.Context) context.Context { return context.WithValue(ctx, onlyReads{}, true) }

// line is an input as JSON, without what was left out of it. JSON escapes what controls a terminal, but for C1.
func line(input any) (string, error) {
	text, err := json.Marshal(input)
	if err != nil {
		return "", err
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return "", err
	}
	text, err = json.Marshal(given(value))
	return string(text), err
}

// given leaves out what is null or empty: the SDK has a field for everything that can be asked.
func given(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if inner == nil || inner == "" {
				delete(value, key)
				continue
			}
			value[key] = given(inner)
		}
	case []any:
		for i := range value {
			value[i] = given(value[i])
		}
	}
	return value
}
