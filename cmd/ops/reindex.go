package main

import (
	"errors"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/remote"
)

func (p *program) reindex() *cobra.Command {
	var o options
	var f following
	var check bool
	command := &cobra.Command{
		Use:   "reindex --env NAME",
		Short: "Rebuild the database's indexes, when the server sorts text otherwise than they are sorted",
		Long: `From glibc 2.28 on, text is sorted otherwise than before. With the data volume of a server of
Amazon Linux 2 on one of Amazon Linux 2023, PostgreSQL looks in the wrong places of its
indexes, until they are rebuilt; status tells it. It does nothing when they are right.

It shows how many there are, and asks. GitLab is away meanwhile, from minutes to hours, and
comes back whatever happens. Whatever ends a run, start it again: it is resumed.

Prints one line of JSON: {"glibc", "state", "indexes", "bytes"}; state is unneeded, needed
(--check) or rebuilt. Exit status 1 when something cannot be rebuilt: the last line names it.`,
		Example: "  scripts/ops reindex --env staging --check\n  scripts/ops reindex --env staging",
		RunE: func(c *cobra.Command, _ []string) error {
			if !check && f.follow == "" && !p.canAsk(o) {
				return usageError{errors.New("there is no terminal to ask on: pass --yes to rebuild without a question")}
			}
			a, err := p.openAccount(c.Context(), o, account.GitLab)
			if err != nil {
				return err
			}
			operation := func(check, yes string) remote.Operation {
				return remote.Operation{Name: "reindex", Command: "reindex", Parameters: map[string]string{"Check": check, "Yes": yes}}
			}
			return p.checkFirst(c.Context(), a, o, f, check, operation, func() error {
				return p.confirmIn(a, o, "rebuild what is listed above, if anything is? GitLab is away meanwhile.")
			})
		},
	}
	o.forAccount(command, account.GitLab)
	command.Flags().BoolVar(&check, "check", false, "only show what would be rebuilt")
	f.add(command, "the newest run")
	return command
}
