package constructs

import (
	"maps"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// newDataKey defines a key of what outlives the stack, and outlives it, too. The
// account administers it and cannot use it: each use is a statement that is
// added to its policy (throughService), so that no IAM policy gives one.
func newDataKey(scope constructs.Construct, id, description string) awskms.Key {
	key := awskms.NewKey(scope, &id, &awskms.KeyProps{
		Description:       &description,
		EnableKeyRotation: jsii.Bool(true),
		// The longest that KMS waits: with the key goes everything under it.
		PendingWindow: awscdk.Duration_Days(jsii.Number(30)),
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN_ON_UPDATE_OR_DELETE,
		Policy: awsiam.NewPolicyDocument(&awsiam.PolicyDocumentProps{
			Statements: &[]awsiam.PolicyStatement{administration()},
		}),
	})
	return key
}

// throughService lets roles use a key by the hands of one service, such as
// "s3", in the account and the region of the stack, under further conditions.
// https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
func throughService(key awskms.Key, sid, service string, roleARNs []*string, further map[string]any, actions ...string) {
	if len(roleARNs) == 0 {
		return
	}
	stack := awscdk.Stack_Of(key)
	conditions := map[string]any{"StringEquals": map[string]any{
		"kms:ViaService":    service + "." + *stack.Region() + ".amazonaws.com",
		"kms:CallerAccount": stack.Account(),
	}}
	maps.Copy(conditions, further)
	var principals []awsiam.IPrincipal
	for _, arn := range roleARNs {
		principals = append(principals, awsiam.NewArnPrincipal(arn))
	}
	key.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        &sid,
		Principals: &principals,
		Actions:    jsii.Strings(actions...),
		Resources:  jsii.Strings("*"),
		Conditions: &conditions,
	}), nil)
}

// forAWSResource limits kms:CreateGrant to grants that a service of AWS makes
// for a resource of its own, as EC2 does for a volume that is attached.
// https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-grant-is-for-aws-resource
var forAWSResource = map[string]any{"Bool": map[string]any{"kms:GrantIsForAWSResource": "true"}}
