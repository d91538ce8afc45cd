package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/deploy"
)

// deploy deploys both accounts without asking, and without preflight, which has tests of its own.
func (s *accounts) deploy(t *testing.T, args ...string) error {
	t.Helper()
	return s.both(t, "deploy", append([]string{"--yes", "--skip-preflight"}, args...)...)
}

// nothingWasChanged fails the test when a run of the CDK has changed an account, or a call has.
func (s *accounts) nothingWasChanged(t *testing.T) {
	t.Helper()
	assert.Empty(t, s.runs("deploy"))
	assert.Empty(t, s.runs("bootstrap"))
	for _, event := range s.did(1) {
		assert.NotContains(t, event, "DeleteStack")
		assert.NotContains(t, event, "UpdateTerminationProtection")
	}
}

func TestS15_BothStacksAreDeployedFromOneSynthesisAFirst(t *testing.T) {
	s := newAccounts(t)
	require.NoError(t, s.deploy(t))
	assert.Equal(t, strings.Fields(`cdk_synth sts:GetCallerIdentity sts:GetCallerIdentity ssm:GetParameter ssm:GetParameter
		cloudformation:DescribeStacks cloudformation:SetStackPolicy cdk_deploy_GitLab-staging cloudformation:SetStackPolicy cloudformation:DescribeStacks
		cloudformation:DescribeStacks cloudformation:SetStackPolicy cdk_deploy_Deploy-staging cloudformation:SetStackPolicy
		cloudformation:DescribeStacks cloudformation:DescribeStacks`), underscored(s.did(3)))
	app := s.runs("synth")[0]
	app = app[strings.Index(app, "--output ")+len("--output "):]
	assert.True(t, strings.HasPrefix(app, filepath.Join(s.tmp, "ops-deploy.")) && strings.HasSuffix(app, "/assembly"), app)
	assert.Contains(t, s.runs("deploy GitLab-staging")[0], "--app "+app+" --exclusively --profile profile-a ")
	assert.Contains(t, s.runs("deploy Deploy-staging")[0], "--app "+app+" --exclusively --profile profile-b ")
}

// underscored is a list of events in which the runs of the CDK are one word, without the option that follows the verb.
func underscored(events []string) (words []string) {
	for _, event := range events {
		event, _, _ = strings.Cut(event, " --")
		words = append(words, strings.ReplaceAll(event, " ", "_"))
	}
	return words
}

func TestS9_TheEndpointOfAccountABecomesTheParameterOfB(t *testing.T) {
	s := newAccounts(t)
	require.NoError(t, s.deploy(t))
	assert.Contains(t, s.runs("deploy Deploy-staging")[0]+" ", " --parameters Deploy-staging:SourceVpceId=vpce-0a1b2c3d4e5f67890 ")
	assert.NotContains(t, s.runs("deploy GitLab-staging")[0], "SourceVpceId")
}

func TestS15_StdoutIsOneObjectWithTheOutputsAndTheTalkIsOnStderr(t *testing.T) {
	s := newAccounts(t)
	require.NoError(t, s.deploy(t))
	assert.Equal(t, `{
  "GitLab-staging": {
    "S3EndpointId": "vpce-0a1b2c3d4e5f67890",
    "RunnerInstanceId": "i-0123456789abcdef0",
    "LoadBalancerDnsName": "lb-1.elb.amazonaws.com",
    "Url": "https://gitlab.example.com"
  },
  "Deploy-staging": {
    "ArtifactBucketName": "example-deploy-staging"
  }
}
`, s.out.String())
	for _, want := range []string{
		"cdk talks about deploy", "deploying GitLab-staging to account 111111111111 in ap-northeast-1 as profile-a: done in 0 s",
		"point gitlab.example.com at lb-1.elb.amazonaws.com", "scripts/ops root-password --env staging --profile profile-a --show",
		"scripts/ops register-runner --env staging --profile profile-a", "ARTIFACT_BUCKET to example-deploy-staging",
	} {
		assert.Contains(t, s.err.String(), want)
	}
}

func TestS6_WithARecordOfTheStacksOwnNoneIsAskedFor(t *testing.T) {
	s := newAccounts(t)
	s.cdk.template = `{"Resources": {"Alias": {"Type": "AWS::Route53::RecordSet"}}}`
	require.NoError(t, s.deploy(t))
	assert.NotContains(t, s.err.String(), "DNS:")
}

func TestS15_ASuccessfulDeployLeavesNoTemporaryFilesAndWorkKeepsThem(t *testing.T) {
	s := newAccounts(t)
	require.NoError(t, s.deploy(t))
	s.leavesNothing(t)

	t.Chdir(t.TempDir())
	require.NoError(t, s.deploy(t, "--work", "kept here"))
	for file, want := range map[string]string{
		"deploy-GitLab-staging.log": "cdk talks about deploy", "deploy-Deploy-staging.log": "cdk talks about deploy", "assembly/manifest.json": "artifacts",
	} {
		text, err := os.ReadFile(filepath.Join("kept here", file))
		require.NoError(t, err)
		assert.Contains(t, string(text), want)
	}
}

func TestS15_TheMethodGoesToBothDeploymentsAndChangeSetIsTheDefault(t *testing.T) {
	for method, args := range map[string][]string{"change-set": nil, "direct": {"--method", "direct"}} {
		s := newAccounts(t)
		require.NoError(t, s.deploy(t, args...))
		require.Len(t, s.runs("deploy"), 2)
		for _, run := range s.runs("deploy") {
			assert.Contains(t, run, " --method "+method+" ")
		}
	}
}

