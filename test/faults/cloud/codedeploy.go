package cloud

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Pair is an application with one of its deployment groups.
type Pair struct{ Application, Group string }

func (p Pair) String() string { return p.Application + "/" + p.Group }

// Group is a deployment group.
type Group struct {
	Pair
	InPlace   bool // not blue/green
	RollsBack bool // goes back to the last success when a deployment fails

	deployments []*Deployment
}

// Course is how a deployment will go.
type Course struct {
	Lasts   time.Duration
	Outcome string // "Succeeded", "Failed" or "Stopped"
}

// Deployment is one run of a group.
type Deployment struct {
	ID          string
	Pair        Pair
	Description string
	Revision    json.RawMessage // as it was sent
	Object      S3Location      // of the revision, if it is one
	Status      string          // Created, InProgress, Ready, Succeeded, Failed, Stopped
	Creator     string          // user, codeDeployRollback or autoscaling
	Moved       bool            // the new instances have the traffic
	ByHand      bool            // made by somebody else than who called CreateDeployment over the wire
	Created     time.Time
	RolledBack  string // id of the rollback that followed this one
	Triggered   string // id of the deployment whose failure made this rollback
}

// S3Location names an object version.
type S3Location struct {
	Bucket     string `json:"bucket"`
	Key        string `json:"key"`
	Version    string `json:"version"`
	ETag       string `json:"eTag"`
	BundleType string `json:"bundleType"`
}

// Active says whether the deployment still keeps its group busy.
func (d *Deployment) Active() bool {
	return d.Status == "Created" || d.Status == "InProgress" || d.Status == "Ready"
}

// Rollback says whether CodeDeploy made the deployment by itself.
func (d *Deployment) Rollback() bool { return d.Creator == "codeDeployRollback" }

// Deployments is CodeDeploy.
type Deployments struct {
	PageSize int           // of ListDeployments
	Lag      time.Duration // until ListDeployments shows a new deployment
	Skew     time.Duration // of CodeDeploy's clock against S3's
	// AccountLimit is how many deployments may be active in all; 0 is no limit.
	AccountLimit int

	// Course decides how a deployment goes. Required.
	Course func(*Deployment) Course
	// Changed is told of a state-change event: START, READY, SUCCESS, FAILURE
	// or STOP. Required.
	Changed func(d *Deployment, state string)

	clock  *Clock
	random *rand.Rand
	groups map[Pair]*Group
	byID   map[string]*Deployment
	wired  bool // Start is called for CreateDeployment
}

// AddGroup creates a deployment group.
func (c *Deployments) AddGroup(g *Group) { c.groups[g.Pair] = g }

// Group returns a deployment group, or nil.
func (c *Deployments) Group(pair Pair) *Group { return c.groups[pair] }

// Of returns a group's deployments, oldest first; none if there is no group.
func (c *Deployments) Of(pair Pair) []*Deployment {
	if g := c.groups[pair]; g != nil {
		return g.deployments
	}
	return nil
}

