package test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kept tells whether a resource outlives its stack and its replacement; both
// policies say so, and one of them lets go of what a failed creation has made.
func kept(r resource) bool {
	return (r.DeletionPolicy == "Retain" || r.DeletionPolicy == "RetainExceptOnCreate") && r.UpdateReplacePolicy == "Retain"
}

// each runs check on every resource of a type, in every stack of staging, and
// fails when neither stack has one.
func each(t *testing.T, typ string, check func(t *testing.T, tpl template, id string, r resource)) {
	t.Helper()
	gitlab, deploy := synthesiseStaging(t)
	found := 0
	for _, tpl := range []template{gitlab, deploy} {
		for id, r := range tpl.Resources {
			if r.Type == typ {
				found++
				t.Run(id, func(t *testing.T) { check(t, tpl, id, r) })
			}
		}
	}
	require.NotZero(t, found, "no %s in any stack", typ)
}

func TestS9_S10_everyBucketIsPrivateEncryptedAndKept(t *testing.T) {
	each(t, "AWS::S3::Bucket", func(t *testing.T, tpl template, id string, r resource) {
		assert.True(t, kept(r))
		assert.NotNil(t, at(r.Properties, "BucketEncryption", "ServerSideEncryptionConfiguration", 0, "ServerSideEncryptionByDefault", "SSEAlgorithm"))
		for _, block := range []string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"} {
			assert.Equal(t, true, at(r.Properties, "PublicAccessBlockConfiguration", block), block)
		}
		assert.Equal(t, "BucketOwnerEnforced", at(r.Properties, "OwnershipControls", "Rules", 0, "ObjectOwnership"))
		assert.NotNil(t, at(r.Properties, "LifecycleConfiguration", "Rules", 0, "AbortIncompleteMultipartUpload"))

		refusals := 0
		for _, p := range tpl.Resources {
			if p.Type != "AWS::S3::BucketPolicy" || at(p.Properties, "Bucket", "Ref") != id {
				continue
			}
			for _, s := range statements(p.Properties["PolicyDocument"]) {
				if s["Effect"] == "Deny" && at(s, "Condition", "Bool", "aws:SecureTransport") == "false" {
					refusals++
				}
			}
		}
		assert.Equal(t, 1, refusals, "one statement refuses plain HTTP")
	})
}

func TestS9_S10_everyBucketOfDataIsVersionedAndLogged(t *testing.T) {
	logs := 0
	each(t, "AWS::S3::Bucket", func(t *testing.T, _ template, id string, r resource) {
		if strings.HasPrefix(id, "AccessLogs") {
			logs++
			return
		}
		assert.Equal(t, "Enabled", at(r.Properties, "VersioningConfiguration", "Status"))
		assert.NotNil(t, at(r.Properties, "LoggingConfiguration", "DestinationBucketName"))
	})
	assert.Equal(t, 2, logs, "one bucket of logs a stack")
}

func TestS5_everyVolumeIsEncrypted(t *testing.T) {
	each(t, "AWS::EC2::Volume", func(t *testing.T, _ template, _ string, r resource) {
		assert.Equal(t, true, r.Properties["Encrypted"])
		assert.Equal(t, "gp3", r.Properties["VolumeType"])
		assert.True(t, kept(r))
	})
	each(t, "AWS::EC2::Instance", func(t *testing.T, _ template, _ string, r resource) {
		devices := list(r.Properties["BlockDeviceMappings"])
		require.NotEmpty(t, devices, "the image's own root volume is not encrypted")
		for _, device := range devices {
			assert.Equal(t, true, at(device, "Ebs", "Encrypted"))
			assert.Equal(t, "gp3", at(device, "Ebs", "VolumeType"))
		}
	})
}

func TestS5_everyInstanceIsReachedThroughSessionManagerOnly(t *testing.T) {
	each(t, "AWS::EC2::Instance", func(t *testing.T, tpl template, _ string, r resource) {
		assert.Nil(t, r.Properties["KeyName"])
		assert.Nil(t, r.Properties["NetworkInterfaces"], "an interface of its own could ask for a public address")
		assert.Equal(t, "required", at(r.Properties, "MetadataOptions", "HttpTokens"))
		subnet, _ := at(r.Properties, "SubnetId", "Ref").(string)
		assert.Contains(t, tpl.Resources, subnet)
		assert.Equal(t, "gitlab", tagOf(tpl.Resources[subnet], "Name"))
	})
}

func TestS5_noInstanceHasUserData(t *testing.T) {
	each(t, "AWS::EC2::Instance", func(t *testing.T, _ template, _ string, r resource) {
		assert.NotContains(t, r.Properties, "UserData", "a changed script would stop or replace the server")
		assert.Regexp(t, `^ami-[0-9a-f]+$`, r.Properties["ImageId"], "an image that CloudFormation looks up changes by itself")
	})
}

