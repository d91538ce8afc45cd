//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/leaving"
	"gitlab-codedeploy/internal/omnibus"
)

func newVerify(p program) *cobra.Command {
	var isLeaving bool
	command := &cobra.Command{
		Use:   "verify --leaving",
		Short: "Say whether this server may be left for a new one",
		Long: `Says whether this server may be backed up for good, to be restored on a new one. A backup has
nothing of what is in Redis: jobs that somebody has asked for, and those of background
migrations of GitLab 13. So Sidekiq has to have nothing busy or enqueued, and no background
migration may be unfinished. It changes nothing, and may be run as often as you like.

Prints one line of JSON:
{"package", "version", "ready", "sidekiq": {"busy", "enqueued", "scheduled", "retries"}, "migrationsLeft", "remedies", "warnings"}.
Exit status: 0 ready, 1 not, or it cannot be known, and each remedy is said; 2 wrong use.`,
		Example: "  host verify --leaving",
	}
	command.Flags().BoolVar(&isLeaving, "leaving", false, "the server is the old one (required)")
	return p.add(job{
		command: command,
		check: func() error {
			if !isLeaving {
				return errors.New("missing: --leaving")
			}
			return nil
		},
		do: func(ctx context.Context) error {
			report, err := leaving.Look(ctx, omnibus.GitLab{Machine: p.machine})
			if err != nil {
				return fmt.Errorf("whether this server may be left is not known: %w", err)
			}
			for _, warning := range report.Warnings {
				p.machine.Say("warning: %s", warning)
			}
			for _, remedy := range report.Remedies {
				p.machine.Say("%s", remedy)
			}
			if err := json.NewEncoder(p.stdout).Encode(report); err != nil {
				return err
			}
			if !report.Ready {
				return fmt.Errorf("this server may not be left yet: %d things are to be done first", len(report.Remedies))
			}
			return nil
		},
	})
}
