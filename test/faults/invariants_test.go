package faults

import (
	"bytes"
	"cmp"
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
	"Succeeded": final, "Failed": final, "Stopped": final, "Superseded": final, "Rejected": final,
}

const final = 6

// rankOf is the rank of a state with what it says besides.
func rankOf(s statusObject) int {
	switch {
	case s.GivenUp:
		return rank["Waiting"] // It can be revived.
	case s.TrafficMoved && s.State == "InProgress":
		return final - 1
	}
	return rank[s.State]
}

// statusKey and recordKey are the only kinds of keys that a function may write.
// A state's has one segment, so that no upload id makes a path.
var recordKey = regexp.MustCompile(`^groups/[A-Za-z0-9-]{1,100}/[A-Za-z0-9-]{1,100}\.json$`)

var statusKey = regexp.MustCompile(`^deployments/[A-Za-z0-9._-]{1,128}\.json$`)

// written checks each object that a function puts.
func (w *world) written(v *cloud.Version) {
	if recordKey.MatchString(v.Key) {
		w.recorded(v)
		return
	}
	if !statusKey.MatchString(v.Key) {
		w.violate("an object was written at %q", v.Key)
		return
	}
	now, err := parseStatus(v.Body())
	if err != nil {
		w.violate("%s is no status: %v", v.Key, err)
		return
	}
	if "deployments/"+now.UploadID+".json" != v.Key {
		w.violate("%s says it is about upload %q", v.Key, now.UploadID)
	}
	if strings.HasPrefix(now.UploadID, "order.") {
		w.orderTold(now)
		w.followed(v.Key, now)
		return
	}
	artifact := now.Key + "?" + now.VersionID
	if w.states[artifact] == nil {
		w.states[artifact] = map[string]statusObject{}
	}
	w.states[artifact][v.Key] = now
	for _, u := range w.uploads {
		about := artifact == u.Key+"?"+u.version.ID
		u.named = u.named || about && now.UploadID == u.Metadata["upload-id"]
		u.proven = u.proven || about && now.Project != ""
		if about && now.State == "Superseded" {
			w.superseded(u)
		}
	}
	w.followed(v.Key, now)
}

// followed checks that a state goes forward only.
func (w *world) followed(key string, now statusObject) {
	history := w.history[key]
	w.history[key] = append(history, now)
	if len(history) == 0 {
		return
	}
	before := history[len(history)-1]
	switch {
	case rankOf(before) == final && before.State != now.State:
		w.violate("%s went from %s to %s", key, before.State, now.State)
	case rankOf(now) < rankOf(before):
		w.violate("%s went backwards, from %s to %s", key, before.State, now.State)
	case before.Key != now.Key || before.VersionID != now.VersionID:
		w.violate("%s was about %s?versionId=%s and is now about %s?versionId=%s", key, before.Key, before.VersionID, now.Key, now.VersionID)
	case before.DeploymentID != "" && before.DeploymentID != now.DeploymentID:
		w.violate("%s was about deployment %s and is now about %s", key, before.DeploymentID, now.DeploymentID)
	}
}

