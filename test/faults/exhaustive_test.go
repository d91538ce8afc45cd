package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/faults/cloud"
)

// one is a schedule with a single valid upload, whose event comes the given
// number of times at once.
func one(copies int) schedule {
	u := simpleUpload(0, "artifacts/alpha/artifact.gz")
	u.Events = make([]s3Event, copies)
	return schedule{Seed: 1, Pollers: copies, Batch: 1, Receives: 970, PageSize: 100, Soon: time.Hour, Late: time.Hour, Operator: true, Uploads: []upload{u}}
}

func simpleUpload(number int, key string) upload {
	return upload{
		Key: key, Pair: goodGroups[0], Events: make([]s3Event, 1),
		Metadata: map[string]string{
			"application-name": goodGroups[0].Application, "deploymentgroup-name": goodGroups[0].Group,
			"upload-id": fmt.Sprintf("upload-%d", number),
		},
		Course: cloud.Course{Lasts: 30 * time.Second, Outcome: "Succeeded"},
	}
}

// Every call that one upload takes goes wrong in every way, in turn, with one
// process and with two that got the same event at once; in both functions.
//
//fault:once each call in turn fails in each way, and the process dies before or after it | there is one deployment, and its state comes
func TestS14_NoCallIsTheWrongOneToFail(t *testing.T) {
	t.Parallel()
	calm := play(t, one(1))
	require.Empty(t, calm.violations, "%s", calm.report())
	t.Logf("%d calls without a fault", calm.calls)

	var schedules []schedule
	add := func(copies int, f fault) {
		s := one(copies)
		s.Seed = uint64(len(schedules))
		s.Faults = []fault{f}
		schedules = append(schedules, s)
	}
	for _, kind := range append(slices.Clone(kinds), delayed) {
		times := []int{1, 4} // 4 is one more than the SDK tries
		switch kind {
		case killBefore, killAfter, slowBefore, slowAfter, delayed, undeleted:
			times = []int{1}
		}
		for _, n := range times {
			// Two processes make more calls than one when they meet.
			for call := range 9 {
				add(1, fault{Function: "trigger", Invocation: 1, Call: 1 + call, Kind: kind, Times: n})
			}
			for call := range 10 {
				add(2, fault{Function: "trigger", Invocation: 1, Call: 1 + call, Kind: kind, Times: n})
			}
			for call := range 3 {
				for invocation := range 3 { // START, READY, SUCCESS
					add(1, fault{Function: "status", Invocation: 1 + invocation, Call: 1 + call, Kind: kind, Times: n})
				}
			}
		}
	}
	reportFailed(t, schedules, playAll(t, schedules))
}

// Two processes at work on the same key or group, in many orders of their calls: the same event twice, two versions of a key, two keys of a group, and
// two uploads that claim the same id.
//
//fault:once two processes have the same message, key, group, or id, in many orders of their calls | each upload is deployed once at most
func TestS14_NoOrderOfTwoProcessesIsTheWrongOne(t *testing.T) {
	t.Parallel()
	second := func(key, id string, pair cloud.Pair) schedule {
		s := one(1)
		s.Pollers = 2
		u := simpleUpload(1, key)
		u.Pair = pair
		u.Metadata = map[string]string{"application-name": pair.Application, "deploymentgroup-name": pair.Group, "upload-id": id}
		u.At = 1500 * time.Millisecond
		// Both events come when both uploads are there.
		s.Uploads[0].Events[0].Late = 2 * time.Second
		u.Events[0].Late = 500 * time.Millisecond
		s.Uploads = append(s.Uploads, u)
		return s
	}
	for name, s := range map[string]schedule{
		"the same event twice":    one(2),
		"two versions of a key":   second("artifacts/alpha/artifact.gz", "upload-1", goodGroups[0]),
		"two keys of a group":     second("artifacts/alpha/other.zip", "upload-1", goodGroups[0]),
		"two uploads with one id": second("artifacts/beta/artifact.gz", "upload-0", goodGroups[1]),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			orders, failed := playOrders(t, s)
			t.Logf("%d orders", orders)
			if failed != nil {
				t.Error(failed.report())
			}
		})
	}
}

// ordersOfTwo is how many orders of two invocations' calls are played. There are
// 48,620 of nine calls each.
const ordersOfTwo = 400

// playOrders plays a schedule in many orders of the calls that two functions make
// at the same time. It returns a world that went wrong.
func playOrders(t *testing.T, s schedule) (orders int, failed *world) {
	for orders = range ordersOfTwo {
		random := rand.New(rand.NewPCG(uint64(orders), 7))
		w := playWith(t, s, func(w *world) {
			w.choose = func(weights []int) int {
				if w.invocations["trigger"] < 2 { // First let both get their events …
					if events := slices.Index(weights, handsOut); events >= 0 {
						return events
					}
					return len(weights) - 1
				}
				if answer := slices.Index(weights, answers); answer >= 0 && w.triggers[0].work != nil && w.triggers[1].work != nil {
					if random.IntN(2) == 0 && answer+1 < len(weights) && weights[answer+1] == answers {
						return answer + 1
					}
					return answer // … then one of two calls is answered.
				}
				return w.chooseAtRandom(weights)
			}
		})
		if len(w.violations) > 0 {
			return orders, w
		}
	}
	return orders + 1, nil
}

