package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/again"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/status"
)

const testRecord = "groups/web/web-blue-green.json"

// mine is the upload that start works on, as the group's record has it; before
// and after are others of the group.
var (
	mine   = group.Upload{ID: "artifact", Key: testKey, VersionID: "v1", Uploaded: testTime}
	before = group.Upload{ID: "before", Key: "artifacts/web/before.gz", VersionID: "v0", Uploaded: testTime.Add(-time.Hour)}
	after  = group.Upload{ID: "after", Key: "artifacts/web/after.gz", VersionID: "v2", Uploaded: testTime.Add(time.Hour)}
)

func (w *world) putObject(t *testing.T, key string, content any) {
	t.Helper()
	text, err := json.Marshal(content)
	require.NoError(t, err)
	if w.objects == nil {
		w.objects = map[string]string{}
	}
	w.objects[key] = string(text)
}

func (w *world) putRecord(t *testing.T, r group.Record) {
	t.Helper()
	r.Application, r.DeploymentGroup = testPair.Application, testPair.DeploymentGroup
	w.putObject(t, testRecord, r)
}

func (w *world) putStatus(t *testing.T, u group.Upload, s status.Status) {
	t.Helper()
	s.UploadID, s.Key, s.VersionID = u.ID, u.Key, u.VersionID
	w.putObject(t, "deployments/"+u.ID+".json", s)
}

func (w *world) record(t *testing.T) (r group.Record) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(w.objects[testRecord]), &r))
	return r
}

// whenUploaded answers HeadObject: before and after have times of their own.
func whenUploaded(_ context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	head := headOf(goodMetadata(*in.Key))
	for _, u := range []group.Upload{before, after} {
		if *in.Key == u.Key {
			head.LastModified, head.VersionId = &u.Uploaded, &u.VersionID
		}
	}
	return head, nil
}

// retry runs a later try of the message about mine.
func retry(t *testing.T, w *world) Outcome {
	t.Helper()
	u := testUpload("v1")
	return w.handler().Trigger.Deploy(t.Context(), &u, try{owner: "m1/2", again: true})
}

// deployed is one of CodeDeploy's answers.
func deployed(id string, state types.DeploymentStatus, u group.Upload) types.DeploymentInfo {
	return types.DeploymentInfo{
		DeploymentId: &id, Status: state, Creator: types.DeploymentCreatorUser,
		ApplicationName: &testPair.Application, DeploymentGroupName: &testPair.DeploymentGroup,
		Revision: &types.RevisionLocation{S3Location: &types.S3Location{Bucket: aws.String(testBucket), Key: &u.Key, Version: &u.VersionID}},
	}
}

// An event may have told the job before the group's record knew.
//
//fault:hands an event tells of a deployment by hand before any look at the group | the record knows it, and it is followed to its end
func TestS14_WhatTheJobWasToldGetsIntoTheRecord(t *testing.T) {
	created := status.Status{State: status.InProgress, DeploymentID: "d-HAND00001"}
	ours := created
	ours.Application, ours.DeploymentGroup = testPair.Application, testPair.DeploymentGroup
	halfOurs := ours
	halfOurs.DeploymentGroup = "another"
	ended := ours
	ended.State = status.Succeeded
	heard := []group.Deployment{{Upload: mine, DeploymentID: "d-HAND00001", State: status.InProgress}}
	for name, tt := range map[string]struct {
		told   status.Status
		record group.Record
		want   group.Record // without names and times
		marked bool
	}{
		"it waited": {created, group.Record{Waiting: &mine}, group.Record{
			Newest: mine, Deployments: []group.Deployment{{Upload: mine, DeploymentID: "d-HAND00001", State: status.InProgress}},
		}, false},
		"it was attempted": {created, group.Record{Waiting: &after, Attempt: &group.Attempt{Upload: mine}}, group.Record{
			Waiting: &after, Newest: mine, Deployments: []group.Deployment{{Upload: mine, DeploymentID: "d-HAND00001", State: status.InProgress}},
		}, false},
		"others are at it": {
			created, group.Record{Waiting: &after, Attempt: &group.Attempt{Upload: before}, Noted: []group.Upload{mine, after}},
			group.Record{Waiting: &after, Attempt: &group.Attempt{Upload: before}, Noted: []group.Upload{after}}, false,
		},
		"it was noted only":                {ours, group.Record{Noted: []group.Upload{mine}}, group.Record{Newest: mine, Deployments: heard}, false},
		"it was noted, and another waits":  {ours, group.Record{Waiting: &after}, group.Record{Waiting: &after, Newest: mine, Deployments: heard}, false},
		"it was deployed to another group": {halfOurs, group.Record{Noted: []group.Upload{mine}}, group.Record{}, false},
		"its deployment has ended":         {ended, group.Record{Noted: []group.Upload{mine}}, group.Record{}, false},
		"it waited, and has ended":         {status.Status{State: status.Superseded}, group.Record{Waiting: &mine}, group.Record{}, true},
		"it has ended, and another waits":  {status.Status{State: status.Rejected}, group.Record{Waiting: &after}, group.Record{Waiting: &after}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.putStatus(t, mine, tt.told)
			w.putRecord(t, tt.record)
			end := retry(t, w)
			assert.Equal(t, Repeated, end.End, end.Reason)
			assert.Empty(t, w.creates)
			got := w.record(t)
			got.Application, got.DeploymentGroup, got.UpdatedAt = "", "", time.Time{}
			for i := range got.Deployments {
				got.Deployments[i].SeenAt = time.Time{}
			}
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.marked, slices.Equal(w.marked, []string{"v1"}))
		})
	}

	w := &world{}
	w.putStatus(t, mine, ours)
	assert.Equal(t, Repeated, retry(t, w).End)
	r := w.record(t)
	require.NotNil(t, r.Deployment(mine), "a group without a record gets one, or nobody would follow it")

	w = &world{}
	w.putStatus(t, mine, created)
	assert.Equal(t, Repeated, retry(t, w).End)
	assert.NotContains(t, w.objects, testRecord, "a group without a record gets none for it")

	for _, known := range []bool{true, false} { // the record of a group that has left the list
		w = &world{}
		w.putStatus(t, mine, ours)
		if known {
			w.putRecord(t, group.Record{Waiting: &mine})
		}
		h := w.handler()
		delete(h.Trigger.Allowed, testPair)
		u := testUpload("v1")
		assert.Equal(t, Repeated, h.Trigger.Deploy(t.Context(), &u, try{owner: "m1/2", again: true}).End)
		got := w.objects[testRecord]
		assert.Equal(t, known, strings.Contains(got, "d-HAND00001"), "a record is kept true, and none is made: %s", got)
	}
}

