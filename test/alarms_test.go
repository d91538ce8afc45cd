package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/backup"
	"gitlab-codedeploy/internal/config"
)

// alarmsOf returns the alarms of a template by the ids of their constructs,
// without those above them: "ArtifactsLost".
func alarmsOf(t *testing.T, tpl template) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	for _, id := range tpl.ofType(t, "AWS::CloudWatch::Alarm") {
		name := strings.TrimPrefix(id[:len(id)-8], "Host") // the hash
		for _, above := range []string{"Monitoring", "NightlyBackup", "BackupWatch"} {
			name = strings.TrimPrefix(name, above)
		}
		require.NotContains(t, found, name)
		found[name] = tpl.Resources[id].Properties
	}
	return found
}

// stage is what the plays write values into, by what the programs really send
// and AWS documents.
type stage struct {
	t       *testing.T
	gitlab  template
	deploy  template
	metrics played
}

func (w *stage) put(namespace, name string, dimensions map[string]any, minute int, v float64) {
	key := metricKey(namespace, name, dimensions)
	w.metrics[key] = append(w.metrics[key], value{minute, v})
}

// log writes a line that a function wrote, as CloudWatch reads it. The numbers
// of values replace those of the line.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
func (w *stage) log(function, happened string, minute int, values map[string]float64) {
	w.t.Helper()
	var line map[string]any
	require.NoError(w.t, json.Unmarshal([]byte(metricLine(w.t, function, happened)), &line))
	// The name is that of the environment of Lambda, which is the template's.
	name := w.output(map[string]string{"trigger": "TriggerFunctionName", "status": "StatusFunctionName", "markers": "MarkersFunctionName"}[function])
	line["FunctionName"] = name
	for _, directive := range list(at(line, "_aws", "CloudWatchMetrics")) {
		for _, set := range list(at(directive, "Dimensions")) {
			dimensions := map[string]any{}
			for _, d := range list(set) {
				dimensions[d.(string)] = line[d.(string)]
			}
			for _, m := range list(at(directive, "Metrics")) {
				metric := at(m, "Name").(string)
				v, ok := line[metric].(float64)
				require.True(w.t, ok, metric)
				if replaced, has := values[metric]; has {
					v = replaced
				}
				w.put(at(directive, "Namespace").(string), metric, dimensions, minute, v)
			}
		}
	}
}

// metricLine is a line that the function's own tests have on record.
func metricLine(t *testing.T, function, happened string) string {
	t.Helper()
	core := map[string]string{"trigger": "deploy", "status": "report", "markers": "markers"}[function]
	raw, err := os.ReadFile(filepath.Join("..", "lambda", core, "testdata", "metrics.txt"))
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		if what, rest, _ := strings.Cut(line, " "); what == happened {
			return rest
		}
	}
	require.Fail(t, "not on record", "%s: %s", function, happened)
	return ""
}

// documented are AWS's own metrics with the dimensions of which a value is
// published.
var documented = map[string][]string{
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
	"AWS/SQS ApproximateNumberOfMessagesVisible": {"QueueName"},
	// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
	"AWS/Lambda Errors":    {"FunctionName"},
	"AWS/Lambda Throttles": {"FunctionName"},
	// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
	"AWS/ApplicationELB HealthyHostCount": {"LoadBalancer", "TargetGroup"},
	// https://docs.aws.amazon.com/aws-backup/latest/devguide/cloudwatch.html
	"AWS/Backup NumberOfBackupJobsCompleted": {"BackupVaultName"},
	"AWS/Backup NumberOfBackupJobsFailed":    {"BackupVaultName"},
	"AWS/Backup NumberOfBackupJobsAborted":   {"BackupVaultName"},
	"AWS/Backup NumberOfBackupJobsExpired":   {"BackupVaultName"},
}

func (w *stage) aws(metric string, minute int, v float64, values ...any) {
	w.t.Helper()
	names, known := documented[metric]
	require.True(w.t, known, metric)
	require.Len(w.t, values, len(names))
	dimensions := map[string]any{}
	for i, name := range names {
		dimensions[name] = values[i]
	}
	namespace, name, _ := strings.Cut(metric, " ")
	w.put(namespace, name, dimensions, minute, v)
}

