package constructs

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
)

// deployerARN is the role that CloudFormation acts with when the CDK deploys:
// the bootstrap's, in the account and the region of the stack.
// https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html#bootstrapping-env-roles
func deployerARN(scope constructs.Construct) string {
	stack := awscdk.Stack_Of(scope)
	account, region := *stack.Account(), *stack.Region()
	return fmt.Sprintf("arn:%s:iam::%s:role/cdk-%s-cfn-exec-role-%s-%s",
		partition(), account, *stack.Synthesizer().BootstrapQualifier(), account, region)
}
