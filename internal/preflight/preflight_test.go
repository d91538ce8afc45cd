package preflight

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	codedeploytypes "github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the goldens")

func TestS15_nothingIsWrong(t *testing.T) {
	for name, text := range map[string]string{"certificate": settings, "hosted zone": withHostedZone} {
		t.Run(name, func(t *testing.T) {
			report := newCloud().ask(t, text)
			assert.Empty(t, report.Findings)
			assert.False(t, report.Stops())
			assert.Equal(t, 11, report.Checks)
		})
	}
}

// one is a single mistake in an account where all else is right.
type one struct {
	name     string
	settings string // "" for settings
	change   func(*cloud)
	want     string // all that is found: place, got and want
	remedy   string // part of it
}

func stackOfA(outputs map[string]string) func(*cloud) {
	return func(c *cloud) { c.stacks["GitLab-test"] = existing(outputs) }
}

func existing(outputs map[string]string) cfntypes.Stack {
	s := cfntypes.Stack{StackStatus: cfntypes.StackStatusUpdateComplete}
	for key, value := range outputs {
		s.Outputs = append(s.Outputs, cfntypes.Output{OutputKey: &key, OutputValue: &value})
	}
	return s
}

func all(changes ...func(*cloud)) func(*cloud) {
	return func(c *cloud) {
		for _, change := range changes {
			change(c)
		}
	}
}

func image(change func(*ec2types.Image)) func(*cloud) {
	return func(c *cloud) {
		i := c.images["ami-00000000000000001"]
		change(&i)
		c.images["ami-00000000000000001"] = i
	}
}

func volume(change func(*ec2types.Volume)) func(*cloud) {
	return func(c *cloud) {
		v := c.volumes["vol-00000000000000001"]
		change(&v)
		c.volumes["vol-00000000000000001"] = v
	}
}

func attachedTo(instance string) func(*cloud) {
	return volume(func(v *ec2types.Volume) {
		v.State = ec2types.VolumeStateInUse
		v.Attachments = []ec2types.VolumeAttachment{{InstanceId: &instance}}
	})
}

func style(deployment codedeploytypes.DeploymentType, option codedeploytypes.DeploymentOption) func(*cloud) {
	return func(c *cloud) {
		c.groups["web"][0].DeploymentStyle = &codedeploytypes.DeploymentStyle{DeploymentType: deployment, DeploymentOption: option}
	}
}

var withProvider = settings + "  existingProvider: true\n"