// output is the value of an output of either stack.
func (w *stage) output(name string) any {
	w.t.Helper()
	for _, tpl := range []template{w.gitlab, w.deploy} {
		if value := at(tpl.Outputs, name, "Value"); value != nil {
			return value
		}
	}
	require.Fail(w.t, "no such output", name)
	return nil
}

// queue writes how many messages are visible in the queue of an output.
func (w *stage) queue(output string, minute int, messages float64) {
	id, _ := at(w.output(output), "Ref").(string)
	w.aws("AWS/SQS ApproximateNumberOfMessagesVisible", minute, messages, getAtt(id, "QueueName"))
}

func (w *stage) function(output, metric string, minute int, v float64) {
	w.aws("AWS/Lambda "+metric, minute, v, w.output(output))
}

func (w *stage) healthyServers(minute int, servers float64) {
	balancer, _ := w.gitlab.one(w.t, "AWS::ElasticLoadBalancingV2::LoadBalancer")
	targets, _ := w.gitlab.one(w.t, "AWS::ElasticLoadBalancingV2::TargetGroup")
	w.aws("AWS/ApplicationELB HealthyHostCount", minute, servers, getAtt(balancer, "LoadBalancerFullName"), getAtt(targets, "TargetGroupFullName"))
}

func (w *stage) snapshot(end string, minute int) {
	_, vault := w.gitlab.one(w.t, "AWS::Backup::BackupVault")
	w.aws("AWS/Backup NumberOfBackupJobs"+end, minute, 1, vault.Properties["BackupVaultName"])
}

// backup counts a backup as the server does.
func (w *stage) backup(minute int) {
	w.t.Helper()
	w.put(backup.MetricNamespace, backup.MetricName, map[string]any{backup.MetricDimension: "staging"}, minute, 1)
}

// measurement is a metric of CloudWatch's agent, without its value.
type measurement struct {
	namespace, name string
	dimensions      map[string]any
	path            string // "" for memory
}

// measured works out what the agent of a host sends by the configuration in the
// template.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Agent-Configuration-File-Details.html
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/metrics-collected-by-CloudWatch-agent.html
func (w *stage) measured(host string) []measurement {
	w.t.Helper()
	instance := at(w.gitlab.Outputs, map[string]string{"server": "ServerInstanceId", "runner": "RunnerInstanceId"}[host], "Value")
	require.NotNil(w.t, instance)
	var config struct {
		Metrics struct {
			Namespace  string
			Append     map[string]string `json:"append_dimensions"`
			Aggregate  [][]string        `json:"aggregation_dimensions"`
			Collectors map[string]struct {
				Resources   []string
				Measurement []string
				DropDevice  bool     `json:"drop_device"`
				Drop        []string `json:"drop_original_metrics"`
			} `json:"metrics_collected"`
		}
	}
	require.NoError(w.t, json.Unmarshal([]byte(agentParameterOf(w.t, w.gitlab, host)), &config))
	// With appended dimensions, the host's name is none.
	require.Equal(w.t, map[string]string{"InstanceId": "${aws:InstanceId}"}, config.Metrics.Append)
	var found []measurement
	for collector, c := range config.Metrics.Collectors {
		resources := []string{""}
		if collector == "disk" {
			resources = c.Resources
			require.NotContains(w.t, resources, "*", "each file system of each container would be a metric to pay for")
		} else {
			require.Equal(w.t, "mem", collector)
		}
		for _, what := range c.Measurement {
			for _, path := range resources {
				original := map[string]any{"InstanceId": instance}
				if path != "" {
					original["path"], original["fstype"] = path, "xfs"
					if !c.DropDevice {
						original["device"] = "nvme1n1"
					}
				}
				sets := []map[string]any{}
				if !slices.Contains(c.Drop, what) {
					sets = append(sets, original)
				}
				for _, names := range config.Metrics.Aggregate {
					set := map[string]any{}
					for _, name := range names {
						if v, has := original[name]; has {
							set[name] = v
						}
					}
					// What a metric does not have, it is not aggregated by.
					if len(set) == len(names) && len(names) < len(original) {
						sets = append(sets, set)
					}
				}
				for _, set := range sets {
					found = append(found, measurement{config.Metrics.Namespace, collector + "_" + what, set, path})
				}
			}
		}
	}
	return found
}

