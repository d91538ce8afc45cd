package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/cdk"
	"gitlab-codedeploy/internal/deploy"
	"gitlab-codedeploy/internal/review"
	"gitlab-codedeploy/internal/steps"
)

func (p *program) diff() *cobra.Command {
	var o bothOptions
	command := &cobra.Command{
		Use:   "diff --env NAME --profile-a PROFILE --profile-b PROFILE",
		Short: "Show what a deploy would change in both accounts, for a review",
		Long: `Shows what a deploy would change in both accounts, for a review.

The note is Markdown: what is replaced or removed first, then permissions and network
access, then the rest. A script's change is shown line by line. It reads the deployed
templates and needs no other right than cloudformation:GetTemplate; it changes nothing.

Exit status: 0 done, whether something changes or not; 1 AWS refused something; 2 wrong
use, configuration or credentials; 130 and 143 interrupted.`,
		Example: "  scripts/ops diff --env staging --profile-a gitlab-account --profile-b deploy-account >note.md",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			sides, err := o.sides()
			if err != nil {
				return err
			}
			if err := p.needTools(); err != nil {
				return err
			}
			work, err := os.MkdirTemp("", "ops-diff.")
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(work) }()
			at := &steps.Steps{Log: p.log, Now: p.now}
			err = p.runDiff(c.Context(), o, sides, work, at)
			if err != nil && c.Context().Err() != nil {
				p.log("interrupted while %s", at.Name())
				return interrupted(c.Context())
			}
			return err
		},
	}
	o.add(command)
	command.Flags().Lookup("yes").Usage = "accepted as everywhere; nothing is asked here"
	return command
}

func (p *program) runDiff(ctx context.Context, o bothOptions, sides []account.Side, work string, at *steps.Steps) error {
	if o.dryRun {
		assembly, targets, err := p.synthesise(ctx, o, sides, at, work, withoutValidation)
		if err != nil {
			return err
		}
		return p.rehearseDiff(ctx, o, assembly, targets)
	}
	note, err := p.note(ctx, o, sides, work, at)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(p.stdout, note)
	return err
}

// withoutValidation is for the synthesis: the deploy validates the templates; what changes can be read without.
const withoutValidation = "CDK_VALIDATION=false"

// note compares the templates with the deployed ones.
func (p *program) note(ctx context.Context, o bothOptions, sides []account.Side, work string, at *steps.Steps) (string, error) {
	assembly, targets, err := p.synthesise(ctx, o, sides, at, work, withoutValidation)
	if err != nil {
		return "", err
	}
	opened, err := p.identify(ctx, o, targets, at)
	if err != nil {
		return "", err
	}
	pairs, stacks := make([]review.Pair, len(targets)), make([]review.Stack, len(targets))
	for i, t := range targets {
		at.Begin("reading the deployed template of %s", t.Name)
		if pairs[i], err = templates(ctx, assembly, t, opened[t.Side]); err != nil {
			return "", err
		}
		at.End()
	}
	at.Begin("comparing the templates")
	results, err := review.Compare(ctx, p.cdk, pairs)
	if err != nil {
		return "", err
	}
	for i, t := range targets {
		stacks[i] = review.Stack{Name: t.Name, Account: t.Account, Region: t.Region, Result: results[i]}
	}
	return review.Note(o.environment, stacks), nil
}

// templates are a stack's: the deployed one, and that of the assembly.
func templates(ctx context.Context, assembly cdk.Assembly, t deploy.Target, loaded aws.Config) (pair review.Pair, err error) {
	text, err := os.ReadFile(assembly.Template(t.Name))
	if err == nil {
		err = json.Unmarshal(text, &pair.Next)
	}
	if err != nil {
		return pair, fmt.Errorf("read the new template of %s: %w", t.Name, err)
	}
	out, err := cloudformation.NewFromConfig(loaded).GetTemplate(ctx, templateOf(t))
	switch {
	case deploy.DoesNotExist(err):
		return pair, nil
	case err != nil:
		return pair, fmt.Errorf("read the template of %s as %s: %w", t.Name, t.Profile, err)
	}
	if err := json.Unmarshal([]byte(aws.ToString(out.TemplateBody)), &pair.Deployed); err != nil || pair.Deployed == nil {
		return pair, errors.New("the deployed template of " + t.Name + " is not JSON: the CDK did not deploy it")
	}
	return pair, nil
}

// templateOf asks for the template as it was sent, not as CloudFormation processed it.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_GetTemplate.html
func templateOf(t deploy.Target) *cloudformation.GetTemplateInput {
	return &cloudformation.GetTemplateInput{StackName: &t.Name, TemplateStage: cfntypes.TemplateStageOriginal}
}

func (p *program) rehearseDiff(ctx context.Context, o bothOptions, assembly cdk.Assembly, targets []deploy.Target) error {
	if o.assembly == "" {
		if err := p.printer().Run(ctx, cdk.Run{Args: cdk.Synthesis(o.environment, string(assembly))}); err != nil {
			return err
		}
	}
	if err := p.rehearseIdentities(targets); err != nil {
		return err
	}
	for _, t := range targets {
		if err := (calls.Call{Service: "cloudformation", Operation: "GetTemplate", Input: templateOf(t)}).Print(p.stdout); err != nil {
			return err
		}
	}
	return nil
}
