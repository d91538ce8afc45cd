package upload

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"gitlab-codedeploy/internal/plain"
)

// States of an upload, as account B's functions write them. The last five are
// final.
const (
	Waiting    = "Waiting" // for an earlier deployment
	Created    = "Created"
	InProgress = "InProgress"
	Ready      = "Ready" // for somebody who lets the traffic over
	Succeeded  = "Succeeded"
	Failed     = "Failed"
	Stopped    = "Stopped"
	Superseded = "Superseded" // not deployed: a newer upload took its place
	Rejected   = "Rejected"   // not deployed: the reason tells what to change
)

// State is what account B tells of an upload. Its texts are harmless: see
// package plain.
type State struct {
	Name         string // one of the states above, or one that is newer than this program
	DeploymentID string
	Key          string
	VersionID    string
	Reason       string   // one line
	Log          []string // of the instance that failed: its last lines
	Group        *Group   // nil while unknown
	TrafficMoved bool     // the new instances have the traffic; the old ones are waited for
}

// Group is what a deployment group waits for by its own settings.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_BlueGreenDeploymentConfiguration.html
type Group struct {
	// Traffic is "manual" where somebody has to let the traffic over within
	// TrafficMinutes; otherwise it moves once the new instances are ready.
	Traffic        string
	TrafficMinutes int
	// Termination is "keep" where the old instances stay; otherwise they go
	// TerminationMinutes after the traffic has moved.
	Termination        string
	TerminationMinutes int
}

// longestWait is CodeDeploy's limit for both waits, two days, in minutes. More
// than that is no setting of a group.
const longestWait = 2880

// Wait returns how long the group waits until the traffic has moved, or until
// its deployment has ended. What its instances take comes on top.
func (g Group) Wait(untilTraffic bool) time.Duration {
	minutes := 0
	if g.Traffic == "manual" {
		minutes += g.TrafficMinutes
	}
	if !untilTraffic && g.Termination != "keep" {
		minutes += g.TerminationMinutes
	}
	return time.Duration(minutes) * time.Minute
}

// String says what the group does, for people.
func (g Group) String() string {
	text := "the traffic moves once the new instances are ready"
	if g.Traffic == "manual" {
		text = fmt.Sprintf("somebody has to let the traffic over to the new instances, within %s", counted(g.TrafficMinutes, "minute"))
	}
	switch {
	case g.Termination == "keep":
		return text + "; the old ones stay"
	case g.TerminationMinutes == 0:
		return text + "; the old ones go at once"
	}
	return text + fmt.Sprintf("; the old ones go %s later", counted(g.TerminationMinutes, "minute"))
}

// counted returns "1 minute" or "2 minutes".
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Ended says whether nothing comes after s, and whether that is what the job
// wanted.
func (s State) Ended() (ended, well bool) {
	switch s.Name {
	case Succeeded, Superseded:
		return true, true
	case Failed, Stopped, Rejected:
		return true, false
	}
	return false, false
}

var (
	statePattern      = regexp.MustCompile(`^[A-Za-z]{1,40}$`)
	deploymentPattern = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
)

// Bounds of what is shown of a state.
const (
	maxReason   = 1000
	maxLogLines = 40
	maxLogLine  = 300
)

// ParseState reads an object of the bucket. It may be anything: who may write
// there, and who has written, is account B's to say.
func ParseState(text []byte) (State, error) {
	// By exact names: decoding into a struct would take "State" for "state".
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return State{}, fmt.Errorf("not in the form of a state: %s", plain.Line(err.Error(), 200))
	}
	s := State{
		Name:      stringOf(fields["state"]),
		Key:       stringOf(fields["key"]),
		VersionID: stringOf(fields["versionId"]),
		Reason:    plain.Line(stringOf(fields["reason"]), maxReason),
		Log:       plain.Lines(stringOf(fields["logTail"]), maxLogLines, maxLogLine),
		Group:     parseGroup(fields["group"]),
	}
	if !statePattern.MatchString(s.Name) {
		return State{}, fmt.Errorf("not in the form of a state: state is %q", plain.Line(s.Name, 100))
	}
	if id := stringOf(fields["deploymentId"]); deploymentPattern.MatchString(id) {
		s.DeploymentID = id
	}
	_ = json.Unmarshal(fields["trafficMoved"], &s.TrafficMoved)
	return s, nil
}

// stringOf returns a JSON text, and "" for all that is none.
func stringOf(raw json.RawMessage) (text string) {
	_ = json.Unmarshal(raw, &text)
	return text
}

// parseGroup returns nil unless a group's settings are whole.
func parseGroup(raw json.RawMessage) *Group {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return nil
	}
	g := Group{Traffic: stringOf(fields["traffic"]), Termination: stringOf(fields["termination"])}
	for name, minutes := range map[string]*int{"trafficMinutes": &g.TrafficMinutes, "terminationMinutes": &g.TerminationMinutes} {
		if json.Unmarshal(fields[name], minutes) != nil || *minutes < 0 || *minutes > longestWait {
			return nil
		}
	}
	return &g
}

// StatePrefix is where account B keeps the states of uploads.
const StatePrefix = "deployments/"

// idPattern is what the id of a state may be made of, so that its key stays
// below StatePrefix.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// ValidID says whether id can be the id of a state.
func ValidID(id string) bool { return idPattern.MatchString(id) && strings.Trim(id, ".") != "" }

// StateIDs lists the ids that the state of an upload may have, in the order in
// which account B tries them. Whoever uploads chooses the upload id: where it was
// taken, the functions went on to the version id, and then to a digest that no
// other upload has.
func StateIDs(uploadID, key, versionID string) []string {
	ids := []string{uploadID}
	if versionID == "" {
		return ids
	}
	if ValidID(versionID) {
		ids = append(ids, versionID)
	}
	sum := sha256.Sum256([]byte(key + "\x00" + versionID))
	return append(ids, "sha256."+hex.EncodeToString(sum[:]))
}
