//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/operation"
	"gitlab-codedeploy/internal/plain"
)

// maxMessage is far above what errors have. What is in them may come from others.
const maxMessage = 5000

// program is what the commands depend on.
type program struct {
	machine *machine.Machine
	runs    *operation.Runs
	stdout  io.Writer // the result, once and at the end
	stderr  io.Writer // talk
	stdin   io.Reader // answers of who is asked
	root    bool      // this runs as root
	// terminal says that somebody can be asked.
	terminal bool
	aws      func(ctx context.Context, region string) (aws.Config, error)

	args []string // the command line
}

// run runs a command line and returns the exit status.
func (p program) run(ctx context.Context, args []string) int {
	p.args = args
	root := newRoot(p)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		p.machine.Say("error: %s", plain.Line(err.Error(), maxMessage))
	}
	return exitStatus(ctx, err)
}

func newRoot(p program) *cobra.Command {
	root := &cobra.Command{
		Use:   "host",
		Short: "Operate GitLab, or its runner, on this host",
		Long: `Operates GitLab, or its runner, on this host. Run it as root.

The result is on stdout, once and at the end; talk goes to stderr.

Exit status:

    0  done
    1  failed, or refused, and the last line says why
    2  wrong use; nothing was done`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command: %s", args[0])}
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error { return usageError{errors.New("got no command")} },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newBackup(p),
		newConfigure(p),
		newInstallGitLab(p),
		newFollow(p),
		newHoldOperations(p),
		newInstallProgram(p),
		newInstallRunner(p),
		newJobCredentials(p),
		newKeys(p),
		newRestore(p),
		newUpgrade(p),
		newVerify(p),
		newReindex(p),
		newResetTokens(p),
		newRegisterRunner(p),
		newStatus(p),
		newRunnerToken(p),
		newReleaseOperations(p),
		newSupervise(p),
		newUnregisterRunner(p),
		newUpgradeRunner(p),
	)
	return root
}

// usageError is wrong use: nothing was done.
type usageError struct{ error }

func (e usageError) Error() string { return e.error.Error() + " (see --help)" }
func (e usageError) Unwrap() error { return e.error }

// stopped is a signal that ended the program.
type stopped struct{ signal syscall.Signal }

func (s stopped) Error() string { return "stopped by a signal: " + s.signal.String() }

// exitStatus is the only place that knows the statuses. A signal's is what a shell
// tells of a program that it ended.
func exitStatus(ctx context.Context, err error) int {
	var (
		usage  usageError
		signal stopped
	)
	switch {
	case err == nil:
		return 0
	case errors.As(context.Cause(ctx), &signal):
		return 128 + int(signal.signal)
	case errors.As(err, &usage):
		return 2
	}
	return 1
}

// noArguments refuses what is no flag.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown argument: %s", args[0])}
	}
	return nil
}
