package doctor

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	codedeploytypes "github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/preflight"
	"gitlab-codedeploy/internal/rights"
	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/internal/trust/signer"
)

var today = time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)

// world is both accounts and this machine. As newWorld makes it, nothing is wrong.
type world struct {
	Doctor
	t    *testing.T
	a, b *awstest.Cloud
	web  map[string]string // what addresses answer with
}

const bucketPolicy = `{"Statement": [
  {"Sid": "UploadThroughEndpoint", "Effect": "Allow", "Action": ["s3:AbortMultipartUpload", "s3:PutObject"], "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-0123456789abcdef0"}}},
  {"Sid": "TokensThroughEndpoint", "Effect": "Allow", "Action": "s3:PutObject", "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-0123456789abcdef0"}}},
  {"Sid": "AgentsReadArtifacts1", "Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Principal": {"AWS": "arn:aws:iam::222222222222:role/sample-web-instance"}, "Resource": "arn:aws:s3:::example-deploy-staging/artifacts/*"}
]}`

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	text, has := w.web[r.URL.String()]
	if !has {
		return nil, errors.New("dial tcp: no route to host")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func refuse[In, Out any](c *awstest.Cloud) {
	awstest.On(c, func(context.Context, *In) (*Out, error) {
		return nil, awstest.Refusal("AccessDenied", "User is not authorized")
	})
}

func answer[In, Out any](c *awstest.Cloud, out *Out) {
	awstest.On(c, func(context.Context, *In) (*Out, error) { return out, nil })
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, a: awstest.New(t), b: awstest.New(t), web: map[string]string{}}
	signs, err := signer.New("https://gitlab.example.com")
	require.NoError(t, err)
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "config"), 0o700))
	for from, to := range map[string]string{"../../config/staging.yaml": "config/staging.yaml", "../../package.json": "package.json", "../../go.mod": "go.mod"} {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(root, to), text, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "config/staging.jwks.json"), signs.Keys().Encode(), 0o600))
	source, err := config.LoadSource(filepath.Join(root, "config"), "staging")
	require.NoError(t, err)
	w.Doctor = Doctor{
		Source: source, Root: root, HTTP: &http.Client{Transport: w}, Now: func() time.Time { return today },
		Find: func(name string) (string, error) { return "/usr/bin/" + filepath.Base(name), nil },
		Output: func(_ context.Context, path string, _ ...string) (string, error) {
			return filepath.Base(path) + " version 2148.1.0", nil
		},
		Keys: func(context.Context, *account.Account) (trust.Keys, error) { return signs.Keys(), nil },
		Open: func(_ context.Context, side account.Side) (aws.Config, error) {
			if side == account.Deploy {
				return w.b.Config("ap-northeast-1"), nil
			}
			return w.a.Config("ap-northeast-1"), nil
		},
	}
	w.playA()
	w.playB()
	return w
}

