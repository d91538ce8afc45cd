package constructs

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// hostProps configures newHost.
type hostProps struct {
	network       *Network
	region        string
	imageID       string
	instanceType  string
	rootVolumeGiB int
	securityGroup awsec2.SecurityGroup
	name          string
	// metadataHops is how many hops an answer of the metadata service may
	// travel: 1 for the host alone, 2 for its containers too.
	metadataHops int
	// protected is when the termination of the instance by an API call is
	// refused; without it, never.
	protected awscdk.CfnCondition
	// suffix ends the instance's id: another one is another instance.
	suffix string
}

// generationSuffix ends the ids of what each generation of a host has for
// itself; the first has none.
func generationSuffix(generation int) string {
	if generation == 1 {
		return ""
	}
	return fmt.Sprint(generation)
}

// newHost defines an EC2 instance in the gitlab subnet that only Session
// Manager reaches: no public address, no key pair, no open port of its own.
//
// It has no user data, and its image is named: both would replace or reboot
// the instance whenever they change.
func newHost(scope constructs.Construct, props hostProps) (awsec2.Instance, awsiam.Role) {
	role := awsiam.NewRole(scope, jsii.String("Role"), &awsiam.RoleProps{
		AssumedBy: awsiam.NewServicePrincipal(jsii.String("ec2.amazonaws.com"), nil),
		ManagedPolicies: &[]awsiam.IManagedPolicy{
			awsiam.ManagedPolicy_FromAwsManagedPolicyName(jsii.String("AmazonSSMManagedInstanceCore")),
		},
	})
	acknowledge(role, finding{
		rule:      "AwsSolutions-IAM4",
		appliesTo: []string{"Policy::arn:<AWS::Partition>:iam::aws:policy/AmazonSSMManagedInstanceCore"},
		reason:    "AWS keeps this policy in step with what the SSM Agent needs; a copy of ours would lock us out when the agent changes.",
	})

	instance := awsec2.NewInstance(scope, jsii.String("Instance"+props.suffix), &awsec2.InstanceProps{
		Vpc:           props.network.VPC,
		VpcSubnets:    &awsec2.SubnetSelection{Subnets: &[]awsec2.ISubnet{props.network.GitLabSubnet}},
		SecurityGroup: props.securityGroup,
		Role:          role,
		InstanceType:  awsec2.NewInstanceType(&props.instanceType),
		MachineImage:  awsec2.MachineImage_GenericLinux(&map[string]*string{props.region: &props.imageID}, nil),
		BlockDevices: &[]*awsec2.BlockDevice{{
			DeviceName: jsii.String("/dev/xvda"),
			Volume: awsec2.BlockDeviceVolume_Ebs(jsii.Number(props.rootVolumeGiB), &awsec2.EbsDeviceOptions{
				VolumeType: awsec2.EbsDeviceVolumeType_GP3,
				Encrypted:  jsii.Bool(true),
			}),
		}},
		EbsOptimized:            jsii.Bool(true),
		DetailedMonitoring:      jsii.Bool(true),
		HttpTokens:              awsec2.HttpTokens_REQUIRED,
		HttpPutResponseHopLimit: jsii.Number(props.metadataHops),
	})
	instance.Node().DefaultChild().(awscdk.CfnResource).AddPropertyDeletionOverride(jsii.String("UserData"))
	if props.protected != nil {
		instance.Node().DefaultChild().(awscdk.CfnResource).AddPropertyOverride(jsii.String("DisableApiTermination"),
			awscdk.Fn_ConditionIf(props.protected.LogicalId(), jsii.Bool(true), jsii.Bool(false)))
	}
	acknowledge(instance, namedZone, finding{
		rule:   "CloudFormation-Validate::W9010",
		reason: "The image is named on purpose: one that is looked up at each deploy replaces the server when AWS publishes the next.",
	}, finding{
		rule:   "NIST.800.53.R5-EC2IMDSv2Enabled",
		reason: "The instance itself asks for version 2 (MetadataOptions, HttpTokens: required); the rule only looks for a launch template that does.",
	}, finding{
		rule:   "CT.EC2.PR.8",
		reason: "The subnet gives no public addresses, and the instance has no other way to one. Naming the interface in the instance would replace it.",
	}, finding{
		rule:   "CT.EC2.PR.19",
		reason: "The instance type is the user's choice, and hosts do not talk to each other: what leaves them is encrypted by TLS, but for HTTP from the load balancer within the VPC.",
	})
	// A host registers with Systems Manager when it boots. Its agent sleeps longer
	// and longer when it has no way there yet, and the deploy would wait for it.
	for _, way := range props.network.Egress {
		instance.Node().DefaultChild().Node().AddDependency(way)
	}
	awscdk.Tags_Of(instance).Add(jsii.String("Name"), &props.name, nil)
	return instance, role
}