func TestS15_WrongCredentialsAreNamedBeforeAnyChange(t *testing.T) {
	expired := func(context.Context, *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
		return nil, awstest.Refusal("ExpiredToken", "The security token included in the request is expired")
	}
	const swapped = "--profile-a and --profile-b are swapped"
	ofA := func(got string) string {
		return "profile profile-a is of account " + got + ", but GitLab-staging belongs to account 111111111111 (gitlab.account in config/staging.yaml)"
	}
	ofB := func(got string) string {
		return "profile profile-b is of account " + got + ", but Deploy-staging belongs to account 222222222222 (deploy.account in config/staging.yaml)"
	}
	for name, tt := range map[string]struct {
		change func(*accounts)
		args   []string
		want   []string
		not    []string
	}{
		"both of another account": {change: func(s *accounts) { s.a.id, s.b.id = "333333333333", "444444444444" },
			want: []string{ofA("333333333333"), ofB("444444444444")}, not: []string{swapped}},
		"one is enough": {change: func(s *accounts) { s.b.id = gitlabAccount }, want: []string{ofB(gitlabAccount)}, not: []string{"profile-a is of", swapped}},
		"swapped":       {change: func(s *accounts) { s.a.id, s.b.id = s.b.id, s.a.id }, want: []string{ofA(deployAccount), ofB(gitlabAccount), swapped}},
		"expired": {change: func(s *accounts) { awstest.On(s.a.Cloud, expired) }, want: []string{
			"profile profile-a gives no credentials for account 111111111111 (gitlab.account in config/staging.yaml)", "AWS says: ", "ExpiredToken", "is expired",
			"aws sso login --profile profile-a"}, not: []string{"profile-b gives"}},
		"no such profile": {args: []string{"--profile-b", "no one"}, want: []string{"profile no one gives no credentials for account 222222222222", "failed to get shared config profile, no one",
			"aws sso login --profile 'no one'"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAccounts(t)
			if tt.change != nil {
				tt.change(s)
			}
			assert.Equal(t, 2, exitStatus(s.deploy(t, tt.args...)))
			assert.Empty(t, s.out.String())
			for _, want := range tt.want {
				assert.Contains(t, s.err.String(), want)
			}
			for _, not := range tt.not {
				assert.NotContains(t, s.err.String(), not)
			}
			s.nothingWasChanged(t)
			s.leavesNothing(t)
		})
	}
}

// unasked plays every call of preflight as one that lacks the right: it stops no deploy.
func unasked(a *playedAccount) {
	withoutRight[ec2.DescribeAvailabilityZonesInput, ec2.DescribeAvailabilityZonesOutput](a)
	withoutRight[ec2.DescribeVpcsInput, ec2.DescribeVpcsOutput](a)
	withoutRight[ec2.DescribeAddressesInput, ec2.DescribeAddressesOutput](a)
	withoutRight[ec2.DescribeNatGatewaysInput, ec2.DescribeNatGatewaysOutput](a)
	withoutRight[ec2.DescribeSubnetsInput, ec2.DescribeSubnetsOutput](a)
	withoutRight[ec2.DescribeImagesInput, ec2.DescribeImagesOutput](a)
	withoutRight[ec2.DescribeInstancesInput, ec2.DescribeInstancesOutput](a)
	withoutRight[ec2.DescribeInstanceTypesInput, ec2.DescribeInstanceTypesOutput](a)
	withoutRight[ec2.DescribeInstanceTypeOfferingsInput, ec2.DescribeInstanceTypeOfferingsOutput](a)
	withoutRight[ec2.DescribeVolumesInput, ec2.DescribeVolumesOutput](a)
	withoutRight[servicequotas.GetServiceQuotaInput, servicequotas.GetServiceQuotaOutput](a)
	withoutRight[servicequotas.GetAWSDefaultServiceQuotaInput, servicequotas.GetAWSDefaultServiceQuotaOutput](a)
	withoutRight[acm.DescribeCertificateInput, acm.DescribeCertificateOutput](a)
	withoutRight[route53.GetHostedZoneInput, route53.GetHostedZoneOutput](a)
	withoutRight[iam.GetRoleInput, iam.GetRoleOutput](a)
	withoutRight[iam.GetOpenIDConnectProviderInput, iam.GetOpenIDConnectProviderOutput](a)
	withoutRight[s3.HeadBucketInput, s3.HeadBucketOutput](a)
	withoutRight[s3.ListBucketsInput, s3.ListBucketsOutput](a)
	withoutRight[codedeploy.BatchGetDeploymentGroupsInput, codedeploy.BatchGetDeploymentGroupsOutput](a)
	withoutRight[cloudformation.DescribeStackResourcesInput, cloudformation.DescribeStackResourcesOutput](a)
}

func withoutRight[In, Out any](a *playedAccount) {
	awstest.On(a.Cloud, func(context.Context, *In) (*Out, error) { return nil, awstest.Refusal("AccessDenied", "no") })
}

func expiredCertificate(s *accounts) {
	awstest.On(s.a.Cloud, func(context.Context, *acm.DescribeCertificateInput) (*acm.DescribeCertificateOutput, error) {
		return &acm.DescribeCertificateOutput{Certificate: &acmtypes.CertificateDetail{Status: acmtypes.CertificateStatusExpired}}, nil
	})
}

func TestS15_WhatADeployWouldFailOnIsAskedBeforeAnyChange(t *testing.T) {
	s := newAccounts(t)
	unasked(s.a)
	unasked(s.b)
	expiredCertificate(s)
	s.a.version = ""
	err := s.both(t, "deploy", "--yes")
	assert.Equal(t, 2, exitStatus(err))
	assert.Empty(t, s.out.String())
	assert.Contains(t, s.err.String(), `certificateArn: got a certificate that is "EXPIRED", want one that is ISSUED`)
	assert.ErrorContains(t, err, "nothing was changed; fix what stands above, or pass --skip-preflight")
	did := s.did(2)
	assert.Equal(t, []string{"cdk synth", "sts:GetCallerIdentity", "sts:GetCallerIdentity"}, did[:3])
	assert.NotContains(t, did, "ssm:GetParameter")
	s.nothingWasChanged(t)
	s.leavesNothing(t)

	t.Run("and goes on when nothing is wrong", func(t *testing.T) {
		s := newAccounts(t)
		unasked(s.a)
		unasked(s.b)
		require.NoError(t, s.both(t, "deploy", "--yes", "--work", t.TempDir()))
		assert.Len(t, s.runs("deploy"), 2)
		assert.Contains(t, s.err.String(), "which does not stop a deploy")
	})
}

