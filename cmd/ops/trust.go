package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/keyring"
)

func (p *program) trust() *cobra.Command {
	var o options
	var keep bool
	command := &cobra.Command{
		Use:   "trust --env NAME",
		Short: "Read the keys that GitLab signs with, and write config/NAME.jwks.json",
		Long: `Reads the public keys that GitLab signs the tokens of its jobs with, through Systems
Manager, shows what changed, asks, and writes config/NAME.jwks.json. The next deploy of
account B brings them to the trigger, which believes no other key.

Run it once GitLab runs, after a restore, and when uploads are refused by the rule "key".
A key is worth every deployment: what this command shows came from the server itself, by a
way that only operators have. Compare a changed key with whoever changed it.`,
		Example: "  scripts/ops trust --env staging --profile gitlab",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			a, err := p.openAccount(ctx, o, account.GitLab)
			if err != nil {
				return err
			}
			server, err := p.remoteHost(a, o, "server")
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(p.stderr, "asking GitLab on %s for its keys\n", server.Instance)
			answer, err := server.Ask(calls.OnlyReads(ctx), "keys", nil)
			if err != nil {
				return err
			}
			shown, err := keyring.Read(answer)
			if err != nil {
				return err
			}
			file := config.KeysFile(p.configs, a.Config.Environment)
			change := keyring.Compare(a.Config.Keys, shown, keep)
			_, _ = fmt.Fprint(p.stdout, change)
			switch {
			case change.Nothing():
				_, _ = fmt.Fprintf(p.stderr, "%s has what GitLab shows\n", file)
				return nil
			}
			if o.dryRun {
				return calls.ErrDryRun
			}
			if err := p.confirm(o, "Write "+file+"?"); err != nil {
				return err
			}
			if err := keyring.Write(file, change.Next); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(p.stderr, "wrote %s; commit it, and scripts/ops deploy --env %s brings it to the trigger\n", file, a.Config.Environment)
			return nil
		},
	}
	o.forAccount(command, account.GitLab)
	command.Flags().BoolVar(&keep, "keep", false, "keep keys that GitLab does not show any more, while tokens signed with them are valid")
	return command
}
