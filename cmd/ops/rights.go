package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/rights"
)

// role is who may use commands, with a policy of its own in each account.
type role struct {
	name, who string
	commands  []string
	also      string                    // the role whose commands it may use, too
	byHand    map[account.Side][]string // what it does without this program
}

// roles are all of them. Each command belongs to one.
var roles = []role{
	{name: "viewer", who: "looks, and changes nothing. Starts no document on a host but those that only print.",
		commands: []string{"backups", "check", "deployments", "diff", "doctor", "init", "logs", "pipeline", "policy", "program", "status", "trust"}},
	{name: "operator", who: "works on a GitLab that runs and on what it deploys: backups, upgrades, settings, runner, uploads. No shell.",
		commands: []string{"backup", "configure", "pause", "promote", "redrive", "register-runner", "reindex", "reset-tokens", "restore", "resume", "rollback",
			"unregister-runner", "upgrade", "upgrade-runner"}, also: "viewer"},
	{name: "shell", who: "is root on both hosts, and administrator of GitLab.",
		commands: []string{"connect", "forward", "root-password"}},
	{name: "deployer", who: "deploys both stacks, by the roles of the CDK's bootstrap: whoever has these can change all that the stacks have.",
		commands: []string{"deploy"}, also: "viewer"},
	{name: "sample", who: "makes and removes the sample target in account B.", commands: []string{"sample"}},
	{name: "break-glass", who: "recovers volumes and backups by hand. The policies of backups and keys open them to `gitlab.breakGlassRoles`, which this adds to.",
		byHand: map[account.Side][]string{account.GitLab: {"break-glass:Recovery"}}},
}

// abouts are what a command's calls are about, where the catalogue of internal/rights does not know it.
var abouts = map[string]map[string][]string{
	"register-runner": {"ssm:SendCommand": {"document:runner-token", "document:register-runner", "document:follow"}},
	"trust":           {"ssm:SendCommand": {"document:keys"}},
	"sample": {
		"cloudformation:DescribeStacks": {"sample stack"}, "cloudformation:DescribeStackEvents": {"sample stack"}, "cloudformation:DeleteStack": {"sample stack"},
	},
	"doctor": {"ssm:SendCommand": {"document:keys"}},
}

// beside are calls that are made for a command by others, with its credentials: another program, or a shell that completes.
var beside = map[string]map[account.Side][]string{
	"deploy":  {account.GitLab: {"sts:AssumeRole"}, account.Deploy: {"sts:AssumeRole"}},
	"restore": {account.GitLab: {"s3:ListObjectsV2"}}, // a shell that completes --backup
	// The plug-in goes on with a session that was cut off.
	"connect": {account.GitLab: {"ssm:ResumeSession"}},
	"forward": {account.GitLab: {"ssm:ResumeSession"}},
}

// declaredBy are the calls of a command in one account, with what they are about.
func (d declared) declaredBy(side account.Side) []string {
	name := d.command.Name()
	var all []string
	for _, call := range slices.Concat(d.calls[side], beside[name][side]) {
		about := abouts[name][call]
		if about == nil && call == "ssm:SendCommand" {
			about = []string{"document:" + name, "document:follow"} // an operation's document has its command's name
		}
		if about == nil {
			all = append(all, call)
		}
		for _, scope := range about {
			all = append(all, call+" "+scope)
		}
	}
	return all
}

// policies are those of a role, in each account where it does something.
func (p *program) policies(names rights.Names, r role) (map[account.Side]rights.Policy, error) {
	commands := slices.Clone(r.commands)
	for _, other := range roles {
		if other.name == r.also {
			commands = append(commands, other.commands...)
		}
	}
	calls := map[account.Side][]string{}
	for _, d := range p.commands() {
		if slices.Contains(commands, d.command.Name()) {
			for side := range d.calls {
				calls[side] = append(calls[side], d.declaredBy(side)...)
			}
		}
	}
	for side, done := range r.byHand {
		calls[side] = append(calls[side], done...)
	}
	made := map[account.Side]rights.Policy{}
	for side, of := range calls {
		policy, err := rights.Make(names, side, of)
		if err != nil {
			return nil, err
		}
		made[side] = policy
	}
	return made, nil
}

// roleNamed finds a role.
func roleNamed(name string) (role, error) {
	var known []string
	for _, r := range roles {
		if r.name == name {
			return r, nil
		}
		known = append(known, r.name)
	}
	return role{}, usageError{fmt.Errorf("got role %q, want one of %s", name, strings.Join(known, ", "))}
}

// running is the key of the command's name in its context.
type running struct{}

// knowing lets the calls of a command, and of those below it, know which one makes them.
func knowing(name string, c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			c.SetContext(context.WithValue(c.Context(), running{}, name))
			return run(c, args)
		}
	}
	for _, below := range c.Commands() {
		knowing(name, below)
	}
}

// sidesOf are the accounts of policies, GitLab's first.
func sidesOf(policies map[account.Side]rights.Policy) []account.Side {
	sides := slices.Sorted(maps.Keys(policies))
	slices.Reverse(sides)
	return sides
}
