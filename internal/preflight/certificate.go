package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"gitlab-codedeploy/internal/config"
)

// CertificateReader is the part of the ACM client that tells of certificates.
type CertificateReader interface {
	DescribeCertificate(context.Context, *acm.DescribeCertificateInput, ...func(*acm.Options)) (*acm.DescribeCertificateOutput, error)
}

// ACM renews its own 60 days before they end, as long as they can be: one that has a week left was not renewed.
// https://docs.aws.amazon.com/acm/latest/userguide/managed-renewal.html
const leastValidity = 7 * 24 * time.Hour

func hasCertificate(c *config.Config) bool { return c.GitLab.LoadBalancer.CertificateARN != "" }

// certificate asks for the listener's certificate. That its ARN has account A and the Region in it, the configuration
// has checked.
func certificate(ctx context.Context, a *asking) []Finding {
	balancer := &a.config.GitLab.LoadBalancer
	arn := &balancer.CertificateARN
	out, err := ask(ctx, a, a.Certificates.DescribeCertificate, &acm.DescribeCertificateInput{CertificateArn: arn})
	switch {
	case code(err) == "ResourceNotFoundException":
		return []Finding{a.wrong(arn, "a certificate that does not exist", "one of account "+a.accountID()+" in "+a.config.Region,
			fmt.Sprintf("request or import one for %s in ACM, and write its ARN here", balancer.DomainName))}
	case err != nil:
		return []Finding{a.unchecked(arn, "acm:DescribeCertificate", err)}
	}
	c := out.Certificate
	if c.Status != types.CertificateStatusIssued {
		return []Finding{a.wrong(arn, "a certificate that is "+quote(c.Status), "one that is ISSUED", remedyFor(c.Status))}
	}
	var found []Finding
	names := certificateNames(c)
	if !slices.ContainsFunc(names, func(name string) bool { return covers(name, balancer.DomainName) }) {
		found = append(found, a.wrong(arn, "a certificate for "+harmless(strings.Join(names, ", ")), "one for "+balancer.DomainName,
			"name another certificate, or correct gitlab.loadBalancer.domainName"))
	}
	if c.NotAfter != nil && c.NotAfter.Sub(a.now()) < leastValidity {
		found = append(found, a.wrong(arn, "a certificate that is valid until "+c.NotAfter.UTC().Format(time.RFC3339), "one that is valid for another 7 days",
			"import the new one under the same ARN, or see in ACM why it is not renewed"))
	}
	return found
}

func remedyFor(status types.CertificateStatus) string {
	if status == types.CertificateStatusPendingValidation {
		return "make the DNS records that ACM asks for (its console shows them), and wait until it says ISSUED"
	}
	return "request or import another one in ACM, and write its ARN here"
}

func certificateNames(c *types.CertificateDetail) []string {
	names := c.SubjectAlternativeNames
	if domain := aws.ToString(c.DomainName); domain != "" && !slices.Contains(names, domain) {
		names = append([]string{domain}, names...)
	}
	return names
}

// covers is the rule of RFC 6125: a star stands for one whole label, the first.
func covers(name, host string) bool {
	name = strings.ToLower(name)
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		_, parent, _ := strings.Cut(host, ".")
		return parent == rest
	}
	return name == host
}
