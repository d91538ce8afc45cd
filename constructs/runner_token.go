package constructs

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// RunnerTokenProps configures [NewRunnerToken].
type RunnerTokenProps struct {
	// Environment is part of the parameter's name. Required.
	Environment string

	// Region is the AWS region of the stack. Required.
	Region string

	// ReadableParameters are the names of further SSM parameters that the runner
	// may read. Without any, it reads the token alone.
	ReadableParameters []string

	// Server may write the token, Runner may read and remove it. Required.
	Server, Runner awsiam.Role
}

// RunnerToken is the way of a runner's token from the server to the runner: an
// SSM parameter that exists for the seconds of a registration, and the key that
// it is encrypted with. The parameter is made and removed by the scripts.
//
//	server ── Encrypt, PutParameter ──▶ parameter ── GetParameter, Decrypt, DeleteParameter ──▶ runner
//
// The key is what keeps everybody else out: AmazonSSMManagedInstanceCore lets
// both hosts, and many policies let people, read any parameter. Its policy has
// no decryption for the account, so that no IAM policy can give it. It goes
// with its stack, since nothing that lasts is encrypted with it.
type RunnerToken struct {
	Key awskms.Key
	// ParameterName is the name of the parameter.
	ParameterName string
}

// runnerTokenParameter is the name of the parameter; scripts/ops has it, too.
func runnerTokenParameter(environment string) string {
	return "/gitlab-codedeploy/" + environment + "/runner-token"
}

// NewRunnerToken defines a RunnerToken under scope.
func NewRunnerToken(scope constructs.Construct, id string, props RunnerTokenProps) *RunnerToken {
	scope = constructs.NewConstruct(scope, &id)
	name := runnerTokenParameter(props.Environment)
	parameter := fmt.Sprintf("arn:%s:ssm:%s:%s:parameter%s", partition(), props.Region, *awscdk.Aws_ACCOUNT_ID(), name)

	key := awskms.NewKey(scope, jsii.String("Key"), &awskms.KeyProps{
		Description:       jsii.String("Token that a GitLab runner registers with, on its way from the server to the runner"),
		EnableKeyRotation: jsii.Bool(true),
		PendingWindow:     awscdk.Duration_Days(jsii.Number(7)),
		RemovalPolicy:     awscdk.RemovalPolicy_DESTROY,
		Policy: awsiam.NewPolicyDocument(&awsiam.PolicyDocumentProps{Statements: &[]awsiam.PolicyStatement{
			administration(),
			throughParameter("ServerEncrypts", props.Server, parameter, props.Region, "kms:Encrypt"),
			throughParameter("RunnerDecrypts", props.Runner, parameter, props.Region, "kms:Decrypt"),
		}}),
	})
	acknowledge(key, finding{
		rule:   "CT.KMS.PR.3",
		reason: "The key's policy lets nobody make a grant at all, which is less than the rule asks to be limited.",
	})
	resource := []*string{&parameter}
	grant(scope, "ServerWrites", props.Server, allow("PutRunnerToken", resource, "ssm:PutParameter"))
	grant(scope, "RunnerReads", props.Runner, allow("TakeRunnerToken", resource, "ssm:GetParameter", "ssm:DeleteParameter"),
		noOtherParameter(append(resource, parameterARNs(scope, props.ReadableParameters)...)))
	return &RunnerToken{Key: key, ParameterName: name}
}

// administration keeps the key manageable without letting anybody use it. It
// is AWS's list for administrators of a key, without kms:CreateGrant, which
// would be a way to decryption. Whoever may change the policy can still add one.
// https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html#key-policy-default-allow-administrators
func administration() awsiam.PolicyStatement {
	statement := allow("AdministerButNotUse", []*string{jsii.String("*")},
		"kms:CreateAlias", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*", "kms:Revoke*", "kms:Disable*",
		"kms:Get*", "kms:Delete*", "kms:TagResource", "kms:UntagResource", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion")
	statement.AddPrincipals(awsiam.NewAccountRootPrincipal())
	return statement
}

// throughParameter lets a role use the key through Systems Manager and for
// that one parameter only.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/secure-string-parameter-kms-encryption.html
func throughParameter(sid string, role awsiam.Role, parameter, region, action string) awsiam.PolicyStatement {
	statement := allow(sid, []*string{jsii.String("*")}, action)
	statement.AddPrincipals(awsiam.NewArnPrincipal(role.RoleArn()))
	statement.AddCondition(jsii.String("StringEquals"), map[string]any{
		"kms:ViaService":                      "ssm." + region + ".amazonaws.com",
		"kms:EncryptionContext:PARAMETER_ARN": parameter,
	})
	return statement
}

// noOtherParameter takes back what AmazonSSMManagedInstanceCore gives: to read
// every parameter of the account. On the runner that would be whoever breaks out
// of a job, on the server whoever takes GitLab over; and what is not encrypted
// with a key would be theirs. Without but, it is all of them.
func noOtherParameter(but []*string) awsiam.PolicyStatement {
	props := &awsiam.PolicyStatementProps{
		Sid:     jsii.String("NoOtherParameter"),
		Effect:  awsiam.Effect_DENY,
		Actions: jsii.Strings("ssm:GetParameter", "ssm:GetParameters"),
	}
	if len(but) > 0 {
		props.NotResources = &but
	} else {
		props.Resources = jsii.Strings("*")
	}
	return awsiam.NewPolicyStatement(props)
}

func grant(scope constructs.Construct, id string, role awsiam.Role, statements ...awsiam.PolicyStatement) awsiam.Policy {
	return awsiam.NewPolicy(scope, &id, &awsiam.PolicyProps{Roles: &[]awsiam.IRole{role}, Statements: &statements})
}