// agentParameterOf returns the agent's configuration that a host's association
// names.
func agentParameterOf(t *testing.T, gitlab template, host string) string {
	t.Helper()
	instance := at(gitlab.Outputs, map[string]string{"server": "ServerInstanceId", "runner": "RunnerInstanceId"}[host], "Value")
	for _, id := range gitlab.ofType(t, "AWS::SSM::Association") {
		association := gitlab.Resources[id].Properties
		name, of := at(association, "Parameters", "Configuration", 0, "Ref").(string)
		if of && text(at(association, "Targets", 0, "Values", 0)) == text(instance) {
			return gitlab.Resources[name].Properties["Value"].(string)
		}
	}
	require.Fail(t, "no agent", host)
	return ""
}

func (w *stage) disk(host, path string, minute int, percent float64) {
	for _, m := range w.measured(host) {
		if m.path == path {
			w.put(m.namespace, m.name, m.dimensions, minute, percent)
		}
	}
}

func (w *stage) memory(host string, minute int, percent float64) { w.disk(host, "", minute, percent) }

// play is what happens while an alarm looks on.
type play struct {
	off  func(w *stage) // sets it off
	from int            // the first minute in which it may be on
	to   int            // the last one in which it has to be on for the first time
	stay int            // until this minute it stays on; 0: to

	quiet func(w *stage) // does not, in until minutes
	until int
}

// always does something in each minute from first until last, every so many.
func always(first, last, every int, do func(minute int)) {
	for minute := first; minute < last; minute += every {
		do(minute)
	}
}

const hour = 60

// tries are the minutes in which an upload that is put back is tried again, by
// the trigger's own pauses.
func tries(until int) []int {
	var minutes []int
	pause, at := 10*time.Second, time.Duration(0)
	for int(at.Minutes()) < until {
		minutes = append(minutes, int(at.Minutes()))
		at += pause
		pause = min(2*pause, 396*time.Second)
	}
	return minutes
}

