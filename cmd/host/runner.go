//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gitlab-codedeploy/internal/jobrole"
	"gitlab-codedeploy/internal/runner"
)

// runnerName takes what may stand in TOML, Ruby and SQL.
const runnerName = `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`

func nameOfRunner(flags *pflag.FlagSet, name *string) {
	flags.StringVar(name, "name", "", "the runner's name, here and in GitLab (required)")
}

func printRunner(out io.Writer, name, state string) error {
	return json.NewEncoder(out).Encode(struct {
		Runner string `json:"runner"`
		State  string `json:"state"`
	}{name, state})
}

func newRegisterRunner(p program) *cobra.Command {
	var action, tags string
	r := runner.Registration{Role: jobrole.Role{Program: p.runs.Program}}
	command := &cobra.Command{
		Use:   "register-runner --action check|register --name NAME",
		Short: "Register this host's GitLab Runner with the token that the server handed over",
		Long: `Registers this host's GitLab Runner with the token that the server has put into an SSM
parameter, and removes the parameter, whatever happens. A runner that is registered and alive
is left as it is; one that GitLab does not know any more is registered anew. check only says
which.

Its jobs have ` + runner.JobPrograms + `, read-only, and hold a role of their own (see
job-credentials). They are kept apart: each has a network of its own, no raw sockets, and a
part of the host's memory.

Prints one line of JSON: {"runner", "state"}; state is registered or kept, for check none,
alive or removed.`,
		Example: "  host register-runner --action check --name gitlab-codedeploy-staging",
	}
	flags := command.Flags()
	flags.StringVar(&action, "action", "", "check or register (required)")
	nameOfRunner(flags, &r.Name)
	flags.StringVar(&r.URL, "url", "", "GitLab's address, to register")
	flags.StringVar(&r.Parameter, "parameter", "", "SSM parameter with the token, to register")
	flags.StringVar(&r.Role.Region, "region", "", "AWS region of the host and the parameter, to register")
	flags.StringVar(&r.Role.ARN, "job-role", "", "the role that its jobs hold, to register")
	flags.StringVar(&r.Image, "image", "alpine:3.20", "Docker image of jobs that name none")
	flags.StringVar(&tags, "tags", "", "tags of the jobs that it takes, with commas; without any it takes jobs without tags. From GitLab 16.0 on they are given on the server")
	flags.IntVar(&r.Concurrency, "concurrency", 2, "jobs at a time on this host")
	registers := func() bool { return action == "register" }
	client := func(ctx context.Context) (*ssm.Client, error) {
		account, err := p.aws(ctx, r.Role.Region)
		return ssm.NewFromConfig(account), err
	}
	return p.add(job{
		command: command, exclusive: true,
		onlyLooks: func() bool { return !registers() },
		check: func() error {
			err := errors.Join(matching("action", action, `check|register`, "check or register"),
				matching("name", r.Name, runnerName, "a name of letters, digits and . _ -"))
			if !registers() {
				return err
			}
			err = errors.Join(err,
				matching("url", r.URL, `https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?`, "https:// and a host name, without port or path"),
				matching("parameter", r.Parameter, `/[A-Za-z0-9/._-]+`, "the name of an SSM parameter, from /"),
				matching("region", r.Role.Region, `[a-z]{2}(-[a-z]+)+-[0-9]`, "a region such as ap-northeast-1"),
				matching("job-role", r.Role.ARN, jobrole.ARN, "the ARN of a role"),
				matching("image", r.Image, `[a-z0-9][A-Za-z0-9._/:@-]{0,254}`, "a Docker image such as alpine:3.20"),
				matching("tags", tags, `([A-Za-z0-9][A-Za-z0-9._-]*(,[A-Za-z0-9][A-Za-z0-9._-]*)*)?`, "tags of letters, digits and . _ -, with commas between them"))
			if r.Concurrency < 1 || r.Concurrency > 999 {
				err = errors.Join(err, fmt.Errorf("--concurrency: got '%d', want a number from 1 to 999", r.Concurrency))
			}
			if tags != "" {
				r.Tags = strings.Split(tags, ",")
			}
			return err
		},
		finally: func(ctx context.Context) {
			if !registers() {
				return
			}
			ssm, err := client(context.WithoutCancel(ctx))
			if err != nil {
				p.machine.Say("warning: %s could not be removed: %v", r.Parameter, err)
				return
			}
			runner.RemoveParameter(ctx, p.machine, ssm, r.Parameter)
		},
		do: func(ctx context.Context) error {
			state, err := "", error(nil)
			if registers() {
				var ssm *ssm.Client
				if ssm, err = client(ctx); err == nil {
					state, err = runner.Register(ctx, p.machine, ssm, r)
				}
			} else {
				state, err = runner.State(ctx, p.machine, r.Name)
			}
			if err != nil {
				return err
			}
			return printRunner(p.stdout, r.Name, state)
		},
	})
}

func newUnregisterRunner(p program) *cobra.Command {
	var name string
	command := &cobra.Command{
		Use:   "unregister-runner --name NAME",
		Short: "Take this host's runner out of GitLab and out of its configuration",
		Long: `Takes this host's runner of that name out of GitLab and out of the configuration. Jobs under
way are not waited for. One that GitLab does not know any more is only taken out of the
configuration.

Prints one line of JSON: {"runner", "state"}; state is unregistered, or none when there was
nothing to do.`,
		Example: "  host unregister-runner --name gitlab-codedeploy-staging",
	}
	nameOfRunner(command.Flags(), &name)
	return p.add(job{
		command: command, exclusive: true,
		check: func() error { return matching("name", name, runnerName, "a name of letters, digits and . _ -") },
		do: func(ctx context.Context) error {
			state, err := runner.Unregister(ctx, p.machine, name)
			if err != nil {
				return err
			}
			return printRunner(p.stdout, name, state)
		},
	})
}
