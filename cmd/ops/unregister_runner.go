package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/remote"
)

func (p *program) unregisterRunner() *cobra.Command {
	var o options
	var f following
	command := &cobra.Command{
		Use:   "unregister-runner --env NAME",
		Short: "Take the runner host out of GitLab; jobs that run on it are lost",
		Long: `Takes the runner out of GitLab and of its own configuration. From GitLab 16.0 on the entry in
GitLab stays, without a host: delete it there.

Prints one line of JSON: {"runner", "state"}; state is unregistered, or none when there was
nothing to do.`,
		Example: "  scripts/ops unregister-runner --env staging",
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := p.openAccount(c.Context(), o, account.GitLab)
			if err != nil {
				return err
			}
			name := runnerName(a)
			if f.follow == "" {
				if err := p.confirmIn(a, o, fmt.Sprintf("unregister the runner %s? Jobs that run on it are lost, and new ones wait for another runner.", name)); err != nil {
					return err
				}
			}
			return p.conclude(c.Context(), a, o, f, "runner", remote.Operation{Name: "unregister-runner", Command: "unregister-runner"})
		},
	}
	o.forAccount(command, account.GitLab)
	f.add(command, "the newest run")
	return command
}

// runnerName is what our runner is called in GitLab.
func runnerName(a *account.Account) string { return "gitlab-codedeploy-" + a.Config.Environment }
