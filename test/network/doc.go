// Package network computes from a template alone who can open a connection to
// whom: through subnets, routes, gateways, endpoints, security groups and the
// load balancer.
//
//	template ── Read ──▶ Network ── Flows ──▶ every connection that gets through
//	                             └─ Blocked ─▶ why one does not
//
// It errs to one side only. Whatever it does not know (another kind of
// gateway, a network ACL, IPv6, an interface of an unknown kind) is an error
// and not a silence, and an address that may be anywhere in a subnet is taken
// to be everywhere in it. Groups are stateful, so a connection is decided by
// the direction it is opened in. The network ACLs are the VPC's default, which
// lets everything through.
// https://docs.aws.amazon.com/vpc/latest/userguide/how-it-works.html
package network
