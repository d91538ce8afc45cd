package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/faults/cloud"
)

// Which uploads a group gets, whatever their keys.
//
//fault:order two groups of an application share a key | each gets the upload that is for it
//fault:order an upload is rejected that has the key of one that waits | the one that waits is deployed
//fault:order six uploads wait for a busy group | only the newest is deployed, and the others are told
//fault:order an older upload's event comes after the newer one was deployed | the newer one stays
//fault:order the newer of two uploads is deleted before its event comes | the older one is deployed
//fault:order an upload that waits is deleted, and another group's is put to the same key | it is not deployed, and the other one is
//fault:order the newer of two uploads that wait is deleted | the older one stays superseded, for its job was told so
func TestS14_AGroupsOrderIsThatOfItsAcceptedUploads(t *testing.T) {
	t.Parallel()
	busy := []foreign{{Pair: goodGroups[0], Lasts: 2 * time.Hour}}
	uploads := func(n int, change func(int, *upload)) (list []upload) {
		for i := range n {
			u := simpleUpload(i, "artifacts/alpha/artifact.gz")
			u.At = time.Minute + time.Duration(i)*time.Minute
			change(i, &u)
			list = append(list, u)
		}
		return list
	}
	for name, tt := range map[string]struct {
		uploads []upload
		foreign []foreign
		want    map[cloud.Pair][]int // numbers of uploads, in the order of their deployments
		states  []string
	}{
		"two groups share a key": {
			uploads(2, func(i int, u *upload) {
				u.Key, u.Pair = "artifacts/alpha/shared.tgz", goodGroups[2*i]
				u.Metadata["application-name"], u.Metadata["deploymentgroup-name"] = u.Pair.Application, u.Pair.Group
				u.At = time.Duration(i) * time.Millisecond
			}), nil, map[cloud.Pair][]int{goodGroups[0]: {0}, goodGroups[2]: {1}}, []string{"Succeeded", "Succeeded"},
		},
		"one is taken back, and another group's lies upon it": {
			uploads(2, func(i int, u *upload) {
				u.Key, u.Pair = "artifacts/alpha/shared.tgz", goodGroups[2*i]
				u.Metadata["application-name"], u.Metadata["deploymentgroup-name"] = u.Pair.Application, u.Pair.Group
				if i == 0 {
					u.Gone, u.GoneAt = "deleted", 5*time.Minute
				} else {
					u.At = 10 * time.Minute
				}
			}), busy, map[cloud.Pair][]int{goodGroups[2]: {1}}, []string{"Rejected", "Succeeded"},
		},
		"a rejected one on the same key": {
			uploads(2, func(i int, u *upload) {
				if i == 1 {
					u.Invalid = "half the metadata"
					delete(u.Metadata, "deploymentgroup-name")
				}
			}), busy, map[cloud.Pair][]int{goodGroups[0]: {0}}, []string{"Succeeded", "Rejected"},
		},
		"six wait": {
			uploads(6, func(int, *upload) {}), busy, map[cloud.Pair][]int{goodGroups[0]: {5}},
			[]string{"Superseded", "Superseded", "Superseded", "Superseded", "Superseded", "Succeeded"},
		},
		"an older one's event is late": {
			uploads(2, func(i int, u *upload) {
				if i == 0 {
					u.Events[0].Late = 10 * time.Minute
				}
			}), nil, map[cloud.Pair][]int{goodGroups[0]: {1}}, []string{"Superseded", "Succeeded"},
		},
		"the newer one is taken back before it is accepted": {
			uploads(2, func(i int, u *upload) {
				if i == 1 {
					u.Key, u.Events[0].Late = "artifacts/alpha/other.zip", 10*time.Minute
					u.Gone, u.GoneAt = "deleted", 5*time.Minute
				}
			}), busy, map[cloud.Pair][]int{goodGroups[0]: {0}}, []string{"Succeeded", "Rejected"},
		},
		"the newer one is taken back after it was accepted": {
			uploads(2, func(i int, u *upload) {
				if i == 1 {
					u.Key, u.Gone, u.GoneAt = "artifacts/alpha/other.zip", "deleted", 5*time.Minute
				}
			}), busy, map[cloud.Pair][]int{}, []string{"Superseded", "Rejected"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := one(1)
			s.Uploads, s.Foreign = tt.uploads, tt.foreign
			w := play(t, s)
			require.Empty(t, w.violations, "%s", w.report())
			got := map[cloud.Pair][]int{}
			for _, pair := range goodGroups {
				for _, d := range w.aws.Deployments.Of(pair) {
					if u := w.uploadOf(d); u != nil {
						got[pair] = append(got[pair], u.number)
					}
				}
			}
			assert.Equal(t, tt.want, got, "%s", w.report())
			for i, u := range w.uploads {
				states := w.statusesOf(u)
				require.Len(t, states, 1, "upload %d", i)
				assert.Equal(t, tt.states[i], states[0].State, "upload %d: %s", i, states[0].Reason)
			}
		})
	}
}

