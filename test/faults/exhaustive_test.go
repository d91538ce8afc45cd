package faults

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/faults/cloud"
)

// one is a schedule with a single valid upload, whose event comes the given
// number of times at once.
func one(copies int) schedule {
	u := simpleUpload(0, "artifacts/alpha/artifact.gz")
	u.Events = make([]s3Event, copies)
	return schedule{Seed: 1, Pollers: copies, Batch: 1, Receives: 400, PageSize: 100, Uploads: []upload{u}}
}

func simpleUpload(number int, key string) upload {
	return upload{
		Key: key, Pair: goodGroups[0], Events: make([]s3Event, 1),
		Metadata: map[string]string{
			"application-name": goodGroups[0].Application, "deploymentgroup-name": goodGroups[0].Group,
			"upload-id": fmt.Sprintf("upload-%d", number),
		},
		Course: cloud.Course{Lasts: 5 * time.Minute, Outcome: "Succeeded"},
	}
}

// Every call that one upload takes goes wrong in every way, in turn, with one
// process and with two that got the same event at once; in both functions.
func TestS14_NoCallIsTheWrongOneToFail(t *testing.T) {
	calm := play(one(1))
	require.Empty(t, calm.violations, "%s", calm.report())
	t.Logf("%d calls without a fault", calm.calls)

	var schedules []schedule
	for copies := 1; copies <= 2; copies++ {
		for _, kind := range kinds {
			// Two processes make more calls than one when they meet.
			for call := 1; call <= 7+copies; call++ {
				for _, times := range []int{1, 4} { // 4 is one more than the SDK tries
					s := one(copies)
					s.Seed = uint64(len(schedules))
					s.Faults = []fault{{Function: "trigger", Invocation: 1, Call: call, Kind: kind, Times: times}}
					schedules = append(schedules, s)
				}
			}
		}
	}
	for _, kind := range kinds {
		for invocation := 1; invocation <= 3; invocation++ { // START, READY, SUCCESS
			for call := 1; call <= 3; call++ {
				for _, times := range []int{1, 4} {
					s := one(1)
					s.Seed = uint64(len(schedules))
					s.Faults = []fault{{Function: "status", Invocation: invocation, Call: call, Kind: kind, Times: times}}
					schedules = append(schedules, s)
				}
			}
		}
	}
	report(t, schedules, playAll(t, schedules))
}

// Two processes at work on the same key or group, in every order of their
// calls: the same event twice, two versions of a key, two keys of a group.
func TestS14_NoOrderOfTwoProcessesIsTheWrongOne(t *testing.T) {
	second := func(key string) schedule {
		s := one(1)
		s.Pollers = 2
		u := simpleUpload(1, key)
		u.At = 1500 * time.Millisecond
		// Both events come when both uploads are there.
		s.Uploads[0].Events[0].Late = 2 * time.Second
		u.Events[0].Late = 500 * time.Millisecond
		s.Uploads = append(s.Uploads, u)
		return s
	}
	for name, s := range map[string]schedule{
		"the same event twice":  one(2),
		"two versions of a key": second("artifacts/alpha/artifact.gz"),
		"two keys of a group":   second("artifacts/alpha/other.zip"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runs := 0
			for choices := []int{}; choices != nil; {
				var failed *world
				choices, failed = playOrder(s, choices)
				runs++
				if failed != nil {
					t.Fatalf("order %d: %s", runs, failed.report())
				}
				if runs == setting(t, "FAULTS_ORDERS", 400) {
					break
				}
			}
			t.Logf("%d orders", runs)
		})
	}
}

// playOrder plays a schedule with the given choices, and the first possible
// one from there on, as long as two trigger processes are at work. It returns
// the choices of the next order, nil after the last one.
func playOrder(s schedule, choices []int) (next []int, failed *world) {
	w, err := newWorld(s)
	if err != nil {
		return nil, &world{schedule: s, violations: []string{err.Error()}}
	}
	var made, possible []int
	w.choose = func(weights []int) int {
		for _, t := range w.triggers {
			if t.work == nil {
				return len(weights) - 1 // First let both get their events …
			}
		}
		chosen := 0 // … then one of two calls is answered.
		if len(made) < len(choices) {
			chosen = choices[len(made)]
		}
		made, possible = append(made, chosen), append(possible, min(2, len(weights)))
		return chosen
	}
	if err := w.run(); err != nil {
		w.violate("%v", err)
	}
	if len(w.violations) > 0 {
		return nil, w
	}
	for i := len(made) - 1; i >= 0; i-- {
		if made[i]+1 < possible[i] {
			return append(made[:i:i], made[i]+1), nil
		}
	}
	return nil, nil
}

func report(t *testing.T, schedules []schedule, failed []*world) {
	t.Helper()
	t.Logf("%d schedules", len(schedules))
	for _, w := range failed[:min(len(failed), 10)] {
		t.Errorf("%v: %s", w.schedule.Faults, w.violations[0])
	}
	if len(failed) > 0 {
		t.Errorf("%d of %d schedules failed, for example:\n%s", len(failed), len(schedules), failed[0].report())
	}
}

var _ = assert.Empty
