package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// BucketOfOthers is a bucket in another account, with what jobs put there.
type BucketOfOthers struct {
	// Name, and the 12-digit id of the account that owns it. Required.
	Name, Account string

	// Prefix is the key prefix of artifacts, ending in "/". Required.
	Prefix string
}

// s3EndpointStatements are what may pass the S3 endpoint. Whoever is inside,
// with whatever credentials, reads and writes no other bucket of the region
// through it: neither data nor stolen tokens leave by this door.
//
// It only bounds; the policies of roles and buckets still decide. The names of
// AWS's own buckets are those that AWS documents. Buckets of other regions, and
// GitLab's packages, which come from a CDN, are reached through the NAT gateway.
//
// A gateway endpoint takes no other principal than everybody; conditions name
// the account.
// https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-s3.html#edit-vpc-endpoint-policy-s3
func s3EndpointStatements(scope constructs.Construct, props NetworkProps) []awsiam.PolicyStatement {
	account := map[string]any{"aws:PrincipalAccount": awscdk.Stack_Of(scope).Account()}
	// The owner too: a bucket that is deleted leaves its name to anybody.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-resourceaccount
	artifacts := map[string]any{"StringEquals": map[string]any{
		"aws:PrincipalAccount": awscdk.Stack_Of(scope).Account(), "aws:ResourceAccount": props.ArtifactBucket.Account,
	}}
	region := *awscdk.Stack_Of(scope).Region()

	statements := []awsiam.PolicyStatement{
		through("Artifacts", artifacts, []string{objectARN(props.ArtifactBucket.Name, props.ArtifactBucket.Prefix+"*")},
			"s3:PutObject", "s3:AbortMultipartUpload"),
		through("Tokens", artifacts, []string{objectARN(props.ArtifactBucket.Name, tokenPrefix+"*")}, "s3:PutObject"),
		through("States", artifacts, []string{objectARN(props.ArtifactBucket.Name, statusPrefix+"*")}, "s3:GetObject"),
		through("ListStates", artifacts, []string{bucketARN(props.ArtifactBucket.Name)}, "s3:ListBucket"),
		// What a backup is made of, restored from and pruned by. Which of it a
		// host may do is in its role.
		through("Backups", map[string]any{"StringEquals": account},
			[]string{*props.BackupBucket.BucketArn(), *props.BackupBucket.ArnForObjects(jsii.String("*"))},
			"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),

		// The package repositories of Amazon Linux 2, and of 2023 under the name
		// that its "dnf repolist -v" shows: the ending is the same everywhere.
		// https://repost.aws/knowledge-center/ec2-al1-al2-update-yum-without-internet
		through("AmazonLinux", nil, objectsOf("amazonlinux-2-repos-"+region, "amazonlinux."+region+".amazonaws.com", "al2023-repos-"+region+"-de612dc2"),
			"s3:GetObject"),
		// The SSM Agent: its updates, its plug-ins and what patching needs. It
		// asks without credentials.
		// https://docs.aws.amazon.com/systems-manager/latest/userguide/ssm-agent-technical-details.html#ssm-agent-minimum-s3-permissions
		through("SystemsManager", nil, objectsOf("aws-ssm-"+region, "amazon-ssm-"+region, "amazon-ssm-packages-"+region, region+"-birdwatcher-prod",
			"aws-ssm-distributor-file-"+region, "aws-ssm-document-attachments-"+region, "patch-baseline-snapshot-"+region,
			// A wildcard, because each region's name ends in letters of its own.
			// https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-operations-s3-buckets.html
			"aws-patch-manager-"+region+"-*"), "s3:GetObject"),
		// The outcome of an installation, by a presigned URL: see NewInstallation.
		// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cfn-vpce-bucketnames.html
		through("WaitConditions", nil, objectsOf("cloudformation-waitcondition-"+region), "s3:PutObject"),
		// The layers of images in ECR, for jobs that run in one.
		// https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-minimum-s3-perms
		through("ImageLayers", nil, objectsOf("prod-"+region+"-starport-layer-bucket"), "s3:GetObject"),
		// Docker Hub sends hosts in AWS to a bucket of their region. A wildcard,
		// because Docker names no bucket anywhere; all that were seen begin so. Of
		// a stranger's bucket of such a name this only reads.
		// https://jfrog.com/help/r/what-should-we-whitelist-for-artifactory-when-our-docker-registry-is-behind-firewalls-and-proxy-servers
		through("DockerHubLayers", nil, objectsOf("docker-images-prod*"), "s3:GetObject"),
	}
	if len(props.Programs) > 0 {
		var objects []string
		for _, program := range props.Programs {
			objects = append(objects, program.objectARN())
		}
		// The owner too, as above.
		own := map[string]any{"StringEquals": map[string]any{
			"aws:PrincipalAccount": awscdk.Stack_Of(scope).Account(), "aws:ResourceAccount": awscdk.Stack_Of(scope).Account(),
		}}
		statements = append(statements, through("Programs", own, objects, "s3:GetObject"))
	}
	if len(props.ReadableBuckets) > 0 {
		statements = append(statements, through("ReadableBuckets", nil, objectsOf(props.ReadableBuckets...), "s3:GetObject"))
	}
	return statements
}

// through allows everybody actions on resources, on conditions.
func through(sid string, conditions map[string]any, resources []string, actions ...string) awsiam.PolicyStatement {
	if conditions == nil {
		conditions = map[string]any{}
	}
	return awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        &sid,
		Principals: &[]awsiam.IPrincipal{awsiam.NewStarPrincipal()},
		Actions:    jsii.Strings(actions...),
		Resources:  jsii.Strings(resources...),
		Conditions: &conditions,
	})
}

// objectsOf returns the ARNs of all objects in buckets.
func objectsOf(buckets ...string) []string {
	var arns []string
	for _, bucket := range buckets {
		arns = append(arns, objectARN(bucket, "*"))
	}
	return arns
}
