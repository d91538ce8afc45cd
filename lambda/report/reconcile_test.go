package report

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ordered "gitlab-codedeploy/internal/redrive"
	"gitlab-codedeploy/lambda/internal/allowlist"
)

const schedule = `{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}`

// record puts a group's record into the bucket, and lists it.
func (f fixture) record(content string) {
	f.Put(recordPath, nil, content)
	f.Server.S3 = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("list-type") != "2" {
			return false
		}
		fmt.Fprintf(w, `<ListBucketResult><Contents><Key>groups/web/web-blue-green.json</Key><ETag>&#34;e&#34;</ETag></Contents></ListBucketResult>`)
		return true
	}
}

func (f fixture) batch(answer string) {
	f.Operations["BatchGetDeployments"] = func(w http.ResponseWriter, _ string, _ int) { io.WriteString(w, answer) }
	f.Operations["SendMessage"] = func(w http.ResponseWriter, body string, _ int) {
		io.WriteString(w, `{"MessageId":"m"}`)
	}
}

const group1 = `{"application":"web","deploymentGroup":"web-blue-green","deployments":[{"uploadId":"job-9","key":"` + testKey +
	`","versionId":"v1","uploaded":"2026-11-23T01:02:03Z","deploymentId":"d-WIRE00001","state":"Created","seenAt":"2026-11-23T01:02:03Z"}]`

func TestS15_AStateIsRepairedAfterALostEvent(t *testing.T) {
	f := newFixture(t, "")
	f.record(group1 + `,"waiting":{"uploadId":"job-10","key":"artifacts/web/b.zip","versionId":"v2","uploaded":"2026-11-23T02:02:03Z"}}`)
	f.Put(statusPath, nil, `{"uploadId":"job-9","state":"Created","deploymentId":"d-WIRE00001","key":"`+testKey+`","versionId":"v1"}`)
	info := strings.TrimSuffix(strings.TrimPrefix(deployment("Failed", `"creator":"user"`, `"creator":"user","errorInformation":{"code":"TIMEOUT","message":"x"}`), `{"deploymentInfo":`), "}")
	f.batch(`{"deploymentsInfo":[` + info + `]}`)
	require.NoError(t, f.handle(t, schedule))

	got := f.status(t, statusPath)
	assert.Equal(t, "Failed", got["state"])
	assert.Equal(t, "TIMEOUT: x", got["reason"])
	assert.Contains(t, f.metrics.String(), `"StatesReconciled":1`)
	var record map[string]any
	require.NoError(t, json.Unmarshal([]byte(f.Object(recordPath)), &record))
	assert.Equal(t, true, record["deployments"].([]any)[0].(map[string]any)["told"])
	require.Len(t, f.Bodies("SendMessage"), 1, "the group is free, and somebody waits")
	assert.Contains(t, f.Bodies("SendMessage")[0], `v2`)
	assert.Contains(t, f.Bodies("SendMessage")[0], `job-10`)
}

// A group that has left the list is looked at all the same, and whoever waits
// for it is told by the trigger.
//
//fault:end a pair leaves the list while an upload waits | its state becomes final
func TestS15_AGroupThatLeftTheListIsLookedAfter(t *testing.T) {
	f := newFixture(t, "")
	f.reporter.Allowed = allowlist.List{{Application: "other", DeploymentGroup: "g"}: {}}
	f.record(group1 + `,"waiting":{"uploadId":"job-10","key":"artifacts/web/b.zip","versionId":"v2","uploaded":"2026-11-23T02:02:03Z"}}`)
	f.batch(`{"deploymentsInfo":[` + strings.TrimSuffix(strings.TrimPrefix(deployment("InProgress"), `{"deploymentInfo":`), "}") + `]}`)
	require.NoError(t, f.handle(t, schedule))
	assert.Equal(t, "InProgress", f.status(t, statusPath)["state"])
	assert.Len(t, f.Bodies("SendMessage"), 1)
}

func TestS15_ADeploymentThatCodeDeployHasForgottenHasFailed(t *testing.T) {
	f := newFixture(t, "")
	f.record(group1 + "}")
	f.batch(`{"deploymentsInfo":[]}`)
	require.NoError(t, f.handle(t, schedule))
	got := f.status(t, statusPath)
	assert.Equal(t, "Failed", got["state"])
	assert.Contains(t, got["reason"], "its application or group was deleted")
}

// Thirty quiet groups cost one call once they are known to be quiet.
func TestS15_QuietGroupsAreNotReadAgain(t *testing.T) {
	f := newFixture(t, "")
	f.record(`{"application":"web","deploymentGroup":"web-blue-green"}`)
	etag := ""
	list := f.Server.S3
	f.Server.S3 = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("list-type") == "2" && etag != "" {
			fmt.Fprintf(w, `<ListBucketResult><Contents><Key>groups/web/web-blue-green.json</Key><ETag>%s</ETag></Contents></ListBucketResult>`, etag)
			return true
		}
		return list(w, r)
	}
	require.NoError(t, f.handle(t, schedule))
	etag = f.reporter.calm["groups/web/web-blue-green.json"]
	require.NotEmpty(t, etag)
	before := len(f.Requests())
	require.NoError(t, f.handle(t, schedule))
	assert.Len(t, f.Requests(), before+1, "the list")
}

// An operator's redrive works off the events that the function failed on.
func TestS15_ARedriveWorksOffTheFunctionsOwnLetters(t *testing.T) {
	f := newFixture(t, deployment("Succeeded"))
	f.reporter.OwnDeadLetters = f.reporter.Queue + "-own"
	body, err := json.Marshal(sample("SUCCESS"))
	require.NoError(t, err)
	f.Operations["ReceiveMessage"] = func(w http.ResponseWriter, _ string, try int) {
		if try > 1 {
			io.WriteString(w, `{}`)
			return
		}
		fmt.Fprintf(w, `{"Messages":[{"MessageId":"m1","ReceiptHandle":"r1","Body":%s},{"MessageId":"m2","ReceiptHandle":"r2","Body":"no event"}]}`, body)
	}
	f.Operations["DeleteMessage"] = func(w http.ResponseWriter, _ string, _ int) { io.WriteString(w, `{}`) }
	answer, err := f.reporter.Handle(t.Context(), []byte(ordered.Event))
	require.NoError(t, err)
	assert.Equal(t, Answer{Events: 2}, answer)
	said, err := json.Marshal(answer)
	require.NoError(t, err)
	assert.JSONEq(t, `{"events":2,"left":0}`, string(said), "internal/redrive reads it")
	assert.Equal(t, "Succeeded", f.status(t, statusPath)["state"])
	assert.Len(t, f.Bodies("DeleteMessage"), 2)

	f.Operations["GetDeployment"] = func(w http.ResponseWriter, _ string, _ int) { w.WriteHeader(400) }
	f.Operations["ReceiveMessage"] = func(w http.ResponseWriter, _ string, try int) {
		if try > 3 {
			io.WriteString(w, `{}`)
			return
		}
		fmt.Fprintf(w, `{"Messages":[{"MessageId":"m1","ReceiptHandle":"r1","Body":%s}]}`, body)
	}
	answer, err = f.reporter.Handle(t.Context(), json.RawMessage(`{"source":"gitlab-codedeploy","detail-type":"Redrive"}`))
	require.NoError(t, err)
	assert.Equal(t, Answer{Left: 1}, answer, "what fails again stays")
	assert.Len(t, f.Bodies("DeleteMessage"), 2)
}
