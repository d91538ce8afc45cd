package doctor

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/plain"
)

// warnDays: ACM renews its own 60 days before the end and warns at 45. What has less than a month was not renewed.
// https://docs.aws.amazon.com/acm/latest/userguide/managed-renewal.html
const warnDays = 30

// certificate is about the days that the listener's has left.
func certificate(ctx context.Context, l *look) []Finding {
	a := l.accounts[account.GitLab]
	arn := l.config.GitLab.LoadBalancer.CertificateARN
	if arn == "" {
		made, missing := l.madeCertificate(ctx)
		if missing != nil {
			return missing
		}
		arn = made
	}
	out, err := acm.NewFromConfig(a.AWS).DescribeCertificate(ctx, &acm.DescribeCertificateInput{CertificateArn: &arn})
	switch {
	case code(err) == "ResourceNotFoundException":
		return []Finding{wrong("request or import one in ACM", "%s does not exist", plain.Line(arn, 200))}
	case err != nil:
		return []Finding{refused("acm:DescribeCertificate", err)}
	case out.Certificate == nil:
		return []Finding{unchecked("ACM answered without the certificate")}
	}
	c := out.Certificate
	remedy := "import the new one under the same ARN"
	if c.Type == acmtypes.CertificateTypeAmazonIssued {
		remedy = "see in ACM why it is not renewed; mostly its DNS record for the validation is gone"
	}
	switch {
	case c.Status != acmtypes.CertificateStatusIssued:
		return []Finding{wrong("see in ACM why it is not issued", "it is %s, want ISSUED", plain.Line(string(c.Status), 40))}
	case c.NotAfter == nil:
		return []Finding{unchecked("ACM does not tell until when it is valid")}
	}
	days := int(c.NotAfter.Sub(l.Now()) / (24 * time.Hour))
	if days < warnDays {
		return []Finding{wrong(remedy, "%d days left (until %s), want %d or more", days, c.NotAfter.UTC().Format(time.DateOnly), warnDays)}
	}
	return []Finding{ok("%d days left, until %s", days, c.NotAfter.UTC().Format(time.DateOnly))}
}

// madeCertificate is the one that the stack has made, with hostedZone.
func (l *look) madeCertificate(ctx context.Context) (string, []Finding) {
	a := l.accounts[account.GitLab]
	if l.noStack[account.GitLab] != nil {
		return "", []Finding{unchecked("the stack makes it, and %s", l.noStack[account.GitLab])}
	}
	pages := cloudformation.NewListStackResourcesPaginator(cloudformation.NewFromConfig(a.AWS), &cloudformation.ListStackResourcesInput{StackName: &a.Stack})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", []Finding{refused("cloudformation:ListStackResources", err)}
		}
		for _, r := range page.StackResourceSummaries {
			if aws.ToString(r.ResourceType) == "AWS::CertificateManager::Certificate" {
				return aws.ToString(r.PhysicalResourceId), nil
			}
		}
	}
	return "", []Finding{wrong("scripts/ops deploy --env "+l.config.Environment, "stack %s has no certificate", a.Stack)}
}
