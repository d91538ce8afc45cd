package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/cdk"
)

// accounts is a session with both accounts, each behind a profile of its own, and a CDK that only plays its part.
type accounts struct {
	*session
	a, b *playedAccount
	cdk  *playedCDK
	tmp  string // where the command makes its folders

	mu     sync.Mutex
	events []string // calls to AWS and runs of the CDK, in their order
}

// playedAccount is one of the accounts.
type playedAccount struct {
	*awstest.Cloud
	id        string
	stack     string
	state     cfntypes.StackStatus // "" when there is no stack
	protected bool
	version   string // of the bootstrap stack; "" when there is none
	outputs   []cfntypes.Output
	events    []cfntypes.StackEvent
	left      []cfntypes.StackResourceSummary
	deletions []cfntypes.StackStatus // how each deletion ends
	template  string                 // the deployed one
}

// playedCDK writes an assembly, and says that it deploys.
type playedCDK struct {
	s           *accounts
	missing     []string
	template    string            // of GitLab's stack
	unprotected bool              // the stacks of the assembly
	open        map[string]bool   // stacks whose policy a deploy lifts
	fail        map[string]string // what the run about a stack, or the synthesis, says and fails with
	hang        map[string]bool
	synthesis   func(folder string)
	protected   []string // "GitLab-staging false": stacks that were deployed, and whether protected
	runs        []cdk.Run
}

func newAccounts(t *testing.T) *accounts {
	t.Helper()
	s := &accounts{session: newSession(t), tmp: t.TempDir()}
	t.Setenv("TMPDIR", s.tmp)
	output := func(pairs ...string) (all []cfntypes.Output) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, cfntypes.Output{OutputKey: &pairs[i], OutputValue: &pairs[i+1]})
		}
		return all
	}
	s.a = s.play(t, gitlabAccount, "GitLab-staging", output("S3EndpointId", "vpce-0a1b2c3d4e5f67890", "RunnerInstanceId", "i-0123456789abcdef0",
		"LoadBalancerDnsName", "lb-1.elb.amazonaws.com", "Url", "https://gitlab.example.com"))
	s.b = s.play(t, deployAccount, "Deploy-staging", output("ArtifactBucketName", "example-deploy-staging"))
	s.cdk = &playedCDK{s: s, template: `{"Parameters": {"Protection": {"Default": "off"}}, "Resources": {}}`, fail: map[string]string{}, hang: map[string]bool{}, open: map[string]bool{}}
	s.program.cdk = s.cdk
	s.program.open = func(_ context.Context, region, profile string) (aws.Config, error) {
		played := map[string]*playedAccount{"profile-a": s.a, "profile-b": s.b, "the profile's name": s.a}[profile]
		if played == nil || region != "ap-northeast-1" {
			return aws.Config{}, fmt.Errorf("failed to get shared config profile, %s", profile)
		}
		cfg := played.Config(region)
		calls.Watch(&cfg, func(_ context.Context, call calls.Call) error {
			var line strings.Builder
			if err := call.Print(&line); err != nil {
				return err
			}
			s.note(strings.TrimSpace(line.String()))
			return nil
		})
		return cfg, nil
	}
	return s
}

func (s *accounts) note(event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event)
}

