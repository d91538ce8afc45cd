package main

import (
	"errors"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/remote"
)

func (p *program) resetTokens() *cobra.Command {
	var o options
	var f following
	var check, lost bool
	command := &cobra.Command{
		Use:   "reset-tokens --env NAME",
		Short: "Reset the tokens that register runners, as is due after a restore",
		Long: `Those of the instance, of groups and of projects, in one transaction; runners that are
registered stay so. It shows first how many there are.

With --lost-secrets, when gitlab-secrets.json is lost for good: removes everything that
GitLab's own page lists, too: tokens of runners and jobs, CI/CD variables (their names are kept
in a file on the server), webhooks, integrations. It asks twice.

Prints one line of JSON: {"reset": {"projects": {"before", "after"}, …}, "missing", "names"}.
Exit status 1 means that nothing was changed.`,
		Example: "  scripts/ops reset-tokens --env staging --check\n  scripts/ops reset-tokens --env staging",
		RunE: func(c *cobra.Command, _ []string) error {
			if !check && f.follow == "" && !p.canAsk(o) {
				return usageError{errors.New("there is no terminal to ask on: pass --yes to reset without a question")}
			}
			a, err := p.openAccount(c.Context(), o, account.GitLab)
			if err != nil {
				return err
			}
			operation := func(check, yes string) remote.Operation {
				return remote.Operation{Name: "reset-tokens", Command: "reset-tokens", Parameters: map[string]string{"LostSecrets": yesNo(lost), "Check": check, "Yes": yes}}
			}
			return p.checkFirst(c.Context(), a, o, f, check, operation, func() error {
				err := p.confirmIn(a, o, "reset the tokens listed above in GitLab's database? Whoever registers runners needs the new ones.")
				if err != nil || !lost {
					return err
				}
				return p.confirmIn(a, o, "what is listed as variables, webhooks and integrations is deleted for good, and all of it is wrong as long as the right gitlab-secrets.json can be found. Is there a backup, and is the file lost?")
			})
		},
	}
	o.forAccount(command, account.GitLab)
	command.Flags().BoolVar(&lost, "lost-secrets", false, "gitlab-secrets.json is lost for good: also remove what only it could decrypt")
	command.Flags().BoolVar(&check, "check", false, "only show what would be reset")
	f.add(command, "the newest run")
	return command
}
