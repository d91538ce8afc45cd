package report

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/deploy"
	"gitlab-codedeploy/lambda/internal/again"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/awstest"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/status"
)

var (
	ours = allowlist.Pair{Application: "web", DeploymentGroup: "web-blue-green"}
	// job9 is the upload of newFixture, job10 one that came after it.
	job9  = group.Upload{ID: "job-9", Key: testKey, VersionID: "v1", Uploaded: time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)}
	job10 = group.Upload{ID: "job-10", Key: "artifacts/web/later.gz", VersionID: "v2", Uploaded: job9.Uploaded.Add(time.Minute)}
)

// queues are both dead-letter queues, and the trigger's queue.
type queues struct {
	sent    []string
	letters map[string][]string // bodies by queue, taken once
	endless bool                // the letters are never all taken
	taken   int
	deleted []string
	refuse  string // an operation that fails
}

func (q *queues) SendMessage(_ context.Context, in *sqs.SendMessageInput, _ ...func(*sqs.Options)) (*sqs.SendMessageOutput, error) {
	if q.refuse == "send" {
		return nil, errors.New("send refused")
	}
	q.sent = append(q.sent, *in.MessageBody)
	return &sqs.SendMessageOutput{}, nil
}

func (q *queues) ReceiveMessage(_ context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	q.taken++
	if q.refuse == "receive" {
		return nil, errors.New("receive refused")
	}
	letters := q.letters[*in.QueueUrl]
	if in.WaitTimeSeconds == 0 {
		letters = nil // Not all of SQS's servers are asked, and these have none.
	}
	n := min(len(letters), int(in.MaxNumberOfMessages))
	var out []sqstypes.Message
	for _, body := range letters[:n] {
		out = append(out, sqstypes.Message{Body: aws.String(body), ReceiptHandle: aws.String("handle of " + body)})
	}
	if !q.endless {
		q.letters[*in.QueueUrl] = letters[n:]
	}
	return &sqs.ReceiveMessageOutput{Messages: out}, nil
}

func (q *queues) DeleteMessage(_ context.Context, in *sqs.DeleteMessageInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error) {
	if q.refuse == "delete" {
		return nil, errors.New("delete refused")
	}
	q.deleted = append(q.deleted, strings.TrimPrefix(*in.ReceiptHandle, "handle of "))
	return &sqs.DeleteMessageOutput{}, nil
}

// newSchedule is a fixture whose bucket lists its records, and whose CodeDeploy
// answers BatchGetDeployments with these states by id.
func newSchedule(t *testing.T, states map[string]string) (fixture, *queues) {
	f := newFixture(t, deployment("Succeeded"))
	q := &queues{letters: map[string][]string{}}
	f.reporter.Queues = q
	f.reporter.DeadLetters, f.reporter.OwnDeadLetters = "dead", "own"
	f.Operations["BatchGetDeployments"] = func(w http.ResponseWriter, body string, _ int) {
		var in struct{ DeploymentIds []string }
		require.NoError(t, json.Unmarshal([]byte(body), &in))
		var infos []string
		for _, id := range in.DeploymentIds {
			if states[id] != "" {
				infos = append(infos, `{"deploymentId":"`+id+`","applicationName":"web","deploymentGroupName":"web-blue-green",`+states[id]+`}`)
			}
		}
		fmt.Fprintf(w, `{"deploymentsInfo":[%s]}`, strings.Join(infos, ","))
	}
	f.records(recordPath)
	f.Put("/"+testBucket+"/"+testKey, http.Header{
		"X-Amz-Meta-Upload-Id": {"job-9"}, "X-Amz-Meta-Application-Name": {"web"}, "X-Amz-Meta-Deploymentgroup-Name": {"web-blue-green"}, "X-Amz-Version-Id": {"v1"},
	}, "")
	return f, q
}

// records makes the bucket list these paths, two on a page.
func (f fixture) records(paths ...string) {
	slices.Sort(paths)
	f.S3 = func(w http.ResponseWriter, r *http.Request) bool {
		query := r.URL.Query()
		if !query.Has("list-type") {
			return false
		}
		type content struct{ Key, ETag string }
		var page struct {
			XMLName               xml.Name `xml:"ListBucketResult"`
			IsTruncated           bool
			NextContinuationToken string
			Contents              []content
		}
		after := max(query.Get("start-after"), query.Get("continuation-token"))
		for _, path := range paths {
			key := strings.TrimPrefix(path, "/"+testBucket+"/")
			if key <= after {
				continue
			}
			if page.IsTruncated = len(page.Contents) == 2; page.IsTruncated {
				page.NextContinuationToken = page.Contents[1].Key
				break
			}
			page.Contents = append(page.Contents, content{key, fmt.Sprintf(`"%x"`, md5.Sum([]byte(f.Object(path))))})
		}
		_ = xml.NewEncoder(w).Encode(page)
		return true
	}
}

func (f fixture) putRecord(t *testing.T, r group.Record) {
	t.Helper()
	r.Application, r.DeploymentGroup = ours.Application, ours.DeploymentGroup
	text, err := json.Marshal(r)
	require.NoError(t, err)
	f.Put(recordPath, nil, string(text))
}

func (f fixture) readRecord(t *testing.T) (r group.Record) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(f.Object(recordPath)), &r))
	return r
}

func (f fixture) putStatus(state string, more string) {
	f.Put(statusPath, nil, `{"uploadId":"job-9","state":"`+state+`","key":"`+testKey+`","versionId":"v1"`+more+`}`)
}