func (w *world) playA() {
	w.a.PlayAccount("111111111111", map[string]map[string]string{"GitLab-staging": {
		"ServerInstanceId": "i-0123456789abcdef0", "RunnerInstanceId": "i-0fedcba9876543210", "VpcId": "vpc-0123456789abcdef0", "BackupBucketName": "gitlab-backups",
		"LoadBalancerDnsName": "gitlab-1.ap-northeast-1.elb.amazonaws.com", "S3EndpointId": "vpce-0123456789abcdef0",
		"JobRoleArn": "arn:aws:iam::111111111111:role/GitLab-staging-RunnerJobRole-1",
	}})
	answer[ssm.GetParameterInput](w.a, &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: aws.String("32")}})
	zone := func(name string) ec2types.AvailabilityZone {
		return ec2types.AvailabilityZone{ZoneName: &name, ZoneType: aws.String("availability-zone"), State: ec2types.AvailabilityZoneStateAvailable}
	}
	answer[ec2.DescribeAvailabilityZonesInput](w.a, &ec2.DescribeAvailabilityZonesOutput{AvailabilityZones: []ec2types.AvailabilityZone{zone("ap-northeast-1a"), zone("ap-northeast-1c")}})
	profile := &ec2types.IamInstanceProfile{Arn: aws.String("arn:aws:iam::111111111111:instance-profile/GitLab-staging-1")}
	running := &ec2types.InstanceState{Name: ec2types.InstanceStateNameRunning}
	instances := []ec2types.Instance{
		{InstanceId: aws.String("i-0123456789abcdef0"), ImageId: aws.String("ami-0123456789abcdef0"), InstanceType: "m5.xlarge", State: running, IamInstanceProfile: profile},
		{InstanceId: aws.String("i-0fedcba9876543210"), ImageId: aws.String("ami-0123456789abcdef0"), InstanceType: "t3.large", State: running, IamInstanceProfile: profile},
	}
	awstest.On(w.a, func(_ context.Context, in *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
		asked := slices.DeleteFunc(slices.Clone(instances), func(i ec2types.Instance) bool {
			return len(in.InstanceIds) > 0 && !slices.Contains(in.InstanceIds, *i.InstanceId)
		})
		return &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{{Instances: asked}}}, nil
	})
	answer[ec2.DescribeImagesInput](w.a, &ec2.DescribeImagesOutput{Images: []ec2types.Image{{
		ImageId: aws.String("ami-0123456789abcdef0"), Name: aws.String("al2023-ami-2023.11.20260427.1-kernel-6.1-x86_64"),
		ImageOwnerAlias: aws.String("amazon"), PlatformDetails: aws.String("Linux/UNIX"),
	}}})
	var endpoints []ec2types.VpcEndpoint
	for _, service := range []string{"ssm", "ssmmessages", "ec2messages"} {
		endpoints = append(endpoints, ec2types.VpcEndpoint{ServiceName: aws.String("com.amazonaws.ap-northeast-1." + service), VpcEndpointId: aws.String("vpce-1"), State: "available", PrivateDnsEnabled: aws.Bool(true)})
	}
	answer[ec2.DescribeVpcEndpointsInput](w.a, &ec2.DescribeVpcEndpointsOutput{VpcEndpoints: endpoints})
	agent := func(id string) ssmtypes.InstanceInformation {
		return ssmtypes.InstanceInformation{InstanceId: &id, PingStatus: ssmtypes.PingStatusOnline, AgentVersion: aws.String("3.3.0")}
	}
	answer[ssm.DescribeInstanceInformationInput](w.a, &ssm.DescribeInstanceInformationOutput{InstanceInformationList: []ssmtypes.InstanceInformation{agent("i-0123456789abcdef0"), agent("i-0fedcba9876543210")}})
	answer[iam.GetInstanceProfileInput](w.a, &iam.GetInstanceProfileOutput{InstanceProfile: &iamtypes.InstanceProfile{Roles: []iamtypes.Role{{RoleName: aws.String("GitLab-staging-role")}}}})
	answer[iam.ListAttachedRolePoliciesInput](w.a, &iam.ListAttachedRolePoliciesOutput{AttachedPolicies: []iamtypes.AttachedPolicy{{PolicyName: aws.String("AmazonSSMManagedInstanceCore")}}})
	answer[iam.GetRoleInput](w.a, &iam.GetRoleOutput{Role: &iamtypes.Role{Arn: aws.String("arn:aws:iam::111111111111:role/gitlab-break-glass")}})
	w.certificate(acmtypes.CertificateStatusIssued, 200)
	answer[elb.DescribeLoadBalancersInput](w.a, &elb.DescribeLoadBalancersOutput{LoadBalancers: []elbtypes.LoadBalancer{{DNSName: aws.String("gitlab-1.ap-northeast-1.elb.amazonaws.com"), LoadBalancerArn: aws.String("arn:lb")}}})
	answer[elb.DescribeTargetGroupsInput](w.a, &elb.DescribeTargetGroupsOutput{TargetGroups: []elbtypes.TargetGroup{{TargetGroupArn: aws.String("arn:tg")}}})
	w.target(elbtypes.TargetHealthStateEnumHealthy)
	w.backup(2 * time.Hour)
	w.allow(w.a, iamtypes.PolicyEvaluationDecisionTypeAllowed)
}

