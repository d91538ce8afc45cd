package constructs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// RunnerProps configures [NewRunner].
type RunnerProps struct {
	// Network holds the host. Required.
	Network *Network

	// Program installs the host. Required.
	Program *HostProgram

	// Region is the AWS region of the stack. Required.
	Region string

	// ImageID is the Amazon Linux image. Required.
	ImageID string

	// InstanceType is the EC2 instance type, such as "t3.large". Required.
	InstanceType string

	// RootVolumeGiB is the size of the only volume, in GiB: images, caches
	// and build folders. Required.
	RootVolumeGiB int

	// Version is the exact GitLab Runner version. Required; a later change
	// does not touch an installed runner.
	Version string

	// RepositoryURL is the base URL of the runner's package repositories. Required.
	RepositoryURL string

	// Generation is 1 for the first host. Required; a higher number is a new
	// instance.
	Generation int

	// ArtifactBucketName and ArtifactPrefix say where jobs may upload to. Required.
	ArtifactBucketName, ArtifactPrefix string
}

// Runner is the EC2 instance that runs pipeline jobs in Docker. It is apart from
// the server, with a role of its own, because jobs run code of whoever can push.
// Jobs do not hold that role, but one with which they upload, and nothing else:
//
//	job's container ── 169.254.170.2 ──▶ host ── AssumeRole ──▶ JobRole
//	               └── the instance's metadata: one hop too far
//
// It holds no data worth keeping, so nothing protects it: a new image, a larger
// volume or the next generation is a new host, and CloudFormation terminates the
// old one when the new one is installed.
type Runner struct {
	Instance   awsec2.Instance
	InstanceID *string
	// Role is the host's, JobRole that of its jobs.
	Role, JobRole awsiam.Role
	// FetchesProgram lets the host fetch the hosts' program, TakesJobRole lets it
	// take the role of its jobs.
	FetchesProgram, TakesJobRole constructs.IDependable
	// Installed is when the host can run jobs.
	Installed constructs.IDependable
}

// NewRunner defines a Runner under scope.
func NewRunner(scope constructs.Construct, id string, props RunnerProps) *Runner {
	scope = constructs.NewConstruct(scope, &id)

	group := awsec2.NewSecurityGroup(scope, jsii.String("SecurityGroup"), &awsec2.SecurityGroupProps{
		Vpc:              props.Network.VPC,
		Description:      jsii.String("GitLab Runner: nothing comes in"),
		AllowAllOutbound: jsii.Bool(true),
	})
	awscdk.Tags_Of(group).Add(jsii.String("Name"), jsii.String("gitlab-runner"), nil)

	instance, role := newHost(scope, hostProps{
		network: props.Network, region: props.Region, imageID: props.ImageID, instanceType: props.InstanceType,
		rootVolumeGiB: props.RootVolumeGiB, securityGroup: group, name: "gitlab-runner",
		// Jobs are containers, and the host's role is none of theirs.
		metadataHops: 1,
		suffix:       generationSuffix(props.Generation),
	})
	acknowledge(instance, finding{
		rule:   "AwsSolutions-EC29",
		reason: "The host holds nothing that is worth keeping. CloudFormation has to be able to remove it when it is replaced.",
	})
	jobs, takes := jobRole(scope, role)
	acknowledge(grantArtifacts(role, jobs, props), finding{
		rule: "AwsSolutions-IAM5",
		appliesTo: []string{
			objectWildcard(props.ArtifactBucketName, props.ArtifactPrefix),
			objectWildcard(props.ArtifactBucketName, statusPrefix),
			objectWildcard(props.ArtifactBucketName, tokenPrefix),
		},
		reason: "Each application and each upload has a key of its own under these prefixes; the bucket's policy, and the trigger by the job's token, decide what is deployed.",
	})

	fetch := props.Program.Serve(scope, "FetchesProgram", role)
	document := NewHostDocument(scope, "InstallDocument", HostDocumentProps{
		Program:        props.Program,
		Command:        "install-runner",
		Description:    "Install Docker and GitLab Runner; what is installed is left as it is",
		TimeoutSeconds: installSeconds,
		Arguments: []DocumentArgument{
			{Flag: "--version", Value: props.Version},
			{Flag: "--repository-url", Value: props.RepositoryURL},
		},
		Parameters: []DocumentParameter{
			{Name: "SignalUrl", Flag: "--signal-url", Description: "Wait condition that is told the outcome", Pattern: signalURLPattern},
		},
	})
	// Each host waits for an installation of its own: a wait condition works once.
	installation := NewInstallation(scope, "Installation"+props.hostHash(), InstallationProps{
		Document:       document,
		InstanceID:     instance.InstanceId(),
		After:          append([]constructs.IDependable{role, fetch}, props.Network.Egress...),
		TimeoutSeconds: installSeconds,
	})
	return &Runner{Instance: instance, InstanceID: instance.InstanceId(), Role: role, JobRole: jobs, FetchesProgram: fetch, TakesJobRole: takes, Installed: installation.Done}
}

// hostHash stands for one host: whatever can make CloudFormation replace the
// instance changes it. A host that stays after all runs its installation again,
// which changes nothing and reports so.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-instance.html
func (props RunnerProps) hostHash() string {
	subnet := props.Network.GitLabSubnet
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s %d %s %s %s",
		props.Generation, props.ImageID, props.InstanceType, props.RootVolumeGiB,
		*props.Network.VPC.VpcCidrBlock(), *subnet.Ipv4CidrBlock(), *subnet.AvailabilityZone()))
	return hex.EncodeToString(sum[:4])
}

// jobRole defines the role of jobs, which their host alone may take. A session of
// it ends within the hour, as of every role that another one takes.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
func jobRole(scope constructs.Construct, host awsiam.Role) (role awsiam.Role, takes awsiam.Policy) {
	role = awsiam.NewRole(scope, jsii.String("JobRole"), &awsiam.RoleProps{
		AssumedBy:   awsiam.NewArnPrincipal(host.RoleArn()),
		Description: jsii.String("What jobs of the runner may do in AWS: upload, and see what becomes of it"),
	})
	return role, grant(scope, "TakesJobRole", host, allow("TakeJobRole", []*string{role.RoleArn()}, "sts:AssumeRole"))
}

// grantArtifacts lets jobs put artifacts and tokens, which they cannot read, and
// read the state of what they put. The policy's id is of the time when the host's
// role had these rights, and jobs held that.
func grantArtifacts(host, jobs awsiam.Role, props RunnerProps) awsiam.Policy {
	artifacts := objectARN(props.ArtifactBucketName, props.ArtifactPrefix+"*")
	tokens := objectARN(props.ArtifactBucketName, tokenPrefix+"*")
	states := objectARN(props.ArtifactBucketName, statusPrefix+"*")
	list := allow("ListStates", []*string{jsii.String(bucketARN(props.ArtifactBucketName))}, "s3:ListBucket")
	list.AddCondition(jsii.String("StringLike"), map[string]any{"s3:prefix": statusPrefix + "*"})
	return awsiam.NewPolicy(host, jsii.String("Artifacts"), &awsiam.PolicyProps{
		Roles: &[]awsiam.IRole{jobs},
		Statements: &[]awsiam.PolicyStatement{
			allow("UploadArtifacts", []*string{&artifacts}, "s3:PutObject", "s3:AbortMultipartUpload"),
			allow("PutTokens", []*string{&tokens}, "s3:PutObject"),
			allow("ReadStates", []*string{&states}, "s3:GetObject"),
			list,
		},
	})
}