var mistakes = []one{
	{name: "a reader role that there is not", change: func(c *cloud) { delete(c.roles, "web-instance") },
		want: `28: deploy.applications[0].readerRoles[0]: got "web-instance", which does not exist, want a role of account 222222222222`, remedy: "create the role first"},
	{name: "a reader role with another path", change: func(c *cloud) { c.roles["batch-instance"] = "arn:aws:iam::222222222222:role/batch-instance" },
		want: `28: deploy.applications[0].readerRoles[1]: got "arn:aws:iam::222222222222:role/service/batch-instance", and the role of that name is "arn:aws:iam::222222222222:role/batch-instance", ` +
			`want a role of account 222222222222 with its path`, remedy: "write the whole ARN: arn:aws:iam::222222222222:role/batch-instance"},
	{name: "a reader role whose name has a path in AWS", change: func(c *cloud) { c.roles["web-instance"] = "arn:aws:iam::222222222222:role/team/web-instance" },
		want: `28: deploy.applications[0].readerRoles[0]: got "web-instance", and the role of that name is "arn:aws:iam::222222222222:role/team/web-instance", want a role of account 222222222222 with its path`},

	{name: "a break-glass role that there is not", change: func(c *cloud) { delete(c.roles, "break-glass") },
		want: `23: gitlab.breakGlassRoles[0]: got "break-glass", which does not exist, want a role of account 111111111111`, remedy: "create the role first"},

	{name: "a certificate that there is not", change: func(c *cloud) { c.certificate = nil },
		want: "13: gitlab.loadBalancer.certificateArn: got a certificate that does not exist, want one of account 111111111111 in ap-northeast-1", remedy: "for gitlab.example.com"},
	{name: "a certificate that is not validated", change: func(c *cloud) { c.certificate.Status = acmtypes.CertificateStatusPendingValidation },
		want: `13: gitlab.loadBalancer.certificateArn: got a certificate that is "PENDING_VALIDATION", want one that is ISSUED`, remedy: "make the DNS records"},
	{name: "a certificate for another host", change: func(c *cloud) {
		c.certificate.DomainName, c.certificate.SubjectAlternativeNames = aws.String("example.com"), []string{"example.com", "*.gitlab.example.com"}
	}, want: "13: gitlab.loadBalancer.certificateArn: got a certificate for example.com, *.gitlab.example.com, want one for gitlab.example.com"},
	{name: "a certificate that ends this week", change: func(c *cloud) { c.certificate.NotAfter = aws.Time(today.Add(7*24*time.Hour - time.Second)) },
		want: "13: gitlab.loadBalancer.certificateArn: got a certificate that is valid until 2026-12-04T11:59:59Z, want one that is valid for another 7 days"},

	{name: "a hosted zone that there is not", settings: withHostedZone, change: func(c *cloud) { c.zone = nil },
		want: `14: gitlab.loadBalancer.hostedZone.id: got "Z0123456789ABCDEFGHIJ", which does not exist, want a public hosted zone of account 111111111111`},
	{name: "a hosted zone of another account", settings: withHostedZone, change: func(c *cloud) {
		c.refuse["GetHostedZone"] = failure("AccessDenied", "User: arn:aws:sts::111111111111:assumed-role/admin/me is not authorized to access this resource")
	}, want: `14: gitlab.loadBalancer.hostedZone.id: got "Z0123456789ABCDEFGHIJ", a zone of another account, want a public hosted zone of account 111111111111`, remedy: "use certificateArn"},
	{name: "a private hosted zone", settings: withHostedZone, change: func(c *cloud) { c.zone.HostedZone.Config.PrivateZone = true },
		want: `14: gitlab.loadBalancer.hostedZone.id: got "Z0123456789ABCDEFGHIJ", a private zone, want a public hosted zone of account 111111111111`},
	{name: "a hosted zone of another name", settings: withHostedZone, change: func(c *cloud) { c.zone.HostedZone.Name = aws.String("example.org.") },
		want: `15: gitlab.loadBalancer.hostedZone.name: got "example.com" for a zone that is named "example.org", want the zone's own name`},

	{name: "a zone that the account does not have", change: func(c *cloud) { c.zones = slices.Delete(c.zones, 1, 2) },
		want: `7: gitlab.network.zones[1]: got "ap-northeast-1c", which account 111111111111 does not have, want one of ap-northeast-1a, ap-northeast-1d`},
	{name: "a Local Zone", change: func(c *cloud) { c.zones[1].ZoneType = aws.String("local-zone") },
		want: `7: gitlab.network.zones[1]: got "ap-northeast-1c", which is a local-zone, want one of ap-northeast-1a, ap-northeast-1d`},
	{name: "a zone that is impaired", change: func(c *cloud) { c.zones[1].State = ec2types.AvailabilityZoneStateImpaired },
		want: `7: gitlab.network.zones[1]: got "ap-northeast-1c", which is "impaired", want one of ap-northeast-1a, ap-northeast-1d`},

	{name: "no room for a VPC", change: func(c *cloud) { c.vpcs = 5 },
		want: "5: gitlab.network: got 5 VPCs in the Region of account 111111111111, of at most 5, want room for one more", remedy: "--service-code vpc --quota-code L-F678F1CE --desired-value 6 --region ap-northeast-1"},
	{name: "no room for a VPC, after a stack that was rolled back", change: func(c *cloud) {
		c.vpcs = 5
		c.stacks["GitLab-test"] = cfntypes.Stack{StackStatus: cfntypes.StackStatusRollbackComplete}
	}, want: "5: gitlab.network: got 5 VPCs in the Region of account 111111111111, of at most 5, want room for one more"},
	{name: "no room for an address, by a quota of the account's own", change: func(c *cloud) { c.addresses, c.quotas = 7, map[string]float64{"L-0263D0A3": 7} },
		want: "5: gitlab.network: got 7 Elastic IPs in the Region of account 111111111111, of at most 7, want room for one more"},
	{name: "no room for a NAT gateway in the first zone", change: func(c *cloud) {
		c.subnets = map[string]string{"a1": "ap-northeast-1a", "a2": "ap-northeast-1a", "a3": "ap-northeast-1a", "c1": "ap-northeast-1c"}
		c.gateways = []string{"c1", "a1", "a2", "a3", "a3", "a1"}
	}, want: "5: gitlab.network: got 5 NAT gateways in the zone of account 111111111111, of at most 5, want room for one more"},

	{name: "an image that there is not", change: func(c *cloud) { delete(c.images, "ami-00000000000000001") },
		want:   `16: gitlab.server.imageId: got "ami-00000000000000001", which is not there, or not shared with the account, want an image that account 111111111111 can use in ap-northeast-1`,
		remedy: "aws ssm get-parameter --region ap-northeast-1 --name /aws/service/ami-amazon-linux-latest/amzn2-ami-hvm-x86_64-gp2"},
	{name: "an image that is on its way", change: image(func(i *ec2types.Image) { i.State = ec2types.ImageStatePending }),
		want: `16: gitlab.server.imageId: got "ami-00000000000000001", which is "pending", want an image that account 111111111111 can use in ap-northeast-1`},
	{name: "an image of another system", change: image(func(i *ec2types.Image) { i.Name = aws.String("al2023-ami-2023.11.20260427.1-kernel-6.1-x86_64") }),
		want: `16: gitlab.server.imageId: got "ami-00000000000000001", which is amazon-linux-2023 (its name is "al2023-ami-2023.11.20260427.1-kernel-6.1-x86_64"), want amazon-linux-2`},
	{name: "a runner's image of another system than its key says", change: func(c *cloud) {
		c.images["ami-00000000000000002"] = amazons("amzn2-ami-hvm-2.0.20260427.1-arm64-gp2", ec2types.ArchitectureValuesArm64)
	}, want: `21: gitlab.runner.imageId: got "ami-00000000000000002", which is amazon-linux-2 (its name is "amzn2-ami-hvm-2.0.20260427.1-arm64-gp2"), want amazon-linux-2023`,
		remedy: "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"},
	{name: "an image that costs a licence", change: image(func(i *ec2types.Image) {
		i.Name, i.ImageOwnerAlias, i.PlatformDetails = aws.String("amzn2-ami-of-mine"), nil, aws.String("Red Hat Enterprise Linux")
	}), want: `16: gitlab.server.imageId: got "ami-00000000000000001", which is Red Hat Enterprise Linux (its name is "amzn2-ami-of-mine"), want amazon-linux-2`},
	{name: "a minimal image", change: image(func(i *ec2types.Image) { i.Name = aws.String("amzn2-ami-minimal-hvm-2.0.20260427.1-x86_64-ebs") }),
		want: `16: gitlab.server.imageId: got "ami-00000000000000001", which is minimal (its name is "amzn2-ami-minimal-hvm-2.0.20260427.1-x86_64-ebs"), want an image with the SSM Agent in it: nothing else reaches the host`},
	{name: "an instance type of another architecture", change: func(c *cloud) { c.types["m5.xlarge"] = ec2types.ArchitectureTypeArm64 },
		want: `17: gitlab.server.instanceType: got "m5.xlarge", of arm64, for an image of x86_64, want an instance type of the image's processor architecture`},
	{name: "an instance type that there is not", change: func(c *cloud) { delete(c.types, "t4g.large") },
		want: `22: gitlab.runner.instanceType: got "t4g.large", which there is not in ap-northeast-1, want an instance type of the Region`},
	{name: "an instance type that the first zone has not", change: func(c *cloud) { c.offered["m5.xlarge"] = []string{"ap-northeast-1d", "ap-northeast-1c"} },
		want:   `17: gitlab.server.instanceType: got "m5.xlarge", which there is not in ap-northeast-1a, want an instance type of the first zone`,
		remedy: "ap-northeast-1c, ap-northeast-1d"},

	{name: "a volume that there is not", change: func(c *cloud) { c.volumes = nil },
		want: `18: gitlab.server.dataVolumeId: got "vol-00000000000000001", which does not exist in ap-northeast-1, want a volume of account 111111111111`},
	{name: "a volume of another zone", change: volume(func(v *ec2types.Volume) { v.AvailabilityZone = aws.String("ap-northeast-1c") }),
		want: `18: gitlab.server.dataVolumeId: got "vol-00000000000000001", which is in ap-northeast-1c, want a volume of ap-northeast-1a, where the server is`},
	{name: "a volume that is on its way", change: volume(func(v *ec2types.Volume) { v.State = ec2types.VolumeStateCreating }),
		want: `18: gitlab.server.dataVolumeId: got "vol-00000000000000001", which is "creating", want a volume that is available`},
	{name: "a volume of another server", change: all(attachedTo("i-another"), stackOfA(map[string]string{"ServerInstanceId": "i-ours"})),
		want: `18: gitlab.server.dataVolumeId: got "vol-00000000000000001", which is attached to "i-another", want a volume that is free, or this stack's server's`},

	{name: "a bucket of somebody else", change: func(c *cloud) { c.taken = map[string]string{"example-deploy-test": "ap-northeast-1"} },
		want: `27: deploy.artifacts.bucketName: got "example-deploy-test", which belongs to somebody else, want a name that is free in all of AWS`},
	{name: "a bucket of another Region", change: func(c *cloud) { c.taken = map[string]string{"example-deploy-test": "eu-west-1"} },
		want: `27: deploy.artifacts.bucketName: got "example-deploy-test", which is there already, in "eu-west-1", want a name that is free in all of AWS`},
	{name: "a bucket that is left over", change: func(c *cloud) { c.buckets = map[string]string{"example-deploy-test": "ap-northeast-1"} },
		want:   `27: deploy.artifacts.bucketName: got "example-deploy-test", a bucket of account 222222222222 that no stack has: left over from an earlier one, want a name that is free`,
		remedy: "aws s3api delete-bucket --bucket example-deploy-test --expected-bucket-owner 222222222222"},
	{name: "a bucket that a failed stack has let go of", change: func(c *cloud) {
		c.buckets = map[string]string{"example-deploy-test": "ap-northeast-1"}
		c.stacks["Deploy-test"] = cfntypes.Stack{StackStatus: cfntypes.StackStatusRollbackComplete}
		c.belongs = map[string]cfntypes.StackResource{"example-deploy-test": {StackName: aws.String("Deploy-test"), ResourceStatus: cfntypes.ResourceStatusDeleteSkipped}}
	}, want: `27: deploy.artifacts.bucketName: got "example-deploy-test", a bucket of account 222222222222 that no stack has: left over from an earlier one, want a name that is free`},
	{name: "a bucket of another stack", change: func(c *cloud) {
		c.buckets = map[string]string{"example-deploy-test": "ap-northeast-1"}
		c.belongs = map[string]cfntypes.StackResource{"example-deploy-test": {StackName: aws.String("Deploy-production"), ResourceStatus: cfntypes.ResourceStatusCreateComplete}}
	}, want: `27: deploy.artifacts.bucketName: got "example-deploy-test", which belongs to the stack "Deploy-production", want a name that is free`},

	{name: "an application that there is not", change: func(c *cloud) { c.groups = nil },
		want: `30: deploy.deploymentGroups[0].application: got "web", which there is not, want an application of CodeDeploy in account 222222222222, ap-northeast-1`},
	{name: "a group that there is not", change: func(c *cloud) { c.groups["web"] = nil },
		want: `31: deploy.deploymentGroups[0].deploymentGroup: got "web-blue-green", which there is not, want a deployment group of "web" in account 222222222222`},
	{name: "a group that deploys in place", change: style(codedeploytypes.DeploymentTypeInPlace, codedeploytypes.DeploymentOptionWithTrafficControl),
		want: `31: deploy.deploymentGroups[0].deploymentGroup: got "web-blue-green", which deploys in place, want a blue/green deployment group: the trigger rejects artifacts for any other`},
	{name: "a group without a style", change: func(c *cloud) { c.groups["web"][0].DeploymentStyle = nil },
		want: `31: deploy.deploymentGroups[0].deploymentGroup: got "web-blue-green", which deploys in place, want a blue/green deployment group: the trigger rejects artifacts for any other`},
	{name: "a group without traffic control", change: style(codedeploytypes.DeploymentTypeBlueGreen, codedeploytypes.DeploymentOptionWithoutTrafficControl),
		want: `31: deploy.deploymentGroups[0].deploymentGroup: got "web-blue-green", which moves no traffic, want a blue/green deployment group WITH_TRAFFIC_CONTROL`},

	{name: "a provider that is there", change: func(c *cloud) { c.providers = map[string][]string{arnOfProviderA: {"sts.amazonaws.com"}} },
		want: "32: pipeline.existingProvider: got false, and account 111111111111 has an identity provider for ci.example.com already, want true where there is one: IAM takes each issuer once"},
	{name: "a provider of another stack", change: func(c *cloud) {
		c.providers = map[string][]string{arnOfProviderA: {"sts.amazonaws.com"}}
		c.belongs = map[string]cfntypes.StackResource{arnOfProviderA: {StackName: aws.String("GitLab-production"), ResourceStatus: cfntypes.ResourceStatusCreateComplete}}
	}, want: "32: pipeline.existingProvider: got false, and account 111111111111 has an identity provider for ci.example.com already, want true where there is one: IAM takes each issuer once"},
	{name: "a provider that is not there", settings: withProvider, change: func(c *cloud) { c.providers = map[string][]string{arnOfProviderB: {"sts.amazonaws.com"}} },
		want: "36: pipeline.existingProvider: got true, and account 111111111111 has no identity provider for ci.example.com, want a provider that exists"},
	{name: "a provider for others", settings: withProvider, change: func(c *cloud) {
		c.providers = map[string][]string{arnOfProviderA: {"sts.amazonaws.com"}, arnOfProviderB: {"https://gitlab.com"}}
	}, want: `36: pipeline.existingProvider: got true, and the provider of account 222222222222 admits the audiences "https://gitlab.com", want one that admits sts.amazonaws.com`},
}

