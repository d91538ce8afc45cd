package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/reach"
	"gitlab-codedeploy/internal/sessions"
)

func (p *program) connect() *cobra.Command {
	var o options
	host := "server"
	command := &cobra.Command{
		Use:   "connect --env NAME",
		Short: "Open a shell on the GitLab server, or on the runner",
		Long: `There is no other way in: the hosts have no public address and no open port. Session
Manager logs you in as ssm-user, who may use sudo. It needs AWS's session-manager-plugin
on this machine. When it does not come up: scripts/ops check.

Exit status: that of the session.`,
		Example: "  scripts/ops connect --env staging --profile gitlab --host runner",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if host != "server" && host != "runner" {
				return usageError{fmt.Errorf("--host: want server or runner, got '%s'", host)}
			}
			return p.openSession(c.Context(), o, host, func(a *account.Account, instance string) *ssm.StartSessionInput {
				p.log("opening a shell on the %s (%s) of account %s, %s", host, instance, a.ID, a.Config.Region)
				return &ssm.StartSessionInput{Target: &instance}
			})
		},
	}
	o.forAccount(command, account.GitLab)
	command.Flags().StringVar(&host, "host", host, "server or runner")
	return command
}

// openSession opens the account and a session on one of its hosts, which has the terminal until it ends.
func (p *program) openSession(ctx context.Context, o options, host string, input func(*account.Account, string) *ssm.StartSessionInput) error {
	path, err := p.find(reach.Plugin)
	if err != nil && !o.dryRun {
		return usageError{fmt.Errorf("%s is not installed; without it there is no session: %s", reach.Plugin, reach.PluginPage)}
	}
	a, err := p.openAccount(ctx, o, account.GitLab)
	if err != nil {
		return err
	}
	instance, err := p.host(a, host)
	if err != nil {
		return err
	}
	status, err := sessions.Open(ctx, ssm.NewFromConfig(a.AWS), p.plugin(path), o.profile, input(a, instance))
	if err != nil {
		return err
	}
	if status != 0 {
		return ended{status: status}
	}
	return nil
}

func (p *program) forward() *cobra.Command {
	var o options
	port := "8080"
	command := &cobra.Command{
		Use:   "forward --env NAME",
		Short: "Make the server's port 80 a port of this machine, past the load balancer",
		Long: `For looking at GitLab while the load balancer lets nobody in, such as between a restore
and an upgrade. It ends with Ctrl-C. GitLab's own links and redirects go to its public
address; curl with --header 'Host: …' is often what you want. It needs AWS's
session-manager-plugin on this machine. When it does not come up: scripts/ops check.

Exit status: that of the session.`,
		Example: "  scripts/ops forward --env staging --profile gitlab --port 9000",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if !isPort(port) {
				return usageError{fmt.Errorf("--port: want 1024 to 65535, got '%s'", port)}
			}
			return p.openSession(c.Context(), o, "server", func(a *account.Account, instance string) *ssm.StartSessionInput {
				p.log("http://localhost:%s becomes port 80 of %s in account %s, %s, until Ctrl-C", port, instance, a.ID, a.Config.Region)
				return &ssm.StartSessionInput{
					Target: &instance, DocumentName: aws.String("AWS-StartPortForwardingSession"),
					Parameters: map[string][]string{"portNumber": {"80"}, "localPortNumber": {port}},
				}
			})
		},
	}
	o.forAccount(command, account.GitLab)
	command.Flags().StringVar(&port, "port", port, "port of this machine, 1024 to 65535")
	return command
}

// isPort says whether a text is a port that needs no rights on this machine.
func isPort(text string) bool {
	var port int
	_, err := fmt.Sscanf(text, "%d", &port)
	return err == nil && fmt.Sprint(port) == text && port >= 1024 && port <= 65535
}
