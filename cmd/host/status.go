//go:build unix

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/status"
)

func newStatus(p program) *cobra.Command {
	command := &cobra.Command{
		Use:   "status",
		Short: "Show how GitLab on this server is",
		Long: `Shows how GitLab on this server is: versions, services, sign-in page, sign-up, database,
disk, migrations, runners, operations. It changes nothing. What cannot be read says so, and
does not hide the rest.

Prints a line a part on stdout, its columns divided by tabs: part, state (ok, wrong, unknown,
or - for what is only told), and what was found. Exit status 0, whatever was found.`,
	}
	return p.add(job{command: command, do: func(ctx context.Context) error {
		look := status.Status{GitLab: omnibus.GitLab{Machine: p.machine}, Runs: p.runs, Longest: 5 * time.Minute}
		return look.Look(ctx, func(row status.Row) { fmt.Fprintln(p.stdout, row) })
	}})
}
