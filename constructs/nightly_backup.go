package constructs

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// NightlyBackupProps configures [NewNightlyBackup].
type NightlyBackupProps struct {
	// Bucket is where backups go. Required.
	Bucket *BackupBucket

	// Server is what is backed up. Required.
	Server *GitLabServer

	// Document makes a backup on the server. Required.
	Document *HostDocument

	// Region is the AWS region of the stack. Required.
	Region string

	// Environment tells the backups of several environments in one account
	// apart. Required.
	Environment string

	// Time is when it begins each day, as "HH:MM" in UTC. Required.
	Time string

	// KeepDays is how long a backup is kept, in days. Required.
	KeepDays int

	// After is what must exist before the first backup: a bucket with a backup
	// cannot be deleted, and a failed first deploy has to be undone. Required.
	After []constructs.IDependable

	// Email receives the alarm, once it has confirmed. Without it, the topic
	// has no subscriber.
	Email string
}

// NightlyBackup makes a backup of the GitLab server each day: State Manager
// sends the document, the server stores the backup in the bucket, removes old
// ones, and counts the complete one in CloudWatch. An alarm waits for that
// count, so that it tells of every way in which there can be none: a failure, a
// server that is off, a schedule that was lost.
//
// It lives as long as its stack; what it stored outlives it.
type NightlyBackup struct {
	Topic awssns.Topic
}

// Prefixes of the backup bucket: see internal/backups.
const (
	backupPrefix = "backups/"
	secretPrefix = "secrets/"
)

// missingBackupHours is when the alarm goes off. A day, and what a backup may
// take longer than the one before.
const missingBackupHours = 26

// NewNightlyBackup defines a NightlyBackup under scope.
func NewNightlyBackup(scope constructs.Construct, id string, props NightlyBackupProps) *NightlyBackup {
	scope = constructs.NewConstruct(scope, &id)
	policy := grantBackups(scope, props)

	association := awsssm.NewCfnAssociation(scope, jsii.String("Schedule"), &awsssm.CfnAssociationProps{
		Name:               props.Document.Name,
		ScheduleExpression: jsii.String(dailyAt(props.Time)),
		// Not when it is made, nor when the script changes.
		ApplyOnlyAtCronInterval: jsii.Bool(true),
		Parameters: map[string]any{
			"RunId":    jsii.Strings("nightly"),
			"KeepDays": jsii.Strings(fmt.Sprint(props.KeepDays)),
		},
		Targets: []any{&awsssm.CfnAssociation_TargetProperty{
			Key:    jsii.String("InstanceIds"),
			Values: &[]*string{props.Server.InstanceID},
		}},
	})
	association.Node().AddDependency(policy)
	association.Node().AddDependency(props.After...)
	return &NightlyBackup{Topic: missingBackupAlarm(scope, props)}
}

// dailyAt returns State Manager's cron expression, which is in UTC.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/reference-cron-and-rate-expressions.html
func dailyAt(time string) string {
	hour, minute, _ := strings.Cut(time, ":")
	h, errHour := strconv.Atoi(hour)
	m, errMinute := strconv.Atoi(minute)
	if errHour != nil || errMinute != nil {
		panic("NightlyBackup: got time " + time + ", want HH:MM")
	}
	return fmt.Sprintf("cron(%d %d * * ? *)", m, h)
}

// grantBackups lets the server put, list, read back and remove what is under
// the two prefixes. Removing hides: the bucket keeps the versions, and the
// server may delete none.
func grantBackups(scope constructs.Construct, props NightlyBackupProps) awsiam.Policy {
	bucket := props.Bucket.Bucket
	objects := props.Bucket.objects()
	list := allow("ListBackups", []*string{bucket.BucketArn()}, "s3:ListBucket")
	list.AddCondition(jsii.String("StringLike"), map[string]any{"s3:prefix": jsii.Strings(backupPrefix+"*", secretPrefix+"*")})
	count := allow("CountBackups", []*string{jsii.String("*")}, "cloudwatch:PutMetricData")
	count.AddCondition(jsii.String("StringEquals"), map[string]any{"cloudwatch:namespace": metricNamespace})
	policy := awsiam.NewPolicy(scope, jsii.String("Rights"), &awsiam.PolicyProps{
		Roles: &[]awsiam.IRole{props.Server.Role},
		Statements: &[]awsiam.PolicyStatement{
			allow("KeepBackups", objects, "s3:PutObject", "s3:AbortMultipartUpload", "s3:GetObject", "s3:DeleteObject"),
			list,
			count,
			backupsAlone(props.Bucket),
		},
	})
	acknowledge(policy, finding{
		rule: "AwsSolutions-IAM5",
		appliesTo: []string{
			bucketWildcard(bucket, backupPrefix), bucketWildcard(bucket, secretPrefix),
		},
		reason: "Each backup has an id of its own under these prefixes.",
	}, finding{
		rule:      "AwsSolutions-IAM5",
		appliesTo: []string{"Resource::*"},
		reason:    "PutMetricData knows no resources; the condition holds it to the namespace.",
	})
	return policy
}

// backupsAlone holds the server's use of the bucket's key to the bucket. The
// key's own policy cannot: it would name the bucket, which names the key. With a
// bucket key, S3 encrypts in the context of the bucket.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html#bucket-key-changes
func backupsAlone(backups *BackupBucket) awsiam.PolicyStatement {
	return awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        jsii.String("KeyOfBackupsAlone"),
		Effect:     awsiam.Effect_DENY,
		Actions:    jsii.Strings("kms:GenerateDataKey", "kms:Decrypt"),
		Resources:  &[]*string{backups.Key.KeyArn()},
		Conditions: &map[string]any{"StringNotEquals": map[string]any{"kms:EncryptionContext:aws:s3:arn": backups.Bucket.BucketArn()}},
	})
}

// bucketWildcard is how cdk-nag calls the objects under a prefix of a bucket of
// the stack.
func bucketWildcard(bucket awss3.Bucket, prefix string) string {
	id := awscdk.Stack_Of(bucket).GetLogicalId(bucket.Node().DefaultChild().(awscdk.CfnElement))
	return "Resource::<" + *id + ".Arn>/" + prefix + "*"
}

// missingBackupAlarm defines the alarm and its topic. It is on until there is
// the first backup.
func missingBackupAlarm(scope constructs.Construct, props NightlyBackupProps) awssns.Topic {
	topic := newAlarmTopic(scope, props.Email)
	alarm := awscloudwatch.NewAlarm(scope, jsii.String("BackupMissing"), &awscloudwatch.AlarmProps{
		AlarmDescription: jsii.String(fmt.Sprintf(
			"GitLab has had no complete backup for %d hours: scripts/ops status shows the last run, scripts/ops backup --follow its log", missingBackupHours)),
		Metric: awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
			Namespace:     jsii.String(metricNamespace),
			MetricName:    jsii.String("BackupsCompleted"),
			DimensionsMap: &map[string]*string{"Environment": &props.Environment},
			Statistic:     jsii.String("Sum"),
			Period:        awscdk.Duration_Hours(jsii.Number(1)),
		}),
		Threshold:          jsii.Number(1),
		ComparisonOperator: awscloudwatch.ComparisonOperator_LESS_THAN_THRESHOLD,
		// More than a day is allowed for periods of an hour or more.
		// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
		EvaluationPeriods: jsii.Number(missingBackupHours),
		TreatMissingData:  awscloudwatch.TreatMissingData_BREACHING,
	})
	tell := awscloudwatchactions.NewSnsAction(topic)
	alarm.AddAlarmAction(tell)
	alarm.AddOkAction(tell)
	return topic
}
