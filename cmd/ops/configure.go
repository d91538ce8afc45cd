package main

import (
	"errors"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/remote"
)

func (p *program) configure() *cobra.Command {
	var o options
	var f following
	var check bool
	command := &cobra.Command{
		Use:   "configure --env NAME",
		Short: "Bring our settings on the GitLab server up to date, and take them back when it fails",
		Long: `They are a file of their own, which gitlab.rb includes; gitlab.rb is kept as it is, but for
that one line when it is not there yet. The difference is shown, and GitLab reconfigured after
a question. When GitLab does not come up with them, the old settings come back.

Prints one line of JSON: {"settings", "state"}; state is unchanged, differs (--check) or
applied. Exit status 1 means that the old settings are back, unless it says otherwise.`,
		Example: "  scripts/ops configure --env staging --check\n  scripts/ops configure --env staging",
		RunE: func(c *cobra.Command, _ []string) error {
			if !check && f.follow == "" && !p.canAsk(o) {
				return usageError{errors.New("there is no terminal to ask on: pass --yes to apply without a question")}
			}
			a, err := p.openAccount(c.Context(), o, account.GitLab)
			if err != nil {
				return err
			}
			operation := func(check, yes string) remote.Operation {
				return remote.Operation{Name: "configure", Command: "configure", Parameters: map[string]string{"Check": check, "Yes": yes}}
			}
			return p.checkFirst(c.Context(), a, o, f, check, operation, func() error {
				// Applied even when nothing differs: the server itself knows whether an earlier run was left unfinished.
				return p.confirmIn(a, o, "write the difference shown above, if any, and reconfigure GitLab? What it concerns is restarted.")
			})
		},
	}
	o.forAccount(command, account.GitLab)
	command.Flags().BoolVar(&check, "check", false, "only show the difference")
	f.add(command, "the newest run")
	return command
}
