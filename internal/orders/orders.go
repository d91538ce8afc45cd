// Package orders lets an operator order what the trigger carries out: a version
// that was deployed before, to the same group or to another one of its application,
// and a pause. It writes an object, and waits for the state of that order.
package orders

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/trust"
)

// Objects is the part of the S3 client that is needed.
type Objects interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// Upload is what the group's record says of an upload, or of an order.
type Upload struct {
	ID        string         `json:"uploadId"`
	Key       string         `json:"key"`
	VersionID string         `json:"versionId"`
	Uploaded  time.Time      `json:"uploaded"`
	By        trust.Deployer `json:"by"`
	Order     struct {
		Kind      string    `json:"kind"`
		Operator  string    `json:"operator"`
		Key       string    `json:"artifactKey"`
		VersionID string    `json:"artifactVersionId"`
		Uploaded  time.Time `json:"artifactUploaded"`
	} `json:"order"`
}

// Artifact is the object version that is deployed.
func (u Upload) Artifact() Artifact {
	if u.Order.Kind != "" {
		return Artifact{u.Order.Key, u.Order.VersionID, u.Order.Uploaded, u.By}
	}
	return Artifact{u.Key, u.VersionID, u.Uploaded, u.By}
}

// Artifact is one version of an object, and whose it is.
type Artifact struct {
	Key, VersionID string
	Uploaded       time.Time
	By             trust.Deployer
}

func (a Artifact) same(other Artifact) bool {
	return a.Key == other.Key && a.VersionID == other.VersionID
}

// String names the version as people know it.
func (a Artifact) String() string {
	whose := "whose upload it was is not known"
	if a.By.Project != "" {
		whose = fmt.Sprintf("%s@%s by %s", a.By.Project, a.By.Ref, cmp.Or(a.By.User, "-"))
	}
	return plain.Line(fmt.Sprintf("version %s of %s, uploaded %s (%s)", plain.Word(a.VersionID), a.Key, a.Uploaded.UTC().Format("2006-01-02 15:04:05 UTC"), whose), 1000)
}

// Deployment is one of the group.
type Deployment struct {
	Upload
	DeploymentID string `json:"deploymentId"`
	State        string `json:"state"`
}

// Group is what its record says: lambda/internal/group writes it.
type Group struct {
	Application     string       `json:"application"`
	DeploymentGroup string       `json:"deploymentGroup"`
	Waiting         *Upload      `json:"waiting"`
	Parked          *Upload      `json:"parked"`
	Attempt         *Upload      `json:"attempt"`
	Deployments     []Deployment `json:"deployments"`
	Paused          *struct {
		By    string    `json:"by"`
		Since time.Time `json:"since"`
	} `json:"paused"`
}

// Succeeded are the versions that were deployed well, each once, the one of the last
// such deployment last.
func (g Group) Succeeded() (list []Artifact) {
	for _, d := range g.Deployments {
		if a := d.Artifact(); d.State == "Succeeded" {
			list = slices.DeleteFunc(list, a.same)
			list = append(list, a)
		}
	}
	return list
}

// Running is the version of the last deployment that succeeded; false if none has.
func (g Group) Running() (Artifact, bool) {
	list := g.Succeeded()
	if len(list) == 0 {
		return Artifact{}, false
	}
	return list[len(list)-1], true
}

// Before is the version that succeeded before the one that runs: of those that were
// uploaded before it the newest. A second step back goes further back.
func (g Group) Before() (Artifact, error) {
	running, ok := g.Running()
	if !ok {
		return Artifact{}, fmt.Errorf("nothing has succeeded in %s", g.name())
	}
	var before *Artifact
	for _, a := range g.Succeeded() {
		if a.Uploaded.Before(running.Uploaded) && (before == nil || a.Uploaded.After(before.Uploaded)) {
			before = &a
		}
	}
	if before == nil {
		return Artifact{}, fmt.Errorf("%s runs the first version that its record has: there is none to go back to", g.name())
	}
	return *before, nil
}

