package group

import (
	"fmt"
	"slices"
	"time"

	"gitlab-codedeploy/lambda/internal/status"
)

// Order is an operator's, for a deployment of what was deployed before. It stands in
// the group's order as an upload does, by the version of its own object and by the
// time at which that was written: so everything that holds for uploads holds for it.
type Order struct {
	status.Order
	// The artifact that it deploys, and when that was uploaded.
	Key       string    `json:"artifactKey"`
	VersionID string    `json:"artifactVersionId"`
	Uploaded  time.Time `json:"artifactUploaded"`
}

// Ordered says whether u is an operator's order.
func (u Upload) Ordered() bool { return u.Order != Order{} }

// Artifact is the object version that is deployed: u's own, unless u is an order.
func (u Upload) Artifact() Upload {
	if !u.Ordered() {
		return u
	}
	return Upload{Key: u.Order.Key, VersionID: u.Order.VersionID, Uploaded: u.Order.Uploaded, By: u.By}
}

// SameArtifact says whether u and other deploy one object version.
func (u Upload) SameArtifact(other Upload) bool { return u.Artifact().Same(other.Artifact()) }

// Entry is where the job of u, or the operator, looks.
func (u Upload) Entry(states *status.Store) *status.Entry {
	a := u.Artifact()
	return states.Entry(u.ID, a.Key, a.VersionID)
}

// Pause is who lets uploads wait, and since when.
type Pause struct {
	By    string    `json:"by"`
	Since time.Time `json:"since"`
}

// Reason is what jobs are told. It stays the same from try to try.
func (p Pause) Reason() string {
	return fmt.Sprintf("the group is paused by %s since %s: the newest upload is deployed when it is resumed", p.By, p.Since.UTC().Format(time.RFC3339))
}

// Switch pauses or resumes the group by an order; a nil pause resumes. It answers
// false for one that is older than what the group was told last.
func (r *Record) Switch(by Upload, pause *Pause) bool {
	switch {
	case r.Switched.Same(by):
		return true
	case !by.Newer(r.Switched):
		return false
	}
	r.Switched, r.Paused = by, pause
	if pause == nil && r.Parked != nil {
		waits := *r.Parked
		r.Parked = nil
		r.Accept(waits)
	}
	return true
}

// Park lets u wait until the group is resumed. It returns the upload that waited
// before, which is never deployed any more, or nil. What an operator has ordered
// goes on.
func (r *Record) Park(u Upload) (displaced *Upload) {
	r.Forget(u)
	r.endAttempt(u)
	for _, slot := range []**Upload{&r.Waiting, &r.Parked} {
		switch before := *slot; {
		case before == nil || before.Ordered():
		case before.Same(u):
			*slot = nil
		case u.Newer(*before):
			*slot, displaced = nil, before
			r.end(End{Upload: *before, State: status.Superseded, Reason: reasonDisplaced})
		}
	}
	if r.Parked == nil {
		r.Parked = &u
	}
	return displaced
}

// Holds says whether the group wants an artifact: it deploys or has deployed it, or
// is about to.
func (r *Record) Holds(artifact Upload) bool {
	for _, u := range []*Upload{r.Waiting, r.Parked} {
		if u != nil && u.SameArtifact(artifact) {
			return true
		}
	}
	return r.Attempt != nil && r.Attempt.SameArtifact(artifact) || slices.ContainsFunc(r.Deployments, func(d Deployment) bool { return d.SameArtifact(artifact) })
}

// Succeeded returns the last successful deployment of an artifact, or nil.
func (r *Record) Succeeded(artifact Upload) *Deployment {
	for i := range slices.Backward(r.Deployments) {
		if d := &r.Deployments[i]; d.State == status.Succeeded && d.SameArtifact(artifact) {
			return d
		}
	}
	return nil
}

// Running returns the last successful deployment of all, or nil.
func (r *Record) Running() *Deployment {
	for i := range slices.Backward(r.Deployments) {
		if d := &r.Deployments[i]; d.State == status.Succeeded {
			return d
		}
	}
	return nil
}