func (w *world) playB() {
	w.b.PlayAccount("222222222222", map[string]map[string]string{"Deploy-staging": {"ArtifactBucketName": "example-deploy-staging"}})
	answer[ssm.GetParameterInput](w.b, &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: aws.String("6")}})
	answer[iam.GetRoleInput](w.b, &iam.GetRoleOutput{Role: &iamtypes.Role{Arn: aws.String("arn:aws:iam::222222222222:role/sample-web-instance")}})
	answer[s3.HeadBucketInput](w.b, &s3.HeadBucketOutput{BucketRegion: aws.String("ap-northeast-1")})
	answer[s3.GetBucketPolicyInput](w.b, &s3.GetBucketPolicyOutput{Policy: aws.String(bucketPolicy)})
	answer[codedeploy.BatchGetDeploymentGroupsInput](w.b, &codedeploy.BatchGetDeploymentGroupsOutput{DeploymentGroupsInfo: []codedeploytypes.DeploymentGroupInfo{{
		DeploymentGroupName: aws.String("sample-web-blue-green"),
		DeploymentStyle:     &codedeploytypes.DeploymentStyle{DeploymentType: codedeploytypes.DeploymentTypeBlueGreen, DeploymentOption: codedeploytypes.DeploymentOptionWithTrafficControl},
	}}})
}

func (w *world) certificate(status acmtypes.CertificateStatus, days int) {
	answer[acm.DescribeCertificateInput](w.a, &acm.DescribeCertificateOutput{Certificate: &acmtypes.CertificateDetail{
		Status: status, DomainName: aws.String("gitlab.example.com"), NotAfter: aws.Time(today.AddDate(0, 0, days)), Type: acmtypes.CertificateTypeAmazonIssued,
	}})
}

// ofZone lets the stack make the certificate, by a hosted zone.
func (w *world) ofZone() {
	balancer := &w.Source.Config().GitLab.LoadBalancer
	balancer.CertificateARN, balancer.HostedZone = "", &config.HostedZone{ID: "Z0123456789ABCDEFGHIJ", Name: "example.com"}
	answer[route53.GetHostedZoneInput](w.a, &route53.GetHostedZoneOutput{HostedZone: &route53types.HostedZone{Name: aws.String("example.com.")}})
	answer[cloudformation.ListStackResourcesInput](w.a, &cloudformation.ListStackResourcesOutput{StackResourceSummaries: []cfntypes.StackResourceSummary{
		{ResourceType: aws.String("AWS::EC2::VPC"), PhysicalResourceId: aws.String("vpc-1")},
		{ResourceType: aws.String("AWS::CertificateManager::Certificate"), PhysicalResourceId: aws.String("arn:aws:acm:ap-northeast-1:111111111111:certificate/1")},
	}})
}

func (w *world) target(state elbtypes.TargetHealthStateEnum) {
	answer[elb.DescribeTargetHealthInput](w.a, &elb.DescribeTargetHealthOutput{TargetHealthDescriptions: []elbtypes.TargetHealthDescription{{
		Target: &elbtypes.TargetDescription{Id: aws.String("i-0123456789abcdef0")}, TargetHealth: &elbtypes.TargetHealth{State: state, Description: aws.String("codes: [502]")},
	}}})
}

