package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeAWS is an HTTP server that answers as S3 and CodeDeploy do on the wire.
type fakeAWS struct {
	*httptest.Server
	metadata http.Header                          // of the object, besides goodHeaders
	create   func(w http.ResponseWriter, try int) // nil answers with a deployment

	mu       sync.Mutex // a lost connection leaves its handler running
	requests []string   // "HEAD /path?query" or the name of a CodeDeploy operation
	creates  []string   // bodies of CreateDeployment
}

func newFakeAWS(t *testing.T) *fakeAWS {
	f := &fakeAWS{metadata: http.Header{
		"X-Amz-Meta-Application-Name":     {"web"},
		"X-Amz-Meta-Deploymentgroup-Name": {"web-blue-green"},
		"X-Amz-Meta-Upload-Id":            {"job-9"},
	}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodHead {
		f.requests = append(f.requests, "HEAD "+r.URL.RequestURI())
		for name, values := range f.metadata {
			w.Header()[name] = values
		}
		w.Header().Set("ETag", `"9a0364b9e99bb480dd25e1f0284c8555-3"`)
		w.Header().Set("x-amz-version-id", "v1")
		w.Header().Set("Content-Length", "1024")
		return
	}
	text, _ := io.ReadAll(r.Body)
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	f.requests = append(f.requests, operation)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	switch operation {
	case "GetDeploymentGroup":
		io.WriteString(w, `{"deploymentGroupInfo":{"applicationName":"web","deploymentGroupName":"web-blue-green",
			"deploymentStyle":{"deploymentType":"BLUE_GREEN","deploymentOption":"WITH_TRAFFIC_CONTROL"}}}`)
	case "CreateDeployment":
		f.creates = append(f.creates, string(text))
		if f.create != nil {
			f.create(w, len(f.creates))
			return
		}
		io.WriteString(w, `{"deploymentId":"d-WIRE00001"}`)
	default:
		w.WriteHeader(http.StatusNotImplemented)
	}
}

// lambdaEnvironment is what Lambda gives a function that is pointed at f.
func (f *fakeAWS) lambdaEnvironment(t *testing.T) map[string]string {
	list := writeAllowList(t, `[{"application":"web","deploymentGroup":"web-blue-green"}]`)
	return map[string]string{
		"ARTIFACT_BUCKET":       testBucket,
		"ARTIFACT_PREFIX":       testPrefix,
		"LAMBDA_TASK_ROOT":      strings.TrimSuffix(list, allowListFile),
		"AWS_REGION":            "ap-northeast-1",
		"AWS_ACCESS_KEY_ID":     "AKIDEXAMPLE",
		"AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_SESSION_TOKEN":     "token",
		// By name, as the emulator has it: the SDK is lenient with addresses.
		"AWS_ENDPOINT_URL": strings.Replace(f.URL, "127.0.0.1", "localhost", 1),
	}
}

// upload runs one upload through the real clients.
func (f *fakeAWS) upload(t *testing.T, u Upload) (Upload, error) {
	t.Helper()
	env := f.lambdaEnvironment(t)
	h, err := newHandler(func(name string) string { return env[name] })
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = h.Trigger.Start(ctx, &u)
	f.mu.Lock() // until the last handler is through
	defer f.mu.Unlock()
	return u, err
}

func TestS14_OnTheWireVersionAndETagReachCodeDeploy(t *testing.T) {
	f := newFakeAWS(t)
	f.metadata["X-Amz-Meta-Commit-Sha"] = []string{"0123456789abcdef"}
	f.metadata["X-Amz-Meta-Pipeline-Url"] = []string{"https://gitlab.example.com/p/7"}
	u, err := f.upload(t, Upload{Bucket: testBucket, Key: "artifacts/my app/a+b.tar.gz", VersionID: "v.1_x"})
	require.NoError(t, err)
	assert.Equal(t, "d-WIRE00001", u.DeploymentID)
	assert.Equal(t, []string{
		"HEAD /example-deploy-test/artifacts/my%20app/a%2Bb.tar.gz?versionId=v.1_x",
		"GetDeploymentGroup",
		"CreateDeployment",
	}, f.requests)
	require.Len(t, f.creates, 1)
	assert.JSONEq(t, `{
		"applicationName": "web",
		"deploymentGroupName": "web-blue-green",
		"description": "upload-id=job-9 commit=0123456789abcdef pipeline=https://gitlab.example.com/p/7",
		"revision": {"revisionType": "S3", "s3Location": {
			"bucket": "example-deploy-test", "key": "artifacts/my app/a+b.tar.gz", "version": "v.1_x",
			"eTag": "9a0364b9e99bb480dd25e1f0284c8555-3", "bundleType": "tgz"}}
	}`, withoutFalse(f.creates[0]))
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
			f := newFakeAWS(t)
			f.metadata = header
			u, err := f.upload(t, Upload{Bucket: testBucket, Key: testKey})
			require.NoError(t, err)
			assert.Equal(t, testPair, u.Pair)
			assert.Equal(t, "v1", u.ID)
			assert.Equal(t, "HEAD /example-deploy-test/artifacts/web/artifact.gz", f.requests[0])
		})
	}
}

