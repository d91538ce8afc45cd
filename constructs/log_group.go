package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// newLogGroup defines a log group that outlives its stack: logs are most
// wanted after something went away. CloudWatch Logs encrypts every group.
func newLogGroup(scope constructs.Construct, id string, retentionDays int) awslogs.LogGroup {
	group := awslogs.NewLogGroup(scope, &id, &awslogs.LogGroupProps{
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN_ON_UPDATE_OR_DELETE,
	})
	// The CDK names the allowed values; the configuration holds the number.
	group.Node().DefaultChild().(awslogs.CfnLogGroup).SetRetentionInDays(jsii.Number(retentionDays))
	acknowledge(group, finding{
		rule:   "NIST.800.53.R5-CloudWatchLogGroupEncrypted CKV_AWS_158 CT.CLOUDWATCH.PR.3",
		reason: "CloudWatch Logs encrypts every group with keys of its own, and no secret is logged. A lost key of ours would cost the logs.",
	})
	return group
}
