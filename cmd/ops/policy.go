package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/rights"
)

func (p *program) policy() *cobra.Command {
	var o options
	var only string
	var placeholders bool
	profiles := map[account.Side]*string{}
	command := &cobra.Command{
		Use:   "policy ROLE --env NAME",
		Short: "Print the IAM policies of a role of people, made from what the commands call",
		Long: `Prints what IAM has to allow to somebody of that role, and nothing more: the calls that the
commands of this program declare, on the documents, hosts, buckets, queues, parameters and
secrets of this one environment.

` + describeRoles() + `
The names of what CloudFormation has made are outputs of the stacks, which both accounts are
asked for. With --placeholders nobody is asked: they stand there as <ServerInstanceId>.

JSON: {"<account id>": <policy>, …}; with --account the policy alone, as
aws iam create-policy takes it. Make it anew when a host was replaced.`,
		Example: `  scripts/ops policy operator --env staging --profile-a gitlab --profile-b deploy
  scripts/ops policy shell --env staging --profile-a gitlab --account a >shell.json
  aws iam create-policy --policy-name gitlab-staging-shell --policy-document file://shell.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("got %d arguments, want the role: %s", len(args), strings.Join(roleNames(), ", "))}
			}
			return nil
		},
		ValidArgs: roleNames(),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := roleNamed(args[0])
			if err != nil {
				return err
			}
			side, chosen := map[string]account.Side{"a": account.GitLab, "b": account.Deploy}[only]
			if only != "" && !chosen {
				return usageError{fmt.Errorf("--account: want a or b, got %q", only)}
			}
			cfg, err := p.load(o)
			if err != nil {
				return err
			}
			names := rights.Names{Config: cfg}
			made, err := p.policies(names, r)
			if err != nil {
				return err
			}
			if _, does := made[side]; chosen && !does {
				return usageError{fmt.Errorf("a %s does nothing in account %s", r.name, only)}
			}
			if !placeholders {
				if made, err = p.namedPolicies(c, o, cfg, r, made, profiles, side); err != nil {
					return err
				}
			}
			printed := map[string]any{}
			for _, of := range sidesOf(made) {
				if policy := made[of]; !chosen || of == side {
					printed[accountOf(cfg, of)] = policy
					if size := policy.Bytes(); size > rights.MaxBytes {
						p.log("the policy for account %s has %d characters, and IAM takes %d: make several of its statements", accountOf(cfg, of), size, rights.MaxBytes)
					}
				}
			}
			if chosen {
				return p.printPolicy(made[side])
			}
			return p.printPolicy(printed)
		},
	}
	o.forEnvironment(command)
	profiles[account.GitLab] = command.Flags().String("profile-a", "", "AWS profile of GitLab's account (gitlab.account)")
	profiles[account.Deploy] = command.Flags().String("profile-b", "", "AWS profile of the deployment account (deploy.account)")
	command.Flags().StringVar(&only, "account", "", "print the policy of one account alone, a or b")
	command.Flags().BoolVar(&placeholders, "placeholders", false, "ask no account, and leave the outputs' names where their values go")
	return command
}

// namedPolicies are a role's policies with the outputs of the stacks, of those accounts that have any in them.
func (p *program) namedPolicies(c *cobra.Command, o options, cfg config.Config, r role, made map[account.Side]rights.Policy, profiles map[account.Side]*string, only account.Side) (map[account.Side]rights.Policy, error) {
	var missing error
	opened := map[account.Side]*account.Account{}
	for side, policy := range made {
		if only != "" && side != only || !hasPlaceholder(policy) {
			continue
		}
		of := o
		of.profile = *profiles[side]
		a, err := p.openAccount(c.Context(), of, side)
		if err != nil {
			return nil, err
		}
		opened[side] = a
	}
	names := rights.Names{Config: cfg, Output: func(side account.Side, name string) string {
		if opened[side] == nil {
			return "<" + name + ">"
		}
		value, err := opened[side].Output(name, `[A-Za-z0-9:/._+=,@-]+`)
		if err != nil && missing == nil {
			missing = err
		}
		return value
	}}
	named, err := p.policies(names, r)
	if err == nil {
		err = missing
	}
	return named, err
}

func hasPlaceholder(policy rights.Policy) bool {
	for _, s := range policy.Statement {
		if strings.Contains(strings.Join(s.Resource, ""), "<") {
			return true
		}
	}
	return false
}

// printPolicy prints JSON as people read policies: "<" stays what it is.
func (p *program) printPolicy(value any) error {
	out := json.NewEncoder(p.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(value)
}

func accountOf(cfg config.Config, side account.Side) string {
	if side == account.Deploy {
		return cfg.Deploy.Account
	}
	return cfg.GitLab.Account
}

func roleNames() []string {
	var names []string
	for _, r := range roles {
		names = append(names, r.name)
	}
	return names
}

// describeRoles are the roles for the help text.
func describeRoles() string {
	var text strings.Builder
	for _, r := range roles {
		line := r.who
		if r.also != "" {
			line += " May what a " + r.also + " may."
		}
		words, used := strings.Fields(strings.ReplaceAll(line, "`", "")), 0
		fmt.Fprintf(&text, "    %-12s", r.name)
		for _, word := range words {
			if used+len(word) > 76 {
				fmt.Fprintf(&text, "\n%16s", "")
				used = 0
			}
			if used > 0 {
				text.WriteString(" ")
				used++
			}
			text.WriteString(word)
			used += len(word)
		}
		text.WriteString("\n")
	}
	return text.String()
}
