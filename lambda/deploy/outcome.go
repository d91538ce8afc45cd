package deploy

import "fmt"

// End is how the work on one record of an event ended.
type End string

const (
	// Created: CodeDeploy has the deployment.
	Created End = "deployment created"
	// Rejected: nothing is deployed until somebody changes something, and the
	// reason says what.
	Rejected End = "rejected"
	// Refused: nothing is deployed, as nobody has proven that he may.
	Refused End = "refused"
	// Superseded: a newer upload has the group.
	Superseded End = "superseded"
	// Repeated: the upload had its deployment, or its end, before.
	Repeated End = "repeated"
	// Ignored: the event is about no artifact of ours.
	Ignored End = "ignored"
	// Waiting: nothing is wrong, but it is not the upload's turn yet.
	Waiting End = "waiting"
	// Parked: the group is paused. Its record lets the upload wait, and no message
	// has to.
	Parked End = "paused"
	// Switched: the group is paused or resumed.
	Switched End = "switched"
	// Failed: something went wrong that may pass.
	Failed End = "retried later"
)

// Outcome is an End with its reason. The zero value is none yet.
type Outcome struct {
	End    End
	Reason string
}

// Done says whether the record's message may go: no further try changes this end.
func (o Outcome) Done() bool { return o.End != Waiting && o.End != Failed }

func outcome(end End, format string, args ...any) Outcome {
	return Outcome{end, fmt.Sprintf(format, args...)}
}

// failed is the outcome of an error: err is never anything but a reason to try
// again.
func failed(err error) Outcome { return Outcome{Failed, err.Error()} }