// plays has one for every alarm of both stacks.
var plays = map[string]play{
	"ArtifactsLost": {
		off:  func(w *stage) { always(0, 60, 1, func(m int) { w.queue("DeadLetterQueueUrl", m, 1) }) },
		from: 0, to: 5, stay: 60,
		quiet: func(w *stage) {
			always(0, 60, 1, func(m int) { w.queue("DeadLetterQueueUrl", m, 0); w.queue("QueueUrl", m, 1) })
		},
		until: 60,
	},
	"ArtifactsWaitLong": {
		off: func(w *stage) {
			for _, m := range tries(30 * hour) {
				w.log("trigger", "waiting", m, map[string]float64{"WaitingSeconds": float64(m * 60)})
			}
		},
		from: 24 * hour, to: 24*hour + 15, stay: 30 * hour,
		quiet: func(w *stage) {
			for _, m := range tries(23 * hour) {
				w.log("trigger", "waiting", m, map[string]float64{"WaitingSeconds": float64(m * 60)})
			}
			w.log("trigger", "started", 23*hour, map[string]float64{"UploadToStartSeconds": 23 * 3600})
		},
		until: 30 * hour,
	},
	"ArtifactsRejected": {
		off:  func(w *stage) { w.log("trigger", "rejected", 3, nil) },
		from: 3, to: 5,
		quiet: func(w *stage) {
			w.log("trigger", "waiting", 3, nil)
			w.log("trigger", "started", 4, nil)
			w.log("trigger", "refused", 4, nil)
		},
		until: 30,
	},
	"UploadsRefused": {
		off:  func(w *stage) { w.log("trigger", "refused", 3, nil) },
		from: 3, to: 5,
		// What is wrong with an artifact itself has another alarm.
		quiet: func(w *stage) {
			w.log("trigger", "rejected", 3, nil)
			w.log("trigger", "waiting", 3, nil)
			w.log("trigger", "started", 4, nil)
		},
		until: 30,
	},
	"UploadsFail": {
		// A missing right: every try fails, and it is told within 15 minutes.
		off: func(w *stage) {
			for _, m := range tries(4 * hour) {
				w.log("trigger", "failed", m, nil)
			}
		},
		from: 5, to: 15, stay: 4 * hour,
		// A fault of four minutes, and a group that is busy.
		quiet: func(w *stage) {
			for _, m := range tries(4 * hour) {
				w.log("trigger", map[bool]string{true: "failed", false: "waiting"}[m < 4], m, nil)
			}
		},
		until: 4 * hour,
	},
	"DeploymentsFailed": {
		off:  func(w *stage) { w.log("status", "failed", 7, nil) },
		from: 7, to: 9,
		quiet: func(w *stage) { w.log("trigger", "failed", 7, nil) },
		until: 30,
	},
	"TriggerIdle": {
		off:  func(w *stage) { always(0, 60, 1, func(m int) { w.queue("QueueUrl", m, 1) }) },
		from: 10, to: 16, stay: 60,
		// Much to do for nine minutes, and messages that are taken at once.
		quiet: func(w *stage) {
			always(0, 60, 1, func(m int) { w.queue("QueueUrl", m, map[bool]float64{true: 40, false: float64(m % 2)}[m < 9]) })
		},
		until: 60,
	},
	"TriggerThrottled": {
		off:  func(w *stage) { always(0, 60, 1, func(m int) { w.function("TriggerFunctionName", "Throttles", m, 3) }) },
		from: 10, to: 16, stay: 60,
		quiet: func(w *stage) {
			always(0, 60, 1, func(m int) {
				w.function("TriggerFunctionName", "Throttles", m, map[bool]float64{true: 3}[m < 4])
			})
		},
		until: 60,
	},
	"TriggerErrors": {
		off:  func(w *stage) { w.function("TriggerFunctionName", "Errors", 2, 1) },
		from: 2, to: 4,
		quiet: func(w *stage) {
			w.function("TriggerFunctionName", "Errors", 2, 0)
			w.function("StatusFunctionName", "Errors", 2, 1)
		},
		until: 30,
	},
	"StatusErrors": {
		off:  func(w *stage) { w.function("StatusFunctionName", "Errors", 2, 1) },
		from: 2, to: 4,
		quiet: func(w *stage) {
			w.function("StatusFunctionName", "Errors", 2, 0)
			w.function("TriggerFunctionName", "Errors", 2, 1)
		},
		until: 30,
	},
	"StatesLost": {
		off:  func(w *stage) { always(0, 60, 1, func(m int) { w.queue("StatusDeadLetterQueueUrl", m, 1) }) },
		from: 0, to: 5, stay: 60,
		quiet: func(w *stage) { always(0, 60, 1, func(m int) { w.queue("StatusDeadLetterQueueUrl", m, 0) }) },
		until: 60,
	},
	"StatesReconciled": {
		// A rule that is off. Each half an hour there is a deployment, of which a
		// run finds first that it is under way, then ready, and that it has ended.
		off: func(w *stage) {
			always(0, 4*hour, 30, func(m int) {
				always(m+5, m+20, 5, func(m int) { w.log("status", "reconciled", m, nil) })
			})
		},
		from: 45, to: 46, stay: 4 * hour,
		// One deployment of which nothing is told, and then two states an hour
		// that a run found before their events came.
		quiet: func(w *stage) {
			w.log("status", "reconciled", 5, map[string]float64{"StatesReconciled": 3})
			always(10, 10*hour, 30, func(m int) { w.log("status", "reconciled", m, nil) })
			w.log("status", "failed", 30, nil)
		},
		until: 11 * hour,
	},
	"UploadsGivenUp": {
		off:  func(w *stage) { w.log("status", "givenUp", 5, nil) },
		from: 5, to: 7,
		// Runs that find something else, and uploads that are tried again.
		quiet: func(w *stage) {
			always(5, 60, 5, func(m int) { w.log("status", "reconciled", m, nil); w.log("trigger", "failed", m, nil) })
		},
		until: 60,
	},

	"BackupsHidden": {
		// And the server, which may write to the namespace, tries to cover it.
		off: func(w *stage) {
			w.log("markers", "hidden", 3, nil)
			for _, cover := range []float64{0, -1000} {
				w.put("GitLabCodeDeploy", "UnexpectedDeleteMarkers", map[string]any{"FunctionName": w.output("MarkersFunctionName")}, 3, cover)
			}
		},
		from: 3, to: 5,
		quiet: func(w *stage) {
			w.log("status", "failed", 3, nil)
			w.put("GitLabCodeDeploy", "UnexpectedDeleteMarkers", map[string]any{"FunctionName": w.output("MarkersFunctionName")}, 3, 0)
		},
		until: 30,
	},
	"BackupWatchErrors": {
		off:  func(w *stage) { w.function("MarkersFunctionName", "Errors", 2, 1) },
		from: 2, to: 4,
		quiet: func(w *stage) {
			w.function("MarkersFunctionName", "Errors", 2, 0)
			w.function("StatusFunctionName", "Errors", 2, 1)
		},
		until: 30,
	},
	"RemovalsUnseen": {
		off:  func(w *stage) { always(0, 60, 1, func(m int) { w.queue("MarkersDeadLetterQueueUrl", m, 1) }) },
		from: 0, to: 5, stay: 60,
		quiet: func(w *stage) { always(0, 60, 1, func(m int) { w.queue("MarkersDeadLetterQueueUrl", m, 0) }) },
		until: 60,
	},
	"BackupMissing": {
		off: func(w *stage) { w.backup(2 * hour); w.backup(26 * hour) }, from: 52 * hour, to: 55 * hour, stay: 60 * hour,
		quiet: func(w *stage) { always(0, 5, 1, func(day int) { w.backup(day*24*hour + day%2*hour) }) },
		until: 5 * 24 * hour,
	},
	"GitLabNotAnswering": {
		off: func(w *stage) {
			always(0, 20, 1, func(m int) { w.healthyServers(m, 1) })
			always(20, 40, 1, func(m int) { w.healthyServers(m, 0) }) // and stopped: no value
		},
		from: 30, to: 33, stay: 120,
		// Restarted, for eight minutes.
		quiet: func(w *stage) {
			always(0, 120, 1, func(m int) { w.healthyServers(m, map[bool]float64{true: 0, false: 1}[m >= 20 && m < 28]) })
		},
		until: 120,
	},
	"DataVolumeFilling": fills("server", "/var/opt/gitlab"),
	"ServerRootFilling": fills("server", "/"),
	"RunnerRootFilling": fills("runner", "/"),
	"ServerMemoryShort": {
		off:  func(w *stage) { always(0, 60, 1, func(m int) { w.memory("server", m, 95) }) },
		from: 0, to: 15, stay: 60,
		quiet: func(w *stage) {
			always(0, 60, 1, func(m int) { w.memory("server", m, map[bool]float64{true: 99, false: 70}[m >= 30 && m < 38]) })
		},
		until: 80,
	},
	"RunnerMemoryShort": {
		off:  func(w *stage) { always(0, 60, 1, func(m int) { w.memory("runner", m, 95) }) },
		from: 0, to: 15, stay: 60,
		quiet: func(w *stage) {
			always(0, 60, 1, func(m int) { w.memory("server", m, 99); w.memory("runner", m, 90) })
		},
		until: 80,
	},
	"ServerSilent": fallsSilent("server"),
	"RunnerSilent": fallsSilent("runner"),
	"SnapshotFailed": {
		off: func(w *stage) { w.snapshot("Failed", 5) }, from: 5, to: 7,
		quiet: func(w *stage) { w.snapshot("Completed", 5) }, until: 60,
	},
	"SnapshotAborted": {
		off: func(w *stage) { w.snapshot("Aborted", 5) }, from: 5, to: 7,
		quiet: func(w *stage) { w.snapshot("Completed", 5) }, until: 60,
	},
	"SnapshotExpired": {
		off: func(w *stage) { w.snapshot("Expired", 5) }, from: 5, to: 7,
		quiet: func(w *stage) { w.snapshot("Completed", 5) }, until: 60,
	},
	"SnapshotMissing": {
		off:  func(w *stage) { w.snapshot("Completed", 6*hour); w.snapshot("Completed", 30*hour) },
		from: 60 * hour, to: 63 * hour, stay: 70 * hour,
		// Begun in the first or the last minute, and done in ten minutes or four hours.
		quiet: func(w *stage) { always(0, 5, 1, func(day int) { w.snapshot("Completed", day*24*hour+10+day%2*290) }) },
		until: 5 * 24 * hour,
	},
}