// While a process waits for its look at the group's deployments, a newer upload
// of another key is deployed from beginning to end. The look is worth nothing
// when it comes at last.
//
//fault:order a look at the group is answered after a newer upload was deployed | the look is not trusted
func TestS14_AnOldLookAtTheGroupIsNotTrusted(t *testing.T) {
	t.Parallel()
	var schedules []schedule
	for seed := range 4 {
		s := one(1)
		s.Seed, s.Pollers = uint64(seed), 2
		newer := simpleUpload(1, "artifacts/alpha/other.zip")
		newer.At = 1500 * time.Millisecond
		newer.Course.Lasts = 3 * time.Second
		s.Uploads = append(s.Uploads, newer)
		s.Faults = []fault{{Function: "trigger", Invocation: 1, Call: 1, Kind: stalled, Times: 1}}
		schedules = append(schedules, s)
	}
	reportFailed(t, schedules, playAll(t, schedules))
	// And that is what happened: only the newer one was deployed.
	w := play(t, schedules[0])
	require.Len(t, w.aws.Deployments.Of(goodGroups[0]), 1, "%s", w.report())
}

// A process dies at any of its calls, or hears no answer. Before the message
// comes again, something newer takes the upload's place, or it is deleted, or
// somebody else deploys. Its state then has to tell what happened first.
//
//fault:end a process dies after the creation, and something newer takes its place | the state says what was deployed
func TestS14_WhatWasDeployedIsNotCalledSuperseded(t *testing.T) {
	t.Parallel()
	var schedules []schedule
	for _, kind := range []kind{killBefore, killAfter, slowBefore, slowAfter} {
		for call := range 9 {
			for _, meanwhile := range []string{"new version", "other key", "deleted", "other deployment"} {
				s := one(1)
				s.Seed = uint64(len(schedules))
				s.Faults = []fault{{Function: "trigger", Invocation: 1, Call: 1 + call, Kind: kind, Times: 1}}
				newer := simpleUpload(1, "artifacts/alpha/artifact.gz")
				newer.At = 4 * time.Second
				switch meanwhile {
				case "new version":
					s.Uploads = append(s.Uploads, newer)
				case "other key":
					newer.Key = "artifacts/alpha/other.zip"
					s.Uploads = append(s.Uploads, newer)
				case "deleted":
					s.Uploads[0].Gone, s.Uploads[0].GoneAt = "deleted", newer.At
				case "other deployment": // fills the first page of the list
					s.PageSize = 1
					s.Foreign = []foreign{{At: time.Minute, Pair: goodGroups[0], Lasts: 30 * time.Second}}
				}
				schedules = append(schedules, s)
			}
		}
	}
	reportFailed(t, schedules, playAll(t, schedules))
}

// A deployment whose creator died fails before anybody has heard of it, and
// CodeDeploy rolls back. Both deployments then look like a part of a rollback,
// and one of them is the upload's.
//
//fault:once a deployment fails before anybody has heard of it, and CodeDeploy rolls back | the upload is not deployed again
func TestS14_ARollbackDoesNotHideADeployment(t *testing.T) {
	t.Parallel()
	var schedules []schedule
	for call := range 8 { // The group was looked at for the first upload.
		s := one(1)
		s.RollBack = []bool{true}
		failing := simpleUpload(1, "artifacts/alpha/other.zip")
		failing.At = 2 * time.Hour
		failing.Course.Outcome = "Failed"
		s.Uploads = append(s.Uploads, failing)
		s.Faults = []fault{{Function: "trigger", Invocation: 2, Call: 1 + call, Kind: killAfter, Times: 1}}
		for range 4 {
			s.Seed++
			schedules = append(schedules, s)
		}
	}
	reportFailed(t, schedules, playAll(t, schedules))
	w := play(t, schedules[0])
	require.Len(t, w.aws.Deployments.Of(goodGroups[0]), 3, "%s", w.report())
}

func reportFailed(t *testing.T, schedules []schedule, failed []*world) {
	t.Helper()
	t.Logf("%d schedules", len(schedules))
	for _, w := range failed[:min(len(failed), 10)] {
		t.Errorf("%v: %s", w.schedule.Faults, w.violations[0])
	}
	if len(failed) > 0 {
		t.Errorf("%d of %d schedules failed, for example:\n%s", len(failed), len(schedules), failed[0].report())
	}
}
