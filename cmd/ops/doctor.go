package main

import (
	"context"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/doctor"
	"gitlab-codedeploy/internal/keyring"
	"gitlab-codedeploy/internal/table"
	"gitlab-codedeploy/internal/trust"
)

// doctorCalls are those of the checks, and those of asking for GitLab's keys.
func doctorCalls() map[account.Side][]string {
	all := doctor.Calls()
	all[account.GitLab] = append(all[account.GitLab], "ssm:SendCommand", "ssm:GetCommandInvocation")
	return all
}

func (p *program) doctor() *cobra.Command {
	var o options
	profiles := map[account.Side]*string{}
	command := &cobra.Command{
		Use:   "doctor --env NAME",
		Short: "Look at this machine and both accounts, and say what is wrong and what to do",
		Long: `Before a deploy and after it, and when something does not work. It looks at the programs of
this machine, credentials, the CDK's bootstrap, everything that a deploy asks first, Session
Manager's way to both hosts, the days that the certificate has left, the load balancer's
targets, the age of the newest backup, GitLab's keys against config/NAME.jwks.json, whether
the role of jobs may upload and the reader roles may read, and the keys of GitLab's packages
against their fingerprints. It changes nothing.

Prints a table on stdout: WHERE, CHECK, STATE (ok, wrong, or unchecked for what could not be
asked), what was found, and below it the remedy of what is wrong. A missing right is no
fault: it says which one. JSON: [{"where", "check", "state", "found", "remedy"}, …].

Exit status 0: nothing is wrong; 1: something is.`,
		Example: "  scripts/ops doctor --env staging --profile-a gitlab --profile-b deploy",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			if _, err := p.load(o); err != nil {
				return err
			}
			source, err := config.LoadSource(p.configs, o.environment)
			if err != nil {
				return usageError{err}
			}
			d := doctor.Doctor{
				Source: source, Root: p.root, Find: p.find, Output: p.output, HTTP: p.web, Now: p.now,
				Keys: func(ctx context.Context, a *account.Account) (trust.Keys, error) { return p.askForKeys(ctx, o, a) },
				Open: func(ctx context.Context, side account.Side) (aws.Config, error) {
					loaded, err := p.open(ctx, source.Config().Region, *profiles[side])
					if err == nil {
						p.watched(&loaded, o, side)
					}
					return loaded, err
				},
			}
			findings := d.Run(ctx)
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.printDiagnosis(findings, o.json); err != nil {
				return err
			}
			if doctor.AnythingWrong(findings) {
				return ended{status: 1}
			}
			return nil
		},
	}
	o.forEnvironment(command)
	o.withJSON(command)
	profiles[account.GitLab] = command.Flags().String("profile-a", "", "AWS profile of GitLab's account (gitlab.account)")
	profiles[account.Deploy] = command.Flags().String("profile-b", "", "AWS profile of the deployment account (deploy.account)")
	return command
}

// askForKeys asks GitLab's server for the keys that it signs with, by a document that only prints.
func (p *program) askForKeys(ctx context.Context, o options, a *account.Account) (trust.Keys, error) {
	server, err := p.remoteHost(a, o, "server")
	if err != nil {
		return nil, err
	}
	answer, err := server.Ask(calls.OnlyReads(ctx), "keys", nil)
	if err != nil {
		return nil, err
	}
	return keyring.Read(answer)
}

func (p *program) printDiagnosis(findings []doctor.Finding, asJSON bool) error {
	if asJSON {
		return p.printJSON(findings)
	}
	t := table.Table{Head: []string{"WHERE", "CHECK", "STATE", "FOUND"}, Width: longCell}
	var bad, unasked int
	for _, f := range findings {
		t.Rows = append(t.Rows, []string{f.Where, f.Check, string(f.State), f.Found})
		switch f.State {
		case doctor.Wrong:
			bad++
			t.Rows = append(t.Rows, []string{"", "", "", "→ " + f.Remedy})
		case doctor.Unchecked:
			unasked++
		}
	}
	if err := t.Print(p.stdout); err != nil {
		return err
	}
	p.log("%d of %d are wrong, %d could not be asked", bad, len(findings), unasked)
	return nil
}

// outputOf runs a program of this machine that prints something about itself.
func outputOf(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// web is how a machine looks something up; a minute at most.
func web() *http.Client { return &http.Client{Timeout: time.Minute} }
