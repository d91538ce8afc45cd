//go:build unix

package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/waitcondition"
)

// signals gives an installation's command the flag --signal-url: whatever it ends with,
// wrong use too, the wait condition hears of it. done is what it has done, for a success.
func (p program) signals(command *cobra.Command, id string, done *string) *cobra.Command {
	var url string
	command.Flags().StringVar(&url, "signal-url", "", "presigned URL of a wait condition that is told the outcome")
	report := func(ctx context.Context, work func(context.Context) error) error {
		if err := matching("signal-url", url, "|"+waitcondition.URLPattern, "the presigned URL of a wait condition handle"); err != nil {
			return usageError{err}
		}
		return waitcondition.Condition{URL: url, ID: id}.Report(ctx, p.machine, func(ctx context.Context) (string, error) {
			err := work(ctx)
			return *done, err
		})
	}
	wrong := func(c *cobra.Command, err error) error {
		url = valueOf(p.args, "--signal-url") // what follows the mistake is not parsed
		return report(c.Context(), func(context.Context) error { return err })
	}
	run, arguments := command.RunE, command.Args
	command.RunE = func(c *cobra.Command, args []string) error {
		return report(c.Context(), func(ctx context.Context) error {
			c.SetContext(ctx)
			return run(c, args)
		})
	}
	command.Args = func(c *cobra.Command, args []string) error {
		if err := arguments(c, args); err != nil {
			return wrong(c, err)
		}
		return nil
	}
	command.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return wrong(c, usageError{err}) })
	return command
}

// valueOf is what a command line gives a flag.
func valueOf(args []string, flag string) string {
	if at := slices.Index(args, flag); at >= 0 && at+1 < len(args) {
		return args[at+1]
	}
	for _, arg := range args {
		if value, is := strings.CutPrefix(arg, flag+"="); is {
			return value
		}
	}
	return ""
}
