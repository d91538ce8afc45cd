package constructs

import (
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// PipelineAccessProps configures [NewPipelineAccess].
type PipelineAccessProps struct {
	// Environment is part of the roles' names. Required.
	Environment string

	// IssuerURL is the issuer of the jobs' tokens, by https and without a port.
	// Required.
	IssuerURL string

	// ProjectPath is the full path of the GitLab project. Required.
	ProjectPath string

	// Branch is the branch whose jobs may deploy. Required.
	Branch string

	// ExistingProvider leaves the identity provider out, because the account has
	// one for this issuer. Optional.
	ExistingProvider bool
}

// PipelineAccess lets jobs of one GitLab project into the account, without any
// key: a job's token, which GitLab signs, is exchanged for a role session of one
// hour. It is as safe as the GitLab that signs: that one is not the account's
// own, and takes no fork for the project (package config asks for both).
//
//	job of the one branch  ──▶ gitlab-codedeploy-<env>-review: read this stack's template
//	                       ──▶ gitlab-codedeploy-<env>-deploy: the CDK's own roles, this stack's outputs
//
// It lives as long as its stack.
type PipelineAccess struct {
	ReviewRole, DeployRole awsiam.Role
}

// tokenAudience is whom the jobs' tokens are for (.gitlab-ci.yml, id_tokens).
const tokenAudience = "sts.amazonaws.com"

// NewPipelineAccess defines a PipelineAccess under scope.
func NewPipelineAccess(scope constructs.Construct, id string, props PipelineAccessProps) *PipelineAccess {
	scope = constructs.NewConstruct(scope, &id)
	stack := awscdk.Stack_Of(scope)
	provider := identityProvider(scope, props)

	// Its job reads what the jobs of other branches have made. So it reads one
	// template, and not the whole account as the CDK's own lookup role does.
	review := pipelineRole(scope, "Review", "review", provider, props, props.Branch,
		allow("ReadTemplate", []*string{stackARN(scope)}, "cloudformation:GetTemplate"))

	qualifier := *awscdk.DefaultStackSynthesizer_DEFAULT_QUALIFIER()
	deploy := pipelineRole(scope, "Deploy", "deploy", provider, props, props.Branch,
		allow("BecomeTheCDK", []*string{
			bootstrapRoleARN(stack, qualifier, "deploy-role"), bootstrapRoleARN(stack, qualifier, "file-publishing-role"),
		}, "sts:AssumeRole"),
		allow("ReadBootstrapVersion", []*string{stack.FormatArn(&awscdk.ArnComponents{
			Service: jsii.String("ssm"), Resource: jsii.String("parameter"), ResourceName: jsii.String("cdk-bootstrap/" + qualifier + "/version"),
		})}, "ssm:GetParameter"),
		// Outputs, and the policy that protects what holds data.
		allow("KnowAndProtectStack", []*string{stackARN(scope)}, "cloudformation:DescribeStacks", "cloudformation:SetStackPolicy"))
	return &PipelineAccess{ReviewRole: review, DeployRole: deploy}
}

// identityProvider defines what makes the account believe the issuer's tokens.
// The CDK's own construct is a function that calls IAM. nil: there is one.
func identityProvider(scope constructs.Construct, props PipelineAccessProps) awsiam.CfnOIDCProvider {
	if props.ExistingProvider {
		return nil
	}
	return awsiam.NewCfnOIDCProvider(scope, jsii.String("Provider"), &awsiam.CfnOIDCProviderProps{
		Url:          &props.IssuerURL,
		ClientIdList: jsii.Strings(tokenAudience),
	})
}

// providerARN is the provider's ARN, which IAM makes of the issuer's name; a
// reference would not do for one that is there already.
func providerARN(scope constructs.Construct, props PipelineAccessProps) *string {
	return awscdk.Stack_Of(scope).FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("iam"), Region: jsii.String(""),
		Resource: jsii.String("oidc-provider"), ResourceName: jsii.String(issuerName(props)),
	})
}

// stackARN returns the ARN of the stack of scope, whatever its id.
func stackARN(scope constructs.Construct) *string {
	stack := awscdk.Stack_Of(scope)
	return stack.FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("cloudformation"), Resource: jsii.String("stack"), ResourceName: jsii.String(*stack.StackName() + "/*"),
	})
}

// issuerName is how IAM names an issuer in ARNs and conditions.
func issuerName(props PipelineAccessProps) string {
	return strings.TrimPrefix(props.IssuerURL, "https://")
}

// pipelineRole defines a role for the project's jobs on a branch. Its name is
// fixed, for a job has to name it before it can read anything of the account.
//
// "sub" is all that AWS looks at of what GitLab says about a job.
// https://docs.gitlab.com/ci/cloud_services/#configure-a-conditional-role-with-oidc-claims
func pipelineRole(scope constructs.Construct, id, name string, provider awsiam.CfnOIDCProvider, props PipelineAccessProps, branch string, statements ...awsiam.PolicyStatement) awsiam.Role {
	role := awsiam.NewRole(scope, &id, &awsiam.RoleProps{
		RoleName: jsii.String("gitlab-codedeploy-" + props.Environment + "-" + name),
		AssumedBy: awsiam.NewWebIdentityPrincipal(providerARN(scope, props), &map[string]any{
			"StringEquals": map[string]any{issuerName(props) + ":aud": tokenAudience},
			"StringLike":   map[string]any{issuerName(props) + ":sub": "project_path:" + props.ProjectPath + ":ref_type:branch:ref:" + branch},
		}),
	})
	if provider != nil {
		role.Node().AddDependency(provider)
	}
	policy := awsiam.NewPolicy(scope, jsii.String(id+"Policy"), &awsiam.PolicyProps{Roles: &[]awsiam.IRole{role}, Statements: &statements})
	acknowledge(policy, finding{
		rule:      "AwsSolutions-IAM5",
		appliesTo: []string{"Resource::" + *stackARN(scope)},
		reason:    "The star stands for the id that CloudFormation gives to a stack of this one name.",
	})
	return role
}

// bootstrapRoleARN returns the ARN of one of the roles that "cdk bootstrap"
// made, which decide themselves what a deploy may do.
// https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html
func bootstrapRoleARN(stack awscdk.Stack, qualifier, role string) *string {
	return stack.FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("iam"), Region: jsii.String(""), Resource: jsii.String("role"),
		ResourceName: jsii.String("cdk-" + qualifier + "-" + role + "-" + *stack.Account() + "-" + *stack.Region()),
	})
}