// Version finds a version by its id, or by how that begins.
func (g Group) Version(id string) (Artifact, error) {
	var found, all []Artifact
	for _, a := range g.Succeeded() {
		if a.VersionID == id {
			return a, nil
		}
		if strings.HasPrefix(a.VersionID, id) {
			found = append(found, a)
		}
		all = append(all, a)
	}
	if len(found) == 1 {
		return found[0], nil
	}
	var names []string
	for _, a := range all {
		names = append(names, plain.Word(a.VersionID))
	}
	return Artifact{}, fmt.Errorf("version %q is none that has succeeded in %s and is kept, or more than one; want one of %s", plain.Line(id, 100), g.name(), cmp.Or(strings.Join(names, ", "), "none"))
}

func (g Group) name() string {
	return plain.Word(g.Application) + "/" + plain.Word(g.DeploymentGroup)
}

// Warnings are what an operator should know before he deploys.
func (g Group) Warnings() (list []string) {
	name := func(u *Upload) string { return plain.Word(u.ID) }
	if g.Waiting != nil {
		list = append(list, fmt.Sprintf("%s waits for the group, and is superseded by this", name(g.Waiting)))
	}
	if g.Parked != nil {
		list = append(list, fmt.Sprintf("%s waits until the group is resumed, and is superseded by this", name(g.Parked)))
	}
	busy := g.Attempt
	for i := range g.Deployments {
		if !slices.Contains([]string{"Succeeded", "Failed", "Stopped"}, g.Deployments[i].State) {
			busy = &g.Deployments[i].Upload
		}
	}
	if busy != nil {
		list = append(list, fmt.Sprintf("the deployment of %s may be under way: this waits until it has ended", name(busy)))
	}
	if g.Paused != nil {
		list = append(list, fmt.Sprintf("the group is paused by %s since %s: what is ordered is deployed all the same", plain.Line(g.Paused.By, 300), g.Paused.Since.UTC().Format(time.RFC3339)))
	}
	return list
}

// Orderer orders, in one bucket.
type Orderer struct {
	Objects Objects
	Bucket  string
	Now     func() time.Time
	Random  func() []byte // 8 bytes that nobody else has
}

const maxRead = 4 << 20

// Group reads the record of a group.
func (o *Orderer) Group(ctx context.Context, application, group string) (g Group, err error) {
	text, err := o.read(ctx, order.RecordKey(application, group))
	switch {
	case err != nil:
		return g, fmt.Errorf("read the record of %s/%s: %w", application, group, err)
	case text == nil:
		return g, fmt.Errorf("nothing was ever deployed to %s/%s by an upload: it has no record", application, group)
	}
	if g, err = Parse(text); err != nil || g.Application != application || g.DeploymentGroup != group {
		return g, fmt.Errorf("the record of %s/%s is none: %s", application, group, plain.Line(fmt.Sprint(err), 200))
	}
	return g, nil
}

// Parse reads a group's record.
func Parse(text []byte) (g Group, err error) {
	err = json.Unmarshal(text, &g)
	return g, err
}

// read returns an object, nil when there is none.
func (o *Orderer) read(ctx context.Context, key string) ([]byte, error) {
	out, err := o.Objects.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.Bucket, Key: &key})
	if codeOf(err) == "NoSuchKey" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	text, err := io.ReadAll(io.LimitReader(out.Body, maxRead+1))
	if err == nil && len(text) > maxRead {
		err = fmt.Errorf("%s has more than %d bytes", key, maxRead)
	}
	return text, err
}

// Placed is an order that S3 has.
type Placed struct {
	order.Order
	ID string // of its state
}

