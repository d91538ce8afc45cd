package test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func subnetNamed(t *testing.T, tpl template, name string) []string {
	t.Helper()
	var ids []string
	for _, id := range tpl.ofType(t, "AWS::EC2::Subnet") {
		if tagOf(tpl.Resources[id], "Name") == name {
			ids = append(ids, id)
		}
	}
	return ids
}

// defaultRoute returns the route to 0.0.0.0/0 of a subnet.
func defaultRoute(t *testing.T, tpl template, subnet string) resource {
	t.Helper()
	for _, association := range tpl.Resources {
		if association.Type != "AWS::EC2::SubnetRouteTableAssociation" || at(association.Properties, "SubnetId", "Ref") != subnet {
			continue
		}
		for _, route := range tpl.Resources {
			if route.Type == "AWS::EC2::Route" &&
				assert.ObjectsAreEqual(association.Properties["RouteTableId"], route.Properties["RouteTableId"]) &&
				route.Properties["DestinationCidrBlock"] == "0.0.0.0/0" {
				return route
			}
		}
	}
	require.Fail(t, "no default route", subnet)
	return resource{}
}

func TestS1_subnetsHaveTheConfiguredRangesAndZones(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	network := staging(t).GitLab.Network

	_, vpc := gitlab.one(t, "AWS::EC2::VPC")
	assert.Equal(t, network.VPCCIDR, vpc.Properties["CidrBlock"])

	public := subnetNamed(t, gitlab, "public")
	require.Len(t, public, 2, "a load balancer needs two zones")
	for i, id := range public {
		assert.Equal(t, network.PublicSubnets[i], gitlab.Resources[id].Properties["CidrBlock"])
		assert.Equal(t, network.Zones[i], gitlab.Resources[id].Properties["AvailabilityZone"])
	}
	private := subnetNamed(t, gitlab, "gitlab")
	require.Len(t, private, 1)
	assert.Equal(t, network.GitLabSubnet, gitlab.Resources[private[0]].Properties["CidrBlock"])
	assert.Equal(t, network.Zones[0], gitlab.Resources[private[0]].Properties["AvailabilityZone"])
}

func TestS2_theGitLabSubnetLeavesThroughTheOneNATGateway(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	nat, gateway := gitlab.one(t, "AWS::EC2::NatGateway")
	address, _ := gitlab.one(t, "AWS::EC2::EIP")

	assert.Equal(t, getAtt(address, "AllocationId"), gateway.Properties["AllocationId"])
	assert.Contains(t, subnetNamed(t, gitlab, "public"), at(gateway.Properties, "SubnetId", "Ref"))
	route := defaultRoute(t, gitlab, subnetNamed(t, gitlab, "gitlab")[0])
	assert.Equal(t, ref(nat), route.Properties["NatGatewayId"])
	assert.NotContains(t, route.Properties, "GatewayId")
}

func TestS2_thePublicSubnetsLeaveThroughTheInternetGateway(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	gateway, _ := gitlab.one(t, "AWS::EC2::InternetGateway")
	for _, id := range subnetNamed(t, gitlab, "public") {
		assert.Equal(t, ref(gateway), defaultRoute(t, gitlab, id).Properties["GatewayId"])
	}
}

func TestS3_sessionManagersEndpointsStandInTheGitLabSubnet(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	subnet := subnetNamed(t, gitlab, "gitlab")[0]
	var services []any
	for _, id := range gitlab.ofType(t, "AWS::EC2::VPCEndpoint") {
		endpoint := gitlab.Resources[id].Properties
		if endpoint["VpcEndpointType"] != "Interface" {
			continue
		}
		services = append(services, endpoint["ServiceName"])
		assert.Equal(t, true, endpoint["PrivateDnsEnabled"])
		assert.Equal(t, []any{ref(subnet)}, endpoint["SubnetIds"])
	}
	// The region's name, not a zone's.
	assert.ElementsMatch(t, []any{
		"com.amazonaws.ap-northeast-1.ssm",
		"com.amazonaws.ap-northeast-1.ssmmessages",
		"com.amazonaws.ap-northeast-1.ec2messages",
	}, services)
}

func TestS3_theS3EndpointIsInTheRouteTableOfTheGitLabSubnet(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	subnet := subnetNamed(t, gitlab, "gitlab")[0]
	var gateways []string
	for _, id := range gitlab.ofType(t, "AWS::EC2::VPCEndpoint") {
		endpoint := gitlab.Resources[id].Properties
		if endpoint["VpcEndpointType"] != "Gateway" {
			continue
		}
		gateways = append(gateways, id)
		assert.Contains(t, text(endpoint["ServiceName"]), ".s3")
		assert.Equal(t, []any{defaultRoute(t, gitlab, subnet).Properties["RouteTableId"]}, endpoint["RouteTableIds"])
	}
	require.Len(t, gateways, 1)
	assert.Equal(t, ref(gateways[0]), at(gitlab.Outputs, "S3EndpointId", "Value"))
}

func TestS4_endpointsTakeHTTPSFromTheGitLabRangeOnly(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	for _, id := range gitlab.ofType(t, "AWS::EC2::VPCEndpoint") {
		groups := list(gitlab.Resources[id].Properties["SecurityGroupIds"])
		for _, g := range groups {
			group := gitlab.Resources[at(g, "Fn::GetAtt", 0).(string)]
			require.Len(t, list(group.Properties["SecurityGroupIngress"]), 1)
			rule := at(group.Properties, "SecurityGroupIngress", 0)
			assert.Equal(t, staging(t).GitLab.Network.GitLabSubnet, at(rule, "CidrIp"))
			assert.Equal(t, "tcp", at(rule, "IpProtocol"))
			assert.EqualValues(t, 443, at(rule, "FromPort"))
			assert.EqualValues(t, 443, at(rule, "ToPort"))
		}
	}
}

func TestS1_flowLogsAreKept(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	vpc, _ := gitlab.one(t, "AWS::EC2::VPC")
	_, flow := gitlab.one(t, "AWS::EC2::FlowLog")
	assert.Equal(t, ref(vpc), flow.Properties["ResourceId"])
	assert.Equal(t, "ALL", flow.Properties["TrafficType"])
}
