//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/packages"
	"gitlab-codedeploy/internal/upgrade"
)

func newUpgrade(p program) *cobra.Command {
	var k keeping
	var mode, from, to, repository string
	backups, fix := yesNo(true), yesNo(false)
	command := &cobra.Command{
		Use:   "upgrade --bucket NAME --region REGION --repository-url URL",
		Short: "Upgrade GitLab stop by stop",
		Long: `Upgrades GitLab stop by stop. No stop is left out, and none is left before its migrations
are finished. A complete backup of what is installed, not older than an hour, is there
before each hop. A run that was stopped, or died, is resumed where GitLab is: start it again.

Without --to the last stop is the first version without a known hole by which a stranger
takes a server over.

--mode plan prints the stops, a line each. --mode preflight makes every check for the next
stop, names all that is in the way at once, and changes nothing.

Prints one line of JSON: {"from", "to", "edition"}; with --mode preflight
{"from", "next", "to", "ready"}.`,
		Example: "  host upgrade --mode plan\n  host upgrade --mode run --to 14.0.12 --bucket example-backups --region ap-northeast-1 --repository-url https://packages.gitlab.com/gitlab",
	}
	flags := command.Flags()
	k.add(flags, "backups-in", "folder of the backups instead")
	flags.StringVar(&mode, "mode", "run", "run, or plan or preflight to change nothing")
	flags.StringVar(&from, "from", "", "start only when this version, or a later one, is installed")
	flags.StringVar(&to, "to", "", "the last stop; without it the first version without a known hole")
	flags.Var(&backups, "backup-each-hop", "no: upgrade without a backup of before")
	flags.Var(&fix, "fix-known-jobs", "yes: apply GitLab's documented remedies to migrations that do not finish by themselves")
	flags.StringVar(&repository, "repository-url", "", "where the repositories gitlab-ce and gitlab-ee are (required)")
	u := upgrade.Upgrade{GitLab: omnibus.GitLab{Machine: p.machine}}
	return p.add(job{
		command: command, exclusive: true, onlyLooks: func() bool { return mode != "run" },
		check: func() (err error) {
			err = matching("mode", mode, `plan|preflight|run`, "plan, preflight or run")
			for _, v := range []struct {
				flag, text string
				into       *gitlab.Version
			}{{"from", from, &u.From}, {"to", to, &u.To}} {
				if v.text == "" {
					continue
				}
				version, wrong := gitlab.ParseVersion(v.text)
				if wrong != nil {
					err = errors.Join(err, fmt.Errorf("--%s: got %q, want an exact version such as 13.10.2", v.flag, v.text))
				}
				*v.into = version
			}
			if u.To != (gitlab.Version{}) && err == nil {
				if _, wrong := gitlab.Path(u.To, u.To); errors.Is(wrong, gitlab.ErrNoStop) {
					err = fmt.Errorf("--to: %w", wrong)
				}
			}
			if mode == "plan" {
				return err
			}
			err = errors.Join(err, matching("repository-url", repository, packages.URLPattern, "the https address of a package repository"))
			if bool(backups) {
				err = errors.Join(err, k.check())
			}
			return err
		},
		do: func(ctx context.Context) error {
			u.RepositoryURL, u.Fix = repository, bool(fix)
			if mode == "plan" {
				path, err := u.Plan(ctx)
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(p.stdout, gitlab.Plan(path))
				return err
			}
			if backups {
				store, _, err := k.open(ctx, p)
				if err != nil {
					return err
				}
				u.Backups = upgrade.BackupsIn(p.machine, store)
			}
			var result any
			var err error
			if mode == "preflight" {
				result, err = u.Preflight(ctx)
			} else {
				result, err = u.Run(ctx)
			}
			if err != nil {
				return err
			}
			return json.NewEncoder(p.stdout).Encode(result)
		},
	})
}
