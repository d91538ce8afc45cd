package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/environment"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/awstest"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/status"
)

const (
	testBucket = "example-deploy-test"
	testKey    = "artifacts/web/artifact.gz"
	statusPath = "/" + testBucket + "/deployments/job-9.json"
	recordPath = "/" + testBucket + "/groups/web/web-blue-green.json"
)

// sample is the event of AWS's page, for a deployment of ours.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-cloudwatch-events.html
func sample(state string) string {
	return fmt.Sprintf(`{
		"account": "222222222222", "region": "ap-northeast-1", "version": "0",
		"detail-type": "CodeDeploy Deployment State-change Notification", "source": "aws.codedeploy",
		"time": "2026-11-23T01:02:03Z", "id": "c071bfbf-83c4-49ca-a6ff-3df053957145",
		"resources": [
			"arn:aws:codedeploy:ap-northeast-1:222222222222:application:web",
			"arn:aws:codedeploy:ap-northeast-1:222222222222:deploymentgroup:web/web-blue-green"],
		"detail": {"instanceGroupId": "9fd2fbef-2157-40d8-91e7-6845af69e2d2", "region": "ap-northeast-1",
			"application": "web", "deploymentId": "d-WIRE00001", "state": %q, "deploymentGroup": "web-blue-green"}}`, state)
}

// deployment is what GetDeployment answers; pairs replace text in it.
func deployment(status string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(`{"deploymentInfo":{"applicationName":"web","deploymentGroupName":"web-blue-green",
		"deploymentId":"d-WIRE00001","status":"` + status + `","creator":"user","createTime":1795395700.5,
		"description":"upload-id=job-9 uploaded=2026-11-23T01:02:03Z",
		"revision":{"revisionType":"S3","s3Location":{"bucket":"` + testBucket + `","key":"` + testKey + `","version":"v1","bundleType":"tgz"}}}}`)
}

type fixture struct {
	*awstest.Server
	reporter *Reporter
	log      *bytes.Buffer
	metrics  *bytes.Buffer
}

// newFixture wires the function with its real clients to a server where
// CodeDeploy answers GetDeployment with answer.
func newFixture(t *testing.T, answer string) fixture {
	server := awstest.New(t)
	server.Operations["ListDeploymentTargets"] = func(w http.ResponseWriter, _ string, _ int) { io.WriteString(w, `{"targetIds":[]}`) }
	server.Operations["GetDeployment"] = func(w http.ResponseWriter, _ string, _ int) { io.WriteString(w, answer) }
	env := server.Environment(testBucket, "artifacts/")
	env["QUEUE_URL"] = env["AWS_ENDPOINT_URL"] + "/222222222222/queue"
	log, metrics := &bytes.Buffer{}, &bytes.Buffer{}
	reporter, err := New(environment.Host{
		Getenv: func(name string) string { return env[name] }, Out: metrics, Log: slog.New(slog.NewJSONHandler(log, nil)),
	})
	require.NoError(t, err)
	server.Put("/"+testBucket+"/"+testKey, http.Header{"X-Amz-Meta-Upload-Id": {"job-9"}, "X-Amz-Version-Id": {"v1"}}, "")
	return fixture{server, reporter, log, metrics}
}

func (f fixture) handle(t *testing.T, event string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := f.reporter.Handle(ctx, json.RawMessage(event))
	return err
}

// status is the object without the time of its writing.
func (f fixture) status(t *testing.T, path string) map[string]any {
	t.Helper()
	var status map[string]any
	require.NoError(t, json.Unmarshal([]byte(f.Object(path)), &status), "%s", f.Requests())
	at, err := time.Parse("2006-01-02T15:04:05.999Z", fmt.Sprint(status["updatedAt"]))
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), at, time.Minute)
	delete(status, "updatedAt")
	return status
}

