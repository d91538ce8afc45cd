// Package stacks maps a configuration onto constructs: one stack an account.
package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	cdkconstructs "github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"gitlab-codedeploy/constructs"
	"gitlab-codedeploy/internal/config"
)

// NewGitLab defines the stack of account A, "GitLab-<environment>": the
// network, the GitLab server behind its load balancer, and the runner. root
// is the folder of the project.
func NewGitLab(app awscdk.App, cfg config.Config, root string) awscdk.Stack {
	gitlab := cfg.GitLab
	stack := newStack(app, "GitLab", gitlab.Account, "GitLab server, load balancer and runner", cfg)
	protected := deletionProtection(stack, cfg)

	breakGlass := gitlab.BreakGlassRoleARNs(cfg.Region)

	logs := constructs.NewLogBucket(stack, "AccessLogs", constructs.LogBucketProps{
		RetentionDays: gitlab.LogRetentionDays,
	})
	backups := constructs.NewBackupBucket(stack, "Backups", constructs.BackupBucketProps{
		KeepDays:           gitlab.Backup.KeepDays,
		DeletedDays:        gitlab.Backup.DeletedDays,
		BreakGlassRoleARNs: breakGlass,
		AccessLogs:         logs.Bucket,
	})
	program := constructs.NewProgram(stack, "ArtifactProgram", constructs.ProgramProps{
		Root:         root,
		Package:      "cmd/artifact",
		Architecture: gitlab.Runner.Architecture(),
	})
	host := constructs.NewHostProgram(stack, "HostProgram", constructs.HostProgramProps{
		Root:          root,
		Region:        cfg.Region,
		Architectures: []string{gitlab.Server.Architecture(), gitlab.Runner.Architecture()},
	})
	network := constructs.NewNetwork(stack, "Network", constructs.NetworkProps{
		CIDR:              gitlab.Network.VPCCIDR,
		Zones:             gitlab.Network.Zones,
		PublicSubnetCIDRs: gitlab.Network.PublicSubnets,
		GitLabSubnetCIDR:  gitlab.Network.GitLabSubnet,
		ArtifactBucket: constructs.BucketOfOthers{
			Name: cfg.Deploy.Artifacts.BucketName, Account: cfg.Deploy.Account, Prefix: cfg.Deploy.Artifacts.Prefix,
		},
		BackupBucket:     backups.Bucket,
		Programs:         append([]*constructs.Program{program}, host.Builds...),
		ReadableBuckets:  gitlab.Network.ReadableBuckets,
		LogRetentionDays: gitlab.LogRetentionDays,
	})
	server := constructs.NewGitLabServer(stack, "Server", constructs.GitLabServerProps{
		Network:            network,
		Program:            host,
		Region:             cfg.Region,
		ImageID:            gitlab.Server.ImageID,
		InstanceType:       gitlab.Server.InstanceType,
		RootVolumeGiB:      gitlab.Server.RootVolumeGiB,
		DataVolumeGiB:      gitlab.Server.DataVolumeGiB,
		BreakGlassRoleARNs: breakGlass,
		DataVolumeID:       gitlab.Server.DataVolumeID,
		Generation:         gitlab.Server.Generation,
		Version:            gitlab.Server.Version,
		Edition:            gitlab.Server.Edition,
		RepositoryURL:      gitlab.Server.PackageRepositoryURL,
		ExternalURL:        "https://" + gitlab.LoadBalancer.DomainName,
		ReadableParameters: []string{constructs.AgentParameter(cfg.Environment, "server")},
		Protected:          protected,
	})
	backups.Serve(server.Role)
	balancer := constructs.NewLoadBalancer(stack, "LoadBalancer", loadBalancerProps(cfg, network, server, logs, protected))
	runner := constructs.NewRunner(stack, "Runner", constructs.RunnerProps{
		Network:            network,
		Program:            host,
		Region:             cfg.Region,
		ImageID:            gitlab.Runner.ImageID,
		InstanceType:       gitlab.Runner.InstanceType,
		RootVolumeGiB:      gitlab.Runner.RootVolumeGiB,
		Version:            gitlab.Runner.Version,
		RepositoryURL:      gitlab.Runner.PackageRepositoryURL,
		ArtifactBucketName: cfg.Deploy.Artifacts.BucketName,
		ArtifactPrefix:     cfg.Deploy.Artifacts.Prefix,
		Generation:         gitlab.Runner.Generation,
	})
	constructs.NewJobProgram(stack, "JobProgram", constructs.JobProgramProps{
		Region:  cfg.Region,
		Program: program,
		Host:    host,
		Runner:  runner,
		Network: network,
	})
	installed := []cdkconstructs.IDependable{server.Installed, runner.Installed}
	snapshots := constructs.NewSnapshots(stack, "Snapshots", constructs.SnapshotsProps{
		Key:                server.DataKey,
		VolumeID:           server.DataVolumeID,
		KeepDays:           gitlab.Server.SnapshotKeepDays,
		BreakGlassRoleARNs: breakGlass,
		After:              installed,
	})
	token := constructs.NewRunnerToken(stack, "RunnerToken", constructs.RunnerTokenProps{
		Environment:        cfg.Environment,
		Region:             cfg.Region,
		ReadableParameters: []string{constructs.AgentParameter(cfg.Environment, "runner")},
		Server:             server.Role,
		Runner:             runner.Role,
	})
	operations := constructs.NewOperations(stack, "Operations", constructs.OperationsProps{
		Environment:      cfg.Environment,
		Program:          host,
		Region:           cfg.Region,
		ExternalURL:      gitlab.URL(),
		BackupBucketName: backups.Bucket.BucketName(),
		RepositoryURL:    gitlab.Server.PackageRepositoryURL,
		RunnerToken:      token,
		Runner:           runner,

		RunnerRepositoryURL: gitlab.Runner.PackageRepositoryURL,
		JobImage:            gitlab.Runner.JobImage,
		JobTags:             gitlab.Runner.Tags,
		ConcurrentJobs:      gitlab.Runner.ConcurrentJobs,
	})
	nightly := constructs.NewNightlyBackup(stack, "NightlyBackup", constructs.NightlyBackupProps{
		Bucket:      backups,
		Server:      server,
		Document:    operations.Documents["backup"],
		Region:      cfg.Region,
		Environment: cfg.Environment,
		Time:        gitlab.Backup.Time,
		KeepDays:    gitlab.Backup.KeepDays,
		After:       installed,
		Email:       gitlab.AlarmEmail,
	})
	if updates := gitlab.SecurityUpdates; updates.Enabled {
		constructs.NewSecurityUpdates(stack, "SecurityUpdates", constructs.SecurityUpdatesProps{
			Program:     host,
			Environment: cfg.Environment,
			Hosts: []constructs.UpdatedHost{
				{Instance: server.Instance, ID: server.InstanceID, System: gitlab.Server.OperatingSystem},
				{Instance: runner.Instance, ID: runner.InstanceID, System: gitlab.Runner.OperatingSystem},
			},
			Day:  updates.Day,
			Time: updates.Time,
		})
	}
	constructs.NewHostMonitoring(stack, "HostMonitoring", constructs.HostMonitoringProps{
		// The alarm of a missing backup was there first, and a topic that moves
		// is another one.
		Topic:        nightly.Topic,
		Environment:  cfg.Environment,
		Network:      network,
		Server:       server,
		Runner:       runner,
		LoadBalancer: balancer,
		Snapshots:    snapshots,
	})
	watch := constructs.NewBackupWatch(stack, "BackupWatch", constructs.BackupWatchProps{
		Root:             root,
		Backups:          backups,
		LogRetentionDays: gitlab.LogRetentionDays,
		Topic:            nightly.Topic,
	})
	if cfg.Pipeline != nil {
		constructs.NewPipelineAccess(stack, "PipelineAccess", pipelineAccessProps(cfg))
	}

	output(stack, "VpcId", network.VPC.VpcId(), "VPC of GitLab")
	output(stack, "S3EndpointId", network.S3Endpoint.VpcEndpointId(), "S3 endpoint that uploads come through; account B's stack needs it")
	output(stack, "ServerInstanceId", server.InstanceID, "GitLab server, for Session Manager")
	output(stack, "RunnerInstanceId", runner.InstanceID, "Runner host, for Session Manager")
	output(stack, "RunnerRoleArn", runner.Role.RoleArn(), "Role of the runner's host")
	output(stack, "JobRoleArn", runner.JobRole.RoleArn(), "Role that jobs hold, and upload with")
	output(stack, "RunnerTokenKeyArn", token.Key.KeyArn(), "Key of the token that a runner registers with")
	output(stack, "RootPasswordSecretArn", server.RootPassword.SecretArn(), "Secret with the first password of GitLab's root user")
	output(stack, "LoadBalancerDnsName", balancer.DNSName, "What the domain name has to point at")
	output(stack, "Url", jsii.String("https://"+gitlab.LoadBalancer.DomainName), "GitLab's address")
	output(stack, "DataVolumeId", server.DataVolumeID, "Volume of everything that GitLab stores")
	output(stack, "DataKeyArn", server.DataKey.KeyArn(), "Key of the data volume and its snapshots")
	output(stack, "SnapshotVaultName", snapshots.VaultName, "Vault of the data volume's daily snapshots")
	output(stack, "BackupBucketName", backups.Bucket.BucketName(), "Bucket of GitLab's backups")
	output(stack, "BackupKeyArn", backups.Key.KeyArn(), "Key of the backups")
	output(stack, "MarkersFunctionName", watch.Function.FunctionName(), "Function that looks at removed backups")
	output(stack, "MarkersDeadLetterQueueUrl", watch.DeadLetterQueue.QueueUrl(), "Queue of removed backups that could not be looked at")
	output(stack, "AlarmTopicArn", nightly.Topic.TopicArn(), "Topic that alarms are sent to")
	return stack
}

