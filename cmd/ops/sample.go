package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/sample"
)

// samplePrice is what it costs while nobody looks at it, in USD a day: a load balancer (0.58), three public addresses (0.36), a
// t4g.micro (0.26) and its 8 GB (0.03).
// https://aws.amazon.com/elasticloadbalancing/pricing/, https://aws.amazon.com/ec2/pricing/on-demand/
const samplePrice = "about 1.25 USD a day at Tokyo's prices of 2026-11"

func (p *program) sample() *cobra.Command {
	command := &cobra.Command{
		Use:   "sample",
		Short: "Make or remove a small target to deploy to, for a first real deployment",
		Long: `In account B, the smallest real target of a blue/green deployment: an Auto Scaling group of
one small instance with CodeDeploy's agent, in the default VPC behind a load balancer, and an
application and a group of CodeDeploy with the names of the configuration.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return usageError{errors.New("want up or down after sample")} },
	}
	command.AddCommand(p.sampleUp(), p.sampleDown())
	return command
}

func (p *program) sampleUp() *cobra.Command {
	var o options
	var application, group, from string
	timeout := 20 * time.Minute
	command := &cobra.Command{
		Use:   "up --env NAME",
		Short: "Make the sample target, after a question that names its price",
		Long: `Makes what is not there yet: a stack Sample-NAME, by the role of the CDK's bootstrap, and the
blue/green group, which CloudFormation cannot make. It can be ended anywhere and started
again. Prints the address to look at.`,
		Example: "  scripts/ops sample up --env staging --profile deploy",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withSample(c.Context(), o, timeout, func(ctx context.Context, deploy config.Deploy, s sample.Sample) error {
				pair := slices.IndexFunc(deploy.DeploymentGroups, func(g config.DeploymentGroup) bool {
					return (application == "" || g.Application == application) && (group == "" || g.DeploymentGroup == group)
				})
				if pair < 0 {
					return usageError{fmt.Errorf("deploy.deploymentGroups has no pair %q, %q", application, group)}
				}
				s.Application, s.DeploymentGroup = deploy.DeploymentGroups[pair].Application, deploy.DeploymentGroups[pair].DeploymentGroup
				s.Prefix = deploy.KeyPrefix(s.Application)
				if from != "" {
					s.AllowedRange = from
				}
				if err := p.confirm(o, fmt.Sprintf("Make a sample target for %s, %s in account %s, open to %s? It costs %s, until scripts/ops sample down.",
					s.Application, s.DeploymentGroup, s.Account, s.AllowedRange, samplePrice)); err != nil {
					return err
				}
				address, err := s.Up(ctx)
				if err == nil {
					_, err = fmt.Fprintln(p.stdout, address)
				}
				return err
			})
		},
	}
	o.forAccount(command, account.Deploy)
	command.Flags().StringVar(&application, "application", "", "application of the configuration; default: that of the first pair")
	command.Flags().StringVar(&group, "deployment-group", "", "group of the application; default: its first")
	command.Flags().StringVar(&from, "from", "", "`RANGE` that may look at it; default: the first of gitlab.loadBalancer.allowedRanges")
	command.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait")
	return command
}

func (p *program) sampleDown() *cobra.Command {
	var o options
	timeout := 20 * time.Minute
	command := &cobra.Command{
		Use:   "down --env NAME",
		Short: "Remove the sample target, also what a start that ended anywhere has left",
		Long: `Removes the blue/green group, the Auto Scaling groups that CodeDeploy has put in the place of the
first one, and the stack Sample-NAME. It can be ended anywhere and started again.`,
		Example: "  scripts/ops sample down --env staging --profile deploy",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withSample(c.Context(), o, timeout, func(ctx context.Context, _ config.Deploy, s sample.Sample) error {
				if err := p.confirm(o, fmt.Sprintf("Remove the sample target of %s in account %s, with its instances, application and deployment group?", o.environment, s.Account)); err != nil {
					return err
				}
				return s.Down(ctx)
			})
		},
	}
	o.forAccount(command, account.Deploy)
	command.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait")
	return command
}

// withSample enters account B, and no other, and bounds the time.
func (p *program) withSample(ctx context.Context, o options, timeout time.Duration, do func(context.Context, config.Deploy, sample.Sample) error) error {
	a, err := p.enter(ctx, o, account.Deploy)
	if err != nil {
		return err
	}
	late := errors.New("no end within " + timeout.String() + "; it goes on by itself: run it again")
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, late)
	defer cancel()
	cfg := a.Config
	err = do(ctx, cfg.Deploy, sample.Sample{
		Environment: cfg.Environment, Region: cfg.Region, Partition: cfg.Partition(), Account: a.ID,
		Bucket:       cfg.Deploy.Artifacts.BucketName,
		AllowedRange: cfg.GitLab.LoadBalancer.AllowedRanges[0], AWS: a.AWS, Say: p.log,
	})
	if errors.Is(err, late) {
		return timedOut{err}
	}
	return err
}