// play plays an account with a bootstrap stack and a complete stack.
func (s *accounts) play(t *testing.T, id, stack string, outputs []cfntypes.Output) *playedAccount {
	a := &playedAccount{Cloud: awstest.New(t), id: id, stack: stack, state: cfntypes.StackStatusCreateComplete, version: "30", outputs: outputs}
	none := func(operation string) error {
		return awstest.Refusal("ValidationError", "Stack with id "+stack+" does not exist")
	}
	awstest.On(a.Cloud, func(context.Context, *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
		return &sts.GetCallerIdentityOutput{Account: &a.id}, nil
	})
	awstest.On(a.Cloud, func(context.Context, *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) {
		if a.version == "" {
			return nil, &ssmtypes.ParameterNotFound{}
		}
		return &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: &a.version}}, nil
	})
	awstest.On(a.Cloud, func(context.Context, *cloudformation.DescribeStacksInput) (*cloudformation.DescribeStacksOutput, error) {
		if a.state == "" {
			return nil, none("DescribeStacks")
		}
		return &cloudformation.DescribeStacksOutput{Stacks: []cfntypes.Stack{{StackName: &stack, StackId: aws.String(stackID(stack)),
			StackStatus: a.state, EnableTerminationProtection: &a.protected, Outputs: a.outputs}}}, nil
	})
	awstest.On(a.Cloud, func(context.Context, *cloudformation.SetStackPolicyInput) (*cloudformation.SetStackPolicyOutput, error) {
		if a.state == "" {
			return nil, none("SetStackPolicy")
		}
		return &cloudformation.SetStackPolicyOutput{}, nil
	})
	awstest.On(a.Cloud, func(_ context.Context, in *cloudformation.DescribeStackEventsInput) (*cloudformation.DescribeStackEventsOutput, error) {
		// One event a page, as a long creation has many.
		at := 0
		if in.NextToken != nil {
			at = int((*in.NextToken)[0] - '0')
		}
		out := &cloudformation.DescribeStackEventsOutput{}
		if at < len(a.events) {
			out.StackEvents = a.events[at : at+1]
		}
		if at+1 < len(a.events) {
			out.NextToken = aws.String(fmt.Sprint(at + 1))
		}
		return out, nil
	})
	awstest.On(a.Cloud, func(context.Context, *cloudformation.ListStackResourcesInput) (*cloudformation.ListStackResourcesOutput, error) {
		return &cloudformation.ListStackResourcesOutput{StackResourceSummaries: a.left}, nil
	})
	awstest.On(a.Cloud, func(context.Context, *cloudformation.UpdateTerminationProtectionInput) (*cloudformation.UpdateTerminationProtectionOutput, error) {
		a.protected = false
		return &cloudformation.UpdateTerminationProtectionOutput{}, nil
	})
	awstest.On(a.Cloud, func(context.Context, *cloudformation.DeleteStackInput) (*cloudformation.DeleteStackOutput, error) {
		if a.protected || len(a.deletions) == 0 {
			return nil, awstest.Refusal("ValidationError", "Stack cannot be deleted")
		}
		a.state, a.deletions = a.deletions[0], a.deletions[1:]
		return &cloudformation.DeleteStackOutput{}, nil
	})
	awstest.On(a.Cloud, func(context.Context, *cloudformation.GetTemplateInput) (*cloudformation.GetTemplateOutput, error) {
		if a.state == "" {
			return nil, none("GetTemplate")
		}
		return &cloudformation.GetTemplateOutput{TemplateBody: &a.template}, nil
	})
	return a
}

func stackID(stack string) string {
	return "arn:aws:cloudformation:ap-northeast-1:111111111111:stack/" + stack + "/1"
}

// failed makes the account's stack one whose creation failed.
func (a *playedAccount) failed(state cfntypes.StackStatus) {
	a.state = state
	event := func(physical, logical, resourceType string, status cfntypes.ResourceStatus, reason string) cfntypes.StackEvent {
		return cfntypes.StackEvent{StackId: aws.String("arn:1"), PhysicalResourceId: &physical, LogicalResourceId: &logical, ResourceType: &resourceType,
			ResourceStatus: status, ResourceStatusReason: &reason}
	}
	a.events = []cfntypes.StackEvent{
		event("arn:1", "", "", "ROLLBACK_COMPLETE", ""),
		event("x", "Later", "AWS::SNS::Topic", cfntypes.ResourceStatusCreateFailed, "Resource creation cancelled"),
		event("x", "ServerInstallationDone", "AWS::CloudFormation::WaitCondition", cfntypes.ResourceStatusCreateFailed, "no \x1b[31mpackage"),
		event("arn:1", "", "", cfntypes.ResourceStatusCreateInProgress, ""),
	}
	resource := func(logical, resourceType, physical string, status cfntypes.ResourceStatus) cfntypes.StackResourceSummary {
		return cfntypes.StackResourceSummary{LogicalResourceId: &logical, ResourceType: &resourceType, PhysicalResourceId: &physical, ResourceStatus: status}
	}
	a.left = []cfntypes.StackResourceSummary{
		resource("Logs", "AWS::S3::Bucket", "logs-1", cfntypes.ResourceStatusDeleteSkipped),
		resource("Attachment", "AWS::EC2::VolumeAttachment", "vol-1", cfntypes.ResourceStatusDeleteSkipped),
		resource("Vault", "AWS::Backup::BackupVault", "vault-1", cfntypes.ResourceStatusDeleteFailed),
		resource("Group", "AWS::EC2::SecurityGroup", "sg-1", cfntypes.ResourceStatusDeleteFailed),
		resource("Vpc", "AWS::EC2::VPC", "vpc-1", cfntypes.ResourceStatusDeleteComplete),
	}
	a.deletions = []cfntypes.StackStatus{cfntypes.StackStatusDeleteComplete}
}

// Script is the real one: what stands in the libraries cannot be played.
func (c *playedCDK) Script(ctx context.Context, source string, in, out any) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	return cdk.CLI{Root: root}.Script(ctx, source, in, out)
}