func TestS15_WithOnlyThatAccountAloneIsAsked(t *testing.T) {
	s := newAccounts(t)
	unasked(s.a)
	require.NoError(t, s.run(t, "deploy", "--env", "staging", "--only", "a", "--profile-a", "profile-a", "--yes"))
	assert.Contains(t, s.a.Names(), "ec2:DescribeImages")
	assert.Empty(t, s.b.Calls())

	s = newAccounts(t)
	unasked(s.b)
	require.NoError(t, s.run(t, "deploy", "--env", "staging", "--only", "b", "--profile-b", "profile-b", "--yes"))
	assert.Contains(t, s.b.Names(), "codedeploy:BatchGetDeploymentGroups")
	assert.Empty(t, s.a.Calls())
}

func TestS15_SkipPreflightAsksNothingAndWarnsAndYesAloneDoesNotSkipIt(t *testing.T) {
	s := newAccounts(t)
	unasked(s.a)
	unasked(s.b)
	expiredCertificate(s)
	assert.Equal(t, 2, exitStatus(s.both(t, "deploy", "--yes")))
	before := len(s.a.Calls())
	require.NoError(t, s.deploy(t))
	assert.Contains(t, s.err.String(), "warning: --skip-preflight")
	for _, call := range s.a.Calls()[before:] {
		assert.NotEqual(t, "acm", call.Service)
	}
	s.out.Reset()
	require.NoError(t, s.both(t, "deploy", "--skip-preflight", "--dry-run"))
	assert.NotContains(t, s.out.String(), "preflight")
}

func TestS15_AnAccountIsBootstrappedWhereItMustBe(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*accounts)
		want   []string
		said   string
	}{
		"as it is needed": {change: func(s *accounts) { s.a.version = "6" }},
		"none yet": {change: func(s *accounts) { s.b.version = "" }, said: "none yet",
			want: []string{"bootstrap aws://222222222222/ap-northeast-1 --app ASSEMBLY --profile profile-b --no-color"}},
		"too old": {change: func(s *accounts) { s.a.version = "5" }, said: "version 5, and 6 is needed",
			want: []string{"bootstrap aws://111111111111/ap-northeast-1 --app ASSEMBLY --profile profile-a --no-color"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAccounts(t)
			tt.change(s)
			work := t.TempDir()
			require.NoError(t, s.deploy(t, "--work", work))
			var runs []string
			for _, run := range s.runs("bootstrap") {
				runs = append(runs, strings.ReplaceAll(run, filepath.Join(work, "assembly"), "ASSEMBLY"))
			}
			assert.Equal(t, tt.want, runs)
			assert.Contains(t, s.err.String(), tt.said)
			order := append(s.runs("bootstrap"), s.runs("deploy")...)
			var happened []string
			for _, run := range s.cdk.runs[1:] {
				happened = append(happened, strings.Join(run.Args, " "))
			}
			assert.Equal(t, order, happened, "before anything is deployed")
		})
	}
}

func TestS15_ABootstrapVersionThatCannotBeKnownIsNoReasonToBootstrap(t *testing.T) {
	s := newAccounts(t)
	withoutRight[ssm.GetParameterInput, ssm.GetParameterOutput](s.a)
	err := s.deploy(t)
	assert.Equal(t, 1, exitStatus(err))
	assert.ErrorContains(t, err, "read /cdk-bootstrap/hnb659fds/version in account 111111111111 as profile-a")
	assert.ErrorContains(t, err, "AccessDenied")
	s.nothingWasChanged(t)

	s = newAccounts(t)
	s.a.version = "new\x1b[2J"
	assert.ErrorContains(t, s.deploy(t), `is "new", not a number`)
	s.nothingWasChanged(t)
}

func TestS15_WhatFailsIsNamedWithItsLog(t *testing.T) {
	s := newAccounts(t)
	s.cdk.fail["GitLab-staging"] = "no such luck\n"
	assert.Equal(t, 1, exitStatus(s.deploy(t)))
	assert.Empty(t, s.out.String())
	assert.Empty(t, s.runs("deploy Deploy-staging"), "B is not touched when A fails")
	assert.Contains(t, s.err.String(), "error: deploying GitLab-staging to account 111111111111 in ap-northeast-1 as profile-a: failed with status 1 after 0 s; log: ")
	log := s.err.String()[strings.LastIndex(s.err.String(), "log: ")+len("log: "):]
	text, err := os.ReadFile(strings.SplitN(log, "\n", 2)[0])
	require.NoError(t, err, "a failure keeps its folder")
	assert.Contains(t, string(text), "no such luck")

	s = newAccounts(t)
	s.cdk.fail["Deploy-staging"] = "no such luck\n"
	assert.Equal(t, 1, exitStatus(s.deploy(t)))
	assert.Empty(t, s.out.String())
	assert.Contains(t, s.err.String(), "error: deploying Deploy-staging to account 222222222222")
}

func TestS3_AnOutputThatIsNoEndpointNeverReachesB(t *testing.T) {
	for _, id := range []string{"None", "", "vpc-0a1b2c3d", "vpce-0a1b2c3d vpce-4e5f6789", "vpce-0a1b2c3d'; x"} {
		s := newAccounts(t)
		s.a.outputs = []cfntypes.Output{{OutputKey: aws.String("S3EndpointId"), OutputValue: &id}}
		err := s.deploy(t)
		assert.Equal(t, 1, exitStatus(err))
		assert.ErrorContains(t, err, fmt.Sprintf("S3EndpointId of GitLab-staging is %q, not the id of a VPC endpoint; Deploy-staging was not touched", id))
		assert.Empty(t, s.runs("deploy Deploy-staging"))
	}
}

const closedPolicy, openPolicy = ` {"closed": "between"}`, ` {"open": "during"}`

