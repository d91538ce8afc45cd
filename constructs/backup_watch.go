package constructs

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awseventstargets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// BackupWatchProps configures [NewBackupWatch].
type BackupWatchProps struct {
	// Root is the folder of the Go module. Required.
	Root string

	// Backups is what is watched. Required.
	Backups *BackupBucket

	// LogRetentionDays is how long the function's log is kept, in days.
	// Required; one of the values that CloudWatch Logs knows.
	LogRetentionDays int

	// Topic is what alarms are sent to. Required.
	Topic awssns.ITopic
}

// BackupWatch tells people that somebody hid a backup, and that it was not the
// nightly pruning. Whoever takes the server over may hide every backup; none of
// what is here can be reached with the server's role.
//
//	bucket ── Object Deleted ──▶ rule ──▶ function ──▶ metric ──▶ alarm
//	                               └──────────┴──▶ dead-letter queue ──▶ alarm
//
// It lives as long as its stack.
type BackupWatch struct {
	Function        awslambda.Function
	DeadLetterQueue awssqs.Queue
}

// NewBackupWatch defines a BackupWatch under scope.
func NewBackupWatch(scope constructs.Construct, id string, props BackupWatchProps) *BackupWatch {
	scope = constructs.NewConstruct(scope, &id)
	bucket := props.Backups.Bucket
	deadLetters := newDeadLetterQueue(scope)
	list := allow("CountManifests", []*string{bucket.BucketArn()}, "s3:ListBucket")
	list.AddCondition(jsii.String("StringEquals"), map[string]any{"s3:prefix": backupPrefix})
	function, policy := newFunction(scope, functionProps{
		root:             props.Root,
		program:          "lambda/markers",
		description:      "Tells of backups that were hidden, and not by the nightly pruning",
		logRetentionDays: props.LogRetentionDays,
		timeoutSeconds:   30,
		environment: map[string]*string{
			"BACKUP_BUCKET": bucket.BucketName(),
			"KEEP_DAYS":     jsii.String(fmt.Sprint(props.Backups.props.KeepDays)),
		},
		statements: []awsiam.PolicyStatement{list},
	})
	policy.AddStatements(allow("KeepWhatFails", []*string{deadLetters.QueueArn()}, "sqs:SendMessage"))
	// Lambda tries an event three times; what is left then is for a person.
	// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
	function.ConfigureAsyncInvoke(&awslambda.EventInvokeConfigOptions{
		RetryAttempts: jsii.Number(2),
		MaxEventAge:   awscdk.Duration_Hours(jsii.Number(6)),
	})
	function.Node().DefaultChild().(awslambda.CfnFunction).SetDeadLetterConfig(&awslambda.CfnFunction_DeadLetterConfigProperty{
		TargetArn: deadLetters.QueueArn(),
	})
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
	awsevents.NewRule(scope, jsii.String("Hidden"), &awsevents.RuleProps{
		Description: jsii.String("Delete markers in the bucket of backups"),
		EventPattern: &awsevents.EventPattern{
			Source:     jsii.Strings("aws.s3"),
			DetailType: jsii.Strings("Object Deleted"),
			Detail: &map[string]any{
				"bucket":        map[string]any{"name": []*string{bucket.BucketName()}},
				"deletion-type": jsii.Strings("Delete Marker Created"),
			},
		},
		Targets: &[]awsevents.IRuleTarget{awseventstargets.NewLambdaFunction(function, &awseventstargets.LambdaFunctionProps{
			DeadLetterQueue: deadLetters,
		})},
	})
	watch := &BackupWatch{Function: function, DeadLetterQueue: deadLetters}
	watch.alarms(scope, props.Topic)
	return watch
}

func (w *BackupWatch) alarms(scope constructs.Construct, topic awssns.ITopic) {
	function := map[string]*string{"FunctionName": w.Function.FunctionName()}
	newAlarms(scope, topic, []alarm{
		{
			id:          "BackupsHidden",
			description: "Somebody removed a backup, and it was not the nightly pruning: the log of the function markers names the key",
			// The most, and no sum: the server may write metrics of this namespace,
			// and with a sum a negative number would silence this.
			metric:  metricOf(metricNamespace, "UnexpectedDeleteMarkers", "Maximum", 5, function),
			missing: isFine,
		},
		{
			id:          "BackupWatchErrors",
			description: "The function that looks at removed backups fails: its log says why",
			metric:      metricOf("AWS/Lambda", "Errors", "Sum", 5, function),
			missing:     isFine,
		},
		{
			id:          "RemovalsUnseen",
			description: "Removed backups could not be looked at and wait in the dead-letter queue of the function markers",
			metric: metricOf("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", 5,
				map[string]*string{"QueueName": w.DeadLetterQueue.QueueName()}),
			missing: isFine,
		},
	})
}
