package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gitlab-codedeploy/test/cfn"
)

// known are the types that this package understands, and those of which it
// knows that no connection depends on them.
var known = []string{
	"AWS::EC2::VPC", "AWS::EC2::Subnet", "AWS::EC2::InternetGateway", "AWS::EC2::VPCGatewayAttachment", "AWS::EC2::EIP",
	"AWS::EC2::NatGateway", "AWS::EC2::RouteTable", "AWS::EC2::Route", "AWS::EC2::SubnetRouteTableAssociation",
	"AWS::EC2::VPCEndpoint", "AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress",
	"AWS::EC2::Instance", "AWS::EC2::Volume", "AWS::EC2::VolumeAttachment", "AWS::EC2::FlowLog",
	"AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::ElasticLoadBalancingV2::Listener", "AWS::ElasticLoadBalancingV2::TargetGroup",
}

// attached are the properties by which a resource of any type is put into a
// network.
var attached = []string{"SubnetId", "SubnetIds", "Subnets", "SubnetMappings", "SecurityGroups", "SecurityGroupIds", "VpcConfig",
	"VpcSecurityGroupIds", "VPCZoneIdentifier", "NetworkConfiguration", "NetworkInterfaces", "ResourcesVpcConfig"}

// Read makes a Network of a template. names gives readable names to
// instances, by logical id.
func Read(template *cfn.Template, names map[string]string) (n *Network, err error) {
	defer cfn.Catch(&err)
	r := &reader{template: template, names: names, network: &Network{subnets: map[string]*subnet{}, groups: map[string]*group{}}}
	r.refuseUnknown()
	r.vpc()
	r.readGroups()
	r.readSubnets()
	r.readInstances()
	r.readEndpoints()
	r.readBalancers()
	return r.network, nil
}

type reader struct {
	template *cfn.Template
	names    map[string]string
	network  *Network
}

func refuse(format string, args ...any) {
	panic(cfn.Unresolved{What: fmt.Sprintf(format, args...)})
}

func (r *reader) refuseUnknown() {
	for id, resource := range r.template.Resources {
		if slices.Contains(known, resource.Type) {
			continue
		}
		if strings.HasPrefix(resource.Type, "AWS::EC2::") || strings.HasPrefix(resource.Type, "AWS::ElasticLoadBalancing") {
			refuse("%s is of type %s, which the network proof does not know", id, resource.Type)
		}
		for _, property := range attached {
			if _, ok := resource.Properties[property]; ok {
				refuse("%s (%s) has the property %s: the network proof does not know what it does in the network", id, resource.Type, property)
			}
		}
		if resource.Type == "AWS::Route53::HostedZone" && resource.Properties["VPCs"] != nil {
			refuse("%s is a private hosted zone: GitLab's name may lead elsewhere inside the VPC", id)
		}
	}
}

func (r *reader) vpc() {
	ids := r.template.OfType("AWS::EC2::VPC")
	if len(ids) != 1 {
		refuse("got %d VPCs, want one", len(ids))
	}
	vpc := r.template.Properties(ids[0])
	r.network.vpc = prefix(ids[0], vpc["CidrBlock"])
	// Private names need both. The first is true when it is left out.
	// https://docs.aws.amazon.com/vpc/latest/privatelink/manage-dns-names.html
	r.network.dns = vpc["EnableDnsSupport"] != false && vpc["EnableDnsHostnames"] == true
}

func (r *reader) readSubnets() {
	attachedGateways := map[string]bool{}
	for _, id := range r.template.OfType("AWS::EC2::VPCGatewayAttachment") {
		attachedGateways[text(r.template.Properties(id)["InternetGatewayId"])] = true
	}
	for _, id := range r.template.OfType("AWS::EC2::Subnet") {
		p := r.template.Properties(id)
		if p["Ipv6CidrBlock"] != nil || p["Ipv6Native"] == true {
			refuse("%s has IPv6, which the network proof does not know", id)
		}
		r.network.subnets[id] = &subnet{name: r.subnetName(id, p), cidr: prefix(id, p["CidrBlock"]), public: p["MapPublicIpOnLaunch"] == true}
	}
	for _, id := range r.template.OfType("AWS::EC2::SubnetRouteTableAssociation") {
		p := r.template.Properties(id)
		r.subnet(id, p["SubnetId"]).table = text(p["RouteTableId"])
	}
	gateways := map[string]*natGateway{}
	for _, id := range r.template.OfType("AWS::EC2::NatGateway") {
		gateways[id] = r.natGateway(id)
	}
	for _, s := range r.network.subnets {
		// Without an association it is the main table's, which has this only.
		s.routes = append(s.routes, route{to: r.network.vpc, by: "local"})
	}
	for _, id := range r.template.OfType("AWS::EC2::Route") {
		p := r.template.Properties(id)
		if p["DestinationCidrBlock"] == nil {
			refuse("%s has no DestinationCidrBlock, and the network proof knows no other destination", id)
		}
		way := route{to: prefix(id, p["DestinationCidrBlock"])}
		switch {
		case p["NatGatewayId"] != nil && gateways[text(p["NatGatewayId"])] != nil:
			way.by, way.nat = "nat", gateways[text(p["NatGatewayId"])]
		case attachedGateways[text(p["GatewayId"])]:
			way.by = "internet"
		case r.template.Resources[text(p["GatewayId"])].Type == "AWS::EC2::InternetGateway":
			continue // a gateway that is not attached leads nowhere
		default:
			refuse("%s leads to a gateway that the network proof does not know", id)
		}
		for _, s := range r.network.subnets {
			if s.table == text(p["RouteTableId"]) {
				s.routes = append(s.routes, way)
			}
		}
	}
}

