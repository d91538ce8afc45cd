package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/lambda/internal/status"
)

// A message may say less of an upload than the one by which it was accepted.
func TestS14_AnUploadIsKnownByItsVersionAndKeepsItsPlace(t *testing.T) {
	bare := Upload{Key: upload(1).Key, VersionID: upload(1).VersionID, Uploaded: start.Add(time.Hour)}
	one, other := upload(1), upload(2)
	for name, tt := range map[string]struct {
		record Record
		known  bool
	}{
		"nothing":                    {Record{}, false},
		"it waits":                   {Record{Waiting: &one}, true},
		"another waits":              {Record{Waiting: &other}, false},
		"it is attempted":            {Record{Attempt: &Attempt{Upload: one}}, true},
		"another is":                 {Record{Attempt: &Attempt{Upload: other}}, false},
		"one waits, it is attempted": {Record{Waiting: &other, Attempt: &Attempt{Upload: one}}, true},
		"it is deployed":             {Record{Deployments: []Deployment{{Upload: other}, {Upload: one}}}, true},
		"another is deployed":        {Record{Deployments: []Deployment{{Upload: other}}}, false},
		"it has ended":               {Record{Ended: []End{{Upload: other}, {Upload: one}}}, true},
		"another has ended":          {Record{Ended: []End{{Upload: other}}}, false},
		"it is noted":                {Record{Noted: []Upload{one}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.known, tt.record.Knows(bare))
			want := bare.Uploaded
			if tt.known {
				want = one.Uploaded
			}
			assert.Equal(t, want, tt.record.Place(bare))
		})
	}
}

func TestS14_AnUploadIsOvertakenByWhateverWasAcceptedAfterIt(t *testing.T) {
	older, same, newer := upload(0), upload(1), upload(2)
	for name, tt := range map[string]struct {
		record Record
		want   bool
	}{
		"nothing":    {Record{}, false},
		"deployed":   {Record{Newest: newer}, true},
		"itself":     {Record{Newest: same, Waiting: &same, Attempt: &Attempt{Upload: same}}, false},
		"older ones": {Record{Newest: older, Waiting: &older, Attempt: &Attempt{Upload: older}}, false},
		"waiting":    {Record{Newest: older, Waiting: &newer}, true},
		"attempted":  {Record{Waiting: &older, Attempt: &Attempt{Upload: newer}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.record.Overtaken(same))
		})
	}
}

func TestS14_AnAttemptLeavesWhoeverWaitsForLongerAlone(t *testing.T) {
	newer := upload(2)
	r := &Record{Waiting: &newer}
	assert.Nil(t, r.Begin(Attempt{Upload: upload(1)}))
	assert.Equal(t, &newer, r.Waiting)
	assert.Equal(t, upload(1), r.Attempt.Upload)
}

func TestS14_OnlyTheVeryAttemptIsGivenBack(t *testing.T) {
	attempt := Attempt{Upload: upload(1), Owner: "m1/1", At: start}
	(&Record{}).GiveBack(attempt) // nothing to give back
	r := &Record{Attempt: &attempt}
	later := attempt
	later.At = start.Add(time.Millisecond)
	r.GiveBack(later)
	assert.Equal(t, &attempt, r.Attempt, "the owner's attempt of another time is another one")
}

func TestS14_AnEndTouchesNothingOfOthers(t *testing.T) {
	waits, tried := upload(3), Attempt{Upload: upload(2)}
	r := &Record{Waiting: &waits, Attempt: &tried}
	r.Finish(End{Upload: upload(1), State: status.Rejected, Reason: "the first"})
	r.Finish(End{Upload: upload(1), State: status.Superseded, Reason: "the second"})
	assert.Equal(t, upload(3), *r.Waiting)
	assert.Equal(t, upload(2), r.Attempt.Upload)
	assert.Len(t, r.Ended, 1)
	assert.Equal(t, "the first", r.End(upload(1)).Reason)
	r.Finish(End{Upload: upload(2), State: status.Rejected})
	assert.Nil(t, r.Attempt)
	assert.NotNil(t, r.Waiting)
	r.Finish(End{Upload: upload(3), State: status.Rejected})
	assert.Nil(t, r.Waiting)
}

