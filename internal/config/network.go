package config

import (
	"fmt"
	"net/netip"
	"regexp"
)

const (
	// An ALB needs subnets in two zones at least; a third would cost a public address and buy nothing for one server.
	zoneCount = 2
	// Smaller subnets lack the 8 free addresses that an ALB wants.
	// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer
	maxPublicBits = 27
	// https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
	minBits, maxBits = 16, 28
)

// privateRanges are those of RFC 1918 and RFC 6598.
var privateRanges = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"),
}

// dockerRange is the default bridge of Docker: from the runner's containers nothing else with these addresses can be
// reached. https://docs.docker.com/engine/network/drivers/bridge/
var dockerRange = netip.MustParsePrefix("172.17.0.0/16")

// ipv4Range is the rule for a canonical IPv4 CIDR block.
func ipv4Range(text string) string {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		if address, err := netip.ParseAddr(text); err == nil && address.Is4() {
			return fmt.Sprintf("a range: %s/32 for this one address", text)
		}
		return "an IPv4 range such as 10.20.0.0/16"
	}
	switch {
	case !prefix.Addr().Is4():
		return "an IPv4 range: the VPC has no IPv6"
	case prefix != prefix.Masked():
		return fmt.Sprintf("%s: no address bits behind the /%d", prefix.Masked(), prefix.Bits())
	}
	return ""
}

func vpcRange(text string) string {
	if want := ipv4Range(text); want != "" {
		return want
	}
	vpc := netip.MustParsePrefix(text)
	private := false
	for _, r := range privateRanges {
		private = private || within(vpc, r)
	}
	switch {
	case vpc.Bits() < minBits || vpc.Bits() > maxBits:
		return fmt.Sprintf("a range from /%d to /%d", minBits, maxBits)
	case !private:
		return "a private range: inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
	case vpc.Overlaps(dockerRange):
		return fmt.Sprintf("a range outside %s, which Docker uses on the runner", dockerRange)
	}
	return ""
}

func subnetRange(mostBits int, reason string) rule[string] {
	return by(func(text string) string {
		if want := ipv4Range(text); want != "" {
			return want
		}
		if netip.MustParsePrefix(text).Bits() > mostBits {
			return fmt.Sprintf("/%d or larger: %s", mostBits, reason)
		}
		return ""
	})
}

var (
	publicSubnet  = subnetRange(maxPublicBits, "an ALB needs 8 free addresses in each of its subnets")
	privateSubnet = subnetRange(maxBits, "a VPC has no smaller subnets")
)

func within(inner, outer netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}

func (d *document) validateNetwork(n *Network) {
	d.validateZones(n)
	d.validateReadableBuckets(n)
	check(d, &n.VPCCIDR, by(vpcRange))
	checkEach(d, n.PublicSubnets, publicSubnet)
	check(d, &n.GitLabSubnet, privateSubnet)
	if d.sound(&n.PublicSubnets) && len(n.PublicSubnets) != zoneCount {
		d.refuse(&n.PublicSubnets, fmt.Sprintf("a list of %d", len(n.PublicSubnets)), "one subnet for each of the two zones")
	}

	var subnets []*string
	for i := range n.PublicSubnets {
		subnets = append(subnets, &n.PublicSubnets[i])
	}
	subnets = append(subnets, &n.GitLabSubnet)
	for i, subnet := range subnets {
		d.placeSubnet(subnet, &n.VPCCIDR, subnets[:i])
	}
}

// maxReadableBuckets keeps the endpoint's policy under the 20,480 characters that it may have.
// https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html
const maxReadableBuckets = 50

func (d *document) validateReadableBuckets(n *Network) {
	buckets := n.ReadableBuckets
	if d.sound(&n.ReadableBuckets) && len(buckets) > maxReadableBuckets {
		d.refuse(&n.ReadableBuckets, fmt.Sprintf("a list of %d", len(buckets)), fmt.Sprintf("at most %d buckets: the endpoint's policy names each", maxReadableBuckets))
	}
	// Somebody else's name may have dots in it. A wildcard would be everybody's bucket.
	checkEach(d, buckets, matches(`[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]`, "the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens"))
	first := map[string]*string{}
	for i := range buckets {
		if !d.sound(&buckets[i]) {
			continue
		}
		if before := first[buckets[i]]; before != nil {
			d.refuse(&buckets[i], quote(buckets[i])+" again", fmt.Sprintf("each bucket once (also %s)", d.places[before].path))
			continue
		}
		first[buckets[i]] = &buckets[i]
	}
}

// placeSubnet checks that a subnet lies in the VPC and apart from the subnets named before it.
func (d *document) placeSubnet(subnet, vpc *string, before []*string) {
	if !d.sound(subnet) {
		return
	}
	mine := netip.MustParsePrefix(*subnet)
	if d.sound(vpc) && !within(mine, netip.MustParsePrefix(*vpc)) {
		d.refuse(subnet, quote(*subnet), fmt.Sprintf("a range inside gitlab.network.vpcCidr, %s", *vpc))
		return
	}
	for _, other := range before {
		if d.sound(other) && mine.Overlaps(netip.MustParsePrefix(*other)) {
			d.refuse(subnet, quote(*subnet), fmt.Sprintf("a range apart from %s, %s", d.places[other].path, *other))
			return
		}
	}
}

func (d *document) validateZones(n *Network) {
	if d.sound(&d.config.Region) {
		region := d.config.Region
		// Local Zones (…-1-lax-1a) are left out on purpose: not all of them have NAT gateways.
		checkEach(d, n.Zones, matches(regexp.QuoteMeta(region)+`[a-z]`,
			fmt.Sprintf("a zone of the region, such as %sa", region)))
	}
	if !d.sound(&n.Zones) {
		return
	}
	if len(n.Zones) != zoneCount {
		d.refuse(&n.Zones, fmt.Sprintf("a list of %d", len(n.Zones)), "two zones of the region: an ALB needs two")
		return
	}
	if d.sound(&n.Zones[0], &n.Zones[1]) && n.Zones[0] == n.Zones[1] {
		d.refuse(&n.Zones[1], quote(n.Zones[1]), "another zone than the first: an ALB needs two")
	}
}
