//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/configure"
	"gitlab-codedeploy/internal/omnibus"
)

func newConfigure(p program) *cobra.Command {
	var address string
	var a asking
	command := &cobra.Command{
		Use:   "configure --external-url URL",
		Short: "Bring our settings of GitLab up to date",
		Long: `Brings our settings of GitLab (/etc/gitlab/gitlab-codedeploy.rb) up to date: shows the
difference, asks, writes, reconfigures, and waits for the sign-in page. When that fails the
old settings come back. gitlab.rb is kept; when it does not include our file yet, one line is
added at its end. A run that was killed is undone by the next one.

Prints one line of JSON: {"settings", "state"}; state is unchanged, differs (--check) or
applied. Exit status 1 means that the old settings are back, unless it says otherwise.`,
		Example: "  host configure --external-url https://gitlab.example.com --check yes",
	}
	command.Flags().StringVar(&address, "external-url", "", "the address that users see (required)")
	a.add(command.Flags(), "only show the difference")
	return p.add(job{
		command: command, exclusive: true, onlyLooks: func() bool { return bool(a.check) },
		check: func() error {
			return errors.Join(matching("external-url", address, omnibus.AddressPattern, "https:// and a host name, without port or path"), p.canAsk(a))
		},
		do: func(ctx context.Context) (err error) {
			c := configure.Configure{
				GitLab: omnibus.GitLab{Machine: p.machine}, Address: address,
				Confirm: func(question string) error { return p.confirm(a, question) },
			}
			state := ""
			if a.check {
				state, err = c.Check()
			} else {
				state, err = c.Apply(ctx)
			}
			if err != nil {
				return err
			}
			return json.NewEncoder(p.stdout).Encode(configured{omnibus.Settings, state})
		},
	})
}

// configured is the result of configure.
type configured struct {
	Settings string `json:"settings"`
	State    string `json:"state"`
}
