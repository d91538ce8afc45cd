package main

import (
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/remote"
)

func (p *program) backup() *cobra.Command {
	var o options
	var f following
	command := &cobra.Command{
		Use:   "backup --env NAME",
		Short: "Make a complete backup of GitLab now, in the backup bucket",
		Long: `GitLab goes on working meanwhile. The backup counts only once all of it was checked and
stored: what fails half-way cannot be mistaken for one. The nightly one is made by the same
document.

Prints one line of JSON: {"backup", "version", "edition", "bytes", "store"}.`,
		Example: "  scripts/ops backup --env staging --profile gitlab\n  scripts/ops backup --env staging --follow",
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := p.openAccount(c.Context(), o, account.GitLab)
			if err != nil {
				return err
			}
			return p.conclude(c.Context(), a, o, f, "server", remote.Operation{Name: "backup", Command: "backup", Parameters: map[string]string{
				"KeepDays": "0", // only the nightly one removes old backups
			}})
		},
	}
	o.forAccount(command, account.GitLab)
	f.add(command, "the newest backup, also the nightly one")
	return command
}
