package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/remote"
)

func (p *program) registerRunner() *cobra.Command {
	var o options
	var f following
	command := &cobra.Command{
		Use:   "register-runner --env NAME",
		Short: "Register the runner host with GitLab, and check that GitLab hears from it",
		Long: `The server hands over what to register with, its registration token or, from 16.0 on, the
token of a new runner, in an SSM parameter that only the runner can decrypt; it is removed
whatever happens. A runner that is registered and alive is left as it is, one that GitLab
does not know any more is registered anew. Image, tags and jobs at a time are those
of the configuration when it was last deployed. It asks nothing.

Prints one line of JSON: {"runner", "online", "contactedSecondsAgo"}. Exit status 0 means that
the runner is online.`,
		Example: "  scripts/ops register-runner --env staging",
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := p.openAccount(c.Context(), o, account.GitLab)
			if err != nil {
				return err
			}
			r := p.newRegistration(a, o, f)
			if f.follow != "" {
				return p.conclude(c.Context(), a, o, f, "runner", r.onRunner("register"))
			}
			end, err := p.operate(c.Context(), a, o, f, "runner", r.onRunner("check"))
			if err != nil || end.Status != 0 {
				return failed(end, err)
			}
			if isAlive(end.Result) {
				p.log("the runner %s is registered and alive: it stays as it is", r.name)
			} else if err := r.handOver(c.Context()); err != nil {
				return err
			}
			return p.conclude(c.Context(), a, o, f, "server", r.onServer("online"))
		},
	}
	o.forAccount(command, account.GitLab)
	f.add(command, "the newest registration on the runner")
	return command
}

// isAlive reads what the check on the runner prints.
func isAlive(result string) bool {
	var found struct {
		State string `json:"state"`
	}
	return json.Unmarshal([]byte(result), &found) == nil && found.State == "alive"
}

// registration is a way over both hosts, with what the runner is registered with.
type registration struct {
	*program
	a               *account.Account
	o               options
	f               following
	name, parameter string
}

func (p *program) newRegistration(a *account.Account, o options, f following) registration {
	return registration{p, a, o, f, runnerName(a), "/gitlab-codedeploy/" + a.Config.Environment + "/runner-token"}
}

func (r registration) onRunner(action string) remote.Operation {
	return remote.Operation{Name: "register-runner", Command: "register-runner", Parameters: map[string]string{"Action": action}}
}

// onServer is a part that only the whole command goes on with.
func (r registration) onServer(action string) remote.Operation {
	return remote.Operation{Name: "runner-token", Parameters: map[string]string{"Action": action}}
}

// handOver brings the token from the server to the runner. The runner removes the parameter itself on every way out; but it may
// never have got that far. A run that goes on and has not read its token yet fails then: this way none stays behind.
func (r registration) handOver(ctx context.Context) error {
	end, err := r.operate(ctx, r.a, r.o, r.f, "server", r.onServer("issue"))
	issued := err == nil
	if issued && end.Status == 0 {
		end, err = r.operate(ctx, r.a, r.o, r.f, "runner", r.onRunner("register"))
	}
	r.removeParameter(ctx)
	if !issued {
		r.log("warning: the server may still put a token into %s. This command removes it when it is run again", r.parameter)
	}
	if err != nil || end.Status != 0 {
		return failed(end, err)
	}
	return nil
}

// removeParameter is silent when there is nothing left to remove. It does its work after an interrupt, too.
func (r registration) removeParameter(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	_, err := ssm.NewFromConfig(r.a.AWS).DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &r.parameter})
	switch {
	case err == nil:
		r.log("%s still held the token: it is removed", r.parameter)
	case errors.As(err, new(*types.ParameterNotFound)), errors.Is(err, calls.ErrDryRun):
	default:
		r.log("warning: %s may still hold a token, which only the runner can decrypt: %s. Remove it with: aws ssm delete-parameter --region %s --name %s%s",
			r.parameter, plain.Line(err.Error(), 500), r.a.Config.Region, r.parameter, r.profileFlag())
	}
}

func (r registration) profileFlag() string {
	if r.o.profile == "" {
		return ""
	}
	return fmt.Sprintf(" --profile %s", r.o.profile)
}
