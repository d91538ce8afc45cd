package network

import (
	"net/netip"
)

// Network is what a template makes of a VPC.
type Network struct {
	vpc     netip.Prefix
	dns     bool // names of AWS's services become addresses of endpoints
	subnets map[string]*subnet
	groups  map[string]*group
	parties []*party
	s3      []gatewayEndpoint
}

// subnet is a subnet with the routes of its table.
type subnet struct {
	name   string
	cidr   netip.Prefix
	routes []route
	table  string
	public bool // instances get public addresses
}

// route sends packets to a range through a gateway.
type route struct {
	to netip.Prefix
	// by is the kind of gateway: "local", "internet" or "nat".
	by string
	// nat is the gateway when by is "nat".
	nat *natGateway
}

// natGateway gives the hosts behind it one public address.
type natGateway struct {
	id      string
	subnet  *subnet
	address netip.Addr
}

// gatewayEndpoint is an endpoint for S3 in route tables.
type gatewayEndpoint struct {
	tables map[string]bool
}

// rule lets traffic from or to either a range or a group.
type rule struct {
	ports ports
	cidr  netip.Prefix // invalid when the rule names a group
	group string
}

// group is a security group.
type group struct {
	id      string
	in, out []rule
}

// Kinds of party.
const (
	kindInstance = "instance"
	kindBalancer = "load balancer"
	kindEndpoint = "endpoint"
	kindStranger = "stranger"
)

// party is something with an address in the VPC.
type party struct {
	name, kind string
	subnets    []*subnet
	groups     []string
	// public tells whether it has a public address too.
	public bool
	// listens is what it answers on; nil means whatever its groups let in.
	listens traffic
	// targets are where a load balancer sends requests.
	targets []target
	// privateName tells whether an endpoint answers to its service's name.
	privateName bool
}

// target is where a listener sends requests, and the port of its health check.
type target struct {
	party string
	ports traffic
}
