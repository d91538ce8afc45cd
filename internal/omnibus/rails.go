package omnibus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine"
)

// railsLimit is the longest time for a program of Rails, unless somebody says otherwise:
// it starts in half a minute.
const railsLimit = 5 * time.Minute

// answerMark begins the line of a program's answer. Rails, and what it loads, say things of
// their own on stdout.
const answerMark = "gitlab-codedeploy: "

// Ruby is a program for GitLab's Rails.
type Ruby struct {
	// Name is what it does, for the error. Required.
	Name string
	// Text is the program. It prints its answer as one line, which begins with
	// "gitlab-codedeploy: ", and ends with abort and a reason when it fails. Required.
	Text string
	// Input is what the program finds in ARGV[0], as JSON. Everybody on the host can read
	// it: no secret. Optional.
	Input any
	// Changes says that the host is another one afterwards.
	Changes bool
	// Timeout is how long it may take; 0 is five minutes.
	Timeout time.Duration
}

// Rails runs a program in GitLab's Rails, and returns its answer.
func (g GitLab) Rails(ctx context.Context, r Ruby) (answer string, err error) {
	if r.Timeout == 0 {
		r.Timeout = railsLimit
	}
	command := machine.Command{
		Args: []string{"gitlab-rails", "runner", "-e", "production", "-"}, Stdin: strings.NewReader(r.Text), Timeout: r.Timeout,
	}
	if r.Input != nil {
		text, err := json.Marshal(r.Input)
		if err != nil {
			return "", err
		}
		command.Args = append(command.Args, string(text))
	}
	run := g.Machine.Ask
	if r.Changes {
		run = g.Machine.Tell
	}
	out, err := run(ctx, command)
	var exit *machine.ExitError
	if errors.As(err, &exit) && strings.Contains(exit.Tail, answerMark) {
		exit.Tail = "" // it failed after its answer, which may be a secret
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", r.Name, shorter("gitlab-rails runner", err))
	}
	for line := range strings.Lines(out) {
		if text, is := strings.CutPrefix(strings.TrimRight(line, "\r\n"), answerMark); is {
			return text, nil
		}
	}
	return "", fmt.Errorf("%s: gitlab-rails runner printed no answer", r.Name)
}