func TestS5_EachStackHasItsPolicyBeforeItsDeployAndAfterIt(t *testing.T) {
	s := newAccounts(t)
	require.NoError(t, s.deploy(t))
	assert.Equal(t, []string{"GitLab-staging" + closedPolicy, "GitLab-staging" + closedPolicy, "Deploy-staging" + closedPolicy, "Deploy-staging" + closedPolicy}, s.policies())
	assert.NotContains(t, s.err.String(), "allowReplacement")
}

func TestS5_AStackThatIsNotThereYetGetsItsPolicyAfterItsDeploy(t *testing.T) {
	s := newAccounts(t)
	awstest.On(s.a.Cloud, func(context.Context, *cloudformation.SetStackPolicyInput) (*cloudformation.SetStackPolicyOutput, error) {
		return nil, awstest.Refusal("ValidationError", "Stack [GitLab-staging] does not exist")
	})
	require.NoError(t, s.deploy(t))
	policies := s.policies()
	assert.Equal(t, "Deploy-staging"+closedPolicy, policies[len(policies)-1])
}

func TestS5_WithoutTheRightToSetAPolicyNothingIsDeployed(t *testing.T) {
	s := newAccounts(t)
	withoutRight[cloudformation.SetStackPolicyInput, cloudformation.SetStackPolicyOutput](s.a)
	err := s.deploy(t)
	assert.Equal(t, 1, exitStatus(err))
	assert.ErrorContains(t, err, "set the policy of GitLab-staging: ")
	assert.ErrorContains(t, err, "AccessDenied")
	s.nothingWasChanged(t)
}

func TestS5_AllowReplacementLiftsThePolicyForThisDeploy(t *testing.T) {
	s := newAccounts(t)
	s.cdk.open["GitLab-staging"] = true
	require.NoError(t, s.deploy(t))
	assert.Contains(t, s.err.String(), "config/staging.yaml has allowReplacement: this deploy may replace or delete what holds data in GitLab-staging")
	assert.NotContains(t, s.err.String(), "holds data in Deploy-staging")
	assert.Equal(t, []string{"GitLab-staging" + openPolicy, "GitLab-staging" + closedPolicy}, s.policies()[:2])
}

func TestS5_ALiftedPolicyIsAskedForAndANoDeploysNothing(t *testing.T) {
	s := newAccounts(t)
	s.cdk.open["GitLab-staging"] = true
	s.answer = func() string { return "n" }
	err := s.both(t, "deploy", "--skip-preflight")
	assert.Equal(t, 1, exitStatus(err))
	assert.Contains(t, s.err.String(), "Let CloudFormation replace or delete what it has to in GitLab-staging of account 111111111111? [y/N]")
	assert.ErrorContains(t, err, "not confirmed; GitLab-staging was not deployed")
	s.nothingWasChanged(t)
	assert.Empty(t, s.policies())
}

func TestS5_AfterAFailedDeployTheStackHasItsPolicyBack(t *testing.T) {
	s := newAccounts(t)
	s.cdk.open["GitLab-staging"] = true
	s.cdk.fail["GitLab-staging"] = ""
	assert.Equal(t, 1, exitStatus(s.deploy(t)))
	assert.Equal(t, []string{"GitLab-staging" + openPolicy, "GitLab-staging" + closedPolicy}, s.policies())
}

func TestS5_ADeployThatTakesTooLongSaysThatThePolicyIsStillLifted(t *testing.T) {
	s := newAccounts(t)
	s.cdk.open["GitLab-staging"] = true
	s.cdk.hang["GitLab-staging"] = true
	assert.Equal(t, 1, exitStatus(s.deploy(t, "--timeout", "1")))
	assert.Equal(t, []string{"GitLab-staging" + openPolicy}, s.policies())
	assert.Contains(t, s.err.String(), "the policy of GitLab-staging is still lifted")
}

func TestS5_ARefusalOfCloudFormationsIsExplained(t *testing.T) {
	s := newAccounts(t)
	s.cdk.fail["GitLab-staging"] = "GitLab-staging | Action denied by stack policy: Statement [#2] does not allow [Update:Replace] for resource [ServerInstance]"
	assert.Equal(t, 1, exitStatus(s.deploy(t)))
	assert.Regexp(t, "CloudFormation refused to replace or delete what holds data.*docs/changes.md.*docs/recovery.md", s.err.String())
}

func TestS15_AWebPageThatTheCDKGetsIsExplained(t *testing.T) {
	s := newAccounts(t)
	s.cdk.fail["GitLab-staging"] = "@aws-sdk XML parse error: mismatched tags <html> and </title>."
	assert.Equal(t, 1, exitStatus(s.deploy(t)))
	assert.Contains(t, s.err.String(), "AWS's answer was a web page")
	assert.Contains(t, s.err.String(), "--method direct")
}

func TestS15_AMistakeOfTheConfigurationIsShownAsItIs(t *testing.T) {
	s := newAccounts(t)
	s.cdk.fail["synth"] = `environment: got "nope", want one of local, staging (the .yaml files in config)`
	err := s.run(t, "deploy", "--env", "nope", "--profile-a", "profile-a", "--profile-b", "profile-b", "--yes")
	assert.Equal(t, 2, exitStatus(err))
	assert.Contains(t, s.err.String(), s.cdk.fail["synth"])
	assert.Contains(t, s.runs("synth")[0], "env=nope")
	assert.Len(t, s.events, 1, "nothing else was asked")
	s.leavesNothing(t)
}

func TestS15_WithoutYesAndWithoutATerminalNothingIsCalled(t *testing.T) {
	s := newAccounts(t)
	s.terminal = false
	err := s.both(t, "deploy")
	assert.Equal(t, 2, exitStatus(err))
	assert.ErrorContains(t, err, "pass --yes")
	assert.Empty(t, s.events)
}