// A run that came after the events of a deployment's end were lost.
//
//fault:end all events of a deployment are lost | the schedule finds its state
func TestS15_TheScheduleRepairsWhatNoEventTold(t *testing.T) {
	f, q := newSchedule(t, map[string]string{"d-1": `"status":"Succeeded"`})
	f.putStatus("InProgress", `,"deploymentId":"d-1"`)
	f.putRecord(t, group.Record{Waiting: &job10, Deployments: []group.Deployment{{Upload: job9, DeploymentID: "d-1", State: status.InProgress}}})
	require.NoError(t, f.handle(t, schedule))
	assert.Equal(t, "Succeeded", f.status(t, statusPath)["state"])
	r := f.readRecord(t)
	assert.Equal(t, status.Succeeded, r.Deployments[0].State)
	assert.True(t, r.Deployments[0].Told)
	assert.Equal(t, []string{again.Message(testBucket, ours, job10)}, q.sent, "it is its turn")
	assert.Contains(t, f.log.String(), `"msg":"reconciled","states":1,"again":1,"givenUp":0`)
	assert.Contains(t, f.metrics.String(), `"StatesReconciled":1`)
	assert.NotContains(t, f.metrics.String(), "UploadsGivenUp")

	f.metrics.Reset()
	require.NoError(t, f.handle(t, schedule))
	assert.Len(t, q.sent, 2, "as long as it waits: its message may be lost")
	assert.Empty(t, f.metrics.String(), "no state was repaired")
	assert.Len(t, f.Bodies("BatchGetDeployments"), 1, "an end that was told is not asked about")
}

// The trigger tells the job of a deployment, and leaves an attempt in the record.
//
//fault:end all events of a deployment are lost, and no other upload comes | the schedule finds it by what its job was told
func TestS15_WhatCameOfAnAttemptIsFollowedToItsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		told   string
		answer string
		want   string
		record group.Deployment
		gone   bool // the attempt
	}{
		"it has ended":     {`,"deploymentId":"d-1"`, `"status":"Succeeded"`, "Succeeded", group.Deployment{State: status.Succeeded, Told: true}, true},
		"it is under way":  {`,"deploymentId":"d-1"`, `"status":"InProgress"`, "InProgress", group.Deployment{State: status.InProgress}, true},
		"nobody was told":  {"", "", "Created", group.Deployment{}, false},
		"CodeDeploy lacks": {`,"deploymentId":"d-1"`, "", "Created", group.Deployment{State: status.Created}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f, q := newSchedule(t, map[string]string{"d-1": tt.answer})
			f.putStatus("Created", `,"application":"web","deploymentGroup":"web-blue-green"`+tt.told)
			f.putRecord(t, group.Record{Attempt: &group.Attempt{Upload: job9, Owner: "m1/1", At: f.reporter.Records.Time()}})
			require.NoError(t, f.handle(t, schedule))
			assert.Contains(t, f.Object(statusPath), `"state":"`+tt.want+`"`)
			r := f.readRecord(t)
			assert.Equal(t, tt.gone, r.Attempt == nil)
			if tt.gone {
				require.Len(t, r.Deployments, 1)
				got := r.Deployments[0]
				assert.Equal(t, tt.record, group.Deployment{State: got.State, Told: got.Told})
				assert.Equal(t, job9, got.Upload)
			}
			assert.Empty(t, q.sent)
		})
	}
	f, _ := newSchedule(t, nil)
	f.refuse(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/deployments/") })
	f.putRecord(t, group.Record{Attempt: &group.Attempt{Upload: job9}})
	assert.ErrorContains(t, f.handle(t, schedule), "groups/web/web-blue-green.json: find out what came of an attempt")
}

// A record in which nothing is unfinished is read when it has changed.
//
//fault:end nothing is unfinished in a group | the schedule makes no call for it
func TestS15_ACalmGroupCostsNoCall(t *testing.T) {
	f, q := newSchedule(t, nil)
	f.reporter.DeadLetters = ""
	f.putRecord(t, group.Record{Deployments: []group.Deployment{{Upload: job9, DeploymentID: "d-1", State: status.Succeeded, Told: true}}})
	calls := func() (calls []string) {
		before := len(f.Requests())
		require.NoError(t, f.handle(t, schedule))
		return f.Requests()[before:]
	}
	list := "GET /" + testBucket + "?list-type=2&prefix=groups%2F"
	assert.Equal(t, []string{list, "GET " + recordPath}, calls())
	assert.Equal(t, []string{list}, calls())
	f.putRecord(t, group.Record{Waiting: &job10})
	assert.Equal(t, []string{list, "GET " + recordPath}, calls())
	assert.Equal(t, []string{list, "GET " + recordPath}, calls())
	assert.Len(t, q.sent, 2)
	f.putRecord(t, group.Record{})
	assert.Equal(t, []string{list, "GET " + recordPath}, calls())
	assert.Equal(t, []string{list}, calls())
	assert.Zero(t, q.taken, "there is no queue of dead letters")
}

func TestS15_ARecordIsCalmWhenNothingIsToCome(t *testing.T) {
	now := job9.Uploaded.Add(time.Hour)
	done := []group.Deployment{{Upload: job9, State: status.Succeeded, Told: true}}
	for name, tt := range map[string]struct {
		record group.Record
		want   bool
	}{
		"nothing":     {group.Record{}, true},
		"all told":    {group.Record{Deployments: done}, true},
		"not told":    {group.Record{Deployments: append([]group.Deployment{{Upload: job9, State: status.Succeeded}}, done...)}, false},
		"waiting":     {group.Record{Deployments: done, Waiting: &job10}, false},
		"attempted":   {group.Record{Deployments: done, Attempt: &group.Attempt{}}, false},
		"to mark":     {group.Record{Deployments: done, Expired: []group.Upload{job10}}, false},
		"to be asked": {group.Record{Deployments: done, Noted: []group.Upload{job10}}, false},
		"an end told": {group.Record{Ended: []group.End{{Upload: job9, Told: true}}}, true},
		"to be told":  {group.Record{Ended: []group.End{{Upload: job9, Told: true}, {Upload: job10}}}, false},
	} {
		assert.Equal(t, tt.want, calm(&tt.record, now), name)
	}
}

