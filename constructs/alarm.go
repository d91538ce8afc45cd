package constructs

import (
	"cmp"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// alarm is one row of a construct's table. What it does when it is on stands in
// docs/operations.md, and test/alarms_test.go plays what sets it off.
type alarm struct {
	id, description string
	metric          awscloudwatch.IMetric

	// above or below is the threshold. Required is one of them.
	above, below float64

	// periods is for how many periods in a row it has to be so; 0 means 1.
	periods int

	// missing is what a period without a value means.
	missing awscloudwatch.TreatMissingData

	// end tells the topic when it is over, too.
	end bool
}

// What a period without a value means.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
const (
	isFine    = awscloudwatch.TreatMissingData_NOT_BREACHING // nothing happened
	isBad     = awscloudwatch.TreatMissingData_BREACHING     // somebody who should be heard is not
	isUnknown = awscloudwatch.TreatMissingData_MISSING       // another alarm says that nobody measures
)

// newAlarms defines the alarms of a table under scope. They go to topic.
func newAlarms(scope constructs.Construct, topic awssns.ITopic, alarms []alarm) {
	for _, a := range alarms {
		comparison, threshold := awscloudwatch.ComparisonOperator_GREATER_THAN_THRESHOLD, a.above
		if a.below != 0 {
			comparison, threshold = awscloudwatch.ComparisonOperator_LESS_THAN_THRESHOLD, a.below
		}
		defined := awscloudwatch.NewAlarm(scope, jsii.String(a.id), &awscloudwatch.AlarmProps{
			AlarmDescription:   jsii.String(a.description),
			Metric:             a.metric,
			Threshold:          jsii.Number(threshold),
			ComparisonOperator: comparison,
			EvaluationPeriods:  jsii.Number(cmp.Or(a.periods, 1)),
			TreatMissingData:   a.missing,
		})
		tell := awscloudwatchactions.NewSnsAction(topic)
		defined.AddAlarmAction(tell)
		if a.end {
			defined.AddOkAction(tell)
		}
	}
}

// metricOf returns a metric with one statistic of each period.
func metricOf(namespace, name, statistic string, minutes int, dimensions map[string]*string) awscloudwatch.IMetric {
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace:     &namespace,
		MetricName:    &name,
		DimensionsMap: &dimensions,
		Statistic:     &statistic,
		Period:        awscdk.Duration_Minutes(jsii.Number(minutes)),
	})
}
