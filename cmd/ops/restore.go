package main

import (
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/remote"
)

// backupID is that of GitLab: the second of its making, the day, the version, and the edition.
var backupID = regexp.MustCompile(`^[0-9]{10}_[0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-ee)?$`)

func (p *program) restore() *cobra.Command {
	var o options
	var f following
	var backup string
	var lost int
	var keepSignUp bool
	command := &cobra.Command{
		Use:   "restore --env NAME --backup ID",
		Short: "Restore a backup, overwriting all that GitLab holds",
		Long: `Database, repositories, uploads and other files, and gitlab-secrets.json are those of the
backup afterwards, users and their passwords too. gitlab.rb and our settings stay. A backup
of another version or edition, an incomplete or changed one, and one that the disk has no
room for, are refused before anything is touched. Nobody can work while it runs.

Afterwards each repository with commits is looked for. When some could not be restored, it
fails, names them and their number, and the server makes no backup until a restore succeeded:
fix the cause and restore again, or give them up with --accept-lost and that number.

Prints what was looked at afterwards, a line each: name, state, what was found. Exit status
1 means that nothing was restored, or that something is wrong.`,
		Example: "  scripts/ops restore --env staging --backup 1606734000_2020_11_30_13.10.2",
		RunE: func(c *cobra.Command, _ []string) error {
			if lost < 0 || lost > 99999 {
				return usageError{fmt.Errorf("--accept-lost: want a number of repositories, got %d", lost)}
			}
			if f.follow == "" && !backupID.MatchString(backup) {
				return usageError{fmt.Errorf("--backup: want the id of a backup such as 1606734000_2020_11_30_13.10.2, got %q", backup)}
			}
			a, err := p.openAccount(c.Context(), o, account.GitLab)
			if err != nil {
				return err
			}
			url, err := a.Output("Url", gitlabURL)
			if err != nil {
				return err
			}
			server, err := a.Server()
			if err != nil {
				return err
			}
			if f.follow == "" {
				question := fmt.Sprintf("restore %s onto %s, the GitLab at %s? Its database, repositories, uploads and secrets are overwritten", backup, server, url)
				if lost > 0 {
					question += fmt.Sprintf(", %d repositories are given up", lost)
				}
				if !keepSignUp {
					question += ", and sign-up is switched off"
				}
				err = p.confirmIn(a, o, question+".")
				if err != nil {
					return err
				}
			}
			return p.conclude(c.Context(), a, o, f, "server", remote.Operation{Name: "restore", Command: "restore", Parameters: map[string]string{
				"Backup": backup, "AcceptLost": fmt.Sprint(lost), "KeepSignUp": map[bool]string{true: "yes", false: "no"}[keepSignUp],
			}})
		},
	}
	o.forAccount(command, account.GitLab)
	command.Flags().StringVar(&backup, "backup", "", "`ID` of the backup: see scripts/ops backups")
	command.Flags().IntVar(&lost, "accept-lost", 0, "give up the repositories, `N` of them, that the last restore of this backup could not bring back")
	command.Flags().BoolVar(&keepSignUp, "keep-sign-up", false, "leave sign-up as it is in the backup, instead of switching it off")
	f.add(command, "the newest restore")
	return command
}