// subnetName is the tag Name, with the zone's letter where several have it.
func (r *reader) subnetName(id string, properties map[string]any) string {
	for _, tag := range list(properties["Tags"]) {
		if tag, _ := tag.(map[string]any); tag["Key"] == "Name" {
			return text(tag["Value"])
		}
	}
	return id
}

func (r *reader) natGateway(id string) *natGateway {
	p := r.template.Properties(id)
	allocation := text(p["AllocationId"])
	if r.template.Resources[allocation].Type != "AWS::EC2::EIP" {
		refuse("%s has no Elastic IP of this template", id)
	}
	return &natGateway{id: id, subnet: r.subnet(id, p["SubnetId"]), address: netip.MustParseAddr(r.template.Ref(allocation))}
}

func (r *reader) readGroups() {
	for _, id := range r.template.OfType("AWS::EC2::SecurityGroup") {
		p := r.template.Properties(id)
		g := &group{id: id}
		for _, in := range list(p["SecurityGroupIngress"]) {
			g.in = append(g.in, r.rules(id, in.(map[string]any), "Source")...)
		}
		for _, out := range list(p["SecurityGroupEgress"]) {
			g.out = append(g.out, r.rules(id, out.(map[string]any), "Destination")...)
		}
		r.network.groups[id] = g
	}
	// A group for which the template names no way out, here or in a resource
	// of its own, gets the way out to everywhere.
	// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-securitygroup.html
	named := map[string]bool{}
	for _, id := range r.template.OfType("AWS::EC2::SecurityGroupIngress") {
		p := r.template.Properties(id)
		g := r.group(id, p["GroupId"])
		g.in = append(g.in, r.rules(id, p, "Source")...)
	}
	for _, id := range r.template.OfType("AWS::EC2::SecurityGroupEgress") {
		p := r.template.Properties(id)
		g := r.group(id, p["GroupId"])
		named[g.id] = true
		g.out = append(g.out, r.rules(id, p, "Destination")...)
	}
	for id, g := range r.network.groups {
		if _, inline := r.template.Resources[id].Properties["SecurityGroupEgress"]; !inline && !named[id] {
			g.out = []rule{{ports: ports{protocol: everything}, cidr: world}}
		}
	}
}

// rules reads one rule; side is "Source" or "Destination". IPv6 is left out:
// the VPC has none.
func (r *reader) rules(id string, p map[string]any, side string) []rule {
	allowed := ports{protocol: protocol(id, p["IpProtocol"]), from: number(p["FromPort"]), to: number(p["ToPort"])}
	if p["FromPort"] == nil && (allowed.protocol == "tcp" || allowed.protocol == "udp") {
		allowed.to = 65535
	}
	switch {
	case p["CidrIp"] != nil:
		return []rule{{ports: allowed, cidr: prefix(id, p["CidrIp"])}}
	case p[side+"SecurityGroupId"] != nil:
		return []rule{{ports: allowed, group: r.group(id, p[side+"SecurityGroupId"]).id}}
	case p["CidrIpv6"] != nil:
		return nil
	}
	refuse("%s has a rule whose %s the network proof does not know: %v", id, strings.ToLower(side), p)
	return nil
}

func protocol(id string, v any) string {
	names := map[string]string{"6": "tcp", "17": "udp", "1": "icmp"}
	switch name := strings.ToLower(text(v)); {
	case name == everything, name == "tcp", name == "udp", name == "icmp":
		return name
	case names[name] != "":
		return names[name]
	case name == "icmpv6", name == "58":
		return "icmpv6"
	}
	refuse("%s has a rule for the protocol %v, which the network proof does not know", id, v)
	return ""
}

func (r *reader) readInstances() {
	for _, id := range r.template.OfType("AWS::EC2::Instance") {
		p := r.template.Properties(id)
		if p["SubnetId"] == nil || p["NetworkInterfaces"] != nil {
			refuse("%s names its network interfaces by themselves, which the network proof does not know", id)
		}
		home := r.subnet(id, p["SubnetId"])
		name := r.names[id]
		if name == "" {
			name = id
		}
		r.network.parties = append(r.network.parties, &party{
			name: name, kind: kindInstance, subnets: []*subnet{home}, groups: r.groupsOf(id, p["SecurityGroupIds"]), public: home.public,
		})
	}
}

