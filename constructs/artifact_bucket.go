package constructs

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// ArtifactBucketProps configures [NewArtifactBucket].
type ArtifactBucketProps struct {
	// Name is the bucket's name; account A's roles name it too. Required.
	Name string

	// Prefix is the key prefix of artifacts, ending in "/". Required.
	Prefix string

	// ReplacedVersionDays is how long an artifact is kept that nobody wants any
	// more, in days: one that was rejected or superseded, or deployed before the
	// last eleven. Required.
	ReplacedVersionDays int

	// StatusDays is how long the state of an upload, and an operator's order, is kept,
	// in days. Required.
	StatusDays int

	// UploaderAccount is the AWS account whose roles may upload. Required.
	UploaderAccount string

	// SourceVPCEndpoint is the id of the S3 gateway endpoint that uploads have
	// to come through. Required.
	SourceVPCEndpoint *string

	// Readers are the roles that may read artifacts. Optional.
	Readers []ArtifactReaders

	// TokenReader is the one role that may read the tokens of jobs. Required.
	TokenReader awsiam.IRole

	// Notify is told of each artifact, and of each order of an operator. Required.
	Notify awssqs.Queue

	// AccessLogs receives the bucket's access log. Required.
	AccessLogs awss3.IBucket

	// OpenAfter is what must exist before the first upload is let in: a bucket
	// with an object cannot be deleted, and a failed first deploy has to be undone.
	// Required.
	OpenAfter []constructs.IConstruct
}

// ArtifactReaders are the roles of the instances of one application.
type ArtifactReaders struct {
	// KeyPrefix begins the keys that they read, and ends in "/". Required.
	KeyPrefix string

	// RoleARNs are roles of the bucket's own account. Required; each must exist.
	RoleARNs []string
}

// ArtifactBucket is the versioned, private bucket that build artifacts land
// in. It outlives its stack.
//
// Uploads come from account A through its S3 endpoint, and from nowhere else:
// not even an administrator of account B can slip in an artifact. The same way
// back, jobs read the state of their deployments. The tokens that jobs put beside
// their artifacts are read by one role, and gone after a day.
type ArtifactBucket struct {
	Bucket awss3.Bucket
}

// NewArtifactBucket defines an ArtifactBucket under scope.
func NewArtifactBucket(scope constructs.Construct, id string, props ArtifactBucketProps) *ArtifactBucket {
	scope = constructs.NewConstruct(scope, &id)
	bucket := newPrivateBucket(scope, "Bucket", awss3.BucketProps{
		BucketName: &props.Name,
		Versioned:  jsii.Bool(true), // CodeDeploy pins a version, not a key
		// No version expires by its age: what a group runs may be old. A function
		// marks what is rejected or superseded, or was deployed before the last
		// eleven, and only that goes.
		LifecycleRules: &[]*awss3.LifecycleRule{{
			Id:                          jsii.String("unwanted-versions"),
			Prefix:                      &props.Prefix,
			TagFilters:                  &map[string]any{unwantedKey: unwantedValue},
			Expiration:                  awscdk.Duration_Days(jsii.Number(props.ReplacedVersionDays)),
			NoncurrentVersionExpiration: awscdk.Duration_Days(jsii.Number(props.ReplacedVersionDays)),
		}, {
			Id:                        jsii.String("markers-of-nothing"),
			Prefix:                    &props.Prefix,
			ExpiredObjectDeleteMarker: jsii.Bool(true),
		}, {
			Id:                          jsii.String("old-records"),
			Prefix:                      jsii.String(recordPrefix),
			NoncurrentVersionExpiration: awscdk.Duration_Days(jsii.Number(1)),
		}, {
			Id:                          jsii.String("old-orders"),
			Prefix:                      jsii.String(orderPrefix),
			Expiration:                  awscdk.Duration_Days(jsii.Number(props.StatusDays)),
			NoncurrentVersionExpiration: awscdk.Duration_Days(jsii.Number(1)),
		}, {
			Id:                          jsii.String("old-tokens"),
			Prefix:                      jsii.String(tokenPrefix),
			Expiration:                  awscdk.Duration_Days(jsii.Number(tokenDays)),
			NoncurrentVersionExpiration: awscdk.Duration_Days(jsii.Number(tokenDays)),
		}, {
			Id:                          jsii.String("old-states"),
			Prefix:                      jsii.String(statusPrefix),
			Expiration:                  awscdk.Duration_Days(jsii.Number(props.StatusDays)),
			NoncurrentVersionExpiration: awscdk.Duration_Days(jsii.Number(1)),
		}},
		ServerAccessLogsBucket: props.AccessLogs,
		ServerAccessLogsPrefix: jsii.String("s3/artifacts/"),
	})
	allowUploads(bucket, props)
	allowStates(bucket, props)
	allowReaders(bucket, props)
	notify(bucket, props)
	for _, earlier := range props.OpenAfter {
		bucket.Policy().Node().AddDependency(earlier)
	}
	acknowledge(bucket.Policy(), finding{
		rule:   "W3005",
		reason: "The policy waits for all that is deployed, and names the one role of it that reads tokens.",
	})
	return &ArtifactBucket{Bucket: bucket}
}

