package faults

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/faults/cloud"
)

// generateLoad makes uploads to 50 groups within half an hour. Half of them
// replace the one before, a fifth of the events come twice, and all of them in
// any order; most uploads meet a busy group.
func generateLoad(seed uint64, uploads int) schedule {
	r := rand.New(rand.NewPCG(seed, 4))
	s := schedule{Seed: seed, Pollers: 2, Batch: 10, Receives: 970, PageSize: 100, Soon: 2 * time.Second, Late: time.Minute}
	for i := range uploads {
		pair := loadGroups[i%len(loadGroups)]
		u := simpleUpload(i, fmt.Sprintf("%s%s/%d.zip", artifactPrefix, pair.Application, i))
		if r.IntN(2) == 0 {
			u.Key = artifactPrefix + pair.Application + "/artifact.gz"
		}
		u.At = jitter(r, 30*time.Minute)
		u.Pair = pair
		u.Metadata["application-name"], u.Metadata["deploymentgroup-name"] = pair.Application, pair.Group
		u.Events[0].Late = jitter(r, time.Minute)
		if r.IntN(5) == 0 {
			u.Events = append(u.Events, s3Event{Late: jitter(r, time.Minute)})
		}
		u.Course = cloud.Course{Lasts: 30*time.Second + jitter(r, 3*time.Minute), Outcome: "Succeeded"}
		s.Uploads = append(s.Uploads, u)
	}
	return s
}

// A thousand uploads to 50 groups, worked on by two processes. The figures
// include the simulation, which answers one call at a time.
func TestS14_LoadLosesNothingAndDeploysNothingTwice(t *testing.T) {
	s := generateLoad(1, setting(t, "FAULTS_LOAD", 1000))
	began := time.Now()
	w := play(t, s)
	took := time.Since(began)
	w.trace = w.trace[max(0, len(w.trace)-100):]
	require.Empty(t, w.violations, "%s", w.report())

	ends := map[string]int{}
	for _, u := range w.uploads {
		ends[w.statusesOf(u)[0].State]++
	}
	t.Logf("%d uploads, %d invocations, %d calls in %s: %.0f uploads/s, %.1f calls an upload",
		len(w.uploads), w.invocations["trigger"], w.calls, took.Round(time.Millisecond),
		float64(len(w.uploads))/took.Seconds(), float64(w.calls)/float64(len(w.uploads)))
	t.Logf("ends: %v", ends)
}