func (c *playedCDK) Missing() []string { return c.missing }

func (c *playedCDK) Run(ctx context.Context, run cdk.Run) error {
	c.s.note("cdk " + strings.Join(run.Args, " "))
	c.runs = append(c.runs, run)
	verb, option := run.Args[0], func(name string) string {
		if at := slices.Index(run.Args, name); at >= 0 {
			return run.Args[at+1]
		}
		return ""
	}
	said := "cdk talks about " + verb + "\n"
	end := func(err error) error {
		_, _ = fmt.Fprint(c.s.stderr, said)
		if err := os.WriteFile(run.Log, []byte(said), 0o600); err != nil {
			return err
		}
		return err
	}
	switch verb {
	case "synth":
		if text, fails := c.fail[verb]; fails {
			said += text
			return end(cdk.Failed{Status: 1})
		}
		c.synthesise(option("--output"))
	case "deploy":
		stack := run.Args[1]
		var manifest struct {
			Artifacts map[string]struct {
				Properties struct{ TerminationProtection bool }
			}
		}
		text, err := os.ReadFile(filepath.Join(option("--app"), "manifest.json"))
		if err == nil {
			err = json.Unmarshal(text, &manifest)
		}
		if err != nil {
			return end(err)
		}
		c.protected = append(c.protected, fmt.Sprint(stack, " ", manifest.Artifacts[stack].Properties.TerminationProtection))
		if c.hang[stack] {
			select {
			case <-ctx.Done():
				return end(ctx.Err())
			case <-time.After(run.Limit):
				return end(cdk.Late{Limit: run.Limit})
			}
		}
		if text, fails := c.fail[stack]; fails {
			said += text
			return end(cdk.Failed{Status: 1})
		}
	}
	return end(nil)
}

// synthesise writes an assembly.
func (c *playedCDK) synthesise(folder string) {
	write := func(name, text string) {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			panic(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			panic(err)
		}
	}
	stack := func(account string) string {
		return fmt.Sprintf(`{"type": "aws:cloudformation:stack", "environment": "aws://%s/ap-northeast-1", "properties": {"terminationProtection": %t,
			"requiresBootstrapStackVersion": 6, "bootstrapStackVersionSsmParameter": "/cdk-bootstrap/hnb659fds/version"}}`, account, !c.unprotected)
	}
	write("manifest.json", fmt.Sprintf(`{"artifacts": {"GitLab-staging": %s, "Deploy-staging": %s}}`, stack(gitlabAccount), stack(deployAccount)))
	write("GitLab-staging.template.json", c.template)
	write("Deploy-staging.template.json", `{"Resources": {}}`)
	for _, name := range []string{"GitLab-staging", "Deploy-staging"} {
		write(name+".policy.json", `{"closed": "between"}`)
		text := `{"closed": "between"}`
		if c.open[name] {
			text = `{"open": "during"}`
		}
		write(name+".deploy-policy.json", text)
	}
	if c.synthesis != nil {
		c.synthesis(folder)
	}
}

// did are the events so far, each cut after its first words.
func (s *accounts) did(words int) (short []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, event := range s.events {
		fields := strings.Fields(event)
		if fields[0] != "cdk" {
			fields = fields[:1]
		}
		short = append(short, strings.Join(fields[:min(words, len(fields))], " "))
	}
	return short
}

// runs are the CDK's of a verb, as one text each.
func (s *accounts) runs(begin string) (runs []string) {
	for _, run := range s.cdk.runs {
		if text := strings.Join(run.Args, " "); strings.HasPrefix(text, begin) {
			runs = append(runs, text)
		}
	}
	return runs
}

// policies are stack and policy of each that was set, in their order.
func (s *accounts) policies() (set []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, event := range s.events {
		if input, is := strings.CutPrefix(event, "cloudformation:SetStackPolicy "); is {
			var in struct{ StackName, StackPolicyBody string }
			if err := json.Unmarshal([]byte(input), &in); err != nil {
				panic(err)
			}
			set = append(set, in.StackName+" "+in.StackPolicyBody)
		}
	}
	return set
}

// both runs a command on both accounts.
func (s *accounts) both(t *testing.T, command string, args ...string) error {
	t.Helper()
	return s.run(t, append([]string{command, "--env", "staging", "--profile-a", "profile-a", "--profile-b", "profile-b"}, args...)...)
}

// empty fails the test when the command has left a folder behind.
func (s *accounts) leavesNothing(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(s.tmp)
	require.NoError(t, err)
	require.Empty(t, left)
}
