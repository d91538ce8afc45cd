package test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// host returns the instance that the given output names, and its role.
func host(t *testing.T, tpl template, output string) (string, resource, resource) {
	t.Helper()
	id, _ := at(tpl.Outputs, output, "Value", "Ref").(string)
	require.Contains(t, tpl.Resources, id)
	instance := tpl.Resources[id]
	profile := tpl.Resources[at(instance.Properties, "IamInstanceProfile", "Ref").(string)]
	role := at(profile.Properties, "Roles", 0, "Ref").(string)
	return id, instance, tpl.Resources[role]
}

func TestS5_theServerHasTheSSMPolicyAndTheConfiguredShape(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	server := staging(t).GitLab.Server
	_, instance, role := host(t, gitlab, "ServerInstanceId")

	assert.Equal(t, server.ImageID, instance.Properties["ImageId"])
	assert.Equal(t, server.InstanceType, instance.Properties["InstanceType"])
	assert.EqualValues(t, server.RootVolumeGiB, at(instance.Properties, "BlockDeviceMappings", 0, "Ebs", "VolumeSize"))
	assert.EqualValues(t, 1, at(instance.Properties, "MetadataOptions", "HttpPutResponseHopLimit"))
	assert.Equal(t, true, gitlab.decided(t, instance.Properties["DisableApiTermination"], protectionOn))
	require.Len(t, role.Properties["ManagedPolicyArns"], 1)
	assert.Contains(t, text(role.Properties["ManagedPolicyArns"]), "AmazonSSMManagedInstanceCore")
}

func TestS5_theDataVolumeIsApartFromTheServer(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	id, _, _ := host(t, gitlab, "ServerInstanceId")
	volume, data := gitlab.one(t, "AWS::EC2::Volume")
	_, attachment := gitlab.one(t, "AWS::EC2::VolumeAttachment")

	assert.EqualValues(t, staging(t).GitLab.Server.DataVolumeGiB, data.Properties["Size"])
	assert.Equal(t, staging(t).GitLab.Network.Zones[0], data.Properties["AvailabilityZone"], "a volume is attached in its own zone only")
	assert.Equal(t, ref(volume), attachment.Properties["VolumeId"])
	assert.Equal(t, ref(id), attachment.Properties["InstanceId"])
}

// TestS5_theDataVolumeHasAKeyOfItsOwn: the construct's own property for a key
// would open it to every IAM policy of the account.
func TestS5_theDataVolumeHasAKeyOfItsOwn(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	_, data := gitlab.one(t, "AWS::EC2::Volume")
	arn := at(gitlab.Outputs, "DataKeyArn", "Value")
	assert.Equal(t, true, data.Properties["Encrypted"])
	assert.Equal(t, arn, data.Properties["KmsKeyId"])
	key := gitlab.Resources[at(arn, "Fn::GetAtt", 0).(string)]
	assert.Equal(t, true, key.Properties["EnableKeyRotation"])
	assert.Contains(t, key.DeletionPolicy, "Retain", "with the key goes everything under it")
	for _, s := range statements(key.Properties["KeyPolicy"]) {
		if strings.Contains(text(s["Principal"]), ":root") {
			assert.Equal(t, "AdministerButNotUse", s["Sid"])
		}
	}

	// A given volume was made under the key, by docs/recovery.md.
	cfg := staging(t)
	cfg.GitLab.Server.DataVolumeID = "vol-0fedcba9876543210"
	given := synthesiseGitLab(t, cfg)
	assert.Equal(t, text(arn), text(at(given.Outputs, "DataKeyArn", "Value")))
}

func TestS5_theRootPasswordIsGeneratedAndOnlyTheServerReadsIt(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	id, secret := gitlab.one(t, "AWS::SecretsManager::Secret")
	assert.EqualValues(t, 32, at(secret.Properties, "GenerateSecretString", "PasswordLength"))
	assert.NotContains(t, secret.Properties, "SecretString")
	assert.True(t, kept(secret))

	var readers []any
	for _, policy := range gitlab.ofType(t, "AWS::IAM::Policy") {
		for _, s := range statements(gitlab.Resources[policy].Properties["PolicyDocument"]) {
			if strings.Contains(text(s["Action"]), "secretsmanager:") {
				assert.Equal(t, ref(id), s["Resource"])
				readers = append(readers, list(gitlab.Resources[policy].Properties["Roles"])...)
			}
		}
	}
	require.Len(t, readers, 1)
	assert.Contains(t, text(readers[0]), "ServerRole")
}

