package network

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/cfn"
)

// resources are those of the golden template of account A, which is compared
// with the synthesised one elsewhere; a test changes them as a mistake would.
type resources map[string]map[string]any

func golden(t *testing.T) (map[string]any, resources) {
	t.Helper()
	raw, err := os.ReadFile("../testdata/GitLab-staging.template.json")
	require.NoError(t, err)
	var template map[string]any
	require.NoError(t, json.Unmarshal(raw, &template))
	all := resources{}
	for id, r := range template["Resources"].(map[string]any) {
		all[id] = r.(map[string]any)
	}
	return template, all
}

func read(t *testing.T, template any) (*Network, error) {
	t.Helper()
	parsed, err := cfn.Parse(template, cfn.Known{Account: "111111111111", Region: "ap-northeast-1"})
	require.NoError(t, err)
	return Read(parsed, map[string]string{
		parsed.Output("ServerInstanceId"): "server",
		parsed.Output("RunnerInstanceId"): "runner",
	})
}

// one returns the only resource of a type whose id begins as given.
func (all resources) one(t *testing.T, typ, prefix string) (string, map[string]any) {
	t.Helper()
	var found []string
	for id, r := range all {
		if r["Type"] == typ && strings.HasPrefix(id, prefix) {
			found = append(found, id)
		}
	}
	require.Len(t, found, 1, "%s %s…", typ, prefix)
	properties, _ := all[found[0]]["Properties"].(map[string]any)
	return found[0], properties
}

// remove takes a resource out of the template.
func remove(t *testing.T, template map[string]any, all resources, typ, prefix string) {
	id, _ := all.one(t, typ, prefix)
	delete(template["Resources"].(map[string]any), id)
}

