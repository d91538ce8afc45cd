package awstest

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"gitlab-codedeploy/internal/calls"
)

// About are the ARNs of what a call is about, as IAM sees them; none for what IAM knows no resource of, or this package.
// region and account are those that the call is made in.
func About(call calls.Call, region, account string) []string {
	arn := func(service, resource string) string {
		return "arn:aws:" + service + ":" + region + ":" + account + ":" + resource
	}
	object := func(bucket, key *string) []string {
		return []string{strings.TrimSuffix("arn:aws:s3:::"+aws.ToString(bucket)+"/"+aws.ToString(key), "/")}
	}
	queue := func(url *string) []string {
		return []string{arn("sqs", aws.ToString(url)[strings.LastIndex(aws.ToString(url), "/")+1:])}
	}
	document := func(name *string) string {
		if strings.HasPrefix(aws.ToString(name), "AWS-") {
			return "arn:aws:ssm:" + region + "::document/" + *name
		}
		return arn("ssm", "document/"+aws.ToString(name))
	}
	switch in := call.Input.(type) {
	case *ssm.SendCommandInput:
		found := []string{document(in.DocumentName)}
		for _, id := range in.InstanceIds {
			found = append(found, arn("ec2", "instance/"+id))
		}
		return found
	case *ssm.StartSessionInput:
		name := in.DocumentName
		if name == nil {
			name = aws.String("SSM-SessionManagerRunShell")
		}
		return []string{document(name), arn("ec2", "instance/"+aws.ToString(in.Target))}
	case *ssm.GetParameterInput:
		return []string{arn("ssm", "parameter/"+strings.TrimPrefix(aws.ToString(in.Name), "/"))}
	case *ssm.DeleteParameterInput:
		return []string{arn("ssm", "parameter/"+strings.TrimPrefix(aws.ToString(in.Name), "/"))}
	case *s3.GetObjectInput:
		return object(in.Bucket, in.Key)
	case *s3.HeadObjectInput:
		return object(in.Bucket, in.Key)
	case *s3.PutObjectInput:
		return object(in.Bucket, in.Key)
	case *s3.DeleteObjectInput:
		return object(in.Bucket, in.Key)
	case *s3.ListObjectsV2Input:
		return object(in.Bucket, nil)
	case *s3.HeadBucketInput:
		return object(in.Bucket, nil)
	case *sqs.GetQueueAttributesInput:
		return queue(in.QueueUrl)
	case *sqs.ReceiveMessageInput:
		return queue(in.QueueUrl)
	case *sqs.StartMessageMoveTaskInput:
		return given(in.SourceArn)
	case *sqs.ListMessageMoveTasksInput:
		return given(in.SourceArn)
	case *lambda.InvokeInput:
		name := aws.ToString(in.FunctionName)
		if strings.HasPrefix(name, "arn:") {
			return []string{name}
		}
		return []string{arn("lambda", "function:"+name)}
	}
	return nil
}

func given(arn *string) []string {
	if arn == nil {
		return nil
	}
	return []string{*arn}
}
