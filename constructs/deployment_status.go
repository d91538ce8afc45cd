package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awseventstargets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// DeploymentStatusProps configures [NewDeploymentStatus].
type DeploymentStatusProps struct {
	// Root is the folder of the Go module. Required.
	Root string

	// BucketName and Prefix say which revisions are artifacts. Required.
	BucketName, Prefix string

	// DeploymentGroups are the groups whose deployments are reported. Required.
	DeploymentGroups []DeploymentGroup

	// LogRetentionDays is how long the function's log is kept, in days.
	// Required; one of the values that CloudWatch Logs knows.
	LogRetentionDays int

	// Trigger is whose uploads are reported: the function sends it a message when
	// an upload's turn has come, and looks into its dead letters. Required.
	Trigger *DeployTrigger
}

// DeploymentStatus writes how a deployment goes to the artifact bucket, where
// the job that uploaded the artifact looks for it.
//
//	CodeDeploy ── state-change event ──▶ function ──▶ deployments/<upload-id>.json
//	            every five minutes ─────▶  │ │ └──▶ groups/<application>/<group>.json
//	                  dead-letter queue ◀──┘ └──▶ the trigger's queue
//
// Events are best effort. So a schedule lets the function look at all that is
// unfinished: at deployments whose end it did not hear of, at uploads whose turn
// has come, and at the trigger's dead letters.
//
// It lives as long as its stack; what it wrote stays in the bucket.
type DeploymentStatus struct {
	Function        awslambda.Function
	DeadLetterQueue awssqs.Queue
}

// NewDeploymentStatus defines a DeploymentStatus under scope.
func NewDeploymentStatus(scope constructs.Construct, id string, props DeploymentStatusProps) *DeploymentStatus {
	scope = constructs.NewConstruct(scope, &id)

	deadLetters := newDeadLetterQueue(scope)
	function, policy := newFunction(scope, functionProps{
		root:             props.Root,
		program:          "lambda/status",
		files:            deploymentGroupsFile(withoutDeployers(props.DeploymentGroups)),
		description:      "Writes the state of deployments to " + props.BucketName,
		logRetentionDays: props.LogRetentionDays,
		timeoutSeconds:   120, // of which a run over 1,000 groups takes less than half
		environment: map[string]*string{
			"ARTIFACT_BUCKET":           &props.BucketName,
			"ARTIFACT_PREFIX":           &props.Prefix,
			"QUEUE_URL":                 props.Trigger.Queue.QueueUrl(),
			"DEAD_LETTER_QUEUE_URL":     props.Trigger.DeadLetterQueue.QueueUrl(),
			"OWN_DEAD_LETTER_QUEUE_URL": deadLetters.QueueUrl(),
		},
		statements: append(statusStatements(props.BucketName),
			allow("ReadArtifacts", []*string{jsii.String(objectARN(props.BucketName, props.Prefix+"*"))}, "s3:GetObject", "s3:GetObjectVersion"),
			readOrders(props.BucketName), // one may be a dead letter
			markUnwanted(props.BucketName, props.Prefix),
			// Of every group: one that has left the list may have deployments under
			// way, whose jobs wait for their end.
			allow("ReadDeployments", []*string{codeDeployARN(scope, "deploymentgroup", "*")}, "codedeploy:GetDeployment", "codedeploy:BatchGetDeployments"),
			// IAM knows no resource for these.
			// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodedeploy.html
			allow("SeeWhereDeploymentsFailed", []*string{jsii.String("*")}, "codedeploy:ListDeploymentTargets", "codedeploy:BatchGetDeploymentTargets")),
		wildcards: finding{
			appliesTo: []string{
				objectWildcard(props.BucketName, statusPrefix),
				objectWildcard(props.BucketName, recordPrefix),
				objectWildcard(props.BucketName, orderPrefix),
				objectWildcard(props.BucketName, props.Prefix),
				"Resource::" + *codeDeployARN(scope, "deploymentgroup", "*"),
				"Resource::*",
			},
			reason: "Artifacts, their states, operators' orders and the groups' records have a prefix each. A group that has left the list " +
				"may have deployments whose jobs wait for their end; the function only reads them, and reports those of the artifact bucket only. " +
				"On which instance a deployment failed can be asked of all deployments or of none: IAM has no resource for that.",
		},
	})
	policy.AddStatements(
		allow("KeepWhatFails", []*string{deadLetters.QueueArn()}, "sqs:SendMessage"),
		allow("WorkOffWhatFailed", []*string{deadLetters.QueueArn()}, "sqs:ReceiveMessage", "sqs:DeleteMessage"),
		allow("LookIntoDeadLetters", []*string{props.Trigger.DeadLetterQueue.QueueArn()}, "sqs:ReceiveMessage"),
		allow("LetUploadsHaveTheirTurn", []*string{props.Trigger.Queue.QueueArn()}, "sqs:SendMessage"))
	// Lambda tries an event three times; what is left then is for a person.
	// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
	function.ConfigureAsyncInvoke(&awslambda.EventInvokeConfigOptions{
		RetryAttempts: jsii.Number(2),
		MaxEventAge:   awscdk.Duration_Hours(jsii.Number(6)),
	})
	function.Node().DefaultChild().(awslambda.CfnFunction).SetDeadLetterConfig(&awslambda.CfnFunction_DeadLetterConfigProperty{
		TargetArn: deadLetters.QueueArn(),
	})
	stateChanges(scope, props.DeploymentGroups, function, deadLetters)
	// What one run misses, the next one finds: its failures are no letters.
	awsevents.NewRule(scope, jsii.String("Reconciliation"), &awsevents.RuleProps{
		Description: jsii.String("A look at every deployment and upload that is unfinished"),
		Schedule:    awsevents.Schedule_Rate(awscdk.Duration_Minutes(jsii.Number(5))),
		Targets: &[]awsevents.IRuleTarget{awseventstargets.NewLambdaFunction(function, &awseventstargets.LambdaFunctionProps{
			RetryAttempts: jsii.Number(0),
			MaxEventAge:   awscdk.Duration_Minutes(jsii.Number(5)),
		})},
	})
	return &DeploymentStatus{Function: function, DeadLetterQueue: deadLetters}
}

// maxPatternApplications keeps the rule's pattern under the 2,048 characters
// that EventBridge takes, with names of up to 100.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
const maxPatternApplications = maxNamedPairs

// stateChanges sends CodeDeploy's events to the function.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-cloudwatch-events.html
func stateChanges(scope constructs.Construct, groups []DeploymentGroup, function awslambda.Function, deadLetters awssqs.Queue) {
	pattern := &awsevents.EventPattern{
		Source:     jsii.Strings("aws.codedeploy"),
		DetailType: jsii.Strings("CodeDeploy Deployment State-change Notification"),
	}
	// With more applications the function sees the events of all, and leaves
	// those aside whose revision is none of ours.
	if names := applicationNames(groups); len(names) <= maxPatternApplications {
		pattern.Detail = &map[string]any{"application": names}
	}
	awsevents.NewRule(scope, jsii.String("StateChanges"), &awsevents.RuleProps{
		Description:  jsii.String("State changes of CodeDeploy deployments"),
		EventPattern: pattern,
		Targets: &[]awsevents.IRuleTarget{awseventstargets.NewLambdaFunction(function, &awseventstargets.LambdaFunctionProps{
			DeadLetterQueue: deadLetters,
		})},
	})
}
