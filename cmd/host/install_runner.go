//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/packages"
	"gitlab-codedeploy/internal/runner"
)

func newInstallRunner(p program) *cobra.Command {
	h := runner.Host{Machine: p.machine}
	var version, done string
	command := &cobra.Command{
		Use:   "install-runner --version X.Y.Z --repository-url URL",
		Short: "Install Docker and GitLab Runner on this host",
		Long: `Installs Docker and exactly that version of GitLab Runner on a host of Amazon Linux 2 or 2023,
starts both, and clears what jobs leave behind every night. Containers cannot reach each other
on Docker's common network. On Amazon Linux 2023 Docker is 25.0 and stays it, for the sake of
older runners, and all jobs together have room for 8,192 processes. What is installed already
keeps its version. It registers no runner. A run that was interrupted is continued by the next
one.

What the packages say is in /var/log/gitlab-codedeploy-install.log.`,
	}
	flags := command.Flags()
	flags.StringVar(&version, "version", "", "exact GitLab Runner version, such as 13.10.0 (required)")
	flags.StringVar(&h.RepositoryURL, "repository-url", "", "where the repository gitlab-runner is, such as https://packages.gitlab.com/runner (required)")
	var exact gitlab.Version
	return p.signals(p.add(job{
		command: command,
		check: func() (err error) {
			if exact, err = gitlab.ParseVersion(version); err != nil {
				err = fmt.Errorf("--version: %w", err)
			}
			return errors.Join(err, matching("repository-url", h.RepositoryURL, packages.URLPattern, "the https address of a package repository"))
		},
		do: func(ctx context.Context) (err error) {
			done, err = h.Install(ctx, exact)
			return err
		},
	}), "runner", &done)
}

func newUpgradeRunner(p program) *cobra.Command {
	h := runner.Host{Machine: p.machine}
	var version string
	var jobs int
	command := &cobra.Command{
		Use:   "upgrade-runner --version X.Y[.Z] --repository-url URL",
		Short: "Bring GitLab Runner to a version when its jobs have ended",
		Long: `Brings GitLab Runner to that version. It takes no new jobs first and lets the running ones end.
A run that died is continued by the next one; an older version is never installed over a newer
one.

Prints one line of JSON: {"from", "to"}.`,
	}
	flags := command.Flags()
	flags.StringVar(&version, "version", "", "GitLab Runner version, such as 15.4.2, or 15.4 for its newest patch; its minor is to be the server's (required)")
	flags.StringVar(&h.RepositoryURL, "repository-url", "", "where the repository gitlab-runner is, such as https://packages.gitlab.com/runner (required)")
	flags.IntVar(&jobs, "jobs-timeout", 7200, "longest wait for running jobs, in seconds; nothing is changed when they take longer")
	return p.add(job{
		command: command, exclusive: true,
		check: func() error {
			err := errors.Join(
				matching("version", version, `[1-9][0-9]?\.[0-9]{1,2}(\.[0-9]{1,2})?`, "a version such as 15.4.2 or 15.4"),
				matching("repository-url", h.RepositoryURL, packages.URLPattern, "the https address of a package repository"))
			if jobs < 0 || jobs > 999999 {
				err = errors.Join(err, errors.New("--jobs-timeout: want seconds"))
			}
			return err
		},
		do: func(ctx context.Context) error {
			from, to, err := h.Upgrade(ctx, version, time.Duration(jobs)*time.Second)
			if err != nil {
				return err
			}
			return json.NewEncoder(p.stdout).Encode(struct {
				From string `json:"from"`
				To   string `json:"to"`
			}{from, to})
		},
	})
}