func TestS15_OnATerminalTheCDKAsksBeforePermissionsAreWidened(t *testing.T) {
	for _, tt := range []struct {
		approval       string
		args           []string
		terminal, asks bool
	}{
		{"broadening", nil, true, true}, {"never", []string{"--yes"}, true, true}, {"never", []string{"--yes"}, false, false},
	} {
		s := newAccounts(t)
		s.terminal = tt.terminal
		require.NoError(t, s.both(t, "deploy", append([]string{"--skip-preflight"}, tt.args...)...))
		require.Len(t, s.runs("deploy"), 2)
		for i, run := range s.runs("deploy") {
			assert.Contains(t, run, " --require-approval "+tt.approval+" ")
			assert.Equal(t, !tt.terminal, strings.Contains(run, " --ci"), "all talk on one channel where nobody looks")
			assert.Equal(t, tt.asks, s.cdk.runs[1+i].Asks)
		}
		assert.False(t, s.cdk.runs[0].Asks, "a synthesis asks nothing")
	}
}

func TestS15_ABootstrapIsAskedForAndANoChangesNothing(t *testing.T) {
	s := newAccounts(t)
	s.a.version = ""
	s.answer = func() string { return "n" }
	assert.Equal(t, 1, exitStatus(s.both(t, "deploy", "--skip-preflight")))
	assert.Contains(t, s.err.String(), "Account 111111111111, ap-northeast-1: bootstrap stack: none yet. Let the CDK deploy it? [y/N]")
	s.nothingWasChanged(t)
	s.answer = func() string { return "y" }
	require.NoError(t, s.both(t, "deploy", "--skip-preflight"))
	assert.Len(t, s.runs("bootstrap aws://111111111111"), 1)
}

func TestS15_ADryRunCallsNothingButTheSynthesisAndNeedsNoCredentials(t *testing.T) {
	s := newAccounts(t)
	s.terminal = false
	s.open = func(context.Context, string, string) (aws.Config, error) {
		t.Error("no account is opened")
		return aws.Config{}, nil
	}
	require.NoError(t, s.both(t, "deploy", "--dry-run"))
	assert.Equal(t, []string{"cdk synth"}, s.did(2))
	assert.Regexp(t, `(?m)^cdk deploy Deploy-staging --app .* --parameters .*Deploy-staging:SourceVpceId=<S3EndpointId>`, s.out.String())
	assert.Contains(t, s.out.String(), "preflight")
	s.leavesNothing(t)
}

// What a dry run prints is what a deploy does, in its order.
func TestS15_WhatADryRunPrintsIsWhatADeployDoes(t *testing.T) {
	s := newAccounts(t)
	work := t.TempDir()
	args := []string{"deploy", "--env", "staging", "--profile-a", "the profile's name", "--profile-b", "profile-b", "--yes", "--skip-preflight", "--work", work}
	require.NoError(t, s.run(t, args...))
	did := append([]string{}, s.events...)
	s.out.Reset()
	require.NoError(t, s.run(t, append(args, "--dry-run")...))
	var printed []string
	for line := range strings.Lines(s.out.String()) {
		if !strings.HasPrefix(line, "#") {
			line = strings.NewReplacer(`"the profile's name"`, "the profile's name", "'Deploy-staging:SourceVpceId=<S3EndpointId>'", "Deploy-staging:SourceVpceId=vpce-0a1b2c3d4e5f67890").Replace(line)
			printed = append(printed, strings.TrimSpace(line))
		}
	}
	assert.Equal(t, did, printed)
}

func TestS15_AnAccountAThatTakesTooLongIsStoppedAndNamed(t *testing.T) {
	s := newAccounts(t)
	s.cdk.hang["GitLab-staging"] = true
	assert.Equal(t, 1, exitStatus(s.deploy(t, "--timeout", "1")))
	assert.Regexp(t, `error: deploying GitLab-staging .*: not finished after 1 s \(--timeout\). CloudFormation may go on; log: `, s.err.String())
	assert.Empty(t, s.runs("deploy Deploy-staging"))
}

func TestS15_AnInterruptedDeploySaysWhatCloudFormationDoes(t *testing.T) {
	s := newAccounts(t)
	s.cdk.hang["GitLab-staging"] = true
	s.cdk.open["GitLab-staging"] = true
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		root := s.command()
		root.SetArgs([]string{"deploy", "--env", "staging", "--profile-a", "profile-a", "--profile-b", "profile-b", "--yes", "--skip-preflight"})
		err := root.ExecuteContext(ctx)
		assert.Equal(t, 143, exitStatus(err))
		assert.Empty(t, message(ctx, err))
	})
	assert.Regexp(t, "interrupted while deploying GitLab-staging .*; logs are in "+s.tmp, s.err.String())
	assert.Contains(t, s.err.String(), "CloudFormation finishes what it has begun")
	assert.Contains(t, s.err.String(), "the policy of GitLab-staging is still lifted")
	assert.Empty(t, s.runs("deploy Deploy-staging"))
}

func TestS15_WrongUseOfDeployIsNamedAndCallsNothing(t *testing.T) {
	profiles := " --profile-a a --profile-b b"
	for args, want := range map[string]string{
		"deploy":                               "missing: --env --profile-a --profile-b",
		"deploy --env staging --profile-a a":   "missing: --profile-b",
		"deploy --env staging --profile-b":     "flag needs an argument: --profile-b",
		"deploy --env staging --force":         "unknown flag: --force",
		"deploy staging":                       `unknown command "staging"`,
		"destroy":                              `no command "destroy"`,
		"../ops":                               `no command "../ops"`,
		"deploy --env s --method hope":         "",
		"deploy --env s --yes --only ab":       "--only: want a or b, got \"ab\"",
		"deploy --env s --assembly no/such":    "",
		"deploy --env s --timeout 2h":          "",
		"deploy --env s --timeout 0":           "",
		"deploy --env s --endpoint vpce-01234": "",
	} {
		if want == "" {
			option := strings.Fields(args)[3]
			want = map[string]string{
				"--method": `--method: want change-set or direct, got "hope"`, "--assembly": "--assembly: no/such/manifest.json does not exist; cdk synth --output makes it",
				"--timeout": `--timeout: want seconds, got "` + strings.Fields(args)[4] + `"`, "--endpoint": "--endpoint is for --only b: otherwise it is read from account A",
			}[option]
			args += profiles
		}
		s := newAccounts(t)
		err := s.run(t, strings.Fields(args)...)
		assert.Equal(t, 2, exitStatus(err), args)
		assert.ErrorContains(t, err, want, args)
		assert.Empty(t, s.out.String())
		assert.Empty(t, s.events)
	}
	s := newAccounts(t)
	err := s.both(t, "deploy", "--yes", "--only", "b", "--endpoint", "vpc-1")
	assert.ErrorContains(t, err, `--endpoint: want the id of a VPC endpoint, got "vpc-1"`)
	assert.Equal(t, 2, exitStatus(err))
	assert.Empty(t, s.events)
}