//fault:end an upload that was given up is redriven | it is deployed, and by nothing less
func TestS14_WhoIsGivenUpIsRevivedByAnOperatorOnly(t *testing.T) {
	given := status.Status{State: status.Rejected, GivenUp: true, Reason: "given up"}
	w := &world{}
	w.putStatus(t, mine, given)
	u := testUpload("v1")
	u.Known = again.Known{Pair: testPair, UploadID: "artifact"} // from the status function
	end := w.handler().Trigger.Deploy(t.Context(), &u, try{owner: "m2/1", again: true})
	assert.Equal(t, Repeated, end.End, end.Reason)
	assert.Empty(t, w.marked, "it may be revived")

	end = retry(t, w)
	assert.Equal(t, Created, end.End, end.Reason)
	assert.Equal(t, status.Created, w.status(t, "artifact").State)
}

func TestS14_ARecordThatOthersAlwaysChangeIsTriedAgainLater(t *testing.T) {
	w := &world{put: func(in *s3.PutObjectInput) error {
		if *in.Key == testRecord {
			return httpError(412)
		}
		return nil
	}}
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Failed, end.End)
	assert.Contains(t, end.Reason, "changed by others 5 times")
	assert.Empty(t, w.creates)

	tries := 0
	w = &world{put: func(in *s3.PutObjectInput) error {
		if tries++; tries == 1 {
			return httpError(409)
		}
		return nil
	}}
	_, end = start(t, w, testUpload("v1"))
	assert.Equal(t, Created, end.End, end.Reason)
	assert.Len(t, w.creates, 1)
}

// Of those that wait for a busy group, only the newest does, and the job of the
// other one is told at once.
func TestS14_WhoIsOvertakenWhileItWaitsIsTold(t *testing.T) {
	busy := map[string]types.DeploymentInfo{"d-1": deployed("d-1", types.DeploymentStatusInProgress, before)}
	older := before
	older.ID, older.Key, older.Uploaded = "older", "artifacts/web/older.gz", testTime.Add(-time.Minute)
	for name, tt := range map[string]struct {
		told   status.Status
		get    func(*s3.GetObjectInput) error
		want   status.State
		marked bool
		logged bool
	}{
		"it waits":         {told: status.Status{State: status.Waiting}, want: status.Superseded, marked: true},
		"somebody helped":  {told: status.Status{State: status.Created, DeploymentID: "d-9"}, want: status.Created},
		"S3 has a bad day": {told: status.Status{State: status.Waiting}, want: status.Waiting, logged: true, get: failFor("deployments/older.json")},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{head: whenUploaded, deployments: busy, get: tt.get}
			w.putStatus(t, older, tt.told)
			w.putRecord(t, group.Record{Waiting: &older})
			_, end := start(t, w, testUpload("v1"))
			assert.Equal(t, Waiting, end.End, end.Reason)
			assert.Equal(t, mine, *w.record(t).Waiting)
			assert.Equal(t, tt.want, w.status(t, "older").State)
			assert.Equal(t, tt.marked, slices.Equal(w.marked, []string{"v0"}), "%v", w.marked)
			assert.Equal(t, tt.logged, strings.Contains(w.log.String(), "an upload that was overtaken is told later"))
			if tt.want == status.Superseded {
				told := w.status(t, "older")
				assert.Equal(t, testPair, allowlist.Pair{Application: told.Application, DeploymentGroup: told.DeploymentGroup})
				assert.Contains(t, told.Reason, "newer")
			}
		})
	}

	// So is it when the group is free.
	w := &world{}
	w.putStatus(t, older, status.Status{State: status.Waiting})
	w.putRecord(t, group.Record{Waiting: &older})
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Created, end.End, end.Reason)
	assert.Equal(t, status.Superseded, w.status(t, "older").State)
}

