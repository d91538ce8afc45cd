// Package group keeps, for each deployment group, the record that decides which
// upload it gets:
//
//	groups/<application>/<group>.json
//
// It holds the group's order, which is that of its accepted uploads by the time
// of their upload, whatever their keys. Several processes write it at the same
// time, each only over what it has seen: that makes the record the lock that
// CreateDeployment, which has no idempotency token, does not have. Jobs and
// CodeDeploy's agents can neither read nor write it.
package group

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/status"
)

// Upload is an accepted upload. Key and version say which one, the rest says
// where it stands in the order.
type Upload struct {
	ID        string    `json:"uploadId"`
	Key       string    `json:"key"`
	VersionID string    `json:"versionId"`
	Uploaded  time.Time `json:"uploaded"`
	// By is whose upload it is, once that is proven.
	By trust.Deployer `json:"by,omitzero"`
	// Order is there where an operator deploys again what was deployed before. Key
	// and version are those of his order then.
	Order Order `json:"order,omitzero"`
}

// Same says whether u and other are one object version.
func (u Upload) Same(other Upload) bool {
	return u.Key == other.Key && u.VersionID == other.VersionID
}

// Newer says whether u comes after other. Uploads of one moment have an order
// too, which is arbitrary, but the same for everybody.
func (u Upload) Newer(other Upload) bool {
	return cmp.Or(u.Uploaded.Compare(other.Uploaded), strings.Compare(u.Key, other.Key), strings.Compare(u.VersionID, other.VersionID)) > 0
}

// Attempt is a CreateDeployment that somebody is about to send, or has sent. What
// came of it stands in the state of its upload: see [Record.Attempted].
type Attempt struct {
	Upload
	Owner string    `json:"owner"` // one try of one message
	At    time.Time `json:"at"`
}

// Deployment is one of the group, of an artifact, that somebody asked for: a
// job by its upload, or a person.
type Deployment struct {
	Upload
	DeploymentID string       `json:"deploymentId"`
	State        status.State `json:"state"`
	Reason       string       `json:"reason,omitempty"`
	SeenAt       time.Time    `json:"seenAt"` // when the state was first heard of
	// Told says that the job was told of the end.
	Told bool `json:"told,omitempty"`
}

// Unfinished says whether there is more to hear of the deployment, or to tell:
// its end, or the reason of its end, which may come later.
func (d Deployment) Unfinished(now time.Time) bool {
	if !d.State.Final() || !d.Told {
		return true
	}
	return d.State != status.Succeeded && d.Reason == "" && now.Sub(d.SeenAt) < reasonsLatest
}

// reasonsLatest is for how long the reason of a failure is asked for.
const reasonsLatest = time.Hour

// End is an upload that is never deployed.
type End struct {
	Upload
	State  status.State `json:"state"` // Superseded or Rejected
	Reason string       `json:"reason"`
	// Told says that the job was told, for sure.
	Told bool `json:"told,omitempty"`
}

// Search is how far the group's deployments are known: all that were made
// between From and Until.
type Search struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Page is where a look that took too long goes on.
	Page *Page `json:"page,omitempty"`
}

// Page is a place in a list of deployments that were made since From. The list
// was begun at Began, and ends where Token is "".
type Page struct {
	From  time.Time `json:"from"`
	Began time.Time `json:"began"`
	Token string    `json:"token"`
	// Read are the ids of that page that were read.
	Read []string `json:"read,omitempty"`
}