func TestS15_OnTheWireAnEventBecomesTheStatusOfItsUpload(t *testing.T) {
	f := newFixture(t, deployment("Failed", `"creator"`, `"errorInformation":{"code":"HEALTH_CONSTRAINTS","message":"too few healthy instances"},"creator"`))
	f.Put(statusPath, nil, `{"uploadId":"job-9","state":"Created","deploymentId":"d-WIRE00001","application":"web","deploymentGroup":"web-blue-green","key":"`+testKey+`","versionId":"v1","reason":"","updatedAt":"2026-11-23T01:02:03Z"}`)
	require.NoError(t, f.handle(t, sample("FAILURE")))
	assert.Equal(t, map[string]any{
		"uploadId": "job-9", "state": "Failed", "deploymentId": "d-WIRE00001", "application": "web", "deploymentGroup": "web-blue-green",
		"key": testKey, "versionId": "v1", "reason": "HEALTH_CONSTRAINTS: too few healthy instances",
	}, f.status(t, statusPath))
	assert.Equal(t, []string{"GetDeployment", "GET " + statusPath, "ListDeploymentTargets", "PUT " + statusPath,
		"GET " + recordPath, "HEAD /" + testBucket + "/" + testKey + "?versionId=v1", "PUT " + recordPath,
	}, f.Requests(), "the end goes into the group's record, which did not know the deployment")
	assert.Equal(t, `{"deploymentId":"d-WIRE00001"}`, f.Bodies("GetDeployment")[0])

	var line map[string]any
	require.NoError(t, json.Unmarshal(f.log.Bytes(), &line))
	delete(line, "time")
	assert.Equal(t, map[string]any{
		"level": "INFO", "msg": "state", "before": "Created", "state": "Failed", "uploadId": "job-9", "deploymentId": "d-WIRE00001",
		"application": "web", "deploymentGroup": "web-blue-green", "key": testKey, "versionId": "v1",
	}, line)
}

func TestS15_TheStateIsTheLaterOfEventAndDeployment(t *testing.T) {
	for _, tt := range []struct{ event, deployment, want string }{
		{"START", "Created", "InProgress"},
		{"START", "InProgress", "InProgress"},
		{"START", "Succeeded", "Succeeded"}, // a late event
		{"READY", "InProgress", "Ready"},
		{"READY", "Ready", "Ready"},
		{"SUCCESS", "InProgress", "Succeeded"}, // GetDeployment is behind
		{"SUCCESS", "Succeeded", "Succeeded"},
		{"FAILURE", "Ready", "Failed"},
		{"STOP", "InProgress", "Stopped"},
		{"STOP", "Failed", "Failed"}, // the deployment itself knows better
		{"SOMETHING_NEW", "InProgress", "InProgress"},
	} {
		f := newFixture(t, deployment(tt.deployment))
		require.NoError(t, f.handle(t, sample(tt.event)))
		assert.Equal(t, tt.want, f.status(t, statusPath)["state"], "%s of a deployment that is %s", tt.event, tt.deployment)
	}
}

// An end is counted when it is told, whatever the object says by then: the
// trigger may have written the state before.
func TestS15_ADeploymentThatFailedIsCounted(t *testing.T) {
	for _, tt := range []struct {
		event, deployment, before string
		want                      int
	}{
		{"FAILURE", "Failed", "InProgress", 1},
		{"FAILURE", "InProgress", "InProgress", 1}, // GetDeployment is behind
		{"FAILURE", "Failed", "Failed", 1},         // the trigger wrote it
		{"STOP", "Failed", "InProgress", 1},
		{"START", "Failed", "Created", 0}, // its end has an event of its own
		{"READY", "Failed", "Failed", 0},
		{"STOP", "Stopped", "InProgress", 0},
		{"SUCCESS", "Succeeded", "InProgress", 0},
		{"FAILURE", "Succeeded", "InProgress", 0}, // the deployment itself knows better
	} {
		f := newFixture(t, deployment(tt.deployment))
		f.Put(statusPath, nil, `{"uploadId":"job-9","state":"`+tt.before+`","deploymentId":"d-WIRE00001","key":"`+testKey+`","versionId":"v1"}`)
		require.NoError(t, f.handle(t, sample(tt.event)))
		assert.Equal(t, tt.want, strings.Count(f.metrics.String(), "\n"), "%s of a deployment that is %s, seen as %s", tt.event, tt.deployment, tt.before)
		if tt.want > 0 {
			var line map[string]any
			require.NoError(t, json.Unmarshal(f.metrics.Bytes(), &line))
			delete(line, "_aws") // see the package metric
			assert.Equal(t, map[string]any{
				"FunctionName": "function", "DeploymentsFailed": 1.0, "uploadId": "job-9", "deploymentId": "d-WIRE00001",
				"application": "web", "deploymentGroup": "web-blue-green",
			}, line)
		}
	}

	f := newFixture(t, deployment("Failed", `"creator":"user"`, `"creator":"autoscaling"`))
	require.NoError(t, f.handle(t, sample("FAILURE")))
	f = newFixture(t, deployment("Failed"))
	f.Server.S3 = refuseMethod(http.MethodPut)
	require.Error(t, f.handle(t, sample("FAILURE")), "comes again, and is counted then")
	assert.Empty(t, f.metrics.String())
}

