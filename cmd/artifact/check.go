package main

import (
	"github.com/spf13/cobra"
)

func newCheck(p program) *cobra.Command {
	o := options{dryRun: true}
	command := &cobra.Command{
		Use:   "check",
		Short: "Check a folder and pack it, without sending it",
		Long: `Does what upload does, and sends nothing: the AppSpec file is read as CodeDeploy's
agent reads it, and the folder is packed. It needs neither AWS nor a bucket; what
upload would be told of these is checked where it is given.

Prints the result as upload does, with "dryRun":true.`,
		Example: "  artifact check --source dist --strict",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.complete(p, c, false); err != nil {
				return err
			}
			o.wait = false
			return p.upload(c.Context(), o)
		},
	}
	command.Flags().SortFlags = false
	o.addSource(command.Flags())
	o.addDestination(command.Flags())
	return command
}