func failFor(key string) func(*s3.GetObjectInput) error {
	return func(in *s3.GetObjectInput) error {
		if *in.Key == key {
			return httpError(503)
		}
		return nil
	}
}

// A message of the status function says what S3 no longer can.
func TestS14_AVersionThatIsGoneHasTheGroupThatTheMessageNames(t *testing.T) {
	gone := func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) { return nil, httpError(404) }
	known := again.Known{Pair: allowlist.Pair{Application: "web", DeploymentGroup: "5"}, UploadID: "job-5"}
	for name, tt := range map[string]struct {
		head  func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error)
		known again.Known
		told  string // upload id whose job waits
		want  End
		group string // whose record has the end, or the deployment
		id    string // of the status
	}{
		"gone, and named":         {gone, known, "job-5", Rejected, "groups/web/5.json", "job-5"},
		"gone, and not named":     {gone, again.Known{}, "", Rejected, "", "v1"},
		"gone, and the job waits": {gone, again.Known{}, "v1", Waiting, "", "v1"},
		"there, and named wrong":  {nil, known, "", Created, testRecord, "artifact"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{head: tt.head}
			if tt.told != "" {
				w.putStatus(t, group.Upload{ID: tt.told, Key: testKey, VersionID: "v1"}, status.Status{State: status.Waiting, Reason: "as before"})
			}
			w.putObject(t, "groups/web/5.json", group.Record{Application: "web", DeploymentGroup: "5"})
			records := w.objects["groups/web/5.json"]
			u := testUpload("v1")
			u.Known, u.Completed = tt.known, testTime
			end := w.handler().Trigger.Deploy(t.Context(), &u, try{owner: "m1/1"})
			assert.Equal(t, tt.want, end.End, end.Reason)
			if tt.group == "groups/web/5.json" {
				assert.Contains(t, w.objects[tt.group], `"ended":[{"uploadId":"job-5"`)
			} else {
				assert.Equal(t, records, w.objects["groups/web/5.json"])
			}
			if tt.group == testRecord {
				assert.NotNil(t, w.record(t).Attempt)
			}
			if tt.want == Waiting {
				assert.Equal(t, "as before", w.status(t, tt.id).Reason, "the schedule finds its group")
				assert.Empty(t, w.puts)
				return
			}
			assert.NotEmpty(t, w.status(t, tt.id).State)
		})
	}
}

func TestS14_ADeploymentThatKeepsTheGroupBusyIsWaitedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*types.DeploymentInfo)
		want   End
		placed bool // it has a place in the order
	}{
		"under way":     {func(*types.DeploymentInfo) {}, Waiting, true},
		"ended":         {func(i *types.DeploymentInfo) { i.Status = types.DeploymentStatusSucceeded }, Created, true},
		"Auto Scaling":  {func(i *types.DeploymentInfo) { i.Creator = types.DeploymentCreatorAutoscaling }, Created, false},
		"a rollback":    {func(i *types.DeploymentInfo) { i.Creator = types.DeploymentCreatorCodeDeployRollback }, Waiting, false},
		"of no version": {func(i *types.DeploymentInfo) { i.Revision = nil }, Waiting, false},
	} {
		t.Run(name, func(t *testing.T) {
			info := deployed("d-1", types.DeploymentStatusInProgress, before)
			tt.change(&info)
			w := &world{head: whenUploaded, deployments: map[string]types.DeploymentInfo{"d-1": info}}
			_, end := start(t, w, testUpload("v1"))
			assert.Equal(t, tt.want, end.End, end.Reason)
			assert.Equal(t, tt.want == Created, len(w.creates) == 1)
			assert.Equal(t, tt.placed, strings.Contains(w.objects[testRecord], `"deploymentId":"d-1"`))
		})
	}
}

//fault:hands somebody deploys an upload by hand while it waits | it is adopted, and its job sees it
func TestS14_ADeploymentByHandIsAdopted(t *testing.T) {
	w := &world{head: whenUploaded, deployments: map[string]types.DeploymentInfo{"d-HAND00001": deployed("d-HAND00001", types.DeploymentStatusInProgress, mine)}}
	u, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Repeated, end.End, end.Reason)
	assert.Equal(t, "d-HAND00001", u.DeploymentID)
	assert.Equal(t, status.InProgress, w.status(t, "artifact").State)
	assert.Equal(t, "d-HAND00001", w.record(t).Deployments[0].DeploymentID)
	assert.Empty(t, w.creates)
}

