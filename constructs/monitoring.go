package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// MonitoringProps configures [NewMonitoring].
type MonitoringProps struct {
	// Trigger and Status are what is watched. Required.
	Trigger *DeployTrigger
	Status  *DeploymentStatus

	// LongestDeploymentHours is after how many hours an artifact has waited
	// too long. Required.
	LongestDeploymentHours int

	// Email receives the alarms, once it has confirmed. Without it, the topic
	// has no subscriber.
	Email string
}

// Monitoring is what tells people that an artifact is stuck or lost, or a
// deployment failed: alarms, and the topic that they go to. It lives as long as
// its stack.
type Monitoring struct {
	Topic awssns.Topic
}

// metricNamespace is that of the functions' own metrics, which they write to
// their logs in CloudWatch's embedded metric format.
const metricNamespace = "GitLabCodeDeploy"

// NewMonitoring defines a Monitoring under scope.
func NewMonitoring(scope constructs.Construct, id string, props MonitoringProps) *Monitoring {
	scope = constructs.NewConstruct(scope, &id)
	topic := newAlarmTopic(scope, props.Email)

	every := func(minutes int, statistic string) *awscloudwatch.MetricOptions {
		return &awscloudwatch.MetricOptions{Period: awscdk.Duration_Minutes(jsii.Number(minutes)), Statistic: &statistic}
	}
	waiting := func(queue awssqs.Queue) awscloudwatch.IMetric {
		return queue.MetricApproximateNumberOfMessagesVisible(every(5, "Maximum"))
	}
	own := func(function awslambda.Function, name, statistic string, minutes int) awscloudwatch.IMetric {
		return metricOf(metricNamespace, name, statistic, minutes, map[string]*string{"FunctionName": function.FunctionName()})
	}
	trigger, status := props.Trigger.Function, props.Status.Function
	newAlarms(scope, topic, []alarm{
		{
			id: "ArtifactsLost", metric: waiting(props.Trigger.DeadLetterQueue), missing: isFine,
			description: "Artifacts could not be deployed and wait in the dead-letter queue: fix the cause, then scripts/ops redrive",
		},
		{
			// The function measures it each time that it puts an upload back,
			// at least every five minutes. SQS's own age leaves out what has been
			// received three times.
			id: "ArtifactsWaitLong", metric: own(trigger, "WaitingSeconds", "Maximum", 15), missing: isFine,
			above:       float64(props.LongestDeploymentHours * 60 * 60),
			description: "An artifact waits longer than the longest deployment should take: look at its deployment group",
		},
		{
			id: "ArtifactsRejected", metric: own(trigger, "UploadsRejected", "Sum", 5), missing: isFine,
			description: "An artifact was rejected for good: the job's log and the trigger's log say what to change",
		},
		{
			id: "UploadsRefused", metric: own(trigger, "UploadsRefused", "Sum", 5), missing: isFine,
			description: "An upload was refused, as nobody has proven that he may deploy it: the trigger's log says which rule failed, and what came",
		},
		{
			// One that fails is tried at least every five minutes. What passes
			// within five minutes needs nobody.
			id: "UploadsFail", metric: own(trigger, "UploadsFailed", "Sum", 5), periods: 3, missing: isFine,
			description: "Artifacts cannot be deployed for ten minutes, by a missing right or a fault of AWS: the trigger's log says which",
		},
		{
			id: "DeploymentsFailed", metric: own(status, "DeploymentsFailed", "Sum", 5), missing: isFine,
			description: "A deployment failed: its job is red and has the reason, and CodeDeploy the instances' logs",
		},
		{
			// Messages that wait for a busy group are not visible. A visible one
			// is taken within seconds, unless nobody asks for it.
			id: "TriggerIdle", metric: props.Trigger.Queue.MetricApproximateNumberOfMessagesVisible(every(5, "Minimum")), periods: 3, missing: isFine,
			description: "Uploads wait, and the trigger does not take them: look whether its event source mapping is enabled",
		},
		{
			id: "TriggerThrottled", metric: trigger.MetricThrottles(every(5, "Sum")), periods: 3, missing: isFine,
			description: "Lambda has refused to run the trigger for ten minutes: look at the account's concurrent executions",
		},
		{
			id: "TriggerErrors", metric: trigger.MetricErrors(every(5, "Sum")), missing: isFine,
			description: "The function that starts deployments fails: its log says why",
		},
		{
			id: "StatusErrors", metric: status.MetricErrors(every(5, "Sum")), missing: isFine,
			description: "The function that writes the state of deployments fails: its log says why",
		},
		{
			id: "StatesLost", metric: waiting(props.Status.DeadLetterQueue), missing: isFine,
			description: "State changes could not be written and wait in the dead-letter queue, jobs perhaps for them: fix the cause, then scripts/ops redrive",
		},
		{
			// A deployment has up to three states to be told: InProgress, Ready, its
			// end. EventBridge's best effort may leave out one deployment now and
			// then. Six states are two deployments of which nothing was told. Besides,
			// a run overtakes events of its last seconds: with 100 deployments an
			// hour about two.
			id: "StatesReconciled", metric: own(status, "StatesReconciled", "Sum", 60), above: 5, missing: isFine,
			description: "More than five states were found out by the schedule within an hour: look whether the rule of state changes is enabled and reaches the function",
		},
		{
			id: "UploadsGivenUp", metric: own(status, "UploadsGivenUp", "Sum", 5), missing: isFine,
			description: "An upload was tried in vain until it was given up, its job is red: fix the cause, then scripts/ops redrive",
		},
	})
	return &Monitoring{Topic: topic}
}
