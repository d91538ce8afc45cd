// Package account opens one of the two accounts for an operator: configuration, credentials, and what its stack has put out.
package account

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/plain"
)

// Side is one of the two accounts, by its part of the configuration.
type Side string

const (
	GitLab Side = "gitlab" // account A
	Deploy Side = "deploy" // account B
)

// Account is an account of an environment, with credentials that are its own.
type Account struct {
	Config  config.Config
	Side    Side
	ID      string     // 12 digits
	Caller  string     // the ARN of who asks
	Stack   string     // its stack's name
	AWS     aws.Config // for the SDK's clients
	outputs map[string]string
}

// Unusable says what is wrong with configuration, credentials or account, before anything was done.
type Unusable struct{ error }

func (u Unusable) Unwrap() error { return u.error }

// Enter checks that the credentials are those of the account, before that account is asked for anything.
func Enter(ctx context.Context, cfg config.Config, side Side, loaded aws.Config) (*Account, error) {
	a := &Account{Config: cfg, Side: side, AWS: loaded}
	a.ID, a.Stack = cfg.GitLab.Account, "GitLab-"+cfg.Environment
	if side == Deploy {
		a.ID, a.Stack = cfg.Deploy.Account, "Deploy-"+cfg.Environment
	}
	who, err := sts.NewFromConfig(loaded).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, Unusable{fmt.Errorf("no credentials for account %s (%s.account in config/%s.yaml): %w; sign in again (aws sso login) or name another profile",
			a.ID, side, cfg.Environment, err)}
	}
	a.Caller = aws.ToString(who.Arn)
	if got := aws.ToString(who.Account); got != a.ID {
		return nil, Unusable{fmt.Errorf("the credentials are of account %s, but %s belongs to account %s (%s.account in config/%s.yaml)",
			plain.Line(got, 40), a.Stack, a.ID, side, cfg.Environment)}
	}
	return a, nil
}

// Open is Enter, and reads the outputs of the account's stack.
func Open(ctx context.Context, cfg config.Config, side Side, loaded aws.Config) (*Account, error) {
	a, err := Enter(ctx, cfg, side, loaded)
	if err != nil {
		return nil, err
	}
	return a, a.ReadOutputs(ctx)
}

// ReadOutputs reads the outputs of the account's stack.
func (a *Account) ReadOutputs(ctx context.Context) error {
	out, err := cloudformation.NewFromConfig(a.AWS).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &a.Stack})
	var refused smithy.APIError
	switch {
	// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html: "If the stack doesn't exist, a ValidationError is returned"
	case errors.As(err, &refused) && refused.ErrorCode() == "ValidationError" && strings.Contains(refused.ErrorMessage(), "does not exist"):
		return Unusable{fmt.Errorf("there is no stack %s in account %s, %s: scripts/ops deploy --env %s makes it", a.Stack, a.ID, a.Config.Region, a.Config.Environment)}
	case err != nil:
		return fmt.Errorf("read the outputs of stack %s: %w", a.Stack, err)
	case len(out.Stacks) != 1:
		return fmt.Errorf("read the outputs of stack %s: got %d stacks, want 1", a.Stack, len(out.Stacks))
	}
	a.outputs = map[string]string{}
	for _, o := range out.Stacks[0].Outputs {
		a.outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	return nil
}

// Output is one of the stack's outputs, which has to match the pattern as a whole.
func (a *Account) Output(name, pattern string) (string, error) {
	value := a.outputs[name]
	if !regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(value) {
		return "", fmt.Errorf("output %s of stack %s is %q, want %s: scripts/ops deploy --env %s makes it anew",
			name, a.Stack, plain.Line(value, 200), pattern, a.Config.Environment)
	}
	return value, nil
}

const instanceID = `i-[0-9a-f]{8,17}`

// Server is the id of GitLab's instance.
func (a *Account) Server() (string, error) { return a.Output("ServerInstanceId", instanceID) }

// Runner is the id of the runner's instance.
func (a *Account) Runner() (string, error) { return a.Output("RunnerInstanceId", instanceID) }

// BackupBucket is the bucket that backups are in.
func (a *Account) BackupBucket() (string, error) {
	return a.Output("BackupBucketName", bucketName)
}

// ArtifactBucket is the bucket that jobs upload to.
func (a *Account) ArtifactBucket() (string, error) {
	return a.Output("ArtifactBucketName", bucketName)
}

const bucketName = `[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]`
