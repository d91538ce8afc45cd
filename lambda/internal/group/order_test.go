package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/lambda/internal/status"
)

// again is an order that deploys an upload again, at a later time.
func again(n, of int) Upload {
	return Upload{ID: fmt.Sprint("order.", n), Key: fmt.Sprint("orders/", n), VersionID: fmt.Sprint("o", n), Uploaded: start.Add(time.Duration(n) * time.Minute),
		Order: Order{status.Order{Kind: "rollback", Operator: "AWS:X:alice"}, upload(of).Key, upload(of).VersionID, upload(of).Uploaded}}
}

func TestS15_ALaterPauseOrResumptionWinsInWhateverOrderTheyCome(t *testing.T) {
	pause, resume := Upload{Key: "orders/p", VersionID: "1", Uploaded: start}, Upload{Key: "orders/r", VersionID: "2", Uploaded: start.Add(time.Minute)}
	var r Record
	assert.True(t, r.Switch(resume, nil))
	assert.False(t, r.Switch(pause, &Pause{By: "late"}))
	assert.Nil(t, r.Paused)

	r = Record{}
	assert.True(t, r.Switch(pause, &Pause{By: "alice"}))
	waits := upload(3)
	r.Park(waits)
	assert.True(t, r.Switch(pause, &Pause{By: "alice"}), "again is no second time")
	assert.Equal(t, &waits, r.Parked)
	assert.True(t, r.Switch(resume, nil))
	assert.Nil(t, r.Parked)
	assert.Equal(t, &waits, r.Waiting, "it has its turn")
}

func TestS15_OnlyTheNewestUploadIsParkedAndNoOrderIs(t *testing.T) {
	ordered, older, newer := again(5, 0), upload(1), upload(9)
	r := Record{Waiting: &ordered, Paused: &Pause{}}
	assert.Nil(t, r.Park(older))
	assert.Equal(t, older, *r.Park(newer))
	assert.Equal(t, status.Superseded, r.End(older).State)
	assert.Equal(t, &ordered, r.Waiting, "an order goes on")
	assert.Equal(t, newer, *r.Parked)
	assert.False(t, r.Overtaken(ordered), "what waits for the resumption is newer, and does not keep the order from being carried out")
	assert.True(t, r.Overtaken(older))
	assert.True(t, r.Knows(newer))
	assert.Equal(t, newer, *r.Find(newer))

	busy := upload(2)
	r = Record{Waiting: &busy, Paused: &Pause{}}
	assert.Nil(t, r.Park(busy), "it waited for a deployment before")
	assert.Nil(t, r.Waiting)
	assert.Equal(t, busy, *r.Parked)
}

// An attempt of somebody who died would have the first turn for ever: the schedule would
// ask about an upload whose job was told that it is superseded.
func TestS15_WhoWaitsAgainHasNoAttempt(t *testing.T) {
	for name, waits := range map[string]func(*Record, Upload) *Upload{"for the resumption": (*Record).Park, "for the group": (*Record).Accept} {
		r := Record{Attempt: &Attempt{Upload: upload(1), Owner: "died"}}
		assert.Nil(t, waits(&r, upload(1)), name)
		assert.Nil(t, r.Attempt, name)
		assert.Equal(t, upload(1), *waits(&r, upload(2)), name)
		assert.Nil(t, r.Attempt, name)

		r = Record{Attempt: &Attempt{Upload: upload(1), Owner: "alive"}}
		waits(&r, upload(2))
		assert.NotNil(t, r.Attempt, "%s: another one's attempt goes on", name)
	}
}

func TestS15_AnOrderSupersedesWhatWaitsForTheResumption(t *testing.T) {
	parked := upload(1)
	r := Record{Parked: &parked, Paused: &Pause{}}
	r.Accept(again(5, 0))
	assert.Nil(t, r.Parked)
	assert.Equal(t, status.Superseded, r.End(parked).State)

	r = Record{Parked: &parked, Paused: &Pause{}}
	r.Heard(Deployment{Upload: again(5, 0), DeploymentID: "d", State: status.Created})
	assert.Nil(t, r.Parked)
	assert.Equal(t, again(5, 0), r.Newest)
}

// A version counts once, however often it is deployed; and it is wanted as long as any
// of its deployments is kept.
func TestS15_AVersionThatWasRolledBackToIsWanted(t *testing.T) {
	r := &Record{}
	for n := range kept {
		r.Heard(deployment(n, status.Succeeded))
	}
	back := Deployment{Upload: again(100, 0), DeploymentID: "back", State: status.Succeeded}
	r.Heard(back)
	assert.Empty(t, r.Expired)
	for n := range kept - 1 {
		r.Heard(deployment(200+n, status.Succeeded))
	}
	assert.True(t, r.Holds(upload(0)), "it ran ten versions ago, by the order")
	assert.NotContains(t, r.Expired, upload(0).Artifact())
	assert.Contains(t, r.Expired, upload(1))
	assert.Equal(t, "back", r.Succeeded(upload(0)).DeploymentID)
	r.Heard(deployment(300, status.Succeeded))
	assert.False(t, r.Holds(upload(0)))
	assert.Contains(t, r.Expired, Upload{Key: upload(0).Key, VersionID: upload(0).VersionID, Uploaded: upload(0).Uploaded}, "the artifact, and not the order")
	assert.Equal(t, upload(300), r.Running().Upload)
}

func TestS15_WhatIsAboutToBeDeployedIsHeld(t *testing.T) {
	promoted := again(5, 7)
	for name, r := range map[string]Record{"waits": {Waiting: &promoted}, "is attempted": {Attempt: &Attempt{Upload: promoted}}, "is deployed": {Deployments: []Deployment{{Upload: promoted}}}} {
		assert.True(t, r.Holds(upload(7)), name)
		assert.False(t, r.Holds(upload(8)), name)
	}
	assert.Nil(t, (&Record{}).Running())
	assert.Nil(t, (&Record{Deployments: []Deployment{{Upload: promoted, State: status.Failed}}}).Succeeded(upload(7)))
}
