package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

const (
	// A security group holds 60 rules. Each range takes two, for ports 80 and 443, as does the NAT gateway's address,
	// by which the runner comes back in.
	// https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups
	maxAllowedRanges = 29
	// Whoever allows more than a 256th of the internet means all of it; and 29 ranges of /8 do not add up to it.
	worldBits = 8
)

func isWorld(text string) bool {
	return netip.MustParsePrefix(text).Bits() < worldBits
}

func (d *document) validateLoadBalancer(lb *LoadBalancer) {
	d.validateAllowedRanges(lb)
	check(d, &lb.DomainName, by(hostName))
	check(d, &lb.CertificateARN, d.certificate())
	if zone := lb.HostedZone; zone != nil {
		check(d, &zone.ID, matches(`Z[A-Z0-9]{1,31}`, "the id of a hosted zone such as Z0123456789ABCDEFGHIJ, without /hostedzone/"))
		check(d, &zone.Name, by(hostName))
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
	checkEach(d, lb.AllowedRanges, by(ipv4Range))
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
