package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// functionProps configures newFunction.
type functionProps struct {
	// root and program say what is built: see GoCodeProps.
	root, program    string
	files            map[string][]byte
	description      string
	environment      map[string]*string
	logRetentionDays int
	timeoutSeconds   int

	// statements is all that the function may do, but for writing its log.
	statements []awsiam.PolicyStatement
	// wildcards accepts cdk-nag's findings on the statements, if there are any.
	wildcards finding
}

// newFunction defines a function with a role, a policy and a log group of its
// own. The CDK's defaults would give it AWS's broad logging policy, and a log
// without an end.
func newFunction(scope constructs.Construct, props functionProps) (awslambda.Function, awsiam.Policy) {
	logs := newLogGroup(scope, "LogGroup", props.logRetentionDays)
	role := awsiam.NewRole(scope, jsii.String("Role"), &awsiam.RoleProps{
		AssumedBy: awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil),
	})
	policy := awsiam.NewPolicy(scope, jsii.String("Policy"), &awsiam.PolicyProps{
		Roles:      &[]awsiam.IRole{role},
		Statements: &props.statements,
	})
	logs.GrantWrite(policy)
	if props.wildcards.reason != "" {
		props.wildcards.rule = "AwsSolutions-IAM5"
		acknowledge(policy, props.wildcards)
	}

	function := awslambda.NewFunction(scope, jsii.String("Function"), &awslambda.FunctionProps{
		Description:   &props.description,
		Runtime:       awslambda.Runtime_PROVIDED_AL2023(),
		Architecture:  awslambda.Architecture_ARM_64(),
		Handler:       jsii.String("bootstrap"),
		Code:          NewGoCode(GoCodeProps{Root: props.root, Package: props.program, Files: props.files}),
		Role:          role,
		MemorySize:    jsii.Number(128),
		Timeout:       awscdk.Duration_Seconds(jsii.Number(props.timeoutSeconds)),
		LogGroup:      logs,
		LoggingFormat: awslambda.LoggingFormat_JSON,
		Environment:   &props.environment,
	})
	function.Node().AddDependency(policy)
	acknowledge(function,
		finding{rule: "W3005", reason: "The CDK lets a function wait for its role's policies, and so names the role twice."},
		finding{
			rule:   "NIST.800.53.R5-LambdaInsideVPC CKV_AWS_117 CT.LAMBDA.PR.3",
			reason: "The function calls AWS's own APIs and nothing in a network. A VPC of its own would only add what has to be kept closed.",
		},
		finding{
			rule:   "NIST.800.53.R5-LambdaConcurrency CKV_AWS_115",
			reason: "A reservation takes from what the account has for other functions, and new accounts have too little for one. The queue, and three tries an event, bound the calls.",
		},
		finding{
			rule:   "CKV_AWS_173",
			reason: "The environment holds names and no secret; Lambda encrypts it with a key of its own.",
		})
	return function, policy
}

// allow returns a statement that allows actions on resources.
func allow(sid string, resources []*string, actions ...string) awsiam.PolicyStatement {
	return awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid: &sid, Actions: jsii.Strings(actions...), Resources: &resources,
	})
}

// queueKeys is why queues have no key of ours.
var queueKeys = finding{
	rule:   "CKV_AWS_27",
	reason: "SQS encrypts every message with keys of its own, which this rule does not know. A key of ours would have to admit S3, EventBridge and both functions.",
}

// newDeadLetterQueue defines the queue of what could not be worked off. It
// keeps a message as long as SQS can.
func newDeadLetterQueue(scope constructs.Construct) awssqs.Queue {
	queue := awssqs.NewQueue(scope, jsii.String("DeadLetterQueue"), &awssqs.QueueProps{
		Encryption:      awssqs.QueueEncryption_SQS_MANAGED,
		EnforceSSL:      jsii.Bool(true),
		RetentionPeriod: awscdk.Duration_Days(jsii.Number(14)),
	})
	acknowledge(queue, queueKeys, finding{
		rule:   "CT.SQS.PR.1",
		reason: "This is the dead-letter queue of another; what is in it waits for a person, and an alarm says so.",
	})
	return queue
}
