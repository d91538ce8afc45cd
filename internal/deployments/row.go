// Package deployments lists what was deployed, by whom, and how it ended: from
// CodeDeploy, and from the states of uploads, which know whose they were and why
// some got no deployment.
package deployments

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
)

// Row is a deployment, or an upload that got none. What is nil is not known.
type Row struct {
	Application     *string `json:"application"`
	DeploymentGroup *string `json:"deploymentGroup"`
	State           string  `json:"state"`
	UploadID        *string `json:"uploadId"`
	DeploymentID    *string `json:"deploymentId"`
	Key             *string `json:"key"`
	VersionID       *string `json:"versionId"`
	Reason          *string `json:"reason"`

	// Whose upload it was, as GitLab has signed it: only states have it, and not
	// those of groups that ask for no proof.
	Project     *string `json:"project"`
	Ref         *string `json:"ref"`
	User        *string `json:"user"`
	PipelineURL *string `json:"pipelineUrl"`

	// Commit is what the job said of itself, which nobody has signed.
	Commit *string `json:"commit"`
	// Order is "rollback" or "promote" where an operator deployed again what was
	// deployed before, and Operator who that was, as AWS names him.
	Order    *string `json:"order"`
	Operator *string `json:"operator"`

	Since      *string `json:"since"` // start of the deployment, else the state's last change
	EndedAt    *string `json:"endedAt"`
	AgeSeconds *int64  `json:"ageSeconds"`

	at      time.Time
	ended   time.Time
	upload  bool   // from a state
	bucket  string // of a deployment's revision
	creator bool   // CodeDeploy made it by itself
}

const unreadable = "unreadable"

// ranks are those of lambda/internal/status.
var ranks = map[string]int{
	"Waiting": 1, "Created": 2, "InProgress": 3, "Ready": 4,
	"Succeeded": 5, "Failed": 5, "Stopped": 5, "Superseded": 5, "Rejected": 5,
}

// The ids that lambda/internal/status names its objects after, and CodeDeploy's.
var (
	stateKey     = regexp.MustCompile(`^deployments/([A-Za-z0-9._-]{1,128})\.json$`)
	uploadID     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	deploymentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)
)

// stateObject is one of the listing.
type stateObject struct {
	name string
	at   time.Time
	size int64
}

// readState makes a row of an upload's state; of what has not the form of one, an
// unreadable one.
func readState(object stateObject, text []byte) Row {
	row := Row{upload: true, UploadID: &object.name, at: object.at}
	wrong := func(format string, values ...any) Row {
		row.State, row.Reason = unreadable, aws.String(fmt.Sprintf(format, values...))
		return row
	}
	if !json.Valid(text) {
		return wrong("not JSON")
	}
	var content map[string]json.RawMessage
	if json.Unmarshal(text, &content) != nil || content == nil {
		return wrong("not a JSON object")
	}
	var state string
	if json.Unmarshal(content["state"], &state) != nil || ranks[state] == 0 {
		return wrong("state %s", short(content["state"]))
	}
	read := Row{upload: true, UploadID: &object.name, at: object.at, State: state}
	var updated *string
	var order struct{ Kind, Operator *string }
	for _, field := range []struct {
		name string
		into **string
	}{
		{"application", &read.Application},
		{"deploymentGroup", &read.DeploymentGroup},
		{"deploymentId", &read.DeploymentID},
		{"key", &read.Key},
		{"versionId", &read.VersionID},
		{"reason", &read.Reason},
		{"updatedAt", &updated},
		{"project", &read.Project},
		{"ref", &read.Ref},
		{"user", &read.User},
		{"pipelineUrl", &read.PipelineURL},
	} {
		if raw, there := content[field.name]; there && json.Unmarshal(raw, field.into) != nil {
			return wrong("%s is no text", field.name)
		}
		*field.into = present(*field.into)
	}
	if raw, there := content["order"]; there && json.Unmarshal(raw, &order) != nil {
		return wrong("order is no order")
	}
	read.Order, read.Operator = present(order.Kind), present(order.Operator)
	if read.DeploymentID != nil && !deploymentID.MatchString(*read.DeploymentID) {
		return wrong("deploymentId is no id of CodeDeploy")
	}
	if at, err := time.Parse(time.RFC3339, aws.ToString(updated)); err == nil {
		read.at = at
		if ranks[state] == 5 {
			read.ended = at
		}
	}
	return read
}

func short(raw json.RawMessage) string {
	if raw == nil {
		return "null"
	}
	runes := []rune(string(raw))
	return string(runes[:min(len(runes), 100)])
}

// present makes nothing of an empty text.
func present(s *string) *string {
	if aws.ToString(s) == "" {
		return nil
	}
	return s
}

func textOf(s string) *string { return present(&s) }

// stateOf is the state of CodeDeploy's status; one that is new to us is under way.
func stateOf(status types.DeploymentStatus) string {
	switch status {
	case types.DeploymentStatusCreated, types.DeploymentStatusQueued:
		return "Created"
	case types.DeploymentStatusReady, types.DeploymentStatusSucceeded, types.DeploymentStatusFailed, types.DeploymentStatusStopped:
		return string(status)
	}
	return "InProgress"
}