func TestS15_eachMistakeIsFoundWithPlaceAndRemedy(t *testing.T) {
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			c := newCloud()
			m.change(c)
			if m.settings == "" {
				m.settings = settings
			}
			report := c.ask(t, m.settings)
			require.Len(t, report.Findings, 1)
			f := report.Findings[0]
			assert.Equal(t, m.want, fmt.Sprintf("%d: %s: got %s, want %s", f.Place.Line, f.Place.Path, f.Got, f.Want))
			assert.NotEmpty(t, f.Remedy)
			assert.Contains(t, f.Remedy, m.remedy)
			assert.True(t, report.Stops())
		})
	}
}

func TestS15_whatLooksLikeAMistakeAndIsNone(t *testing.T) {
	ours := existing(map[string]string{"ArtifactBucketName": "example-deploy-test"})
	for name, change := range map[string]func(*cloud){
		"a certificate with a star": func(c *cloud) { c.certificate.DomainName = aws.String("*.Example.com") },
		"a certificate whose other name it is": func(c *cloud) {
			c.certificate.DomainName, c.certificate.SubjectAlternativeNames = aws.String("example.org"), []string{"example.org", "gitlab.example.com"}
		},
		"a certificate with eight days":             func(c *cloud) { c.certificate.NotAfter = aws.Time(today.AddDate(0, 0, 8)) },
		"our volume, on our server":                 all(attachedTo("i-ours"), stackOfA(map[string]string{"ServerInstanceId": "i-ours"})),
		"full quotas, and a stack that has its own": all(stackOfA(nil), func(c *cloud) { c.vpcs, c.addresses = 5, 5 }),
		"a NAT gateway quota that the other zone fills": func(c *cloud) {
			c.subnets, c.gateways = map[string]string{"a1": "ap-northeast-1a", "c1": "ap-northeast-1c"}, []string{"c1", "c1", "c1", "c1", "c1", "a1"}
		},
		"our own bucket": func(c *cloud) {
			c.stacks["Deploy-test"], c.buckets = ours, map[string]string{"example-deploy-test": "ap-northeast-1"}
		},
		"our own bucket, which we may not list": func(c *cloud) {
			c.stacks["Deploy-test"], c.buckets = ours, map[string]string{"example-deploy-test": "ap-northeast-1"}
			c.refuse["HeadBucket"] = errors.New("403")
		},
		"our own bucket, in a stack that is under way": func(c *cloud) {
			c.buckets = map[string]string{"example-deploy-test": "ap-northeast-1"}
			c.belongs = map[string]cfntypes.StackResource{"example-deploy-test": {StackName: aws.String("Deploy-test"), ResourceStatus: cfntypes.ResourceStatusCreateComplete}}
		},
		"our own providers": func(c *cloud) {
			c.providers = map[string][]string{arnOfProviderA: {"sts.amazonaws.com"}, arnOfProviderB: {"sts.amazonaws.com"}}
			c.belongs = map[string]cfntypes.StackResource{
				arnOfProviderA: {StackName: aws.String("GitLab-test"), ResourceStatus: cfntypes.ResourceStatusUpdateComplete},
				arnOfProviderB: {StackName: aws.String("Deploy-test"), ResourceStatus: cfntypes.ResourceStatusCreateComplete},
			}
		},
		"an image that is gone, of a server that runs": all(stackOfA(map[string]string{"ServerInstanceId": "i-ours"}), func(c *cloud) {
			delete(c.images, "ami-00000000000000001")
			c.instances = []ec2types.Instance{{InstanceId: aws.String("i-ours"), ImageId: aws.String("ami-00000000000000001"), InstanceType: "m5.xlarge"}}
		}),
		"a group of ECS": func(c *cloud) { c.groups["web"][0].ComputePlatform = codedeploytypes.ComputePlatformEcs },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud()
			change(c)
			assert.Empty(t, c.ask(t, settings).Findings)
		})
	}
}

