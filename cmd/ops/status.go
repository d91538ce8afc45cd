package main

import (
	"context"
	"fmt"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/overview"
	"gitlab-codedeploy/internal/reach"
	"gitlab-codedeploy/internal/remote"
	"gitlab-codedeploy/internal/table"
)

func (p *program) status() *cobra.Command {
	var o options
	limit := timeLimit(24 * time.Hour)
	command := &cobra.Command{
		Use:   "status --env NAME",
		Short: "Show on one screen how GitLab is",
		Long: `Versions, services, sign-in page, sign-up, disk, pending migrations, runners and operations
come from the server; the last complete backup from its bucket; the agents and the load
balancer's health check from AWS. What cannot be read says so, and does not hide the rest.
It changes nothing, and takes a minute or two where GitLab's Rails has to be started.

Prints a table on stdout: PART, STATE (ok, wrong, unknown, or - for what is only told),
and what was found. With --json: [{"part", "state", "found"}, …].
Exit status 0: nothing is wrong or unknown; 1: something is.`,
		Example: "  scripts/ops status --env staging --profile gitlab",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			a, err := p.openAccount(ctx, o, account.GitLab)
			if err != nil {
				return err
			}
			look, err := p.lookAtStatus(a, o, time.Duration(limit))
			if err != nil {
				return err
			}
			p.log("asking the server, which may take a minute")
			parts := look.Run(ctx)
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.printParts(parts, o.json); err != nil {
				return err
			}
			switch {
			case o.dryRun:
				return calls.ErrDryRun
			case !overview.AllOK(parts):
				return ended{status: 1}
			}
			return nil
		},
	}
	o.forAccount(command, account.GitLab)
	o.withJSON(command)
	command.Flags().Var(&limit, "timeout", "longest time to wait for the server, in seconds")
	return command
}

func (p *program) lookAtStatus(a *account.Account, o options, limit time.Duration) (overview.Look, error) {
	look := overview.Look{
		Agents: ssm.NewFromConfig(a.AWS), Backups: s3Client(a), Balancers: elb.NewFromConfig(a.AWS), Now: p.now,
		Server: reach.Host{Name: "server"}, Runner: reach.Host{Name: "runner"},
	}
	server, err := p.remoteHost(a, o, "server")
	if err != nil {
		return look, err
	}
	look.Server.Instance = server.Instance
	if look.Runner.Instance, err = a.Runner(); err != nil {
		return look, err
	}
	if look.Bucket, err = a.BackupBucket(); err != nil {
		return look, err
	}
	if look.Balancer, err = a.Output("LoadBalancerDnsName", `[A-Za-z0-9.-]+`); err != nil {
		return look, err
	}
	// What the run says is in the table when it ends badly; its log is not shown.
	server.Log, server.Say, server.Timeout = nil, nil, limit
	look.Ask = func(ctx context.Context) (string, error) {
		operation := remote.Operation{Name: "status"} // nobody follows it: it is asked again
		run, err := server.Start(ctx, operation)
		if err != nil {
			return "", err
		}
		end, err := server.Follow(ctx, operation, run)
		if err == nil && end.Status != 0 {
			err = fmt.Errorf("status ended with %d (run %s)", end.Status, end.Run)
		}
		return end.Result, err
	}
	return look, nil
}

func (p *program) printParts(parts []overview.Part, asJSON bool) error {
	if asJSON {
		return p.printJSON(parts)
	}
	t := table.Table{Head: []string{"PART", "STATE", "FOUND"}, Width: longCell}
	for _, part := range parts {
		t.Rows = append(t.Rows, []string{part.Name, part.State, part.Found})
	}
	return t.Print(p.stdout)
}
