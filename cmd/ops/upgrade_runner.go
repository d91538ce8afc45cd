package main

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/remote"
)

var runnerVersion = regexp.MustCompile(`^[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,2})?$`)

func (p *program) upgradeRunner() *cobra.Command {
	var o options
	var f following
	var version string
	jobs := jobsTimeout("7200")
	command := &cobra.Command{
		Use:   "upgrade-runner --env NAME --version VERSION",
		Short: "Bring GitLab Runner to a version, in step with GitLab: the same minor",
		Long: `Do it after an upgrade of GitLab. The runner takes no new jobs and lets the running ones
end first.

Prints one line of JSON: {"from", "to"}.`,
		Example: "  scripts/ops upgrade-runner --env staging --version 15.4",
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case f.follow != "":
			case version == "":
				return usageError{errors.New("--version is required")}
			case !runnerVersion.MatchString(version):
				return usageError{fmt.Errorf("--version: got %q, want a version such as 15.4.2 or 15.4", version)}
			}
			a, err := p.openAccount(c.Context(), o, account.GitLab)
			if err != nil {
				return err
			}
			if f.follow == "" {
				if err := p.confirmIn(a, o, fmt.Sprintf("bring the runner of %s to %s, when its jobs have ended?", o.environment, version)); err != nil {
					return err
				}
			}
			return p.conclude(c.Context(), a, o, f, "runner", remote.Operation{Name: "upgrade-runner", Command: "upgrade-runner", Parameters: map[string]string{
				"Version": version, "JobsTimeout": string(jobs),
			}})
		},
	}
	o.forAccount(command, account.GitLab)
	command.Flags().StringVar(&version, "version", "", "GitLab Runner `version`, such as 15.4.2, or 15.4 for its newest patch (required)")
	command.Flags().Var(&jobs, "jobs-timeout", "longest wait for running jobs; nothing is changed when they take longer")
	f.add(command, "the newest one")
	return command
}

// jobsTimeout are seconds, and 0 waits for no job.
type jobsTimeout string

var jobsSeconds = regexp.MustCompile(`^(0|[1-9][0-9]{0,5})$`)

func (j *jobsTimeout) String() string { return string(*j) }
func (j *jobsTimeout) Type() string   { return "seconds" }
func (j *jobsTimeout) Set(text string) error {
	if !jobsSeconds.MatchString(text) {
		return fmt.Errorf("want seconds, got %q", text)
	}
	*j = jobsTimeout(text)
	return nil
}
