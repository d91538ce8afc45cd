package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// BackupBucketProps configures [NewBackupBucket].
type BackupBucketProps struct {
	// KeepDays is how long a backup counts, in days: no version is deleted
	// before, by anybody. Required.
	KeepDays int

	// DeletedDays is for how many days a removed backup can be brought back.
	// Required.
	DeletedDays int

	// BreakGlassRoleARNs are roles that may read backups, and bring one in from
	// elsewhere. Optional.
	BreakGlassRoleARNs []string

	// AccessLogs receives the bucket's access log. Required.
	AccessLogs awss3.IBucket
}

// BackupBucket holds GitLab's backups, the old server's too: data moves
// through it. It and its key outlive the stack.
//
//	server ────────── put, read, hide ──▶ backups/…, secrets/…   versions, locked for KeepDays
//	break-glass roles ─────── put, read ──▶                        under the bucket's key
//	everybody else ──── manifests alone ──▶ backups/*/manifest.json
//
// Reading takes two permissions, the bucket's and the key's, and neither can be
// given by an IAM policy. Whoever can write can destroy nothing: a version that
// is there stays, and what hides it can be taken away.
type BackupBucket struct {
	Bucket awss3.Bucket
	Key    awskms.Key
	props  BackupBucketProps
}

// manifests are the only objects that others than the server may read. They
// hold names, sizes and hashes, and are not under the key.
const manifests = backupPrefix + "*/manifest.json"

// NewBackupBucket defines a BackupBucket under scope. Nobody reads or writes it
// before [BackupBucket.Serve].
func NewBackupBucket(scope constructs.Construct, id string, props BackupBucketProps) *BackupBucket {
	scope = constructs.NewConstruct(scope, &id)
	key := newDataKey(scope, "Key", "Backups of GitLab")
	acknowledge(key, finding{
		rule:   "CT.KMS.PR.3",
		reason: "The key's policy lets nobody make a grant at all, which is less than the rule asks to be limited.",
	})
	bucket := newPrivateBucket(scope, "Bucket", awss3.BucketProps{
		EncryptionKey:    key,
		BucketKeyEnabled: jsii.Bool(true),
		Versioned:        jsii.Bool(true),
		// Governance: an administrator can still lift it, with a right of its own
		// (s3:BypassGovernanceRetention) that nothing here has.
		// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
		ObjectLockEnabled:          jsii.Bool(true),
		ObjectLockDefaultRetention: awss3.ObjectLockRetention_Governance(awscdk.Duration_Days(jsii.Number(props.KeepDays))),
		LifecycleRules: &[]*awss3.LifecycleRule{{
			// The server itself decides what is old: it keeps the newest ones
			// however old they are. It may not delete versions, and S3 waits for
			// the end of a lock.
			Id:                          jsii.String("deleted-backups"),
			NoncurrentVersionExpiration: awscdk.Duration_Days(jsii.Number(props.DeletedDays)),
			ExpiredObjectDeleteMarker:   jsii.Bool(true),
		}},
		ServerAccessLogsBucket: props.AccessLogs,
		ServerAccessLogsPrefix: jsii.String("s3/backups/"),
	})
	// By a plain property; the construct's EventBridgeEnabled would bring a
	// function of its own. See NewBackupWatch.
	bucket.Node().DefaultChild().(awss3.CfnBucket).SetNotificationConfiguration(&awss3.CfnBucket_NotificationConfigurationProperty{
		EventBridgeConfiguration: &awss3.CfnBucket_EventBridgeConfigurationProperty{EventBridgeEnabled: jsii.Bool(true)},
	})
	return &BackupBucket{Bucket: bucket, Key: key, props: props}
}

// Serve opens the bucket and its key for the server and the break-glass roles,
// and closes the bucket's content to everybody else.
func (b *BackupBucket) Serve(server awsiam.Role) {
	glass := jsii.Strings(b.props.BreakGlassRoleARNs...)
	readers := append([]*string{server.RoleArn()}, *glass...)

	// A part of a multipart upload is decrypted when S3 puts the parts together.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuAndPermissions.html
	throughService(b.Key, "ServerStoresBackups", "s3", readers[:1], nil, "kms:GenerateDataKey", "kms:Decrypt")
	throughService(b.Key, "BreakGlassBackups", "s3", *glass, nil, "kms:GenerateDataKey", "kms:Decrypt")

	b.Bucket.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        jsii.String("NobodyElseReadsBackups"),
		Effect:     awsiam.Effect_DENY,
		Principals: &[]awsiam.IPrincipal{awsiam.NewStarPrincipal()},
		Actions: jsii.Strings("s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTorrent", "s3:GetObjectVersionTorrent",
			"s3:GetObjectVersionForReplication"),
		NotResources: &[]*string{b.Bucket.ArnForObjects(jsii.String(manifests))},
		// Of a session this is the role's ARN. A service that acts by itself has
		// none, and is denied.
		// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalarn
		Conditions: &map[string]any{"ArnNotEquals": map[string]any{"aws:PrincipalArn": readers}},
	}))
	if len(*glass) == 0 {
		return
	}
	var principals []awsiam.IPrincipal
	for _, arn := range *glass {
		principals = append(principals, awsiam.NewArnPrincipal(arn))
	}
	allowGlass := func(sid string, resources []*string, actions ...string) {
		b.Bucket.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
			Sid: &sid, Principals: &principals, Actions: jsii.Strings(actions...), Resources: &resources,
		}))
	}
	allowGlass("BreakGlassReadsAndBringsIn", b.objects(), "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:AbortMultipartUpload")
	allowGlass("BreakGlassLists", []*string{b.Bucket.BucketArn()}, "s3:ListBucket", "s3:ListBucketVersions")
}

// objects are the ARNs of what backups consist of.
func (b *BackupBucket) objects() []*string {
	return []*string{b.Bucket.ArnForObjects(jsii.String(backupPrefix + "*")), b.Bucket.ArnForObjects(jsii.String(secretPrefix + "*"))}
}
