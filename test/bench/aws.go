package main

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	proof "gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/internal/trust/signer"
	"gitlab-codedeploy/test/faults/cloud"
)

const (
	region    = "ap-northeast-1"
	bucket    = "example-deploy-bench"
	gitlabURL = "https://gitlab.example.com"
)

var pair = cloud.Pair{Application: "sample-web", Group: "sample-web-blue-green"}

// gitlab signs the tokens of jobs, and job is what they say.
var (
	gitlab = sync.OnceValue(func() *signer.Signer {
		s, err := signer.New(gitlabURL)
		if err != nil {
			panic(err) // There is no randomness.
		}
		return s
	})
	job = signer.Job{Project: proof.Project{ID: 42, Path: "team/sample-web"}, Ref: "main", Audience: proof.Audience, TTL: time.Hour}
)

// account is the part of AWS that the trigger sees, without faults, over TLS.
type account struct {
	mu    sync.Mutex
	aws   *cloud.AWS
	calls map[string]int
	bad   []string // answers that no call here should get

	server *httptest.Server
}

// between is the time from one upload to the next.
const between = 5 * time.Minute

// newAccount returns an account for a number of uploads. It begins as long ago as
// they take: the function's clock is the real one, and a deployment of its
// future would be new to it at every look.
func newAccount(uploads int) *account {
	a := &account{
		aws:   cloud.New(time.Now().UTC().Add(-time.Duration(uploads+1)*between), rand.New(rand.NewPCG(1, 2)), bucket),
		calls: map[string]int{},
	}
	a.aws.Deployments.AddGroup(&cloud.Group{Pair: pair})
	a.aws.Deployments.Course = func(*cloud.Deployment) cloud.Course {
		return cloud.Course{Lasts: time.Minute, Outcome: "Succeeded"}
	}
	a.aws.Deployments.Changed = func(*cloud.Deployment, string) {}
	a.server = httptest.NewTLSServer(a)
	return a
}

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request, err := cloud.Read(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotImplemented)
		return
	}
	a.mu.Lock()
	a.calls[request.Operation]++
	response := a.aws.Serve(request)
	if response.Status >= 300 && !(request.Operation == "GetObject" && response.Status == http.StatusNotFound) { // the first look at the record
		a.bad = append(a.bad, request.String()+" → "+response.String())
	}
	a.mu.Unlock()
	response.Send(w)
}

// upload puts an artifact as the CI job does, and returns the event that the
// queue hands to the trigger for it.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
func (a *account) upload(number int) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := fmt.Sprintf("4711-%d-0123456789ab", number)
	job := job
	job.Issued = a.aws.Clock.Now()
	a.aws.Bucket.Put(proof.TokenKey(id), nil, []byte(gitlab().Token(job)))
	version := a.aws.Bucket.Put("artifacts/"+pair.Application+"/artifact.gz", map[string]string{
		"application-name":     pair.Application,
		"deploymentgroup-name": pair.Group,
		"upload-id":            id,
		"commit-sha":           "8595dc0256c95cb540075d4e5be80ac445fd3789",
		"pipeline-url":         "https://gitlab.example.com/team/sample-web/-/pipelines/4711",
	}, []byte("an artifact"))
	event, err := json.Marshal(map[string]any{"Records": []any{map[string]any{
		"messageId":         fmt.Sprintf("059f36b4-87a3-44ab-83d2-%012d", number),
		"receiptHandle":     strings.Repeat("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy", 5),
		"body":              a.aws.Bucket.Event(version),
		"attributes":        map[string]string{"ApproximateReceiveCount": "1", "SentTimestamp": fmt.Sprint(version.Modified.UnixMilli())},
		"messageAttributes": map[string]any{},
		"md5OfBody":         "e4e68fb7bd0e697a0ae8f1bb342846b3",
		"eventSource":       "aws:sqs",
		"eventSourceARN":    "arn:aws:sqs:" + region + ":222222222222:uploads",
		"awsRegion":         region,
	}}})
	if err != nil {
		panic(err)
	}
	return event
}

// settle lets the deployment come to its end, and some idle minutes go by.
func (a *account) settle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ok := a.aws.Clock.Due(); ok; _, ok = a.aws.Clock.Due() {
		a.aws.Clock.Next()
	}
	a.aws.Clock.Tick(between - time.Minute)
	// The status function has noted the end in the group's record.
	for _, record := range a.aws.Bucket.Under("groups/") {
		text, err := ended(record.Body(), a.aws.Deployments.Of(pair))
		if err != nil {
			panic(err) // One of the programs writes records that are none.
		}
		a.aws.Bucket.Put(record.Key, nil, text)
	}
}

// ended is a record after its attempt has become the last of these deployments,
// which has succeeded.
func ended(text []byte, deployments []*cloud.Deployment) ([]byte, error) {
	var record struct {
		Attempt     map[string]any   `json:"attempt"`
		Deployments []map[string]any `json:"deployments"`
	}
	var all map[string]any
	if err := errors.Join(json.Unmarshal(text, &record), json.Unmarshal(text, &all)); err != nil || record.Attempt == nil || len(deployments) == 0 {
		return nil, fmt.Errorf("%s, with %d deployments: %w", text, len(deployments), err)
	}
	done := record.Attempt
	last := deployments[len(deployments)-1]
	done["deploymentId"], done["state"], done["seenAt"], done["told"] = last.ID, "Succeeded", done["at"], true
	delete(all, "attempt")
	all["newest"], all["deployments"] = record.Attempt, append(record.Deployments, done)
	return json.Marshal(all)
}

// takeCalls returns the calls since the last time, by operation.
func (a *account) takeCalls() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	calls := a.calls
	a.calls = map[string]int{}
	return calls
}

// check says whether every one of the uploads was deployed, and nothing else
// happened: a benchmark of what does not work is worth nothing.
func (a *account) check(uploads int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	deployed := len(a.aws.Deployments.Of(pair))
	var created int
	for _, status := range a.aws.Bucket.Under("deployments/") {
		if strings.Contains(string(status.Body()), `"Created"`) {
			created++
		}
	}
	if deployed != uploads || created != uploads || len(a.bad) > 0 {
		return fmt.Errorf("%d uploads, but %d deployments and %d status objects; refused calls: %q", uploads, deployed, created, a.bad)
	}
	return nil
}

// trust writes a file of CA certificates: the system's, so that reading them
// takes as long as it takes in Lambda, and the server's.
func trust(server *httptest.Server, file string) error {
	bundle, _ := os.ReadFile("/etc/ssl/certs/ca-certificates.crt") // Debian's place; elsewhere it is the server's alone.
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return os.WriteFile(file, slices.Concat(bundle, own), 0o600)
}
