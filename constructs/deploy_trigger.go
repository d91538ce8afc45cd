package constructs

import (
	"encoding/json"
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// DeploymentGroup names an existing CodeDeploy deployment group.
type DeploymentGroup struct {
	Application     string `json:"application"`
	DeploymentGroup string `json:"deploymentGroup"`
}

// DeployTriggerProps configures [NewDeployTrigger].
type DeployTriggerProps struct {
	// Root is the folder of the Go module. Required.
	Root string

	// BucketName and Prefix say which objects are artifacts. Required.
	BucketName, Prefix string

	// DeploymentGroups are the groups that may be deployed to. Required.
	DeploymentGroups []DeploymentGroup

	// LogRetentionDays is how long the function's log is kept, in days.
	// Required; one of the values that CloudWatch Logs knows.
	LogRetentionDays int
}

// DeployTrigger starts a CodeDeploy deployment for each artifact.
//
//	artifact bucket ──▶ queue ──▶ function ──▶ CodeDeploy
//	                      └──▶ dead-letter queue
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
	// visibilitySeconds is how soon a message that failed comes back. Lambda
	// asks for six times the function's timeout at least.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
	visibilitySeconds = 6 * triggerTimeoutSeconds
	// maxReceives lets an artifact wait for a day for a busy group.
	maxReceives = 24 * 60 * 60 / visibilitySeconds
)

// NewDeployTrigger defines a DeployTrigger under scope.
func NewDeployTrigger(scope constructs.Construct, id string, props DeployTriggerProps) *DeployTrigger {
	scope = constructs.NewConstruct(scope, &id)

	deadLetters := awssqs.NewQueue(scope, jsii.String("DeadLetterQueue"), &awssqs.QueueProps{
		Encryption:      awssqs.QueueEncryption_SQS_MANAGED,
		EnforceSSL:      jsii.Bool(true),
		RetentionPeriod: awscdk.Duration_Days(jsii.Number(14)),
	})
	queue := awssqs.NewQueue(scope, jsii.String("Queue"), &awssqs.QueueProps{
		Encryption:        awssqs.QueueEncryption_SQS_MANAGED,
		EnforceSSL:        jsii.Bool(true),
		RetentionPeriod:   awscdk.Duration_Days(jsii.Number(14)),
		VisibilityTimeout: awscdk.Duration_Seconds(jsii.Number(visibilitySeconds)),
		DeadLetterQueue:   &awssqs.DeadLetterQueue{Queue: deadLetters, MaxReceiveCount: jsii.Number(maxReceives)},
	})
	return &DeployTrigger{
		Queue:           queue,
		DeadLetterQueue: deadLetters,
		Function:        triggerFunction(scope, queue, props),
	}
}

func triggerFunction(scope constructs.Construct, queue awssqs.Queue, props DeployTriggerProps) awslambda.Function {
	// A file, because a thousand pairs do not fit the 4 KB that a function's
	// environment may have.
	allowed, err := json.Marshal(props.DeploymentGroups)
	if err != nil {
		panic(err)
	}
	logs := newLogGroup(scope, "LogGroup", props.LogRetentionDays)
	role := awsiam.NewRole(scope, jsii.String("Role"), &awsiam.RoleProps{
		AssumedBy: awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil),
	})
	policy := awsiam.NewPolicy(scope, jsii.String("Policy"), &awsiam.PolicyProps{
		Roles:      &[]awsiam.IRole{role},
		Statements: triggerStatements(scope, props),
	})
	logs.GrantWrite(policy)
	queue.GrantConsumeMessages(policy)
	acknowledge(policy, finding{
		rule: "AwsSolutions-IAM5",
		appliesTo: []string{
			"Resource::arn:<AWS::Partition>:s3:::" + props.BucketName + "/" + props.Prefix + "*",
			"Resource::" + *codeDeployARN(scope, "deploymentconfig", "*"),
			"Resource::" + *codeDeployARN(scope, "deploymentgroup", "*"),
			"Resource::" + *codeDeployARN(scope, "application", "*"),
		},
		reason: "Artifacts share a prefix, and the groups choose their deployment configurations. Groups and applications are named up to " +
			fmt.Sprint(maxNamedPairs) + " pairs; more do not fit a policy, and the function refuses what is not on its list.",
	})

	function := awslambda.NewFunction(scope, jsii.String("Function"), &awslambda.FunctionProps{
		Description:  jsii.String("Starts a CodeDeploy deployment for each artifact in " + props.BucketName),
		Runtime:      awslambda.Runtime_PROVIDED_AL2023(),
		Architecture: awslambda.Architecture_ARM_64(),
		Handler:      jsii.String("bootstrap"),
		Code: NewGoCode(GoCodeProps{
			Root:    props.Root,
			Package: "lambda/trigger",
			Files:   map[string][]byte{"deployment-groups.json": allowed},
		}),
		Role:          role,
		MemorySize:    jsii.Number(128),
		Timeout:       awscdk.Duration_Seconds(jsii.Number(triggerTimeoutSeconds)),
		LogGroup:      logs,
		LoggingFormat: awslambda.LoggingFormat_JSON,
		Environment: &map[string]*string{
			"ARTIFACT_BUCKET": &props.BucketName,
			"ARTIFACT_PREFIX": &props.Prefix,
		},
	})
	function.Node().AddDependency(policy)
	acknowledge(function, finding{rule: "W3005", reason: "The CDK lets a function wait for its role's policies, and so names the role twice."})
	// The pairs go to Lambda inside the code's archive, where a reviewer would
	// only see a hash change. Here "cdk diff" shows them.
	function.Node().DefaultChild().(awslambda.CfnFunction).AddMetadata(jsii.String("DeploymentGroups"), pairNames(props.DeploymentGroups))
	awslambda.NewEventSourceMapping(scope, jsii.String("QueueMapping"), &awslambda.EventSourceMappingProps{
		Target:                  function,
		EventSourceArn:          queue.QueueArn(),
		BatchSize:               jsii.Number(10),
		ReportBatchItemFailures: jsii.Bool(true),
	}).Node().AddDependency(policy)
	return function
}