//fault:hands somebody has deployed a newer upload by hand | nothing older replaces it
func TestS14_ANewerDeploymentByHandSupersedes(t *testing.T) {
	w := &world{
		head:        whenUploaded,
		deployments: map[string]types.DeploymentInfo{"d-HAND00001": deployed("d-HAND00001", types.DeploymentStatusSucceeded, after)},
	}
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Superseded, end.End, end.Reason)
	assert.Equal(t, status.Superseded, w.status(t, "artifact").State)
	assert.Equal(t, []string{"v1"}, w.marked)
	assert.Empty(t, w.creates)
}

// A look begins before the upload, or where the last one ended; what it has read
// and what has ended is not read again.
func TestS14_ALookBeginsWhereTheLastOneEnded(t *testing.T) {
	now := testTime.Add(10 * time.Minute)
	margin := listLag + 2*clockSkew
	began := now.Add(-5 * time.Minute)
	for name, tt := range map[string]struct {
		searched group.Search
		from     time.Time
		token    string
	}{
		"the first":                         {group.Search{}, testTime.Add(-clockSkew), ""},
		"after another":                     {group.Search{From: testTime.Add(-time.Hour), Until: began}, began.Add(-margin), ""},
		"just far enough back":              {group.Search{From: testTime.Add(-clockSkew), Until: began}, began.Add(-margin), ""},
		"of a later upload":                 {group.Search{From: testTime.Add(-clockSkew + 1), Until: began}, testTime.Add(-clockSkew), ""},
		"of a page that goes on":            {group.Search{From: testTime.Add(-time.Hour), Until: began, Page: &group.Page{From: began.Add(-margin), Began: began, Token: "more"}}, began.Add(-margin), "more"},
		"of a page that began further back": {group.Search{From: testTime.Add(-time.Hour), Until: began, Page: &group.Page{From: testTime.Add(-time.Hour), Began: began, Token: "more"}}, testTime.Add(-time.Hour), "more"},
		"of a page that is not far enough":  {group.Search{Page: &group.Page{From: testTime, Began: began, Token: "more"}}, testTime.Add(-clockSkew), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{now: func() time.Time { return now }}
			r := &group.Record{Application: "web", DeploymentGroup: "web-blue-green", Searched: tt.searched}
			found, err := w.handler().Trigger.History.Look(t.Context(), r, mine)
			require.NoError(t, err)
			assert.Equal(t, findings{complete: true}, found)
			assert.Equal(t, tt.from, *w.lists[0].CreateTimeRange.Start)
			assert.Equal(t, tt.token, aws.ToString(w.lists[0].NextToken))
			assert.Nil(t, r.Searched.Page)
			assert.Equal(t, now, r.Searched.Until)
			if tt.token == "" {
				assert.Len(t, w.lists, 1)
				return
			}
			require.Len(t, w.lists, 2, "what was created since the page's look began is looked for too")
			assert.Equal(t, began.Add(-margin), *w.lists[1].CreateTimeRange.Start)
		})
	}
}

func TestS14_ADeploymentIsReadUntilItHasEnded(t *testing.T) {
	w := &world{head: whenUploaded, now: func() time.Time { return testTime.Add(time.Minute) }, deployments: map[string]types.DeploymentInfo{
		"d-1": deployed("d-1", types.DeploymentStatusSucceeded, before),
		"d-2": deployed("d-2", types.DeploymentStatusInProgress, before),
		"d-3": deployed("d-3", types.DeploymentStatusFailed, before),
		"d-4": deployed("d-4", types.DeploymentStatusFailed, before),
	}}
	r := &group.Record{Deployments: []group.Deployment{
		{Upload: before, DeploymentID: "d-1", State: status.Succeeded}, {Upload: before, DeploymentID: "d-2", State: status.Created},
	}, Searched: group.Search{From: testTime.Add(-time.Hour), Until: testTime.Add(time.Minute), Page: &group.Page{From: testTime.Add(-time.Hour), Began: testTime.Add(time.Minute), Read: []string{"d-3"}}}}
	found, err := w.handler().Trigger.History.Look(t.Context(), r, mine)
	require.NoError(t, err)
	assert.Equal(t, findings{complete: true, active: "d-2"}, found)
	require.Len(t, w.batches, 1)
	assert.Equal(t, []string{"d-2", "d-4"}, w.batches[0].DeploymentIds)
}

