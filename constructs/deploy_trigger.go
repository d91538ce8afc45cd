package constructs

import (
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// DeployTriggerProps configures [NewDeployTrigger].
type DeployTriggerProps struct {
	// Root is the folder of the Go module. Required.
	Root string

	// BucketName and Prefix say which objects are artifacts. Required.
	BucketName, Prefix string

	// DeploymentGroups are the groups that may be deployed to, and by whom. Required.
	DeploymentGroups []DeploymentGroup

	// GitLabURL is the https address of the GitLab whose jobs deploy. Required.
	GitLabURL string

	// Keys is a JSON Web Key Set with the public keys of that GitLab, and KeyIDs
	// what they are called. Without them, every token is refused.
	Keys   []byte
	KeyIDs []string

	// LogRetentionDays is how long the function's log is kept, in days.
	// Required; one of the values that CloudWatch Logs knows.
	LogRetentionDays int

	// LongestDeploymentHours is for how long an artifact waits for a busy
	// group, at least, in hours. Required; at most 96.
	LongestDeploymentHours int
}

// DeployTrigger starts a CodeDeploy deployment for each artifact.
//
//	artifact bucket ──▶ queue ──▶ function ──▶ CodeDeploy
//	    ├─ the job's token ───┼──────▶┤
//	    └─ operators' orders ─┼──────▶┘
//	                      └──▶ dead-letter queue
//
// Who may deploy what is proven by the token that GitLab has signed for the job.
// The function checks it against keys of its own package, and asks nobody.
//
// A queue stands before the function because a deployment group takes one
// deployment at a time, and one may run for hours: what has to wait waits in
// the queue, where it is seen. Both queues live as long as the stack.
type DeployTrigger struct {
	Queue           awssqs.Queue
	DeadLetterQueue awssqs.Queue
	Function        awslambda.Function
}

const (
	triggerTimeoutSeconds = 30
	// visibilitySeconds is when a message comes back that a killed or throttled
	// function had, or one whose pause could not be set. Lambda asks for six times
	// the function's timeout at least. This is more, because SQS counts receives
	// and takes a thousand: with six minutes they are four days.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
	visibilitySeconds = 360
)

// maxReceives returns how often a message is tried before it goes to the
// dead-letter queue. The function itself spaces the tries: 10 seconds and
// doubling, then as long as the queue would at least. So the wait is as long as
// hours say at every pace.
func maxReceives(hours int) int {
	const firstTries = 10
	return hours*60*60/visibilitySeconds + firstTries
}

// retentionDays returns for how long the queue keeps a message. What is tried
// to the end has left it by then: at pauses of 396 seconds at most, and with a
// day for a function that does not run. No longer than that, for the dead-letter
// queue counts from the day of the upload, and whoever has to fix something
// wants what is left of its 14 days; at least five, for a function that nobody
// starts again over a weekend.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
func retentionDays(hours int) int {
	const longestPause, day, shortest = 396, 24 * 60 * 60, 5
	tried := (maxReceives(hours)*longestPause + day - 1) / day
	return max(tried+1, shortest)
}

// NewDeployTrigger defines a DeployTrigger under scope.
func NewDeployTrigger(scope constructs.Construct, id string, props DeployTriggerProps) *DeployTrigger {
	scope = constructs.NewConstruct(scope, &id)

	deadLetters := newDeadLetterQueue(scope)
	queue := awssqs.NewQueue(scope, jsii.String("Queue"), &awssqs.QueueProps{
		Encryption:        awssqs.QueueEncryption_SQS_MANAGED,
		EnforceSSL:        jsii.Bool(true),
		RetentionPeriod:   awscdk.Duration_Days(jsii.Number(retentionDays(props.LongestDeploymentHours))),
		VisibilityTimeout: awscdk.Duration_Seconds(jsii.Number(visibilitySeconds)),
		DeadLetterQueue: &awssqs.DeadLetterQueue{
			Queue:           deadLetters,
			MaxReceiveCount: jsii.Number(maxReceives(props.LongestDeploymentHours)),
		},
	})
	acknowledge(queue, queueKeys)
	return &DeployTrigger{
		Queue:           queue,
		DeadLetterQueue: deadLetters,
		Function:        triggerFunction(scope, queue, props),
	}
}

func triggerFunction(scope constructs.Construct, queue awssqs.Queue, props DeployTriggerProps) awslambda.Function {
	function, policy := newFunction(scope, functionProps{
		root:             props.Root,
		program:          "lambda/trigger",
		files:            triggerFiles(props),
		description:      "Starts a CodeDeploy deployment for each artifact in " + props.BucketName,
		logRetentionDays: props.LogRetentionDays,
		timeoutSeconds:   triggerTimeoutSeconds,
		environment: map[string]*string{
			"ARTIFACT_BUCKET": &props.BucketName,
			"ARTIFACT_PREFIX": &props.Prefix,
			"QUEUE_URL":       queue.QueueUrl(),
			"GITLAB_URL":      &props.GitLabURL,
		},
		statements: triggerStatements(scope, props),
		wildcards: finding{
			appliesTo: []string{
				objectWildcard(props.BucketName, props.Prefix),
				objectWildcard(props.BucketName, statusPrefix),
				objectWildcard(props.BucketName, recordPrefix),
				objectWildcard(props.BucketName, tokenPrefix),
				objectWildcard(props.BucketName, orderPrefix),
				"Resource::" + *codeDeployARN(scope, "deploymentconfig", "*"),
				"Resource::" + *codeDeployARN(scope, "deploymentgroup", "*"),
				"Resource::" + *codeDeployARN(scope, "application", "*"),
			},
			reason: "Artifacts, their tokens, their states, operators' orders and the groups' records have a prefix each, and the groups choose their deployment configurations. " +
				namedPairsOnly + ", and the function refuses what is not on its list.",
		},
	})
	// What the mapping needs, and ChangeMessageVisibility of the function itself.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
	policy.AddStatements(allow("TakeMessages", []*string{queue.QueueArn()},
		"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"))
	acknowledge(function, finding{
		rule:   "NIST.800.53.R5-LambdaDLQ CKV_AWS_116",
		reason: "A queue calls this function: a message that fails goes back there, and at last to the queue's own dead-letter queue.",
	})

	// The pairs and the keys go to Lambda inside the code's archive, where a
	// reviewer would only see a hash change. Here "cdk diff" shows them.
	resource := function.Node().DefaultChild().(awslambda.CfnFunction)
	resource.AddMetadata(jsii.String("DeploymentGroups"), deployersOf(props.DeploymentGroups))
	resource.AddMetadata(jsii.String("GitLabKeys"), append([]string{}, props.KeyIDs...))
	warn(function, props)
	awslambda.NewEventSourceMapping(scope, jsii.String("QueueMapping"), &awslambda.EventSourceMappingProps{
		Target:                  function,
		EventSourceArn:          queue.QueueArn(),
		BatchSize:               jsii.Number(10),
		ReportBatchItemFailures: jsii.Bool(true),
	}).Node().AddDependency(policy)
	return function
}

func deployersOf(groups []DeploymentGroup) []string {
	lines := make([]string, 0, len(groups))
	for _, g := range groups {
		lines = append(lines, g.name()+": "+g.deployers())
	}
	return lines
}

// triggerFiles are what the function reads beside its program.
func triggerFiles(props DeployTriggerProps) map[string][]byte {
	files := deploymentGroupsFile(props.DeploymentGroups)
	if len(props.Keys) > 0 {
		files["gitlab-keys.json"] = props.Keys
	}
	return files
}

// warn tells at every synth what a reviewer has to know of who may deploy.
func warn(function awslambda.Function, props DeployTriggerProps) {
	var anybody, nobody []string
	proven := false
	for _, g := range props.DeploymentGroups {
		switch {
		case g.AnyProject:
			anybody = append(anybody, g.name())
		case len(g.Projects) == 0:
			nobody = append(nobody, g.name())
		default:
			proven = true
		}
	}
	notes := awscdk.Annotations_Of(function)
	if len(anybody) > 0 {
		notes.AddWarningV2(jsii.String("gitlab-codedeploy:anyProject"), jsii.String(
			"projects: any lets every job that can upload deploy to "+someOf(anybody)+", whatever its project and branch: name the projects and refs"))
	}
	if len(nobody) > 0 {
		notes.AddWarningV2(jsii.String("gitlab-codedeploy:noProject"), jsii.String(
			"nothing may deploy to "+someOf(nobody)+" as long as no projects are named"))
	}
	if proven && len(props.Keys) == 0 {
		notes.AddWarningV2(jsii.String("gitlab-codedeploy:noKeys"), jsii.String(
			"GitLab's keys are not known, so every upload is refused: run scripts/ops trust once GitLab runs, then deploy again"))
	}
}

// someOf lists names, but not without an end.
func someOf(names []string) string {
	const most = 5
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// triggerStatements returns what the function may do. The rights of
// CreateDeployment are spread over group, application and configuration.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/auth-and-access-control-permissions-reference.html
func triggerStatements(scope constructs.Construct, props DeployTriggerProps) []awsiam.PolicyStatement {
	groups, applications := deploymentGroupARNs(scope, props.DeploymentGroups)
	versions := allow("FindVersions", []*string{jsii.String(bucketARN(props.BucketName))}, "s3:ListBucketVersions")
	versions.AddCondition(jsii.String("StringLike"), map[string]any{"s3:prefix": []string{props.Prefix + "*", tokenPrefix + "*"}})
	return append(statusStatements(props.BucketName),
		allow("ReadTokens", []*string{jsii.String(objectARN(props.BucketName, tokenPrefix+"*"))}, "s3:GetObject", "s3:GetObjectVersion"),
		versions,
		allow("ReadArtifacts", []*string{jsii.String(objectARN(props.BucketName, props.Prefix+"*"))}, "s3:GetObject", "s3:GetObjectVersion"),
		readOrders(props.BucketName),
		markUnwanted(props.BucketName, props.Prefix),
		allow("Deploy", groups,
			"codedeploy:CreateDeployment", "codedeploy:GetDeploymentGroup", "codedeploy:ListDeployments", "codedeploy:BatchGetDeployments"),
		allow("RegisterRevisions", applications, "codedeploy:RegisterApplicationRevision", "codedeploy:GetApplicationRevision"),
		// Which configuration a group uses is the group owner's choice.
		allow("ReadDeploymentConfigs", []*string{codeDeployARN(scope, "deploymentconfig", "*")}, "codedeploy:GetDeploymentConfig"),
	)
}
