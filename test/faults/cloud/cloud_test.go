package cloud

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	start = time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	group = Pair{"web", "web-group"}
)

func newAWS() *AWS {
	aws := New(start, rand.New(rand.NewPCG(1, 1)), "bucket")
	aws.Deployments.AddGroup(&Group{Pair: group})
	aws.Deployments.Course = func(*Deployment) Course { return Course{Lasts: time.Minute, Outcome: "Succeeded"} }
	aws.Deployments.Changed = func(*Deployment, string) {}
	return aws
}

// over sends a request over the wire and returns status, headers and body.
func (a *AWS) over(t *testing.T, method, path, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := Read(r)
		if assert.NoError(t, err) {
			a.Serve(request).Send(w)
		}
	}))
	defer server.Close()
	request, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header, string(text)
}

func (a *AWS) codeDeploy(t *testing.T, operation, body string) (int, string) {
	t.Helper()
	status, _, text := a.over(t, "POST", "/", body, "X-Amz-Target", "CodeDeploy_20141006."+operation)
	return status, text
}

func TestS14_TheBucketKeepsVersionsAsS3Does(t *testing.T) {
	aws := newAWS()
	first := aws.Bucket.Put("artifacts/a b.zip", map[string]string{"upload-id": "1"}, []byte("one"))
	aws.Clock.Tick(1500 * time.Millisecond)
	second := aws.Bucket.Put("artifacts/a b.zip", map[string]string{"upload-id": "2"}, []byte("two"))

	status, header, _ := aws.over(t, "HEAD", "/bucket/artifacts/a%20b.zip", "")
	assert.Equal(t, 200, status)
	assert.Equal(t, second.ID, header.Get("X-Amz-Version-Id"))
	assert.Equal(t, "2", header.Get("X-Amz-Meta-Upload-Id"))
	assert.Equal(t, "Mon, 23 Nov 2026 01:02:04 GMT", header.Get("Last-Modified"), "whole seconds")
	status, header, _ = aws.over(t, "HEAD", "/bucket/artifacts/a%20b.zip?versionId="+first.ID, "")
	assert.Equal(t, 200, status)
	assert.Equal(t, "1", header.Get("X-Amz-Meta-Upload-Id"))

	aws.Bucket.Delete("artifacts/a b.zip")
	status, header, _ = aws.over(t, "HEAD", "/bucket/artifacts/a%20b.zip", "")
	assert.Equal(t, 404, status)
	assert.Equal(t, "true", header.Get("X-Amz-Delete-Marker"))
	marker := header.Get("X-Amz-Version-Id")
	status, _, _ = aws.over(t, "HEAD", "/bucket/artifacts/a%20b.zip?versionId="+marker, "")
	assert.Equal(t, 405, status)

	aws.Bucket.Remove(first)
	status, _, body := aws.over(t, "GET", "/bucket/artifacts/a%20b.zip?versionId="+first.ID, "")
	assert.Equal(t, 404, status)
	assert.Contains(t, body, "<Code>NoSuchVersion</Code>")
	aws.Bucket.Remove(aws.Bucket.Current("artifacts/a b.zip"))
	assert.Equal(t, second, aws.Bucket.Current("artifacts/a b.zip"), "without the marker it is there again")
}

