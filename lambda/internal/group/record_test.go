package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/status"
)

var start = time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)

func upload(n int) Upload {
	return Upload{ID: fmt.Sprint("u", n), Key: "artifacts/x.zip", VersionID: fmt.Sprint("v", n), Uploaded: start.Add(time.Duration(n) * time.Minute)}
}

func deployment(n int, state status.State) Deployment {
	return Deployment{Upload: upload(n), DeploymentID: fmt.Sprint("d", n), State: state, Told: true, Reason: "x"}
}

func TestS14_UploadsHaveOneOrder(t *testing.T) {
	at := func(ms int, key, version string) Upload {
		return Upload{Key: key, VersionID: version, Uploaded: start.Add(time.Duration(ms) * time.Millisecond)}
	}
	for name, tt := range map[string]struct{ older, newer Upload }{
		"by time, whatever the key":  {at(5, "z", "v"), at(6, "a", "v")},
		"by key at the same moment":  {at(5, "a", "z"), at(5, "b", "a")},
		"by version of the same key": {at(5, "a", "v1"), at(5, "a", "v2")},
		"unknown is before all":      {Upload{Key: "z"}, at(0, "a", "v")},
	} {
		t.Run(name, func(t *testing.T) {
			assert.True(t, tt.newer.Newer(tt.older))
			assert.False(t, tt.older.Newer(tt.newer))
			assert.False(t, tt.older.Newer(tt.older))
		})
	}
}

//fault:order many uploads wait | the record lets only the newest wait
func TestS14_OfManyThatWaitOnlyTheNewestDoes(t *testing.T) {
	r := &Record{}
	for _, n := range []int{3, 1, 5, 2, 4, 6} {
		if !r.Overtaken(upload(n)) {
			r.Accept(upload(n))
		}
	}
	assert.Equal(t, upload(6), *r.Waiting)
	for n, want := range map[int]bool{3: true, 5: true, 1: false, 6: false} {
		assert.Equal(t, want, r.End(upload(n)) != nil, "%d was displaced", n)
	}
	assert.Equal(t, status.Superseded, r.End(upload(3)).State)
	assert.Nil(t, r.Accept(upload(6)), "it displaces not itself")
	assert.Nil(t, r.End(upload(6)))
}

//fault:order an attempt comes to nothing while a newer upload waits | the newer one is next
func TestS14_AnAttemptThatCameToNothingWaitsAgainUnlessANewerOneDoes(t *testing.T) {
	attempt := Attempt{Upload: upload(1), Owner: "m1/1", At: start}
	r := &Record{}
	r.Begin(attempt)
	assert.Nil(t, r.Waiting, "what is accepted from now on displaces it not")
	stranger := attempt
	stranger.Owner = "m1/2"
	r.GiveBack(stranger)
	assert.NotNil(t, r.Attempt, "another's is not given back")
	r.GiveBack(attempt)
	assert.Nil(t, r.Attempt)
	assert.Equal(t, upload(1), *r.Waiting)

	r.Begin(attempt)
	r.Accept(upload(2))
	assert.Nil(t, r.End(upload(1)))
	r.GiveBack(attempt)
	assert.Equal(t, upload(2), *r.Waiting)
	assert.Equal(t, status.Superseded, r.End(upload(1)).State)
}

func TestS14_ADeploymentIsHeardOfOnceAndNeverGoesBack(t *testing.T) {
	r := &Record{Waiting: &Upload{}}
	*r.Waiting = upload(2)
	r.Heard(Deployment{Upload: Upload{Key: upload(2).Key, VersionID: upload(2).VersionID}, DeploymentID: "d2", State: status.InProgress})
	assert.Nil(t, r.Waiting)
	assert.Equal(t, upload(2), r.Newest, "by hand or not, it stands where it waited")
	r.Heard(deployment(2, status.Created))
	assert.Equal(t, status.InProgress, r.Deployments[0].State)
	assert.False(t, r.Deployments[0].Told, "that is not what was told")
	r.Heard(deployment(2, status.Failed))
	assert.True(t, r.Deployments[0].Told)
	assert.Len(t, r.Deployments, 1)

	attempted := upload(4)
	attempted.By = trust.Deployer{User: "kim"}
	r.Begin(Attempt{Upload: attempted})
	r.HeardBeside(deployment(5, status.Created))
	r.HeardBeside(Deployment{Upload: Upload{Key: attempted.Key, VersionID: attempted.VersionID}, DeploymentID: "d4", State: status.Created})
	assert.Equal(t, []Upload{upload(2), upload(5), attempted}, []Upload{r.Deployments[0].Upload, r.Deployments[1].Upload, r.Deployments[2].Upload},
		"what an attempt is about has its place and whose it is, and nothing else has")
	r = &Record{Newest: upload(2)}

	older := upload(1)
	r.Waiting = &older
	r.Heard(deployment(3, status.Created))
	assert.Nil(t, r.Waiting, "somebody has deployed a newer one")
	assert.Equal(t, status.Superseded, r.End(older).State)
	r.Heard(deployment(0, status.Created))
	assert.Equal(t, upload(3), r.Newest, "an old one that is deployed by hand makes nothing older the newest")
}