// allowUploads writes the two statements about uploads.
//
// The Deny holds for s3:PutObject alone: a wider one would lock out the
// console and the CodeDeploy agents, which read from elsewhere.
func allowUploads(bucket awss3.Bucket, props ArtifactBucketProps) {
	artifacts := bucket.ArnForObjects(jsii.String(props.Prefix + "*"))
	tokens := bucket.ArnForObjects(jsii.String(tokenPrefix + "*"))
	allowThroughEndpoint(bucket, props, "UploadThroughEndpoint", artifacts, nil, "s3:PutObject", "s3:AbortMultipartUpload")
	allowThroughEndpoint(bucket, props, "TokensThroughEndpoint", tokens, nil, "s3:PutObject")
	bucket.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        jsii.String("RefuseUploadsFromElsewhere"),
		Effect:     awsiam.Effect_DENY,
		Principals: &[]awsiam.IPrincipal{awsiam.NewStarPrincipal()},
		Actions:    jsii.Strings("s3:PutObject"),
		Resources:  &[]*string{artifacts, tokens},
		Conditions: &map[string]any{"StringNotEquals": map[string]any{"aws:SourceVpce": props.SourceVPCEndpoint}},
	}))
	keepTokens(bucket, props, tokens)
}

// keepTokens lets nobody but the trigger read a token, which is worth a deployment
// until it is spent: administrators of the account would find tokens of projects
// that are not theirs.
func keepTokens(bucket awss3.Bucket, props ArtifactBucketProps, tokens *string) {
	bucket.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        jsii.String("OnlyTheTriggerReadsTokens"),
		Effect:     awsiam.Effect_DENY,
		Principals: &[]awsiam.IPrincipal{awsiam.NewStarPrincipal()},
		Actions:    jsii.Strings("s3:GetObject", "s3:GetObjectVersion"),
		Resources:  &[]*string{tokens},
		Conditions: &map[string]any{"ArnNotEquals": map[string]any{"aws:PrincipalArn": props.TokenReader.RoleArn()}},
	}))
}

// allowStates lets jobs see which states there are, and read them.
func allowStates(bucket awss3.Bucket, props ArtifactBucketProps) {
	allowThroughEndpoint(bucket, props, "ReadStates", bucket.ArnForObjects(jsii.String(statusPrefix+"*")), nil, "s3:GetObject")
	allowThroughEndpoint(bucket, props, "ListStates", bucket.BucketArn(),
		map[string]any{"StringLike": map[string]any{"s3:prefix": statusPrefix + "*"}}, "s3:ListBucket")
}

// allowReaders lets CodeDeploy's agents fetch the version that a deployment
// names, of their own application. They run on instances of the bucket's own
// account, so this needs no policy of theirs, and no endpoint.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/getting-started-create-iam-instance-profile.html
func allowReaders(bucket awss3.Bucket, props ArtifactBucketProps) {
	for i, readers := range props.Readers {
		var roles []awsiam.IPrincipal
		for _, arn := range readers.RoleARNs {
			roles = append(roles, awsiam.NewArnPrincipal(&arn))
		}
		bucket.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
			Sid:        jsii.String(fmt.Sprintf("AgentsReadArtifacts%d", i+1)),
			Principals: &roles,
			Actions:    jsii.Strings("s3:GetObject", "s3:GetObjectVersion"),
			Resources:  &[]*string{bucket.ArnForObjects(jsii.String(readers.KeyPrefix + "*"))},
		}))
	}
}

// allowThroughEndpoint allows account A's roles actions on a resource, on the
// way through its S3 endpoint and under further conditions.
func allowThroughEndpoint(bucket awss3.Bucket, props ArtifactBucketProps, sid string, resource *string, conditions map[string]any, actions ...string) {
	if conditions == nil {
		conditions = map[string]any{}
	}
	conditions["StringEquals"] = map[string]any{"aws:SourceVpce": props.SourceVPCEndpoint}
	bucket.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        &sid,
		Principals: &[]awsiam.IPrincipal{awsiam.NewAccountPrincipal(props.UploaderAccount)},
		Actions:    jsii.Strings(actions...),
		Resources:  &[]*string{resource},
		Conditions: &conditions,
	}))
}

// notify sends the bucket's events to the queue by plain properties; the
// CDK's AddEventNotification would bring a Lambda function of its own.
//
// The queue's policy names the bucket by its configured name. A reference
// would close a circle, because S3 asks for the policy before the bucket may
// name the queue.
func notify(bucket awss3.Bucket, props ArtifactBucketProps) {
	stack := awscdk.Stack_Of(bucket)
	permission := props.Notify.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        jsii.String("ArtifactEvents"),
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String("s3.amazonaws.com"), nil)},
		Actions:    jsii.Strings("sqs:SendMessage"),
		Resources:  &[]*string{props.Notify.QueueArn()},
		Conditions: &map[string]any{
			"ArnEquals":    map[string]any{"aws:SourceArn": bucketARN(props.Name)},
			"StringEquals": map[string]any{"aws:SourceAccount": stack.Account()},
		},
	}))
	resource := bucket.Node().DefaultChild().(awss3.CfnBucket)
	resource.Node().AddDependency(permission.PolicyDependable)
	resource.SetNotificationConfiguration(&awss3.CfnBucket_NotificationConfigurationProperty{
		QueueConfigurations: []any{
			created(props.Notify, props.Prefix),
			// S3 says who wrote an order, and that is who is believed.
			created(props.Notify, orderPrefix),
		},
	})
}

// created tells the queue of each object that is created under a prefix.
func created(queue awssqs.Queue, prefix string) *awss3.CfnBucket_QueueConfigurationProperty {
	return &awss3.CfnBucket_QueueConfigurationProperty{
		// All of them: a large artifact arrives as CompleteMultipartUpload.
		Event: jsii.String("s3:ObjectCreated:*"),
		Queue: queue.QueueArn(),
		Filter: &awss3.CfnBucket_NotificationFilterProperty{
			S3Key: &awss3.CfnBucket_S3KeyFilterProperty{
				Rules: []any{&awss3.CfnBucket_FilterRuleProperty{Name: jsii.String("prefix"), Value: &prefix}},
			},
		},
	}
}