func TestS15_WhoseTurnItIs(t *testing.T) {
	now := job9.Uploaded.Add(time.Hour)
	attempt := func(age time.Duration) *group.Attempt { return &group.Attempt{Upload: job9, At: now.Add(-age)} }
	busy := []group.Deployment{{State: status.Succeeded}, {State: status.InProgress}}
	free := []group.Deployment{{State: status.Succeeded}, {State: status.Failed}}
	for name, tt := range map[string]struct {
		record  group.Record
		allowed allowlist.List
		want    []group.Upload
	}{
		"nobody's":                         {group.Record{Deployments: free}, nil, nil},
		"who waits for nothing":            {group.Record{Waiting: &job10, Deployments: free}, nil, []group.Upload{job10}},
		"who waits for the group":          {group.Record{Waiting: &job10, Deployments: busy}, nil, nil},
		"who waits, and is listed":         {group.Record{Waiting: &job10, Deployments: busy}, allowlist.List{ours: {}}, nil},
		"who waits, and is listed no more": {group.Record{Waiting: &job10, Deployments: busy}, allowlist.List{}, []group.Upload{job10}},
		"nobody's during an attempt":       {group.Record{Waiting: &job10, Attempt: attempt(2*time.Minute - 1)}, nil, nil},
		"the attempt's after its lease":    {group.Record{Waiting: &job10, Attempt: attempt(2 * time.Minute)}, nil, []group.Upload{job9, job10}},
		"the attempt's alone":              {group.Record{Attempt: attempt(2 * time.Minute)}, nil, []group.Upload{job9}},
	} {
		tt.record.Application, tt.record.DeploymentGroup = ours.Application, ours.DeploymentGroup
		assert.Equal(t, tt.want, (&Reporter{Allowed: tt.allowed}).turn(&tt.record, now), name)
	}
}

func TestS15_ANotedUploadIsAskedAboutAndItsGroupIsNamed(t *testing.T) {
	f, q := newSchedule(t, nil)
	f.putRecord(t, group.Record{Noted: []group.Upload{job9, job10}})
	require.NoError(t, f.handle(t, schedule))
	assert.Equal(t, []string{again.Message(testBucket, ours, job9), again.Message(testBucket, ours, job10)}, q.sent)

	q.refuse = "send"
	require.ErrorContains(t, f.handle(t, schedule), "groups/web/web-blue-green.json: send a message about upload job-9: send refused")
	f.reporter.Queue = ""
	require.NoError(t, f.handle(t, schedule), "without a queue what waits comes again by itself")
}

// What a deployment says is told once, and what CodeDeploy does not have any
// more has failed after an hour.
//
//fault:end CodeDeploy has forgotten a deployment that has not ended | an hour later its state is Failed, and says so
func TestS15_UnfinishedDeploymentsAreAskedAbout(t *testing.T) {
	for name, tt := range map[string]struct {
		known     group.Deployment // in the record
		age       time.Duration
		answer    string
		told      string // the state of the job before
		want      string // and after
		reconcile int    // StatesReconciled
		record    group.Deployment
	}{
		"under way": {
			group.Deployment{State: status.Created}, 0, `"status":"InProgress"`, "InProgress", "InProgress", 0,
			group.Deployment{State: status.InProgress},
		},
		"it goes on, with a reason that does not stay": {
			group.Deployment{State: status.InProgress}, 0,
			`"status":"Ready","blueGreenDeploymentConfiguration":{"deploymentReadyOption":{"actionOnTimeout":"STOP_DEPLOYMENT","waitTimeInMinutes":5}}`, "InProgress", "Ready", 1,
			group.Deployment{State: status.Ready},
		},
		"it failed": {
			group.Deployment{State: status.InProgress}, 0, `"status":"Failed","errorInformation":{"code":"TIMEOUT","message":"x"}`, "InProgress", "Failed", 1,
			group.Deployment{State: status.Failed, Reason: "TIMEOUT: x", Told: true},
		},
		"an event has told of it": {
			group.Deployment{State: status.InProgress}, 0, `"status":"Succeeded"`, "Succeeded", "Succeeded", 0,
			group.Deployment{State: status.Succeeded, Told: true},
		},
		"CodeDeploy does not have it yet": {
			group.Deployment{State: status.Created}, forgotten - time.Minute, "", "Created", "Created", 0,
			group.Deployment{State: status.Created},
		},
		"CodeDeploy does not have it any more": {
			group.Deployment{State: status.Created}, forgotten + time.Minute, "", "Created", "Failed", 1,
			group.Deployment{State: status.Failed, Told: true, Reason: "CodeDeploy does not have the deployment any more: its application or group was deleted"},
		},
		"an end of which CodeDeploy knows nothing": {
			group.Deployment{State: status.Failed, Told: true}, 0, "", "Failed", "Failed", 0,
			group.Deployment{State: status.Failed, Told: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newSchedule(t, map[string]string{"d-1": tt.answer, "d-2": `"status":"Failed"`})
			f.putStatus(tt.told, `,"deploymentId":"d-1"`)
			tt.known.Upload, tt.known.DeploymentID, tt.known.SeenAt = job9, "d-1", f.reporter.Records.Time().Add(-tt.age)
			f.putRecord(t, group.Record{Deployments: []group.Deployment{tt.known}})
			require.NoError(t, f.handle(t, schedule))
			assert.Contains(t, f.Object(statusPath), `"state":"`+tt.want+`"`)
			got := f.readRecord(t).Deployments[0]
			assert.Equal(t, tt.record, group.Deployment{State: got.State, Reason: got.Reason, Told: got.Told})
			assert.Equal(t, tt.reconcile > 0, strings.Contains(f.metrics.String(), `"StatesReconciled":1`))
		})
	}
}