// allow makes IAM decide every request so.
func (w *world) allow(c *awstest.Cloud, decision iamtypes.PolicyEvaluationDecisionType) {
	awstest.On(c, func(_ context.Context, in *iam.SimulatePrincipalPolicyInput) (*iam.SimulatePrincipalPolicyOutput, error) {
		out := &iam.SimulatePrincipalPolicyOutput{}
		for _, action := range in.ActionNames {
			result := iamtypes.EvaluationResult{EvalActionName: &action, EvalDecision: decision}
			for _, resource := range in.ResourceArns {
				result.ResourceSpecificResults = append(result.ResourceSpecificResults, iamtypes.ResourceSpecificResult{EvalResourceName: &resource, EvalResourceDecision: decision})
			}
			out.EvaluationResults = append(out.EvaluationResults, result)
		}
		return out, nil
	})
}

// backup puts one complete backup of that age into the bucket.
func (w *world) backup(age time.Duration) {
	id, manifest := completeBackup(today.Add(-age))
	awstest.On(w.a, func(_ context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
		out := &s3.ListObjectsV2Output{}
		for key, size := range map[string]int64{"backups/" + id + "/" + id + "_gitlab_backup.tar": 7, "secrets/" + id + "/gitlab-secrets.json": 5, "backups/" + id + "/manifest.json": int64(len(manifest))} {
			if strings.HasPrefix(key, aws.ToString(in.Prefix)) {
				out.Contents = append(out.Contents, s3types.Object{Key: &key, Size: &size})
			}
		}
		return out, nil
	})
	awstest.On(w.a, func(context.Context, *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
		return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(manifest)), ContentLength: aws.Int64(int64(len(manifest)))}, nil
	})
}

func (w *world) run() (findings []Finding) {
	synctest.Test(w.t, func(t *testing.T) { findings = w.Run(t.Context()) })
	for side, cloud := range map[account.Side]*awstest.Cloud{account.GitLab: w.a, account.Deploy: w.b} {
		policy, err := rights.Make(rights.Names{Config: *w.Source.Config()}, side, Calls()[side])
		require.NoError(w.t, err)
		for _, call := range cloud.Calls() {
			everMade.Store(string(side)+" "+call.Name(), true)
			actions, known := rights.Actions(side, call.Name())
			assert.True(w.t, known, call.Name())
			for _, action := range actions {
				assert.True(w.t, slices.ContainsFunc(policy.Statement, func(s rights.Statement) bool { return slices.Contains(s.Action, action) }), "Calls has no %s for %s", call.Name(), side)
			}
		}
	}
	return findings
}

// everMade are the calls that the tests have made, with their accounts.
var everMade sync.Map

// TestMain looks for rights that no check needs, once all tests have run: a part of them cannot tell. Those of preflight are
// looked at in its own tests.
func TestMain(m *testing.M) {
	status := m.Run()
	if status != 0 || flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.list").Value.String() != "" {
		os.Exit(status)
	}
	asks := map[account.Side]preflight.Account{account.GitLab: preflight.A, account.Deploy: preflight.B}
	for side, declared := range Calls() {
		for _, call := range declared {
			if _, made := everMade.Load(string(side) + " " + call); !made && !slices.Contains(preflight.Actions(asks[side]), call) {
				fmt.Fprintf(os.Stderr, "a right that no check has needed in account %s: %s\n", side, call)
				status = 1
			}
		}
	}
	os.Exit(status)
}

func find(findings []Finding, where, check string) Finding {
	for _, f := range findings {
		if f.Where == where && f.Check == check {
			return f
		}
	}
	return Finding{Found: "nothing"}
}

func TestDoctorFindsNothingWrongWhereNothingIs(t *testing.T) {
	findings := newWorld(t).run()
	for _, f := range findings {
		if f.Where == internet {
			assert.Equal(t, Unchecked, f.State, "no way to there from here")
			continue
		}
		assert.Equal(t, OK, f.State, "%s, %s: %s", f.Where, f.Check, f.Found)
	}
	assert.False(t, AnythingWrong(findings))
	assert.Greater(t, len(findings), 25)
}