func TestS1_noSubnetGivesPublicAddresses(t *testing.T) {
	each(t, "AWS::EC2::Subnet", func(t *testing.T, _ template, _ string, r resource) {
		assert.Equal(t, false, r.Properties["MapPublicIpOnLaunch"])
	})
}

func TestS4_nothingIsOpenToTheWorldButTheLoadBalancer(t *testing.T) {
	cfg := staging(t)
	cfg.GitLab.Server.Version, cfg.GitLab.LoadBalancer.AllowedRanges = "18.11.13", []string{"0.0.0.0/0"}
	open := synthesiseGitLab(t, cfg)
	closed, _ := synthesiseStaging(t)

	assert.Empty(t, worldIngress(closed))
	assert.ElementsMatch(t, []string{
		"Load balancer: HTTP and HTTPS from the allowed ranges:80",
		"Load balancer: HTTP and HTTPS from the allowed ranges:443",
	}, worldIngress(open))
}

// worldIngress returns "group description:port" of each rule that lets the
// whole world in.
func worldIngress(tpl template) []string {
	var found []string
	note := func(group, rule any) {
		if at(rule, "CidrIp") == "0.0.0.0/0" || at(rule, "CidrIpv6") == "::/0" {
			found = append(found, text(group)+":"+text(at(rule, "FromPort")))
		}
	}
	for _, r := range tpl.Resources {
		switch r.Type {
		case "AWS::EC2::SecurityGroup":
			for _, rule := range list(r.Properties["SecurityGroupIngress"]) {
				note(r.Properties["GroupDescription"], rule)
			}
		case "AWS::EC2::SecurityGroupIngress":
			note(r.Properties["GroupId"], r.Properties)
		}
	}
	return found
}

func TestS4_noRuleOpensSSH(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	rules := 0
	for id, r := range gitlab.Resources {
		var ingress []any
		switch r.Type {
		case "AWS::EC2::SecurityGroup":
			ingress = list(r.Properties["SecurityGroupIngress"])
		case "AWS::EC2::SecurityGroupIngress":
			ingress = []any{r.Properties}
		}
		for _, rule := range ingress {
			rules++
			assert.NotEqual(t, "-1", at(rule, "IpProtocol"), id)
			from, _ := at(rule, "FromPort").(float64)
			to, _ := at(rule, "ToPort").(float64)
			assert.False(t, from <= 22 && 22 <= to, "%s opens port 22", id)
		}
	}
	assert.NotZero(t, rules)
}

func TestS14_everyQueueIsEncryptedAndRefusesPlainHTTP(t *testing.T) {
	each(t, "AWS::SQS::Queue", func(t *testing.T, tpl template, id string, r resource) {
		assert.Equal(t, true, r.Properties["SqsManagedSseEnabled"])
		refused := false
		for _, p := range tpl.Resources {
			if p.Type != "AWS::SQS::QueuePolicy" || at(p.Properties, "Queues", 0, "Ref") != id {
				continue
			}
			for _, s := range statements(p.Properties["PolicyDocument"]) {
				refused = refused || s["Effect"] == "Deny" && at(s, "Condition", "Bool", "aws:SecureTransport") == "false"
			}
		}
		assert.True(t, refused)
	})
}

func TestS14_everyLogHasAnEndAndOutlivesItsStack(t *testing.T) {
	each(t, "AWS::Logs::LogGroup", func(t *testing.T, _ template, _ string, r resource) {
		assert.NotZero(t, r.Properties["RetentionInDays"])
		assert.True(t, kept(r))
	})
}

func TestS13_S14_noRoleHasAWildcardAction(t *testing.T) {
	check := func(t *testing.T, document any) {
		for _, s := range statements(document) {
			if s["Effect"] != "Allow" {
				continue
			}
			assert.NotContains(t, s, "NotAction")
			assert.NotContains(t, s, "NotResource")
			for _, action := range list(s["Action"]) {
				assert.NotContains(t, action, "*", "%v", s)
			}
			// It knows no resources, and is held to a namespace instead.
			if text(s["Action"]) == "cloudwatch:PutMetricData" {
				namespace := at(s, "Condition", "StringEquals", "cloudwatch:namespace")
				assert.Equal(t, map[string]any{"StringEquals": map[string]any{"cloudwatch:namespace": namespace}}, s["Condition"])
				assert.Regexp(t, `^GitLabCodeDeploy(/staging/(server|runner))?$`, namespace)
				continue
			}
			for _, what := range list(s["Resource"]) {
				assert.True(t, what != "*" || onlyLooks(s), "%v", s)
			}
		}
	}
	each(t, "AWS::IAM::Policy", func(t *testing.T, _ template, _ string, r resource) {
		check(t, r.Properties["PolicyDocument"])
	})
	each(t, "AWS::IAM::Role", func(t *testing.T, _ template, _ string, r resource) {
		for _, p := range list(r.Properties["Policies"]) {
			check(t, at(p, "PolicyDocument"))
		}
		for _, arn := range list(r.Properties["ManagedPolicyArns"]) {
			assert.Contains(t, text(arn), "AmazonSSMManagedInstanceCore", "the only policy of AWS's own that is used")
		}
	})
	each(t, "AWS::S3::BucketPolicy", func(t *testing.T, _ template, _ string, r resource) {
		check(t, r.Properties["PolicyDocument"])
	})
	each(t, "AWS::SQS::QueuePolicy", func(t *testing.T, _ template, _ string, r resource) {
		check(t, r.Properties["PolicyDocument"])
	})
}