func TestS15_FaultsOfOneGroupLeaveTheOthersAlone(t *testing.T) {
	f, q := newSchedule(t, map[string]string{"d-1": `"status":"Succeeded"`})
	f.records(recordPath, "/"+testBucket+"/groups/a/b.json")
	f.Put("/"+testBucket+"/groups/a/b.json", nil, "no record")
	f.putRecord(t, group.Record{Waiting: &job10})
	require.ErrorContains(t, f.handle(t, schedule), "groups/a/b.json: read the group's record: ")
	assert.Len(t, q.sent, 1)

	for operation, sabotage := range map[string]func(){
		"read deployments: ": func() {
			f.Operations["BatchGetDeployments"] = func(w http.ResponseWriter, _ string, _ int) { awstest.Refuse(w, 400, "AccessDeniedException") }
		},
		"list the groups' records: ": func() {
			f.S3 = func(w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(http.StatusForbidden)
				return r.URL.Query().Has("list-type")
			}
		},
		"look into the dead letters: receive refused": func() { q.refuse = "receive" },
	} {
		f, q = newSchedule(t, nil)
		f.putRecord(t, group.Record{Deployments: []group.Deployment{{Upload: job9, DeploymentID: "d-1", State: status.InProgress}}})
		sabotage()
		require.ErrorContains(t, f.handle(t, schedule), operation)
	}
}

func TestS15_NoMoreVersionsAreMarkedAtOnceThanTimeAllows(t *testing.T) {
	f, _ := newSchedule(t, nil)
	var expired []group.Upload
	for n := range mostMarked + 5 {
		expired = append(expired, group.Upload{ID: fmt.Sprint("old-", n), Key: testKey, VersionID: fmt.Sprint("old-", n)})
	}
	f.putRecord(t, group.Record{Expired: expired})
	require.NoError(t, f.handle(t, schedule))
	assert.Equal(t, expired[mostMarked:], f.readRecord(t).Expired)
	assert.Contains(t, f.Requests(), "PUT /"+testBucket+"/"+testKey+"?tagging=&versionId=old-19")
	require.NoError(t, f.handle(t, schedule))
	assert.Empty(t, f.readRecord(t).Expired)

	f.putRecord(t, group.Record{Expired: expired})
	f.refuse(func(r *http.Request) bool { return r.URL.Query().Has("tagging") })
	require.ErrorContains(t, f.handle(t, schedule), "mark the version as unwanted")
}

// What one group lets go of another one may have been given by a promotion.
//
//fault:live a version is promoted, and the group that it comes from has had eleven newer ones | it is marked only once the other group lets go of it, too
func TestS15_WhatAnotherGroupHoldsIsNotMarked(t *testing.T) {
	const other = "/" + testBucket + "/groups/web/production.json"
	promoted := group.Upload{ID: "order.1", Key: "orders/web/production/1.json", VersionID: "o1", Order: group.Order{Order: status.Order{Kind: "promote", Operator: "AWS:X:alice"}, Key: job9.Key, VersionID: job9.VersionID}}
	for name, r := range map[string]group.Record{
		"deployed":       {Deployments: []group.Deployment{{Upload: promoted, DeploymentID: "d-1", State: status.Succeeded, Told: true}}},
		"is about to be": {Attempt: &group.Attempt{Upload: promoted, At: time.Now()}},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newSchedule(t, nil)
			f.records(recordPath, other)
			f.putRecord(t, group.Record{Expired: []group.Upload{job9, job10}})
			r.Application, r.DeploymentGroup = "web", "production"
			text, err := json.Marshal(r)
			require.NoError(t, err)
			f.Put(other, nil, string(text))
			require.NoError(t, f.handle(t, schedule))
			assert.Empty(t, f.readRecord(t).Expired, "it is the other group's now")
			marked := slices.DeleteFunc(f.Requests(), func(r string) bool { return !strings.Contains(r, "tagging") })
			assert.Equal(t, []string{"PUT /" + testBucket + "/" + job10.Key + "?tagging=&versionId=v2"}, marked)
		})
	}
}

// A run that has no time left for a group lets the next one begin with it.
func TestS15_ARunThatIsLateIsGoneOnWith(t *testing.T) {
	f, q := newSchedule(t, nil)
	f.reporter.DeadLetters = ""
	f.putRecord(t, group.Record{Waiting: &job10})
	ctx, cancel := context.WithTimeout(t.Context(), reserve-time.Second)
	defer cancel()
	_, err := f.reporter.Handle(ctx, json.RawMessage(schedule))
	require.NoError(t, err)
	assert.Empty(t, q.sent)
	list := "GET /" + testBucket + "?list-type=2&prefix=groups%2F"
	require.NoError(t, f.handle(t, schedule))
	assert.ElementsMatch(t, []string{list, list + "&start-after=groups%2Fweb%2Fweb-blue-green.jso", "GET " + recordPath, list}, f.Requests())
	assert.Len(t, q.sent, 1)
	require.NoError(t, f.handle(t, schedule))
	assert.Equal(t, []string{list, "GET " + recordPath}, f.Requests()[4:], "from the first one again")
}

