package constructs

import (
	"sync"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/jsii-runtime-go"
)

// statusPrefix is where the state of each upload is written, in the artifact
// bucket: deployments/<upload-id>.json.
const statusPrefix = "deployments/"

// recordPrefix is where each group's record is kept, in the artifact bucket.
// Nobody but the functions reads or writes there.
const recordPrefix = "groups/"

// orderPrefix is where operators put what they order, in the artifact bucket. To
// write there is a right of its own, which jobs do not have; the functions read it.
const orderPrefix = "orders/"

// tokenPrefix is where jobs put the tokens that prove whose uploads are theirs, in
// the artifact bucket. The trigger alone reads there.
const tokenPrefix = "tokens/"

// tokenDays is how long a token is kept, in days: the trigger reads it within
// seconds, and believes none that is older than two (lambda/internal/group).
const tokenDays = 1

// The tag of versions that nobody wants any more: lambda/internal/mark sets it,
// the lifecycle rules of [ArtifactBucket] look for it.
const unwantedKey, unwantedValue = "artifact", "unwanted"

// partition is a token, the same in each stack.
var partition = sync.OnceValue(func() string { return *awscdk.Aws_PARTITION() })

// objectARN returns the ARN of a key, or of keys, in a named bucket.
func objectARN(bucketName, key string) string {
	return "arn:" + partition() + ":s3:::" + bucketName + "/" + key
}

// bucketARN returns the ARN of a named bucket.
func bucketARN(bucketName string) string {
	return "arn:" + partition() + ":s3:::" + bucketName
}

// objectWildcard is how cdk-nag calls objectARN of a prefix.
func objectWildcard(bucketName, prefix string) string {
	return "Resource::arn:<AWS::Partition>:s3:::" + bucketName + "/" + prefix + "*"
}

// statusStatements let a function keep status objects.
func statusStatements(bucketName string) []awsiam.PolicyStatement {
	return []awsiam.PolicyStatement{
		allow("KeepStatus", []*string{jsii.String(objectARN(bucketName, statusPrefix+"*"))}, "s3:GetObject", "s3:PutObject"),
		allow("KeepRecords", []*string{jsii.String(objectARN(bucketName, recordPrefix+"*"))}, "s3:GetObject", "s3:PutObject"),
		// Without it, S3 answers 403 where an object is missing, and not 404.
		allow("SeeThatAnObjectIsMissing", []*string{jsii.String(bucketARN(bucketName))}, "s3:ListBucket"),
	}
}

// readOrders lets a function read what operators have ordered.
func readOrders(bucketName string) awsiam.PolicyStatement {
	return allow("ReadOrders", []*string{jsii.String(objectARN(bucketName, orderPrefix+"*"))}, "s3:GetObject", "s3:GetObjectVersion")
}

// markUnwanted lets a function mark versions that nobody wants any more. Jobs
// have no such right: what they upload is kept until a function decides.
func markUnwanted(bucketName, prefix string) awsiam.PolicyStatement {
	return allow("MarkUnwanted", []*string{jsii.String(objectARN(bucketName, prefix+"*"))}, "s3:PutObjectVersionTagging")
}
