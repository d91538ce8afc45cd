package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	cdtypes "github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/config"
)

// newcomers are two accounts in which nothing of this project is yet.
type newcomers struct {
	*session
	b            *awstest.Cloud
	types        []string // the answers at the terminal, one after the other
	certificates []acmtypes.CertificateSummary
	zones        []route53types.HostedZone
	groups       []cdtypes.DeploymentGroupInfo
}

func newNewcomers(t *testing.T) *newcomers {
	t.Helper()
	n := &newcomers{session: newSession(t), b: awstest.New(t)}
	n.b.PlayAccount(deployAccount, nil)
	n.open = func(_ context.Context, region, profile string) (aws.Config, error) {
		if region == "" {
			region = "ap-northeast-1"
		}
		switch profile {
		case "a":
			return n.cloud.Config(region), nil
		case "b":
			return n.b.Config(region), nil
		}
		return aws.Config{}, errors.New("no such profile")
	}
	n.answer = func() string {
		n.asked++
		if len(n.types) == 0 {
			return ""
		}
		typed := n.types[0]
		n.types = n.types[1:]
		return typed
	}
	n.certificates = []acmtypes.CertificateSummary{{
		CertificateArn: aws.String("arn:aws:acm:ap-northeast-1:111111111111:certificate/2f5a1c9e-7b34-4d8a-9c61-0e8d3b7f4a25"),
		DomainName:     aws.String("example.com"), SubjectAlternativeNameSummaries: []string{"*.example.com"},
	}}
	n.zones = []route53types.HostedZone{
		{Id: aws.String("/hostedzone/Z0PRIVATE"), Name: aws.String("example.org."), Config: &route53types.HostedZoneConfig{PrivateZone: true}},
		{Id: aws.String("/hostedzone/Z0PUBLIC"), Name: aws.String("example.org."), Config: &route53types.HostedZoneConfig{}},
	}
	n.groups = []cdtypes.DeploymentGroupInfo{
		{DeploymentGroupName: aws.String("blue"), DeploymentStyle: &cdtypes.DeploymentStyle{DeploymentType: cdtypes.DeploymentTypeBlueGreen}},
		{DeploymentGroupName: aws.String("in-place"), DeploymentStyle: &cdtypes.DeploymentStyle{DeploymentType: cdtypes.DeploymentTypeInPlace}},
		{DeploymentGroupName: aws.String("old")},
	}
	for cloud, block := range map[*awstest.Cloud]string{n.cloud: "10.20.0.0/16", n.b: "10.21.8.0/24"} {
		awstest.On(cloud, func(context.Context, *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
			return &ec2.DescribeVpcsOutput{Vpcs: []ec2types.Vpc{{
				CidrBlock: aws.String("172.31.0.0/16"), CidrBlockAssociationSet: []ec2types.VpcCidrBlockAssociation{{CidrBlock: &block}},
			}}}, nil
		})
	}
	awstest.On(n.cloud, func(context.Context, *ec2.DescribeAvailabilityZonesInput) (*ec2.DescribeAvailabilityZonesOutput, error) {
		zone := func(name, kind string, state ec2types.AvailabilityZoneState) ec2types.AvailabilityZone {
			return ec2types.AvailabilityZone{ZoneName: &name, ZoneType: &kind, State: state}
		}
		return &ec2.DescribeAvailabilityZonesOutput{AvailabilityZones: []ec2types.AvailabilityZone{
			zone("ap-northeast-1d", "availability-zone", "available"), zone("ap-northeast-1-tpe-1a", "local-zone", "available"),
			zone("ap-northeast-1c", "availability-zone", "available"), zone("ap-northeast-1a", "availability-zone", "impaired"),
		}}, nil
	})
	awstest.On(n.cloud, func(context.Context, *acm.ListCertificatesInput) (*acm.ListCertificatesOutput, error) {
		return &acm.ListCertificatesOutput{CertificateSummaryList: n.certificates}, nil
	})
	awstest.On(n.cloud, func(context.Context, *route53.ListHostedZonesInput) (*route53.ListHostedZonesOutput, error) {
		return &route53.ListHostedZonesOutput{HostedZones: n.zones}, nil
	})
	awstest.On(n.cloud, func(_ context.Context, in *ssm.GetParametersInput) (*ssm.GetParametersOutput, error) {
		images := map[string]string{
			"amzn2-ami-hvm-x86_64-gp2": "ami-00000000000000001", "al2023-ami-kernel-default-x86_64": "ami-00000000000000002",
			"amzn2-ami-hvm-arm64-gp2": "ami-00000000000000003", "al2023-ami-kernel-default-arm64": "ami-00000000000000004",
		}
		out := &ssm.GetParametersOutput{}
		for _, name := range in.Names {
			out.Parameters = append(out.Parameters, ssmtypes.Parameter{Name: &name, Value: aws.String(images[filepath.Base(name)])})
		}
		return out, nil
	})
	awstest.On(n.b, func(context.Context, *codedeploy.ListApplicationsInput) (*codedeploy.ListApplicationsOutput, error) {
		return &codedeploy.ListApplicationsOutput{Applications: []string{"web"}}, nil
	})
	awstest.On(n.b, func(context.Context, *codedeploy.ListDeploymentGroupsInput) (*codedeploy.ListDeploymentGroupsOutput, error) {
		out := &codedeploy.ListDeploymentGroupsOutput{}
		for _, group := range n.groups {
			out.DeploymentGroups = append(out.DeploymentGroups, *group.DeploymentGroupName)
		}
		return out, nil
	})
	awstest.On(n.b, func(_ context.Context, in *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error) {
		for _, group := range n.groups {
			if *group.DeploymentGroupName == *in.DeploymentGroupName && *in.ApplicationName == "web" {
				return &codedeploy.GetDeploymentGroupOutput{DeploymentGroupInfo: &group}, nil
			}
		}
		return nil, awstest.Refusal("DeploymentGroupDoesNotExistException", *in.DeploymentGroupName)
	})
	return n
}

