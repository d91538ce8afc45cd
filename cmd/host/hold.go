//go:build unix

package main

import (
	"context"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/hold"
)

func newHoldOperations(p program) *cobra.Command {
	return p.add(job{
		command: &cobra.Command{
			Use:   "hold-operations",
			Short: "Let no operation begin on this host while security updates are made",
			Long: `Lets no operation begin on this host for two hours, or until release-operations or a restart:
security updates come first, and they may restart the host. While an operation or an
installation is under way it fails, and no update is made. On Amazon Linux 2023 it lets updates
come of the newest release, unless somebody has chosen one. Patch manager runs it before the
weekly updates.`,
		},
		// It takes the lock itself, and hands it to a unit.
		do: func(ctx context.Context) error {
			if err := hold.Begin(ctx, p.machine); err != nil {
				return err
			}
			p.forgetBuilds(ctx)
			return nil
		},
	})
}

func newReleaseOperations(p program) *cobra.Command {
	return p.add(job{
		command: &cobra.Command{
			Use:   "release-operations",
			Short: "Let operations begin again after security updates",
			Long: `Ends what hold-operations began: operations may begin again. Without it, as after a restart or
a hold that failed, it does nothing. Patch manager runs it after the weekly updates.`,
		},
		do: func(ctx context.Context) error { return hold.End(ctx, p.machine) },
	})
}
