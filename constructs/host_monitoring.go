package constructs

import (
	"encoding/json"
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// HostMonitoringProps configures [NewHostMonitoring].
type HostMonitoringProps struct {
	// Topic is where the alarms go. Required.
	Topic awssns.ITopic

	// Environment is part of the names of parameters and namespaces. Required.
	Environment string

	// Network has to be there before a host can fetch the agent. Required.
	Network *Network

	// Server, Runner, LoadBalancer and Snapshots are what is watched. Required.
	Server       *GitLabServer
	Runner       *Runner
	LoadBalancer *LoadBalancer
	Snapshots    *Snapshots
}

// HostMonitoring is what tells people that GitLab does not answer, that a host
// runs full or is not heard from, and that snapshots fail.
//
//	parameter ──▶ CloudWatch agent on each host ──▶ metrics ──▶ alarms ──▶ topic
//	load balancer, AWS Backup ────────────────────────────────────┘
//
// State Manager installs AWS's agent and configures it, each day anew: an agent
// that has stopped is started again, and one that is old replaced. It lives as
// long as its stack; an agent stays on its host.
type HostMonitoring struct{}

// agentHost is a host as its agent sees it.
type agentHost struct {
	name       string // "server" or "runner"
	instanceID *string
	role       awsiam.Role
	paths      []string // mount points that are measured
}

const (
	rootPath = "/"
	dataPath = "/var/opt/gitlab" // see internal/install
)

// agentNamespace is where a host's metrics stand. Each host has a namespace of
// its own, to which alone its role may write: whoever breaks out of a job has the
// runner's role, and the server's metrics are none of theirs.
func agentNamespace(environment, host string) string {
	return metricNamespace + "/" + environment + "/" + host
}

// AgentParameter is the name of the parameter that a host, "server" or "runner",
// has to be let read: the agent's configuration. AWS's own policies for the
// agent know names that begin so.
func AgentParameter(environment, host string) string {
	return "AmazonCloudWatch-gitlab-codedeploy-" + environment + "-" + host
}

// NewHostMonitoring defines a HostMonitoring under scope.
func NewHostMonitoring(scope constructs.Construct, id string, props HostMonitoringProps) *HostMonitoring {
	scope = constructs.NewConstruct(scope, &id)
	document := agentDocument(scope)
	server := agentHost{"server", props.Server.InstanceID, props.Server.Role, []string{rootPath, dataPath}}
	runner := agentHost{"runner", props.Runner.InstanceID, props.Runner.Role, []string{rootPath}}
	installAgent(scope, "Server", server, document, props)
	installAgent(scope, "Runner", runner, document, props)

	newAlarms(scope, props.Topic, []alarm{
		{
			// No value, too: a target that is stopped or gone is neither healthy
			// nor unhealthy. https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
			id: "GitLabNotAnswering", metric: props.LoadBalancer.HealthyServers, below: 1, periods: 10, missing: isBad, end: true,
			description: "GitLab has not answered the load balancer for ten minutes: scripts/ops status, then scripts/ops connect and gitlab-ctl status",
		},
		{
			id: "DataVolumeFilling", metric: server.disk(props, dataPath), above: fullPercent, periods: 3, missing: isUnknown, end: true,
			description: "The volume of GitLab's data is more than four fifths full: raise gitlab.server.dataVolumeGiB, deploy, and grow the file system",
		},
		{
			id: "ServerRootFilling", metric: server.disk(props, rootPath), above: fullPercent, periods: 3, missing: isUnknown, end: true,
			description: "The server's root volume is more than four fifths full: look for logs and packages that nobody needs",
		},
		{
			id: "ServerMemoryShort", metric: server.memory(props, "Average"), above: shortPercent, periods: 3, missing: isUnknown, end: true,
			description: "The server's memory has been nearly used up for fifteen minutes: a larger gitlab.server.instanceType, or fewer workers",
		},
		{
			id: "ServerSilent", metric: server.memory(props, "SampleCount"), below: 1, periods: 6, missing: isBad, end: true,
			description: "Nothing has been heard from the server's agent for half an hour: scripts/ops check says whether the server is reached",
		},
		{
			id: "RunnerRootFilling", metric: runner.disk(props, rootPath), above: fullPercent, periods: 3, missing: isUnknown, end: true,
			description: "The runner's volume is more than four fifths full: docker system prune, or a larger gitlab.runner.rootVolumeGiB",
		},
		{
			id: "RunnerMemoryShort", metric: runner.memory(props, "Average"), above: shortPercent, periods: 3, missing: isUnknown, end: true,
			description: "The runner's memory has been nearly used up for fifteen minutes: a larger gitlab.runner.instanceType, or fewer jobs at once",
		},
		{
			id: "RunnerSilent", metric: runner.memory(props, "SampleCount"), below: 1, periods: 6, missing: isBad, end: true,
			description: "Nothing has been heard from the runner's agent for half an hour: scripts/ops check says whether the host is reached",
		},
		{
			id: "SnapshotFailed", metric: props.Snapshots.jobs("Failed", 5), missing: isFine,
			description: "A snapshot of the data volume failed: the job in AWS Backup says why",
		},
		{
			id: "SnapshotAborted", metric: props.Snapshots.jobs("Aborted", 5), missing: isFine,
			description: "A snapshot of the data volume was stopped: the job in AWS Backup says why",
		},
		{
			id: "SnapshotExpired", metric: props.Snapshots.jobs("Expired", 5), missing: isFine,
			description: "A snapshot of the data volume did not begin or end in time: the job in AWS Backup says why",
		},
		{
			// A day, an hour to begin in, and what a snapshot may take longer
			// than the one before.
			id: "SnapshotMissing", metric: props.Snapshots.jobs("Completed", 60), below: 1, periods: missingSnapshotHours, missing: isBad, end: true,
			description: fmt.Sprintf("No snapshot of the data volume was completed for %d hours: look at the backup plan and its jobs in AWS Backup", missingSnapshotHours),
		},
	})
	return &HostMonitoring{}
}

const (
	fullPercent          = 80
	shortPercent         = 90
	missingSnapshotHours = 30
)

// The agent's metrics, as its configuration below makes them.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/metrics-collected-by-CloudWatch-agent.html
func (h agentHost) disk(props HostMonitoringProps, path string) awscloudwatch.IMetric {
	return metricOf(agentNamespace(props.Environment, h.name), "disk_used_percent", "Average", 5,
		map[string]*string{"InstanceId": h.instanceID, "path": &path})
}

func (h agentHost) memory(props HostMonitoringProps, statistic string) awscloudwatch.IMetric {
	return metricOf(agentNamespace(props.Environment, h.name), "mem_used_percent", statistic, 5,
		map[string]*string{"InstanceId": h.instanceID})
}

// agentConfiguration returns the configuration of a host's agent. A file
// system's metric has its type as a dimension, which an alarm cannot know: it is
// sent with instance and path alone. Nothing else is measured, for each metric
// costs. https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Agent-Configuration-File-Details.html
func agentConfiguration(environment string, h agentHost) string {
	text, err := json.Marshal(map[string]any{
		// Not root: whoever may read the mount points may measure them.
		"agent": map[string]any{"metrics_collection_interval": 60, "run_as_user": "cwagent"},
		"metrics": map[string]any{
			"namespace":              agentNamespace(environment, h.name),
			"append_dimensions":      map[string]any{"InstanceId": "${aws:InstanceId}"},
			"aggregation_dimensions": [][]string{{"InstanceId", "path"}},
			"metrics_collected": map[string]any{
				"disk": map[string]any{
					"resources": h.paths, "measurement": []string{"used_percent"},
					"drop_device": true, "drop_original_metrics": []string{"used_percent"},
				},
				"mem": map[string]any{"measurement": []string{"used_percent"}},
			},
		},
	})
	if err != nil {
		panic(err) // It is made of texts.
	}
	return string(text)
}

// installAgent defines what brings the agent to a host, and what it may do there.
func installAgent(scope constructs.Construct, id string, h agentHost, document awsssm.CfnDocument, props HostMonitoringProps) {
	name := AgentParameter(props.Environment, h.name)
	parameter := awsssm.NewCfnParameter(scope, jsii.String(id+"Configuration"), &awsssm.CfnParameterProps{
		Name:        &name,
		Type:        jsii.String("String"),
		Description: jsii.String("Configuration of the CloudWatch agent on the " + h.name + " of " + props.Environment),
		Value:       jsii.String(agentConfiguration(props.Environment, h)),
	})
	measure := allow("Measure", []*string{jsii.String("*")}, "cloudwatch:PutMetricData")
	measure.AddCondition(jsii.String("StringEquals"), map[string]any{"cloudwatch:namespace": agentNamespace(props.Environment, h.name)})
	policy := awsiam.NewPolicy(scope, jsii.String(id+"Rights"), &awsiam.PolicyProps{
		Roles:      &[]awsiam.IRole{h.role},
		Statements: &[]awsiam.PolicyStatement{measure},
	})
	acknowledge(policy, finding{
		rule:      "AwsSolutions-IAM5",
		appliesTo: []string{"Resource::*"},
		reason:    "PutMetricData knows no resources; the condition holds it to the host's own namespace.",
	})

	association := awsssm.NewCfnAssociation(scope, jsii.String(id+"Agent"), &awsssm.CfnAssociationProps{
		Name:               document.Ref(),
		ScheduleExpression: jsii.String("rate(1 day)"),
		Parameters:         map[string]any{"Configuration": []*string{parameter.Ref()}},
		Targets: []any{&awsssm.CfnAssociation_TargetProperty{
			Key:    jsii.String("InstanceIds"),
			Values: &[]*string{h.instanceID},
		}},
	})
	// A first run that fails for a missing right is repeated after a day only.
	for _, dependency := range append([]constructs.IDependable{policy, h.role}, props.Network.Egress...) {
		association.Node().AddDependency(dependency)
	}
}

// agentDocument defines the document that installs the agent and then gives it
// its configuration: two of AWS's own, one after the other. Two associations
// would not wait for each other.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/installing-cloudwatch-agent-ssm.html
func agentDocument(scope constructs.Construct) awsssm.CfnDocument {
	step := func(name, document string, parameters map[string]any) map[string]any {
		return map[string]any{"action": "aws:runDocument", "name": name, "inputs": map[string]any{
			"documentType": "SSMDocument", "documentPath": document, "documentParameters": parameters,
		}}
	}
	return awsssm.NewCfnDocument(scope, jsii.String("AgentDocument"), &awsssm.CfnDocumentProps{
		DocumentType:   jsii.String("Command"),
		DocumentFormat: jsii.String("JSON"),
		TargetType:     jsii.String("/AWS::EC2::Instance"),
		UpdateMethod:   jsii.String("NewVersion"),
		Content: map[string]any{
			"schemaVersion": "2.2",
			"description":   "Install AWS's CloudWatch agent, or its newest version, and start it with a configuration",
			"parameters": map[string]any{"Configuration": map[string]any{
				"type": "String", "description": "Parameter that holds the agent's configuration", "allowedPattern": "^AmazonCloudWatch-[A-Za-z0-9._-]{1,200}$",
			}},
			"mainSteps": []any{
				step("install", "AWS-ConfigureAWSPackage", map[string]any{"action": "Install", "name": "AmazonCloudWatchAgent"}),
				step("configure", "AmazonCloudWatch-ManageAgent", map[string]any{
					"action": "configure", "mode": "ec2", "optionalRestart": "yes",
					"optionalConfigurationSource": "ssm", "optionalConfigurationLocation": "{{ Configuration }}",
				}),
			},
		},
	})
}
