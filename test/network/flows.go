package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Names of parties that no resource of the template is.
const (
	Internet = "the internet"
	S3       = "S3"
	URL      = "GitLab's URL"
)

// Flow says that From can open connections to To.
type Flow struct {
	From, To string
	// Traffic is what gets through, such as "tcp 80, tcp 443" or "everything".
	Traffic string
	// Way is what it goes through.
	Way string
}

func (f Flow) String() string {
	return fmt.Sprintf("%s → %s: %s, by %s", f.From, f.To, f.Traffic, f.Way)
}

// result collects what gets through between two parties, and what does not and
// why.
type result struct {
	flows   []Flow
	blocked map[[2]string][]string
}

func (r *result) flow(from, to string, t traffic, format string, args ...any) {
	r.flows = append(r.flows, Flow{from, to, t.String(), fmt.Sprintf(format, args...)})
}

func (r *result) block(from, to, format string, args ...any) {
	pair := [2]string{from, to}
	r.blocked[pair] = append(r.blocked[pair], fmt.Sprintf(format, args...))
}

// Flows returns every connection that gets through, sorted.
func (n *Network) Flows() []Flow { return n.compute().flows }

// Blocked returns the reasons for which nothing, or not everything, gets
// through from one party to another.
func (n *Network) Blocked(from, to string) []string {
	if strings.HasPrefix(from, Internet) {
		from = Internet // of all its parts
	}
	return n.compute().blocked[[2]string{from, to}]
}

func (n *Network) compute() *result {
	r := &result{blocked: map[[2]string][]string{}}
	for _, to := range n.parties {
		n.fromInternet(r, to)
	}
	for _, from := range append(slices.Clone(n.parties), n.strangers()...) {
		for _, to := range n.parties {
			if from != to {
				n.within(r, from, to)
			}
		}
		if from.kind == kindEndpoint || from.kind == kindStranger {
			continue // an endpoint only answers; a stranger is no business of ours once it leaves
		}
		n.toInternet(r, from)
		n.toS3(r, from)
		n.toURL(r, from)
	}
	slices.SortFunc(r.flows, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Traffic, b.Traffic), cmp.Compare(a.Way, b.Way))
	})
	return r
}

// strangers are hosts that somebody may put into each subnet, with a group of
// their own.
func (n *Network) strangers() []*party {
	var out []*party
	for _, s := range n.subnets {
		out = append(out, &party{name: "another host in subnet " + s.name + ", " + s.cidr.String(), kind: kindStranger, subnets: []*subnet{s}})
	}
	return out
}

// fromInternet follows a packet from anywhere to a public address.
func (n *Network) fromInternet(r *result, to *party) {
	if !to.public {
		r.block(Internet, to.name, "%s has no public address", to.name)
		return
	}
	admitted := map[netip.Prefix]traffic{}
	for _, id := range to.groups {
		for _, in := range n.groups[id].in {
			if !in.cidr.IsValid() || private(in.cidr) {
				continue
			}
			if t := (traffic{in.ports}).common(to.answers()); len(t) > 0 {
				admitted[in.cidr] = append(admitted[in.cidr], t...)
			}
		}
	}
	if len(admitted) == 0 {
		r.block(Internet, to.name, "no rule of %s lets anything in from the internet that %s answers", strings.Join(to.groups, ", "), to.name)
	}
	for source, t := range admitted {
		for _, s := range to.subnets {
			if !s.leads(source, "internet") {
				r.block(Internet, to.name, "the routes of subnet %s do not lead to an attached internet gateway", s.name)
				continue
			}
			r.flow(from(source), to.name, t.normal(), "the internet gateway")
			break // one address that answers is enough
		}
	}
}

// from names a part of the internet.
func from(source netip.Prefix) string {
	if source == world {
		return Internet
	}
	return Internet + ", " + source.String()
}

// answers is what a party answers on.
func (p *party) answers() traffic {
	if p.listens == nil {
		return traffic{{protocol: everything}}
	}
	return p.listens
}

