package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// LogBucketProps configures [NewLogBucket].
type LogBucketProps struct {
	// RetentionDays is how long an access log is kept, in days. Required.
	RetentionDays int
}

// LogBucket receives the access logs of load balancers and buckets. It
// outlives its stack, a first deploy that failed as well.
type LogBucket struct {
	Bucket awss3.Bucket
}

// NewLogBucket defines a LogBucket under scope.
func NewLogBucket(scope constructs.Construct, id string, props LogBucketProps) *LogBucket {
	scope = constructs.NewConstruct(scope, &id)
	bucket := newPrivateBucket(scope, "Bucket", awss3.BucketProps{
		// Load balancers deliver to buckets with S3-managed keys only.
		// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
		// Logs are written once: a second version means that somebody covers a
		// trace, and the first one stays for a while.
		Versioned: jsii.Bool(true),
		// It is never empty: the load balancer writes a test file, and S3 what the
		// stack does to the other buckets. Deleting it would fail the rollback of a
		// first deploy. It has no fixed name, so it is in nobody's way.
		// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
		LifecycleRules: &[]*awss3.LifecycleRule{{
			Id:                          jsii.String("old-logs"),
			Expiration:                  awscdk.Duration_Days(jsii.Number(props.RetentionDays)),
			NoncurrentVersionExpiration: awscdk.Duration_Days(jsii.Number(30)),
		}},
	})
	acknowledge(bucket, quietBucket, finding{
		rule:   "CKV_AWS_18 CT.S3.PR.2",
		reason: "This bucket is where access logs go; logging the delivery of logs would never end.",
	})
	return &LogBucket{Bucket: bucket}
}
