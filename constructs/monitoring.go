package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
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

// Monitoring is what tells people that an artifact is stuck or lost: alarms,
// and the topic that they go to. It lives as long as its stack.
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

	fiveMinutes := &awscloudwatch.MetricOptions{Period: awscdk.Duration_Minutes(jsii.Number(5))}
	functionErrors := func(f awslambda.Function) awscloudwatch.IMetric { return f.MetricErrors(fiveMinutes) }
	for _, a := range []struct {
		id, description string
		metric          awscloudwatch.IMetric
		above           int
	}{
		{"ArtifactsLost", "Artifacts could not be deployed and wait in the dead-letter queue: mend the cause, then scripts/ops redrive",
			props.Trigger.DeadLetterQueue.MetricApproximateNumberOfMessagesVisible(fiveMinutes), 0},
		{"ArtifactsWaitLong", "An artifact waits longer than the longest deployment should take: look at its deployment group",
			props.Trigger.Queue.MetricApproximateAgeOfOldestMessage(fiveMinutes), props.LongestDeploymentHours * 60 * 60},
		{"ArtifactsRejected", "An artifact was rejected for good: the job's log and the trigger's log say what to change",
			rejectedMetric(props.Trigger.Function), 0},
		{"TriggerErrors", "The function that starts deployments fails", functionErrors(props.Trigger.Function), 0},
		{"StatusErrors", "The function that writes the state of deployments fails", functionErrors(props.Status.Function), 0},
		{"StatesLost", "State changes could not be written and wait in the dead-letter queue; jobs may wait in vain",
			props.Status.DeadLetterQueue.MetricApproximateNumberOfMessagesVisible(fiveMinutes), 0},
	} {
		alarm := awscloudwatch.NewAlarm(scope, jsii.String(a.id), &awscloudwatch.AlarmProps{
			AlarmDescription:   jsii.String(a.description),
			Metric:             a.metric,
			Threshold:          jsii.Number(a.above),
			ComparisonOperator: awscloudwatch.ComparisonOperator_GREATER_THAN_THRESHOLD,
			EvaluationPeriods:  jsii.Number(1),
			// No upload, no metric.
			TreatMissingData: awscloudwatch.TreatMissingData_NOT_BREACHING,
		})
		alarm.AddAlarmAction(awscloudwatchactions.NewSnsAction(topic))
	}
	return &Monitoring{Topic: topic}
}

func rejectedMetric(function awslambda.Function) awscloudwatch.IMetric {
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace:     jsii.String(metricNamespace),
		MetricName:    jsii.String("UploadsRejected"),
		DimensionsMap: &map[string]*string{"FunctionName": function.FunctionName()},
		Statistic:     jsii.String("Sum"),
		Period:        awscdk.Duration_Minutes(jsii.Number(5)),
	})
}
