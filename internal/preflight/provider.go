package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"gitlab-codedeploy/internal/config"
)

// ProviderReader is the part of the IAM client that tells of identity providers.
type ProviderReader interface {
	GetOpenIDConnectProvider(context.Context, *iam.GetOpenIDConnectProviderInput, ...func(*iam.Options)) (*iam.GetOpenIDConnectProviderOutput, error)
}

// tokenAudience is whom the tokens of the pipeline's jobs are for (.gitlab-ci.yml).
const tokenAudience = "sts.amazonaws.com"

func hasPipeline(c *config.Config) bool { return c.Pipeline != nil }

// identityProvider asks for the provider of the pipeline's issuer: IAM takes each issuer once an account.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html
func identityProvider(ctx context.Context, a *asking) []Finding {
	pipeline := a.config.Pipeline
	issuer := strings.TrimPrefix(pipeline.IssuerURL, "https://")
	arn := fmt.Sprintf("arn:%s:iam::%s:oidc-provider/%s", a.config.Partition(), a.accountID(), issuer)
	out, err := ask(ctx, a, a.Providers.GetOpenIDConnectProvider, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
	// The key that the remedy is about, and its parent when it was left out.
	at := &pipeline.ExistingProvider
	missing := code(err) == "NoSuchEntity"
	switch {
	case err != nil && !missing:
		return []Finding{a.unchecked(at, "iam:GetOpenIDConnectProvider", err)}
	case pipeline.ExistingProvider && missing:
		return []Finding{a.wrong(at, "true, and account "+a.accountID()+" has no identity provider for "+issuer, "a provider that exists",
			"take existingProvider out, and the stack makes it; or make it yourself, for the audience "+tokenAudience)}
	case pipeline.ExistingProvider && !slices.Contains(out.ClientIDList, tokenAudience):
		return []Finding{a.wrong(at, "true, and the provider of account "+a.accountID()+" admits the audiences "+quote(joined(out.ClientIDList)), "one that admits "+tokenAudience,
			"aws iam add-client-id-to-open-id-connect-provider --client-id "+tokenAudience+" --open-id-connect-provider-arn "+arn)}
	case pipeline.ExistingProvider || missing:
		return nil
	}
	owner, err := stackOf(ctx, a, arn)
	switch {
	case err != nil:
		return []Finding{a.unchecked(at, "cloudformation:DescribeStackResources", err)}
	case owner == a.stackName():
		return nil
	}
	return []Finding{a.wrong(at, "false, and account "+a.accountID()+" has an identity provider for "+issuer+" already", "true where there is one: IAM takes each issuer once",
		"set existingProvider: true")}
}
