//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/tokens"
)

func newRunnerToken(p program) *cobra.Command {
	var action, region, tags string
	i := tokens.Issue{GitLab: omnibus.GitLab{Machine: p.machine}}
	command := &cobra.Command{
		Use:   "runner-token --action issue|online --name NAME",
		Short: "Hand over what a runner registers with, or say whether it is online",
		Long: `issue puts what a runner registers with into an SSM parameter, which only the runner's host
can decrypt: until 15.11 the registration token of the instance, from 16.0 on the token of a
runner that is made for it. online says whether GitLab has heard from the runner of that name
lately.

Prints one line of JSON: {"version", "token"} where token is the kind, registration or
authentication, never the token itself; for online {"runner", "online", "contactedSecondsAgo"}.
Exit status 1 for online: it is not.`,
		Example: "  host runner-token --action online --name gitlab-codedeploy-staging",
	}
	flags := command.Flags()
	flags.StringVar(&action, "action", "", "issue or online (required)")
	nameOfRunner(flags, &i.Name)
	flags.StringVar(&i.Parameter, "parameter", "", "SSM parameter for the token, to issue")
	flags.StringVar(&i.Key, "key", "", "ARN of the parameter's KMS key, to issue")
	flags.StringVar(&region, "region", "", "AWS region of both, to issue")
	flags.StringVar(&tags, "tags", "", "tags of the runner, with commas, from GitLab 16.0 on; without any it takes jobs without tags")
	issues := func() bool { return action == "issue" }
	return p.add(job{
		command: command, exclusive: true, onlyLooks: func() bool { return !issues() },
		check: func() error {
			err := errors.Join(matching("action", action, "issue|online", "issue or online"),
				matching("name", i.Name, runnerName, "a name of letters, digits and . _ -"))
			if !issues() {
				return err
			}
			if tags != "" {
				i.Tags = strings.Split(tags, ",")
			}
			return errors.Join(err,
				matching("parameter", i.Parameter, `/[A-Za-z0-9/._-]+`, "the name of an SSM parameter, from /"),
				matching("key", i.Key, `arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key/[0-9a-f-]+|alias/[A-Za-z0-9/_-]+)`, "the ARN of a KMS key"),
				matching("region", region, `[a-z]{2}(-[a-z]+)+-[0-9]`, "a region such as ap-northeast-1"),
				matching("tags", tags, `([A-Za-z0-9][A-Za-z0-9._-]*(,[A-Za-z0-9][A-Za-z0-9._-]*)*)?`, "tags of letters, digits and . _ -, with commas between them"))
		},
		do: func(ctx context.Context) error {
			if !issues() {
				online, err := tokens.Online(ctx, i.GitLab, i.Name)
				if err != nil {
					return err
				}
				return errors.Join(json.NewEncoder(p.stdout).Encode(online), online.Err())
			}
			account, err := p.aws(ctx, region)
			if err != nil {
				return err
			}
			issued, err := i.Put(ctx, ssm.NewFromConfig(account))
			if err != nil {
				return err
			}
			return json.NewEncoder(p.stdout).Encode(issued)
		},
	})
}