// Record is what is known of a group.
type Record struct {
	Application     string `json:"application"`
	DeploymentGroup string `json:"deploymentGroup"`

	Waiting *Upload  `json:"waiting,omitempty"` // the newest accepted, until it is deployed
	Attempt *Attempt `json:"attempt,omitempty"`
	// Paused lets uploads wait, of which Parked is the newest. Switched is the last
	// order that paused or resumed the group.
	Paused   *Pause  `json:"paused,omitempty"`
	Parked   *Upload `json:"parked,omitempty"`
	Switched Upload  `json:"switched,omitzero"`
	// Noted uploads are not accepted yet, as AWS did not answer, but their jobs
	// were told that they wait.
	Noted []Upload `json:"noted,omitempty"`
	// Newest is the newest upload that was ever deployed.
	Newest      Upload       `json:"newest,omitzero"`
	Deployments []Deployment `json:"deployments,omitempty"` // in the order in which they were heard of
	Ended       []End        `json:"ended,omitempty"`       // the last ones
	Searched    Search       `json:"searched,omitzero"`
	// Expired versions are no longer wanted by the group, and not yet marked so.
	Expired []Upload `json:"expired,omitempty"`
	// Spent are the tokens by which uploads were accepted.
	Spent     []Spent   `json:"spent,omitempty"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// Deployment returns the first deployment of u, or nil.
func (r *Record) Deployment(u Upload) *Deployment {
	for i := range r.Deployments {
		if r.Deployments[i].Same(u) {
			return &r.Deployments[i]
		}
	}
	return nil
}

// End returns how u ended, or nil.
func (r *Record) End(u Upload) *End {
	for i := range r.Ended {
		if r.Ended[i].Same(u) {
			return &r.Ended[i]
		}
	}
	return nil
}

// Knows says whether the record has heard of u.
func (r *Record) Knows(u Upload) bool {
	return r.Waiting != nil && r.Waiting.Same(u) || r.Parked != nil && r.Parked.Same(u) || r.Attempt != nil && r.Attempt.Same(u) ||
		r.Deployment(u) != nil || r.End(u) != nil
}

// Overtaken says whether an upload that is newer than u was accepted. What waits
// until the group is resumed overtakes no order: that is carried out before.
func (r *Record) Overtaken(u Upload) bool {
	return r.Newest.Newer(u) || r.Waiting != nil && r.Waiting.Newer(u) || r.Attempt != nil && r.Attempt.Newer(u) ||
		r.Parked != nil && !u.Ordered() && r.Parked.Newer(u)
}

// maxNoted bounds the uploads that are noted.
const maxNoted = 20

// Note remembers an upload of which nothing else is known.
func (r *Record) Note(u Upload) {
	if !r.Knows(u) && !slices.ContainsFunc(r.Noted, u.Same) {
		r.Noted = append(r.Noted, u)
		r.Noted = r.Noted[max(0, len(r.Noted)-maxNoted):]
	}
}

// Forget undoes Note.
func (r *Record) Forget(u Upload) { r.Noted = slices.DeleteFunc(r.Noted, u.Same) }

// Accept lets u wait as the newest. It returns the upload that waited before,
// which is never deployed any more, or nil.
func (r *Record) Accept(u Upload) (displaced *Upload) {
	r.Forget(u)
	r.endAttempt(u)
	if r.Waiting != nil && !r.Waiting.Same(u) && u.Newer(*r.Waiting) {
		displaced = r.Waiting
		r.end(End{Upload: *displaced, State: status.Superseded, Reason: reasonDisplaced})
	}
	if r.Waiting == nil || displaced != nil {
		r.Waiting = &u
	}
	if r.Parked != nil && u.Newer(*r.Parked) {
		parked := *r.Parked
		r.Finish(End{Upload: parked, State: status.Superseded, Reason: reasonDisplaced})
	}
	return displaced
}

// endAttempt lets go of an attempt at u: what came of it is known. One that is kept when
// u waits again would hold the group up once u is overtaken, as nobody works on it then.
func (r *Record) endAttempt(u Upload) {
	if r.Attempt != nil && r.Attempt.Same(u) {
		r.Attempt = nil
	}
}

// Begin notes that somebody is about to create a deployment. Its upload waits no
// more: whatever is accepted from now on comes after it.
//
// An attempt that was there before has come to nothing, and is overtaken now.
func (r *Record) Begin(a Attempt) (displaced *Upload) {
	displaced = r.Accept(a.Upload)
	if before := r.Attempt; before != nil && !before.Same(a.Upload) {
		r.Attempt = nil
		r.Finish(End{Upload: before.Upload, State: status.Superseded, Reason: reasonDisplaced})
	}
	if r.Waiting != nil && r.Waiting.Same(a.Upload) {
		r.Waiting = nil
	}
	r.Attempt = &a
	return displaced
}

// GiveBack notes that an attempt has made no deployment for sure. Its upload
// waits again, unless a newer one does.
func (r *Record) GiveBack(a Attempt) {
	if r.Attempt == nil || r.Attempt.Owner != a.Owner || !r.Attempt.At.Equal(a.At) {
		return
	}
	r.Attempt = nil
	if r.Overtaken(a.Upload) {
		r.Finish(End{Upload: a.Upload, State: status.Superseded, Reason: reasonDisplaced})
		return
	}
	r.Accept(a.Upload)
}

// Finish notes that u is never deployed.
func (r *Record) Finish(e End) {
	r.Forget(e.Upload)
	if r.Waiting != nil && r.Waiting.Same(e.Upload) {
		r.Waiting = nil
	}
	if r.Parked != nil && r.Parked.Same(e.Upload) {
		r.Parked = nil
	}
	r.endAttempt(e.Upload)
	if r.End(e.Upload) == nil {
		r.end(e)
	}
}

const reasonDisplaced = "a newer upload to the group, or an operator's order, came while this one waited"

// maxEnded bounds the ends that are kept. They are for messages about an upload
// that are worked on at the same time; what comes later finds its state told.
const maxEnded = 50

func (r *Record) end(e End) {
	r.Ended = append(r.Ended, e)
	r.Ended = r.Ended[max(0, len(r.Ended)-maxEnded):]
}

// Heard notes a deployment, or how one goes on. States never go back. The attempt to
// deploy its upload has come to this deployment.
func (r *Record) Heard(d Deployment) {
	r.HeardBeside(d)
	r.endAttempt(d.Upload)
}

// HeardBeside is Heard for a deployment that may be by other hands than the attempt's: what came of
// that is still to be found out, see [Record.Attempted].
func (r *Record) HeardBeside(d Deployment) {
	r.Forget(d.Upload)
	if r.Waiting != nil && r.Waiting.Same(d.Upload) {
		d.Upload = *r.Waiting
		r.Waiting = nil
	}
	if r.Parked != nil && r.Parked.Same(d.Upload) {
		d.Upload = *r.Parked
		r.Parked = nil
	}
	if r.Attempt != nil && r.Attempt.Same(d.Upload) {
		d.Upload = r.Attempt.Upload
	}
	if d.Newer(r.Newest) {
		r.Newest = d.Upload
	}
	for _, waits := range []*Upload{r.Waiting, r.Parked} {
		if waits != nil && r.Newest.Newer(*waits) {
			r.Finish(End{Upload: *waits, State: status.Superseded, Reason: "the group was given a newer artifact before, by deployment " + d.DeploymentID})
		}
	}
	for i := range r.Deployments {
		seen := &r.Deployments[i]
		if seen.DeploymentID != d.DeploymentID {
			continue
		}
		if d.State.After(seen.State) {
			seen.State, seen.SeenAt = d.State, d.SeenAt
		}
		seen.Reason = cmp.Or(seen.Reason, d.Reason)
		seen.Told = seen.Told || d.Told && seen.State == d.State
		r.prune()
		return
	}
	r.Deployments = append(r.Deployments, d)
	r.prune()
}

const (
	// kept is how many successful versions are kept: the live one and the ten
	// before it.
	kept = 11
	// maxDeployments bounds the record should a group fail for ever.
	maxDeployments = 200
)

// prune lets go of what was deployed before the last successful versions. A
// deployment that failed is kept as long as its neighbours, if there is room.
func (r *Record) prune() {
	var succeeded []Upload
	wanted, n := make([]bool, len(r.Deployments)), 0
	for i, d := range slices.Backward(r.Deployments) {
		if wanted[i] = len(succeeded) < kept || !d.State.Final(); wanted[i] {
			n++
		}
		if d.State == status.Succeeded && !slices.ContainsFunc(succeeded, d.SameArtifact) {
			succeeded = append(succeeded, d.Upload)
		}
	}
	var stay, gone []Deployment
	for i, d := range r.Deployments {
		failed := d.State == status.Failed || d.State == status.Stopped
		if wanted[i] && failed && n > maxDeployments {
			wanted[i], n = false, n-1
		}
		if wanted[i] {
			stay = append(stay, d)
		} else {
			gone = append(gone, d)
		}
	}
	r.Deployments = stay
	for _, d := range gone {
		if a := d.Artifact(); !r.Holds(a) && !slices.ContainsFunc(r.Expired, a.Same) {
			r.Expired = append(r.Expired, a)
		}
	}
	r.Expired = slices.DeleteFunc(r.Expired, r.Holds)
}

// Place is where an upload that the record knows stands in the order: a message
// may say less than the one by which the upload was accepted.
func (r *Record) Place(u Upload) time.Time {
	switch {
	case r.Waiting != nil && r.Waiting.Same(u):
		return r.Waiting.Uploaded
	case r.Parked != nil && r.Parked.Same(u):
		return r.Parked.Uploaded
	case r.Attempt != nil && r.Attempt.Same(u):
		return r.Attempt.Uploaded
	}
	if d := r.Deployment(u); d != nil {
		return d.Uploaded
	}
	if e := r.End(u); e != nil {
		return e.Uploaded
	}
	return u.Uploaded
}

// Admitted returns what the record says of u, nil if nobody has let it in yet.
func (r *Record) Admitted(u Upload) *Upload {
	switch {
	case r.Waiting != nil && r.Waiting.Same(u):
		return r.Waiting
	case r.Parked != nil && r.Parked.Same(u):
		return r.Parked
	case r.Attempt != nil && r.Attempt.Same(u):
		return &r.Attempt.Upload
	}
	if d := r.Deployment(u); d != nil {
		return &d.Upload
	}
	if e := r.End(u); e != nil {
		return &e.Upload
	}
	return nil
}

// Find is Admitted, or what is only noted: nobody has looked at whether that may be
// deployed.
func (r *Record) Find(u Upload) *Upload {
	if admitted := r.Admitted(u); admitted != nil {
		return admitted
	}
	if i := slices.IndexFunc(r.Noted, u.Same); i >= 0 {
		return &r.Noted[i]
	}
	return nil
}