var production = []string{"init", "--env", "production", "--profile-a", "a", "--profile-b", "b"}

func (n *newcomers) begin(t *testing.T, args ...string) error {
	t.Helper()
	return n.run(t, append(append([]string{}, production...), args...)...)
}

func (n *newcomers) made(t *testing.T) config.Config {
	t.Helper()
	cfg, err := config.Load(n.configs, "production")
	require.NoError(t, err)
	return cfg
}

func TestS15_InitAsksForWhatItDoesNotFindOut(t *testing.T) {
	n := newNewcomers(t)
	n.types = []string{"", "", "git.example.com", "203.0.113.0/24, 198.51.100.7/32", "", "", "", "ops@example.com"}
	require.NoError(t, n.begin(t))
	assert.Equal(t, 8, n.asked)
	assert.Equal(t, filepath.Join(n.configs, "production.yaml")+"\n", n.out.String(), "stdout is the result")
	cfg := n.made(t)
	assert.Equal(t, "ap-northeast-1", cfg.Region)
	assert.Equal(t, gitlabAccount, cfg.GitLab.Account)
	assert.Equal(t, deployAccount, cfg.Deploy.Account)
	assert.Equal(t, "10.22.0.0/16", cfg.GitLab.Network.VPCCIDR, "it overlaps with no VPC of either account")
	assert.Equal(t, []string{"ap-northeast-1c", "ap-northeast-1d"}, cfg.GitLab.Network.Zones)
	assert.Equal(t, []string{"203.0.113.0/24", "198.51.100.7/32"}, cfg.GitLab.LoadBalancer.AllowedRanges)
	assert.Equal(t, *n.certificates[0].CertificateArn, cfg.GitLab.LoadBalancer.CertificateARN)
	assert.Equal(t, config.AmazonLinux2023, cfg.GitLab.Server.OperatingSystem)
	assert.Equal(t, "ami-00000000000000002", cfg.GitLab.Server.ImageID)
	assert.Equal(t, "ami-00000000000000002", cfg.GitLab.Runner.ImageID)
	assert.Equal(t, "18.11.13", cfg.GitLab.Server.Version, "the first without a known hole")
	assert.Equal(t, "18.11.0", cfg.GitLab.Runner.Version)
	assert.Equal(t, "artifacts-production-222222222222", cfg.Deploy.Artifacts.BucketName)
	assert.Equal(t, "ops@example.com", cfg.GitLab.AlarmEmail)
	require.Len(t, cfg.Deploy.DeploymentGroups, 1, "the blue/green ones")
	assert.Equal(t, "web/blue", cfg.Deploy.DeploymentGroups[0].Application+"/"+cfg.Deploy.DeploymentGroups[0].DeploymentGroup)
	assert.Contains(t, n.err.String(), "Range of the VPC; it cannot be changed later [10.22.0.0/16]: ")
	left, err := filepath.Glob(filepath.Join(n.configs, ".*"))
	require.NoError(t, err)
	assert.Empty(t, left, "nothing half-written stays")
}

