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
	var check, lost, closeSignUp bool
	command := &cobra.Command{
		Use:   "reset-tokens --env NAME",
		Short: "Reset the tokens that register runners, as is due after a restore",
		Long: `Those of the instance, of groups and of projects, in one transaction; runners that are
registered stay so. It shows first how many there are.

It tells whether sign-up is open, of which a restored database brings its own idea, and closes
it with --close-sign-up. A key that signs jobs' tokens is made anew when it is gone.

With --lost-secrets, when gitlab-secrets.json is lost for good: removes everything that
GitLab's own page lists, too: tokens of runners and jobs, CI/CD variables (their names are kept
in a file on the server), webhooks, integrations; and what GitLab's doctor finds besides, which
reads every value and may take hours. It asks twice.

Prints one line of JSON: {"reset": {"projects": {"before", "after"}, …}, "missing", "names",
"signingKeys", "signUp"}. Exit status 1 means that nothing was changed, unless it says otherwise.`,
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
				parameters := map[string]string{"LostSecrets": yesNo(lost), "Check": check, "Yes": yes}
				if closeSignUp {
					parameters["SignUp"] = "close"
				}
				return remote.Operation{Name: "reset-tokens", Command: "reset-tokens", Parameters: parameters}
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
	command.Flags().BoolVar(&closeSignUp, "close-sign-up", false, "also let nobody make an account by themselves any more")
	command.Flags().BoolVar(&check, "check", false, "only show what would be reset")
	f.add(command, "the newest run")
	return command
}
