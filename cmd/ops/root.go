package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/remote"
)

// clients are those of an account.
type clients struct {
	identities account.Identities
	stacks     account.Stacks
	commands   remote.Commands
}

// program is what the commands need of their surroundings.
type program struct {
	stdout, stderr io.Writer
	configs        string // the folder of the environments
	open           func(ctx context.Context, region, profile string) (clients, error)
	terminal       bool
	answer         func() string // reads a line from the terminal
}

func openAWS(ctx context.Context, region, profile string) (clients, error) {
	loaded, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(region), awsconfig.WithSharedConfigProfile(profile))
	if err != nil {
		return clients{}, err
	}
	return clients{sts.NewFromConfig(loaded), cloudformation.NewFromConfig(loaded), ssm.NewFromConfig(loaded)}, nil
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{Use: "ops", Short: "Operate a GitLab and what deploys its artifacts", SilenceErrors: true, SilenceUsage: true}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(p.trust())
	return root
}

// accountOptions are the flags that mean the same everywhere.
type accountOptions struct {
	environment, profile string
	yes, dryRun          bool
}

func (o *accountOptions) add(c *cobra.Command) {
	c.Flags().StringVar(&o.environment, "env", "", "environment: config/NAME.yaml (required)")
	c.Flags().StringVar(&o.profile, "profile", "", "AWS profile of GitLab's account; default: what the SDK finds by itself")
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would change, and change nothing")
}

// openGitLab reads the configuration and opens GitLab's account.
func (p *program) openGitLab(ctx context.Context, o accountOptions) (*account.Account, clients, error) {
	if o.environment == "" {
		return nil, clients{}, usageError{errors.New("--env is required")}
	}
	cfg, err := config.Load(p.configs, o.environment)
	if err != nil {
		return nil, clients{}, usageError{err}
	}
	opened, err := p.open(ctx, cfg.Region, o.profile)
	if err != nil {
		return nil, clients{}, usageError{fmt.Errorf("profile %q: %w", o.profile, err)}
	}
	a, err := account.OpenGitLab(ctx, cfg, opened.identities, opened.stacks)
	if wrong := (account.WrongAccount{}); errors.As(err, &wrong) {
		err = usageError{err}
	}
	return a, opened, err
}

// confirm asks on a terminal, and without one wants --yes.
func (p *program) confirm(o accountOptions, question string) error {
	switch {
	case o.yes:
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