// deletionProtection defines the parameter that protects server and load balancer
// from deletion, and returns whether it is on; nil when the configuration wants no
// protection. It is off while the stack is created: what refuses its deletion would
// stop CloudFormation from undoing a creation that fails. "scripts/ops deploy" then
// switches it on, and it stays on.
func deletionProtection(stack awscdk.Stack, cfg config.Config) awscdk.CfnCondition {
	if !cfg.TerminationProtection {
		return nil
	}
	parameter := awscdk.NewCfnParameter(stack, jsii.String("Protection"), &awscdk.CfnParameterProps{
		Type:          jsii.String("String"),
		Description:   jsii.String("Whether server and load balancer refuse to be deleted; off only until the stack has been created"),
		AllowedValues: jsii.Strings("on", "off"),
		Default:       jsii.String("off"),
	})
	return awscdk.NewCfnCondition(stack, jsii.String("Protected"), &awscdk.CfnConditionProps{
		Expression: awscdk.Fn_ConditionEquals(parameter.ValueAsString(), jsii.String("on")),
	})
}

func loadBalancerProps(cfg config.Config, network *constructs.Network, server *constructs.GitLabServer, logs *constructs.LogBucket, protected awscdk.CfnCondition) constructs.LoadBalancerProps {
	balancer := cfg.GitLab.LoadBalancer
	props := constructs.LoadBalancerProps{
		Network:        network,
		Server:         server,
		AllowedRanges:  balancer.AllowedRanges,
		DomainName:     balancer.DomainName,
		CertificateARN: balancer.CertificateARN,
		AccessLogs:     logs.Bucket,
		Protected:      protected,
	}
	if zone := balancer.HostedZone; zone != nil {
		props.HostedZoneID, props.HostedZoneName = zone.ID, zone.Name
	}
	return props
}