// associationOf returns the association that installs an instance.
func associationOf(t *testing.T, tpl template, instance string) (string, resource) {
	t.Helper()
	for _, id := range tpl.ofType(t, "AWS::SSM::Association") {
		association := tpl.Resources[id].Properties
		if text(at(association, "Targets", 0, "Values", 0)) == text(ref(instance)) && at(association, "Parameters", "SignalUrl") != nil {
			return id, tpl.Resources[id]
		}
	}
	require.Fail(t, "no association", instance)
	return "", resource{}
}

func TestS5_S11_theDeployWaitsForWhatTheInstallScriptsReport(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	for _, output := range []string{"ServerInstanceId", "RunnerInstanceId"} {
		t.Run(output, func(t *testing.T) {
			instance, _, _ := host(t, gitlab, output)
			id, association := associationOf(t, gitlab, instance)
			handle := at(association.Properties, "Parameters", "SignalUrl", 0, "Ref")

			waits := 0
			for _, w := range gitlab.ofType(t, "AWS::CloudFormation::WaitCondition") {
				condition := gitlab.Resources[w]
				if at(condition.Properties, "Handle", "Ref") == handle {
					waits++
					assert.Contains(t, list(condition.DependsOn), id)
				}
			}
			assert.Equal(t, 1, waits)
			assert.Equal(t, "AWS::CloudFormation::WaitConditionHandle", gitlab.Resources[handle.(string)].Type)
		})
	}
}

// TestS5_S11_theInstallScriptsRunWhenTheHostCanDownload: a host that comes up
// before its route, its endpoints or its rights waits for them in vain.
func TestS5_S11_theInstallScriptsRunWhenTheHostCanDownload(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	for _, output := range []string{"ServerInstanceId", "RunnerInstanceId"} {
		instance, _, _ := host(t, gitlab, output)
		_, association := associationOf(t, gitlab, instance)
		types := map[string]int{}
		for _, id := range list(association.DependsOn) {
			types[gitlab.Resources[id.(string)].Type]++
		}
		assert.Equal(t, 1, types["AWS::EC2::Route"], "the way to the package repositories")
		assert.Equal(t, 4, types["AWS::EC2::VPCEndpoint"])
		assert.Equal(t, 2, types["AWS::IAM::Policy"], "its rights, and the hosts' program")
		if output == "ServerInstanceId" {
			assert.Equal(t, 1, types["AWS::EC2::VolumeAttachment"])
		}
	}
}

func TestS5_noParameterOfAnAssociationHoldsASecret(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	for _, id := range gitlab.ofType(t, "AWS::SSM::Association") {
		assert.NotContains(t, text(gitlab.Resources[id].Properties), "resolve:secretsmanager")
	}
}

func TestS11_theRunnerHasAHostAndARoleOfItsOwn(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	runner := staging(t).GitLab.Runner
	server, serverInstance, _ := host(t, gitlab, "ServerInstanceId")
	id, instance, _ := host(t, gitlab, "RunnerInstanceId")

	assert.NotEqual(t, server, id)
	assert.NotEqual(t, serverInstance.Properties["IamInstanceProfile"], instance.Properties["IamInstanceProfile"])
	assert.Equal(t, runner.InstanceType, instance.Properties["InstanceType"])
	assert.EqualValues(t, 1, at(instance.Properties, "MetadataOptions", "HttpPutResponseHopLimit"), "containers are one hop further")
	assert.Equal(t, "required", at(instance.Properties, "MetadataOptions", "HttpTokens"), "hops are counted by version 2 alone")

	group := gitlab.Resources[at(instance.Properties, "SecurityGroupIds", 0, "Fn::GetAtt", 0).(string)]
	assert.Empty(t, list(group.Properties["SecurityGroupIngress"]))
}

