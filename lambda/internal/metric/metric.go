// Package metric counts and measures for CloudWatch without a call: a line of
// JSON in the function's log, in the embedded metric format, becomes a metric.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
package metric

import (
	"encoding/json"
	"io"
	"time"

	"gitlab-codedeploy/lambda/internal/clip"
)

// Namespace is where CloudWatch shows the metrics.
const Namespace = "GitLabCodeDeploy"

// Units of CloudWatch.
const (
	Count   = "Count"
	Seconds = "Seconds"
)

// Value is one measurement.
type Value struct {
	Name  string
	Unit  string
	Value float64
}

// Writer writes to one function's log.
type Writer struct {
	Out          io.Writer // the function's stdout
	FunctionName string
	// Now is the time; nil means time.Now.
	Now func() time.Time
}

// Time is the time by the writer's clock.
func (w *Writer) Time() time.Time {
	if w.Now != nil {
		return w.Now()
	}
	return time.Now()
}

// Write writes one line, unless there are no values. about is what the values
// belong to; it can be searched for in the log. The function's name is the only
// dimension, as each further value of one is a metric to pay for.
//
// A failing write would fail the function's log too, so nothing is done about it.
func (w *Writer) Write(values []Value, about map[string]string) {
	if len(values) == 0 {
		return
	}
	type definition struct {
		Name string `json:"Name"`
		Unit string `json:"Unit"`
	}
	line := map[string]any{"FunctionName": w.FunctionName}
	var definitions []definition
	for _, v := range values {
		definitions = append(definitions, definition{v.Name, v.Unit})
		line[v.Name] = v.Value
	}
	line["_aws"] = map[string]any{
		"Timestamp": w.Time().UnixMilli(),
		"CloudWatchMetrics": []any{map[string]any{
			"Namespace":  Namespace,
			"Dimensions": [][]string{{"FunctionName"}},
			"Metrics":    definitions,
		}},
	}
	for name, value := range about {
		if value != "" {
			line[name] = clip.Text(value, 200)
		}
	}
	if text, err := json.Marshal(line); err == nil {
		_, _ = w.Out.Write(append(text, '\n'))
	}
}
