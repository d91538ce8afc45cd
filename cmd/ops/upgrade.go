package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/remote"
)

// upgrading are the flags of upgrade.
type upgrading struct {
	plan, preflight, fix bool
	from, to, backups    string
}

func (u upgrading) mode() string {
	switch {
	case u.plan:
		return "plan"
	case u.preflight:
		return "preflight"
	}
	return "run"
}

// end is the last stop in words.
func (u upgrading) end() string {
	if u.to == "" {
		oldest, _ := gitlab.ParseVersion("13.8.0")
		return fmt.Sprintf("the first version without a known hole (%s from any before it)", gitlab.SafeFrom(oldest))
	}
	return u.to
}

func (u upgrading) check() error {
	if _, err := gitlab.ParseVersion(u.from); u.from != "" && err != nil {
		return usageError{fmt.Errorf("--from: got %q, want an exact version such as 13.10.2", u.from)}
	}
	if _, err := gitlab.ParseVersion(u.to); u.to != "" && err != nil {
		return usageError{fmt.Errorf("--to: got %q, want an exact version such as 15.4.6", u.to)}
	}
	if u.backups != "yes" && u.backups != "no" {
		return usageError{fmt.Errorf("--backup-each-hop: got %q, want yes or no", u.backups)}
	}
	if u.plan && u.preflight {
		return usageError{errors.New("got --plan and --preflight, want one of them")}
	}
	return nil
}

func (p *program) upgrade() *cobra.Command {
	var o options
	var f following
	var u upgrading
	command := &cobra.Command{
		Use:   "upgrade --env NAME",
		Short: "Upgrade GitLab stop by stop, or show the stops, or check what is in the way",
		Long: `No stop is left out, none is left before its migrations are finished, and a complete backup
is made before each hop. A hop takes from ten minutes to days. Whatever ends a run, start it
again: it is resumed where GitLab is.

--plan with --from needs neither AWS nor the server, and no --env.

Without --to it ends at the first version that no known hole lets a stranger take over.

Prints one line of JSON, {"from", "to", "edition"}; with --plan a line a stop.`,
		Example: `  scripts/ops upgrade --plan --from 13.10.2
  scripts/ops upgrade --env staging --preflight
  scripts/ops upgrade --env staging --to 14.0.12`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := u.check(); err != nil {
				return err
			}
			if u.plan && u.from != "" {
				return p.printPlan(u)
			}
			a, err := p.openAccount(c.Context(), o, account.GitLab)
			if err != nil {
				return err
			}
			if u.mode() == "run" && f.follow == "" {
				if err := p.confirmIn(a, o, fmt.Sprintf("upgrade GitLab of %s to %s, %s? Users are locked out during each hop.", o.environment, u.end(), backupsInWords(u.backups))); err != nil {
					return err
				}
			}
			return p.conclude(c.Context(), a, o, f, "server", remote.Operation{Name: "upgrade", Command: "upgrade", Parameters: map[string]string{
				"Mode": u.mode(), "From": u.from, "To": u.to, "BackupEachHop": u.backups, "FixKnownJobs": yesNo(u.fix),
			}})
		},
	}
	o.forAccount(command, account.GitLab)
	flags := command.Flags()
	flags.BoolVar(&u.plan, "plan", false, "print the stops, and do nothing")
	flags.BoolVar(&u.preflight, "preflight", false, "make all checks on the server, and change nothing")
	flags.StringVar(&u.from, "from", "", "with --plan: the `version` to start at; default: what the server has. Otherwise: start only when it has that, or later")
	flags.StringVar(&u.to, "to", "", "`version` of the last stop; without it the first one without a known hole. 15.4.6 and others before it are open to strangers")
	flags.StringVar(&u.backups, "backup-each-hop", "yes", "`yes|no`; no upgrades without a way back")
	flags.BoolVar(&u.fix, "fix-known-jobs", false, "apply GitLab's documented remedies to migrations that are known to get stuck")
	f.add(command, "the newest upgrade")
	return command
}

// printPlan prints the stops as the host's program does.
func (p *program) printPlan(u upgrading) error {
	from, err := gitlab.ParseVersion(u.from)
	if err != nil {
		return usageError{err}
	}
	to := gitlab.SafeFrom(from)
	if u.to != "" {
		if to, err = gitlab.ParseVersion(u.to); err != nil {
			return usageError{err}
		}
	}
	path, err := gitlab.Path(from, to)
	if errors.Is(err, gitlab.ErrNoStop) {
		return usageError{fmt.Errorf("--to: %w", err)}
	} else if err != nil {
		return err
	}
	_, err = fmt.Fprint(p.stdout, gitlab.Plan(path))
	return err
}

func backupsInWords(backups string) string {
	if backups == "yes" {
		return "with a backup before each hop"
	}
	return "WITHOUT BACKUPS, so that there is no way back"
}

// yesNo is a switch as the documents take it.
func yesNo(on bool) string {
	if on {
		return "yes"
	}
	return "no"
}