// aKey is a new key, as GitLab serves its own.
func aKey(t *testing.T) (text, fingerprint string) {
	t.Helper()
	entity, err := openpgp.NewEntity("GitLab", "", "packages@example.com", nil)
	require.NoError(t, err)
	var out bytes.Buffer
	armored, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	require.NoError(t, err)
	require.NoError(t, entity.Serialize(armored))
	require.NoError(t, armored.Close())
	return out.String(), strings.ToUpper(strings.ReplaceAll(entity.PrimaryKey.KeyIdString(), " ", ""))
}

func TestDoctorNamesWhatIsWrongAndWhatToDo(t *testing.T) {
	key, id := aKey(t)
	type want struct {
		where, check  string
		state         State
		found, remedy string
	}
	for name, tt := range map[string]struct {
		change func(*world)
		want   want
	}{
		"S7 doctor | a program is missing | it is named, with what installs it": {func(w *world) {
			w.Find = func(name string) (string, error) { return "", errors.New(name) }
		}, want{here, "Go", Wrong, "go is not installed", "go.dev"}},
		"S7 doctor | a program is too old | both versions are named": {func(w *world) {
			w.Output = func(context.Context, string, ...string) (string, error) { return "2.1.0 (build x)", nil }
		}, want{here, "CDK CLI", Wrong, "is 2.1.0, want 2.1148.1 or later", "make setup"}},
		"S7 doctor | a program does not start | it is said": {func(w *world) {
			w.Output = func(context.Context, string, ...string) (string, error) { return "", errors.New("exit status 126") }
		}, want{here, "Git", Wrong, "does not run", ""}},
		"S7 doctor | the credentials are another account's | the right one is named": {func(w *world) {
			w.b.PlayAccount("333333333333", nil)
		}, want{accountB, "credentials", Wrong, "of account 333333333333", "deploy.account"}},
		"S7 doctor | account B has no credentials | its checks say so, and those of A are made": {func(w *world) {
			open := w.Open
			w.Open = func(ctx context.Context, side account.Side) (aws.Config, error) {
				if side == account.Deploy {
					return aws.Config{}, errors.New("no profile")
				}
				return open(ctx, side)
			}
		}, want{accountB, "readers", Unchecked, "no credentials", ""}},
		"S7 doctor | nothing is deployed yet | what a stack has is not asked for, and that is no fault": {func(w *world) {
			w.a.PlayAccount("111111111111", nil)
			refuse[servicequotas.GetServiceQuotaInput, servicequotas.GetServiceQuotaOutput](w.a)
			refuse[ec2.DescribeImagesInput, ec2.DescribeImagesOutput](w.a)
			refuse[ec2.DescribeInstanceTypesInput, ec2.DescribeInstanceTypesOutput](w.a)
			refuse[ec2.DescribeInstanceTypeOfferingsInput, ec2.DescribeInstanceTypeOfferingsOutput](w.a)
		}, want{accountA, "targets", Unchecked, "not deployed yet", ""}},
		"S7 doctor | the bootstrap is too old | both versions are named": {func(w *world) {
			answer[ssm.GetParameterInput](w.b, &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: aws.String("5")}})
		}, want{accountB, "bootstrap", Wrong, "version 5, want 6", "cdk bootstrap"}},
		"S7 doctor | an account has no bootstrap | it is said": {func(w *world) {
			awstest.On(w.a, func(context.Context, *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) {
				return nil, &ssmtypes.ParameterNotFound{}
			})
		}, want{accountA, "bootstrap", Wrong, "no bootstrap stack", "cdk bootstrap"}},
		"S6 doctor | the stack's own certificate is not renewed | its days are told, and where to look": {func(w *world) {
			w.ofZone()
			w.certificate(acmtypes.CertificateStatusIssued, 9)
		}, want{accountA, "certificate", Wrong, "9 days left", "DNS record"}},
		"S6 doctor | the stack has made no certificate | it is said": {func(w *world) {
			w.ofZone()
			answer[cloudformation.ListStackResourcesInput](w.a, &cloudformation.ListStackResourcesOutput{})
		}, want{accountA, "certificate", Wrong, "stack GitLab-staging has no certificate", "scripts/ops deploy"}},
		"S7 doctor | a right is missing | it is named, and is no fault": {func(w *world) {
			refuse[ssm.GetParameterInput, ssm.GetParameterOutput](w.a)
		}, want{accountA, "bootstrap", Unchecked, "could not be checked: it needs ssm:GetParameter", ""}},
		"S14 doctor | a group deploys in place | what a deploy asks first is part of it": {func(w *world) {
			answer[codedeploy.BatchGetDeploymentGroupsInput](w.b, &codedeploy.BatchGetDeploymentGroupsOutput{DeploymentGroupsInfo: []codedeploytypes.DeploymentGroupInfo{{DeploymentGroupName: aws.String("sample-web-blue-green")}}})
		}, want{accountB, "before a deploy", Wrong, "deploys in place", "BLUE_GREEN"}},
		"S15 doctor | any project may deploy to a group | it is warned of, and is no fault": {func(w *world) {
			w.Source.Config().Deploy.DeploymentGroups[0].Projects = config.Projects{Any: true}
		}, want{accountB, "before a deploy", OK, "projects: warning: got any", ""}},
		"S7 doctor | an agent is away | the row of check is there": {func(w *world) {
			answer[ssm.DescribeInstanceInformationInput](w.a, &ssm.DescribeInstanceInformationOutput{})
		}, want{accountA, "server, SSM Agent", Wrong, "never registered", "scripts/ops check"}},
		"S6 doctor | the certificate ends soon | the days that it has left are told": {func(w *world) {
			w.certificate(acmtypes.CertificateStatusIssued, 20)
		}, want{accountA, "certificate", Wrong, "20 days left", "not renewed"}},
		"S6 doctor | the certificate waits for its validation | it is said": {func(w *world) {
			w.certificate(acmtypes.CertificateStatusPendingValidation, 200)
		}, want{accountA, "certificate", Wrong, "PENDING_VALIDATION", "ACM"}},
		"S6 doctor | GitLab does not answer the load balancer | AWS's reason is told": {func(w *world) {
			w.target(elbtypes.TargetHealthStateEnumUnhealthy)
		}, want{accountA, "targets", Wrong, "unhealthy: codes: [502]", "scripts/ops status"}},
		"S10 doctor | the newest complete backup is too old | its age is told": {func(w *world) {
			w.backup(30 * time.Hour)
		}, want{accountA, "backups", Wrong, "is 30h0m0s old", "scripts/ops backup"}},
		"S10 doctor | there is no backup | it is said": {func(w *world) {
			answer[s3.ListObjectsV2Input](w.a, &s3.ListObjectsV2Output{})
		}, want{accountA, "backups", Wrong, "none of 0 is complete", "scripts/ops backup"}},
		"S15 doctor | GitLab signs with a new key | the trigger does not know it": {func(w *world) {
			w.Keys = func(context.Context, *account.Account) (trust.Keys, error) {
				other, err := signer.New("https://gitlab.example.com")
				return other.Keys(), err
			}
		}, want{accountA, "GitLab's keys", Wrong, "GitLab shows other keys", "scripts/ops trust"}},
		"S15 doctor | the server cannot be asked for its keys | that is no fault": {func(w *world) {
			w.Keys = func(context.Context, *account.Account) (trust.Keys, error) { return nil, errors.New("no answer") }
		}, want{accountA, "GitLab's keys", Unchecked, "no answer", ""}},
		"S9 doctor | the role of jobs may not put | what was asked is told": {func(w *world) {
			w.allow(w.a, iamtypes.PolicyEvaluationDecisionTypeImplicitDeny)
		}, want{accountA, "uploads", Wrong, "s3:PutObject on arn:aws:s3:::example-deploy-staging/artifacts/", "--only a"}},
		"S9 doctor | the bucket admits the endpoint of an earlier network | both are named": {func(w *world) {
			answer[s3.GetBucketPolicyInput](w.b, &s3.GetBucketPolicyOutput{Policy: aws.String(strings.ReplaceAll(bucketPolicy, "vpce-0123456789abcdef0", "vpce-0fedcba9876543210"))})
		}, want{accountB, "uploads", Wrong, "vpce-0123456789abcdef0", "--only b"}},
		"S14 doctor | an instance's role may not read | what was asked is told": {func(w *world) {
			answer[s3.GetBucketPolicyInput](w.b, &s3.GetBucketPolicyOutput{Policy: aws.String(strings.ReplaceAll(bucketPolicy, "sample-web-instance", "another"))})
			w.allow(w.b, iamtypes.PolicyEvaluationDecisionTypeImplicitDeny)
		}, want{accountB, "reader sample-web-instance", Wrong, "Neither the bucket's policy nor its own", "--only b"}},
		"S14 doctor | an instance's role reads by a policy of its own | that is enough": {func(w *world) {
			answer[s3.GetBucketPolicyInput](w.b, &s3.GetBucketPolicyOutput{Policy: aws.String(strings.ReplaceAll(bucketPolicy, "sample-web-instance", "another"))})
			w.allow(w.b, iamtypes.PolicyEvaluationDecisionTypeAllowed)
		}, want{accountB, "reader sample-web-instance", OK, "Its own policies allow it", ""}},
		"S9 doctor | IAM decides less than it was asked | that is not taken for an allowance": {func(w *world) {
			answer[iam.SimulatePrincipalPolicyInput](w.a, &iam.SimulatePrincipalPolicyOutput{})
		}, want{accountA, "uploads", Unchecked, "IAM decided 0 of 2", ""}},
		"S8 doctor | somebody put another key at the repository's address | both fingerprints are named": {func(w *world) {
			w.web["https://packages.gitlab.com/gitlab/gitlab-ce/gpgkey/gitlab-gitlab-ce-3D645A26AB9FBD22.pub.gpg"] = key
		}, want{internet, "key 3D645A26AB9FBD22 of gitlab-ce", Wrong, id, "do not install"}},
		"S8 doctor | an address has a web page in the place of a key | it is not taken for one": {func(w *world) {
			w.web["https://packages.gitlab.com/gpgkey/gitlab/3D645A26AB9FBD22.pub.gpg"] = "<html>\x1b[2J"
		}, want{internet, "key 3D645A26AB9FBD22 of gitlab-ce", Unchecked, "has 0 keys, want one", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tt.change(w)
			findings := w.run()
			f := find(findings, tt.want.where, tt.want.check)
			assert.Equal(t, tt.want.state, f.State, f.Found)
			assert.Contains(t, f.Found, tt.want.found)
			assert.Contains(t, f.Remedy, tt.want.remedy)
			for _, f := range findings {
				assert.Equal(t, f.State == Wrong, f.Remedy != "", "what is wrong has a remedy: %s, %s", f.Check, f.Found)
				assert.NotContains(t, f.Found+f.Remedy, "\x1b")
			}
		})
	}
}

func TestDoctorKnowsAKeyByItsFingerprintAlone(t *testing.T) {
	w := newWorld(t)
	text, _ := aKey(t)
	w.web["https://packages.example.com/k"] = text
	l := &look{Doctor: &w.Doctor, config: w.Source.Config()}
	fingerprint, err := l.fingerprint(t.Context(), "https://packages.example.com/k")
	require.NoError(t, err)
	assert.Regexp(t, `^[0-9A-F]{40}$`, fingerprint)
	w.web["https://packages.example.com/gpgkey/gitlab/X.pub.gpg"] = text
	f := l.packageKey(t.Context(), "gitlab-ce", gitlab.SigningKey{ID: "X", Fingerprints: []string{fingerprint}}, "https://packages.example.com/gitlab", "/old", "/gpgkey/gitlab/X.pub.gpg")
	assert.Equal(t, OK, f.State, "the address of the whole host counts, too: %s", f.Found)
}