func fills(host, path string) play {
	return play{
		off: func(w *stage) {
			always(0, 120, 1, func(m int) { w.disk(host, path, m, 70+float64(m)/4) }) // 80 after 40 minutes
		},
		from: 40, to: 60, stay: 120,
		quiet: func(w *stage) {
			always(0, 60, 1, func(m int) { w.disk(host, path, m, 80) }) // and then nothing
			always(0, 60, 1, func(m int) { w.disk("server", "", m, 95) })
		},
		until: 90,
	}
}

func fallsSilent(host string) play {
	return play{
		off:  func(w *stage) { always(0, 60, 1, func(m int) { w.memory(host, m, 50) }) },
		from: 89, to: 101, stay: 180,
		// A host that is replaced, and its agent installed.
		quiet: func(w *stage) {
			always(0, 60, 1, func(m int) { w.memory(host, m, 50) })
			always(84, 180, 1, func(m int) { w.memory(host, m, 50) })
		},
		until: 180,
	}
}

// TestS14_everyAlarmIsSetOffByWhatItIsAboutAndByNothingElse plays the metrics,
// under the names that the programs and AWS give them.
//
//fault:alarms a right is missing, a function is broken, many states have to be repaired | an alarm goes off, within 15 minutes when uploads fail, and is quiet otherwise
func TestS14_everyAlarmIsSetOffByWhatItIsAboutAndByNothingElse(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	alarms := map[string]map[string]any{}
	for _, tpl := range []template{gitlab, deploy} {
		maps.Copy(alarms, alarmsOf(t, tpl))
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(alarms)), slices.Collect(maps.Keys(plays)), "an alarm without a play, or a play without its alarm")
	for name, p := range plays {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, alarms, name)
			m := monitoredBy(t, alarms[name])
			// What is on when nobody is heard needs somebody to have been heard.
			begin := 0
			if m.missing == "breaching" {
				begin = m.period * m.periods
			}
			w := &stage{t, gitlab, deploy, played{}}
			p.off(w)
			require.NotEmpty(t, w.metrics[m.metric], "nothing is sent to %s; there is %v", m.metric, slices.Sorted(maps.Keys(w.metrics)))
			first := -1
			for minute := begin; minute <= p.to; minute++ {
				if m.at(w.metrics, minute) == "ALARM" {
					first = minute
					break
				}
			}
			require.GreaterOrEqual(t, first, p.from, "it has to go off in minute %d to %d", p.from, p.to)
			for minute := first; minute <= max(p.to, p.stay) && p.stay > 0; minute++ {
				require.Equal(t, "ALARM", m.at(w.metrics, minute), "it went off in minute %d, and is over in minute %d", first, minute)
			}

			w = &stage{t, gitlab, deploy, played{}}
			p.quiet(w)
			require.NotEmpty(t, w.metrics)
			for minute := begin; minute <= p.until; minute++ {
				require.NotEqual(t, "ALARM", m.at(w.metrics, minute), "it goes off in minute %d", minute)
			}
		})
	}
}