//fault:large there is no time to read any deployment | how far the look came is kept, and the job is told
func TestS14_ALookThatCannotFinishIsKeptAndGoneOnWith(t *testing.T) {
	var ids []string
	w := &world{head: whenUploaded, deployments: map[string]types.DeploymentInfo{}}
	for n := range batchGet + 1 {
		ids = append(ids, fmt.Sprintf("d-%02d", n))
		w.deployments[ids[n]] = deployed(ids[n], types.DeploymentStatusFailed, before)
	}
	ctx, cancel := context.WithTimeout(t.Context(), reserve-time.Second)
	defer cancel()
	u := testUpload("v1")
	end := w.handler().Trigger.Deploy(ctx, &u, try{owner: "m1/1"})
	assert.Equal(t, Waiting, end.End, end.Reason)
	assert.Contains(t, end.Reason, "many deployments are being looked through")
	assert.NotNil(t, w.record(t).Searched.Page)
	assert.Empty(t, w.creates)
	assert.Empty(t, w.batches, "there was no time for any")

	assert.Equal(t, Created, retry(t, w).End)
	assert.Len(t, w.batches, 2)
	assert.Nil(t, w.record(t).Searched.Page)
}

//fault:large the token of a page is not valid any more | the list is begun again
func TestS14_ALookGoesThroughAllPages(t *testing.T) {
	w := &world{head: whenUploaded, deployments: map[string]types.DeploymentInfo{
		"d-1": deployed("d-1", types.DeploymentStatusFailed, before),
		"d-2": deployed("d-2", types.DeploymentStatusInProgress, mine),
	}}
	w.list = func(_ context.Context, in *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
		if in.NextToken == nil {
			return &codedeploy.ListDeploymentsOutput{Deployments: []string{"d-1"}, NextToken: aws.String("two")}, nil
		}
		return &codedeploy.ListDeploymentsOutput{Deployments: []string{"d-2"}}, nil
	}
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Repeated, end.End, end.Reason)
	assert.Len(t, w.lists, 2)

	// A token does not live for ever: the list is begun again, once.
	invalid := &types.InvalidNextTokenException{Message: aws.String("as AWS says")}
	for token, lists := range map[string]int{"old": 2, "": 1} {
		w = &world{}
		w.list = func(_ context.Context, in *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
			if in.NextToken != nil || token == "" {
				return nil, invalid
			}
			return &codedeploy.ListDeploymentsOutput{}, nil
		}
		r := &group.Record{Searched: group.Search{From: testTime.Add(-time.Hour), Until: time.Now(), Page: &group.Page{From: testTime.Add(-time.Hour), Began: time.Now(), Token: token}}}
		_, err := w.handler().Trigger.History.Look(t.Context(), r, mine)
		assert.Equal(t, token == "", err != nil)
		assert.Len(t, w.lists, lists)
	}
}

//fault:once CodeDeploy does not show a deployment that it lists | nothing is created, as it may be the upload's own
func TestS14_ADeploymentThatCannotBeReadMayBeTheUploadsOwn(t *testing.T) {
	w := &world{list: func(context.Context, *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
		return &codedeploy.ListDeploymentsOutput{Deployments: []string{"d-1"}}, nil
	}}
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Failed, end.End)
	assert.Contains(t, end.Reason, "asked for 1, got 0")
	assert.Empty(t, w.creates)
	assert.Equal(t, status.Waiting, w.status(t, "artifact").State)
	assert.Equal(t, []group.Upload{mine}, w.record(t).Noted, "should its version be removed, its job is known")
}

func TestS14_AGroupThatIsGoneRejectsAtOnceWhatItsListTells(t *testing.T) {
	w := &world{list: func(context.Context, *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
		return nil, &types.DeploymentGroupDoesNotExistException{Message: aws.String("as AWS says")}
	}}
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Rejected, end.End, end.Reason)
	assert.Equal(t, status.Rejected, w.status(t, "artifact").State)
}

// The attempt is given back only if CodeDeploy has said that it did nothing.
//
//fault:once CodeDeploy refuses a creation, or does not answer | the attempt is given back only when it is certain that there is no deployment
func TestS14_AnAttemptIsGivenBackWhenNothingCameOfIt(t *testing.T) {
	for name, tt := range map[string]struct {
		answer error
		want   End
		reason string
		record func(*testing.T, group.Record)
	}{
		"the group is busy": {
			&types.DeploymentLimitExceededException{Message: aws.String("deployment group already has an active Deployment 'd-ABCDEF123'")},
			Waiting, reasonBusy, func(t *testing.T, r group.Record) { assert.Equal(t, mine, *r.Waiting); assert.Nil(t, r.Attempt) },
		},
		"the account is": {
			&types.DeploymentLimitExceededException{Message: aws.String("as AWS says")},
			Waiting, "quota", func(t *testing.T, r group.Record) { assert.Equal(t, mine, *r.Waiting); assert.Nil(t, r.Attempt) },
		},
		"a right is missing": {
			&smithy.GenericAPIError{Code: "AccessDeniedException", Fault: smithy.FaultClient},
			Failed, "AccessDenied", func(t *testing.T, r group.Record) { assert.Equal(t, mine, *r.Waiting); assert.Nil(t, r.Attempt) },
		},
		"for ever": {
			&smithy.OperationError{Err: &types.InvalidRevisionException{Message: aws.String("as AWS says")}},
			Rejected, "upload a bundle", func(t *testing.T, r group.Record) {
				assert.NotNil(t, r.End(mine))
				assert.Nil(t, r.Waiting)
				assert.Nil(t, r.Attempt)
			},
		},
		"nobody knows": {
			errors.New("connection reset"),
			Failed, "connection reset", func(t *testing.T, r group.Record) { assert.Equal(t, mine, r.Attempt.Upload); assert.Nil(t, r.Waiting) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{create: func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
				return nil, tt.answer
			}}
			_, end := start(t, w, testUpload("v1"))
			assert.Equal(t, tt.want, end.End, end.Reason)
			assert.Contains(t, end.Reason, tt.reason)
			tt.record(t, w.record(t))
		})
	}
}

