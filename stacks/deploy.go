package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"gitlab-codedeploy/constructs"
	"gitlab-codedeploy/internal/config"
)

// NewDeploy defines the stack of account B, "Deploy-<environment>": the
// artifact bucket, the trigger of deployments, and what tells how they go.
// CodeDeploy's applications and groups exist already and are not part of it.
// root is the folder of the project.
func NewDeploy(app awscdk.App, cfg config.Config, root string) awscdk.Stack {
	deploy := cfg.Deploy
	stack := newStack(app, "Deploy", deploy.Account, "Artifact bucket, deployment trigger, states and alarms", cfg)

	// Known only once account A is deployed; "scripts/ops deploy" passes it.
	sourceVPCEndpoint := awscdk.NewCfnParameter(stack, jsii.String("SourceVpceId"), &awscdk.CfnParameterProps{
		Type:                  jsii.String("String"),
		Description:           jsii.String("Account A's S3 gateway endpoint, output S3EndpointId of GitLab-" + cfg.Environment),
		AllowedPattern:        jsii.String("^vpce-[0-9a-f]{8,17}$"),
		ConstraintDescription: jsii.String("must be the id of a VPC endpoint, such as vpce-0123456789abcdef0"),
	})

	logs := constructs.NewLogBucket(stack, "AccessLogs", constructs.LogBucketProps{
		RetentionDays: deploy.LogRetentionDays,
	})
	trigger := constructs.NewDeployTrigger(stack, "Trigger", constructs.DeployTriggerProps{
		Root:                   root,
		BucketName:             deploy.Artifacts.BucketName,
		Prefix:                 deploy.Artifacts.Prefix,
		DeploymentGroups:       deploymentGroups(deploy),
		GitLabURL:              cfg.GitLab.URL(),
		Keys:                   keys(cfg),
		KeyIDs:                 cfg.Keys.IDs(),
		LogRetentionDays:       deploy.LogRetentionDays,
		LongestDeploymentHours: deploy.LongestDeploymentHours,
	})
	status := constructs.NewDeploymentStatus(stack, "Status", constructs.DeploymentStatusProps{
		Root:             root,
		BucketName:       deploy.Artifacts.BucketName,
		Prefix:           deploy.Artifacts.Prefix,
		DeploymentGroups: deploymentGroups(deploy),
		LogRetentionDays: deploy.LogRetentionDays,
		Trigger:          trigger,
	})
	monitoring := constructs.NewMonitoring(stack, "Monitoring", constructs.MonitoringProps{
		Trigger:                trigger,
		Status:                 status,
		LongestDeploymentHours: deploy.LongestDeploymentHours,
		Email:                  deploy.AlarmEmail,
	})
	artifacts := constructs.NewArtifactBucket(stack, "Artifacts", constructs.ArtifactBucketProps{
		Name:                deploy.Artifacts.BucketName,
		Prefix:              deploy.Artifacts.Prefix,
		ReplacedVersionDays: deploy.Artifacts.ReplacedVersionDays,
		StatusDays:          deploy.StatusRetentionDays,
		UploaderAccount:     cfg.GitLab.Account,
		SourceVPCEndpoint:   sourceVPCEndpoint.ValueAsString(),
		Readers:             artifactReaders(deploy, cfg.Region),
		TokenReader:         trigger.Function.Role(),
		Notify:              trigger.Queue,
		AccessLogs:          logs.Bucket,
		OpenAfter:           *stack.Node().Children(),
	})
	if cfg.Pipeline != nil {
		constructs.NewPipelineAccess(stack, "PipelineAccess", pipelineAccessProps(cfg))
	}

	output(stack, "ArtifactBucketName", artifacts.Bucket.BucketName(), "Bucket that jobs upload to")
	output(stack, "QueueUrl", trigger.Queue.QueueUrl(), "Queue of uploaded artifacts")
	output(stack, "DeadLetterQueueUrl", trigger.DeadLetterQueue.QueueUrl(), "Queue of artifacts that could not be deployed")
	output(stack, "TriggerFunctionName", trigger.Function.FunctionName(), "Function that starts deployments")
	output(stack, "StatusFunctionName", status.Function.FunctionName(), "Function that writes the state of deployments")
	output(stack, "StatusDeadLetterQueueUrl", status.DeadLetterQueue.QueueUrl(), "Queue of state changes that could not be written")
	output(stack, "AlarmTopicArn", monitoring.Topic.TopicArn(), "Topic that alarms are sent to")
	return stack
}

// artifactReaders are those of the applications that have any.
func artifactReaders(deploy config.Deploy, region string) []constructs.ArtifactReaders {
	var readers []constructs.ArtifactReaders
	for _, application := range deploy.Applications {
		if roles := deploy.ReaderRoleARNs(region, application); len(roles) > 0 {
			readers = append(readers, constructs.ArtifactReaders{KeyPrefix: deploy.KeyPrefix(application.Name), RoleARNs: roles})
		}
	}
	return readers
}

func deploymentGroups(deploy config.Deploy) []constructs.DeploymentGroup {
	groups := make([]constructs.DeploymentGroup, 0, len(deploy.DeploymentGroups))
	for _, g := range deploy.DeploymentGroups {
		group := constructs.DeploymentGroup{
			Application: g.Application, DeploymentGroup: g.DeploymentGroup,
			AnyProject: g.Projects.Any, Refs: g.Refs, UnprotectedRefs: !g.RequireProtectedRef,
		}
		for _, p := range g.Projects.List {
			group.Projects = append(group.Projects, constructs.GitLabProject(p))
		}
		groups = append(groups, group)
	}
	return groups
}

// keys is the file of GitLab's keys, or nothing before there is one.
func keys(cfg config.Config) []byte {
	if len(cfg.Keys) == 0 {
		return nil
	}
	return cfg.Keys.Encode()
}