func TestS15_aNewImageOfAServerThatRunsIsAskedFor(t *testing.T) {
	c := newCloud()
	stackOfA(map[string]string{"ServerInstanceId": "i-ours"})(c)
	c.instances = []ec2types.Instance{{InstanceId: aws.String("i-ours"), ImageId: aws.String("ami-of-yesterday"), InstanceType: "m5.xlarge"}}
	delete(c.images, "ami-00000000000000001")
	assert.Len(t, c.ask(t, settings).Findings, 1)
}

// A server of Amazon Linux 2 runs, and its configuration says another system.
func TestS15_aServerDoesNotChangeItsSystem(t *testing.T) {
	const system = "    operatingSystem: amazon-linux-2023\n"
	for name, tt := range map[string]struct {
		image, settings string // of the new configuration; "" for the image that runs
		want            string // of all findings about the system
		warning         bool
	}{
		"the system alone": {"", system,
			`got "amazon-linux-2023", and "i-ours" of this environment is amazon-linux-2, want the system that the host has: security updates are chosen by it`, false},
		"with an image of it": {"ami-00000000000000003", system,
			`got "amazon-linux-2023", and "i-ours" of this environment is amazon-linux-2, want the system that the server has: its data volume is not for another one`, false},
		"with an image of it, and let to be replaced": {"ami-00000000000000003", system + "    allowReplacement: true\n",
			`got "amazon-linux-2023", and "i-ours" of this environment is amazon-linux-2, want a data volume that no server of another system has used: the installation refuses it otherwise`, true},
		"another image of the same system": {"ami-00000000000000004", "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud()
			stackOfA(map[string]string{"ServerInstanceId": "i-ours"})(c)
			c.instances = []ec2types.Instance{{InstanceId: aws.String("i-ours"), ImageId: aws.String("ami-00000000000000001"), InstanceType: "m5.xlarge"}}
			c.images["ami-00000000000000003"] = amazons("al2023-ami-2023.11.20260427.1-kernel-6.1-x86_64", ec2types.ArchitectureValuesX8664)
			c.images["ami-00000000000000004"] = amazons("amzn2-ami-hvm-2.0.20260612.1-x86_64-gp2", ec2types.ArchitectureValuesX8664)
			text := strings.Replace(settings, "version: 13.10.2", "version: 18.11.13", 1)
			require.NotEqual(t, settings, text)
			text = strings.Replace(text, "version: 13.10.0", "version: 18.11.0", 1)
			text = strings.Replace(text, "    imageId: ami-00000000000000001\n", "    imageId: "+cmp.Or(tt.image, "ami-00000000000000001")+"\n"+tt.settings, 1)
			report := c.ask(t, text)
			var got []string
			for _, f := range report.Findings {
				got = append(got, fmt.Sprintf("%s: got %s, want %s", f.Place.Path, f.Got, f.Want))
				assert.Equal(t, tt.warning, f.Warning)
				assert.Contains(t, f.Remedy, "docs/amazon-linux-2023.md")
			}
			if tt.want == "" {
				assert.Empty(t, got)
			} else {
				assert.Equal(t, []string{"gitlab.server.operatingSystem: " + tt.want}, got)
			}
			assert.Equal(t, tt.want != "" && !tt.warning, report.Stops())
		})
	}
}