func pairNames(groups []DeploymentGroup) []string {
	names := make([]string, 0, len(groups))
	for _, g := range groups {
		names = append(names, g.Application+"/"+g.DeploymentGroup)
	}
	return names
}

// maxNamedPairs is up to how many pairs the role's policy names each one. IAM
// takes 10,240 characters of inline policies a role, and names may have 100.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const maxNamedPairs = 16

// triggerStatements returns what the function may do. The rights of
// CreateDeployment are spread over group, application and configuration.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/auth-and-access-control-permissions-reference.html
func triggerStatements(scope constructs.Construct, props DeployTriggerProps) *[]awsiam.PolicyStatement {
	codeDeploy := func(kind, name string) *string { return codeDeployARN(scope, kind, name) }
	var groups, applications []*string
	if len(props.DeploymentGroups) <= maxNamedPairs {
		seen := map[string]bool{}
		for _, g := range props.DeploymentGroups {
			groups = append(groups, codeDeploy("deploymentgroup", g.Application+"/"+g.DeploymentGroup))
			if !seen[g.Application] {
				seen[g.Application] = true
				applications = append(applications, codeDeploy("application", g.Application))
			}
		}
	} else {
		// More do not fit a policy. The function itself refuses every pair
		// that is not on the list.
		groups = []*string{codeDeploy("deploymentgroup", "*")}
		applications = []*string{codeDeploy("application", "*")}
	}
	bucket := "arn:" + *awscdk.Aws_PARTITION() + ":s3:::" + props.BucketName

	allow := func(sid string, resources []*string, actions ...string) awsiam.PolicyStatement {
		return awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
			Sid: &sid, Actions: jsii.Strings(actions...), Resources: &resources,
		})
	}
	return &[]awsiam.PolicyStatement{
		allow("ReadArtifacts", []*string{jsii.String(bucket + "/" + props.Prefix + "*")}, "s3:GetObject", "s3:GetObjectVersion"),
		// Without it, S3 answers 403 where an object is gone, and not 404.
		allow("SeeThatAnArtifactIsGone", []*string{&bucket}, "s3:ListBucket"),
		allow("Deploy", groups, "codedeploy:CreateDeployment", "codedeploy:GetDeploymentGroup"),
		allow("RegisterRevisions", applications, "codedeploy:RegisterApplicationRevision", "codedeploy:GetApplicationRevision"),
		// Which configuration a group uses is the group owner's choice.
		allow("ReadDeploymentConfigs", []*string{codeDeploy("deploymentconfig", "*")}, "codedeploy:GetDeploymentConfig"),
	}
}

// codeDeployARN returns the ARN of one of account B's CodeDeploy resources.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodedeploy.html
func codeDeployARN(scope constructs.Construct, kind, name string) *string {
	return awscdk.Stack_Of(scope).FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("codedeploy"), Resource: &kind, ResourceName: &name,
		ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
}
