package emulator

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gitlab-codedeploy/test/e2e/childprocess"
)

// progress shows a numbered line per step, with the time it took.
type progress struct {
	out         io.Writer
	step, total int
}

func (p *progress) run(name string, step func() error) error {
	p.step++
	_, _ = fmt.Fprintf(p.out, "[%d/%d] %s … ", p.step, p.total, name)
	began := time.Now()
	err := step()
	took := time.Since(began).Seconds()
	if err != nil {
		_, _ = fmt.Fprintf(p.out, "failed after %.1f s\n", took)
		return fmt.Errorf("%s: %w", name, err)
	}
	_, _ = fmt.Fprintf(p.out, "%.1f s\n", took)
	return nil
}

// stepFailure is an error whose reason stands in a log.
type stepFailure struct {
	err error
	log string
}

func (f *stepFailure) Error() string { return f.err.Error() }
func (f *stepFailure) Unwrap() error { return f.err }

// tailLines is enough for the compiler's message above the stack trace that
// Node adds when the CDK app ends early.
const tailLines = 40

// Explain writes what failed, and the end of the log that says why.
func Explain(out io.Writer, err error) {
	_, _ = fmt.Fprintf(out, "error: %v\n", err)
	log := ""
	var failure *stepFailure
	var command *childprocess.Error
	switch {
	case errors.As(err, &failure):
		log = failure.log
	case errors.As(err, &command):
		log = command.Command.Log
	default:
		return
	}
	if tail := childprocess.Tail(log, tailLines); tail != "" {
		_, _ = fmt.Fprintf(out, "the end of %s:\n%s\n", log, "  "+strings.ReplaceAll(tail, "\n", "\n  "))
	} else {
		_, _ = fmt.Fprintf(out, "its log %s is empty\n", log)
	}
}
