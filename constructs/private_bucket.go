package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// newPrivateBucket defines a bucket with what no bucket here does without:
// encrypted, closed to the public and to plain HTTP, free of ACLs, cleared of
// unfinished uploads, and kept when its stack goes. rest adds to it, and may
// name a key.
//
// A first deploy that fails takes it along again, since it is empty then, and a
// name that it has would stand in the way of the next one. rest may say otherwise.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html
func newPrivateBucket(scope constructs.Construct, id string, rest awss3.BucketProps) awss3.Bucket {
	rest.Encryption = awss3.BucketEncryption_S3_MANAGED
	if rest.EncryptionKey != nil {
		rest.Encryption = awss3.BucketEncryption_KMS
	}
	rest.BlockPublicAccess = awss3.BlockPublicAccess_BLOCK_ALL()
	rest.EnforceSSL = jsii.Bool(true)
	rest.MinimumTLSVersion = jsii.Number(1.2)
	rest.ObjectOwnership = awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED
	if rest.RemovalPolicy == "" {
		rest.RemovalPolicy = awscdk.RemovalPolicy_RETAIN_ON_UPDATE_OR_DELETE
	}

	rules := []*awss3.LifecycleRule{{
		Id: jsii.String("unfinished-uploads"),
		// An upload that died half-way is invisible and still paid for.
		AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(jsii.Number(7)),
	}}
	if rest.LifecycleRules != nil {
		rules = append(rules, *rest.LifecycleRules...)
	}
	rest.LifecycleRules = &rules
	bucket := awss3.NewBucket(scope, &id, &rest)
	if rest.EncryptionKey == nil {
		acknowledge(bucket, finding{
			rule: "NIST.800.53.R5-S3DefaultEncryptionKMS CT.S3.PR.10",
			reason: "S3 encrypts every object with keys of its own. A key of ours would have to be opened to the other account's jobs, " +
				"CodeDeploy's agents and log delivery, which load balancers do not do with one; the bucket's policy already decides who reads.",
		})
	}
	if rest.ObjectLockEnabled == nil {
		acknowledge(bucket, finding{
			rule:   "CT.S3.PR.9",
			reason: "Versions keep what was replaced or deleted, each for its time. A lock could not be lifted for what has to go.",
		})
	}
	acknowledge(bucket, finding{
		rule: "NIST.800.53.R5-S3BucketReplicationEnabled",
		reason: "Artifacts can be built again, backups are copies of what the server has, and logs are for looking back. " +
			"A copy in another region doubles the price and belongs to a plan for the loss of a region.",
	})
	return bucket
}

// quietBucket is for buckets that nothing waits at.
var quietBucket = finding{
	rule:   "CT.S3.PR.4",
	reason: "Nothing has to happen when an object arrives here; whoever needs it looks for it.",
}