func TestS14_OnTheWireSpellingsThatDifferAreRejected(t *testing.T) {
	f := newFakeAWS(t)
	f.metadata["X-Amz-Meta-X-Amz-Meta-Application-Name"] = []string{"shop"}
	_, err := f.upload(t, Upload{Bucket: testBucket, Key: testKey})
	require.ErrorIs(t, err, ErrRejected)
	assert.Len(t, f.requests, 1)
}

// An answer that was lost may have made a deployment: the queue's retry is the
// only one.
func TestS14_OnTheWireCreateDeploymentIsSentAgainOnlyWhenThrottled(t *testing.T) {
	refuse := func(w http.ResponseWriter, status int, code string) {
		w.Header().Set("X-Amzn-ErrorType", code)
		w.WriteHeader(status)
		io.WriteString(w, `{"__type":"`+code+`","message":"as AWS says"}`)
	}
	hangUp := func(w http.ResponseWriter) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	}
	for name, tt := range map[string]struct {
		create    func(w http.ResponseWriter, try int)
		wantCalls int
		wantErr   string // "" means deployed
		rejected  bool
	}{
		"throttled once": {create: func(w http.ResponseWriter, try int) {
			if try == 1 {
				refuse(w, 400, "ThrottlingException")
				return
			}
			io.WriteString(w, `{"deploymentId":"d-1"}`)
		}, wantCalls: 2},
		"fault of the server": {create: func(w http.ResponseWriter, _ int) { refuse(w, 500, "InternalFailure") }, wantCalls: 1, wantErr: "InternalFailure"},
		"answer lost":         {create: func(w http.ResponseWriter, _ int) { hangUp(w) }, wantCalls: 1, wantErr: "EOF"},
		"group busy":          {create: func(w http.ResponseWriter, _ int) { refuse(w, 400, "DeploymentLimitExceededException") }, wantCalls: 1, wantErr: "DeploymentLimitExceededException"},
		"permission missing":  {create: func(w http.ResponseWriter, _ int) { refuse(w, 400, "AccessDeniedException") }, wantCalls: 1, wantErr: "AccessDeniedException"},
		"group gone":          {create: func(w http.ResponseWriter, _ int) { refuse(w, 400, "DeploymentGroupDoesNotExistException") }, wantCalls: 1, wantErr: "create the deployment group, or correct deploymentgroup-name", rejected: true},
		"with a namespace": {create: func(w http.ResponseWriter, _ int) {
			refuse(w, 400, "com.amazonaws.codedeploy.v20141006#InvalidRevisionException")
		}, wantCalls: 1, wantErr: "InvalidRevisionException: as AWS says", rejected: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeAWS(t)
			f.create = tt.create
			_, err := f.upload(t, Upload{Bucket: testBucket, Key: testKey})
			assert.Len(t, f.creates, tt.wantCalls)
			if tt.wantErr == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.wantErr)
			assert.Equal(t, tt.rejected, errors.Is(err, ErrRejected))
		})
	}
}

func TestS14_OnTheWireAMissingObjectIsRejected(t *testing.T) {
	for status, rejected := range map[int]bool{404: true, 405: true, 403: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		defer server.Close()
		f := &fakeAWS{Server: server}
		_, err := f.upload(t, Upload{Bucket: testBucket, Key: testKey, VersionID: "v1"})
		require.Error(t, err)
		assert.Equal(t, rejected, errors.Is(err, ErrRejected), "HTTP %d: %v", status, err)
	}
}

// A connection that Lambda froze with the process is likely dead by the time
// it is used again.
func TestS14_OnTheWireAnIdleConnectionIsNotUsedAgain(t *testing.T) {
	env := newFakeAWS(t).lambdaEnvironment(t)
	config, err := awsConfig(func(name string) string { return env[name] })
	require.NoError(t, err)
	options := codedeploy.NewFromConfig(config).Options()
	client, ok := options.HTTPClient.(interface{ GetTransport() *http.Transport })
	require.True(t, ok)
	assert.Equal(t, idleConnection, client.GetTransport().IdleConnTimeout)
}
