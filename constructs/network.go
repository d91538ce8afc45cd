package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// NetworkProps configures [NewNetwork].
type NetworkProps struct {
	// CIDR is the address range of the VPC. Required.
	CIDR string

	// Zones are the availability zones of the public subnets; the first one
	// also holds the gitlab subnet and the NAT gateway. Two, because a load
	// balancer needs two. Required.
	Zones []string

	// PublicSubnetCIDRs are the ranges of the public subnets, one a zone, in
	// the order of Zones. Required.
	PublicSubnetCIDRs []string

	// GitLabSubnetCIDR is the range of the private subnet. Required.
	GitLabSubnetCIDR string

	// ArtifactBucket is what jobs upload to, in another account. Required.
	ArtifactBucket BucketOfOthers

	// BackupBucket is the bucket of GitLab's backups. Required.
	BackupBucket awss3.IBucket

	// Programs are what hosts fetch from the CDK's bucket of assets. Optional.
	Programs []*Program

	// ReadableBuckets are the names of other buckets that may be read through
	// the S3 endpoint. Optional.
	ReadableBuckets []string

	// LogRetentionDays is how long flow log records are kept, in days.
	// Required; one of the values that CloudWatch Logs knows.
	LogRetentionDays int
}

// Network is the VPC of account A. It lives as long as its stack.
//
//	internet ── internet gateway ── public subnets ── NAT gateway (Elastic IP)
//	                                                        │ 0.0.0.0/0
//	                                                  gitlab subnet
//	                                                        ├── ssm, ssmmessages, ec2messages
//	                                                        └── s3 (gateway endpoint)
//
// Nothing in the gitlab subnet has a public address. Every range is given and
// none is computed, so that no change of one subnet can move another.
type Network struct {
	VPC           awsec2.IVpc
	PublicSubnets []awsec2.ISubnet
	GitLabSubnet  awsec2.ISubnet
	S3Endpoint    awsec2.GatewayVpcEndpoint

	// NATAddress is the public IPv4 address from which the gitlab subnet
	// reaches the internet.
	NATAddress *string

	// Egress is what a host in the gitlab subnet needs before it can download
	// packages and register with Systems Manager.
	Egress []constructs.IDependable
}

// NewNetwork defines a Network under scope.
func NewNetwork(scope constructs.Construct, id string, props NetworkProps) *Network {
	if len(props.Zones) != 2 || len(props.PublicSubnetCIDRs) != 2 {
		panic("Network " + id + ": want two zones and two public subnets")
	}
	scope = constructs.NewConstruct(scope, &id)

	// The CDK's own Vpc asks AWS for the zones of the account during synth, and
	// closes the default security group, which nothing uses, with a function.
	resource := awsec2.NewCfnVPC(scope, jsii.String("Vpc"), &awsec2.CfnVPCProps{
		CidrBlock:          &props.CIDR,
		EnableDnsHostnames: jsii.Bool(true),
		EnableDnsSupport:   jsii.Bool(true), // private names of the endpoints
	})
	awscdk.Tags_Of(resource).Add(jsii.String("Name"), jsii.String("gitlab"), nil)
	vpc := awsec2.Vpc_FromVpcAttributes(scope, jsii.String("VpcReference"), &awsec2.VpcAttributes{
		VpcId:             resource.Ref(),
		VpcCidrBlock:      &props.CIDR,
		AvailabilityZones: jsii.Strings(props.Zones...),
	})
	acknowledge(scope, namedZone)
	acknowledge(resource, finding{
		rule:   "NIST.800.53.R5-VPCDefaultSecurityGroupClosed",
		reason: "CloudFormation cannot close it, and the CDK does so by a function with rights to change groups. Nothing is in it, and a test sees what would be.",
	})
	n := &Network{VPC: vpc}

	internet := n.publicSubnets(scope, props)
	n.gitlabSubnet(scope, props, internet)
	n.endpoints(scope, props)
	flowLog(scope, vpc, props.LogRetentionDays)
	return n
}

// namedZone is why zones are in the configuration. It holds for whatever is
// bound to one.
var namedZone = finding{
	rule:   "CloudFormation-Validate::W3010",
	reason: "Subnets, hosts and the data volume have to stay in one zone; a zone that is looked up could move them.",
}

// publicSubnets defines the subnets of load balancer and NAT gateway, and
// returns the id of the NAT gateway.
func (n *Network) publicSubnets(scope constructs.Construct, props NetworkProps) *string {
	gateway := awsec2.NewCfnInternetGateway(scope, jsii.String("InternetGateway"), nil)
	attachment := awsec2.NewCfnVPCGatewayAttachment(scope, jsii.String("InternetGatewayAttachment"), &awsec2.CfnVPCGatewayAttachmentProps{
		VpcId:             n.VPC.VpcId(),
		InternetGatewayId: gateway.Ref(),
	})
	var nat awsec2.CfnNatGateway
	for i, zone := range props.Zones {
		id := []string{"Public1", "Public2"}[i]
		subnet := awsec2.NewPublicSubnet(scope, &id, &awsec2.PublicSubnetProps{
			VpcId:               n.VPC.VpcId(),
			AvailabilityZone:    jsii.String(zone),
			CidrBlock:           jsii.String(props.PublicSubnetCIDRs[i]),
			MapPublicIpOnLaunch: jsii.Bool(false),
		})
		awscdk.Tags_Of(subnet).Add(jsii.String("Name"), jsii.String("public"), nil)
		subnet.AddDefaultInternetRoute(gateway.Ref(), attachment)
		acknowledge(subnet.Node().FindChild(jsii.String("DefaultRoute")), finding{
			rule:   "NIST.800.53.R5-VPCNoUnrestrictedRouteToIGW",
			reason: "Load balancer and NAT gateway are in this subnet to reach the internet; no host is.",
		})
		if i == 0 {
			address := awsec2.NewCfnEIP(scope, jsii.String("NatAddress"), &awsec2.CfnEIPProps{Domain: jsii.String("vpc")})
			address.AddResourceDependency(attachment, nil)
			nat = awsec2.NewCfnNatGateway(scope, jsii.String("NatGateway"), &awsec2.CfnNatGatewayProps{
				SubnetId:     subnet.SubnetId(),
				AllocationId: address.AttrAllocationId(),
			})
			nat.Node().AddDependency(subnet.InternetConnectivityEstablished())
			n.NATAddress = address.Ref() // the address itself; the emulator does not know the attribute PublicIp
		}
		n.PublicSubnets = append(n.PublicSubnets, subnet)
	}
	return nat.Ref()
}

