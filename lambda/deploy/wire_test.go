package deploy

import (
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
	"gitlab-codedeploy/lambda/internal/awstest"
	"gitlab-codedeploy/lambda/internal/group"
)

const recordPath = "/" + testBucket + "/groups/web/web-blue-green.json"

const objectPath = "/" + testBucket + "/" + testKey

// newAWS is a server with the artifact testKey.
func newAWS(t *testing.T, metadata http.Header) *awstest.Server {
	return awstest.NewWithArtifact(t, objectPath, metadata)
}

// upload runs one upload through the real clients.
func upload(t *testing.T, server *awstest.Server, u Upload) (Upload, Outcome) {
	t.Helper()
	env := server.TriggerEnvironment(t, testBucket, testPrefix)
	h := newWired(t, env)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	end := h.Trigger.Deploy(ctx, &u, try{owner: "m1/1"})
	return u, end
}

// newWired wires the function with its real clients.
func newWired(t *testing.T, env map[string]string) *Handler {
	t.Helper()
	h, err := New(environment.Host{Getenv: func(name string) string { return env[name] }, Out: io.Discard, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return h
}

func TestS14_OnTheWireVersionAndETagReachCodeDeploy(t *testing.T) {
	server := newAWS(t, nil)
	const key = "artifacts/web/my app/a+b.tar.gz"
	server.PutArtifact("/"+testBucket+"/"+key, http.Header{
		"X-Amz-Version-Id":        {"v.1_x"},
		"X-Amz-Meta-Commit-Sha":   {"0123456789abcdef"},
		"X-Amz-Meta-Pipeline-Url": {"https://gitlab.example.com/p/7"},
	})
	u, end := upload(t, server, Upload{Upload: group.Upload{Key: key, VersionID: "v.1_x"}, Bucket: testBucket})
	require.Equal(t, Created, end.End, end.Reason)
	assert.Equal(t, "d-WIRE00001", u.DeploymentID)
	assert.Equal(t, []string{
		"HEAD /example-deploy-test/artifacts/web/my%20app/a%2Bb.tar.gz",
		"GET " + recordPath,
		"GetDeploymentGroup",
		"ListDeployments",
		"PUT " + recordPath,
		"PUT /example-deploy-test/deployments/job-9.json",
		"CreateDeployment",
		"PUT /example-deploy-test/deployments/job-9.json",
	}, server.Requests())
	assert.JSONEq(t, `{"applicationName": "web", "deploymentGroupName": "web-blue-green", "createTimeRange": {"start": 1795395663}}`,
		server.Bodies("ListDeployments")[0], "from a minute before the upload")
	assert.JSONEq(t, `{
		"applicationName": "web",
		"deploymentGroupName": "web-blue-green",
		"description": "upload-id=job-9 uploaded=2026-11-23T01:02:03Z commit=0123456789abcdef pipeline=https://gitlab.example.com/p/7",
		"revision": {"revisionType": "S3", "s3Location": {
			"bucket": "example-deploy-test", "key": "artifacts/web/my app/a+b.tar.gz", "version": "v.1_x",
			"eTag": "9a0364b9e99bb480dd25e1f0284c8555-3", "bundleType": "tgz"}}
	}`, withoutFalse(server.Bodies("CreateDeployment")[0]))
}

// withoutFalse drops the switches that the SDK may or may not send as false.
func withoutFalse(body string) string {
	for _, name := range []string{"ignoreApplicationStopFailures", "updateOutdatedInstancesOnly"} {
		body = strings.ReplaceAll(body, `,"`+name+`":false`, "")
		body = strings.ReplaceAll(body, `"`+name+`":false,`, "")
	}
	return body
}

func TestS14_OnTheWireBothSpellingsOfTheMetadataAreRead(t *testing.T) {
	for name, header := range map[string]http.Header{
		"plain":   {"x-amz-meta-application-name": {"web"}, "x-amz-meta-deploymentgroup-name": {"web-blue-green"}},
		"doubled": {"x-amz-meta-x-amz-meta-application-name": {"web"}, "X-Amz-Meta-X-Amz-Meta-DeploymentGroup-Name": {"web-blue-green"}},
		"mixed":   {"X-AMZ-META-APPLICATION-NAME": {"web"}, "x-amz-meta-x-amz-meta-deploymentgroup-name": {"web-blue-green"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := newAWS(t, nil)
			header["X-Amz-Version-Id"] = []string{"v1"}
			server.Put(objectPath, header, "")
			u, end := upload(t, server, testUpload(""))
			require.Equal(t, Created, end.End, end.Reason)
			assert.Equal(t, testPair, u.Pair)
			assert.Equal(t, "v1", u.ID)
			assert.Equal(t, "HEAD /example-deploy-test/artifacts/web/artifact.gz", server.Requests()[0])
		})
	}
}

func TestS14_OnTheWireSpellingsThatDifferAreRejected(t *testing.T) {
	server := newAWS(t, http.Header{"X-Amz-Meta-X-Amz-Meta-Application-Name": {"shop"}})
	_, end := upload(t, server, testUpload(""))
	require.Equal(t, Rejected, end.End)
	assert.Equal(t, []string{
		"HEAD " + objectPath, "PUT /example-deploy-test/deployments/job-9.json", "PUT " + objectPath + "?tagging=&versionId=v1",
	}, server.Requests(), "an upload without a pair has no group")
	assert.Contains(t, server.Object("/example-deploy-test/deployments/job-9.json"), `"state":"Rejected"`)
}

// An answer that was lost may have made a deployment, and after a pause the
// look at the group's deployments is old: the queue's retry is the only one.
func TestS14_OnTheWireCreateDeploymentIsSentOnce(t *testing.T) {
	refuse := func(status int, code string) func(http.ResponseWriter, string, int) {
		return func(w http.ResponseWriter, _ string, _ int) { awstest.Refuse(w, status, code) }
	}
	for name, tt := range map[string]struct {
		create  func(w http.ResponseWriter, body string, try int)
		wantErr string
		want    End
	}{
		"throttled":           {create: refuse(400, "ThrottlingException"), wantErr: "ThrottlingException", want: Failed},
		"fault of the server": {create: refuse(500, "InternalFailure"), wantErr: "InternalFailure", want: Failed},
		"answer lost":         {create: func(w http.ResponseWriter, _ string, _ int) { awstest.HangUp(w) }, wantErr: "EOF", want: Failed},
		"group busy":          {create: refuse(400, "DeploymentLimitExceededException"), wantErr: "as many deployments at once", want: Waiting},
		"permission missing":  {create: refuse(400, "AccessDeniedException"), wantErr: "AccessDeniedException", want: Failed},
		"group gone":          {create: refuse(400, "DeploymentGroupDoesNotExistException"), wantErr: "create the deployment group, or correct deploymentgroup-name", want: Rejected},
		"with a namespace":    {create: refuse(400, "com.amazonaws.codedeploy.v20141006#InvalidRevisionException"), wantErr: "InvalidRevisionException: as AWS says", want: Rejected},
	} {
		t.Run(name, func(t *testing.T) {
			server := newAWS(t, nil)
			server.Operations["CreateDeployment"] = tt.create
			_, end := upload(t, server, testUpload(""))
			assert.Len(t, server.Bodies("CreateDeployment"), 1)
			assert.Equal(t, tt.want, end.End)
			assert.Contains(t, end.Reason, tt.wantErr)
		})
	}
}

func TestS14_OnTheWireAMissingObjectIsRejected(t *testing.T) {
	for status, rejected := range map[int]bool{404: true, 405: true, 403: false} {
		server := newAWS(t, nil)
		server.S3 = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodHead {
				return false
			}
			if r.URL.Query().Has("versionId") {
				w.WriteHeader(status)
			} else {
				w.WriteHeader(404)
			}
			return true
		}
		_, end := upload(t, server, testUpload("v1"))
		assert.Equal(t, rejected, end.End == Rejected, "HTTP %d: %v", status, end)
	}
}

const statusPath = "/" + testBucket + "/deployments/job-9.json"

func TestS14_OnTheWireAStatusThatChangedMeanwhileIsMergedWith(t *testing.T) {
	server := newAWS(t, nil)
	server.Operations["CreateDeployment"] = func(w http.ResponseWriter, _ string, _ int) {
		// CodeDeploy's first event is faster than the answer.
		server.Put(statusPath, nil, `{"uploadId":"job-9","state":"InProgress","deploymentId":"d-WIRE00001","key":"`+testKey+`","versionId":"v1"}`)
		io.WriteString(w, `{"deploymentId":"d-WIRE00001"}`)
	}
	u, end := upload(t, server, testUpload(""))
	require.Equal(t, Created, end.End, end.Reason)
	assert.Equal(t, "d-WIRE00001", u.DeploymentID)
	assert.Equal(t, []string{"PUT " + statusPath, "GET " + statusPath}, server.Requests()[7:], "412, and then there is nothing to add")
	assert.Contains(t, server.Object(statusPath), `"InProgress"`)
}

func TestS14_OnTheWireTheGroupsDeploymentsAreReadPageByPage(t *testing.T) {
	server := newAWS(t, nil)
	page := func(from, to int) string {
		var ids []string
		for i := from; i < to; i++ {
			ids = append(ids, fmt.Sprintf(`"d-%d"`, i))
		}
		return strings.Join(ids, ",")
	}
	server.Operations["ListDeployments"] = func(w http.ResponseWriter, body string, try int) {
		if try == 1 {
			io.WriteString(w, `{"deployments":[`+page(0, 30)+`],"nextToken":"more"}`)
			return
		}
		assert.Contains(t, body, `"nextToken":"more"`)
		assert.Contains(t, body, `"createTimeRange":{"start":`)
		io.WriteString(w, `{"deployments":[`+page(30, 31)+`]}`)
	}
	server.Operations["BatchGetDeployments"] = func(w http.ResponseWriter, body string, _ int) {
		var in struct{ DeploymentIds []string }
		assert.NoError(t, json.Unmarshal([]byte(body), &in))
		assert.LessOrEqual(t, len(in.DeploymentIds), 25)
		var infos []string
		for _, id := range in.DeploymentIds {
			version := map[bool]string{true: "v1", false: id}[id == "d-30"]
			creator := map[bool]string{true: "user", false: "autoscaling"}[id == "d-30"]
			infos = append(infos, `{"deploymentId":"`+id+`","status":"Succeeded","creator":"`+creator+`","createTime":1795395700.5,
				"description":"upload-id=x uploaded=2026-11-23T01:00:00Z","revision":{"revisionType":"S3","s3Location":
				{"bucket":"`+testBucket+`","key":"`+testKey+`","version":"`+version+`","bundleType":"tgz"}}}`)
		}
		io.WriteString(w, `{"deploymentsInfo":[`+strings.Join(infos, ",")+`]}`)
	}
	u, end := upload(t, server, testUpload(""))
	require.Equal(t, Repeated, end.End, end.Reason)
	assert.Equal(t, "d-30", u.DeploymentID)
	assert.Equal(t, []string{"ListDeployments", "BatchGetDeployments", "BatchGetDeployments", "ListDeployments", "BatchGetDeployments"}, server.Requests()[3:8])
	assert.Contains(t, server.Object(statusPath), `"state":"Succeeded","deploymentId":"d-30"`)
}

func TestS14_OnTheWireABusyGroupsMessageIsHidden(t *testing.T) {
	server := newAWS(t, nil)
	server.Operations["CreateDeployment"] = func(w http.ResponseWriter, _ string, _ int) {
		awstest.Refuse(w, 400, "DeploymentLimitExceededException")
	}
	env := server.TriggerEnvironment(t, testBucket, testPrefix)
	h := newWired(t, env)
	h.Patience.Random = func() float64 { return 0.5 }
	assert.Equal(t, []string{"m1"}, handle(t, t.Context(), h, message("m1", 3)))
	require.Len(t, server.Bodies("ChangeMessageVisibility"), 1)
	assert.JSONEq(t, `{"QueueUrl":"`+env["QUEUE_URL"]+`","ReceiptHandle":"r1","VisibilityTimeout":42}`, server.Bodies("ChangeMessageVisibility")[0])

	env["GITLAB_URL"] = "https://gitlab.example.com"
	env["QUEUE_URL"] = ""
	h = newWired(t, env)
	assert.Nil(t, h.Patience, "the address of the queue may be left out")
}