func TestS15_EachRecordIsListedOnceWhereverARunBegins(t *testing.T) {
	f, _ := newSchedule(t, nil)
	var paths, keys []string
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		keys = append(keys, "groups/"+name+"/x.json")
		paths = append(paths, "/"+testBucket+"/groups/"+name+"/x.json")
	}
	f.records(paths...)
	for begin, want := range map[string][]string{
		"":                 keys,
		"groups/a/x.jso":   keys,
		"groups/c/x.jso":   {keys[2], keys[3], keys[4], keys[0], keys[1]},
		"groups/c/x.json":  {keys[3], keys[4], keys[0], keys[1], keys[2]},
		"groups/e/x.jso":   {keys[4], keys[0], keys[1], keys[2], keys[3]},
		"groups/z/of-late": keys,
	} {
		var got []string
		require.NoError(t, f.reporter.list(t.Context(), begin, func(key, etag string) bool {
			assert.NotEmpty(t, etag)
			got = append(got, key)
			return true
		}))
		assert.Equal(t, want, got, "from %q", begin)

		got = nil
		require.NoError(t, f.reporter.list(t.Context(), begin, func(key, _ string) bool { got = append(got, key); return len(got) < 3 }))
		assert.Equal(t, want[:3], got, "until it is enough")
	}
}

// letter is a dead letter about job-9, as S3 sent it.
func letter() string { return letterOf("v1") }

func letterOf(version string) string {
	return `{"Records":[{"eventName":"ObjectCreated:Put","eventTime":"2026-11-23T01:02:03.000Z","s3":{"bucket":{"name":"` + testBucket +
		`"},"object":{"key":"` + testKey + `","versionId":"` + version + `"}}}]}`
}

//fault:end the message of an upload that waits ends in the dead-letter queue | its state says that it was given up, and what an operator has to do
func TestS15_WhoWaitsForADeadLetterIsToldThatItIsInVain(t *testing.T) {
	waits := group.Record{Waiting: &job9}
	for name, tt := range map[string]struct {
		letter string
		told   string // state of the job before
		more   string
		record *group.Record
		want   string // state of the job after
		reason string
		given  bool
		marked bool
	}{
		"it waits": {
			letter: letter(), told: "Waiting", record: &waits, want: "Rejected", reason: "an operator has to redrive it", given: true,
		},
		"its group is not known": {
			letter: letter(), told: "Waiting", want: "Rejected", reason: "an operator has to redrive it", given: true,
		},
		"nobody told anything": {letter: letter(), want: "Rejected", reason: "given up after ", given: true},
		"it has a deployment": {
			letter: letter(), told: "InProgress", more: `,"deploymentId":"d-1"`, record: &waits, want: "InProgress",
		},
		"it was given up before": {
			letter: letter(), told: "Rejected", more: `,"givenUp":true,"reason":"given up before"`, want: "Rejected", reason: "given up before",
		},
		"it has ended": {letter: letter(), told: "Superseded", want: "Superseded", marked: true},
		"its end was decided, and nobody told": {
			letter: letter(), told: "Waiting", want: "Superseded", reason: "newer", marked: true,
			record: &group.Record{Ended: []group.End{{Upload: job9, State: status.Superseded, Reason: "newer"}}},
		},
		"its deployment is known to the group": {
			letter: letter(), told: "Waiting", want: "Failed", reason: "TIMEOUT",
			record: &group.Record{Deployments: []group.Deployment{{Upload: job9, DeploymentID: "d-1", State: status.Failed, Reason: "TIMEOUT", Told: true}}},
		},
		"its deployment is perhaps being created": {
			letter: letter(), told: "Waiting", want: "Waiting",
			record: &group.Record{Attempt: &group.Attempt{Upload: job9, At: time.Now()}},
		},
		"another waits, another is created": {
			letter: letter(), told: "Waiting", want: "Rejected", given: true,
			record: &group.Record{Waiting: &job10, Attempt: &group.Attempt{Upload: job10, At: time.Now()}},
		},
		"it waits, another is created": {
			letter: letter(), told: "Waiting", want: "Rejected", given: true,
			record: &group.Record{Waiting: &job9, Attempt: &group.Attempt{Upload: job10, At: time.Now()}},
		},
		"its group is paused": {letter: letter(), told: "Waiting", want: "Waiting", record: &group.Record{Parked: &job9}},
		"the group is paused, and another is for its end": {
			letter: letter(), told: "Waiting", want: "Rejected", given: true, record: &group.Record{Parked: &job10},
		},
		"without a version": {letter: letterOf(""), told: "Waiting", want: "Waiting"},
		"no event":          {letter: "hello", told: "Waiting", want: "Waiting"},
		"of a version that is gone": {
			letter: again.Message(testBucket, ours, group.Upload{ID: "job-9", Key: "artifacts/gone.gz", VersionID: "v1", Uploaded: job9.Uploaded}),
			want:   "Rejected", reason: "given up after ", given: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, q := newSchedule(t, map[string]string{"d-1": `"status":"InProgress"`})
			f.reporter.Queue = ""
			if tt.told != "" {
				f.putStatus(tt.told, tt.more)
			}
			if tt.record != nil {
				f.putRecord(t, *tt.record)
			} else {
				f.records()
			}
			q.letters["dead"] = []string{tt.letter}
			require.NoError(t, f.handle(t, schedule))
			var got status.Status
			require.NoError(t, json.Unmarshal([]byte(f.Object(statusPath)), &got))
			assert.Equal(t, tt.want, string(got.State))
			assert.Contains(t, got.Reason, tt.reason)
			assert.Equal(t, tt.given, strings.Contains(f.metrics.String(), `"UploadsGivenUp":1`))
			assert.Equal(t, tt.given || tt.more != "" && tt.told == "Rejected", got.GivenUp)
			marked := slices.ContainsFunc(f.Requests(), func(r string) bool { return strings.Contains(r, "tagging") })
			assert.Equal(t, tt.marked, marked)
			assert.Empty(t, q.deleted, "the letters stay")
			if tt.given && tt.record != nil && tt.record.Waiting == &job9 {
				assert.Nil(t, f.readRecord(t).Waiting, "who is given up lets others pass")
			}
			if tt.given {
				assert.Equal(t, ours, allowlist.Pair{Application: got.Application, DeploymentGroup: got.DeploymentGroup})
			}
		})
	}
}

