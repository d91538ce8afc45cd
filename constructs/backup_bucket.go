package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// BackupBucketProps configures [NewBackupBucket].
type BackupBucketProps struct {
	// DeletedDays is for how many days a removed backup can be brought back.
	// Required.
	DeletedDays int

	// AccessLogs receives the bucket's access log. Required.
	AccessLogs awss3.IBucket
}

// BackupBucket holds GitLab's backups, the old server's too: data moves
// through it. It is versioned, so that whoever can write a backup cannot
// destroy an older one, and it outlives its stack.
type BackupBucket struct {
	Bucket awss3.Bucket
}

// NewBackupBucket defines a BackupBucket under scope.
func NewBackupBucket(scope constructs.Construct, id string, props BackupBucketProps) *BackupBucket {
	scope = constructs.NewConstruct(scope, &id)
	bucket := newPrivateBucket(scope, "Bucket", awss3.BucketProps{
		Versioned: jsii.Bool(true),
		LifecycleRules: &[]*awss3.LifecycleRule{{
			// The server itself decides what is old: it keeps the newest ones
			// however old they are. It may not delete versions.
			Id:                          jsii.String("deleted-backups"),
			NoncurrentVersionExpiration: awscdk.Duration_Days(jsii.Number(props.DeletedDays)),
			ExpiredObjectDeleteMarker:   jsii.Bool(true),
		}},
		ServerAccessLogsBucket: props.AccessLogs,
		ServerAccessLogsPrefix: jsii.String("s3/backups/"),
	})
	acknowledge(bucket, quietBucket)
	return &BackupBucket{Bucket: bucket}
}