// TestS4_everyMistakeOfTheNetworkIsSeen makes one mistake at a time and reads
// the message.
func TestS4_everyMistakeOfTheNetworkIsSeen(t *testing.T) {
	template, _ := golden(t)
	sound, err := read(t, template)
	require.NoError(t, err)
	want := sound.Flows()

	inRule := func(group, cidr string, port int) map[string]any {
		return map[string]any{"Type": "AWS::EC2::SecurityGroupIngress", "Properties": map[string]any{
			"GroupId": map[string]any{"Fn::GetAtt": []any{group, "GroupId"}}, "IpProtocol": "tcp",
			"FromPort": port, "ToPort": port, "CidrIp": cidr,
		}}
	}
	for name, c := range map[string]struct {
		mistake func(t *testing.T, template map[string]any, all resources)
		says    []string
	}{
		"the load balancer's way to the server is gone": {
			func(t *testing.T, template map[string]any, all resources) {
				remove(t, template, all, "AWS::EC2::SecurityGroupIngress", "Server")
			},
			[]string{
				"missing: load balancer → server: tcp 80",
				"because no rule of ServerSecurityGroup",
				"load balancer sends requests to server on tcp 80, and not exactly that gets through",
			},
		},
		"the load balancer may send to anywhere": {
			func(t *testing.T, template map[string]any, all resources) {
				remove(t, template, all, "AWS::EC2::SecurityGroupEgress", "LoadBalancer")
			},
			[]string{"not wanted: load balancer → the internet: everything", "not wanted: load balancer → S3"},
		},
		"a port of the server is open to the VPC": {
			func(t *testing.T, template map[string]any, all resources) {
				id, _ := all.one(t, "AWS::EC2::SecurityGroup", "ServerSecurityGroup")
				template["Resources"].(map[string]any)["Mistake"] = inRule(id, "10.0.0.0/8", 22)
			},
			[]string{
				"not wanted: runner → server: tcp 22",
				"not wanted: another host in subnet public, 10.20.1.0/24 → server: tcp 22",
			},
		},
		"the server is public and open": {
			func(t *testing.T, template map[string]any, all resources) {
				id, _ := all.one(t, "AWS::EC2::SecurityGroup", "ServerSecurityGroup")
				template["Resources"].(map[string]any)["Mistake"] = inRule(id, "0.0.0.0/0", 22)
				public, _ := all.one(t, "AWS::EC2::Subnet", "NetworkPublic1")
				_, server := all.one(t, "AWS::EC2::Instance", "Server")
				server["SubnetId"] = map[string]any{"Ref": public}
				_, subnet := all.one(t, "AWS::EC2::Subnet", "NetworkPublic1")
				subnet["MapPublicIpOnLaunch"] = true
			},
			[]string{"not wanted: the internet → server: tcp 22, by the internet gateway"},
		},
		"the load balancer is open to the world": {
			func(t *testing.T, template map[string]any, all resources) {
				id, _ := all.one(t, "AWS::EC2::SecurityGroup", "LoadBalancerSecurityGroup")
				template["Resources"].(map[string]any)["Mistake"] = inRule(id, "0.0.0.0/0", 443)
			},
			[]string{"not wanted: the internet → load balancer: tcp 443"},
		},
		"the runner cannot come back in by GitLab's URL": {
			func(t *testing.T, _ map[string]any, all resources) {
				_, group := all.one(t, "AWS::EC2::SecurityGroup", "LoadBalancerSecurityGroup")
				group["SecurityGroupIngress"] = group["SecurityGroupIngress"].([]any)[:2]
			},
			[]string{
				"missing: runner → GitLab's URL: tcp 80, tcp 443",
				"lets in the NAT gateway's address, 198.51.100.10",
			},
		},
		"the private subnet's route to the NAT gateway is gone": {
			func(t *testing.T, template map[string]any, all resources) {
				remove(t, template, all, "AWS::EC2::Route", "NetworkGitLab")
			},
			[]string{"missing: server → the internet: everything", "because no route of subnet gitlab leads to the internet"},
		},
		"the NAT gateway stands in a subnet without a way out": {
			func(t *testing.T, template map[string]any, all resources) {
				remove(t, template, all, "AWS::EC2::Route", "NetworkPublic1")
			},
			[]string{"missing: runner → the internet", "because the NAT gateway's own subnet does not lead to an attached internet gateway"},
		},
		"the internet gateway is not attached": {
			func(t *testing.T, template map[string]any, all resources) {
				remove(t, template, all, "AWS::EC2::VPCGatewayAttachment", "Network")
			},
			[]string{"missing: the internet, 203.0.113.0/24 → load balancer: tcp 80, tcp 443", "do not lead to an attached internet gateway"},
		},
		"the private subnet leads straight to the internet": {
			func(t *testing.T, _ map[string]any, all resources) {
				_, route := all.one(t, "AWS::EC2::Route", "NetworkGitLab")
				gateway, _ := all.one(t, "AWS::EC2::InternetGateway", "Network")
				delete(route, "NatGatewayId")
				route["GatewayId"] = map[string]any{"Ref": gateway}
			},
			[]string{"missing: server → the internet", "leads to the internet gateway, and server has no public address"},
		},
		"the S3 endpoint is in another route table": {
			func(t *testing.T, _ map[string]any, all resources) {
				_, endpoint := all.one(t, "AWS::EC2::VPCEndpoint", "NetworkS3")
				table, _ := all.one(t, "AWS::EC2::RouteTable", "NetworkPublic1")
				endpoint["RouteTableIds"] = []any{map[string]any{"Ref": table}}
			},
			[]string{
				"missing: runner → S3: tcp 80, tcp 443, by the gateway endpoint",
				"because no gateway endpoint is in the route table of subnet gitlab",
				"not wanted: runner → S3: tcp 80, tcp 443, by the NAT gateway",
			},
		},
		"an endpoint is open to a part of the subnet only": {
			func(t *testing.T, _ map[string]any, all resources) {
				_, group := all.one(t, "AWS::EC2::SecurityGroup", "NetworkEndpointGroup")
				group["SecurityGroupIngress"].([]any)[0].(map[string]any)["CidrIp"] = "10.20.16.0/26"
			},
			[]string{"not wanted: server → endpoint ssm: tcp 443, by the VPC's own routes, of 10.20.16.0/26 only"},
		},
		"an endpoint has no private name": {
			func(t *testing.T, _ map[string]any, all resources) {
				_, endpoint := all.one(t, "AWS::EC2::VPCEndpoint", "NetworkSsmMessages")
				endpoint["PrivateDnsEnabled"] = false
			},
			[]string{"not wanted: runner → endpoint ssmmessages: tcp 443, by the VPC's own routes, by address only"},
		},
		"the VPC has no names for private addresses": {
			func(t *testing.T, _ map[string]any, all resources) {
				_, vpc := all.one(t, "AWS::EC2::VPC", "Network")
				delete(vpc, "EnableDnsHostnames")
			},
			[]string{"missing: server → endpoint ec2messages"},
		},
		"nothing gets into the endpoints": {
			func(t *testing.T, _ map[string]any, all resources) {
				_, group := all.one(t, "AWS::EC2::SecurityGroup", "NetworkEndpointGroup")
				group["SecurityGroupIngress"] = []any{}
			},
			[]string{"missing: server → endpoint ssm: tcp 443", "because no rule of NetworkEndpointGroup"},
		},
		"the listener forwards to another port": {
			func(t *testing.T, _ map[string]any, all resources) {
				_, targets := all.one(t, "AWS::ElasticLoadBalancingV2::TargetGroup", "LoadBalancer")
				targets["HealthCheckPort"] = "8080"
			},
			[]string{"load balancer sends requests to server on tcp 80, tcp 8080, and not exactly that gets through"},
		},
		"another listener is open": {
			func(t *testing.T, template map[string]any, all resources) {
				_, listener := all.one(t, "AWS::ElasticLoadBalancingV2::Listener", "LoadBalancerHttps")
				listener["Port"] = 8443
			},
			[]string{"missing: the internet, 203.0.113.0/24 → load balancer: tcp 80, tcp 443", "not wanted: the internet, 203.0.113.0/24 → load balancer: tcp 80,"},
		},
		"the load balancer is internal": {
			func(t *testing.T, _ map[string]any, all resources) {
				_, balancer := all.one(t, "AWS::ElasticLoadBalancingV2::LoadBalancer", "LoadBalancer")
				balancer["Scheme"] = "internal"
			},
			[]string{"because load balancer has no public address", "missing: runner → GitLab's URL"},
		},
		"server and runner share a group that lets its members in": {
			func(t *testing.T, template map[string]any, all resources) {
				id, _ := all.one(t, "AWS::EC2::SecurityGroup", "ServerSecurityGroup")
				group := map[string]any{"Fn::GetAtt": []any{id, "GroupId"}}
				_, runner := all.one(t, "AWS::EC2::Instance", "Runner")
				runner["SecurityGroupIds"] = []any{group}
				template["Resources"].(map[string]any)["Mistake"] = map[string]any{"Type": "AWS::EC2::SecurityGroupIngress", "Properties": map[string]any{
					"GroupId": group, "SourceSecurityGroupId": group, "IpProtocol": "-1",
				}}
			},
			[]string{"not wanted: runner → server: everything", "not wanted: server → runner: everything"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			template, all := golden(t)
			c.mistake(t, template, all)
			mistaken, err := read(t, template)
			require.NoError(t, err)
			said := strings.Join(mistaken.Differences(want), "\n")
			for _, line := range c.says {
				assert.Contains(t, said, line)
			}
			t.Log("\n" + said)
		})
	}
}