func TestS15_TheAlarmsTestsKnowWhatTheFunctionWrites(t *testing.T) {
	lines := map[string]string{}
	for happened, let := range map[string]func(fixture, *queues) string{
		"failed": func(f fixture, _ *queues) string {
			f.Operations["GetDeployment"] = func(w http.ResponseWriter, _ string, _ int) { io.WriteString(w, deployment("Failed")) }
			return sample("FAILURE")
		},
		"reconciled": func(f fixture, _ *queues) string {
			f.putRecord(t, group.Record{Deployments: []group.Deployment{{Upload: job9, DeploymentID: "d-WIRE00001", State: status.InProgress}}})
			return schedule
		},
		"givenUp": func(f fixture, q *queues) string {
			f.records()
			q.letters["dead"] = []string{letter()}
			return schedule
		},
	} {
		f, q := newSchedule(t, map[string]string{"d-WIRE00001": `"status":"Succeeded"`})
		f.reporter.Metrics.Now = func() time.Time { return time.UnixMilli(1795395723004) }
		require.NoError(t, f.handle(t, let(f, q)))
		lines[happened] = f.metrics.String()
	}
	awstest.MetricLines(t, lines)
}

// Every order of a deployment's events, each of them twice: the state of the
// object never goes back.
func TestS15_NoOrderOfEventsMovesTheObjectBack(t *testing.T) {
	rank := map[string]int{"InProgress": 1, "Ready": 2, "Succeeded": 3}
	var try func(order, left []string)
	orders := 0
	try = func(order, left []string) {
		if len(left) == 0 {
			orders++
			f := newFixture(t, deployment("Created")) // says nothing, as the emulator's
			seen := 0
			for _, event := range order {
				require.NoError(t, f.handle(t, sample(event)))
				now := rank[fmt.Sprint(f.status(t, statusPath)["state"])]
				assert.GreaterOrEqual(t, now, seen, "%s in %v", event, order)
				seen = now
			}
			assert.Equal(t, 3, seen, "%v", order)
			return
		}
		for i, event := range left {
			if i > 0 && left[i-1] == event {
				continue // the other of the two
			}
			rest := append(append([]string{}, left[:i]...), left[i+1:]...)
			try(append(order[:len(order):len(order)], event), rest)
		}
	}
	try(nil, []string{"READY", "READY", "START", "START", "SUCCESS", "SUCCESS"})
	assert.Equal(t, 90, orders)
}

func TestS15_WhatIsNoDeploymentOfAnArtifactIsLeftAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		pairs  []string // over the deployment
		reason string
	}{
		"another bucket":    {[]string{testBucket, "somebody-elses"}, "not in the artifact bucket"},
		"outside artifacts": {[]string{"artifacts/", "backups/"}, "not in the artifact bucket"},
		"from GitHub":       {[]string{"s3Location", "gitHubLocation"}, "the revision is not in S3"},
		"without a version": {[]string{`"version":"v1",`, ""}, "the revision has no version"},
		"a rollback":        {[]string{`"creator":"user"`, `"creator":"codeDeployRollback"`}, "made by codeDeployRollback"},
		"a new instance":    {[]string{`"creator":"user"`, `"creator":"autoscaling"`}, "made by autoscaling"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, deployment("Succeeded", tt.pairs...))
			require.NoError(t, f.handle(t, sample("SUCCESS")))
			assert.Equal(t, []string{"GetDeployment"}, f.Requests())
			assert.Contains(t, f.log.String(), tt.reason)
		})
	}
}

func TestS15_WhatIsNoEventOfADeploymentCostsNoCall(t *testing.T) {
	for name, event := range map[string]string{
		"no JSON":             "hello",
		"nothing":             "",
		"null":                "null",
		"of another kind":     `["source"]`,
		"of an instance":      strings.Replace(sample("SUCCESS"), "CodeDeploy Deployment", "CodeDeploy Instance", 1),
		"of another source":   strings.Replace(sample("SUCCESS"), "aws.codedeploy", "com.example", 1),
		"without an id":       strings.Replace(sample("SUCCESS"), "d-WIRE00001", "", 1),
		"with a forged id":    strings.Replace(sample("SUCCESS"), "d-WIRE00001", "d-1/../../x", 1),
		"with a long id":      strings.Replace(sample("SUCCESS"), "d-WIRE00001", strings.Repeat("d", 65), 1),
		"id of another type":  strings.Replace(sample("SUCCESS"), `"d-WIRE00001"`, "7", 1),
		"with very long text": strings.Replace(sample("SUCCESS"), "aws.codedeploy", strings.Repeat("x\n", 100_000), 1),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, deployment("Succeeded"))
			require.NoError(t, f.handle(t, event), "a retry would change nothing")
			assert.Empty(t, f.Requests())
			assert.Contains(t, f.log.String(), `"msg":"ignored"`)
			assert.Less(t, f.log.Len(), 1000)
		})
	}
}