// Start makes a deployment, unless the group has an active one (then nil).
// https://docs.aws.amazon.com/codedeploy/latest/userguide/limits.html
func (c *Deployments) Start(g *Group, creator, description string, revision json.RawMessage) *Deployment {
	// Auto Scaling's go on beside others.
	if creator != Autoscaling && (slices.ContainsFunc(g.deployments, func(d *Deployment) bool { return d.Active() && d.Creator != Autoscaling }) || c.full()) {
		return nil
	}
	d := &Deployment{
		ByHand: !c.wired,
		ID:     "d-" + word(c.random, 9, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
		Pair:   g.Pair, Description: description, Revision: revision,
		Status: "Created", Creator: creator, Created: c.clock.Now().Add(c.Skew),
	}
	var r struct{ S3Location S3Location }
	if json.Unmarshal(revision, &r) == nil {
		d.Object = r.S3Location
	}
	g.deployments = append(g.deployments, d)
	c.byID[d.ID] = d
	c.play(g, d)
	return d
}

// Autoscaling is the creator of deployments to new instances of an Auto Scaling group.
const Autoscaling = "autoscaling"

func (c *Deployments) full() bool {
	if c.AccountLimit == 0 {
		return false
	}
	active := 0
	for _, g := range c.groups {
		for _, d := range g.deployments {
			if d.Active() {
				active++
			}
		}
	}
	return active >= c.AccountLimit
}

// play books what happens to a deployment. The steps have the proportions of
// a blue/green run: most of the time goes into new instances, then it is Ready
// to move the traffic.
func (c *Deployments) play(g *Group, d *Deployment) {
	course := c.Course(d)
	c.clock.After(course.Lasts/10, func() { c.change(d, "InProgress", "START") })
	if course.Outcome == "Succeeded" {
		c.clock.After(course.Lasts*6/10, func() { c.change(d, "Ready", "READY") })
		// The traffic moves without an event, and the old instances are waited for.
		c.clock.After(course.Lasts*8/10, func() { d.Status, d.Moved = "InProgress", true })
	}
	c.clock.After(course.Lasts, func() {
		event := map[string]string{"Succeeded": "SUCCESS", "Failed": "FAILURE", "Stopped": "STOP"}[course.Outcome]
		if event == "" {
			panic("a deployment cannot end as " + course.Outcome)
		}
		c.change(d, course.Outcome, event)
		if course.Outcome != "Succeeded" && g.RollsBack && !d.Rollback() {
			c.rollBack(g, d)
		}
	})
}

func (c *Deployments) change(d *Deployment, status, event string) {
	d.Status = status
	c.Changed(d, event)
}

// rollBack deploys the last good revision again. Both deployments then tell of
// each other: https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_RollbackInfo.html
func (c *Deployments) rollBack(g *Group, failed *Deployment) {
	for _, good := range slices.Backward(g.deployments) {
		if good.Status == "Succeeded" {
			// What AWS puts into its description is not documented.
			description := ""
			if c.random.IntN(2) == 0 {
				description = good.Description
			}
			if rollback := c.Start(g, "codeDeployRollback", description, good.Revision); rollback != nil {
				rollback.Triggered, failed.RolledBack = failed.ID, rollback.ID
			}
			return
		}
	}
}

func (c *Deployments) serve(r Request) Response {
	operation := map[string]func(Request) Response{
		"GetDeploymentGroup":  c.getGroup,
		"ListDeployments":     c.list,
		"BatchGetDeployments": c.batchGet,
		"GetDeployment":       c.get,
		"CreateDeployment":    c.create,
		// No instance is played that could tell more.
		"ListDeploymentTargets": func(r Request) Response { return answer(r, http.StatusOK, map[string]any{"targetIds": []string{}}) },
	}[r.Operation]
	if operation == nil {
		return Refuse(r, http.StatusNotImplemented, "NotImplemented", r.Operation)
	}
	return operation(r)
}

type groupInput struct{ ApplicationName, DeploymentGroupName string }

// find answers the way CodeDeploy does when application or group is missing.
func (c *Deployments) find(r Request) (*Group, *Response) {
	var in groupInput
	if err := json.Unmarshal(r.Body, &in); err != nil {
		return nil, refused(r, "SerializationException", err.Error())
	}
	pair := Pair{in.ApplicationName, in.DeploymentGroupName}
	if g := c.groups[pair]; g != nil {
		return g, nil
	}
	for other := range c.groups {
		if other.Application == pair.Application {
			return nil, refused(r, "DeploymentGroupDoesNotExistException", "No Deployment Group found for name: "+pair.Group)
		}
	}
	return nil, refused(r, "ApplicationDoesNotExistException", "No application found for name: "+pair.Application)
}

func refused(r Request, code, message string) *Response {
	answer := Refuse(r, http.StatusBadRequest, code, message)
	return &answer
}

func (c *Deployments) getGroup(r Request) Response {
	g, refusal := c.find(r)
	if refusal != nil {
		return *refusal
	}
	style := map[string]string{"deploymentType": "BLUE_GREEN", "deploymentOption": "WITH_TRAFFIC_CONTROL"}
	if g.InPlace {
		style["deploymentType"] = "IN_PLACE"
	}
	return answer(r, http.StatusOK, map[string]any{"deploymentGroupInfo": map[string]any{
		"applicationName": g.Application, "deploymentGroupName": g.Group, "deploymentStyle": style, "computePlatform": "Server",
	}})
}

// list shows the newest first, by creation time (both ends of a range belong to it).
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_ListDeployments.html
func (c *Deployments) list(r Request) Response {
	g, refusal := c.find(r)
	if refusal != nil {
		return *refusal
	}
	var in struct {
		CreateTimeRange     struct{ Start, End *float64 }
		IncludeOnlyStatuses []string
		NextToken           string
	}
	if err := json.Unmarshal(r.Body, &in); err != nil {
		return *refused(r, "InvalidTimeRangeException", err.Error())
	}
	found := []string{}
	for _, d := range slices.Backward(g.deployments) {
		created := epoch(d.Created)
		switch {
		case in.CreateTimeRange.Start != nil && created < *in.CreateTimeRange.Start,
			in.CreateTimeRange.End != nil && created > *in.CreateTimeRange.End,
			len(in.IncludeOnlyStatuses) > 0 && !slices.Contains(in.IncludeOnlyStatuses, d.Status),
			c.clock.Now().Add(c.Skew).Before(d.Created.Add(c.Lag)):
		default:
			found = append(found, d.ID)
		}
	}
	from := 0
	if in.NextToken != "" {
		var err error
		if from, err = strconv.Atoi(in.NextToken); err != nil || from > len(found) {
			return *refused(r, "InvalidNextTokenException", in.NextToken)
		}
	}
	page := map[string]any{"deployments": found[from:min(len(found), from+c.PageSize)]}
	if from+c.PageSize < len(found) {
		page["nextToken"] = strconv.Itoa(from + c.PageSize)
	}
	return answer(r, http.StatusOK, page)
}

// batchGetLimit is the most ids that BatchGetDeployments takes.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_BatchGetDeployments.html
const batchGetLimit = 25

func (c *Deployments) batchGet(r Request) Response {
	var in struct{ DeploymentIds []string }
	if err := json.Unmarshal(r.Body, &in); err != nil || len(in.DeploymentIds) == 0 {
		return *refused(r, "DeploymentIdRequiredException", "deploymentIds")
	}
	if len(in.DeploymentIds) > batchGetLimit {
		return *refused(r, "BatchLimitExceededException", fmt.Sprint(len(in.DeploymentIds)))
	}
	infos := []any{}
	for _, id := range in.DeploymentIds {
		if d := c.byID[id]; d != nil {
			infos = append(infos, c.info(d))
		}
	}
	return answer(r, http.StatusOK, map[string]any{"deploymentsInfo": infos})
}

func (c *Deployments) get(r Request) Response {
	var in struct{ DeploymentId string }
	if err := json.Unmarshal(r.Body, &in); err != nil || c.byID[in.DeploymentId] == nil {
		return *refused(r, "DeploymentDoesNotExistException", in.DeploymentId)
	}
	return answer(r, http.StatusOK, map[string]any{"deploymentInfo": c.info(c.byID[in.DeploymentId])})
}

func (c *Deployments) create(r Request) Response {
	g, refusal := c.find(r)
	if refusal != nil {
		return *refusal
	}
	var in struct {
		Description string
		Revision    json.RawMessage
	}
	if err := json.Unmarshal(r.Body, &in); err != nil || len(in.Revision) == 0 {
		return *refused(r, "RevisionRequiredException", "revision")
	}
	c.wired = true
	d := c.Start(g, "user", in.Description, in.Revision)
	c.wired = false
	if d == nil {
		if !slices.ContainsFunc(g.deployments, (*Deployment).Active) {
			return *refused(r, "DeploymentLimitExceededException", "The number of allowed deployments was exceeded.")
		}
		return Busy(r)
	}
	return answer(r, http.StatusOK, map[string]string{"deploymentId": d.ID})
}

// Busy is the answer to CreateDeployment while the group has an active deployment.
func Busy(r Request) Response {
	return *refused(r, "DeploymentLimitExceededException", "The Deployment Group '"+groupOf(r)+"' already has an active Deployment 'd-XXXXXXXXX'")
}

func groupOf(r Request) string {
	var in groupInput
	_ = json.Unmarshal(r.Body, &in) // Only for the words of a message.
	return in.DeploymentGroupName
}

// info is a deployment in the form of
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_DeploymentInfo.html
func (c *Deployments) info(d *Deployment) map[string]any {
	info := map[string]any{
		"applicationName":     d.Pair.Application,
		"deploymentGroupName": d.Pair.Group,
		"deploymentId":        d.ID,
		"revision":            d.Revision,
		"status":              d.Status,
		"description":         d.Description,
		"creator":             d.Creator,
		"createTime":          epoch(d.Created),
		"deploymentStyle":     map[string]string{"deploymentType": "BLUE_GREEN", "deploymentOption": "WITH_TRAFFIC_CONTROL"},
		"blueGreenDeploymentConfiguration": map[string]any{
			"deploymentReadyOption":                     map[string]any{"actionOnTimeout": "STOP_DEPLOYMENT", "waitTimeInMinutes": 60},
			"terminateBlueInstancesOnDeploymentSuccess": map[string]any{"action": "TERMINATE", "terminationWaitTimeInMinutes": 5},
		},
		"instanceTerminationWaitTimeStarted": d.Moved,
	}
	switch d.Status {
	case "Failed":
		info["errorInformation"] = map[string]string{"code": "HEALTH_CONSTRAINTS", "message": "too many individual instances failed deployment"}
	case "Stopped":
		info["errorInformation"] = map[string]string{"code": "MANUAL_STOP", "message": "the deployment was stopped"}
	}
	switch {
	case d.RolledBack != "":
		info["rollbackInfo"] = map[string]string{"rollbackDeploymentId": d.RolledBack, "rollbackMessage": "a rollback deployment was started"}
	case d.Triggered != "":
		info["rollbackInfo"] = map[string]string{"rollbackTriggeringDeploymentId": d.Triggered}
	}
	return info
}

// epoch is a time in CodeDeploy's JSON: seconds, with milliseconds behind the point.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