//fault:end the reason of a failure comes late | it is asked for, for an hour
func TestS14_WhatIsUnfinishedIsAskedAbout(t *testing.T) {
	for name, tt := range map[string]struct {
		d    Deployment
		age  time.Duration
		want bool
	}{
		"under way":                   {Deployment{State: status.InProgress, Told: true}, 0, true},
		"ended, and nobody told":      {Deployment{State: status.Succeeded}, 24 * time.Hour, true},
		"succeeded":                   {Deployment{State: status.Succeeded, Told: true}, 0, false},
		"failed, the reason is known": {Deployment{State: status.Failed, Told: true, Reason: "x"}, 0, false},
		"failed, and nobody says why": {Deployment{State: status.Failed, Told: true}, reasonsLatest - 1, true},
		"and never will":              {Deployment{State: status.Stopped, Told: true}, reasonsLatest, false},
	} {
		t.Run(name, func(t *testing.T) {
			tt.d.SeenAt = start
			assert.Equal(t, tt.want, tt.d.Unfinished(start.Add(tt.age)))
		})
	}
}

// The last successful version and the ten before it stay, with what failed
// between them; what is before them is not wanted any more.
//
//fault:live twelve versions succeed, or hundreds fail after the live one | the live one and the ten before it are kept
func TestS14_TheLiveVersionAndTheTenBeforeItAreKept(t *testing.T) {
	r := &Record{}
	for n := range 12 {
		r.Heard(deployment(2*n, status.Succeeded))
		r.Heard(deployment(2*n+1, status.Failed))
	}
	assert.Equal(t, []Upload{upload(0), upload(1)}, r.Expired, "twelve succeeded")
	assert.Equal(t, upload(2), r.Deployments[0].Upload)

	r.Heard(Deployment{Upload: upload(0), DeploymentID: "again", State: status.Succeeded, Told: true})
	assert.Equal(t, []Upload{upload(1), upload(2), upload(3)}, r.Expired, "what was rolled back to by hand is live")

	r = &Record{}
	r.Heard(deployment(0, status.Succeeded))
	for n := range 300 {
		r.Heard(deployment(n+1, status.Failed))
	}
	assert.Len(t, r.Deployments, maxDeployments)
	assert.NotNil(t, r.Deployment(upload(0)), "the live one stays however many fail after it")
	assert.NotNil(t, r.Deployment(upload(300)))
	assert.Contains(t, r.Expired, upload(1))
	assert.NotContains(t, r.Expired, upload(0))
}

//fault:live one version is deployed thirty times | the one before it is kept
func TestS14_AVersionDeployedAgainAndAgainCountsOnce(t *testing.T) {
	r := &Record{}
	r.Heard(deployment(0, status.Succeeded))
	for n := range 30 {
		d := deployment(1, status.Succeeded)
		d.DeploymentID = fmt.Sprint("again", n)
		r.Heard(d)
	}
	assert.NotNil(t, r.Deployment(upload(0)))
	assert.Empty(t, r.Expired)
}

func TestS14_NoNameForgesARecordsKey(t *testing.T) {
	for pair, want := range map[allowlist.Pair]string{
		{Application: "web", DeploymentGroup: "blue"}:             "groups/web/blue.json",
		{Application: "../deployments", DeploymentGroup: "x/y"}:   "groups/%2E%2E%2Fdeployments/x%2Fy.json",
		{Application: "web app", DeploymentGroup: "a.b"}:          "groups/web%20app/a%2Eb.json",
		{Application: "..", DeploymentGroup: "."}:                 "groups/%2E%2E/%2E.json",
		{Application: "a%2Fb", DeploymentGroup: "\x00é"}:          "groups/a%252Fb/%00%C3%A9.json",
		{Application: "a/b", DeploymentGroup: "groups/a/b.json/"}: "groups/a%2Fb/groups%2Fa%2Fb%2Ejson%2F.json",
	} {
		assert.Equal(t, want, Key(pair))
	}
}

func TestS14_NotesAreBoundedAndForgotten(t *testing.T) {
	r := &Record{}
	for n := range 30 {
		r.Note(upload(n))
		r.Note(upload(n))
	}
	assert.Len(t, r.Noted, maxNoted)
	assert.Equal(t, upload(29), r.Noted[maxNoted-1])
	r.Accept(upload(29))
	r.Finish(End{Upload: upload(28), State: status.Rejected})
	r.Heard(deployment(27, status.Created))
	assert.Len(t, r.Noted, maxNoted-3)
	r.Note(upload(29))
	assert.Len(t, r.Noted, maxNoted-3, "what is known needs no note")
	for n := range 60 {
		r.Finish(End{Upload: upload(100 + n), State: status.Rejected})
	}
	assert.Len(t, r.Ended, maxEnded)
}
