package doctor

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/preflight"
)

// Calls are those of all checks, in each account. The keys of GitLab are asked for by Systems Manager.
func Calls() map[account.Side][]string {
	return map[account.Side][]string{
		account.GitLab: append(preflight.Actions(preflight.A), "ssm:GetParameter", "cloudformation:ListStackResources", "acm:DescribeCertificate",
			"ssm:DescribeInstanceInformation", "ec2:DescribeInstances", "ec2:DescribeVpcEndpoints", "iam:GetInstanceProfile", "iam:ListAttachedRolePolicies",
			"elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth",
			"s3:ListObjectsV2", "s3:GetObject", "iam:SimulatePrincipalPolicy"),
		account.Deploy: append(preflight.Actions(preflight.B), "ssm:GetParameter", "s3:GetBucketPolicy", "iam:SimulatePrincipalPolicy"),
	}
}

// pathStyle keeps a bucket's name out of the host's, where an endpoint of one's own would need a name server for it.
func pathStyle(o *s3.Options) { o.UsePathStyle = aws.ToString(o.BaseEndpoint) != "" }