func TestS9_jobsMayPutArtifactsAndReadStatesAndNothingElse(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	artifacts := staging(t).Deploy.Artifacts
	granted := grantedTo(t, gitlab, "JobRoleArn")
	bucket := ":s3:::" + artifacts.BucketName
	assert.Contains(t, text(granted[`["s3:AbortMultipartUpload","s3:PutObject"]`]["Resource"]), bucket+"/"+artifacts.Prefix+"*")
	assert.Contains(t, text(granted["s3:PutObject"]["Resource"]), bucket+"/tokens/*")
	assert.Contains(t, text(granted["s3:GetObject"]["Resource"]), bucket+"/deployments/*", "what was put cannot be read")
	list := granted["s3:ListBucket"]
	assert.Equal(t, map[string]any{"StringLike": map[string]any{"s3:prefix": "deployments/*"}}, list["Condition"])
	assert.Len(t, granted, 4)
	role := gitlab.Resources[roleOf(t, gitlab, "JobRoleArn")].Properties
	assert.Nil(t, role["ManagedPolicyArns"])
	assert.Nil(t, role["Policies"])
}

func TestS9_theHostTakesTheRoleOfItsJobsAndHoldsNoneOfItsRights(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	host, jobs := roleOf(t, gitlab, "RunnerRoleArn"), roleOf(t, gitlab, "JobRoleArn")
	trusted := statements(gitlab.Resources[jobs].Properties["AssumeRolePolicyDocument"])
	require.Len(t, trusted, 1)
	assert.Equal(t, "sts:AssumeRole", trusted[0]["Action"])
	assert.Equal(t, map[string]any{"AWS": map[string]any{"Fn::GetAtt": []any{host, "Arn"}}}, trusted[0]["Principal"])
	granted := grantedTo(t, gitlab, "RunnerRoleArn")
	assert.Equal(t, map[string]any{"Fn::GetAtt": []any{jobs, "Arn"}}, granted["sts:AssumeRole"]["Resource"])
	assert.Equal(t, map[string]any{"StringEquals": map[string]any{"cloudwatch:namespace": "GitLabCodeDeploy/staging/runner"}},
		granted["cloudwatch:PutMetricData"]["Condition"], "no other host's metrics")
	assert.Contains(t, granted, `["ssm:DeleteParameter","ssm:GetParameter"]`, "the rest is about the token it registers with: runner_token_test.go")
	assert.NotContains(t, text(granted["s3:GetObject"]["Resource"]), staging(t).Deploy.Artifacts.BucketName, "programs alone")
	assert.Len(t, granted, 4)
}

// TestS13_documentsGiveJobsTheirRole: both that bring it, as a constant.
func TestS13_documentsGiveJobsTheirRole(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	jobs := roleOf(t, gitlab, "JobRoleArn")
	seen := 0
	for _, id := range gitlab.ofType(t, "AWS::SSM::Document") {
		content := text(gitlab.Resources[id].Properties["Content"])
		if strings.Contains(content, "install-program") || strings.Contains(content, "set -- register-runner") {
			seen++
			assert.Regexp(t, `--job-role '",\{"Fn::GetAtt":\["`+jobs+`","Arn"\]\},"'|--job-role '","Fn::GetAtt`, content, id)
		}
	}
	assert.Equal(t, 2, seen)
}

// roleOf is the role of an output.
func roleOf(t *testing.T, gitlab template, output string) string {
	t.Helper()
	id, _ := at(gitlab.Outputs, output, "Value", "Fn::GetAtt", 0).(string)
	require.Equal(t, "AWS::IAM::Role", gitlab.Resources[id].Type, output)
	return id
}

// grantedTo are the statements that allow a role something, by their actions.
func grantedTo(t *testing.T, gitlab template, output string) map[string]map[string]any {
	t.Helper()
	role, granted := roleOf(t, gitlab, output), map[string]map[string]any{}
	for _, id := range gitlab.ofType(t, "AWS::IAM::Policy") {
		policy := gitlab.Resources[id].Properties
		if !strings.Contains(text(policy["Roles"]), `"`+role+`"`) {
			continue
		}
		for _, s := range statements(policy["PolicyDocument"]) {
			if s["Sid"] == "NoOtherParameter" {
				assert.Equal(t, "Deny", s["Effect"])
				assert.Contains(t, text(s["NotResource"]), ":parameter/gitlab-codedeploy/")
				continue
			}
			assert.Equal(t, "Allow", s["Effect"])
			granted[text(s["Action"])] = s
		}
	}
	return granted
}