func TestS15_EventsOfGroupsThatAreNotListedCostNoCall(t *testing.T) {
	for group, listed := range map[string]bool{"web-blue-green": true, "other": false} {
		f := newFixture(t, deployment("Succeeded"))
		f.reporter.Allowed = allowlist.List{{Application: "web", DeploymentGroup: group}: {}}
		require.NoError(t, f.handle(t, sample("SUCCESS")))
		assert.Equal(t, listed, len(f.Requests()) > 0)
		assert.Equal(t, !listed, strings.Contains(f.log.String(), "no artifacts are deployed to the group"))
	}
}

// Who deploys by hand writes what he likes: the upload itself says where its job looks.
func TestS15_TheUploadIDOfTheDescriptionIsInputFromOutside(t *testing.T) {
	for _, description := range []string{
		"", "by hand", "upload-id=../../artifacts/x", "upload-id=a/b", "commit=1234567 upload-id=x", "upload-id=job-9 upload-id=zz",
	} {
		for id, want := range map[string]string{"job-9": "job-9", "": "v1", "../x": "v1"} {
			f := newFixture(t, deployment("Succeeded", "upload-id=job-9 uploaded=2026-11-23T01:02:03Z", description))
			f.Put("/"+testBucket+"/"+testKey, http.Header{"X-Amz-Meta-Upload-Id": {id}, "X-Amz-Version-Id": {"v1"}}, "")
			require.NoError(t, f.handle(t, sample("SUCCESS")))
			assert.Equal(t, "Succeeded", f.status(t, "/"+testBucket+"/deployments/"+want+".json")["state"], "%q, %q", description, id)
		}
	}
}