// within follows a packet between two addresses of the VPC.
func (n *Network) within(r *result, from, to *party) {
	var t traffic
	narrowed := map[string]bool{}
	for _, a := range from.subnets {
		for _, b := range to.subnets {
			sent := n.sends(from, to, b.cidr)
			taken, only := n.takes(to, from, a.cidr)
			for o := range only {
				narrowed[o] = true
			}
			t = append(t, sent.common(taken).common(to.answers())...)
			if len(sent) == 0 {
				r.block(from.name, to.name, "no rule of %s lets anything out to %s", strings.Join(from.groups, ", "), to.name)
			} else if len(sent.common(taken).common(to.answers())) == 0 {
				r.block(from.name, to.name, "no rule of %s lets in from %s what it may send and %s answers", strings.Join(to.groups, ", "), from.name, to.name)
			}
		}
	}
	if t = t.normal(); len(t) == 0 {
		return
	}
	way := "the VPC's own routes"
	if to.kind == kindEndpoint && !to.privateName {
		way += ", by address only: the service's name leads elsewhere"
	}
	for only := range narrowed {
		way += ", of " + only + " only"
	}
	r.flow(from.name, to.name, t, "%s", way)
}

// sends is what a party may send to another one in a range of the VPC. A
// stranger may send everything.
func (n *Network) sends(from, to *party, at netip.Prefix) traffic {
	if from.kind == kindStranger {
		return traffic{{protocol: everything}}
	}
	var out traffic
	for _, id := range from.groups {
		for _, rule := range n.groups[id].out {
			if rule.cidr.IsValid() && rule.cidr.Overlaps(at) || rule.group != "" && slices.Contains(to.groups, rule.group) {
				out = append(out, rule.ports)
			}
		}
	}
	return out.normal()
}

// takes is what a party lets in from another one in a range of the VPC, and
// the ranges that are only a part of it.
func (n *Network) takes(to, from *party, at netip.Prefix) (traffic, map[string]bool) {
	var in traffic
	part := map[string]bool{}
	for _, id := range to.groups {
		for _, rule := range n.groups[id].in {
			switch {
			case rule.cidr.IsValid():
				if common, ok := overlap(rule.cidr, at); ok {
					in = append(in, rule.ports)
					if common != at {
						part[common.String()] = true
					}
				}
			case slices.Contains(from.groups, rule.group):
				in = append(in, rule.ports)
			}
		}
	}
	return in.normal(), part
}

// toInternet follows a packet from a party out of the VPC.
func (n *Network) toInternet(r *result, from *party) {
	reached := map[string]traffic{}
	allowed := false
	for _, id := range from.groups {
		for _, rule := range n.groups[id].out {
			if !rule.cidr.IsValid() || private(rule.cidr) {
				continue
			}
			allowed = true
			to := Internet
			if rule.cidr != world {
				to += ", " + rule.cidr.String()
			}
			for _, s := range from.subnets {
				for _, way := range n.out(r, from, s, rule.cidr) {
					reached[to+"\x00"+way] = append(reached[to+"\x00"+way], rule.ports)
				}
			}
		}
	}
	for key, t := range reached {
		to, way, _ := strings.Cut(key, "\x00")
		r.flow(from.name, to, t.normal(), "%s", way)
	}
	if !allowed {
		r.block(from.name, Internet, "no rule of %s lets anything out to the internet", strings.Join(from.groups, ", "))
	}
}

// out returns the ways by which packets of a party leave a subnet for a range.
func (n *Network) out(r *result, from *party, s *subnet, to netip.Prefix) []string {
	var ways []string
	for _, way := range s.ways(to) {
		switch {
		case way.by == "nowhere":
			r.block(from.name, Internet, "no route of subnet %s leads to the internet", s.name)
		case way.by == "internet" && from.public:
			ways = append(ways, "the internet gateway")
		case way.by == "internet":
			r.block(from.name, Internet, "subnet %s leads to the internet gateway, and %s has no public address", s.name, from.name)
		case way.by == "nat" && way.nat.subnet.leads(world, "internet"):
			ways = append(ways, fmt.Sprintf("the NAT gateway (%s)", way.nat.address))
		case way.by == "nat":
			r.block(from.name, Internet, "the NAT gateway's own subnet does not lead to an attached internet gateway")
		}
	}
	slices.Sort(ways)
	return slices.Compact(ways)
}

