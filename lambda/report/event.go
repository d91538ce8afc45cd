package report

import (
	"encoding/json"
	"fmt"
	"regexp"

	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/status"
)

// occasion is what the function is called for.
type occasion string

const (
	changed   occasion = "a state change" // of a deployment, told by EventBridge
	scheduled occasion = "the schedule"
	redrive   occasion = "redrive" // of the function's own dead letters, by an operator
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
	// RedriveSource is the source of the event that an operator sends.
	RedriveSource = "gitlab-codedeploy"
	RedriveType   = "Redrive"
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

// decodeEvent reads one event. An error means that it is none of those that the
// function is there for.
func decodeEvent(raw json.RawMessage) (occasion, change, error) {
	var event struct {
		Source     string          `json:"source"`
		DetailType string          `json:"detail-type"`
		Detail     json.RawMessage `json:"detail"`
	}
	if err := json.Unmarshal(raw, &event); err != nil {
		return "", change{}, fmt.Errorf("no event: %s", clip.Line(err.Error(), 200))
	}
	switch [2]string{event.Source, event.DetailType} {
	case [2]string{"aws.events", "Scheduled Event"}:
		return scheduled, change{}, nil
	case [2]string{RedriveSource, RedriveType}:
		return redrive, change{}, nil
	case [2]string{eventSource, eventType}:
	default:
		return "", change{}, fmt.Errorf("event %q of %q is no deployment's", clip.Line(event.DetailType, 100), clip.Line(event.Source, 100))
	}
	var detail struct {
		allowlist.Pair
		DeploymentID string `json:"deploymentId"`
		State        string `json:"state"`
	}
	if err := json.Unmarshal(event.Detail, &detail); err != nil {
		return "", change{}, fmt.Errorf("no event: %s", clip.Line(err.Error(), 200))
	}
	if !deploymentIDPattern.MatchString(detail.DeploymentID) {
		return "", change{}, fmt.Errorf("%q is no deployment id", clip.Line(detail.DeploymentID, 100))
	}
	// A state that is new to us still says that something has changed.
	return changed, change{detail.Pair, detail.DeploymentID, eventStates[detail.State]}, nil
}
