package deploy

import (
	"time"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/status"
)

// Facts are all that the decision about an upload rests on.
type Facts struct {
	Now    time.Time
	Upload group.Upload
	Told   status.Status // what the job was told so far, if that was looked at
	Record group.Record  // the group's; without anything but names if there is none
	Fault  string        // why the upload may not be deployed, "" if it may
	// Refusal is why whoever uploaded may not deploy it, nil if he may.
	Refusal *trust.Refusal
	Orphan  bool // the version is gone, and with it the name of its group
	Asked   bool // an operator or S3 has sent the message, not the status function

	// Searched says that the group's deployments up to now are in the record.
	Searched bool
	// Active is the id of a deployment that keeps the group busy, "" if none
	// was found.
	Active string
}

// Verb is what is to be done with an upload.
type Verb string

const (
	Repeat    Verb = "repeat"    // nothing: its story is told
	Adopt     Verb = "adopt"     // tell of the deployment that it has
	Finish    Verb = "finish"    // tell of the end that was decided before
	Reject    Verb = "reject"    // end it, with the reason
	Refuse    Verb = "refuse"    // end it: nobody has proven that he may deploy it
	Supersede Verb = "supersede" // end it: a newer one was accepted
	Search    Verb = "search"    // look through the group's deployments, and decide again
	Hold      Verb = "hold"      // try again later; do not accept it yet
	Wait      Verb = "wait"      // accept it, and try again later
	Park      Verb = "park"      // accept it, and leave it to the record until the group is resumed
	Create    Verb = "create"    // accept it, and create the deployment
)

// Action is a decision with what belongs to it.
type Action struct {
	Do         Verb
	Reason     string
	Deployment group.Deployment // of Adopt
	State      status.State     // of Finish
}

// Lease is for how long an attempt keeps everybody else out. After that, a look
// at the group's deployments tells what came of it: its owner's invocation was
// over after 30 seconds, and CodeDeploy's list shows every deployment within a
// minute. The rest is for clocks that differ.
const Lease = 2 * time.Minute

const (
	reasonBeingCreated = "its deployment is being created"
	reasonOtherCreated = "another upload's deployment is being created"
	reasonOrphan       = "the object is gone, and it is found out whether it was deployed"
	reasonBusy         = "the group's deployment before this one has not ended"
	reasonOvertaken    = "the group has a newer upload"
)

// decide says what is to be done with an upload. It is the first row that holds:
//
//	the facts                                          what is done
//	1  the job was told of an end or a deployment      Repeat
//	   or that it waits in vain, and nobody has asked
//	2  the group had a deployment of the upload        Adopt
//	3  the upload's end was decided                    Finish
//	4  somebody may be creating its deployment         Hold, for as long as the Lease
//	5  somebody was, and it is not known what came     Search
//	6  its version is gone, but its group knows it     Hold: the schedule asks, and names the group
//	7  it may not be deployed                          Reject
//	8  nobody has proven that he may deploy it         Refuse
//	9  somebody may be creating an older one's         Wait, for as long as the Lease
//	10 it is not known what the group was given        Search
//	11 a newer one was accepted                        Supersede
//	12 the group is paused, and it is no order         Park
//	13 a deployment keeps the group busy               Wait
//	14 none of it                                      Create
//
// Rejected and refused uploads never come to be accepted, so they overtake
// nothing; and what has overtaken an upload was looked for before the upload is
// told so. Rows 1 to 6 are about uploads that had their answer before, or are gone.
func decide(f Facts) Action {
	attempt := f.Record.Attempt
	young := attempt != nil && f.Now.Sub(attempt.At) < Lease
	deployment, end := f.Record.Deployment(f.Upload), f.Record.End(f.Upload)
	switch {
	case f.Told.Settled(), f.Told.GivenUp && !f.Asked:
		return Action{Do: Repeat, Reason: "the upload's state is " + string(f.Told.State) + " already"}
	case deployment != nil:
		return Action{Do: Adopt, Reason: "an earlier try, or somebody, has made the deployment", Deployment: *deployment}
	case end != nil:
		return Action{Do: Finish, Reason: end.Reason, State: end.State}
	case young && attempt.Same(f.Upload):
		return Action{Do: Hold, Reason: reasonBeingCreated}
	case attempt != nil && attempt.Same(f.Upload) && !f.Searched:
		return Action{Do: Search}
	case f.Orphan && f.Told.State == status.Waiting:
		return Action{Do: Hold, Reason: reasonOrphan}
	case f.Fault != "":
		return Action{Do: Reject, Reason: f.Fault}
	case f.Refusal != nil:
		return Action{Do: Refuse, Reason: f.Refusal.Reason}
	case young && !attempt.Newer(f.Upload):
		return Action{Do: Wait, Reason: reasonOtherCreated}
	case !f.Searched:
		return Action{Do: Search}
	case f.Record.Overtaken(f.Upload):
		return Action{Do: Supersede, Reason: reasonOvertaken}
	case f.Record.Paused != nil && !f.Upload.Ordered():
		return Action{Do: Park, Reason: f.Record.Paused.Reason()}
	case f.Active != "":
		return Action{Do: Wait, Reason: reasonBusy}
	}
	return Action{Do: Create}
}