// What a job is told between the look and the attempt was a fact that was missing.
func TestS14_AnAttemptThatComesTooLateIsGivenBack(t *testing.T) {
	w := &world{}
	w.put = func(in *s3.PutObjectInput) error {
		if strings.HasPrefix(*in.Key, "deployments/") && w.objects[*in.Key] == "" {
			w.putStatus(t, mine, status.Status{State: status.Created, DeploymentID: "d-HAND00001"})
		}
		return nil
	}
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Repeated, end.End, end.Reason)
	assert.Empty(t, w.creates)
	assert.Nil(t, w.record(t).Attempt)

	w = &world{put: func(in *s3.PutObjectInput) error {
		if strings.HasPrefix(*in.Key, "deployments/") {
			return httpError(503)
		}
		return nil
	}}
	_, end = start(t, w, testUpload("v1"))
	assert.Equal(t, Failed, end.End, end.Reason)
	assert.Empty(t, w.creates)
	assert.Nil(t, w.record(t).Attempt)
	assert.Equal(t, mine, *w.record(t).Waiting)
}

// An end that somebody else told first stands.
//
//fault:end two processes tell an end | the first one stands
func TestS14_AnEndIsToldOnce(t *testing.T) {
	rejecting := func(context.Context, *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error) {
		return groupOf(types.DeploymentTypeInPlace), nil
	}
	for name, tt := range map[string]struct {
		told   status.Status
		want   End
		marked bool
	}{
		"nothing was told":      {status.Status{}, Rejected, true},
		"it waits":              {status.Status{State: status.Waiting}, Rejected, true},
		"another end":           {status.Status{State: status.Superseded}, Repeated, true},
		"that it has been made": {status.Status{State: status.Created, DeploymentID: "d-1"}, Repeated, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{group: rejecting}
			if tt.told.State != "" {
				w.putStatus(t, mine, tt.told)
			}
			_, end := start(t, w, testUpload("v1")) // The first try does not read the status.
			assert.Equal(t, tt.want, end.End, end.Reason)
			assert.Equal(t, tt.marked, len(w.marked) == 1)
		})
	}
}

// Rejections of pairs that are not listed leave no record behind: names come
// from outside.
func TestS14_NoRecordIsMadeForAPairThatIsNotListed(t *testing.T) {
	w := &world{head: func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		return headOf(map[string]string{"application-name": "shop", "deploymentgroup-name": "blue", "upload-id": "job-9"}), nil
	}}
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Rejected, end.End)
	assert.Equal(t, []string{"deployments/job-9.json"}, keys(w.objects))

	// One that was listed once has a record, and the end gets into it.
	w.objects = nil
	w.putObject(t, "groups/shop/blue.json", group.Record{Application: "shop", DeploymentGroup: "blue"})
	_, end = start(t, w, testUpload("v1"))
	assert.Equal(t, Rejected, end.End)
	assert.Contains(t, w.objects["groups/shop/blue.json"], `"ended":[`)
}

func keys(objects map[string]string) (keys []string) {
	for key := range objects {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Telling is a courtesy: what cannot be told is in the log.
func TestS14_WhatCannotBeToldIsLogged(t *testing.T) {
	busy := map[string]types.DeploymentInfo{"d-1": deployed("d-1", types.DeploymentStatusInProgress, before)}
	for prefix, want := range map[string]string{"deployments/": "and could not tell: ", "": ""} {
		w := &world{head: whenUploaded, deployments: busy, put: func(in *s3.PutObjectInput) error {
			if prefix != "" && strings.HasPrefix(*in.Key, prefix) {
				return httpError(503)
			}
			return nil
		}}
		_, end := start(t, w, testUpload("v1"))
		assert.Equal(t, Waiting, end.End)
		assert.Contains(t, end.Reason, reasonBusy+map[bool]string{true: " (", false: ""}[want != ""]+want)
	}

	w := &world{get: failFor(testRecord), put: func(in *s3.PutObjectInput) error {
		if *in.Key == testRecord {
			return httpError(503)
		}
		return nil
	}}
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Failed, end.End)
	assert.Contains(t, end.Reason, "could not note it")
	assert.Equal(t, []string(nil), keys(w.objects), "nobody could find the job again")
}

func TestS14_AWaitThatIsToldAlreadyCostsNoWrite(t *testing.T) {
	w := &world{head: whenUploaded, deployments: map[string]types.DeploymentInfo{"d-1": deployed("d-1", types.DeploymentStatusInProgress, before)}}
	assert.Equal(t, Waiting, retry(t, w).End)
	w.put = func(in *s3.PutObjectInput) error {
		assert.Equal(t, testRecord, *in.Key)
		return nil
	}
	assert.Equal(t, Waiting, retry(t, w).End)
}

// versions answers HeadObject with one answer for the current version and one
// for v1.
func versions(current, own func() (*s3.HeadObjectOutput, error)) func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	return func(_ context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		if in.VersionId == nil {
			return current()
		}
		return own()
	}
}