func TestS15_InitFromFlagsAsksNothing(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		n := newNewcomers(t)
		n.terminal = terminal
		n.groups = nil
		args := []string{"--region", "ap-northeast-1", "--domain", "git.example.org", "--allow", "203.0.113.0/24", "--version-gitlab", "15.4.6", "--server-type", "m6g.xlarge", "--vpc-cidr", "10.99.0.0/20"}
		if terminal {
			args = append(args, "--yes")
		}
		require.NoError(t, n.begin(t, args...))
		assert.Zero(t, n.asked)
		cfg := n.made(t)
		assert.Equal(t, &config.HostedZone{ID: "Z0PUBLIC", Name: "example.org"}, cfg.GitLab.LoadBalancer.HostedZone, "a private zone is none")
		assert.Equal(t, config.AmazonLinux2, cfg.GitLab.Server.OperatingSystem, "15.4.6 has no package for 2023")
		assert.Equal(t, "ami-00000000000000003", cfg.GitLab.Server.ImageID, "of the instance type's processor")
		assert.Equal(t, "15.4.0", cfg.GitLab.Runner.Version)
		assert.Equal(t, "10.99.0.0/20", cfg.GitLab.Network.VPCCIDR)
		assert.Equal(t, "sample-web", cfg.Deploy.DeploymentGroups[0].Application)
		assert.Contains(t, n.err.String(), "account B has no blue/green deployment group")
	}
}

func TestS15_InitOverwritesNothingWithoutAsking(t *testing.T) {
	good := []string{"--domain", "git.example.com", "--allow", "203.0.113.0/24"}
	for name, tt := range map[string]struct {
		terminal bool
		types    string
		args     []string
		status   int
		written  bool
	}{
		"no terminal":        {status: 2},
		"a no":               {terminal: true, types: "n", status: 1},
		"only Enter":         {terminal: true, types: "", status: 1},
		"a yes":              {terminal: true, types: "y", written: true},
		"--yes":              {args: []string{"--yes"}, written: true},
		"--yes --dry-run":    {args: []string{"--yes", "--dry-run"}},
		"only its --dry-run": {args: []string{"--dry-run"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNewcomers(t)
			n.terminal, n.types = tt.terminal, []string{tt.types}
			file := filepath.Join(n.configs, "production.yaml")
			require.NoError(t, os.WriteFile(file, []byte("mine\n"), 0o600))
			err := n.begin(t, append(good, tt.args...)...)
			assert.Equal(t, tt.status, exitStatus(err))
			text, readErr := os.ReadFile(file)
			require.NoError(t, readErr)
			assert.Equal(t, tt.written, string(text) != "mine\n")
			if tt.status != 0 {
				assert.Empty(t, n.cloud.Calls(), "the question comes first")
			}
		})
	}
}

