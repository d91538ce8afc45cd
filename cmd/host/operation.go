//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/operation"
)

// job is a command that works on the host, or only looks at it.
type job struct {
	command *cobra.Command
	// check refuses arguments, before anything else is looked at. Optional.
	check func() error
	// exclusive is for what changes the host: one such job at a time. A second one ends
	// at once, and names the first.
	exclusive bool
	// onlyLooks says that flags make it change nothing: then it needs to wait for nobody.
	// Optional.
	onlyLooks func() bool
	// finally is done however it ends, also when another one is under way. Optional.
	finally func(context.Context)
	// do is the work. Its result is printed by itself, on program.stdout.
	do func(context.Context) error
}

// add makes a job's command: in the foreground, or with --detach as a unit that goes on
// by itself.
func (p program) add(j job) *cobra.Command {
	var detach, run string
	j.command.Args = noArguments
	j.command.Flags().StringVar(&detach, "detach", "", "start it as a run with this id, and return at once; the same id starts nothing twice")
	j.command.Flags().StringVar(&run, "run", "", "the run that this is")
	_ = j.command.Flags().MarkHidden("run")
	j.command.RunE = func(c *cobra.Command, _ []string) error {
		if j.check != nil {
			if err := j.check(); err != nil {
				return usageError{err}
			}
		}
		if !p.root {
			return errors.New("run this as root")
		}
		if detach != "" {
			return p.detach(c.Context(), detach, c.Name())
		}
		if j.finally != nil {
			defer j.finally(c.Context())
		}
		if j.exclusive && (j.onlyLooks == nil || !j.onlyLooks()) {
			who := fmt.Sprintf("%s (by hand)", c.Name())
			if run != "" {
				who = fmt.Sprintf("%s (run %s)", c.Name(), run)
			}
			lock, err := p.machine.Lock(machine.OperationLock, who)
			if err != nil {
				return err
			}
			defer lock.Release()
			p.forgetBuilds(c.Context())
		}
		return j.do(c.Context())
	}
	return j.command
}

// forgetBuilds removes builds of this program that nobody needs. No operation fails for it.
func (p program) forgetBuilds(ctx context.Context) {
	if err := p.runs.ForgetBuilds(ctx); err != nil {
		p.machine.Say("warning: old builds of this program stay: %v", err)
	}
}

// detach starts this command line again, as a unit.
func (p program) detach(ctx context.Context, id, name string) error {
	var arguments []string
	for i := 0; i < len(p.args); i++ {
		if p.args[i] == "--detach" {
			i++
			continue
		}
		arguments = append(arguments, p.args[i])
	}
	run, started, err := p.runs.Start(ctx, id, name, arguments)
	var wrong operation.WrongID
	switch {
	case errors.As(err, &wrong):
		return usageError{err}
	case err != nil:
		return err
	case !started:
		fmt.Fprintf(p.stdout, "run %s was started already\n", run)
	default:
		fmt.Fprintf(p.stdout, "run %s of %s is started\n", run, name)
	}
	return nil
}

// newSupervise is what a unit runs.
func newSupervise(p program) *cobra.Command {
	return &cobra.Command{
		Use: "supervise RUN", Hidden: true, Args: cobra.ExactArgs(1), Short: "Run an operation, and keep how it ends",
		RunE: func(c *cobra.Command, args []string) error {
			// systemd stops all processes of a unit at once. This one waits for the other.
			return p.runs.Supervise(context.WithoutCancel(c.Context()), args[0])
		},
	}
}

// matching refuses a flag's value that does not have a form.
func matching(flag, value, form, want string) error {
	if !regexp.MustCompile(`^(` + form + `)$`).MatchString(value) {
		return fmt.Errorf("--%s: got %q, want %s", flag, value, want)
	}
	return nil
}
