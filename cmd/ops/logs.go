package main

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/logs"
	"gitlab-codedeploy/internal/plain"
)

var logCalls = map[account.Side][]string{
	account.Deploy: {"lambda:GetFunctionConfiguration", "logs:FilterLogEvents"},
	account.GitLab: {"ssm:DescribeInstanceAssociationsStatus", "ssm:DescribeAssociationExecutions", "ssm:DescribeAssociationExecutionTargets", "ssm:GetCommandInvocation"},
}

// maxLogLine bounds a line: the functions bound theirs.
const maxLogLine = 20_000

var uploadName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

func (p *program) logs() *cobra.Command {
	var o options
	var since time.Duration
	var upload, host string
	command := &cobra.Command{
		Use:   "logs trigger|status|install --env NAME",
		Short: "Show what the functions or an installation have logged",
		Long: `Shows what the function that starts deployments has logged (trigger), the one that tells how
they go (status), or what the last installation of a host has printed (install).

The functions log one line of JSON a record, with upload id, application, group, version and
deployment id. --upload shows the lines of one upload, or of one order (order.…). It shows the
first 10,000 lines since --since, and says when there are more.

What an installation has printed comes from Systems Manager, which keeps the last 24,000
characters for 30 days; all of it is on the host, in /var/log/gitlab-codedeploy-install.log.
install asks GitLab's account, the others the deployment account.`,
		Example: `  scripts/ops logs trigger --env staging --profile deploy --since 30m
  scripts/ops logs status --env staging --upload 4711-0-8c1f
  scripts/ops logs install --env staging --profile gitlab --host runner`,
		ValidArgs: []string{"trigger", "status", "install"},
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] != "trigger" && args[0] != "status" && args[0] != "install" {
				return usageError{fmt.Errorf("got %q, want trigger, status or install", args)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			switch {
			case since <= 0:
				return usageError{fmt.Errorf("--since: want a time such as 90m or 24h, got %s", since)}
			case upload != "" && !uploadName.MatchString(upload):
				return usageError{fmt.Errorf("--upload: want letters, digits and . _ -, got %q", plain.Line(upload, 100))}
			case host != "server" && host != "runner":
				return usageError{fmt.Errorf("--host: want server or runner, got %q", plain.Line(host, 100))}
			case args[0] == "install" && (upload != "" || c.Flags().Changed("since")):
				return usageError{errors.New("an installation has no --upload and no --since: its last run is shown")}
			case args[0] == "install":
				return p.installLog(c, o, host)
			}
			a, err := p.openAccount(ctx, o, account.Deploy)
			if err != nil {
				return err
			}
			output := map[string]string{"trigger": "TriggerFunctionName", "status": "StatusFunctionName"}[args[0]]
			function, err := a.Output(output, functionName)
			if err != nil {
				return err
			}
			lines := []logs.Line{}
			var writing error
			more, err := logs.OfFunction(ctx, lambda.NewFromConfig(a.AWS), cloudwatchlogs.NewFromConfig(a.AWS), function, upload, p.now().Add(-since), func(l logs.Line) {
				if o.json {
					lines = append(lines, l)
				} else if !o.dryRun && writing == nil {
					_, writing = fmt.Fprintf(p.stdout, "%s %s\n", l.At.Format("2006-01-02T15:04:05.000Z"), plain.Line(l.Text, maxLogLine))
				}
			})
			switch {
			case err != nil:
				return err
			case o.dryRun:
				return calls.ErrDryRun
			}
			if more {
				p.log("there are more than %d lines: a shorter --since, or --upload, shows the last ones", logs.Most)
			}
			if o.json {
				return p.printJSON(lines)
			}
			return readEnough(writing)
		},
	}
	o.forEnvironment(command)
	command.Flags().StringVar(&o.profile, "profile", "", "AWS profile of the account deploy.account, for install of gitlab.account; default: what the AWS SDK finds by itself")
	o.withJSON(command)
	command.Flags().DurationVar(&since, "since", time.Hour, "how far back, such as 90m or 24h")
	command.Flags().StringVar(&upload, "upload", "", "only of this upload, or order")
	command.Flags().StringVar(&host, "host", "server", "whose installation: server or runner")
	return command
}

func (p *program) installLog(c *cobra.Command, o options, host string) error {
	a, err := p.openAccount(c.Context(), o, account.GitLab)
	if err != nil {
		return err
	}
	find := a.Server
	if host == "runner" {
		find = a.Runner
	}
	instance, err := find()
	if err != nil {
		return err
	}
	found, err := logs.OfInstallation(c.Context(), ssm.NewFromConfig(a.AWS), instance)
	switch {
	case err != nil:
		return err
	case o.dryRun:
		return calls.ErrDryRun
	case o.json:
		return p.printJSON(found)
	}
	p.log("installation of %s (%s) by %s at %s: %s", host, instance, plain.Word(found.Document), found.At.Format(time.RFC3339), plain.Word(found.Status))
	for _, part := range []string{found.Output, found.Errors} {
		for _, line := range plain.Lines(part, 1<<20, maxLogLine) {
			if _, err := fmt.Fprintln(p.stdout, line); err != nil {
				return readEnough(err)
			}
		}
	}
	return nil
}