// recorded looks at what a group's record says of uploads.
func (w *world) recorded(v *cloud.Version) {
	type entry struct{ UploadID, Key, VersionID string }
	var r struct {
		Application, DeploymentGroup string
		Waiting, Attempt, Parked     *entry
		Deployments, Noted           []entry
		Ended                        []struct {
			entry
			State string
			Told  bool
		}
		Spent []struct{ Token, Upload string }
	}
	if err := json.Unmarshal(v.Body(), &r); err != nil {
		w.violate("%s is no record: %v", v.Key, err)
		return
	}
	pair := cloud.Pair{Application: r.Application, Group: r.DeploymentGroup}
	for _, s := range r.Spent {
		w.spend(spending{pair, s.Token}, s.Upload)
	}
	accepted := slices.Clone(r.Deployments)
	w.parked[pair] = ""
	if r.Parked != nil {
		w.parked[pair] = r.Parked.VersionID
	}
	w.toTell[pair] = nil
	for _, e := range r.Ended {
		if !e.Told {
			w.toTell[pair] = append(w.toTell[pair], e.VersionID)
		}
	}
	for _, one := range []*entry{r.Waiting, r.Attempt, r.Parked} {
		if one != nil {
			accepted = append(accepted, *one)
		}
	}
	for _, o := range w.orders {
		o.accepted = o.accepted || slices.ContainsFunc(accepted, func(e entry) bool { return e.Key == o.version.Key && e.VersionID == o.version.ID })
	}
	named := slices.Concat(accepted, r.Noted)
	for _, e := range r.Ended {
		named = append(named, e.entry)
	}
	for _, u := range w.uploads {
		u.named = u.named || slices.Contains(named, entry{u.Metadata["upload-id"], u.Key, u.version.ID})
		if !slices.ContainsFunc(accepted, func(e entry) bool { return e.Key == u.Key && e.VersionID == u.version.ID }) {
			continue
		}
		u.accepted, u.proven = true, true
		if reason, sure := w.refusal(u); sure && reason != "" && !u.hand || u.Pair != pair {
			w.violate("%s is for %s (%s), and was accepted for %s", u, u.Pair, reason, pair)
		}
	}
	for _, e := range r.Ended {
		for _, u := range w.uploads {
			if e.State == "Superseded" && e.Key == u.Key && e.VersionID == u.version.ID {
				w.superseded(u)
			}
		}
	}
}

// superseded checks that an upload was overtaken by the time that it was said so,
// not by what is accepted later: that may never come to be.
func (w *world) superseded(u *placed) {
	if !w.newerAccepted(u) && !w.newerDeployed(u) {
		w.violate("%s is superseded by what the group has not accepted", u)
	}
}

// spend checks that a token is worth one upload to a group, whose it is.
func (w *world) spend(s spending, hash string) {
	for _, u := range w.uploads {
		if versionHash(u) != hash {
			continue
		}
		if before := w.spent[s]; before != nil && before != u {
			w.violate("a token was worth %s to %s, and is now worth %s", before, s.Pair, u)
		}
		if !slices.ContainsFunc(w.tokensOf(u), func(t *token) bool { return t.goodFor(u) && t.id == s.token }) {
			w.violate("%s was let through by a token that is not good for it", u)
		}
		w.spent[s] = u
		u.proven = true
		return
	}
	w.violate("a token of %s was worth nothing that anybody uploaded", s.Pair)
}

