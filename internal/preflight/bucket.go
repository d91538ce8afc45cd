package preflight

import (
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// BucketReader is the part of the S3 client that tells of buckets.
type BucketReader interface {
	HeadBucket(context.Context, *s3.HeadBucketInput, ...func(*s3.Options)) (*s3.HeadBucketOutput, error)
	ListBuckets(context.Context, *s3.ListBucketsInput, ...func(*s3.Options)) (*s3.ListBucketsOutput, error)
}

// artifactBucket asks whether the name is free, or already this stack's. HeadBucket's answer is a status without a text:
// 404 for a free name, 301 for a bucket of another Region, 403 for somebody else's, and also for one's own without the
// right to list it.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
func artifactBucket(ctx context.Context, a *asking) []Finding {
	name := &a.config.Deploy.Artifacts.BucketName
	out, err := ask(ctx, a, a.Buckets.HeadBucket, &s3.HeadBucketInput{Bucket: name, ExpectedBucketOwner: aws.String(a.accountID())})
	region := ""
	if err == nil {
		region = aws.ToString(out.BucketRegion)
	}
	switch status, told := statusOf(err); {
	case status == http.StatusNotFound:
		return nil
	case status == http.StatusForbidden:
		return refused(ctx, a, err)
	case status == http.StatusMovedPermanently:
		region = told
	case err != nil:
		return []Finding{a.unchecked(name, "s3:ListBucket", err)}
	}
	if region != "" && region != a.config.Region {
		return []Finding{a.wrong(name, quote(*name)+", which is there already, in "+quote(region), "a name that is free in all of AWS", "choose another bucketName")}
	}
	return ours(ctx, a)
}

// statusOf is the HTTP status of an error and the Region that S3 named with it.
func statusOf(err error) (status int, region string) {
	var response *awshttp.ResponseError
	if !errors.As(err, &response) {
		return 0, ""
	}
	if response.Response != nil {
		region = response.Response.Header.Get("x-amz-bucket-region")
	}
	return response.HTTPStatusCode(), region
}

// ours is about a bucket that account B has.
func ours(ctx context.Context, a *asking) []Finding {
	name := &a.config.Deploy.Artifacts.BucketName
	s, err := a.stack()
	if err != nil {
		return []Finding{a.unchecked(name, describeStacks, err)}
	}
	if s.exists && s.outputs["ArtifactBucketName"] == *name {
		return nil
	}
	switch owner, err := stackOf(ctx, a, *name); {
	case err != nil:
		return []Finding{a.unchecked(name, "cloudformation:DescribeStackResources", err)}
	case owner == a.stackName():
		return nil
	case owner != "":
		return []Finding{a.wrong(name, quote(*name)+", which belongs to the stack "+quote(owner), "a name that is free", "choose another bucketName: a bucket has one stack")}
	}
	return []Finding{a.wrong(name, quote(*name)+", a bucket of account "+a.accountID()+" that no stack has: left over from an earlier one", "a name that is free",
		"keep what is in it and choose another bucketName; or, when nothing in it is needed any more, empty it with all versions and remove it: "+
			"aws s3api delete-bucket --bucket "+*name+" --expected-bucket-owner "+a.accountID())}
}

// refused tells somebody else's bucket from one's own that may not be listed.
func refused(ctx context.Context, a *asking, refusal error) []Finding {
	name := &a.config.Deploy.Artifacts.BucketName
	out, err := ask(ctx, a, a.Buckets.ListBuckets, &s3.ListBucketsInput{Prefix: name, BucketRegion: &a.config.Region})
	if err != nil {
		return []Finding{a.unknown(name, "the name is taken, by somebody else or by account %s itself; to tell, it needs s3:ListBucket or s3:ListAllMyBuckets there (%s)", a.accountID(), said(err))}
	}
	for _, bucket := range out.Buckets {
		if aws.ToString(bucket.Name) == *name {
			return ours(ctx, a)
		}
	}
	return []Finding{a.wrong(name, quote(*name)+", which belongs to somebody else", "a name that is free in all of AWS", "choose another bucketName")}
}