// Nobody knows whose version it was, and a redrive would not find out.
//
//fault:end the message about a version that is gone ends in the dead-letter queue | its state says that it is gone, and no redrive is asked for
func TestS15_ALetterAboutAVersionThatIsGoneIsNoReasonForARedrive(t *testing.T) {
	for told, want := range map[string]status.Status{
		"":           {State: status.Rejected, Reason: deploy.ReasonGone},
		"Waiting":    {State: status.Rejected, GivenUp: true}, // It was perhaps deployed.
		"Superseded": {State: status.Superseded},
	} {
		f, q := newSchedule(t, nil)
		f.records()
		const path = "/" + testBucket + "/deployments/v1.json"
		if told != "" {
			f.Put(path, nil, `{"uploadId":"v1","state":"`+told+`","key":"artifacts/gone.gz","versionId":"v1"}`)
		}
		q.letters["dead"] = []string{strings.ReplaceAll(letter(), testKey, "artifacts/gone.gz")}
		require.NoError(t, f.handle(t, schedule))
		var got status.Status
		require.NoError(t, json.Unmarshal([]byte(f.Object(path)), &got))
		if got.GivenUp {
			got.Reason = ""
		}
		assert.Equal(t, want, status.Status{State: got.State, Reason: got.Reason, GivenUp: got.GivenUp}, "told %q", told)
		assert.Equal(t, want.GivenUp, strings.Contains(f.metrics.String(), "UploadsGivenUp"), "told %q", told)
	}
}

// The order's object is gone, so that only the record says which artifact it was about.
//
//fault:end an order is deleted while it waits, and its message ends in the dead-letter queue | its state says that it was given up, and whose artifact it is about
func TestS15_ALetterAboutAnOrderThatIsGoneIsAboutItsArtifact(t *testing.T) {
	ordered := group.Upload{
		ID: "order.1", Key: "orders/web/web-blue-green/1.json", VersionID: "o1", Uploaded: job9.Uploaded,
		Order: group.Order{Order: status.Order{Kind: "rollback", Operator: "AWS:X:alice"}, Key: job9.Key, VersionID: job9.VersionID},
	}
	f, q := newSchedule(t, nil)
	f.reporter.Queue = ""
	f.putRecord(t, group.Record{Waiting: &ordered})
	q.letters["dead"] = []string{again.Message(testBucket, ours, ordered)}
	require.NoError(t, f.handle(t, schedule))
	got := f.status(t, "/"+testBucket+"/deployments/order.1.json")
	assert.Equal(t, true, got["givenUp"], got)
	assert.Equal(t, []any{job9.Key, job9.VersionID}, []any{got["key"], got["versionId"]})

	f, q = newSchedule(t, nil)
	f.reporter.Queue = ""
	f.putRecord(t, group.Record{Waiting: &ordered})
	q.letters["dead"] = []string{again.Message(testBucket, ours, ordered)}
	f.refuse(func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Path == recordPath })
	require.Error(t, f.handle(t, schedule))
	assert.NotContains(t, f.metrics.String(), "UploadsGivenUp", "what cannot be read is no end")
}

// An upload whose message is a dead letter is deployed by hand. The event of its
// start comes, and none after that.
//
//fault:hands an upload whose message is a dead letter is deployed by hand, and the event of the end is lost | the deployment is followed to its end all the same
func TestS15_WhatIsDeployedByHandInsteadOfARedriveIsFollowed(t *testing.T) {
	accepted := job9
	accepted.Uploaded = job9.Uploaded.Add(250 * time.Millisecond)
	for name, tt := range map[string]struct {
		record   *group.Record
		uploaded time.Time
		waiting  *group.Upload
	}{
		"the group has no record":      {nil, job9.Uploaded, nil},
		"the record knows the upload":  {&group.Record{Ended: []group.End{{Upload: accepted, State: status.Superseded, Told: true}}}, accepted.Uploaded, nil},
		"the record knows a newer one": {&group.Record{Waiting: &job10}, job9.Uploaded, &job10},
		"an older one waits":           {&group.Record{Waiting: &group.Upload{ID: "job-8", Key: testKey, VersionID: "v0"}}, job9.Uploaded, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, q := newSchedule(t, map[string]string{"d-WIRE00001": `"status":"Succeeded"`})
			if tt.record != nil {
				f.putRecord(t, *tt.record)
			}
			f.putStatus("Rejected", `,"givenUp":true,"reason":"given up before"`)
			f.Operations["GetDeployment"] = func(w http.ResponseWriter, _ string, _ int) {
				io.WriteString(w, deployment("InProgress", "upload-id=job-9", "by hand"))
			}
			require.NoError(t, f.handle(t, sample("START")))
			r := f.readRecord(t)
			require.Len(t, r.Deployments, 1)
			assert.Equal(t, group.Upload{ID: "job-9", Key: testKey, VersionID: "v1", Uploaded: tt.uploaded}, r.Deployments[0].Upload)
			assert.Equal(t, "d-WIRE00001", r.Deployments[0].DeploymentID)
			assert.Equal(t, status.InProgress, r.Deployments[0].State)
			assert.Equal(t, tt.waiting, r.Waiting)
			assert.Contains(t, f.Object(statusPath), `"state":"InProgress"`)

			q.letters["dead"] = []string{letter()}
			require.NoError(t, f.handle(t, schedule))
			assert.Contains(t, f.Object(statusPath), `"state":"Succeeded"`)
			assert.Contains(t, f.metrics.String(), `"StatesReconciled":1`)
		})
	}
}

