package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/test/faults/cloud"
)

// What must hold, first after each step, then at the end.

// rank orders states; a status object's rank never falls.
var rank = map[string]int{
	"Waiting": 1, "Created": 2, "InProgress": 3, "Ready": 4,
	"Succeeded": 5, "Failed": 5, "Stopped": 5, "Superseded": 5, "Rejected": 5,
}

const final = 5

// statusKey is the only kind of key that a function may write. One segment, so
// that no upload id makes a path.
var statusKey = regexp.MustCompile(`^deployments/[A-Za-z0-9._-]{1,128}\.json$`)

// written checks each object that a function puts.
func (w *world) written(v *cloud.Version) {
	if !statusKey.MatchString(v.Key) {
		w.violate("an object was written at %q", v.Key)
		return
	}
	now, err := parseStatus(v.Body)
	if err != nil {
		w.violate("%s is no status: %v", v.Key, err)
		return
	}
	if "deployments/"+now.UploadID+".json" != v.Key {
		w.violate("%s says it is about upload %q", v.Key, now.UploadID)
	}
	artifact := now.Key + "?" + now.VersionID
	if w.states[artifact] == nil {
		w.states[artifact] = map[string]statusObject{}
	}
	w.states[artifact][v.Key] = now
	history := w.history[v.Key]
	w.history[v.Key] = append(history, now)
	if len(history) == 0 {
		return
	}
	before := history[len(history)-1]
	switch {
	case rank[before.State] == final && before.State != now.State:
		w.violate("%s went from %s to %s", v.Key, before.State, now.State)
	case rank[now.State] < rank[before.State]:
		w.violate("%s went backwards, from %s to %s", v.Key, before.State, now.State)
	case before.Key != now.Key || before.VersionID != now.VersionID:
		w.violate("%s was about %s?versionId=%s and is now about %s?versionId=%s", v.Key, before.Key, before.VersionID, now.Key, now.VersionID)
	case before.DeploymentID != "" && before.DeploymentID != now.DeploymentID:
		w.violate("%s was about deployment %s and is now about %s", v.Key, before.DeploymentID, now.DeploymentID)
	}
}

// observe looks at each call that had an effect.
func (w *world) observe(name string, work *invocation, r cloud.Request, a cloud.Response) {
	switch r.Operation {
	case "CreateDeployment":
		if strings.Contains(string(a.Body), "DeploymentLimitExceededException") {
			for _, m := range work.messages {
				for _, u := range w.messages[m] {
					if strings.Contains(string(r.Body), u.version.ID) {
						work.busy[u.Pair] = true
					}
				}
			}
		}
	case "DeleteObject":
		w.violate("%s deletes %s", name, r.Key)
	}
	if a.Status == http.StatusNotImplemented {
		w.violate("%s made a call that is not simulated: %s", name, r)
	}
}

// course is asked when a deployment was created, and checks that it may be.
func (w *world) course(d *cloud.Deployment) cloud.Course {
	if d.Rollback() {
		return cloud.Course{Lasts: time.Minute, Outcome: "Succeeded"}
	}
	if d.Object.Bucket == "somebody-elses" {
		return cloud.Course{Lasts: w.foreign.Lasts, Outcome: "Succeeded"}
	}
	u := w.uploadOf(d)
	if u == nil {
		w.violate("%s deploys %+v, which nobody uploaded", d.ID, d.Object)
		return cloud.Course{Lasts: time.Minute, Outcome: "Failed"}
	}
	w.tracef("%s deploys %s to %s", d.ID, u, d.Pair)
	switch {
	case u.Invalid != "":
		w.violate("%s was deployed although it is invalid: %s", u, u.Invalid)
	case d.Pair != u.Pair:
		w.violate("%s is for %s and was deployed to %s", u, u.Pair, d.Pair)
	case w.served.outdated[u]:
		w.violate("%s was deployed although it was replaced or gone before", u)
	case d.Object.ETag != strings.Trim(u.version.ETag, `"`):
		w.violate("%s was deployed with the ETag of another one", u)
	}
	for _, earlier := range w.aws.Deployments.Of(d.Pair) {
		other := w.uploadOf(earlier)
		if earlier == d || other == nil || earlier.Rollback() {
			continue
		}
		if other == u {
			w.violate("%s was deployed twice, by %s and %s", u, earlier.ID, d.ID)
		} else if older(u, other) && !other.removed { // then u is the newest again
			w.violate("%s was deployed after %s, which is newer", u, other)
		}
	}
	return u.Course
}