func TestS15_AllMissingToolsAreNamed(t *testing.T) {
	s := newAccounts(t)
	s.cdk.missing = []string{"cdk", "go", "node"}
	err := s.deploy(t)
	assert.Equal(t, 2, exitStatus(err))
	assert.ErrorContains(t, err, "not installed: cdk go node; make setup")
	assert.Empty(t, s.events)
}

func TestS15_OpsListsItsCommandsAndEachHasAHelp(t *testing.T) {
	s := newAccounts(t)
	require.NoError(t, s.run(t, "--help"))
	assert.Regexp(t, `(?m)^  deploy +Deploys? GitLab to account A`, s.out.String())
	s.out.Reset()
	require.NoError(t, s.run(t, "deploy", "--help"))
	assert.Contains(t, s.out.String(), "ops deploy --env NAME")
}

func TestS15_OnlyADeploysAccountAWithOneProfile(t *testing.T) {
	s := newAccounts(t)
	require.NoError(t, s.run(t, "deploy", "--env", "staging", "--only", "a", "--profile-a", "profile-a", "--yes", "--skip-preflight"))
	var result map[string]map[string]string
	require.NoError(t, json.Unmarshal(s.out.Bytes(), &result))
	assert.Len(t, result, 1)
	assert.Equal(t, "vpce-0a1b2c3d4e5f67890", result["GitLab-staging"]["S3EndpointId"])
	assert.Len(t, s.cdk.runs, 2)
	assert.Empty(t, s.b.Calls())
}

func TestS9_OnlyBTakesTheEndpointThatItIsToldOrLeavesTheOneThatIsThere(t *testing.T) {
	only := []string{"deploy", "--env", "staging", "--only", "b", "--profile-b", "profile-b", "--yes", "--skip-preflight"}
	s := newAccounts(t)
	require.NoError(t, s.run(t, append(only, "--endpoint", "vpce-0123456789abcdef0")...))
	assert.Contains(t, s.runs("deploy Deploy-staging")[0]+" ", " --parameters Deploy-staging:SourceVpceId=vpce-0123456789abcdef0 ")
	assert.Empty(t, s.runs("deploy GitLab-staging"))
	assert.Empty(t, s.a.Calls())
	s = newAccounts(t)
	require.NoError(t, s.run(t, only...))
	assert.NotContains(t, s.runs("deploy Deploy-staging")[0], "--parameters")
}

func TestS15_AnAssemblyIsDeployedWithoutASynthesis(t *testing.T) {
	s := newAccounts(t)
	t.Chdir(t.TempDir())
	s.cdk.synthesise("reviewed state")
	require.NoError(t, s.deploy(t, "--assembly", "reviewed state"))
	folder, err := filepath.Abs("reviewed state")
	require.NoError(t, err)
	assert.Empty(t, s.runs("synth"))
	require.Len(t, s.runs("deploy"), 2)
	for _, run := range s.runs("deploy") {
		assert.Contains(t, run, " --app "+folder+" --exclusively")
	}
}

func TestS15_ANewStackIsCreatedUnprotectedAndProtectedByASecondUpdate(t *testing.T) {
	s := newAccounts(t)
	s.becomesWhenDeployed(t)
	require.NoError(t, s.deploy(t))
	assert.Equal(t, []string{"GitLab-staging false", "GitLab-staging true", "Deploy-staging false", "Deploy-staging true"}, s.cdk.protected)
	first, second := s.runs("deploy GitLab-staging")[0], s.runs("deploy GitLab-staging")[1]
	assert.NotContains(t, first, "Protection=on")
	assert.Contains(t, second, " --parameters GitLab-staging:Protection=on")
	for _, run := range s.runs("deploy Deploy-staging") {
		assert.NotContains(t, run, "Protection", "its template has no such parameter")
		assert.Contains(t, run, "SourceVpceId=vpce-0a1b2c3d4e5f67890")
	}
	assert.Regexp(t, `deploying GitLab-staging to account 111111111111 .*unprotected as long as its creation can fail: done`, s.err.String())
	assert.Contains(t, s.err.String(), "a second update, in place, protects it from deletion: done")
}

// becomesWhenDeployed lets the stacks not exist until they are deployed.
func (s *accounts) becomesWhenDeployed(t *testing.T) {
	t.Helper()
	for _, a := range []*playedAccount{s.a, s.b} {
		a.state = ""
		awstest.On(a.Cloud, func(context.Context, *cloudformation.SetStackPolicyInput) (*cloudformation.SetStackPolicyOutput, error) {
			if len(s.runs("deploy "+a.stack)) == 0 {
				return nil, awstest.Refusal("ValidationError", "Stack ["+a.stack+"] does not exist")
			}
			a.state = cfntypes.StackStatusCreateComplete
			return &cloudformation.SetStackPolicyOutput{}, nil
		})
	}
}