func TestS14_AVersionThatAnotherOneLiesUponStaysWhatItIs(t *testing.T) {
	own := func() (*s3.HeadObjectOutput, error) { return headOf(goodMetadata(testKey)), nil }
	newer := func() (*s3.HeadObjectOutput, error) {
		head := headOf(map[string]string{"application-name": "web", "deploymentgroup-name": "5", "upload-id": "newer"})
		head.VersionId = aws.String("v2")
		return head, nil
	}
	fails := func(code int) func() (*s3.HeadObjectOutput, error) {
		return func() (*s3.HeadObjectOutput, error) { return nil, httpError(code) }
	}
	for name, tt := range map[string]struct {
		current func() (*s3.HeadObjectOutput, error)
		want    End
	}{
		"a newer version":         {newer, Created},
		"the object was deleted":  {fails(404), Rejected},
		"S3 has a bad day":        {fails(503), Failed},
		"a right is missing, too": {fails(403), Failed},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{head: versions(tt.current, own)}
			u := testUpload("v1")
			u.Known = again.Known{Pair: allowlist.Pair{Application: "web", DeploymentGroup: "6"}, UploadID: "wrong"} // S3 knows better
			end := w.handler().Trigger.Deploy(t.Context(), &u, try{owner: "m1/1"})
			assert.Equal(t, tt.want, end.End, end.Reason)
			if tt.want == Failed {
				assert.Empty(t, w.objects)
				return
			}
			assert.NotEmpty(t, w.status(t, "artifact").State)
			assert.Contains(t, w.objects, testRecord)
			if tt.want == Created {
				assert.Equal(t, "v1", *w.creates[0].Revision.S3Location.Version)
			}
		})
	}
}

func TestS14_AnEndOfAVersionThatIsGoneIsNotToldTwice(t *testing.T) {
	gone := func() (*s3.HeadObjectOutput, error) { return nil, httpError(404) }
	w := &world{head: versions(gone, gone)}
	w.putStatus(t, group.Upload{ID: "v1", Key: testKey, VersionID: "v1"}, status.Status{State: status.Superseded})
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Repeated, end.End, end.Reason)
	assert.Zero(t, w.puts)
}

// The first try of a message takes its upload for new, and saves a call.
func TestS14_ALaterTryLooksAtWhatTheJobWasTold(t *testing.T) {
	for receive, reads := range map[int]int{1: 0, 2: 1, 3: 1} {
		w := &world{}
		first := -1
		w.put = func(*s3.PutObjectInput) error {
			if first < 0 {
				first = len(w.calls)
			}
			return nil
		}
		w.get = func(in *s3.GetObjectInput) error {
			if strings.HasPrefix(*in.Key, "deployments/") && first < 0 {
				reads--
			}
			return nil
		}
		assert.Empty(t, handle(t, t.Context(), w.handler(), message("m1", receive)))
		assert.Zero(t, reads, "of the status before the first write, at try %d", receive)
		assert.Len(t, w.creates, 1)
	}
}

func TestS14_AnUploadKeepsThePlaceByWhichItWasAccepted(t *testing.T) {
	accepted := mine
	accepted.Uploaded = testTime.Add(4 * time.Millisecond)
	w := &world{}
	w.putRecord(t, group.Record{Waiting: &accepted})
	_, end := start(t, w, testUpload("v1")) // by a message that does not say the milliseconds
	assert.Equal(t, Created, end.End, end.Reason)
	assert.Equal(t, accepted, w.record(t).Attempt.Upload)
}