// observe looks at each call that had an effect.
func (w *world) observe(name string, work *invocation, r cloud.Request, a cloud.Response) {
	switch r.Operation {
	case "ListDeployments":
		var in struct{ ApplicationName, DeploymentGroupName, NextToken string }
		if err := json.Unmarshal(r.Body, &in); err == nil && in.NextToken == "" && a.Status == http.StatusOK {
			work.looked[cloud.Pair{Application: in.ApplicationName, Group: in.DeploymentGroupName}] = w.now()
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
	if d.ByHand {
		if u := w.uploadOf(d); u != nil && !u.done {
			u.early = true
		}
		return cloud.Course{Lasts: w.foreign.Lasts, Outcome: cmp.Or(w.foreign.Outcome, "Succeeded")}
	}
	u := w.uploadOf(d)
	if u == nil {
		w.violate("%s deploys %+v, which nobody uploaded", d.ID, d.Object)
		return cloud.Course{Lasts: time.Minute, Outcome: "Failed"}
	}
	w.tracef("%s deploys %s to %s", d.ID, u, d.Pair)
	if o := w.orderOf(d); o != nil {
		w.orderDeployed(o, d, u)
		return u.Course
	}
	reason, sure := w.refusal(u)
	switch {
	case sure && reason != "":
		w.violate("%s was deployed although it has to be refused: %s", u, reason)
	case d.Pair != u.Pair:
		w.violate("%s is for %s and was deployed to %s", u, u.Pair, d.Pair)
	case w.served.withdrew[u]:
		w.violate("%s was deployed although it was deleted before", u)
	case d.Object.ETag != strings.Trim(u.version.ETag, `"`):
		w.violate("%s was deployed with the ETag of another one", u)
	}
	for _, earlier := range w.aws.Deployments.Of(d.Pair) {
		other := w.uploadOf(earlier)
		if earlier == d || other == nil || earlier.Creator != "user" || !w.listed(earlier) {
			continue
		}
		if o := w.orderOf(earlier); o != nil {
			if o.version.Modified.UnixMilli() > u.version.Modified.UnixMilli() {
				w.violate("%s was deployed after %s, and undoes it", u, o)
			}
			continue
		}
		if other == u {
			w.violate("%s was deployed twice, by %s and %s", u, earlier.ID, d.ID)
		} else if place(earlier, other).UnixMilli() > u.version.Modified.UnixMilli() {
			w.violate("%s was deployed after %s, which is newer", u, other)
		}
	}
	return u.Course
}

// listed says whether an upload whose deployment is created had to know of an
// earlier one: of a deployment by hand from when CodeDeploy's list showed it to
// the upload's last look, which is no older than ten seconds.
func (w *world) listed(d *cloud.Deployment) bool {
	looked, ok := w.served.looked[d.Pair]
	if !ok {
		looked = w.served.began.Add(-10 * time.Second) // The look before goes on.
	}
	return !d.ByHand || d.Created.Add(-w.schedule.Skew).Add(w.schedule.Lag).Before(looked)
}

// place is where a deployment of u stands in its group's order: by the
// millisecond of S3's event. A revision that somebody deploys by hand before the
// trigger was done with its message stands where S3 puts it, which tells whole
// seconds, or before all others when S3 does not have it any more.
func place(d *cloud.Deployment, u *placed) time.Time {
	switch {
	case !d.ByHand || !u.early:
		return u.version.Modified
	case u.removed:
		return time.Time{}
	}
	return u.version.Modified.Truncate(time.Second)
}

func (w *world) uploadOf(d *cloud.Deployment) *placed {
	for _, u := range w.uploads {
		if d.Object.Bucket == bucketName && d.Object.Key == u.Key && d.Object.Version == u.version.ID {
			return u
		}
	}
	return nil
}

// older says whether a was uploaded before b: S3's event tells the millisecond.
// What was uploaded in the same one has an order that nobody can complain of.
func older(a, b *placed) bool {
	return a.version.Modified.UnixMilli() < b.version.Modified.UnixMilli()
}

// acknowledged checks that a message may go: its uploads were deployed, or have their
// final state. What waits until its group is resumed is in the record, and so is the end
// of what was overtaken while its job was being told that it waits: the schedule tells it,
// and judge looks whether it did.
func (w *world) acknowledged(m *cloud.Message) {
	if o := w.ordersBy[m]; o != nil && !strings.Contains(m.Body, "gitlabCodeDeploy") {
		if s := w.orderStates[o.id]; rank[s.State] != final && s.DeploymentID == "" {
			w.violate("%s is done with, but the state of %s is %+v", m.ID, o, s)
		}
	}
	for _, u := range w.messages[m] {
		known := func(s statusObject) bool {
			remembered := w.parked[u.Pair] == u.version.ID || slices.Contains(w.toTell[u.Pair], u.version.ID)
			return rank[s.State] == final || s.DeploymentID != "" || strings.Contains(s.Reason, "the group is paused by "+cloud.Principal) && remembered
		}
		again := strings.Contains(m.Body, "gitlabCodeDeploy") // There is a message of S3's too.
		if found := w.statusesOf(u); !again && !slices.ContainsFunc(found, known) {
			w.violate("%s is done with, but the state of %s is %+v", m.ID, u, found)
		}
		u.done = u.done || !again
	}
}

// retried checks that a message comes again for a reason, which the job is told.
func (w *world) retried(work *invocation, m *cloud.Message) {
	if work.injured {
		return
	}
	for _, u := range w.messages[m] {
		found := w.statusesOf(u)
		if len(found) == 0 || found[0].State == "Waiting" && found[0].Reason == "" {
			w.violate("%s waits, and its state does not say why: %+v", u, found)
		}
	}
	if len(w.messages[m]) == 0 && w.ordersBy[m] == nil {
		w.violate("%s comes again, which is about no artifact", m.ID)
	}
}

// hidden checks a ChangeMessageVisibility, and puts a repeatable jitter in
// place of the function's own.
func (w *world) hidden(m *cloud.Message, d time.Duration) time.Duration {
	least := 360 * time.Second
	if m.Receives < 7 {
		least = min(least, 10*time.Second<<(m.Receives-1))
	}
	if d < least-time.Second || d > least*11/10+time.Second {
		w.violate("%s waits for %s after receive %d, want 100 to 110 %% of %s", m.ID, d, m.Receives, least)
	}
	return least + jitter(w.random, least/10)
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
	for _, o := range w.orders {
		w.judgeOrder(o)
	}
	for _, pair := range slices.Concat(goodGroups, loadGroups) {
		w.judgeGroup(pair)
	}
}

// judgeGroup: the newest upload of a group that nobody took back was deployed,
// or the group had accepted a newer one: then it is superseded, and stays so.
// course sees to it that nothing older follows what was deployed.
func (w *world) judgeGroup(pair cloud.Pair) {
	var newest *placed
	for _, u := range w.uploads {
		if reason, _ := w.refusal(u); u.Pair == pair && reason == "" && !u.taken && !u.removed && (newest == nil || older(newest, u)) {
			newest = u
		}
	}
	if newest == nil || w.waitsForResume(newest) || w.givenUp(newest) || w.newerDeployed(newest) || w.newerAccepted(newest) && w.statusesOf(newest)[0].State == "Superseded" {
		return
	}
	if !slices.ContainsFunc(w.aws.Deployments.Of(pair), func(d *cloud.Deployment) bool {
		return w.uploadOf(d) == newest && d.Creator == "user"
	}) {
		w.violate("the newest upload to %s is %s, and it was not deployed", pair, newest)
	}
}

// givenUp says whether an upload's message is a dead letter, and its job told so.
func (w *world) givenUp(u *placed) bool {
	return slices.ContainsFunc(w.aws.Queue.Dead(), func(m *cloud.Message) bool { return slices.Contains(w.messages[m], u) }) &&
		slices.ContainsFunc(w.statusesOf(u), func(s statusObject) bool { return s.GivenUp && strings.Contains(s.Reason, "redrive") })
}

// judgeUpload: each upload has one final state, and it is true.
func (w *world) judgeUpload(u *placed) {
	found := w.statusesOf(u)
	if u.removed && len(found) == 2 {
		// With a version go its upload id and the name of its group. Whoever is
		// asked about it then can only say so, under its version id. Its job looks
		// where the group's record says.
		found = slices.DeleteFunc(found, func(s statusObject) bool {
			return s.UploadID == u.version.ID && s.State == "Rejected" && strings.Contains(s.Reason, "is gone")
		})
	}
	if len(found) != 1 {
		w.violate("%s has %d states, want 1: %+v", u, len(found), found)
		return
	}
	s := found[0]
	var own, told *cloud.Deployment
	for _, d := range w.aws.Deployments.Of(u.Pair) {
		if w.uploadOf(d) != u || d.Creator != "user" || w.orderOf(d) != nil {
			continue
		}
		if !d.ByHand {
			own = d
		}
		if d.ID == s.DeploymentID {
			told = d
		}
	}
	reason, sure := w.refusal(u)
	switch {
	case w.waitsForResume(u):
		return
	case rank[s.State] != final:
		w.violate("%s ended as %s (%s)", u, s.State, s.Reason)
	case sure && reason != "" && told == nil && s.State != "Rejected":
		w.violate("%s has to be refused (%s), but its state says %+v", u, reason, s)
	case told != nil && !told.ByHand && proves(u.Pair) && (s.Project != alphaProject.Path || s.Ref != "main" || s.User == "" || s.PipelineURL == ""):
		w.violate("%s was deployed, and its state does not say whose it is: %+v", u, s)
	case told == nil && s.DeploymentID != "":
		w.violate("%s was not deployed by what its state says: %+v", u, s)
	case told != nil && s.State != told.Status:
		w.violate("%s was deployed by %s, which ended as %s, but its state says %+v", u, told.ID, told.Status, s)
	case told != nil && told.Status == "Failed" && s.Reason == "":
		w.violate("%s failed, and its state does not say why: %+v", u, s)
	case told == nil && own != nil:
		w.violate("%s was deployed by %s, but its state says %+v", u, own.ID, s)
	case told == nil && s.State != "Superseded" && s.State != "Rejected":
		w.violate("%s was not deployed, but its state says %+v", u, s)
	case s.State == "Rejected" && (s.Reason == "" || reason == "" && !u.taken && !u.removed && !w.givenUp(u)):
		w.violate("%s was rejected although nothing is wrong with it: %+v", u, s)
	case s.State == "Superseded" && !w.newerAccepted(u) && !w.newerDeployed(u):
		w.violate("%s is superseded by nothing", u)
	}
	if w.ownID(u) && (u.named || !u.removed) && s.UploadID != u.Metadata["upload-id"] {
		w.violate("%s has the id %q, but its state is at %q", u, u.Metadata["upload-id"], s.UploadID)
	}
	wanted := told != nil && !w.longReplaced(u) || s.GivenUp
	if marked := u.version.Tags["artifact"] == "unwanted"; !u.removed && marked == wanted {
		w.violate("%s ended as %s, and its version is marked as unwanted: %v", u, s.State, marked)
	}
}

// longReplaced says whether eleven other versions succeeded in the group after
// the last deployment of an upload: then it is neither live nor among the ten
// before.
func (w *world) longReplaced(u *placed) bool {
	after := map[*placed]bool{}
	for _, d := range w.aws.Deployments.Of(u.Pair) {
		switch other := w.uploadOf(d); {
		case other == u:
			clear(after)
		case other != nil && d.Creator == "user" && d.Status == "Succeeded":
			after[other] = true
		}
	}
	return len(after) >= 11
}

// newerAccepted says whether the group had accepted an upload that is newer than u.
func (w *world) newerAccepted(u *placed) bool {
	if slices.ContainsFunc(w.orders, func(o *placedOrder) bool {
		return o.accepted && o.Pair == u.Pair && !o.version.Modified.Before(u.version.Modified)
	}) {
		return true
	}
	return slices.ContainsFunc(w.uploads, func(other *placed) bool {
		return other != u && other.Pair == u.Pair && other.accepted && !older(other, u)
	})
}

var uploadID = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// ownID says whether an upload's id is well formed and nobody else's.
func (w *world) ownID(u *placed) bool {
	id := u.Metadata["upload-id"]
	uses := 0
	for _, other := range w.uploads {
		if other.Metadata["upload-id"] == id {
			uses++
		}
	}
	return uses == 1 && uploadID.MatchString(id)
}

// newerDeployed says whether the group got something that u may not replace.
func (w *world) newerDeployed(u *placed) bool {
	return slices.ContainsFunc(w.aws.Deployments.Of(u.Pair), func(d *cloud.Deployment) bool {
		other := w.uploadOf(d)
		return other != nil && other != u && d.Creator == "user" && !older(other, u)
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