func TestS15_WhatWasReviewedIsCreatedUnprotectedTooAndStaysAsItIs(t *testing.T) {
	s := newAccounts(t)
	s.becomesWhenDeployed(t)
	reviewed, work := t.TempDir(), t.TempDir()
	s.cdk.synthesise(reviewed)
	before := contents(t, reviewed)
	require.NoError(t, s.deploy(t, "--assembly", reviewed, "--work", work))
	assert.Equal(t, before, contents(t, reviewed))
	copied := contents(t, filepath.Join(work, "unprotected"))
	assert.NotEqual(t, before["manifest.json"], copied["manifest.json"])
	copied["manifest.json"] = before["manifest.json"]
	assert.Equal(t, before, copied, "nothing but the manifest differs: the same templates, the same assets")
}

// contents are the files of a folder.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		require.NoError(t, err)
		found[entry.Name()] = string(text)
	}
	return found
}

func TestS15_AnExistingStackIsDeployedOnceProtected(t *testing.T) {
	s := newAccounts(t)
	require.NoError(t, s.deploy(t))
	assert.Equal(t, []string{"GitLab-staging true", "Deploy-staging true"}, s.cdk.protected)
	require.Len(t, s.runs("deploy GitLab-staging"), 1)
	assert.Contains(t, s.runs("deploy GitLab-staging")[0], "--parameters GitLab-staging:Protection=on")
}

func TestS15_AConfigurationWithoutProtectionMakesANewStackInOneStep(t *testing.T) {
	s := newAccounts(t)
	s.becomesWhenDeployed(t)
	s.cdk.unprotected = true
	s.cdk.template = `{"Resources": {}}`
	require.NoError(t, s.deploy(t))
	assert.Equal(t, []string{"GitLab-staging false", "Deploy-staging false"}, s.cdk.protected)
	assert.NotContains(t, s.runs("deploy GitLab-staging")[0], "Protection=on")
}

func TestS15_ACreationThatFailsSaysWhatTheNextDeployDoesAboutIt(t *testing.T) {
	s := newAccounts(t)
	s.a.state = ""
	s.cdk.fail["GitLab-staging"] = ""
	assert.Equal(t, 1, exitStatus(s.deploy(t)))
	assert.Contains(t, s.err.String(), "CloudFormation undoes a creation that fails. Fix the cause and deploy again: what is left of it is cleared away first")
	assert.Len(t, s.runs("deploy"), 1)
}

func TestS15_AFailedStackIsToldAboutDeletedAndCreated(t *testing.T) {
	for _, state := range []cfntypes.StackStatus{"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"} {
		t.Run(string(state), func(t *testing.T) {
			s := newAccounts(t)
			s.a.failed(state)
			s.a.left = s.a.left[:2]
			require.NoError(t, s.deploy(t))
			for _, want := range []string{
				"GitLab-staging in account 111111111111 is " + string(state) + ": its creation failed",
				"it failed with ServerInstallationDone (AWS::CloudFormation::WaitCondition): no package",
				"left over: Logs (AWS::S3::Bucket) logs-1, was kept",
			} {
				assert.Contains(t, s.err.String(), want)
			}
			for _, not := range []string{"vol-1", "cancelled", "vpc-1", "\x1b"} {
				assert.NotContains(t, s.err.String(), not)
			}
			deleted := awstest.Inputs[cloudformation.DeleteStackInput](s.a.Cloud)
			require.Len(t, deleted, 1)
			assert.Equal(t, stackID("GitLab-staging"), aws.ToString(deleted[0].StackName), "the id: another stack may have the name by now")
			assert.Empty(t, deleted[0].RetainResources)
			assert.NotContains(t, s.did(1), "cloudformation:UpdateTerminationProtection")
			assert.Equal(t, []string{"GitLab-staging false", "GitLab-staging true", "Deploy-staging true"}, s.cdk.protected)
		})
	}
}

func TestS15_TheDeletionOfAFailedStackIsAskedForAndANoDeletesNothing(t *testing.T) {
	s := newAccounts(t)
	s.a.failed(cfntypes.StackStatusRollbackComplete)
	s.answer = func() string { return "n" }
	assert.Equal(t, 1, exitStatus(s.both(t, "deploy", "--skip-preflight")))
	said := s.err.String()
	assert.Less(t, strings.Index(said, "left over: Logs"), strings.Index(said, "Delete what is left of GitLab-staging in account 111111111111, and create it anew? [y/N]"))
	assert.Contains(t, said, "create it anew? [y/N]")
	s.nothingWasChanged(t)
}

func TestS15_WhatCannotBeDeletedIsLeftAndTold(t *testing.T) {
	s := newAccounts(t)
	s.a.failed(cfntypes.StackStatusRollbackFailed)
	s.a.deletions = []cfntypes.StackStatus{cfntypes.StackStatusDeleteFailed, cfntypes.StackStatusDeleteComplete}
	require.NoError(t, s.deploy(t))
	deleted := awstest.Inputs[cloudformation.DeleteStackInput](s.a.Cloud)
	require.Len(t, deleted, 2)
	assert.Equal(t, []string{"Vault", "Group"}, deleted[1].RetainResources)
	assert.Contains(t, s.err.String(), "left over: Vault (AWS::Backup::BackupVault) vault-1, could not be deleted: ")
}

func TestS15_AFailedStackThatStaysIsNotDeployedOver(t *testing.T) {
	s := newAccounts(t)
	s.a.failed(cfntypes.StackStatusRollbackFailed)
	s.a.deletions = []cfntypes.StackStatus{cfntypes.StackStatusDeleteFailed, cfntypes.StackStatusDeleteFailed}
	err := s.deploy(t)
	assert.Equal(t, 1, exitStatus(err))
	assert.ErrorContains(t, err, "GitLab-staging could not be deleted, and is DELETE_FAILED")
	assert.Empty(t, s.runs("deploy"))

	s = newAccounts(t)
	s.a.failed(cfntypes.StackStatusRollbackFailed)
	s.a.left, s.a.deletions = nil, []cfntypes.StackStatus{cfntypes.StackStatusDeleteFailed}
	assert.ErrorContains(t, s.deploy(t), "GitLab-staging cannot be deleted; its events say why")
	assert.Empty(t, s.runs("deploy"))
}

