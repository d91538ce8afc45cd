//go:build unix

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/jobrole"
)

func newJobCredentials(p program) *cobra.Command {
	var role jobrole.Role
	command := &cobra.Command{
		Use:   "job-credentials --role-arn ARN --region REGION",
		Short: "Give the containers of this host the credentials of a role",
		Long: `Gives the containers of this host the credentials of a role that the host's own role may take,
at ` + jobrole.URL + `, where every AWS SDK and the AWS CLI look for them by
AWS_CONTAINER_CREDENTIALS_RELATIVE_URI. It answers GET, to the host and its bridges only.

systemd runs it, as a user without rights, and hands it the socket: install-program and
register-runner make the units.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			err := errors.Join(matching("role-arn", role.ARN, jobrole.ARN, "the ARN of a role"),
				matching("region", role.Region, `[a-z]{2}(-[a-z]+)+-[0-9]`, "a region such as ap-northeast-1"))
			if err != nil {
				return usageError{err}
			}
			listener, err := inherited(os.Getpid(), os.Getenv)
			if err != nil {
				return err
			}
			account, err := p.aws(c.Context(), role.Region)
			if err != nil {
				return err
			}
			service := jobrole.Service{
				Role: role.ARN, Credentials: jobrole.Credentials(account, role.ARN), Near: jobrole.OnBridge, Log: p.machine.Say,
			}
			return service.Serve(c.Context(), listener)
		},
	}
	flags := command.Flags()
	flags.StringVar(&role.ARN, "role-arn", "", "the role (required)")
	flags.StringVar(&role.Region, "region", "", "AWS region whose STS is asked (required)")
	return command
}

// inherited is the one socket that systemd hands over.
// https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
func inherited(pid int, variable func(string) string) (net.Listener, error) {
	if variable("LISTEN_PID") != strconv.Itoa(pid) || variable("LISTEN_FDS") != "1" {
		return nil, errors.New("got no socket: systemd starts this, see job-credentials --help")
	}
	file := os.NewFile(3, "socket")
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("the socket of systemd's: %w", err)
	}
	return listener, nil
}
