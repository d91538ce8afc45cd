package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/script"
)

func (p *program) script() *cobra.Command {
	var dryRun bool
	command := &cobra.Command{
		Use:   "script NAME",
		Short: "Print a host's script as one file, for a server that has nothing of this",
		Long: `Prints what the SSM document holds: the script with its libraries in it, by the same
program. Copy it, say, to the old server, and run it there as root.

NAME is that of a file in scripts/server or scripts/runner, without .sh.`,
		Example: "  scripts/ops script backup-gitlab >backup-gitlab.sh",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("want one name of a script, got %d", len(args))}
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			names, _ := script.Names(p.root) // without the checkout there is nothing to complete
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := script.Text(p.root, args[0])
			var unknown *script.UnknownError
			switch {
			case errors.As(err, &unknown):
				return usageError{err}
			case err != nil:
				return err
			case dryRun:
				return calls.ErrDryRun
			}
			_, err = fmt.Fprint(p.stdout, text)
			return err
		},
	}
	command.Flags().BoolVar(&dryRun, "dry-run", false, "print nothing; AWS is not asked in any case")
	command.Flags().Bool("yes", false, "accepted as everywhere; nothing is asked here")
	return command
}