func TestS15_TheProtectionThatAnOlderVersionGaveAFailedStackIsTakenOffFirst(t *testing.T) {
	s := newAccounts(t)
	s.a.failed(cfntypes.StackStatusRollbackComplete)
	s.a.protected = true
	require.NoError(t, s.deploy(t))
	inputs := awstest.Inputs[cloudformation.UpdateTerminationProtectionInput](s.a.Cloud)
	require.Len(t, inputs, 1)
	assert.False(t, aws.ToBool(inputs[0].EnableTerminationProtection))
	assert.Len(t, awstest.Inputs[cloudformation.DeleteStackInput](s.a.Cloud), 1)
}

func TestS15_ALeftoverWithANameThatTheNewStackNeedsEndsTheDeploy(t *testing.T) {
	s := newAccounts(t)
	s.cdk.template = `{"Resources": {"Logs": {"Type": "AWS::S3::Bucket", "Properties": {"Tags": [], "BucketName": "logs-1"}}}}`
	s.a.failed(cfntypes.StackStatusRollbackComplete)
	err := s.deploy(t)
	assert.Equal(t, 1, exitStatus(err))
	assert.Equal(t, 1, strings.Count(s.err.String(), "the new stack needs the name logs-1: empty and delete the old one, and deploy again"), "once, when the old stack is gone")
	assert.ErrorContains(t, err, "GitLab-staging was deleted, and nothing was created")
	assert.Empty(t, s.runs("deploy"))
}

func TestS15_AStackThatMayHaveBeenCompleteIsNeverDeleted(t *testing.T) {
	of := func(status cfntypes.ResourceStatus) cfntypes.StackEvent {
		return cfntypes.StackEvent{StackId: aws.String("arn:1"), PhysicalResourceId: aws.String("arn:1"), ResourceStatus: status}
	}
	for name, events := range map[string][]cfntypes.StackEvent{
		"its events are forgotten": nil,
		"it was":                   {of(cfntypes.ResourceStatusUpdateComplete), of(cfntypes.ResourceStatusCreateInProgress)},
		"it was, on a later page":  {of(cfntypes.ResourceStatusCreateInProgress), of(cfntypes.ResourceStatusCreateComplete)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAccounts(t)
			s.a.failed(cfntypes.StackStatusDeleteFailed)
			s.a.events = events
			err := s.deploy(t)
			assert.Equal(t, 1, exitStatus(err))
			assert.ErrorContains(t, err, "GitLab-staging is DELETE_FAILED, and may have held data")
			s.nothingWasChanged(t)
		})
	}
}

func TestS15_AStackThatAnUpdateHasLeftHalfWayIsToldWithItsRemedyAndNotTouched(t *testing.T) {
	for state, want := range map[cfntypes.StackStatus]string{
		"UPDATE_ROLLBACK_FAILED": "aws cloudformation continue-update-rollback --stack-name GitLab-staging --profile profile-a --region ap-northeast-1",
		"UPDATE_FAILED":          "aws cloudformation rollback-stack --stack-name GitLab-staging --profile profile-a --region ap-northeast-1",
		"UPDATE_IN_PROGRESS":     "something is at work on it",
		"CREATE_IN_PROGRESS":     "something is at work on it",
		"DELETE_IN_PROGRESS":     "something is at work on it",
	} {
		s := newAccounts(t)
		s.a.state = state
		err := s.deploy(t)
		assert.Equal(t, 1, exitStatus(err), state)
		assert.ErrorContains(t, err, "GitLab-staging is "+string(state))
		assert.ErrorContains(t, err, want)
		assert.Empty(t, s.policies())
		s.nothingWasChanged(t)
	}
	for _, state := range []cfntypes.StackStatus{"UPDATE_ROLLBACK_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"} {
		s := newAccounts(t)
		s.a.state = state
		require.NoError(t, s.deploy(t), state)
	}
}

func TestS15_AStackThatIsOnlyAChangeSetIsCreatedOverIt(t *testing.T) {
	s := newAccounts(t)
	s.a.state = cfntypes.StackStatusReviewInProgress
	require.NoError(t, s.deploy(t))
	assert.Equal(t, []string{"GitLab-staging false", "GitLab-staging true"}, s.cdk.protected[:2])
	assert.NotContains(t, s.did(1), "cloudformation:DeleteStack")
}

func TestS15_WithoutTheRightToLookAtAStackNothingIsDeployed(t *testing.T) {
	s := newAccounts(t)
	withoutRight[cloudformation.DescribeStacksInput, cloudformation.DescribeStacksOutput](s.a)
	err := s.deploy(t)
	assert.Equal(t, 1, exitStatus(err))
	assert.ErrorContains(t, err, "look at GitLab-staging: ")
	assert.ErrorContains(t, err, "AccessDenied")
	s.nothingWasChanged(t)
}

// The assembly may be a reviewed one from elsewhere.
func TestS15_AnAssemblyWithoutWhatADeployHasToKnowIsRefused(t *testing.T) {
	for name, manifest := range map[string]string{
		"no stack":     `{"artifacts": {}}`,
		"no account":   `{"artifacts": {"GitLab-staging": {"environment": "aws://unknown-account/ap-northeast-1", "properties": {}}}}`,
		"no bootstrap": `{"artifacts": {"GitLab-staging": {"environment": "aws://111111111111/ap-northeast-1", "properties": {}}}}`,
		"no JSON":      `{`,
	} {
		s := newAccounts(t)
		folder := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(folder, "manifest.json"), []byte(manifest), 0o600))
		assert.Equal(t, 1, exitStatus(s.deploy(t, "--assembly", folder)), name)
		assert.Empty(t, s.events, name)
	}
}

func TestQuotedWordsAreThoseOfAShell(t *testing.T) {
	assert.Equal(t, `cdk --profile 'a b' "it's" '$x'`, deploy.Quote("cdk", "--profile", "a b", "it's", "$x"))
}