func (r *reader) readEndpoints() {
	for _, id := range r.template.OfType("AWS::EC2::VPCEndpoint") {
		p := r.template.Properties(id)
		service := text(p["ServiceName"])
		service = service[strings.LastIndex(service, ".")+1:]
		switch p["VpcEndpointType"] {
		case "Gateway":
			if service != "s3" {
				refuse("%s is a gateway endpoint of %s, which the network proof does not know", id, service)
			}
			endpoint := gatewayEndpoint{tables: map[string]bool{}}
			for _, table := range list(p["RouteTableIds"]) {
				endpoint.tables[text(table)] = true
			}
			r.network.s3 = append(r.network.s3, endpoint)
		case "Interface":
			endpoint := &party{
				name: "endpoint " + service, kind: kindEndpoint, groups: r.groupsOf(id, p["SecurityGroupIds"]),
				// AWS's services answer on this port only.
				listens:     traffic{{"tcp", 443, 443}},
				privateName: r.network.dns && p["PrivateDnsEnabled"] == true,
			}
			for _, s := range list(p["SubnetIds"]) {
				endpoint.subnets = append(endpoint.subnets, r.subnet(id, s))
			}
			r.network.parties = append(r.network.parties, endpoint)
		default:
			refuse("%s is an endpoint of type %v, which the network proof does not know", id, p["VpcEndpointType"])
		}
	}
}

func (r *reader) readBalancers() {
	for _, id := range r.template.OfType("AWS::ElasticLoadBalancingV2::LoadBalancer") {
		p := r.template.Properties(id)
		if p["Type"] != "application" {
			refuse("%s is a load balancer of type %v, which the network proof does not know", id, p["Type"])
		}
		balancer := &party{
			name: "load balancer", kind: kindBalancer, groups: r.groupsOf(id, p["SecurityGroups"]),
			public: p["Scheme"] == "internet-facing", listens: traffic{},
		}
		for _, s := range list(p["Subnets"]) {
			balancer.subnets = append(balancer.subnets, r.subnet(id, s))
		}
		for _, listener := range r.template.OfType("AWS::ElasticLoadBalancingV2::Listener") {
			if l := r.template.Properties(listener); text(l["LoadBalancerArn"]) == id {
				balancer.listens = append(balancer.listens, ports{"tcp", number(l["Port"]), number(l["Port"])})
				balancer.targets = append(balancer.targets, r.targets(listener, l)...)
			}
		}
		balancer.listens = balancer.listens.normal()
		r.network.parties = append(r.network.parties, balancer)
	}
}

// targets are where a listener's default action sends requests.
func (r *reader) targets(id string, listener map[string]any) []target {
	var out []target
	for _, a := range list(listener["DefaultActions"]) {
		action := a.(map[string]any)
		switch action["Type"] {
		case "redirect", "fixed-response":
			continue
		case "forward":
		default:
			refuse("%s has an action of type %v, which the network proof does not know", id, action["Type"])
		}
		group := text(action["TargetGroupArn"])
		p := r.template.Properties(group)
		if p["TargetType"] != "instance" {
			refuse("%s forwards to %q, whose targets are no instances", id, group)
		}
		for _, t := range list(p["Targets"]) {
			to := t.(map[string]any)
			port := number(p["Port"])
			if to["Port"] != nil {
				port = number(to["Port"])
			}
			health := port
			if text(p["HealthCheckPort"]) != "" && p["HealthCheckPort"] != "traffic-port" {
				health = number(p["HealthCheckPort"])
			}
			name := r.names[text(to["Id"])]
			if name == "" {
				name = text(to["Id"])
			}
			out = append(out, target{party: name, ports: traffic{{"tcp", port, port}, {"tcp", health, health}}.normal()})
		}
	}
	return out
}

func (r *reader) subnet(id string, v any) *subnet {
	s := r.network.subnets[text(v)]
	if s == nil {
		refuse("%s names %v, which is no subnet of this template", id, v)
	}
	return s
}

func (r *reader) group(id string, v any) *group {
	g := r.network.groups[text(v)]
	if g == nil {
		refuse("%s names %v, which is no security group of this template", id, v)
	}
	return g
}

func (r *reader) groupsOf(id string, v any) []string {
	var out []string
	for _, g := range list(v) {
		out = append(out, r.group(id, g).id)
	}
	if len(out) == 0 {
		refuse("%s names no security group: the VPC's default one lets its members talk to each other", id)
	}
	return out
}

func prefix(id string, v any) netip.Prefix {
	p, err := netip.ParsePrefix(text(v))
	if err != nil {
		refuse("%s has the range %v: %v", id, v, err)
	}
	return p.Masked()
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// number reads a port, which may be written as a string.
func number(v any) int {
	switch v := v.(type) {
	case float64:
		return int(v)
	case string:
		n, err := strconv.Atoi(v)
		if err != nil {
			refuse("want a port, got %q", v)
		}
		return n
	}
	return 0
}