// Whoever decides an end may die before he tells it.
//
//fault:end a process dies between the decision and the telling | the schedule tells
func TestS15_TheScheduleTellsEndsThatNobodyTold(t *testing.T) {
	ends := []group.End{{Upload: job9, State: status.Superseded, Reason: "newer"}, {Upload: job10, State: status.Superseded, Told: true}}
	f, _ := newSchedule(t, nil)
	f.putStatus("Waiting", "")
	f.putRecord(t, group.Record{Ended: ends})
	require.NoError(t, f.handle(t, schedule))
	assert.Equal(t, map[string]any{
		"uploadId": "job-9", "state": "Superseded", "deploymentId": "", "application": "web", "deploymentGroup": "web-blue-green",
		"key": testKey, "versionId": "v1", "reason": "newer",
	}, f.status(t, statusPath))
	r := f.readRecord(t)
	assert.Equal(t, []bool{true, true}, []bool{r.Ended[0].Told, r.Ended[1].Told})
	assert.Equal(t, 1, strings.Count(strings.Join(f.Requests(), "\n"), "tagging"), "the other one was marked when it was told")

	// Somebody has deployed it by hand all the same.
	f, _ = newSchedule(t, nil)
	f.putStatus("InProgress", `,"deploymentId":"d-1"`)
	f.putRecord(t, group.Record{Ended: ends})
	require.NoError(t, f.handle(t, schedule))
	assert.Contains(t, f.Object(statusPath), `"state":"InProgress"`)
	assert.True(t, f.readRecord(t).Ended[0].Told)
	assert.NotContains(t, strings.Join(f.Requests(), "\n"), "tagging")

	for want, refuse := range map[string]func(*http.Request) bool{
		"read the status: ":            func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Path == statusPath },
		"write the status: ":           func(r *http.Request) bool { return r.Method == http.MethodPut && r.URL.Path == statusPath },
		"mark the version as unwanted": func(r *http.Request) bool { return r.URL.Query().Has("tagging") },
	} {
		f, _ = newSchedule(t, nil)
		f.putStatus("Waiting", "")
		f.putRecord(t, group.Record{Ended: ends})
		f.refuse(refuse)
		require.ErrorContains(t, f.handle(t, schedule), want)
		assert.False(t, f.readRecord(t).Ended[0].Told, "it is told by the next run")
	}
}

// refuse answers 403 to some requests of S3.
func (f fixture) refuse(some func(*http.Request) bool) {
	otherwise := f.S3
	f.S3 = func(w http.ResponseWriter, r *http.Request) bool {
		if some(r) {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return otherwise(w, r)
	}
}

// meanwhile does something before the first write of a path.
func (f fixture) meanwhile(path string, do func()) {
	otherwise := f.S3
	done := false
	f.S3 = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && r.URL.Path == path && !done {
			done = true
			do()
		}
		return otherwise(w, r)
	}
}

func TestS15_WhatHappensWhileSomebodyIsGivenUpStands(t *testing.T) {
	for name, tt := range map[string]struct {
		path string
		do   func(*testing.T, fixture)
		want string
		left group.Record // of what waits and is attempted
	}{
		"a newer one comes": {recordPath, func(t *testing.T, f fixture) {
			f.putRecord(t, group.Record{Waiting: &job10, Ended: []group.End{{Upload: job9, State: status.Superseded}}})
		}, "Rejected", group.Record{Waiting: &job10}},
		"nobody waits any more": {recordPath, func(t *testing.T, f fixture) { f.putRecord(t, group.Record{}) }, "Rejected", group.Record{}},
		"its deployment is being created": {recordPath, func(t *testing.T, f fixture) {
			f.putRecord(t, group.Record{Attempt: &group.Attempt{Upload: job9}})
		}, "Waiting", group.Record{Attempt: &group.Attempt{Upload: job9}}},
		"its deployment was created": {statusPath, func(_ *testing.T, f fixture) { f.putStatus("Created", `,"deploymentId":"d-1"`) }, "Created", group.Record{}},
	} {
		t.Run(name, func(t *testing.T) {
			f, q := newSchedule(t, nil)
			f.reporter.Queue = ""
			f.putStatus("Waiting", "")
			f.putRecord(t, group.Record{Waiting: &job9})
			f.records() // The schedule does not come to the record by itself.
			f.meanwhile(tt.path, func() { tt.do(t, f) })
			q.letters["dead"] = []string{letter()}
			require.NoError(t, f.handle(t, schedule))
			assert.Contains(t, f.Object(statusPath), `"state":"`+tt.want+`"`)
			r := f.readRecord(t)
			assert.Equal(t, tt.left, group.Record{Waiting: r.Waiting, Attempt: r.Attempt})
		})
	}
}