// TestS14_anUploadThatFailsIsToldWithinAQuarterOfAnHour at every pace of its
// tries: the trigger's own, and that of a queue whose messages it may not hide.
func TestS14_anUploadThatFailsIsToldWithinAQuarterOfAnHour(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	m := monitoredBy(t, alarmsOf(t, deploy)["UploadsFail"])
	const queuesOwn = 360 * time.Second
	for begin := time.Duration(0); begin < time.Minute; begin += 7 * time.Second {
		for _, first := range []time.Duration{10 * time.Second, queuesOwn} {
			for longest := queuesOwn; longest <= 396*time.Second; longest += 4 * time.Second {
				w := &stage{t, gitlab, deploy, played{}}
				pause := first
				for at := begin; at < 3*time.Hour; at += pause {
					w.log("trigger", "failed", int(at.Minutes()), nil)
					if at > begin {
						pause = min(2*pause, longest)
					}
				}
				told := 0
				for told < 60 && m.at(w.metrics, told) != "ALARM" {
					told++
				}
				assert.LessOrEqual(t, told, 15, "begun at %s, pauses of %s to %s", begin, first, longest)
				for minute := told; minute < 3*hour; minute++ {
					require.Equal(t, "ALARM", m.at(w.metrics, minute), "begun at %s, pauses of %s to %s: over in minute %d", begin, first, longest, minute)
				}
			}
		}
	}
}

// TestS14_everyAlarmTellsTheTopicOfItsAccount: and what lasts tells its end.
func TestS14_everyAlarmTellsTheTopicOfItsAccount(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	for _, tpl := range []template{gitlab, deploy} {
		topic := at(tpl.Outputs, "AlarmTopicArn", "Value")
		for name, alarm := range alarmsOf(t, tpl) {
			assert.Equal(t, []any{topic}, alarm["AlarmActions"], name)
			if alarm["TreatMissingData"] != "notBreaching" {
				assert.Equal(t, []any{topic}, alarm["OKActions"], name)
			}
			assert.NotEmpty(t, alarm["AlarmDescription"], name)
		}
	}
}

