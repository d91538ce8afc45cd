package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/beginning"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/cdk"
	"gitlab-codedeploy/internal/deploy"
	"gitlab-codedeploy/internal/preflight"
	"gitlab-codedeploy/internal/sample"
	"gitlab-codedeploy/internal/sessions"
)

// program is what the commands need of their surroundings.
type program struct {
	stdout   io.Writer // the result
	stderr   io.Writer // progress and questions
	root     string    // the checkout
	configs  string    // the folder of the environments
	open     func(ctx context.Context, region, profile string) (aws.Config, error)
	cdk      cdk.Program
	terminal bool          // there is somebody to ask
	answer   func() string // reads a line from the terminal
	now      func() time.Time
	find     func(program string) (path string, err error) // on this machine
	plugin   func(path string) sessions.Plugin             // AWS's, for sessions
	output   func(ctx context.Context, path string, args ...string) (string, error)
	web      *http.Client
	variable func(name string) string // of the environment
	secret   func(name string) string // the same, taken out of it: no other program is to have it
	// watch looks at each call of a command in an account, if it is set.
	watch func(ctx context.Context, side account.Side, call calls.Call) error
}

// declared is a command with the calls that it makes in each account, beyond those that open the account.
type declared struct {
	command *cobra.Command
	calls   map[account.Side][]string
}

// commands are all of them, by their names.
func (p *program) commands() []declared {
	return []declared{
		{p.init(), map[account.Side][]string{account.GitLab: beginning.GitLabCalls, account.Deploy: beginning.DeployCalls}},
		{p.check(), inGitLab("ssm:DescribeInstanceInformation", "ec2:DescribeInstances", "ec2:DescribeVpcEndpoints",
			"iam:GetInstanceProfile", "iam:ListAttachedRolePolicies")},
		{p.connect(), inGitLab("ssm:StartSession", "ssm:TerminateSession")},
		{p.forward(), inGitLab("ssm:StartSession", "ssm:TerminateSession")},
		{p.rootPassword(), inGitLab("secretsmanager:GetSecretValue")},
		{p.status(), inGitLab(append([]string{"ssm:DescribeInstanceInformation", "s3:ListObjectsV2", "elasticloadbalancing:DescribeLoadBalancers",
			"elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth"}, runsOperations...)...)},
		{p.backups(), inGitLab("s3:ListObjectsV2", "s3:GetObject")},
		{p.hostProgram(), nil},
		{p.doctor(), doctorCalls()},
		{p.sample(), map[account.Side][]string{account.Deploy: append([]string{"cloudformation:DescribeStacks"}, sample.Calls...)}},
		{p.policy(), map[account.Side][]string{account.GitLab: {}, account.Deploy: {}}},
		{p.diff(), map[account.Side][]string{account.GitLab: {"cloudformation:GetTemplate"}, account.Deploy: {"cloudformation:GetTemplate"}}},
		{p.pipeline(), map[account.Side][]string{account.GitLab: {"cloudformation:GetTemplate"}, account.Deploy: {"cloudformation:GetTemplate"}}},
		{p.deploy(), map[account.Side][]string{
			account.GitLab: append(preflight.Actions(preflight.A), deploy.Calls...),
			account.Deploy: append(preflight.Actions(preflight.B), deploy.Calls...),
		}},
		{p.backup(), inGitLab(runsOperations...)},
		{p.restore(), inGitLab(runsOperations...)},
		{p.configure(), inGitLab(runsOperations...)},
		{p.reindex(), inGitLab(runsOperations...)},
		{p.resetTokens(), inGitLab(runsOperations...)},
		{p.registerRunner(), inGitLab(append([]string{"ssm:DeleteParameter"}, runsOperations...)...)},
		{p.unregisterRunner(), inGitLab(runsOperations...)},
		{p.upgrade(), inGitLab(runsOperations...)},
		{p.upgradeRunner(), inGitLab(runsOperations...)},
		{p.trust(), inGitLab(runsOperations...)},
		{p.deployments(), inDeploy("s3:ListObjectsV2", "s3:GetObject states", "codedeploy:ListDeploymentGroups", "codedeploy:ListDeployments", "codedeploy:BatchGetDeployments")},
		{p.redrive(), inDeploy("sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:ListMessageMoveTasks", "sqs:StartMessageMoveTask", "s3:HeadObject", "lambda:Invoke")},
		{p.rollback(), orderCalls()},
		{p.promote(), orderCalls()},
		{p.pause(), orderCalls()},
		{p.resume(), orderCalls()},
		{p.logs(), logCalls},
	}
}

// runsOperations are the calls of what starts an operation on a host and follows it.
var runsOperations = []string{"ssm:SendCommand", "ssm:GetCommandInvocation"}

func inGitLab(calls ...string) map[account.Side][]string {
	return map[account.Side][]string{account.GitLab: calls}
}

func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "ops",
		Short: "Operate a GitLab and what deploys its artifacts",
		Long: `What an operator does from a laptop: in GitLab's account, and in the one that
artifacts are deployed in. The result goes to stdout, progress and questions to stderr.

Exit status:

    0  done
    1  failed, refused by AWS, or not confirmed
    2  wrong use, configuration or credentials; nothing was done
    3  no end within the time-out; what was begun goes on`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("no command %q; scripts/ops --help lists them", args[0])}
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("got no command; scripts/ops --help lists them")}
		},
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, d := range p.commands() {
		knowing(d.command.Name(), d.command)
		p.completing(d.command)
		root.AddCommand(d.command)
	}
	return root
}

// log prints a line of progress.
func (p *program) log(format string, values ...any) {
	_, _ = fmt.Fprintf(p.stderr, "%s %s\n", p.now().UTC().Format(time.RFC3339), fmt.Sprintf(format, values...))
}
