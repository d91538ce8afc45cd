package main

import (
	"encoding/json"
	"fmt"
	"regexp"

	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/status"
)

// change is the part of CodeDeploy's event that is read here.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-cloudwatch-events.html
// https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-codedeploy.html
type change struct {
	allowlist.Pair
	DeploymentID string
	State        status.State // "" when the event's is new to us
}

const (
	eventSource = "aws.codedeploy"
	eventType   = "CodeDeploy Deployment State-change Notification"
)

// deploymentIDPattern is d- and nine characters on AWS; the emulator's ids are
// of another form.
var deploymentIDPattern = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// eventStates are the states of events, which have names of their own.
var eventStates = map[string]status.State{
	"START":   status.InProgress,
	"READY":   status.Ready,
	"SUCCESS": status.Succeeded,
	"FAILURE": status.Failed,
	"STOP":    status.Stopped,
}

// decodeEvent reads one event. An error means that it is none of CodeDeploy's
// about a deployment.
func decodeEvent(raw json.RawMessage) (change, error) {
	var event struct {
		Source     string `json:"source"`
		DetailType string `json:"detail-type"`
		Detail     struct {
			allowlist.Pair
			DeploymentID string `json:"deploymentId"`
			State        string `json:"state"`
		} `json:"detail"`
	}
	if err := json.Unmarshal(raw, &event); err != nil {
		return change{}, fmt.Errorf("no event: %s", clip.Line(err.Error(), 200))
	}
	if event.Source != eventSource || event.DetailType != eventType {
		return change{}, fmt.Errorf("event %q of %q is no deployment's", clip.Line(event.DetailType, 100), clip.Line(event.Source, 100))
	}
	if !deploymentIDPattern.MatchString(event.Detail.DeploymentID) {
		return change{}, fmt.Errorf("%q is no deployment id", clip.Line(event.Detail.DeploymentID, 100))
	}
	// A state that is new to us still says that something has changed.
	return change{event.Detail.Pair, event.Detail.DeploymentID, eventStates[event.Detail.State]}, nil
}
