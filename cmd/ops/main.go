// Command ops is the operator's program. scripts/ops starts it for the commands that it has.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	program := &program{
		stdout: os.Stdout, stderr: os.Stderr, configs: "config", open: openAWS,
		terminal: term.IsTerminal(int(os.Stdin.Fd())),
		answer: func() string {
			line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
			return strings.TrimSpace(line)
		},
	}
	if err := program.root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(exitStatus(err))
	}
}

// exitStatus is the only place that knows the statuses: 1 failed or not confirmed, 2 wrong use or credentials.
func exitStatus(err error) int {
	if wrong := (usageError{}); errors.As(err, &wrong) {
		return 2
	}
	return 1
}

type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }
