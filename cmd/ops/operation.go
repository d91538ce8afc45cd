package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/remote"
)

// gitlabURL is the form of the output Url.
const gitlabURL = `https://[a-z0-9.-]+`

// newest is what --follow holds without a run's id.
const newest = "newest"

// following are the flags of a command that starts an operation on a host and follows it.
type following struct {
	follow  string // "" starts one; else the id of a run, or newest
	timeout timeLimit
}

// timeLimit is a flag's value.
type timeLimit time.Duration

func (s *timeLimit) String() string { return fmt.Sprint(int(time.Duration(*s).Seconds())) }
func (s *timeLimit) Type() string   { return "seconds" }
func (s *timeLimit) Set(text string) error {
	d, err := time.ParseDuration(text + "s")
	if err != nil || strings.Trim(text, "0123456789") != "" || d < time.Second || d > 999999*time.Second {
		return fmt.Errorf("got %q, want seconds, from 1 to 999999", text)
	}
	*s = timeLimit(d)
	return nil
}

// add adds --follow and --timeout. what is followed is said in their help, such as "the newest backup, also the nightly one".
func (f *following) add(c *cobra.Command, what string) {
	f.timeout = timeLimit(24 * time.Hour)
	c.Flags().StringVar(&f.follow, "follow", "", "start nothing: follow "+what+", or the run `ID`, which may be a word of its own")
	c.Flags().Lookup("follow").NoOptDefVal = newest
	c.Flags().Var(&f.timeout, "timeout", "how long to follow it, in seconds; it goes on")
	// A flag whose value may be left out takes no separate word: that word arrives here.
	c.Args = func(c *cobra.Command, args []string) error {
		if f.follow == newest && len(args) == 1 {
			f.follow, args = args[0], nil
		}
		if err := noArguments(c, args); err != nil {
			return err
		}
		if given := c.Flags().Changed("follow"); given && f.follow != newest && !remote.RunID.MatchString(f.follow) {
			return usageError{fmt.Errorf("--follow: want the id of a run such as 20261124T185436-0a1b2c3d, or nothing for the newest, got %q", f.follow)}
		}
		return nil
	}
}

// run is the id to follow, and "" for the newest.
func (f following) run() string {
	if f.follow == newest {
		return ""
	}
	return f.follow
}

// remoteHost is the server or the runner of GitLab's account. Its operations' log goes to stderr.
func (p *program) remoteHost(a *account.Account, o options, kind string) (remote.Host, error) {
	instance, err := p.host(a, kind)
	flags := "--env " + o.environment
	if o.profile != "" {
		flags += " --profile " + o.profile
	}
	return remote.Host{
		Commands: ssm.NewFromConfig(a.AWS), Kind: kind, Instance: instance, Environment: a.Config.Environment,
		Flags: flags, Place: fmt.Sprintf("account %s, %s", a.ID, a.Config.Region),
		Log: p.stderr, Say: func(line string) { p.log("%s", plain.Line(line, maxMessage)) },
	}, err
}

// operate starts an operation and follows it to its end; with --follow it only follows. In a dry run nothing has ended: see finish.
func (p *program) operate(ctx context.Context, a *account.Account, o options, f following, kind string, op remote.Operation) (remote.Ended, error) {
	host, err := p.remoteHost(a, o, kind)
	if err != nil {
		return remote.Ended{}, err
	}
	host.Timeout = time.Duration(f.timeout)
	run := f.run()
	if f.follow == "" {
		run, err = host.Start(ctx, op)
	}
	var end remote.Ended
	if err == nil {
		end, err = host.Follow(ctx, op, run)
	}
	var (
		bad     remote.BadParameter
		refused remote.Refused
	)
	switch {
	case o.dryRun && errors.Is(err, calls.ErrDryRun):
		return remote.Ended{}, nil
	case errors.As(err, &bad):
		return end, usageError{err}
	case errors.As(err, &refused):
		return end, ended{refused.Status, err.Error()}
	case errors.Is(err, remote.ErrTimedOut):
		return end, timedOut{err}
	}
	return end, err
}

// conclude is operate for the last operation of a command.
func (p *program) conclude(ctx context.Context, a *account.Account, o options, f following, kind string, op remote.Operation) error {
	end, err := p.operate(ctx, a, o, f, kind, op)
	if err != nil {
		return err
	}
	return p.finish(o, end)
}

// checkFirst lets the server show what an operation would do, asks, and lets it be done. With check it only shows, and with --follow
// it only follows.
func (p *program) checkFirst(ctx context.Context, a *account.Account, o options, f following, check bool,
	operation func(check, yes string) remote.Operation, ask func() error) error {
	if f.follow == "" {
		end, err := p.operate(ctx, a, o, f, "server", operation("yes", "no"))
		if err != nil || end.Status != 0 {
			return failed(end, err)
		}
		if check {
			return p.finish(o, end)
		}
		if err := ask(); err != nil {
			return err
		}
	}
	return p.conclude(ctx, a, o, f, "server", operation("no", "yes"))
}

// failed is the end of a command whose first operation has not ended well.
func failed(end remote.Ended, err error) error {
	if err != nil {
		return err
	}
	return ended{status: end.Status} // the log has said why
}

// finish prints what an operation has left, and ends with its status.
func (p *program) finish(o options, end remote.Ended) error {
	if o.dryRun {
		return calls.ErrDryRun
	}
	if _, err := io.WriteString(p.stdout, plain.Text(end.Result)); err != nil {
		return err
	}
	if end.Status != 0 {
		return failed(end, nil)
	}
	return nil
}

// canAsk says whether confirm would get an answer.
func (p *program) canAsk(o options) bool { return o.yes || o.dryRun || p.terminal }

// confirmIn is confirm, with the account in the question.
func (p *program) confirmIn(a *account.Account, o options, question string) error {
	if p.terminal {
		question = fmt.Sprintf("Account %s, %s: %s", a.ID, a.Config.Region, question)
	}
	return p.confirm(o, question)
}