// What is known about a version goes with it: its upload id, and its group.
//
//fault:end a version is removed for good before anybody has read it | it ends under its version id
//fault:end a version that waits is removed for good | it ends where its job looks
func TestS14_WhatIsRemovedForGoodEndsWhereItIsKnown(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		late time.Duration // the event
		want []string      // ids
	}{
		"nobody has read it": {time.Hour, []string{"version"}},
		"it waits":           {0, []string{"version", "upload-0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := one(1)
			s.Foreign = []foreign{{Pair: goodGroups[0], Lasts: 2 * time.Hour}}
			u := &s.Uploads[0]
			u.At, u.Gone, u.GoneAt = time.Minute, "removed", 10*time.Minute
			u.Events[0].Late = tt.late
			w := play(t, s)
			require.Empty(t, w.violations, "%s", w.report())
			var ids []string
			for _, state := range w.statusesOf(w.uploads[0]) {
				assert.Equal(t, "Rejected", state.State)
				assert.Contains(t, state.Reason, "is gone")
				ids = append(ids, strings.ReplaceAll(state.UploadID, w.uploads[0].version.ID, "version"))
			}
			assert.ElementsMatch(t, tt.want, ids)
		})
	}
}

// What has told of a deployment first is gone by the time of its end: the version,
// and every further event.
//
//fault:hands somebody deploys an upload by hand and removes it before its message comes, and all events but the first are lost | the deployment is followed to its end all the same
func TestS14_ADeploymentByHandIsFollowedByWhoHeardOfIt(t *testing.T) {
	t.Parallel()
	for _, outcome := range []string{"Succeeded", "Failed", "Stopped"} {
		s := one(1)
		s.Late = s.Soon
		u := &s.Uploads[0]
		u.At, u.Events[0].Late = time.Minute, 4*time.Hour
		u.Gone, u.GoneAt = "removed", 150*time.Minute
		s.Foreign = []foreign{{At: 2 * time.Minute, Pair: goodGroups[0], Lasts: 3 * time.Hour, Upload: 1, Description: "by hand", Outcome: outcome}}
		w := playWith(t, s, func(w *world) {
			told := w.aws.Deployments.Changed
			w.aws.Deployments.Changed = func(d *cloud.Deployment, state string) {
				if state == "START" {
					told(d, state)
				}
			}
		})
		require.Empty(t, w.violations, "%s", w.report())
		for _, state := range w.statusesOf(w.uploads[0]) {
			want := "Rejected" // by the message that came when nobody could tell whose it was
			if state.UploadID == "upload-0" {
				want = outcome
			}
			assert.Equal(t, want, state.State, "%s", state.UploadID)
		}
	}
}