func (n *Network) gitlabSubnet(scope constructs.Construct, props NetworkProps, natGatewayID *string) {
	subnet := awsec2.NewPrivateSubnet(scope, jsii.String("GitLab"), &awsec2.PrivateSubnetProps{
		VpcId:               n.VPC.VpcId(),
		AvailabilityZone:    jsii.String(props.Zones[0]),
		CidrBlock:           jsii.String(props.GitLabSubnetCIDR),
		MapPublicIpOnLaunch: jsii.Bool(false),
	})
	awscdk.Tags_Of(subnet).Add(jsii.String("Name"), jsii.String("gitlab"), nil)
	subnet.AddDefaultNatRoute(natGatewayID)
	n.GitLabSubnet = subnet
	n.Egress = append(n.Egress, subnet.Node().FindChild(jsii.String("RouteTableAssociation")), subnet.Node().FindChild(jsii.String("DefaultRoute")))
}

// endpoints defines what Session Manager needs inside the VPC, and the way to
// the buckets that never leaves AWS's network.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/setup-create-vpc.html
func (n *Network) endpoints(scope constructs.Construct, props NetworkProps) {
	group := awsec2.NewSecurityGroup(scope, jsii.String("EndpointGroup"), &awsec2.SecurityGroupProps{
		Vpc:              n.VPC,
		Description:      jsii.String("Interface endpoints: HTTPS from the gitlab subnet"),
		AllowAllOutbound: jsii.Bool(false),
	})
	group.AddIngressRule(awsec2.Peer_Ipv4(&props.GitLabSubnetCIDR), awsec2.Port_Tcp(jsii.Number(443)),
		jsii.String("HTTPS from the gitlab subnet"), nil)

	inGitLab := &awsec2.SubnetSelection{Subnets: &[]awsec2.ISubnet{n.GitLabSubnet}}
	for _, e := range []struct {
		id      string
		service awsec2.InterfaceVpcEndpointAwsService
	}{
		{"Ssm", awsec2.InterfaceVpcEndpointAwsService_SSM()},
		{"SsmMessages", awsec2.InterfaceVpcEndpointAwsService_SSM_MESSAGES()},
		{"Ec2Messages", awsec2.InterfaceVpcEndpointAwsService_EC2_MESSAGES()},
	} {
		endpoint := awsec2.NewInterfaceVpcEndpoint(scope, jsii.String(e.id), &awsec2.InterfaceVpcEndpointProps{
			Vpc:               n.VPC,
			Service:           e.service,
			Subnets:           inGitLab,
			SecurityGroups:    &[]awsec2.ISecurityGroup{group},
			PrivateDnsEnabled: jsii.Bool(true),
			// The rule above names the one range; the CDK's own would open
			// the endpoint to the whole VPC.
			Open: jsii.Bool(false),
		})
		n.Egress = append(n.Egress, endpoint)
	}
	n.S3Endpoint = awsec2.NewGatewayVpcEndpoint(scope, jsii.String("S3"), &awsec2.GatewayVpcEndpointProps{
		Vpc:     n.VPC,
		Service: awsec2.GatewayVpcEndpointAwsService_S3(),
		Subnets: &[]*awsec2.SubnetSelection{inGitLab},
	})
	for _, statement := range s3EndpointStatements(scope, props) {
		n.S3Endpoint.AddToPolicy(statement)
	}
	n.Egress = append(n.Egress, n.S3Endpoint)
}

// flowLog keeps who talked to whom: what an investigation asks for first.
func flowLog(scope constructs.Construct, vpc awsec2.IVpc, retentionDays int) {
	group := newLogGroup(scope, "FlowLogGroup", retentionDays)
	flowLog := awsec2.NewFlowLog(scope, jsii.String("FlowLog"), &awsec2.FlowLogProps{
		ResourceType: awsec2.FlowLogResourceType_FromVpc(vpc),
		Destination:  awsec2.FlowLogDestination_ToCloudWatchLogs(group, nil),
		TrafficType:  awsec2.FlowLogTrafficType_ALL,
	})
	// The service serves everybody: nobody else's flow log may use this role.
	// https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
	role := flowLog.Node().FindChild(jsii.String("IAMRole")).Node().DefaultChild().(awscdk.CfnResource)
	role.AddPropertyOverride(jsii.String("AssumeRolePolicyDocument.Statement.0.Condition"),
		map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": awscdk.Stack_Of(scope).Account()}})
	// With its policy: what a flow log cannot write at first is lost.
	flowLog.Node().DefaultChild().Node().AddDependency(flowLog.Node().FindChild(jsii.String("IAMRole")).Node().FindChild(jsii.String("DefaultPolicy")))
}
