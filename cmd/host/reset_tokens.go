//go:build unix

package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/tokens"
)

func newResetTokens(p program) *cobra.Command {
	var a asking
	var lost yesNo
	var signUp string
	command := &cobra.Command{
		Use:   "reset-tokens",
		Short: "Reset the tokens that register runners, or all that lost secrets make useless",
		Long: `Resets what registers runners: the registration tokens of the instance, of groups and of
projects, in one transaction. GitLab makes new ones when they are asked for. Runners that are
registered stay so. It is for a server that was restored. A key that signs jobs' tokens is
made anew when it is gone, which GitLab does not do.

With --lost-secrets, when gitlab-secrets.json is lost, everything else goes, too, that nothing
can decrypt any more: what GitLab's page on that names (tokens of runners and jobs, CI/CD
variables, whose names are kept in a file, webhooks, integrations), and what GitLab's own
doctor finds besides. The doctor reads every value, which may take hours; what it found with
--check counts for an hour.

Prints one line of JSON: {"reset": {"projects": {"before", "after"}, …}, "missing": […],
"names", "signingKeys": […], "signUp"}; with --check there is no "after". names is the file of
the names, signUp is open or closed. Exit status 1 means that nothing was changed, unless it
says otherwise.`,
		Example: "  host reset-tokens --check yes",
	}
	command.Flags().Var(&lost, "lost-secrets", "gitlab-secrets.json is lost for good: also remove what only it could decrypt")
	command.Flags().StringVar(&signUp, "sign-up", "keep", "close: nobody can make an account by themselves any more; keep: as it is")
	a.add(command.Flags(), "only show what would be reset")
	return p.add(job{
		command: command, exclusive: true, onlyLooks: func() bool { return bool(a.check) },
		check: func() error {
			if err := matching("sign-up", signUp, "keep|close", "keep or close"); err != nil {
				return err
			}
			return p.canAsk(a)
		},
		do: func(ctx context.Context) (err error) {
			reset := tokens.Reset{
				GitLab: omnibus.GitLab{Machine: p.machine}, Lost: bool(lost), CloseSignUp: signUp == "close",
				Confirm: func(question string) error { return p.confirm(a, question) },
			}
			var result tokens.Result
			if a.check {
				result, err = reset.Check(ctx)
			} else {
				result, err = reset.Do(ctx)
			}
			if err != nil {
				return err
			}
			return json.NewEncoder(p.stdout).Encode(result)
		},
	})
}