func TestS15_AStatusOfAnotherVersionOrDeploymentIsLeftAlone(t *testing.T) {
	for name, tt := range map[string]struct{ object, elsewhere string }{
		"another version":    {`{"uploadId":"job-9","state":"Waiting","deploymentId":"","key":"` + testKey + `","versionId":"v0"}`, "/deployments/v1.json"},
		"another deployment": {`{"uploadId":"job-9","state":"Created","deploymentId":"d-0","key":"` + testKey + `","versionId":"v1"}`, ""},
		"an end":             {`{"uploadId":"job-9","state":"Stopped","deploymentId":"d-WIRE00001","key":"` + testKey + `","versionId":"v1"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, deployment("Succeeded"))
			f.Put(statusPath, nil, tt.object)
			require.NoError(t, f.handle(t, sample("SUCCESS")))
			assert.Equal(t, tt.object, f.Object(statusPath))
			if tt.elsewhere != "" {
				assert.Equal(t, "Succeeded", f.status(t, "/"+testBucket+tt.elsewhere)["state"])
			}
		})
	}
}

// Somebody deploys by hand, with the description of another upload, and removes
// the version while the first event is worked on.
//
//fault:hands the version of a deployment by hand is removed between two looks at it | its one state is where its job looks, whatever the description says
func TestS15_WhoseADeploymentByHandIsStaysKnown(t *testing.T) {
	f := newFixture(t, deployment("Succeeded", "upload-id=job-9", "upload-id=forged"))
	heads := 0
	f.S3 = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			heads++
		}
		if r.Method == http.MethodHead && heads > 1 {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}
	for range 2 { // EventBridge delivers at least once.
		require.NoError(t, f.handle(t, sample("SUCCESS")))
		assert.Equal(t, "Succeeded", f.status(t, statusPath)["state"])
		assert.Empty(t, f.Object("/"+testBucket+"/deployments/forged.json"))
		assert.Contains(t, f.Object(recordPath), `"deployments":[{"uploadId":"job-9",`)
		assert.Contains(t, f.Object(recordPath), `"told":true`)
	}
	assert.Equal(t, 1, heads, "the record knows it")
}

func TestS15_OnTheWireAWriteThatLostTheRaceIsMerged(t *testing.T) {
	f := newFixture(t, deployment("Succeeded"))
	waiting := `{"uploadId":"job-9","state":"Waiting","deploymentId":"","key":"` + testKey + `","versionId":"v1"}`
	f.Put(statusPath, nil, waiting)
	f.S3 = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && r.URL.Path == statusPath && f.Object(statusPath) == waiting {
			// The trigger's "Created" comes between this function's two calls.
			f.Put(statusPath, nil, strings.Replace(waiting, `"Waiting","deploymentId":""`, `"Created","deploymentId":"d-WIRE00001"`, 1))
		}
		return false
	}
	require.NoError(t, f.handle(t, sample("SUCCESS")))
	assert.Equal(t, "Succeeded", f.status(t, statusPath)["state"])
	assert.Equal(t, []string{
		"GetDeployment", "GET " + statusPath, "GET " + recordPath, "HEAD /" + testBucket + "/" + testKey + "?versionId=v1", "PUT " + recordPath,
		"PUT " + statusPath, "GET " + statusPath, "PUT " + statusPath,
	}, f.Requests()[:8], "nobody has told of a deployment, so the record is asked whose it is")
}

func TestS15_FaultsGoBackToLambda(t *testing.T) {
	for name, tt := range map[string]struct {
		sabotage func(fixture)
		want     string
	}{
		"CodeDeploy refuses": {func(f fixture) {
			f.Operations["GetDeployment"] = func(w http.ResponseWriter, _ string, _ int) { awstest.Refuse(w, 400, "AccessDeniedException") }
		}, "read the deployment: "},
		"CodeDeploy does not know it yet": {func(f fixture) {
			f.Operations["GetDeployment"] = func(w http.ResponseWriter, _ string, _ int) {
				awstest.Refuse(w, 400, "DeploymentDoesNotExistException")
			}
		}, "DeploymentDoesNotExistException"},
		"CodeDeploy says nothing": {func(f fixture) {
			f.Operations["GetDeployment"] = func(w http.ResponseWriter, _ string, _ int) { io.WriteString(w, `{}`) }
		}, "without one"},
		"S3 refuses to read":  {func(f fixture) { f.Server.S3 = refuseMethod(http.MethodGet) }, "read the status: "},
		"S3 refuses to write": {func(f fixture) { f.Server.S3 = refuseMethod(http.MethodPut) }, "write the group's record: "},
		"S3 refuses to write the state": {func(f fixture) {
			f.refuse(func(r *http.Request) bool { return r.Method == http.MethodPut && r.URL.Path == statusPath })
		}, "write the status: "},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, deployment("Succeeded"))
			f.S3 = func(http.ResponseWriter, *http.Request) bool { return false }
			tt.sabotage(f)
			require.ErrorContains(t, f.handle(t, sample("SUCCESS")), tt.want)
			assert.Equal(t, 1, strings.Count(f.log.String(), `"msg":"retried later"`))
		})
	}
}

func refuseMethod(method string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
}

func TestS15_StartUpNamesWhatIsMissing(t *testing.T) {
	_, err := New(environment.Host{Getenv: func(string) string { return "" }})
	for _, want := range []string{"ARTIFACT_BUCKET is not set", "ARTIFACT_PREFIX is", "AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY not set"} {
		require.ErrorContains(t, err, want)
	}
}

// A longer run: go test ./lambda/report -run '^$' -fuzz FuzzEvent -fuzztime 1m
func FuzzEvent(f *testing.F) {
	f.Add(sample("SUCCESS"))
	f.Add(`{"source":"aws.codedeploy","detail-type":"CodeDeploy Deployment State-change Notification","detail":{"deploymentId":"d-1","state":7}}`)
	f.Add(`{"SOURCE":"aws.codedeploy","Detail-Type":"CodeDeploy Deployment State-change Notification","DETAIL":{"DEPLOYMENTID":"../x"}}`)
	f.Add(`{"detail":[[[[[[[[[[[[[[[[[[[[[[`)
	f.Fuzz(func(t *testing.T, text string) {
		what, event, err := decodeEvent(json.RawMessage(text))
		if err != nil {
			if len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("error without bound: %q", err)
			}
			return
		}
		if what == changed && !deploymentIDPattern.MatchString(event.DeploymentID) || len(event.DeploymentID) > 64 {
			t.Fatalf("accepted %+v", event)
		}
	})
}