func TestS14_ConditionalWritesLetOneWin(t *testing.T) {
	aws := newAWS()
	put := func(body string, header ...string) (int, http.Header) {
		status, h, _ := aws.over(t, "PUT", "/bucket/deployments/x.json", body, header...)
		return status, h
	}
	status, _ := put("a", "If-Match", `"none"`)
	assert.Equal(t, 404, status)
	status, header := put("a", "If-None-Match", "*")
	assert.Equal(t, 200, status)
	status, _ = put("b", "If-None-Match", "*")
	assert.Equal(t, 412, status)
	status, _ = put("b", "If-Match", `"other"`)
	assert.Equal(t, 412, status)
	status, _ = put("b", "If-Match", header.Get("ETag"))
	assert.Equal(t, 200, status)
	// As the SDK sends it with a checksum behind.
	status, _ = put("3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n", "X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
	assert.Equal(t, 200, status)
	assert.Equal(t, "abc", string(aws.Bucket.Current("deployments/x.json").Body()))
}

func TestS14_AGroupHasOneActiveDeployment(t *testing.T) {
	aws := newAWS()
	var events []string
	aws.Deployments.Changed = func(d *Deployment, state string) { events = append(events, state) }
	create := `{"applicationName":"web","deploymentGroupName":"web-group","revision":{"revisionType":"S3","s3Location":{"bucket":"bucket","key":"k","version":"v"}}}`
	status, body := aws.codeDeploy(t, "CreateDeployment", create)
	require.Equal(t, 200, status, body)
	var made struct{ DeploymentID string }
	require.NoError(t, json.Unmarshal([]byte(body), &made))
	status, body = aws.codeDeploy(t, "CreateDeployment", create)
	assert.Equal(t, 400, status)
	assert.Contains(t, body, "DeploymentLimitExceededException")

	for _, due := aws.Clock.Due(); due; _, due = aws.Clock.Due() {
		aws.Clock.Next()
	}
	assert.Equal(t, []string{"START", "READY", "SUCCESS"}, events)
	assert.Equal(t, start.Add(time.Minute), aws.Clock.Now())
	_, body = aws.codeDeploy(t, "GetDeployment", `{"deploymentId":"`+made.DeploymentID+`"}`)
	assert.Contains(t, body, `"status":"Succeeded"`)
	status, _ = aws.codeDeploy(t, "CreateDeployment", create)
	assert.Equal(t, 200, status)
}

func TestS14_DeploymentsAreListedByTimeInPages(t *testing.T) {
	aws := newAWS()
	aws.Deployments.PageSize, aws.Deployments.Lag = 2, 5*time.Second
	for range 5 {
		aws.Deployments.Start(aws.Deployments.Group(group), "user", "", json.RawMessage(`{}`)).Status = "Succeeded"
		aws.Clock.Tick(10 * time.Second)
	}
	list := func(rest string) (ids []string, next string) {
		_, body := aws.codeDeploy(t, "ListDeployments", `{"applicationName":"web","deploymentGroupName":"web-group"`+rest+`}`)
		var page struct {
			Deployments []string
			NextToken   string
		}
		require.NoError(t, json.Unmarshal([]byte(body), &page), body)
		return page.Deployments, page.NextToken
	}
	from := fmt.Sprintf(`,"createTimeRange":{"start":%d}`, start.Add(20*time.Second).Unix())
	ids, next := list(from)
	assert.Len(t, ids, 2)
	more, end := list(from + `,"nextToken":"` + next + `"`)
	assert.Len(t, more, 1)
	assert.Empty(t, end)

	late := aws.Deployments.Start(aws.Deployments.Group(group), "user", "", json.RawMessage(`{}`))
	ids, _ = list("")
	assert.NotContains(t, ids, late.ID, "the list is behind")
	aws.Clock.Tick(5 * time.Second)
	ids, _ = list("")
	assert.Contains(t, ids, late.ID)
}

func TestS14_AFailedDeploymentAndItsRollbackTellOfEachOther(t *testing.T) {
	aws := newAWS()
	g := aws.Deployments.Group(group)
	g.RollsBack = true
	aws.Deployments.Start(g, "user", "good", json.RawMessage(`{}`)).Status = "Succeeded"
	aws.Deployments.Course = func(d *Deployment) Course {
		return Course{Lasts: time.Minute, Outcome: map[bool]string{true: "Succeeded", false: "Failed"}[d.Rollback()]}
	}
	bad := aws.Deployments.Start(g, "user", "bad", json.RawMessage(`{}`))
	for range 20 {
		if _, due := aws.Clock.Due(); due {
			aws.Clock.Next()
		}
	}
	all := aws.Deployments.Of(group)
	require.Len(t, all, 3)
	assert.Equal(t, "codeDeployRollback", all[2].Creator)
	_, body := aws.codeDeploy(t, "BatchGetDeployments", `{"deploymentIds":["`+bad.ID+`","`+all[2].ID+`"]}`)
	assert.Contains(t, body, `"rollbackInfo":{"rollbackDeploymentId":"`+all[2].ID+`"`)
	assert.Contains(t, body, `"rollbackInfo":{"rollbackTriggeringDeploymentId":"`+bad.ID+`"`)
	assert.Contains(t, body, `"code":"HEALTH_CONSTRAINTS"`)
}

func TestS14_TheQueueHidesRepeatsAndBuries(t *testing.T) {
	aws := newAWS()
	q := aws.Queue
	q.MaxReceives = 2
	m := q.Send("body", true)
	require.Len(t, q.Receive(10), 1)
	require.Len(t, q.Receive(10), 1, "handed out twice")
	assert.Empty(t, q.Receive(10))

	status, _, _ := aws.over(t, "POST", "/", `{"QueueUrl":"q","ReceiptHandle":"`+m.Receipt+`","VisibilityTimeout":7}`,
		"X-Amz-Target", "AmazonSQS.ChangeMessageVisibility")
	assert.Equal(t, 200, status)
	aws.Clock.Tick(6 * time.Second)
	assert.Zero(t, q.Visible())
	aws.Clock.Tick(time.Second)
	assert.Equal(t, 1, q.Visible())
	assert.Empty(t, q.Receive(10), "received often enough")
	assert.Equal(t, []*Message{m}, q.Dead())
	q.Redrive()
	assert.Equal(t, []*Message{m}, q.Receive(10))
	q.Delete(m)
	assert.Empty(t, q.Waiting())
}

func TestS14_RefusalsHaveTheServicesForm(t *testing.T) {
	aws := newAWS()
	status, body := aws.codeDeploy(t, "GetDeploymentGroup", `{"applicationName":"web","deploymentGroupName":"other"}`)
	assert.Equal(t, 400, status)
	assert.Contains(t, body, `"__type":"DeploymentGroupDoesNotExistException"`)
	_, body = aws.codeDeploy(t, "GetDeploymentGroup", `{"applicationName":"other","deploymentGroupName":"other"}`)
	assert.Contains(t, body, `"__type":"ApplicationDoesNotExistException"`)
	_, body = aws.codeDeploy(t, "BatchGetDeployments", `{"deploymentIds":[`+strings.Repeat(`"d",`, 25)+`"d"]}`)
	assert.Contains(t, body, "BatchLimitExceededException")
	status, _, body = aws.over(t, "GET", "/other/key", "")
	assert.Equal(t, 404, status)
	assert.Contains(t, body, "<Code>NoSuchBucket</Code>")
}