// A deployment of another upload leaves those alone that are as new or newer.
func TestS14_ADeploymentEndsOnlyWhatIsOlder(t *testing.T) {
	waits := upload(5)
	r := &Record{Waiting: &waits, Attempt: &Attempt{Upload: upload(4)}}
	r.Heard(deployment(1, status.InProgress))
	assert.Equal(t, upload(5), *r.Waiting)
	assert.Equal(t, upload(4), r.Attempt.Upload)
	assert.Empty(t, r.Ended)
	r.Heard(Deployment{Upload: Upload{Key: upload(4).Key, VersionID: upload(4).VersionID}, DeploymentID: "d4", State: status.Created})
	assert.Nil(t, r.Attempt)
	assert.Equal(t, upload(4), r.Newest, "it stands where it was attempted")
	assert.NotNil(t, r.Waiting)
}

func TestS14_ADeploymentsReasonComesOnceAndItsEndIsToldOnce(t *testing.T) {
	r := &Record{}
	r.Heard(Deployment{Upload: upload(1), DeploymentID: "d1", State: status.Created, SeenAt: start})
	r.Heard(Deployment{Upload: upload(2), DeploymentID: "d2", State: status.Created, SeenAt: start})
	r.Heard(Deployment{Upload: upload(1), DeploymentID: "d1", State: status.Failed, SeenAt: start.Add(time.Hour)})
	assert.Equal(t, Deployment{Upload: upload(1), DeploymentID: "d1", State: status.Failed, SeenAt: start.Add(time.Hour)}, r.Deployments[0])
	r.Heard(Deployment{Upload: upload(1), DeploymentID: "d1", State: status.Failed, Reason: "x", Told: true, SeenAt: start.Add(2 * time.Hour)})
	r.Heard(Deployment{Upload: upload(1), DeploymentID: "d1", State: status.Failed, Reason: "y", SeenAt: start.Add(3 * time.Hour)})
	assert.Equal(t, Deployment{Upload: upload(1), DeploymentID: "d1", State: status.Failed, Reason: "x", Told: true, SeenAt: start.Add(time.Hour)}, r.Deployments[0])
	assert.Equal(t, status.Created, r.Deployments[1].State)
	assert.Len(t, r.Deployments, 2)
}

// However many fail, what is under way is not let go of, and what is live neither.
//
//fault:live a group fails for ever | its record stays bounded, and what is live and under way stays in it
func TestS14_ARecordIsBoundedByWhatFailedFirst(t *testing.T) {
	r := &Record{}
	r.Heard(deployment(0, status.InProgress))
	r.Heard(deployment(1, status.Stopped))
	r.Heard(deployment(2, status.Succeeded))
	for n := range maxDeployments - 2 {
		r.Heard(deployment(n+3, status.Failed))
	}
	assert.Len(t, r.Deployments, maxDeployments)
	assert.Equal(t, []Upload{upload(1)}, r.Expired)
	r.Heard(deployment(1000, status.Failed))
	assert.Equal(t, []Upload{upload(1), upload(3)}, r.Expired)
	assert.NotNil(t, r.Deployment(upload(0)))
	assert.NotNil(t, r.Deployment(upload(2)))

	again := deployment(3, status.Created)
	again.DeploymentID = "again"
	r.Heard(again)
	assert.NotContains(t, r.Expired, upload(3), "it is wanted again")
}

// An attempt that came to nothing is overtaken by the next one, its own is not.
func TestS14_AnAttemptOvertakesTheOneBeforeIt(t *testing.T) {
	r := &Record{Attempt: &Attempt{Upload: upload(1)}}
	r.Begin(Attempt{Upload: upload(1), Owner: "again"})
	assert.Nil(t, r.End(upload(1)))
	r.Begin(Attempt{Upload: upload(2)})
	assert.Equal(t, status.Superseded, r.End(upload(1)).State)
	assert.Equal(t, upload(2), r.Attempt.Upload)
}

func TestS14_AVersionThatWasDeployedTwiceIsMarkedOnce(t *testing.T) {
	r := &Record{}
	again := deployment(0, status.Succeeded)
	again.DeploymentID = "again"
	r.Deployments = []Deployment{deployment(0, status.Succeeded), again}
	for n := range kept {
		r.Deployments = append(r.Deployments, deployment(n+1, status.Succeeded))
	}
	r.prune()
	assert.Equal(t, []Upload{upload(0)}, r.Expired)
}