func (w *world) uploadOf(d *cloud.Deployment) *placed {
	for _, u := range w.uploads {
		if d.Object.Bucket == bucketName && d.Object.Key == u.Key && d.Object.Version == u.version.ID {
			return u
		}
	}
	return nil
}

// older says whether a was uploaded before b, as far as S3 tells: its event the
// millisecond, and within one key the order of versions.
func older(a, b *placed) bool {
	if a.Key == b.Key {
		return a.version.Sequence < b.version.Sequence
	}
	return a.version.Modified.UnixMilli() < b.version.Modified.UnixMilli()
}

// acknowledged checks that a message may go: its uploads were deployed, or
// have their final state.
func (w *world) acknowledged(m *cloud.Message) {
	for _, u := range w.messages[m] {
		known := func(s statusObject) bool { return rank[s.State] == final || s.DeploymentID != "" }
		if found := w.statusesOf(u); !slices.ContainsFunc(found, known) {
			w.violate("%s is done with, but the state of %s is %+v", m.ID, u, found)
		}
	}
}

// retried checks that a message comes again for a reason.
func (w *world) retried(work *invocation, m *cloud.Message) {
	// On a machine that is busy, a look at the group may be too old by the time
	// it is used, or a call take too long: the function's own clock is real.
	if work.injured || time.Since(work.started) > time.Second {
		return
	}
	for _, u := range w.messages[m] {
		if u.messages > 1 || m.Twice {
			continue // It may wait for another message about the same upload.
		}
		if !work.busy[u.Pair] {
			w.violate("%s comes again without a cause", m.ID)
		}
		if found := w.statusesOf(u); len(found) == 0 || found[0].State == "Waiting" && found[0].Reason == "" {
			w.violate("%s waits, and its state does not say why: %+v", u, found)
		}
	}
	if len(w.messages[m]) == 0 {
		w.violate("%s comes again, which is about no artifact", m.ID)
	}
}

// hidden checks a ChangeMessageVisibility, and puts a repeatable jitter in
// place of the function's own.
func (w *world) hidden(m *cloud.Message, d time.Duration) time.Duration {
	most := 300 * time.Second
	if m.Receives < 6 {
		most = min(most, 10*time.Second<<(m.Receives-1))
	}
	if d < most*8/10-time.Second || d > most+time.Second {
		w.violate("%s waits for %s after receive %d, want 80 to 100 %% of %s", m.ID, d, m.Receives, most)
	}
	return most*8/10 + jitter(w.random, most*2/10)
}

// statusesOf returns the present status objects of an upload.
func (w *world) statusesOf(u *placed) []statusObject {
	states := w.states[u.Key+"?"+u.version.ID]
	var found []statusObject
	for _, key := range slices.Sorted(maps.Keys(states)) {
		found = append(found, states[key])
	}
	return found
}

// judge looks at a world in which nothing happens any more.
func (w *world) judge() {
	if n := len(w.aws.Queue.Waiting()); n > 0 {
		w.violate("%d messages are left in the queue", n)
	}
	for _, u := range w.uploads {
		w.judgeUpload(u)
	}
	for _, pair := range slices.Concat(goodGroups, loadGroups) {
		w.judgeGroup(pair)
	}
}

