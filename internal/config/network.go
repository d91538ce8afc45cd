package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

const (
	// An ALB needs subnets in two zones at least; a third would cost a public address and buy nothing for one server.
	zoneCount = 2
	// Smaller subnets lack the 8 free addresses that an ALB wants.
	// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer
	maxPublicBits = 27
	// https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
	minBits, maxBits = 16, 28
	// A security group holds 60 rules. Each range takes two, for ports 80 and 443, as does the NAT gateway's address,
	// by which the runner comes back in.
	// https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups
	maxAllowedRanges = 29
	// Whoever allows more than a 256th of the internet means all of it; and 29 ranges of /8 do not add up to it.
	worldBits = 8
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
	return func(text string) string {
		if want := ipv4Range(text); want != "" {
			return want
		}
		if netip.MustParsePrefix(text).Bits() > mostBits {
			return fmt.Sprintf("/%d or larger: %s", mostBits, reason)
		}
		return ""
	}
}

var (
	publicSubnet  = subnetRange(maxPublicBits, "an ALB needs 8 free addresses in each of its subnets")
	privateSubnet = subnetRange(maxBits, "a VPC has no smaller subnets")
)

func within(inner, outer netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}

func isWorld(text string) bool {
	return netip.MustParsePrefix(text).Bits() < worldBits
}

func (d *document) validateNetwork(n *Network) {
	d.validateZones(n)
	check(d, &n.VPCCIDR, vpcRange)
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

func (d *document) validateLoadBalancer(lb *LoadBalancer) {
	d.validateAllowedRanges(lb)
	check(d, &lb.DomainName, hostName)
	check(d, &lb.CertificateARN, d.certificate())
	if zone := lb.HostedZone; zone != nil {
		check(d, &zone.ID, matches(`Z[A-Z0-9]{1,31}`, "the id of a hosted zone such as Z0123456789ABCDEFGHIJ, without /hostedzone/"))
		check(d, &zone.Name, hostName)
		d.validateHostedName(lb)
	}

	certificate, zone := d.present(&lb.CertificateARN), d.present(&lb.HostedZone)
	const want = "exactly one of certificateArn and hostedZone"
	switch {
	case certificate && zone && d.sound(&lb.HostedZone):
		d.refuse(&lb.HostedZone, "a hosted zone beside a certificate", want)
	case !certificate && !zone && d.sound(lb):
		d.refuse(lb, "neither certificateArn nor hostedZone", want)
	}
}

func (d *document) validateAllowedRanges(lb *LoadBalancer) {
	if d.sound(&lb.AllowedRanges) && (len(lb.AllowedRanges) == 0 || len(lb.AllowedRanges) > maxAllowedRanges) {
		d.refuse(&lb.AllowedRanges, fmt.Sprintf("a list of %d", len(lb.AllowedRanges)),
			fmt.Sprintf("1 to %d ranges: a security group holds 60 rules", maxAllowedRanges))
	}
	checkEach(d, lb.AllowedRanges, ipv4Range)
	first := map[string]*string{}
	for i := range lb.AllowedRanges {
		r := &lb.AllowedRanges[i]
		if !d.sound(r) {
			continue
		}
		if before := first[*r]; before != nil {
			d.refuse(r, quote(*r)+" again", fmt.Sprintf("each range once (also %s)", d.places[before].path))
			continue
		}
		first[*r] = r
	}
}

// validateHostedName checks what the stack needs to make certificate and alias record itself.
func (d *document) validateHostedName(lb *LoadBalancer) {
	name, zone := &lb.DomainName, &lb.HostedZone.Name
	switch {
	case !d.sound(name):
	case len(*name) > 64:
		// https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html
		d.refuse(name, quote(*name), "at most 64 characters: ACM makes no certificate for a longer one")
	case d.sound(zone) && *name != *zone && !strings.HasSuffix(*name, "."+*zone):
		d.refuse(name, quote(*name), fmt.Sprintf("a name inside gitlab.loadBalancer.hostedZone.name, %s", *zone))
	}
}

var hostLabels = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

func hostName(text string) string {
	if len(text) <= 253 && hostLabels.MatchString(text) {
		return ""
	}
	return "a domain name in lower case such as gitlab.example.com"
}

// certificate is the rule for the certificate's ARN, which has to fit account and region as far as these are sound.
// A load balancer takes no certificate of another region.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/https-listener-certificates.html
func (d *document) certificate() rule[string] {
	partition, region, account := `aws(-[a-z]+)*`, `[a-z0-9-]+`, `[0-9]{12}`
	example := []string{"aws", "<region>", "<account>"}
	if d.sound(&d.config.Region) {
		region = regexp.QuoteMeta(d.config.Region)
		partition = partitionOf(d.config.Region)
		example[0], example[1] = partition, d.config.Region
	}
	if d.sound(&d.config.GitLab.Account) {
		account = d.config.GitLab.Account
		example[2] = account
	}
	const id = `[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`
	return matches(fmt.Sprintf(`arn:%s:acm:%s:%s:certificate/%s`, partition, region, account, id),
		fmt.Sprintf("arn:%s:acm:%s:%s:certificate/<id>, an ACM certificate of gitlab.account in the region", example[0], example[1], example[2]))
}

// partitionOf is the second part of every ARN in a region.
// https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
func partitionOf(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}
