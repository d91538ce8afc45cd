package main

import (
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/reach"
	"gitlab-codedeploy/internal/table"
)

// longCell is the width of a cell that is a sentence: tables for people are not cut where the reason stands.
const longCell = 500

func (p *program) check() *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:   "check --env NAME",
		Short: "Say whether Session Manager reaches the server and the runner, and if not, why",
		Long: `Looks at all that stands between this machine and a shell on the hosts: the plug-in that
opens sessions, the instances, their roles, the VPC's endpoints, and the SSM Agent on each
host. It changes nothing.

Prints a table on stdout: WHERE, WHAT, STATE (ok, wrong, or unknown when AWS does not
say), and what was found. With --json: [{"where", "what", "state", "found"}, …].
Exit status 0: all is ok; 1: something is not, or is unknown.`,
		Example: "  scripts/ops check --env staging --profile gitlab",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			a, err := p.openAccount(ctx, o, account.GitLab)
			if err != nil {
				return err
			}
			look, err := p.lookAtReach(a)
			if err != nil {
				return err
			}
			findings := look.Run(ctx)
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.printFindings(findings, o.json); err != nil {
				return err
			}
			for _, conclusion := range reach.Conclusions(findings) {
				p.log("%s", conclusion)
			}
			if !reach.AllOK(findings) {
				return ended{status: 1}
			}
			return nil
		},
	}
	o.forAccount(command, account.GitLab)
	o.withJSON(command)
	return command
}

// lookAtReach is what has to be looked at to say whether the hosts of an account are reached.
func (p *program) lookAtReach(a *account.Account) (reach.Look, error) {
	look := reach.Look{
		Agents: ssm.NewFromConfig(a.AWS), Network: ec2.NewFromConfig(a.AWS), Roles: iam.NewFromConfig(a.AWS), Find: p.find,
	}
	var err error
	if look.VPC, err = a.Output("VpcId", `vpc-[0-9a-f]{8,17}`); err != nil {
		return look, err
	}
	for _, name := range []string{"server", "runner"} {
		id, err := p.host(a, name)
		if err != nil {
			return look, err
		}
		look.Hosts = append(look.Hosts, reach.Host{Name: name, Instance: id})
	}
	return look, nil
}

// host is the instance of the host of a name.
func (p *program) host(a *account.Account, name string) (string, error) {
	if name == "runner" {
		return a.Runner()
	}
	return a.Server()
}

func (p *program) printFindings(findings []reach.Finding, asJSON bool) error {
	if asJSON {
		return p.printJSON(findings)
	}
	t := table.Table{Head: []string{"WHERE", "WHAT", "STATE", "FOUND"}, Width: longCell}
	for _, f := range findings {
		t.Rows = append(t.Rows, []string{f.Where, f.What, string(f.State), f.Found})
	}
	return t.Print(p.stdout)
}