// everything breaks one thing of each check.
func everything(c *cloud) {
	for _, i := range []string{
		"a reader role that there is not", "a certificate that is not validated", "a Local Zone", "no room for a VPC", "an image of another system",
		"an instance type that the first zone has not", "a volume of another zone", "a bucket that is left over", "a group that deploys in place", "a provider that is there",
	} {
		n := slices.IndexFunc(mistakes, func(m one) bool { return m.name == i })
		mistakes[n].change(c)
	}
	c.refuse["DescribeInstanceTypes"] = failure("UnauthorizedOperation", "You are not authorized to perform this operation. User: me is not authorized to perform: ec2:DescribeInstanceTypes")
}

func TestS15_allFindingsComeAtOnceInTheOrderOfTheFile(t *testing.T) {
	c := newCloud()
	everything(c)
	report := c.ask(t, settings)
	report.Took = 1234 * time.Millisecond
	var printed strings.Builder
	require.NoError(t, report.Print(&printed))
	got := regexp.MustCompile(`(?m)^\S*/test\.yaml:`).ReplaceAllString(printed.String(), "config/test.yaml:")
	const golden = "testdata/findings.txt"
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "rewrite it with go test ./internal/preflight -update")
}

func TestS15_whereAnybodyMayDeployIsWarnedOfAndStopsNothing(t *testing.T) {
	open := strings.Replace(settings, "      deploymentGroup: web-blue-green\n", "      deploymentGroup: web-blue-green\n      projects: any\n", 1)
	print := func(r Report) string {
		var printed strings.Builder
		require.NoError(t, r.Print(&printed))
		return printed.String()
	}
	report := newCloud().ask(t, open)
	require.Len(t, report.Findings, 1)
	assert.False(t, report.Stops())
	assert.Equal(t, 12, report.Checks)
	assert.Regexp(t, `test\.yaml:32: deploy\.deploymentGroups\[0\]\.projects: warning: got any: every job that can upload may deploy to "web-blue-green", `+
		`whatever its project and branch, want a list of projects, and refs\n    remedy: name the projects and refs`, print(report))
	assert.Regexp(t, `: nothing is wrong, 1 warning, which does not stop a deploy\n$`, print(report))

	c := newCloud()
	c.refuse = map[string]error{"GetRole": failure("AccessDenied", "not authorized to perform: iam:GetRole")}
	report = c.ask(t, open)
	assert.False(t, report.Stops())
	assert.Regexp(t, `: nothing wrong was found, 1 warning, \d could not be asked about, which does not stop a deploy\n$`, print(report))

	c = newCloud()
	c.certificate.Status = "EXPIRED"
	report = c.ask(t, open)
	assert.True(t, report.Stops(), "a warning excuses nothing")
	assert.Regexp(t, `: 1 to be fixed first, 1 warning\n$`, print(report))
}

