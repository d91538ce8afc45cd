package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/cdk"
	"gitlab-codedeploy/internal/deploy"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/steps"
)

// bothOptions are the flags of a command that works with the stacks of both accounts.
type bothOptions struct {
	options
	profiles       map[account.Side]*string
	only, assembly string
}

func (o *bothOptions) add(c *cobra.Command) {
	o.forEnvironment(c)
	c.Flags().Lookup("dry-run").Usage = "print the runs of the CDK and the calls to AWS, one a line; nothing but the synthesis is run"
	o.profiles = map[account.Side]*string{
		account.GitLab: c.Flags().String("profile-a", "", "AWS profile of GitLab's account (gitlab.account)"),
		account.Deploy: c.Flags().String("profile-b", "", "AWS profile of the deployment account (deploy.account)"),
	}
	c.Flags().StringVar(&o.only, "only", "", "work on one account, a or b, with its profile alone")
	c.Flags().StringVar(&o.assembly, "assembly", "", "folder that cdk synth has written, such as a reviewed one, instead of a synthesis")
}

// sides are the accounts to work on.
func (o *bothOptions) sides() ([]account.Side, error) {
	sides, is := map[string][]account.Side{"": {account.GitLab, account.Deploy}, "a": {account.GitLab}, "b": {account.Deploy}}[o.only]
	if !is {
		return nil, usageError{fmt.Errorf("--only: want a or b, got %q", o.only)}
	}
	var missing []string
	if o.environment == "" {
		missing = append(missing, "--env")
	}
	for _, side := range sides {
		if *o.profiles[side] == "" {
			missing = append(missing, map[account.Side]string{account.GitLab: "--profile-a", account.Deploy: "--profile-b"}[side])
		}
	}
	if missing != nil {
		return nil, usageError{fmt.Errorf("missing: %s", strings.Join(missing, " "))}
	}
	if o.assembly != "" {
		folder, err := filepath.Abs(o.assembly)
		if err == nil {
			_, err = os.Stat(cdk.Assembly(folder).Manifest())
		}
		if err != nil {
			return nil, usageError{fmt.Errorf("--assembly: %s does not exist; cdk synth --output makes it", cdk.Assembly(o.assembly).Manifest())}
		}
		o.assembly = folder
	}
	return sides, nil
}

// needTools ends a command early when a program is missing.
func (p *program) needTools() error {
	if missing := p.cdk.Missing(); len(missing) > 0 {
		return usageError{fmt.Errorf("not installed: %s; make setup installs all but Go", strings.Join(missing, " "))}
	}
	return nil
}

// synthesise returns the assembly of the environment, and what it says about the stacks. No account is needed for it: both are in
// the configuration.
func (p *program) synthesise(ctx context.Context, o bothOptions, sides []account.Side, at *steps.Steps, work string, env ...string) (cdk.Assembly, []deploy.Target, error) {
	assembly := cdk.Assembly(o.assembly)
	if assembly == "" {
		assembly = cdk.Assembly(filepath.Join(work, "assembly"))
		if err := os.RemoveAll(string(assembly)); err != nil {
			return "", nil, err
		}
		at.Begin("synthesising %s", o.environment)
		err := p.cdk.Run(ctx, cdk.Run{Args: cdk.Synthesis(o.environment, string(assembly)), Log: filepath.Join(work, "synth.log"), Limit: 10 * time.Minute, Env: env})
		switch {
		case ctx.Err() != nil:
			return "", nil, ctx.Err()
		case err != nil:
			return "", nil, usageError{fmt.Errorf("%s cannot be synthesised; the reason stands above", o.environment)}
		}
		at.End()
	}
	var targets []deploy.Target
	for _, side := range []account.Side{account.GitLab, account.Deploy} {
		stack, err := assembly.Stack(stackName(side, o.environment))
		if err != nil {
			return "", nil, err
		}
		if slices.Contains(sides, side) {
			targets = append(targets, deploy.Target{Stack: stack, Side: side, Profile: *o.profiles[side]})
		}
	}
	return assembly, targets, nil
}

func stackName(side account.Side, environment string) string {
	return map[account.Side]string{account.GitLab: "GitLab-", account.Deploy: "Deploy-"}[side] + environment
}

// identify opens the account of each target. It reports what is wrong with any profile before it ends.
func (p *program) identify(ctx context.Context, o bothOptions, targets []deploy.Target, at *steps.Steps) (map[account.Side]aws.Config, error) {
	var names []string
	for _, t := range targets {
		names = append(names, t.Profile)
	}
	at.Begin("checking the credentials of %s", strings.Join(names, " and "))
	opened, problems, got := map[account.Side]aws.Config{}, []string{}, map[account.Side]string{}
	for _, t := range targets {
		key := fmt.Sprintf("%s.account in config/%s.yaml", t.Side, o.environment)
		loaded, id, err := p.whose(ctx, t)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			problems = append(problems, fmt.Sprintf("profile %s gives no credentials for account %s (%s). AWS says: %s. Sign in again (aws sso login --profile %s) or fix the profile",
				t.Profile, t.Account, key, plain.Line(err.Error(), 1000), deploy.Quote(t.Profile)))
		case id != t.Account:
			problems = append(problems, fmt.Sprintf("profile %s is of account %s, but %s belongs to account %s (%s)", t.Profile, plain.Line(id, 40), t.Name, t.Account, key))
		}
		opened[t.Side], got[t.Side] = loaded, id
	}
	if len(problems) == 0 {
		at.End()
		return opened, nil
	}
	for _, problem := range problems {
		p.log("error: %s", problem)
	}
	if len(targets) == 2 && got[account.GitLab] == targets[1].Account && got[account.Deploy] == targets[0].Account {
		p.log("--profile-a and --profile-b are swapped")
	}
	return nil, ended{status: 2}
}

// whose are the credentials of a target's profile.
func (p *program) whose(ctx context.Context, t deploy.Target) (aws.Config, string, error) {
	loaded, err := p.open(ctx, t.Region, t.Profile)
	if err != nil {
		return loaded, "", err
	}
	p.watched(&loaded, options{}, t.Side)
	who, err := sts.NewFromConfig(loaded).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return loaded, "", err
	}
	return loaded, aws.ToString(who.Account), nil
}

// rehearseIdentities prints what identify would ask.
func (p *program) rehearseIdentities(targets []deploy.Target) error {
	for _, t := range targets {
		if _, err := fmt.Fprintf(p.stdout, "# %s: profile %s has to be of account %s\n", t.Name, plain.Line(t.Profile, 200), t.Account); err != nil {
			return err
		}
		if err := (calls.Call{Service: "sts", Operation: "GetCallerIdentity", Input: struct{}{}}).Print(p.stdout); err != nil {
			return err
		}
	}
	return nil
}

// interrupted is the end of a command that a signal has ended: 130 by Ctrl-C, 143 otherwise.
func interrupted(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && strings.HasPrefix(cause.Error(), os.Interrupt.String()) {
		return ended{status: 130}
	}
	return ended{status: 143}
}

// printer prints the runs of the CDK, with the words of a reader in the place of what only the deploy knows.
func (p *program) printer() cdk.Program {
	return cdk.Printer{Out: p.stdout, Quote: func(words ...string) string {
		for i, word := range words {
			words[i] = strings.ReplaceAll(word, deploy.UnknownEndpoint, "<S3EndpointId>")
		}
		return deploy.Quote(words...)
	}}
}

var errNoTerminal = errors.New("there is no terminal to ask on: pass --yes to deploy without questions")