// Place writes an order, once: the SDK sends a call again whose answer was lost, and
// a second order would deploy a second time.
func (o *Orderer) Place(ctx context.Context, wanted order.Order) (Placed, error) {
	text, err := json.Marshal(wanted)
	if err != nil {
		return Placed{}, err
	}
	if _, err := order.Parse(text); err != nil {
		return Placed{}, err
	}
	key := order.Key(wanted, o.Now(), o.Random())
	out, err := o.Objects.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &o.Bucket, Key: &key, Body: bytes.NewReader(text), ContentType: aws.String("application/json"), IfNoneMatch: aws.String("*"),
	})
	version := ""
	switch {
	case codeOf(err) == "PreconditionFailed": // It was our own try before.
		placed, err := o.Objects.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.Bucket, Key: &key})
		if err != nil {
			return Placed{}, fmt.Errorf("the order %s is placed, and its version cannot be read: %w", key, err)
		}
		placed.Body.Close()
		version = aws.ToString(placed.VersionId)
	case err != nil:
		return Placed{}, fmt.Errorf("place the order: %w", err)
	default:
		version = aws.ToString(out.VersionId)
	}
	if version == "" {
		return Placed{}, fmt.Errorf("the order %s has no version: turn versioning of the artifact bucket on", key)
	}
	return Placed{wanted, order.ID(key, version)}, nil
}

// Result is how an order goes, or how it ended.
type Result struct {
	OrderID         string  `json:"orderId"`
	Kind            string  `json:"kind"`
	Application     string  `json:"application"`
	DeploymentGroup string  `json:"deploymentGroup"`
	Key             *string `json:"key"`
	VersionID       *string `json:"versionId"`
	FromGroup       *string `json:"fromGroup"`
	FromVersionID   *string `json:"fromVersionId"`
	State           string  `json:"state"` // "Placed" until the trigger has taken it
	DeploymentID    *string `json:"deploymentId"`
	Reason          *string `json:"reason"`
	Operator        *string `json:"operator"`
}

// Ended says whether nothing comes after the state.
func (r Result) Ended() bool {
	return slices.Contains([]string{"Succeeded", "Failed", "Stopped", "Superseded", "Rejected"}, r.State)
}

const poll = 3 * time.Second

// ErrTimeout says that an order has not come as far as was waited for. It goes on.
var ErrTimeout = errors.New("the order goes on")

// Follow waits until the trigger has taken the order, or to its end. Each change is told.
func (o *Orderer) Follow(ctx context.Context, p Placed, toTheEnd bool, timeout time.Duration, changed func(Result)) (Result, error) {
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	r := Result{
		OrderID: p.ID, Kind: p.Kind, Application: p.Application, DeploymentGroup: p.DeploymentGroup,
		Key: text(p.Key), VersionID: text(p.VersionID), FromGroup: text(p.From), State: "Placed",
	}
	deadline, failures := o.Now().Add(timeout), 0
	for {
		state, err := o.read(ctx, "deployments/"+p.ID+".json")
		if err != nil {
			if failures++; failures == 3 || ctx.Err() != nil {
				return r, fmt.Errorf("read how order %s goes: %w; it goes on", p.ID, err)
			}
		} else if failures = 0; state != nil {
			var said struct {
				State, DeploymentID, Reason string
				Order                       struct{ Operator, FromVersionID string }
			}
			if err := json.Unmarshal(state, &said); err != nil {
				return r, fmt.Errorf("the state of order %s is none: %s", p.ID, plain.Line(err.Error(), 200))
			}
			before := r
			r.State, r.DeploymentID, r.Reason = said.State, text(said.DeploymentID), text(said.Reason)
			r.Operator, r.FromVersionID = text(said.Order.Operator), text(said.Order.FromVersionID)
			if before.State != r.State || aws.ToString(before.Reason) != said.Reason {
				changed(r)
			}
			if r.Ended() || !toTheEnd {
				return r, nil
			}
		}
		if !o.Now().Before(deadline) {
			return r, fmt.Errorf("order %s is %s after %.0f s: %w, and scripts/ops deployments tells how", p.ID, r.State, timeout.Seconds(), ErrTimeout)
		}
		select {
		case <-ctx.Done():
			return r, fmt.Errorf("%w; order %s goes on", ctx.Err(), p.ID)
		case <-time.After(poll):
		}
	}
}

// codeOf is the code of AWS's refusal, "" if it is none.
func codeOf(err error) string {
	var refusal smithy.APIError
	if errors.As(err, &refusal) {
		return refusal.ErrorCode()
	}
	return ""
}
