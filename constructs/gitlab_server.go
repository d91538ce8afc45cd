package constructs

import (
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// GitLabServerProps configures [NewGitLabServer].
type GitLabServerProps struct {
	// Network holds the server. Required.
	Network *Network

	// Program installs GitLab. Required.
	Program *HostProgram

	// Region is the AWS region of the stack. Required.
	Region string

	// ImageID is the Amazon Linux 2 image. Required; changing it replaces the
	// instance, never the data volume.
	ImageID string

	// InstanceType is the EC2 instance type, such as "m5.xlarge". Required.
	InstanceType string

	// Generation is 1 for the first server. Required; a higher number is a new
	// instance, to which the data volume is attached.
	Generation int

	// RootVolumeGiB is the size of the system's volume in GiB. Required.
	RootVolumeGiB int

	// DataVolumeGiB is the size of the data volume in GiB. Required; without
	// effect on an existing volume.
	DataVolumeGiB int

	// BreakGlassRoleARNs are roles that may attach the data volume, make one of a
	// snapshot, and start the server when it is stopped. Optional.
	BreakGlassRoleARNs []string

	// DataVolumeID is an existing volume, in the zone of the gitlab subnet, that
	// is used as the data volume. Without it, the stack makes one.
	DataVolumeID string

	// Version is the exact GitLab version of the first installation, such as
	// "13.10.2". Required; a later change does not touch an installed GitLab.
	Version string

	// Edition is "ce" or "ee". Required.
	Edition string

	// RepositoryURL is the base URL of GitLab's package repositories. Required.
	RepositoryURL string

	// ExternalURL is the address that users see. Required.
	ExternalURL string

	// ReadableParameters are the names of the SSM parameters that the server may
	// read, such as "/gitlab-codedeploy/staging/agent". Without any, it reads none.
	ReadableParameters []string

	// Protected is when the termination of the instance is refused. Optional;
	// without it, never.
	Protected awscdk.CfnCondition
}

// GitLabServer is the private EC2 instance that runs GitLab, with its role,
// its data volume and its first installation.
//
// The data volume is apart from the instance and mounted at /var/opt/gitlab.
// It, its key, and the generated root password, outlive the stack, unless its
// creation fails.
//
// Whoever attaches the volume, or makes one of a snapshot, needs its key: the
// role that CloudFormation deploys with, and the break-glass roles. Others
// cannot read it on an instance of their own.
type GitLabServer struct {
	Instance      awsec2.Instance
	InstanceID    *string
	SecurityGroup awsec2.SecurityGroup
	Role          awsiam.Role
	RootPassword  awssecretsmanager.Secret
	// DataVolumeID is the volume of everything that GitLab stores.
	DataVolumeID *string
	// DataKey is the key of the stack's data volume and of its snapshots.
	DataKey awskms.Key
	// Installed is when GitLab answers for the first time.
	Installed constructs.IDependable
}

// NewGitLabServer defines a GitLabServer under scope.
func NewGitLabServer(scope constructs.Construct, id string, props GitLabServerProps) *GitLabServer {
	scope = constructs.NewConstruct(scope, &id)

	group := awsec2.NewSecurityGroup(scope, jsii.String("SecurityGroup"), &awsec2.SecurityGroupProps{
		Vpc: props.Network.VPC,
		// The load balancer adds its own rule: see NewLoadBalancer.
		Description:      jsii.String("GitLab server: HTTP from the load balancer only"),
		AllowAllOutbound: jsii.Bool(true),
	})
	awscdk.Tags_Of(group).Add(jsii.String("Name"), jsii.String("gitlab"), nil)

	instance, role := newHost(scope, hostProps{
		network: props.Network, region: props.Region, imageID: props.ImageID, instanceType: props.InstanceType,
		rootVolumeGiB: props.RootVolumeGiB, securityGroup: group, name: "gitlab", metadataHops: 1, protected: props.Protected,
		suffix: generationSuffix(props.Generation),
	})
	acknowledge(instance, finding{
		rule:   "AwsSolutions-EC29",
		reason: "Termination protection is on, but for the first deploy: the parameter Protection, which this rule does not work out.",
	})
	key := dataVolumeKey(scope, props)
	volume, attachment := dataVolume(scope, props, key, instance)
	password := rootPassword(scope)
	role.AddToPolicy(allow("ReadRootPassword", []*string{password.SecretArn()}, "secretsmanager:GetSecretValue"))
	role.AddToPolicy(noOtherParameter(parameterARNs(scope, props.ReadableParameters)))

	fetch := props.Program.Serve(scope, "FetchesProgram", role)
	document := NewHostDocument(scope, "InstallDocument", HostDocumentProps{
		Program:        props.Program,
		Command:        "install-gitlab",
		Description:    "Install GitLab on a host that has none; a host that has GitLab is left as it is",
		TimeoutSeconds: installSeconds,
		Arguments: []DocumentArgument{
			{Flag: "--version", Value: props.Version},
			{Flag: "--edition", Value: props.Edition},
			{Flag: "--repository-url", Value: props.RepositoryURL},
			{Flag: "--external-url", Value: props.ExternalURL},
			{Flag: "--data-volume", Value: *volume.VolumeId()},
			{Flag: "--root-password-secret", Value: *password.SecretArn()},
			{Flag: "--region", Value: props.Region},
		},
		Parameters: []DocumentParameter{
			{Name: "SignalUrl", Flag: "--signal-url", Description: "Wait condition that is told the outcome", Pattern: signalURLPattern},
		},
	})
	// A new server waits for an installation of its own: a wait condition works
	// once.
	installation := NewInstallation(scope, "Installation"+generationSuffix(props.Generation), InstallationProps{
		Document:   document,
		InstanceID: instance.InstanceId(),
		// The role's policies too: without them the host can neither fetch the program
		// nor read the password.
		After:          append([]constructs.IDependable{attachment, role, fetch}, props.Network.Egress...),
		TimeoutSeconds: installSeconds,
	})

	return &GitLabServer{
		Instance:      instance,
		InstanceID:    instance.InstanceId(),
		SecurityGroup: group,
		Role:          role,
		RootPassword:  password,
		DataVolumeID:  volume.VolumeId(),
		DataKey:       key,
		Installed:     installation.Done,
	}
}

func parameterARNs(scope constructs.Construct, names []string) []*string {
	var arns []*string
	for _, name := range names {
		arns = append(arns, awscdk.Stack_Of(scope).FormatArn(&awscdk.ArnComponents{
			Service: jsii.String("ssm"), Resource: jsii.String("parameter"), ResourceName: jsii.String(strings.TrimPrefix(name, "/")),
		}))
	}
	return arns
}

// installSeconds bounds an installation. GitLab takes ten to twenty minutes,
// nearly all of it the package's first reconfigure.
const installSeconds = 3600

// dataVolume defines the volume of repositories, uploads and database, or takes
// the existing one, and attaches it.
func dataVolume(scope constructs.Construct, props GitLabServerProps, key awskms.Key, instance awsec2.Instance) (awsec2.IVolume, awsec2.CfnVolumeAttachment) {
	volume := volumeOf(scope, props, key)
	attachment := awsec2.NewCfnVolumeAttachment(scope, jsii.String("DataVolumeAttachment"), &awsec2.CfnVolumeAttachmentProps{
		Device:     jsii.String("/dev/sdf"),
		InstanceId: instance.InstanceId(),
		VolumeId:   volume.VolumeId(),
	})
	// Detaching a volume that is mounted never ends. So CloudFormation leaves the
	// attachment alone when the stack goes, or when its creation is undone: the
	// instance's termination ends it. Hence the order, in which the instance goes
	// before the volume.
	// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-volumeattachment.html
	attachment.ApplyRemovalPolicy(awscdk.RemovalPolicy_RETAIN, &awscdk.RemovalPolicyOptions{ApplyToUpdateReplacePolicy: jsii.Bool(false)})
	attachment.CfnOptions().SetUpdateReplacePolicy(awscdk.CfnDeletionPolicy_DELETE)
	instance.Node().DefaultChild().Node().AddDependency(volume)
	return volume, attachment
}

// dataVolumeKey defines the key of the data volume. It is there beside a given
// volume, too, which was made under it.
//
// EC2 keeps the way to the key as a grant on it, which it makes with the rights
// of whoever attaches the volume, or starts a stopped instance that has it. A
// reboot, and EC2's own recovery of an instance, need nobody's.
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
func dataVolumeKey(scope constructs.Construct, props GitLabServerProps) awskms.Key {
	key := newDataKey(scope, "DataKey", "Data volume of GitLab, and its snapshots")
	roles := *jsii.Strings(append([]string{deployerARN(scope)}, props.BreakGlassRoleARNs...)...)
	throughService(key, "VolumesAndSnapshots", "ec2", roles, nil,
		"kms:DescribeKey", "kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo")
	throughService(key, "GrantsForEC2", "ec2", roles, forAWSResource, "kms:CreateGrant")
	acknowledge(key, finding{
		rule:   "CT.KMS.PR.3",
		reason: "Each statement that allows a grant limits it to resources of AWS; the rule looks for a statement that denies the others.",
	})
	return key
}

// volumeOf defines the stack's own data volume. One that the props name is
// only referred to: the stack neither changes nor deletes it.
func volumeOf(scope constructs.Construct, props GitLabServerProps, key awskms.Key) awsec2.IVolume {
	if props.DataVolumeID != "" {
		return awsec2.Volume_FromVolumeAttributes(scope, jsii.String("GivenDataVolume"), &awsec2.VolumeAttributes{
			VolumeId:         &props.DataVolumeID,
			AvailabilityZone: props.Network.GitLabSubnet.AvailabilityZone(),
		})
	}
	volume := awsec2.NewVolume(scope, jsii.String("DataVolume"), &awsec2.VolumeProps{
		// A volume can only be attached in its own zone.
		AvailabilityZone: props.Network.GitLabSubnet.AvailabilityZone(),
		Size:             awscdk.Size_Gibibytes(jsii.Number(props.DataVolumeGiB)),
		VolumeType:       awsec2.EbsDeviceVolumeType_GP3,
		Encrypted:        jsii.Bool(true),
		RemovalPolicy:    awscdk.RemovalPolicy_RETAIN_ON_UPDATE_OR_DELETE,
	})
	// Not by the construct's EncryptionKey, which would open the key to whoever
	// in the account has an IAM policy for it.
	volume.Node().DefaultChild().(awsec2.CfnVolume).SetKmsKeyId(key.KeyArn())
	acknowledge(volume, namedZone)
	awscdk.Tags_Of(volume).Add(jsii.String("Name"), jsii.String("gitlab-data"), nil)
	return volume
}

// rootPassword defines the password of GitLab's root user. Without one, the
// first visitor of a new GitLab could set it.
func rootPassword(scope constructs.Construct) awssecretsmanager.Secret {
	secret := awssecretsmanager.NewSecret(scope, jsii.String("RootPassword"), &awssecretsmanager.SecretProps{
		Description:   jsii.String("First password of GitLab's root user"),
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN_ON_UPDATE_OR_DELETE,
		GenerateSecretString: &awssecretsmanager.SecretStringGenerator{
			PasswordLength:     jsii.Number(32),
			ExcludePunctuation: jsii.Bool(true),
		},
	})
	acknowledge(secret, finding{
		rule:   "AwsSolutions-SMG4 NIST.800.53.R5-SecretsManagerRotationEnabled",
		reason: "GitLab reads it once, at the first installation; rotating the secret would not change GitLab's password.",
	}, finding{
		rule:   "NIST.800.53.R5-SecretsManagerUsingKMSKey CKV_AWS_149",
		reason: "The secret is of one account and read by one role of it; AWS's own key of Secrets Manager admits nobody else.",
	})
	return secret
}
