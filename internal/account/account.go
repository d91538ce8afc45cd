// Package account opens one of the two accounts for an operator: configuration, credentials, and what its stack has put out.
package account

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"gitlab-codedeploy/internal/config"
)

// Identities tells whose credentials there are.
type Identities interface {
	GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error)
}

// Stacks tells what a stack has put out.
type Stacks interface {
	DescribeStacks(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error)
}

// Account is GitLab's account of one environment.
type Account struct {
	Config  config.Config
	Stack   string
	outputs map[string]string
}

// WrongAccount says that the credentials are another account's.
type WrongAccount struct{ Got, Want string }

func (w WrongAccount) Error() string {
	return fmt.Sprintf("the credentials are of account %s, want %s (gitlab.account)", w.Got, w.Want)
}

// OpenGitLab checks that the credentials are those of GitLab's account before it asks that account for anything.
func OpenGitLab(ctx context.Context, cfg config.Config, identities Identities, stacks Stacks) (*Account, error) {
	who, err := identities.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, fmt.Errorf("find out whose credentials these are: %w", err)
	}
	if got := aws.ToString(who.Account); got != cfg.GitLab.Account {
		return nil, WrongAccount{got, cfg.GitLab.Account}
	}
	a := &Account{Config: cfg, Stack: "GitLab-" + cfg.Environment, outputs: map[string]string{}}
	out, err := stacks.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &a.Stack})
	if err != nil {
		return nil, fmt.Errorf("read the outputs of stack %s: %w", a.Stack, err)
	}
	if len(out.Stacks) != 1 {
		return nil, fmt.Errorf("read the outputs of stack %s: got %d stacks, want 1", a.Stack, len(out.Stacks))
	}
	for _, o := range out.Stacks[0].Outputs {
		a.outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	return a, nil
}

var instanceID = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)

// Server is the id of GitLab's instance.
func (a *Account) Server() (string, error) {
	id := a.outputs["ServerInstanceId"]
	if !instanceID.MatchString(id) {
		return "", fmt.Errorf("output ServerInstanceId of stack %s: got %q, want the id of an instance: scripts/ops deploy", a.Stack, strings.ToValidUTF8(id, ""))
	}
	return id, nil
}
