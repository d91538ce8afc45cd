//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/backup"
)

func newRestore(p program) *cobra.Command {
	var k keeping
	var a asking
	var id string
	var lost int
	var keepSignUp yesNo
	command := &cobra.Command{
		Use:   "restore --backup ID --bucket NAME --region REGION | --from-dir FOLDER",
		Short: "Restore a backup onto the GitLab on this host, overwriting all that it holds",
		Long: `Restores a backup onto the GitLab on this host: database, repositories, uploads and the
other files, gitlab-secrets.json and encrypted settings. WHAT THIS GITLAB HOLDS NOW IS LOST.

Before anything is touched it makes sure that the backup is of exactly this version and
edition, complete and unchanged, that nothing in it would land elsewhere, that this server
has the storages, roles and extensions that it needs, and that there is room: three times
the archive. Puma and Sidekiq come back whatever happens. A run that was killed is repeated
by the next one; until one succeeded, this server makes no backup.

gitlab.rb and our settings stay those of this host, whose address and paths are in them.
Those of the backup, its certificates and its SSH host keys are laid into
/etc/gitlab/from-<id> for you to compare; what is replaced is kept in /etc/gitlab/before-<time>.

Afterwards each repository with commits is looked for. When some could not be restored, it
fails and says how many: --accept-lost with that number restores the backup without them.
Sign-up is switched off, unless it is to be kept.

Prints a line for each thing looked at, its columns divided by tabs: name, state (ok, wrong,
or look for what may be as it should), and what was found.`,
		Example: "  host restore --backup 1606734000_2020_11_30_13.10.2 --from-dir /mnt/copy",
	}
	flags := command.Flags()
	flags.StringVar(&id, "backup", "", "the backup's id, such as 1606734000_2020_11_30_13.10.2 (required)")
	k.add(flags, "from-dir", "folder that holds it instead: --to-dir of host backup")
	flags.Var(&a.yes, "yes", "do not ask: needed without a terminal")
	flags.IntVar(&lost, "accept-lost", 0, "do without the repositories, as many as these, that the last restore of this backup could not bring back")
	flags.Var(&keepSignUp, "keep-sign-up", "leave sign-up as it is in the backup")
	return p.add(job{
		command: command, exclusive: true,
		check: func() error {
			err := errors.Join(matching("backup", id, `[0-9]{10}_[0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]+\.[0-9]+\.[0-9]+(-ee)?`,
				"the id of a backup such as 1606734000_2020_11_30_13.10.2"), k.check(), p.canAsk(a))
			if lost < 0 || lost > 99999 {
				err = errors.Join(err, errors.New("--accept-lost: want a number of repositories"))
			}
			return err
		},
		do: func(ctx context.Context) error {
			store, _, err := k.open(ctx, p)
			if err != nil {
				return err
			}
			r := backup.Restoring{
				Machine: p.machine, Store: store, ID: id, AcceptLost: lost, KeepSignUp: bool(keepSignUp),
				Confirm: func(question string) error { return p.confirm(a, question) },
			}
			findings, err := r.Run(ctx)
			for _, f := range findings {
				fmt.Fprintf(p.stdout, "%s\t%s\t%s\n", f.Name, f.State, f.Text)
			}
			return err
		},
	})
}