// TestS14_theAgentsSendWhatAlarmsWatchAndNothingElse: each metric costs.
func TestS14_theAgentsSendWhatAlarmsWatchAndNothingElse(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	w := &stage{t, gitlab, deploy, played{}}
	watched := map[string]bool{}
	for _, alarm := range alarmsOf(t, gitlab) {
		watched[monitoredBy(t, alarm).metric] = true
	}
	sent := 0
	for _, host := range []string{"server", "runner"} {
		for _, m := range w.measured(host) {
			sent++
			assert.True(t, watched[metricKey(m.namespace, m.name, m.dimensions)], "%+v", m)
		}
	}
	assert.Equal(t, 5, sent)
	assert.True(t, strings.Contains(read(t, "docs/operations.md"), "agents send five metrics"), "the docs say what they cost")
}

// TestS14_aHostWritesItsOwnMetricsAndReadsItsOwnConfiguration: what somebody who
// broke out of a job writes must not hide what the server does.
func TestS14_aHostWritesItsOwnMetricsAndReadsItsOwnConfiguration(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	for host, output := range map[string]string{"server": "ServerInstanceId", "runner": "RunnerInstanceId"} {
		namespaces := []any{}
		name := "AmazonCloudWatch-gitlab-codedeploy-staging-" + host
		for _, s := range hostStatements(t, gitlab, output) {
			if s["Effect"] == "Allow" && slices.Contains(list(s["Action"]), "cloudwatch:PutMetricData") {
				namespaces = append(namespaces, at(s, "Condition", "StringEquals", "cloudwatch:namespace"))
			}
			if s["Effect"] == "Deny" && slices.Contains(list(s["Action"]), "ssm:GetParameter") {
				assert.True(t, slices.ContainsFunc(list(s["NotResource"]), func(arn any) bool { return strings.HasSuffix(strings.Trim(text(arn), `"]}`), ":parameter/"+name) }),
					"the agent cannot read its configuration: %s", text(s))
			}
		}
		assert.Contains(t, namespaces, "GitLabCodeDeploy/staging/"+host)
		for _, other := range namespaces {
			assert.Contains(t, []any{"GitLabCodeDeploy/staging/" + host, map[bool]any{true: "GitLabCodeDeploy"}[host == "server"]}, other)
		}
		var config map[string]any
		require.NoError(t, json.Unmarshal([]byte(agentParameterOf(t, gitlab, host)), &config))
		assert.Equal(t, "GitLabCodeDeploy/staging/"+host, at(config, "metrics", "namespace"), "its role writes to no other")
		assert.Nil(t, config["logs"])
	}
}

// hostStatements returns the statements of all policies of the role of a host.
func hostStatements(t *testing.T, gitlab template, output string) []map[string]any {
	t.Helper()
	_, instance, _ := host(t, gitlab, output)
	profile := gitlab.Resources[at(instance.Properties, "IamInstanceProfile", "Ref").(string)]
	role := list(profile.Properties["Roles"])
	var found []map[string]any
	for _, id := range gitlab.ofType(t, "AWS::IAM::Policy") {
		policy := gitlab.Resources[id].Properties
		if text(list(policy["Roles"])) == text(role) {
			found = append(found, statements(policy["PolicyDocument"])...)
		}
	}
	return found
}