func TestS15_DryRunOfInitShowsWhatItAsks(t *testing.T) {
	n := newNewcomers(t)
	err := n.begin(t, "--domain", "git.example.com", "--allow", "203.0.113.0/24", "--yes", "--dry-run")
	require.ErrorIs(t, err, calls.ErrDryRun)
	for _, call := range []string{"sts:GetCallerIdentity {}", "ec2:DescribeAvailabilityZones {}", "codedeploy:GetDeploymentGroup {", "ssm:GetParameters {"} {
		assert.Contains(t, n.out.String(), call)
	}
	assert.NoFileExists(t, filepath.Join(n.configs, "production.yaml"))
}

func TestS15_InitWritesNothingThatIsWrong(t *testing.T) {
	good := []string{"--domain", "git.example.com", "--allow", "203.0.113.0/24"}
	for name, tt := range map[string]struct {
		args   []string
		change func(*newcomers)
		want   string
		status int
	}{
		"S15 init | nobody can be asked, and something has no answer | exit 2 with the flags that are missing, all at once": {
			want: "nothing can be found out of, and nobody has said: --domain, --allow", status: 2},
		"S15 init | both profiles are of one account | exit 2, and nothing is written": {
			args: good, change: func(n *newcomers) { n.b.PlayAccount(gitlabAccount, nil) }, want: "both profiles are of account 111111111111", status: 2},
		"S15 init | a profile gives no credentials | exit 2 with AWS's words": {
			args: append([]string{"--profile-b", "nobody"}, good...), want: `profile "nobody": no such profile`, status: 2},
		"S15 init | there is neither a certificate nor a hosted zone for the name | exit 2, and how to get one": {
			args: []string{"--domain", "git.example.net", "--allow", "203.0.113.0/24"}, want: "neither an issued certificate for git.example.net in ap-northeast-1 nor a public hosted zone", status: 2},
		"S15 init | an answer makes no environment | exit 2 with the key and what is allowed, and nothing is written": {
			args: append([]string{"--bucket", "My.Bucket"}, good...), want: "deploy.artifacts.bucketName: got \"My.Bucket\"", status: 2},
		"S15 init | a GitLab that anybody can take over would be open to the world | exit 2, as synth would refuse it": {
			args: []string{"--domain", "git.example.com", "--allow", "0.0.0.0/0", "--version-gitlab", "13.10.2"}, want: "CVE-2021-22205", status: 2},
		"S15 init | AWS refuses one of the questions | exit 1 with AWS's words, and nothing is written": {
			args: good, change: func(n *newcomers) {
				awstest.On(n.cloud, func(context.Context, *acm.ListCertificatesInput) (*acm.ListCertificatesOutput, error) {
					return nil, awstest.Refusal("AccessDenied", "no")
				})
			}, want: "list the certificates: ", status: 1},
		"a name that is none":     {args: append([]string{"--env", "../x"}, good...), want: "--env: got", status: 2},
		"another hosted zone":     {args: append([]string{"--hosted-zone", "Z0OTHER"}, good...), want: `"Z0OTHER" is no public zone`, status: 2},
		"both":                    {args: append([]string{"--hosted-zone", "Z0PUBLIC", "--certificate", "x"}, good...), want: "want one of them", status: 2},
		"a group without a slash": {args: append([]string{"--group", "web"}, good...), want: `--group: got "web"`, status: 2},
		"a range that is too big": {args: append([]string{"--vpc-cidr", "10.0.0.0/8"}, good...), want: "--vpc-cidr: got", status: 2},
		"a version that is none":  {args: append([]string{"--version-gitlab", "15"}, good...), want: "--version-gitlab: got", status: 2},
		"an example that is gone": {args: good, change: func(n *newcomers) { _ = os.Remove(filepath.Join(n.configs, "staging.yaml")) }, want: "read the example", status: 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNewcomers(t)
			n.terminal = false
			if tt.change != nil {
				tt.change(n)
			}
			err := n.begin(t, tt.args...)
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, tt.status, exitStatus(err))
			assert.NoFileExists(t, filepath.Join(n.configs, "production.yaml"))
			assert.Empty(t, n.out.String())
		})
	}
}
