// Package status keeps, for each upload, the object in the artifact bucket
// that says how its deployment goes:
//
//	deployments/<upload-id>.json
//
// The functions write it, the job that uploaded reads it. Two functions and
// any number of their instances write at the same time, and events come late,
// twice and out of order; so an object is only ever replaced by one that is
// further on, and only if nobody else has replaced it meanwhile.
package status

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
)

// State is how far an upload has come.
type State string

// The states in their order. The last five are final.
const (
	Waiting    State = "Waiting"    // not deployed yet; Reason says why, if it is known
	Created    State = "Created"    // CodeDeploy has the deployment
	InProgress State = "InProgress" // new instances are being made and installed
	Ready      State = "Ready"      // they wait for somebody to let the traffic over
	Succeeded  State = "Succeeded"
	Failed     State = "Failed"
	Stopped    State = "Stopped"
	Superseded State = "Superseded" // never deployed: a newer upload was there first
	Rejected   State = "Rejected"   // never deployed: somebody has to change something
)

var ranks = map[State]int{
	Waiting: 1, Created: 2, InProgress: 3, Ready: 4,
	Succeeded: finalRank, Failed: finalRank, Stopped: finalRank, Superseded: finalRank, Rejected: finalRank,
}

const (
	movedRank = 5 // InProgress once more, after the traffic has moved
	finalRank = 6
)

// Final says whether nothing comes after s.
func (s State) Final() bool { return ranks[s] == finalRank }

// After says whether s comes after other; "" comes first.
func (s State) After(other State) bool { return ranks[s] > ranks[other] }

// Of is the state of an upload whose deployment has a status of CodeDeploy's.
// A status that did not exist when this was written counts as InProgress: it
// is neither the first nor known to be the last.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_DeploymentInfo.html
func Of(deployment types.DeploymentStatus) State {
	switch deployment {
	case "", types.DeploymentStatusCreated, types.DeploymentStatusQueued:
		return Created
	case types.DeploymentStatusReady:
		return Ready
	case types.DeploymentStatusSucceeded:
		return Succeeded
	case types.DeploymentStatusFailed:
		return Failed
	case types.DeploymentStatusStopped:
		return Stopped
	}
	return InProgress // also Baking
}

// OfDeployment is what a deployment says of its upload. heard is the state of
// an event, if there was one: CodeDeploy's own answer may be behind it.
//
// CodeDeploy calls a deployment Ready also for the moment before it moves the
// traffic by itself, and InProgress through the wait before the old instances go.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_DeploymentReadyOption.html
func OfDeployment(deployment *types.DeploymentInfo, heard State) Status {
	s := Status{
		State:           Of(deployment.Status),
		DeploymentID:    aws.ToString(deployment.DeploymentId),
		Application:     aws.ToString(deployment.ApplicationName),
		DeploymentGroup: aws.ToString(deployment.DeploymentGroupName),
		Group:           GroupOf(deployment.BlueGreenDeploymentConfiguration),
	}
	if heard.After(s.State) {
		s.State = heard
	}
	var ready *types.DeploymentReadyOption
	var old *types.BlueInstanceTerminationOption
	if option := deployment.BlueGreenDeploymentConfiguration; option != nil {
		ready, old = option.DeploymentReadyOption, option.TerminateBlueInstancesOnDeploymentSuccess
	}
	switch {
	case s.State.Final():
		s.Reason = failure(deployment)
	case deployment.InstanceTerminationWaitTimeStarted:
		s.State, s.TrafficMoved = InProgress, true
		s.Reason = "the new instances have the traffic; the old ones go " + minutes(old) + " later"
	case s.State != Ready:
	case ready != nil && ready.ActionOnTimeout == types.DeploymentReadyActionContinueDeployment:
		s.State = InProgress // Nobody has to do anything.
	case ready != nil:
		s.Reason = fmt.Sprintf("let the traffic over within %d minutes, or the deployment is stopped", ready.WaitTimeInMinutes)
	}
	return s
}

func minutes(old *types.BlueInstanceTerminationOption) string {
	if old == nil {
		return "some time"
	}
	return fmt.Sprintf("%d minutes", old.TerminationWaitTimeInMinutes)
}

// failure is why a deployment ended as it did, when CodeDeploy says so.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_ErrorInformation.html
func failure(deployment *types.DeploymentInfo) string {
	if deployment.ErrorInformation == nil {
		return ""
	}
	reason := string(deployment.ErrorInformation.Code)
	if message := aws.ToString(deployment.ErrorInformation.Message); message != "" {
		reason += ": " + message
	}
	return reason
}