func TestS15_aRightThatIsMissingIsNamedAndStopsNothing(t *testing.T) {
	for operation, refusal := range map[string]error{
		// The codes and words of each service for the same thing.
		"GetRole":                       failure("AccessDenied", "User: me is not authorized to perform: iam:GetRole on resource: role web-instance"),
		"GetOpenIDConnectProvider":      failure("AccessDenied", "User: me is not authorized to perform: iam:GetOpenIDConnectProvider"),
		"DescribeCertificate":           failure("AccessDeniedException", "User: me is not authorized to perform: acm:DescribeCertificate"),
		"GetHostedZone":                 failure("AccessDenied", "User: me is not authorized to perform: route53:GetHostedZone"),
		"DescribeAvailabilityZones":     failure("UnauthorizedOperation", "You are not authorized to perform this operation."),
		"DescribeImages":                failure("UnauthorizedOperation", "You are not authorized to perform this operation."),
		"DescribeInstanceTypes":         failure("UnauthorizedOperation", "You are not authorized to perform this operation."),
		"DescribeInstanceTypeOfferings": failure("UnauthorizedOperation", "You are not authorized to perform this operation."),
		"DescribeVolumes":               failure("UnauthorizedOperation", "You are not authorized to perform this operation."),
		"DescribeVpcs":                  failure("UnauthorizedOperation", "You are not authorized to perform this operation."),
		"DescribeAddresses":             failure("UnauthorizedOperation", "You are not authorized to perform this operation."),
		"DescribeNatGateways":           failure("UnauthorizedOperation", "You are not authorized to perform this operation."),
		"DescribeSubnets":               failure("UnauthorizedOperation", "You are not authorized to perform this operation."),
		"GetServiceQuota":               failure("AccessDeniedException", "User: me is not authorized to perform: servicequotas:GetServiceQuota"),
		"GetAWSDefaultServiceQuota":     failure("AccessDeniedException", "User: me is not authorized to perform: servicequotas:GetAWSDefaultServiceQuota"),
		"BatchGetDeploymentGroups":      failure("AccessDeniedException", "User: me is not authorized to perform: codedeploy:BatchGetDeploymentGroups"),
		"DescribeStacks":                failure("AccessDenied", "User: me is not authorized to perform: cloudformation:DescribeStacks"),
	} {
		t.Run(operation, func(t *testing.T) {
			c := newCloud()
			c.refuse[operation] = refusal
			text := settings
			if operation == "GetHostedZone" {
				text = withHostedZone
			}
			report := c.ask(t, text)
			require.NotEmpty(t, report.Findings)
			assert.False(t, report.Stops())
			for _, f := range report.Findings {
				assert.Regexp(t, `: could not be checked: it needs [a-z0-9]+:`+operation+`.* in account (1{12}|2{12}) \(AWS says: `+code(refusal)+`: `, f.String())
				assert.True(t, f.MissingRight)
				assert.True(t, documented(f.Unchecked), "the table of checks does not list what this needs: %s", f.Unchecked)
			}
		})
	}
}