// toS3 follows a request to S3. The ranges of S3 are not in the template: only
// a group that lets everything out, or out to everywhere, reaches them.
func (n *Network) toS3(r *result, from *party) {
	allowed := n.anywhere(from).common(traffic{{"tcp", 80, 80}, {"tcp", 443, 443}})
	if len(allowed) == 0 {
		r.block(from.name, S3, "no rule of %s lets tcp 443 out to everywhere", strings.Join(from.groups, ", "))
		return
	}
	for _, s := range from.subnets {
		for _, endpoint := range n.s3 {
			if endpoint.tables[s.table] {
				r.flow(from.name, S3, allowed, "the gateway endpoint")
				return
			}
		}
		r.block(from.name, S3, "no gateway endpoint is in the route table of subnet %s", s.name)
		for _, way := range n.out(r, from, s, world) {
			r.flow(from.name, S3, allowed, "%s", way)
		}
	}
}

// anywhere is what a party may send to every address.
func (n *Network) anywhere(from *party) traffic {
	var out traffic
	for _, id := range from.groups {
		for _, rule := range n.groups[id].out {
			if rule.cidr == world {
				out = append(out, rule.ports)
			}
		}
	}
	return out.normal()
}

// toURL follows a request by GitLab's public name, which leads to the public
// addresses of the load balancer: out of the VPC, and in again.
func (n *Network) toURL(r *result, from *party) {
	for _, balancer := range n.parties {
		if balancer.kind != kindBalancer || balancer == from {
			continue
		}
		if !balancer.public {
			r.block(from.name, URL, "%s has no public address", balancer.name)
			continue
		}
		for _, s := range from.subnets {
			for _, way := range s.ways(world) {
				if way.by != "nat" || !way.nat.subnet.leads(world, "internet") {
					if way.by != "local" {
						r.block(from.name, URL, "subnet %s does not lead to the internet through a NAT gateway", s.name)
					}
					continue
				}
				source := netip.PrefixFrom(way.nat.address, 32)
				t := n.anywhere(from).common(n.admits(balancer, source))
				if len(t) == 0 {
					r.block(from.name, URL, "no rule of %s lets in the NAT gateway's address, %s", strings.Join(balancer.groups, ", "), way.nat.address)
					continue
				}
				r.flow(from.name, URL, t, "the NAT gateway (%s), the internet gateway, %s", way.nat.address, balancer.name)
			}
		}
	}
}

// admits is what a party answers to a public address.
func (n *Network) admits(to *party, source netip.Prefix) traffic {
	var in traffic
	for _, id := range to.groups {
		for _, rule := range n.groups[id].in {
			if rule.cidr.IsValid() && rule.cidr.Bits() <= source.Bits() && rule.cidr.Contains(source.Addr()) {
				in = append(in, rule.ports)
			}
		}
	}
	for _, s := range to.subnets {
		if s.leads(source, "internet") {
			return in.normal().common(to.answers())
		}
	}
	return nil
}

// leads tells whether all packets to a range leave by a kind of gateway, the
// VPC's own addresses aside.
func (s *subnet) leads(to netip.Prefix, by string) bool {
	found := false
	for _, way := range s.ways(to) {
		if way.by != by && way.by != "local" {
			return false
		}
		found = found || way.by == by
	}
	return found
}

// ways returns the routes that packets to a range take: the most specific one
// decides for each address. A part of the range without a route is left out.
func (s *subnet) ways(to netip.Prefix) []route {
	var best *route
	inside := false
	for i, r := range s.routes {
		switch {
		case r.to.Bits() <= to.Bits() && r.to.Contains(to.Addr()):
			if best == nil || r.to.Bits() > best.to.Bits() {
				best = &s.routes[i]
			}
		case to.Overlaps(r.to):
			inside = true
		}
	}
	if !inside {
		if best == nil {
			return []route{{to: to, by: "nowhere"}}
		}
		return []route{*best}
	}
	low, high := halves(to)
	var out []route
	for _, r := range append(s.ways(low), s.ways(high)...) {
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

func halves(p netip.Prefix) (low, high netip.Prefix) {
	bytes := p.Addr().As4()
	bit := p.Bits()
	low = netip.PrefixFrom(p.Addr(), bit+1)
	bytes[bit/8] |= 1 << (7 - bit%8)
	return low, netip.PrefixFrom(netip.AddrFrom4(bytes), bit+1)
}