// TestS4_whatTheProofDoesNotKnowIsAnError: silence would pass for safety.
func TestS4_whatTheProofDoesNotKnowIsAnError(t *testing.T) {
	subnet := func(t *testing.T, all resources) map[string]any {
		id, _ := all.one(t, "AWS::EC2::Subnet", "NetworkGitLab")
		return map[string]any{"Ref": id}
	}
	for name, c := range map[string]struct {
		add  func(t *testing.T, all resources) map[string]any
		says string
	}{
		"a network ACL": {
			func(*testing.T, resources) map[string]any { return map[string]any{"Type": "AWS::EC2::NetworkAcl"} },
			"Added is of type AWS::EC2::NetworkAcl, which the network proof does not know",
		},
		"a peering": {
			func(*testing.T, resources) map[string]any {
				return map[string]any{"Type": "AWS::EC2::VPCPeeringConnection"}
			},
			"AWS::EC2::VPCPeeringConnection",
		},
		"a function in the VPC": {
			func(t *testing.T, all resources) map[string]any {
				return map[string]any{"Type": "AWS::Lambda::Function", "Properties": map[string]any{
					"VpcConfig": map[string]any{"SubnetIds": []any{subnet(t, all)}},
				}}
			},
			"Added (AWS::Lambda::Function) has the property VpcConfig",
		},
		"a database in the VPC": {
			func(t *testing.T, all resources) map[string]any {
				return map[string]any{"Type": "AWS::RDS::DBSubnetGroup", "Properties": map[string]any{"SubnetIds": []any{subnet(t, all)}}}
			},
			"has the property SubnetIds",
		},
		"an instance without a group": {
			func(t *testing.T, all resources) map[string]any {
				return map[string]any{"Type": "AWS::EC2::Instance", "Properties": map[string]any{"SubnetId": subnet(t, all)}}
			},
			"Added names no security group",
		},
		"a route by a gateway of another kind": {
			func(t *testing.T, all resources) map[string]any {
				id, _ := all.one(t, "AWS::EC2::RouteTable", "NetworkGitLab")
				return map[string]any{"Type": "AWS::EC2::Route", "Properties": map[string]any{
					"RouteTableId": map[string]any{"Ref": id}, "DestinationCidrBlock": "10.99.0.0/16", "TransitGatewayId": "tgw-0123456789abcdef0",
				}}
			},
			"Added leads to a gateway that the network proof does not know",
		},
		"a private zone that may hold GitLab's name": {
			func(*testing.T, resources) map[string]any {
				return map[string]any{"Type": "AWS::Route53::HostedZone", "Properties": map[string]any{"VPCs": []any{}}}
			},
			"Added is a private hosted zone",
		},
	} {
		t.Run(name, func(t *testing.T) {
			template, all := golden(t)
			template["Resources"].(map[string]any)["Added"] = c.add(t, all)
			_, err := read(t, template)
			assert.ErrorContains(t, err, c.says)
		})
	}
}

// TestS4_theMostSpecificRouteDecides follows packets past a route that covers
// a part of the internet only.
func TestS4_theMostSpecificRouteDecides(t *testing.T) {
	template, all := golden(t)
	table, _ := all.one(t, "AWS::EC2::RouteTable", "NetworkPublic1")
	nat, _ := all.one(t, "AWS::EC2::NatGateway", "Network")
	template["Resources"].(map[string]any)["Added"] = map[string]any{"Type": "AWS::EC2::Route", "Properties": map[string]any{
		"RouteTableId": map[string]any{"Ref": table}, "DestinationCidrBlock": "203.0.113.128/25", "NatGatewayId": map[string]any{"Ref": nat},
	}}
	_, balancer := all.one(t, "AWS::ElasticLoadBalancingV2::LoadBalancer", "LoadBalancer")
	balancer["Subnets"] = balancer["Subnets"].([]any)[:1]
	n, err := read(t, template)
	require.NoError(t, err)
	for _, f := range n.Flows() {
		assert.False(t, f.From == "the internet, 203.0.113.0/24" && f.To == "load balancer", "half of the answers leave by another way: %s", f)
	}
}