func documented(unchecked string) bool {
	if strings.Contains(unchecked, describeStacks) {
		return true // needed by several
	}
	return slices.ContainsFunc(checks, func(c check) bool {
		return slices.ContainsFunc(c.actions, func(action string) bool { return strings.Contains(unchecked, "it needs "+action+" ") })
	})
}

func TestS15_aBucketThatMayNotBeAskedAboutIsUnknown(t *testing.T) {
	c := newCloud()
	c.taken = map[string]string{"example-deploy-test": "ap-northeast-1"}
	c.refuse["ListBuckets"] = errors.New("403")
	report := c.ask(t, settings)
	require.Len(t, report.Findings, 1)
	assert.Equal(t, "the name is taken, by somebody else or by account 222222222222 itself; to tell, it needs s3:ListBucket or s3:ListAllMyBuckets there "+
		"(AWS says: AccessDenied: User: me is not authorized to perform: s3:ListAllMyBuckets)", report.Findings[0].Unchecked)
	assert.False(t, report.Stops())
}

func TestS15_anImageThatIsNotAmazonsIsUnknown(t *testing.T) {
	for _, alias := range []*string{nil, aws.String("aws-marketplace"), aws.String("self")} {
		c := newCloud()
		image(func(i *ec2types.Image) { i.ImageOwnerAlias = alias })(c)
		report := c.ask(t, settings)
		require.Len(t, report.Findings, 1)
		assert.Equal(t, `ami-00000000000000001 is not one of Amazon's own images (its name is "amzn2-ami-hvm-2.0.20260427.1-x86_64-gp2"): make sure that it is amazon-linux-2 with the SSM Agent`,
			report.Findings[0].Unchecked)
		assert.False(t, report.Stops())
	}
}

func TestS15_whoMayAskNothingMayDeploy(t *testing.T) {
	c := newCloud()
	c.refuse["*"] = failure("AccessDenied", "no")
	report := c.ask(t, settings)
	assert.NotEmpty(t, report.Findings)
	assert.False(t, report.Stops(), "a pipeline's role has none of these rights")
}

func TestS15_anAWSThatDoesNotAnswerStops(t *testing.T) {
	for name, err := range map[string]error{
		"no connection": errors.New("dial tcp: lookup iam.amazonaws.com: no such host"),
		"expired":       failure("ExpiredToken", "The security token included in the request is expired"),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud()
			c.before = func(context.Context, string) error { return err }
			report := c.ask(t, settings)
			// S3 is on a server here, and answers.
			report.Answered = 0
			assert.True(t, report.Stops())
			var printed strings.Builder
			require.NoError(t, report.Print(&printed))
			assert.Contains(t, printed.String(), "AWS answered none of them, so nothing is known")
		})
	}
	assert.False(t, answered(errors.New("dial tcp")))
	assert.False(t, answered(failure("ExpiredToken", "")))
	assert.True(t, answered(failure("AccessDenied", "")))
}

func TestS15_anErrorIsToldWithoutTheSDKsWords(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer server.Close()
	client := func(endpoint string) *s3.Client {
		return s3.New(s3.Options{Region: "ap-northeast-1", BaseEndpoint: &endpoint, UsePathStyle: true, Retryer: aws.NopRetryer{}, Credentials: aws.AnonymousCredentials{}})
	}
	bucket := &s3.HeadBucketInput{Bucket: aws.String("example")}
	_, err := client(server.URL).HeadBucket(t.Context(), bucket)
	assert.Contains(t, said(err), "Bad Gateway")
	assert.False(t, answered(err))
	server.Close()
	_, err = client(server.URL).HeadBucket(t.Context(), bucket)
	assert.Regexp(t, `^dial tcp 127\.0\.0\.1:\d+: connect: connection refused$`, said(err))
	assert.False(t, answered(err))
	assert.Equal(t, "no EC2 IMDS role found", said(&smithy.OperationError{ServiceID: "S3", OperationName: "HeadBucket", Err: errors.New("no EC2 IMDS role found")}))
}