func TestS15_ALetterThatNamesHalfAGroupIsAboutNoRecord(t *testing.T) {
	f, q := newSchedule(t, nil)
	f.records()
	f.Put("/"+testBucket+"/"+testKey, http.Header{"X-Amz-Meta-Upload-Id": {"job-9"}, "X-Amz-Meta-Application-Name": {"web"}, "X-Amz-Version-Id": {"v1"}}, "")
	q.letters["dead"] = []string{letter()}
	require.NoError(t, f.handle(t, schedule))
	assert.Contains(t, f.Object(statusPath), `"givenUp":true`)
	assert.NotContains(t, strings.Join(f.Requests(), "\n"), "/groups/")
}

// The end of a deployment lets the upload that waited for it have its turn.
func TestS15_AnEndLetsTheNextOneHaveItsTurn(t *testing.T) {
	f, q := newSchedule(t, nil)
	f.putRecord(t, group.Record{Waiting: &job10, Deployments: []group.Deployment{{Upload: job9, DeploymentID: "d-WIRE00001", State: status.InProgress}}})
	require.NoError(t, f.handle(t, sample("SUCCESS")))
	assert.Equal(t, []string{again.Message(testBucket, ours, job10)}, q.sent)
	assert.Equal(t, status.Succeeded, f.readRecord(t).Deployments[0].State)
}

func TestS15_DeadLettersThatCannotBeLookedIntoAreToldOf(t *testing.T) {
	for want, refuse := range map[string]func(*http.Request) bool{
		"read the artifact's metadata: ": func(r *http.Request) bool { return r.Method == http.MethodHead },
		"read the status: ":              func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Path == statusPath },
		"read the group's record: ":      func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Path == recordPath },
		"write the status: ":             func(r *http.Request) bool { return r.Method == http.MethodPut && r.URL.Path == statusPath },
		"write the group's record: ":     func(r *http.Request) bool { return r.Method == http.MethodPut && r.URL.Path == recordPath },
	} {
		f, q := newSchedule(t, nil)
		f.putRecord(t, group.Record{Waiting: &job9})
		f.records() // The schedule does not come to the record by itself.
		f.refuse(refuse)
		q.letters["dead"] = []string{letter()}
		require.ErrorContains(t, f.handle(t, schedule), want)
		assert.NotContains(t, f.metrics.String(), "UploadsGivenUp")
	}
}

func TestS15_ALookIntoTheDeadLettersIsBounded(t *testing.T) {
	f, q := newSchedule(t, nil)
	f.records()
	q.letters["dead"], q.endless = []string{"hello"}, true
	require.NoError(t, f.handle(t, schedule))
	assert.Equal(t, maxPeeks, q.taken)

	q.taken = 0
	ctx, cancel := context.WithTimeout(t.Context(), reserve-time.Second)
	defer cancel()
	_, err := f.reporter.Handle(ctx, json.RawMessage(schedule))
	require.NoError(t, err)
	assert.Equal(t, 1, q.taken, "there is no time for more")

	q.taken, q.endless, q.letters["dead"] = 0, false, slices.Repeat([]string{letter()}, 11)
	require.NoError(t, f.handle(t, schedule))
	assert.Equal(t, 3, q.taken, "ten, one, none")
	assert.Contains(t, f.metrics.String(), `"UploadsGivenUp":1`, "one upload is given up once")
}

//fault:end events of deployments are in the dead-letter queue of states | a redrive works them off
func TestS15_ARedriveWorksOffTheEventsThatFailed(t *testing.T) {
	f, q := newSchedule(t, nil)
	const event = `{"source":"gitlab-codedeploy","detail-type":"Redrive"}`
	bad := strings.Replace(sample("SUCCESS"), "d-WIRE00001", "d-BAD", 1)
	f.Operations["GetDeployment"] = func(w http.ResponseWriter, body string, _ int) {
		if strings.Contains(body, "d-BAD") {
			awstest.Refuse(w, 400, "DeploymentDoesNotExistException")
			return
		}
		io.WriteString(w, deployment("Succeeded"))
	}
	q.letters["own"] = []string{sample("SUCCESS"), "hello", bad, schedule}
	answer, err := f.reporter.Handle(t.Context(), json.RawMessage(event))
	require.NoError(t, err)
	assert.Equal(t, Answer{Events: 3, Left: 1}, answer)
	assert.Equal(t, []string{sample("SUCCESS"), "hello", schedule}, q.deleted)
	assert.Equal(t, "Succeeded", f.status(t, statusPath)["state"])
	assert.NotContains(t, f.log.String(), "reconciled", "a failed run is not made up for")
	assert.Len(t, f.Bodies("GetDeployment"), 2)

	for _, refuse := range []string{"receive", "delete"} {
		q.letters["own"], q.refuse = []string{sample("SUCCESS")}, refuse
		answer, err = f.reporter.Handle(t.Context(), json.RawMessage(event))
		require.ErrorContains(t, err, refuse+" refused")
		assert.Zero(t, answer.Events)
	}
	q.refuse, q.taken, q.endless = "", 0, true
	ctx, cancel := context.WithTimeout(t.Context(), reserve-time.Second)
	defer cancel()
	_, err = f.reporter.Handle(ctx, json.RawMessage(event))
	require.NoError(t, err)
	assert.Zero(t, q.taken, "there is no time for any")

	f.reporter.OwnDeadLetters = ""
	_, err = f.reporter.Handle(t.Context(), json.RawMessage(event))
	require.ErrorContains(t, err, "OWN_DEAD_LETTER_QUEUE_URL is not set")
}