// ofDeployment makes a row of what CodeDeploy says.
func ofDeployment(d types.DeploymentInfo) Row {
	row := Row{
		Application: present(d.ApplicationName), DeploymentGroup: present(d.DeploymentGroupName), State: stateOf(d.Status),
		DeploymentID: present(d.DeploymentId), at: aws.ToTime(d.CreateTime), ended: aws.ToTime(d.CompleteTime),
	}
	var reasons []string
	if d.Creator != "" && d.Creator != types.DeploymentCreatorUser {
		row.creator = true
		reasons = append(reasons, fmt.Sprintf("made by CodeDeploy itself (%s)", d.Creator))
	}
	if e := d.ErrorInformation; e != nil {
		if said := strings.Join(slices.DeleteFunc([]string{string(e.Code), aws.ToString(e.Message)}, func(s string) bool { return s == "" }), ": "); said != "" {
			reasons = append(reasons, said)
		}
	}
	row.Reason = textOf(strings.Join(reasons, "; "))
	if d.Revision != nil && d.Revision.S3Location != nil {
		row.Key, row.VersionID, row.bucket = present(d.Revision.S3Location.Key), present(d.Revision.S3Location.Version), aws.ToString(d.Revision.S3Location.Bucket)
	}
	if row.creator {
		return row // It repeats an earlier revision, and its description may be that one's.
	}
	about := map[string]string{}
	for _, part := range strings.Fields(aws.ToString(d.Description)) {
		if name, value, ok := strings.Cut(part, "="); ok && about[name] == "" {
			about[name] = value
		}
	}
	if id := about["upload-id"]; uploadID.MatchString(id) {
		row.UploadID = &id
	}
	row.Commit = textOf(about["commit"])
	return row
}

// merge puts both sources together: a row for each deployment, and one for each
// upload without one.
func merge(uploads, deployments []Row) []Row {
	rest := slices.Clone(deployments)
	take := func(is func(Row) bool) *Row {
		i := slices.IndexFunc(rest, is)
		if i < 0 {
			return nil
		}
		d := rest[i]
		rest = slices.Delete(rest, i, i+1)
		return &d
	}
	var rows []Row
	for _, u := range uploads {
		var d *Row
		switch {
		case u.DeploymentID != nil:
			d = take(func(d Row) bool { return aws.ToString(d.DeploymentID) == *u.DeploymentID })
		case u.State == "Waiting": // created, but the function ended before it wrote so
			d = take(func(d Row) bool {
				return d.UploadID != nil && *d.UploadID == aws.ToString(u.UploadID) && aws.ToString(d.VersionID) == aws.ToString(u.VersionID)
			})
		}
		if d == nil {
			rows = append(rows, u)
			continue
		}
		if ahead := ranks[u.State] > ranks[d.State]; !ahead {
			if d.State != u.State {
				u.Reason, u.ended = nil, time.Time{}
			}
			u.State = d.State
		}
		u.DeploymentID, u.Commit = d.DeploymentID, d.Commit
		if d.Reason != nil {
			u.Reason = d.Reason
		}
		if !d.at.IsZero() {
			u.at = d.at
		}
		if !d.ended.IsZero() {
			u.ended = d.ended
		}
		rows = append(rows, u)
	}
	return append(rows, rest...)
}

// pick keeps the rows of the stack's pairs and of the query: the newest of each
// application, the application with the newest one first.
func pick(rows []Row, bucket string, q Query) []Row {
	type pair struct{ application, group string }
	of := func(r Row) pair { return pair{aws.ToString(r.Application), aws.ToString(r.DeploymentGroup)} }
	ours := map[pair]bool{} // Somebody's deployment of something else to a group of ours is told, too.
	for _, r := range rows {
		ours[of(r)] = ours[of(r)] || r.upload || r.bucket == bucket
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return b.at.Compare(a.at) })
	var order []string
	listed := map[string][]Row{}
	for _, r := range rows {
		p := of(r)
		switch {
		case q.Application != "" && p.application != q.Application, q.Application == "" && !ours[p], q.DeploymentGroup != "" && p.group != q.DeploymentGroup:
			continue
		}
		if len(listed[p.application]) == 0 {
			order = append(order, p.application)
		}
		if len(listed[p.application]) < q.Last {
			listed[p.application] = append(listed[p.application], r)
		}
	}
	picked := []Row{} // JSON of none is an empty array
	for _, application := range order {
		picked = append(picked, listed[application]...)
	}
	return picked
}

// tell writes times as the result has them.
func (r *Row) tell(now time.Time) {
	if !r.at.IsZero() {
		r.Since = aws.String(r.at.UTC().Format("2006-01-02T15:04:05.000Z"))
		r.AgeSeconds = aws.Int64(max(0, int64(now.Sub(r.at)/time.Second)))
	}
	if !r.ended.IsZero() && ranks[r.State] == 5 {
		r.EndedAt = aws.String(r.ended.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
}

// Who is whose deployment it was, in a line; "" when that is not known.
func (r Row) Who() string {
	var who []string
	if r.Project != nil {
		from := *r.Project + "@" + aws.ToString(r.Ref)
		if commit := aws.ToString(r.Commit); commit != "" {
			from += " " + commit[:min(len(commit), 8)]
		}
		who = append(who, from+" by "+cmp.Or(aws.ToString(r.User), "-"))
	}
	if r.Order != nil {
		who = append(who, *r.Order+" by "+cmp.Or(aws.ToString(r.Operator), "-"))
	}
	return strings.Join(who, ", ")
}

// Age is how long ago a row's time was, in words; "-" when it has none.
func (r Row) Age() string {
	if r.AgeSeconds == nil {
		return "-"
	}
	switch s := *r.AgeSeconds; {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d m", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%d h", s/3600)
	default:
		return fmt.Sprintf("%d d", s/86400)
	}
}