// The record knows of our own deployment by the job's state alone, until somebody looks.
//
//fault:hands the end of our deployment is lost, and somebody deploys the same version again by hand | the job is told of the end of its own
func TestS14_ADeploymentByHandHidesNoneOfOurs(t *testing.T) {
	t.Parallel()
	s := one(1)
	s.Soon, s.Late = time.Second, time.Second
	u := &s.Uploads[0]
	u.At, u.Course.Lasts, u.Course.Outcome = 61*time.Minute, 20*time.Second, "Succeeded"
	s.Foreign = []foreign{{At: 62 * time.Minute, Pair: goodGroups[0], Lasts: 20 * time.Second, Upload: 1, Description: "by hand", Outcome: "Succeeded"}}
	first := ""
	w := playWith(t, s, func(w *world) {
		told := w.aws.Deployments.Changed
		w.aws.Deployments.Changed = func(d *cloud.Deployment, state string) {
			if first == "" {
				first = d.ID
			}
			if d.ID != first || state != "SUCCESS" {
				told(d, state)
			}
		}
	})
	require.Empty(t, w.violations, "%s", w.report())
	for _, state := range w.statusesOf(w.uploads[0]) {
		assert.Equal(t, "Succeeded", state.State)
		assert.Equal(t, first, state.DeploymentID)
	}
}

// A token lies in the bucket for a day or two, and is worth one upload to a group.
//
//fault:trust a proven upload waits until its token is gone | it is deployed all the same
//fault:trust one token is used for two uploads to a group | the one that is read first is deployed, the other refused
//fault:trust one token is used for uploads to two groups | both are deployed
//fault:trust a refused upload comes before, between and after a good one that waits | it delays and supersedes nothing
//fault:trust S3 fails for minutes when tokens are read | the good upload is deployed, the bad one refused
func TestS15_ATokenDecidesAndNothingElse(t *testing.T) {
	t.Parallel()
	uploads := func(kinds ...string) (list []upload) {
		for i, kind := range kinds {
			u := simpleUpload(i, fmt.Sprintf("artifacts/alpha/%d.zip", i))
			u.At, u.Token, u.TokenOf, u.SwapAt = time.Duration(1+i)*time.Minute, kind, 1, 10*time.Second
			list = append(list, u)
		}
		return list
	}
	for name, tt := range map[string]struct {
		uploads []upload
		change  func(*schedule)
		states  []string
	}{
		"it waits for longer than its token lies there": {
			uploads(""), func(s *schedule) { s.Foreign = []foreign{{Pair: goodGroups[0], Lasts: 60 * time.Hour}} }, []string{"Succeeded"},
		},
		"two uploads, one token": {uploads("", usedToken), nil, []string{"Succeeded", "Rejected"}},
		"two uploads, one token, the second is read first": {
			uploads("", usedToken), func(s *schedule) { s.Uploads[0].Events[0].Late = 10 * time.Minute }, []string{"Rejected", "Succeeded"},
		},
		"two groups, one token": {
			uploads("", usedToken), func(s *schedule) {
				s.Uploads[1].Pair = goodGroups[2]
				s.Uploads[1].Metadata["deploymentgroup-name"] = goodGroups[2].Group
			}, []string{"Succeeded", "Succeeded"},
		},
		"refused ones before, between and after": {
			uploads(otherToken, "", noToken, improvedToken), func(s *schedule) { s.Foreign = []foreign{{Pair: goodGroups[0], Lasts: time.Hour}} },
			[]string{"Rejected", "Succeeded", "Rejected", "Rejected"},
		},
		"S3 fails": {
			uploads(spoiltToken, garbageToken), func(s *schedule) { s.Brownouts = map[string][]span{"s3": {{0, 20 * time.Minute}}} }, []string{"Succeeded", "Rejected"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := one(1)
			s.Uploads = tt.uploads
			if tt.change != nil {
				tt.change(&s)
			}
			w := play(t, s)
			require.Empty(t, w.violations, "%s", w.report())
			for i, u := range w.uploads {
				states := w.statusesOf(u)
				require.Len(t, states, 1, "upload %d", i)
				assert.Equal(t, tt.states[i], states[0].State, "upload %d: %s\n%s", i, states[0].Reason, w.report())
			}
		})
	}
}
