package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/config"
)

// options are the flags that mean the same in every command.
type options struct {
	environment, profile string
	yes, dryRun, json    bool
}

// forAccount adds the flags of a command that works in one account.
func (o *options) forAccount(c *cobra.Command, side account.Side) {
	o.forEnvironment(c)
	c.Flags().StringVar(&o.profile, "profile", "", fmt.Sprintf("AWS profile of the account %s.account; default: what the AWS SDK finds by itself", side))
}

// forEnvironment adds those of a command that works on an environment.
func (o *options) forEnvironment(c *cobra.Command) {
	c.Flags().StringVar(&o.environment, "env", "", "environment: config/NAME.yaml (required)")
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the calls to AWS, one a line, and make none that changes something")
}

// withJSON adds the flag of a command that can print its result for programs.
func (o *options) withJSON(c *cobra.Command) {
	c.Flags().BoolVar(&o.json, "json", false, "print the result as JSON")
}

// load reads the configuration of the environment.
func (p *program) load(o options) (config.Config, error) {
	if o.environment == "" {
		return config.Config{}, usageError{errors.New("--env is required")}
	}
	cfg, err := config.Load(p.configs, o.environment)
	if err != nil {
		return config.Config{}, usageError{err}
	}
	return cfg, nil
}

// enter loads the configuration and enters one of its accounts: see account.Enter.
func (p *program) enter(ctx context.Context, o options, side account.Side) (*account.Account, error) {
	cfg, err := p.load(o)
	if err != nil {
		return nil, err
	}
	loaded, err := p.open(ctx, cfg.Region, o.profile)
	if err != nil {
		return nil, usageError{fmt.Errorf("profile %q: %w", o.profile, err)}
	}
	p.watched(&loaded, o, side)
	return account.Enter(ctx, cfg, side, loaded)
}

// watched lets each call of the clients that are made of loaded be seen: by tests, and by a dry run.
func (p *program) watched(loaded *aws.Config, o options, side account.Side) {
	if p.watch != nil {
		calls.Watch(loaded, func(ctx context.Context, call calls.Call) error { return p.watch(ctx, side, call) })
	}
	if o.dryRun {
		calls.DryRun(loaded, p.stdout)
	}
}

// openAccount is enter, and reads what the account's stack has put out.
func (p *program) openAccount(ctx context.Context, o options, side account.Side) (*account.Account, error) {
	a, err := p.enter(ctx, o, side)
	if err != nil {
		return nil, err
	}
	return a, a.ReadOutputs(ctx)
}

// confirm asks on a terminal, and without one wants --yes.
func (p *program) confirm(o options, question string) error {
	switch {
	case o.yes, o.dryRun:
		return nil
	case !p.terminal:
		return usageError{fmt.Errorf("there is no terminal to ask on: pass --yes to go on without the question: %s", question)}
	}
	_, _ = fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	if answer := p.answer(); answer != "y" && answer != "Y" && answer != "yes" {
		return errors.New("not confirmed; nothing was done")
	}
	return nil
}

// noArguments refuses what is not a flag.
func noArguments(c *cobra.Command, args []string) error {
	if err := cobra.NoArgs(c, args); err != nil {
		return usageError{err}
	}
	return nil
}