// onlyLooks tells whether a statement allows nothing but what reads, and knows
// no narrower resource.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodedeploy.html
func onlyLooks(statement map[string]any) bool {
	for _, action := range list(statement["Action"]) {
		switch action {
		case "ec2:DescribeSnapshots", "ec2:DescribeTags", "ec2:DescribeVolumes", "tag:GetResources",
			"codedeploy:ListDeploymentTargets", "codedeploy:BatchGetDeploymentTargets":
		default:
			return false
		}
	}
	return true
}

func TestS14_theCDKAddsNoFunctionOfItsOwn(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	for _, tpl := range []template{gitlab, deploy} {
		for id, r := range tpl.Resources {
			assert.False(t, strings.HasPrefix(r.Type, "Custom::") || r.Type == "AWS::CloudFormation::CustomResource",
				"%s is a custom resource", id)
		}
	}
	each(t, "AWS::Lambda::Function", func(t *testing.T, _ template, _ string, r resource) {
		assert.Equal(t, "provided.al2023", r.Properties["Runtime"])
		assert.Equal(t, []any{"arm64"}, r.Properties["Architectures"])
	})
}

// namesInNobodysWay are the types whose names stand in the way of nothing: a
// parameter is never replaced, a baseline's name need not be the only one, and an
// association's is that of its document.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CreatePatchBaseline.html
var namesInNobodysWay = map[string]string{
	"AWS::SSM::Parameter":     `^AmazonCloudWatch-gitlab-codedeploy-staging-(server|runner)$`,
	"AWS::SSM::PatchBaseline": `^gitlab-codedeploy-staging-amazon-linux-(2|2023)$`,
	"AWS::SSM::Association":   `^(AWS-RunPatchBaselineWithHooks|AWS-ConfigureAWSPackage|AmazonCloudWatch-ManageAgent|\{"Ref":"[A-Za-z0-9]+"\})$`,
}

// TestS9_onlyTheArtifactBucketAndTheOperationsHaveNames: a fixed name stands in
// the way of a replacement. The bucket's name is needed in both accounts; those
// of the operations' documents in policies, and nothing replaces a document.
func TestS9_onlyTheArtifactBucketAndTheOperationsHaveNames(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	var named []string
	for _, tpl := range []template{gitlab, deploy} {
		for id, r := range tpl.Resources {
			if r.Type == "AWS::SSM::Document" && r.Properties["Name"] != nil {
				assert.Regexp(t, `^gitlab-codedeploy-staging-[a-z-]+$`, r.Properties["Name"])
				assert.Equal(t, "NewVersion", r.Properties["UpdateMethod"], id)
				continue
			}
			if form, ok := namesInNobodysWay[r.Type]; ok {
				assert.Regexp(t, form, text(r.Properties["Name"]), id)
				continue
			}
			for _, key := range []string{"BucketName", "FunctionName", "QueueName", "RoleName", "PolicyName", "LogGroupName", "Name", "GroupName", "LoadBalancerName"} {
				if name, ok := r.Properties[key].(string); ok && !(key == "PolicyName" && r.Type == "AWS::IAM::Policy") {
					named = append(named, id+"."+key+"="+name)
				}
			}
		}
	}
	require.Len(t, named, 1)
	assert.Contains(t, named[0], "BucketName="+staging(t).Deploy.Artifacts.BucketName)
}

func TestS1_S9_bothStacksRefuseToBeDeleted(t *testing.T) {
	assembly := newAppWithStaging(t).Synth(nil)
	for _, stack := range *assembly.Stacks() {
		assert.True(t, *stack.TerminationProtection(), *stack.StackName())
	}
	assert.Len(t, *assembly.Stacks(), 2)
}

func TestEveryResourceThatCanIsTagged(t *testing.T) {
	for _, typ := range []string{"AWS::EC2::Instance", "AWS::EC2::Volume", "AWS::S3::Bucket", "AWS::Lambda::Function"} {
		each(t, typ, func(t *testing.T, _ template, _ string, r resource) {
			assert.Equal(t, "gitlab-codedeploy", tagOf(r, "project"))
			assert.Equal(t, "staging", tagOf(r, "environment"))
		})
	}
}