func TestS15_noTextOfAWSControlsATerminal(t *testing.T) {
	c := newCloud()
	const nasty = "\x1b]0;owned\a\x1b[31mrot\u009b2J\u202egnorw\r\n日本語\x00\xff"
	c.roles["web-instance"] = "arn:aws:iam::222222222222:role/" + nasty + "/web-instance"
	c.certificate.Status = nasty
	image(func(i *ec2types.Image) { i.Name, i.ImageOwnerAlias = aws.String(nasty), nil })(c)
	c.zones[2].ZoneName = aws.String(nasty)
	c.zones[1].ZoneType = aws.String(nasty)
	c.offered["m5.xlarge"] = []string{nasty}
	c.providers = map[string][]string{}
	c.taken = map[string]string{"example-deploy-test": "eu-west-1"}
	c.refuse["GetServiceQuota"] = failure("AccessDeniedException", nasty)
	c.refuse["DescribeVolumes"] = failure(nasty, nasty)
	c.refuse["BatchGetDeploymentGroups"] = errors.New(nasty)
	var printed strings.Builder
	require.NoError(t, c.ask(t, settings).Print(&printed))
	assert.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f-\x{9f}\x{202a}-\x{202e}\x{2066}-\x{2069}\x{fffd}]`, printed.String())
	assert.Contains(t, printed.String(), "日本語")
	assert.Less(t, len([]rune(harmless(strings.Repeat("a", 10000)))), 400)
}

func TestS15_aThousandGroupsAreTenCalls(t *testing.T) {
	c := newCloud()
	text := strings.Builder{}
	text.WriteString(settings[:strings.Index(settings, "    - application")])
	for i := range 1000 {
		name := fmt.Sprintf("group-%03d", i)
		_, _ = fmt.Fprintf(&text, "    - application: web\n      deploymentGroup: %s\n", name)
		c.groups["web"] = append(c.groups["web"], blueGreen(name))
	}
	for i := range 5 {
		_, _ = fmt.Fprintf(&text, "    - application: other-%d\n      deploymentGroup: group\n", i)
		c.groups[fmt.Sprintf("other-%d", i)] = []codedeploytypes.DeploymentGroupInfo{blueGreen("group")}
	}
	c.groups["other-4"] = nil
	report := c.ask(t, text.String())
	assert.Equal(t, 10+5, c.calls["BatchGetDeploymentGroups"])
	require.Len(t, report.Findings, 1)
	assert.Equal(t, "deploy.deploymentGroups[1004].deploymentGroup", report.Findings[0].Place.Path)
}

func TestS15_callsRunSideBySideWithinABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		var now, most atomic.Int64
		c.before = func(context.Context, string) error {
			n := now.Add(1)
			defer now.Add(-1)
			for {
				seen := most.Load()
				if n <= seen || most.CompareAndSwap(seen, n) {
					break
				}
			}
			time.Sleep(time.Second)
			return nil
		}
		began := time.Now()
		p := &Preflight{Source: sourceOf(t, settings), Now: func() time.Time { return today }, CallsAtOnce: 3, Clients: map[Account]*Clients{A: withoutS3(c)}}
		report := p.Run(t.Context())
		assert.Empty(t, report.Findings)
		assert.EqualValues(t, 3, most.Load())
		assert.LessOrEqual(t, time.Since(began), time.Duration(report.Calls/3+4)*time.Second)
	})
}

func TestS15_aCallThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.before = func(ctx context.Context, operation string) error {
			if operation != "DescribeImages" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		began := time.Now()
		p := &Preflight{Source: sourceOf(t, settings), Now: func() time.Time { return today }, Clients: map[Account]*Clients{A: withoutS3(c)}}
		report := p.Run(t.Context())
		assert.Equal(t, defaultCallTimeout, time.Since(began))
		require.Len(t, report.Findings, 2)
		assert.Equal(t, "ec2:DescribeImages in account 111111111111: AWS did not answer in time", report.Findings[0].Unchecked)
		assert.False(t, report.Stops())
	})
}

// withoutS3 has no server, whose connections would keep synctest's clock from moving. Account A asks nothing of S3.
func withoutS3(c *cloud) *Clients {
	return &Clients{Stacks: c, Certificates: c, HostedZones: c, Zones: c, Images: c, InstanceTypes: c, Instances: c, Volumes: c, Quotas: c,
		Addresses: c, Gateways: c, Providers: c, Roles: c, Groups: c}
}

func TestS15_onlyTheAccountWithClientsIsAsked(t *testing.T) {
	for account, foreign := range map[Account][]string{
		A: {"HeadBucket", "BatchGetDeploymentGroups"},
		B: {"DescribeImages", "DescribeCertificate", "DescribeVpcs", "DescribeAvailabilityZones", "DescribeVolumes"},
	} {
		c := newCloud()
		report := c.ask(t, settings, func(p *Preflight) { p.Clients = map[Account]*Clients{account: p.Clients[account]} })
		assert.Empty(t, report.Findings)
		for _, operation := range foreign {
			assert.Zero(t, c.calls[operation], "%s in account %s", operation, account)
		}
	}
}

// The table of docs/operations.md is what a deployer's policy is made from.
func TestS15_theDocsListEachCheckWithItsRights(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) == 6 {
			rows[strings.TrimSpace(cells[1])+" "+strings.TrimSpace(cells[2])] = cells[3]
		}
	}
	for _, c := range checks {
		row := rows[c.name+" "+string(c.account)]
		if row == "" {
			row = rows[c.name+" A, B"]
		}
		assert.NotEmpty(t, row, "docs/operations.md has no row for %q of account %s", c.name, c.account)
		for _, action := range c.actions {
			assert.Contains(t, row, "`"+action+"`", c.name)
		}
	}
}
