//go:build unix

package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/operation"
)

func newFollow(p program) *cobra.Command {
	var run string
	var from operation.Place
	var wait int
	command := &cobra.Command{
		Use:   "follow --run ID|OPERATION",
		Short: "Show how a run is getting on",
		Long: `Shows how a run is getting on, as soon as there is something new: what its log says
from a place on, and at its end the result. It changes nothing.

The first line on stdout is one JSON object:
{"run", "operation", "started", "state", "exit", "log", "result", "more"}
state is running, ended, lost (it ended without a status: killed, or the host was restarted),
or none (there is no such run); exit is its exit status or null; log and result are where to
go on; more is true when there is more to read at once. Then come lines of the log and, when
all of that is out, of the result, each after two characters: "| " a line of the log, "> " of
the result; "|+" and ">+" a piece of one that goes on. What could touch a terminal is "?",
carriage returns end a line. It prints 20,000 bytes at most.`,
		Example: "  host follow --run backup --wait 8",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			err := matching("run", run, operation.IDPattern+`|[a-z][a-z-]{0,40}`, "the id of a run, or an operation")
			if from.Log < 0 || from.Result < 0 {
				err = errors.Join(err, errors.New("--log-from and --result-from: want a number of bytes"))
			}
			if wait < 0 || wait > 99 {
				err = errors.Join(err, errors.New("--wait: want seconds, at most 99"))
			}
			if err != nil {
				return usageError{err}
			}
			return p.runs.News(c.Context(), p.stdout, run, from, time.Duration(wait)*time.Second)
		},
	}
	flags := command.Flags()
	flags.StringVar(&run, "run", "", "the run's id, or an operation, such as backup, for the newest run of it (required)")
	flags.Int64Var(&from.Log, "log-from", 0, "where to go on in the log, in bytes")
	flags.Int64Var(&from.Result, "result-from", 0, "where to go on in the result, in bytes")
	flags.IntVar(&wait, "wait", 0, "longest time to wait for something new, in seconds")
	return command
}
