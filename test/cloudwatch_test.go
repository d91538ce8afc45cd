package test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// played is a CloudWatch of one account: values by metric, each with the minute
// it belongs to.
type played map[string][]value

type value struct {
	minute int
	value  float64
}

// metricKey names a metric: another set of dimensions is another metric.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#dimension-combinations
func metricKey(namespace, name string, dimensions map[string]any) string {
	parts := []string{namespace, name}
	for _, dimension := range slices.Sorted(maps.Keys(dimensions)) {
		parts = append(parts, dimension+"="+text(dimensions[dimension]))
	}
	return strings.Join(parts, " ")
}

// monitored is an alarm as CloudWatch evaluates it: one statistic of one
// metric, M out of N with M = N.
type monitored struct {
	metric    string
	statistic string
	period    int // minutes
	periods   int
	breaches  func(float64) bool
	missing   string
}

func monitoredBy(t *testing.T, alarm map[string]any) monitored {
	t.Helper()
	for _, unknown := range []string{"Metrics", "ExtendedStatistic", "DatapointsToAlarm", "EvaluateLowSampleCountPercentile", "ThresholdMetricId", "Unit"} {
		require.NotContains(t, alarm, unknown, "this test does not know how CloudWatch evaluates it")
	}
	if enabled, said := alarm["ActionsEnabled"]; said {
		require.Equal(t, true, enabled)
	}
	dimensions := map[string]any{}
	for _, d := range list(alarm["Dimensions"]) {
		dimensions[at(d, "Name").(string)] = at(d, "Value")
	}
	threshold := alarm["Threshold"].(float64)
	compare := map[string]func(float64) bool{
		"GreaterThanThreshold": func(v float64) bool { return v > threshold },
		"LessThanThreshold":    func(v float64) bool { return v < threshold },
	}[alarm["ComparisonOperator"].(string)]
	require.NotNil(t, compare, alarm["ComparisonOperator"])
	period := int(alarm["Period"].(float64))
	require.Zero(t, period%60, "a period is a whole number of minutes")
	periods := int(alarm["EvaluationPeriods"].(float64))
	// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
	require.LessOrEqual(t, period*periods, 7*24*60*60, "CloudWatch looks back a week")
	if period < 60*60 {
		require.LessOrEqual(t, period*periods, 24*60*60, "CloudWatch looks back a day with periods of less than an hour")
	}
	return monitored{
		metric:    metricKey(alarm["Namespace"].(string), alarm["MetricName"].(string), dimensions),
		statistic: alarm["Statistic"].(string), period: period / 60, periods: periods,
		breaches: compare, missing: alarm["TreatMissingData"].(string),
	}
}

// at returns the alarm's state when a minute begins. Each minute the window moves
// on by a minute.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
func (m monitored) at(metrics played, minute int) string {
	// CloudWatch looks at some more periods than it evaluates, and prefers real
	// values to missing ones; AWS's tables show two more.
	var points []*float64
	for i := range m.periods + 2 {
		end := minute - i*m.period
		points = append(points, m.point(metrics[m.metric], end-m.period, end))
	}
	return m.decide(points)
}

// point is the statistic of the values with from <= minute < to, or nil. The
// values are in chronological order.
func (m monitored) point(values []value, from, to int) *float64 {
	var in []float64
	first, _ := slices.BinarySearchFunc(values, from, func(v value, minute int) int { return v.minute - minute })
	for _, v := range values[first:] {
		if v.minute >= to {
			break
		}
		in = append(in, v.value)
	}
	if len(in) == 0 {
		return nil
	}
	sum := 0.0
	for _, v := range in {
		sum += v
	}
	statistic, known := map[string]float64{
		"Sum": sum, "Average": sum / float64(len(in)), "Minimum": slices.Min(in), "Maximum": slices.Max(in), "SampleCount": float64(len(in)),
	}[m.statistic]
	if !known {
		panic("statistic " + m.statistic)
	}
	return &statistic
}

// decide works on points, the newest first.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
func (m monitored) decide(points []*float64) string {
	var breaching []bool
	for _, p := range points {
		if p != nil && len(breaching) < m.periods {
			breaching = append(breaching, m.breaches(*p))
		}
	}
	if m.missing == "missing" {
		if len(breaching) == 0 {
			return "INSUFFICIENT_DATA"
		}
	} else {
		filled, known := map[string]bool{"breaching": true, "notBreaching": false}[m.missing]
		if !known {
			panic("missing data as " + m.missing)
		}
		for len(breaching) < m.periods {
			breaching = append(breaching, filled)
		}
	}
	if slices.Contains(breaching, false) {
		return "OK"
	}
	return "ALARM"
}

// TestAlarmsAreEvaluatedAsAWSsTableSays: the table is that of the page on
// missing data, for three periods out of three; the newest value is the last.
func TestAlarmsAreEvaluatedAsAWSsTableSays(t *testing.T) {
	for points, want := range map[string][3]string{
		// missing, breaching, notBreaching
		"0 - X - X": {"OK", "OK", "OK"},
		"0 - - - -": {"OK", "OK", "OK"},
		"- - - - -": {"INSUFFICIENT_DATA", "ALARM", "OK"},
		"0 X X - X": {"ALARM", "ALARM", "ALARM"},
		"- - X - -": {"ALARM", "ALARM", "OK"},
	} {
		for i, missing := range []string{"missing", "breaching", "notBreaching"} {
			m := monitored{periods: 3, missing: missing, breaches: func(v float64) bool { return v > 0 }}
			var newestFirst []*float64
			for _, p := range strings.Fields(points) {
				v := map[string]*float64{"-": nil, "0": new(float64), "X": new(float64)}[p]
				if p == "X" {
					*v = 1
				}
				newestFirst = append([]*float64{v}, newestFirst...)
			}
			assert.Equal(t, want[i], m.decide(newestFirst), "%s with %s", points, missing)
		}
	}
}