// TestS11_S5_theAgentIsInstalledBeforeItIsConfigured: and by AWS's own
// documents, with parameters that they have.
func TestS11_S5_theAgentIsInstalledBeforeItIsConfigured(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	found := 0
	for _, id := range gitlab.ofType(t, "AWS::SSM::Association") {
		association := gitlab.Resources[id]
		if at(association.Properties, "Parameters", "Configuration") == nil {
			continue
		}
		found++
		parameter := gitlab.Resources[at(association.Properties, "Parameters", "Configuration", 0, "Ref").(string)].Properties
		document := gitlab.Resources[at(association.Properties, "Name", "Ref").(string)].Properties["Content"]
		assert.Regexp(t, at(document, "parameters", "Configuration", "allowedPattern"), parameter["Name"])
		assert.LessOrEqual(t, len(parameter["Value"].(string)), 4096, "of a standard parameter")
		assert.Equal(t, "rate(1 day)", association.Properties["ScheduleExpression"])

		steps := list(at(document, "mainSteps"))
		require.Len(t, steps, 2)
		assert.Equal(t, map[string]any{
			"documentType": "SSMDocument", "documentPath": "AWS-ConfigureAWSPackage",
			"documentParameters": map[string]any{"action": "Install", "name": "AmazonCloudWatchAgent"},
		}, at(steps[0], "inputs"))
		assert.Equal(t, map[string]any{
			"documentType": "SSMDocument", "documentPath": "AmazonCloudWatch-ManageAgent",
			"documentParameters": map[string]any{
				"action": "configure", "mode": "ec2", "optionalConfigurationSource": "ssm",
				"optionalConfigurationLocation": "{{ Configuration }}", "optionalRestart": "yes",
			},
		}, at(steps[1], "inputs"))
		for _, step := range steps {
			assert.Equal(t, "aws:runDocument", at(step, "action"))
		}
		assert.NotEmpty(t, association.DependsOn, "a first run that lacks a right is repeated after a day only")
	}
	assert.Equal(t, 2, found)
}

// alarmRow is a row of the table of alarms in the docs.
var alarmRow = regexp.MustCompile("(?m)^\\| ((?:`[A-Za-z]+`(?:, )?)+)(?: \\([^)]*\\))? \\| (A|B) \\| (.+) \\|$")

// TestS14_everyAlarmIsInTheDocsWithWhatToDo, and no other one.
func TestS14_everyAlarmIsInTheDocsWithWhatToDo(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	inTemplates := map[string]string{}
	for account, tpl := range map[string]template{"A": gitlab, "B": deploy} {
		for name := range alarmsOf(t, tpl) {
			inTemplates[name] = account
		}
	}
	_, section, found := strings.Cut(read(t, "docs/operations.md"), "\n## Alarms\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	inDocs := map[string]string{}
	for _, row := range alarmRow.FindAllStringSubmatch(section, -1) {
		for name := range strings.SplitSeq(row[1], ", ") {
			inDocs[strings.Trim(name, "`")] = row[2]
		}
	}
	assert.Equal(t, inTemplates, inDocs)
}

// longestDeploymentHours is the most that the configuration takes.
func longestDeploymentHours(t *testing.T) int {
	t.Helper()
	key := regexp.MustCompile(`(?m)^  longestDeploymentHours: .*$`)
	raw := read(t, "config/staging.yaml")
	require.Len(t, key.FindAllString(raw, -1), 1)
	folder, longest := t.TempDir(), 0
	for hours := 1; hours < 1000; hours++ {
		changed := key.ReplaceAllString(raw, fmt.Sprintf("  longestDeploymentHours: %d", hours))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "staging.yaml"), []byte(changed), 0o644))
		if _, err := config.Load(folder, "staging"); err != nil {
			require.ErrorContains(t, err, "longestDeploymentHours")
			break
		}
		longest = hours
	}
	require.GreaterOrEqual(t, longest, 24)
	return longest
}

// TestS14_whatIsGivenUpStaysLongEnoughInTheDeadLetterQueue: SQS counts from the
// upload on, also in the dead-letter queue.
func TestS14_whatIsGivenUpStaysLongEnoughInTheDeadLetterQueue(t *testing.T) {
	const day = 24 * 60 * 60
	longest := longestDeploymentHours(t)
	for _, hours := range []int{1, longest / 4, longest / 2, longest - 1, longest} {
		cfg := staging(t)
		cfg.Deploy.LongestDeploymentHours = hours
		deploy := synthesiseDeploy(t, cfg)
		queue := deploy.Resources[at(deploy.Outputs, "QueueUrl", "Value", "Ref").(string)].Properties
		dead := deploy.Resources[at(deploy.Outputs, "DeadLetterQueueUrl", "Value", "Ref").(string)].Properties
		keeps, receives := queue["MessageRetentionPeriod"].(float64), at(queue, "RedrivePolicy", "maxReceiveCount").(float64)
		assert.GreaterOrEqual(t, keeps, receives*396+day, "%d hours: it would be gone before it is given up, with a day for a function that does not run", hours)
		assert.GreaterOrEqual(t, dead["MessageRetentionPeriod"].(float64)-keeps, 8.0*day, "%d hours: what the docs promise", hours)
	}
	assert.True(t, strings.Contains(read(t, "docs/operations.md"), "at least eight days"), "the docs do not promise 14")
}
