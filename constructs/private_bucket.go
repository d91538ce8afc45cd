package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// newPrivateBucket defines a bucket with what no bucket here does without:
// encrypted, closed to the public and to plain HTTP, free of ACLs, cleared of
// unfinished uploads, and kept when its stack goes. rest adds to it.
func newPrivateBucket(scope constructs.Construct, id string, rest awss3.BucketProps) awss3.Bucket {
	rest.Encryption = awss3.BucketEncryption_S3_MANAGED
	rest.BlockPublicAccess = awss3.BlockPublicAccess_BLOCK_ALL()
	rest.EnforceSSL = jsii.Bool(true)
	rest.MinimumTLSVersion = jsii.Number(1.2)
	rest.ObjectOwnership = awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED
	rest.RemovalPolicy = awscdk.RemovalPolicy_RETAIN

	rules := []*awss3.LifecycleRule{{
		Id: jsii.String("unfinished-uploads"),
		// An upload that died half-way is invisible and still paid for.
		AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(jsii.Number(7)),
	}}
	if rest.LifecycleRules != nil {
		rules = append(rules, *rest.LifecycleRules...)
	}
	rest.LifecycleRules = &rules
	return awss3.NewBucket(scope, &id, &rest)
}