// The record is not told of a deployment that the job is told of.
//
//fault:once the next upload comes while the record has the attempt only | it finds the deployment in the state of the one before, and does not wait for the lease
//fault:once the job cannot be told of its deployment | the record is
func TestS14_WhatCameOfAnAttemptStandsInItsState(t *testing.T) {
	attempt := func() group.Record {
		return group.Record{Attempt: &group.Attempt{Upload: before, Owner: "m0/1", At: time.Now()}}
	}
	told := status.Status{State: status.Created, DeploymentID: "d-BEFORE001", Application: testPair.Application, DeploymentGroup: testPair.DeploymentGroup}
	elsewhere := told
	elsewhere.DeploymentGroup = "another"
	for name, tt := range map[string]struct {
		told  status.Status
		state types.DeploymentStatus // of the deployment, when it is asked about
		want  Outcome
	}{
		"it runs":                        {told, types.DeploymentStatusInProgress, Outcome{Waiting, reasonBusy}},
		"it has ended":                   {told, types.DeploymentStatusFailed, Outcome{End: Created}},
		"nobody was told":                {status.Status{}, "", Outcome{Waiting, reasonOtherCreated}},
		"it was deployed somewhere else": {elsewhere, "", Outcome{Waiting, reasonOtherCreated}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{deployments: map[string]types.DeploymentInfo{"d-BEFORE001": deployed("d-BEFORE001", tt.state, before)}}
			w.putRecord(t, attempt())
			if tt.told.State != "" {
				w.putStatus(t, before, tt.told)
			}
			_, end := start(t, w, testUpload("v1"))
			assert.Equal(t, tt.want, end)
			if tt.state == "" {
				assert.Empty(t, w.record(t).Deployments)
			} else {
				require.Len(t, w.record(t).Deployments, 1)
				assert.Equal(t, before, w.record(t).Deployments[0].Upload)
				assert.Equal(t, "d-BEFORE001", w.record(t).Deployments[0].DeploymentID)
			}
		})
	}
	t.Run("its state cannot be read", func(t *testing.T) {
		w := &world{get: failFor("deployments/" + before.ID + ".json")}
		w.putRecord(t, attempt())
		_, end := start(t, w, testUpload("v1"))
		assert.Equal(t, Failed, end.End, end.Reason)
		assert.Contains(t, end.Reason, "find out what came of an attempt")
	})
	t.Run("the job cannot be told", func(t *testing.T) {
		w := &world{}
		w.put = func(in *s3.PutObjectInput) error {
			if *in.Key != testRecord && len(w.creates) > 0 {
				return httpError(503)
			}
			return nil
		}
		_, end := start(t, w, testUpload("v1"))
		assert.Equal(t, Failed, end.End, end.Reason)
		assert.Nil(t, w.record(t).Attempt)
		require.Len(t, w.record(t).Deployments, 1)
	})
	t.Run("the job was told of another one meanwhile", func(t *testing.T) {
		w := &world{}
		w.create = func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
			w.putStatus(t, group.Upload{ID: "artifact", Key: testKey, VersionID: "v1"}, status.Status{State: status.InProgress, DeploymentID: "d-HAND00001"})
			return &codedeploy.CreateDeploymentOutput{DeploymentId: aws.String("d-OURS00001")}, nil
		}
		_, end := start(t, w, testUpload("v1"))
		assert.Equal(t, Created, end.End, end.Reason)
		require.Len(t, w.record(t).Deployments, 1)
		assert.Equal(t, "d-OURS00001", w.record(t).Deployments[0].DeploymentID)
	})
}

func TestS14_WhoseDeploymentIsPerhapsBeingCreatedIsToldToWait(t *testing.T) {
	w := &world{}
	w.putRecord(t, group.Record{Attempt: &group.Attempt{Upload: mine, Owner: "m0/1", At: time.Now()}})
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Outcome{Waiting, reasonBeingCreated}, end)
	assert.Equal(t, reasonBeingCreated, w.status(t, "artifact").Reason)
}

func TestS14_ALookThatCannotBeKeptHasFailed(t *testing.T) {
	refused := func(in *s3.PutObjectInput) error {
		if *in.Key == testRecord {
			return httpError(503)
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), reserve-time.Second)
	defer cancel()
	w := &world{put: refused, head: whenUploaded, deployments: map[string]types.DeploymentInfo{"d-1": deployed("d-1", types.DeploymentStatusFailed, before)}}
	u := testUpload("v1")
	end := w.handler().Trigger.Deploy(ctx, &u, try{owner: "m1/1"})
	assert.Equal(t, Failed, end.End, end.Reason)
	assert.True(t, strings.HasPrefix(end.Reason, "write the group's record: "), end.Reason)

	w = &world{put: refused, list: func(context.Context, *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
		return nil, errors.New("connection reset")
	}}
	_, end = start(t, w, testUpload("v1"))
	assert.Equal(t, Failed, end.End)
	assert.True(t, strings.HasPrefix(end.Reason, "list the group's deployments: connection reset"), "the first fault is the cause: %s", end.Reason)
}

// Whoever is told of a deployment meanwhile does not wait any more.
func TestS14_AWaitIsNotToldOverADeployment(t *testing.T) {
	w := &world{head: whenUploaded, deployments: map[string]types.DeploymentInfo{"d-1": deployed("d-1", types.DeploymentStatusInProgress, before)}}
	w.put = func(in *s3.PutObjectInput) error {
		if strings.HasPrefix(*in.Key, "deployments/") && w.objects[*in.Key] == "" {
			w.putStatus(t, mine, status.Status{State: status.Created, DeploymentID: "d-HAND00001"})
		}
		return nil
	}
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Waiting, end.End, end.Reason)
	assert.Equal(t, status.Created, w.status(t, "artifact").State)
}
