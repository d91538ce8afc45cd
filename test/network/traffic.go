package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// everything is the protocol of a rule for all of them.
const everything = "-1"

// ports is a range of ports of one protocol. For ICMP it is type and code; for
// everything it is unused.
type ports struct {
	protocol string
	from, to int
}

func (p ports) String() string {
	switch {
	case p.protocol == everything:
		return "everything"
	case p.protocol != "tcp" && p.protocol != "udp":
		return p.protocol
	case p.from == 0 && p.to == 65535:
		return p.protocol + " all ports"
	case p.from == p.to:
		return fmt.Sprintf("%s %d", p.protocol, p.from)
	}
	return fmt.Sprintf("%s %d-%d", p.protocol, p.from, p.to)
}

// both returns what two ranges have in common.
func both(a, b ports) (ports, bool) {
	switch {
	case a.protocol == everything:
		return b, true
	case b.protocol == everything:
		return a, true
	case a.protocol != b.protocol:
		return ports{}, false
	case a.protocol != "tcp" && a.protocol != "udp":
		return a, true
	}
	common := ports{a.protocol, max(a.from, b.from), min(a.to, b.to)}
	return common, common.from <= common.to
}

// traffic is a set of ranges, in order and without overlaps.
type traffic []ports

func (t traffic) String() string {
	var texts []string
	for _, p := range t {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}

// common returns what two sets have in common.
func (t traffic) common(other traffic) traffic {
	var out traffic
	for _, a := range t {
		for _, b := range other {
			if c, ok := both(a, b); ok {
				out = append(out, c)
			}
		}
	}
	return out.normal()
}

// normal sorts a set and joins what touches.
func (t traffic) normal() traffic {
	for _, p := range t {
		if p.protocol == everything {
			return traffic{{protocol: everything}}
		}
	}
	slices.SortFunc(t, func(a, b ports) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	var out traffic
	for _, p := range t {
		if last := len(out) - 1; last >= 0 && out[last].protocol == p.protocol && p.from <= out[last].to+1 {
			out[last].to = max(out[last].to, p.to)
			continue
		}
		out = append(out, p)
	}
	return out
}

// world is every IPv4 address.
var world = netip.MustParsePrefix("0.0.0.0/0")

// overlap returns what two ranges have in common: the smaller, or nothing.
func overlap(a, b netip.Prefix) (netip.Prefix, bool) {
	if !a.Overlaps(b) {
		return netip.Prefix{}, false
	}
	if a.Bits() >= b.Bits() {
		return a, true
	}
	return b, true
}

// private tells whether a range belongs to no one on the internet.
func private(p netip.Prefix) bool {
	for _, text := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "255.255.255.255/32"} {
		if r := netip.MustParsePrefix(text); r.Bits() <= p.Bits() && r.Contains(p.Addr()) {
			return true
		}
	}
	return false
}