// judgeGroup: the last deployment of a group is its newest upload. One that was
// replaced may have been deployed before that, or not.
func (w *world) judgeGroup(pair cloud.Pair) {
	var newest, last *placed
	for _, u := range w.uploads {
		if u.Pair == pair && u.Invalid == "" && !u.replaced && !u.removed && (newest == nil || older(newest, u)) {
			newest = u
		}
	}
	for _, d := range w.aws.Deployments.Of(pair) {
		if u := w.uploadOf(d); u != nil && !d.Rollback() {
			last = u
		}
	}
	if newest != nil && (last == nil || older(last, newest)) {
		w.violate("the newest upload to %s is %s, the last one deployed is %v", pair, newest, last)
	}
}

// judgeUpload: each upload has one final state, and it is true.
func (w *world) judgeUpload(u *placed) {
	found := w.statusesOf(u)
	if u.removed {
		// Its metadata went with it, so nobody can tell its upload id any more:
		// a final state under its version id is the best there is.
		if !slices.ContainsFunc(found, func(s statusObject) bool { return rank[s.State] == final }) {
			w.violate("%s, which is gone, has no final state: %+v", u, found)
		}
		return
	}
	if len(found) != 1 {
		w.violate("%s has %d states, want 1: %+v", u, len(found), found)
		return
	}
	s := found[0]
	var deployment *cloud.Deployment
	for _, d := range w.aws.Deployments.Of(u.Pair) {
		if w.uploadOf(d) == u && !d.Rollback() {
			deployment = d
		}
	}
	switch {
	case rank[s.State] != final:
		w.violate("%s ended as %s (%s)", u, s.State, s.Reason)
	case deployment != nil && (s.State != deployment.Status || s.DeploymentID != deployment.ID):
		w.violate("%s was deployed by %s, which ended as %s, but its state says %+v", u, deployment.ID, deployment.Status, s)
	case deployment == nil && s.DeploymentID != "":
		w.violate("%s was not deployed, but its state says %+v", u, s)
	case s.State == "Rejected" && (u.Invalid == "" && !u.replaced || s.Reason == ""):
		w.violate("%s was rejected without a reason: %+v", u, s)
	case s.State == "Superseded" && !u.replaced && !w.newerDeployed(u):
		w.violate("%s is superseded by nothing", u)
	}
	if id := u.Metadata["upload-id"]; w.unique(id) && s.UploadID != id {
		w.violate("%s has the id %q, but its state is at %q", u, id, s.UploadID)
	}
}

var uploadID = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// unique says whether an upload id is well formed and nobody else's.
func (w *world) unique(id string) bool {
	uses := 0
	for _, u := range w.uploads {
		if u.Metadata["upload-id"] == id {
			uses++
		}
	}
	return uses == 1 && uploadID.MatchString(id)
}

// newerDeployed says whether the group got something that u may not replace.
func (w *world) newerDeployed(u *placed) bool {
	return slices.ContainsFunc(w.aws.Deployments.Of(u.Pair), func(d *cloud.Deployment) bool {
		other := w.uploadOf(d)
		return other != nil && other != u && !d.Rollback() && !older(other, u)
	})
}

// report is what a person needs to see of a failure.
func (w *world) report() string {
	var b strings.Builder
	for _, v := range w.violations {
		fmt.Fprintf(&b, "VIOLATION: %s\n", v)
	}
	b.WriteString(w.schedule.describe())
	for _, t := range w.trace {
		fmt.Fprintf(&b, "  %s\n", t)
	}
	return b.String()
}

func parseStatus(body []byte) (statusObject, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	var s statusObject
	if err := decoder.Decode(&s); err != nil {
		return s, err
	}
	if rank[s.State] == 0 {
		return s, fmt.Errorf("state %q", s.State)
	}
	if _, err := time.Parse(time.RFC3339, s.UpdatedAt); err != nil {
		return s, err
	}
	return s, nil
}
