package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/metadata"
	"gitlab-codedeploy/lambda/internal/object"
	"gitlab-codedeploy/lambda/internal/status"
)

// OrderReader is the part of the S3 client that Orders needs.
type OrderReader interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Orders reads what operators have ordered.
type Orders struct {
	Client OrderReader
	Bucket string
}

// Read reads the version that an event is about, and settles which one that is if
// the event did not say. A fault says why it can never be carried out.
func (o *Orders) Read(ctx context.Context, u *group.Upload) (read order.Order, written time.Time, fault string, err error) {
	out, err := o.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.Bucket, Key: &u.Key, VersionId: optional(u.VersionID)})
	switch code := object.Status(err); {
	case code == http.StatusNotFound, code == http.StatusMethodNotAllowed:
		return read, written, "the order, or this version of it, is gone: order it again", nil
	case err != nil:
		return read, written, "", fmt.Errorf("read the order: %w", err)
	}
	defer func() { out.Body.Close() }()
	if u.VersionID == "" {
		u.VersionID = aws.ToString(out.VersionId)
	}
	if u.VersionID == "" || u.VersionID == "null" {
		u.VersionID = ""
		return read, written, "", errors.New("the order has no version: turn versioning of the artifact bucket on")
	}
	text, err := io.ReadAll(io.LimitReader(out.Body, order.MaxSize+1))
	if err != nil {
		return read, written, "", fmt.Errorf("read the order: %w", err)
	}
	if read, err = order.Parse(text); err != nil {
		return order.Order{}, written, "the order cannot be carried out: " + clip.Line(err.Error(), 300), nil
	}
	return read, aws.ToTime(out.LastModified).UTC(), "", nil
}

// identifyOrder is identify of an operator's order. Its artifact is another object,
// whose version has to be there; whether something lies upon it does not matter.
func (t *Trigger) identifyOrder(ctx context.Context, w *work) (fault string, err error) {
	w.ID = w.VersionID
	read, written, fault, err := t.Orders.Read(ctx, &w.Upload.Upload)
	if err != nil {
		return "", err
	}
	w.order, w.Uploaded = read, uploadTime(written, w.Completed)
	w.Pair = allowlist.Pair{Application: read.Application, DeploymentGroup: read.DeploymentGroup}
	w.request.UploadID = order.ID(w.Key, w.VersionID)
	w.Order = group.Order{Order: status.Order{Kind: read.Kind, Operator: w.Principal, FromGroup: read.From}, Key: read.Key, VersionID: read.VersionID}
	if fault != "" {
		w.Order = group.Order{}
		if w.Known.Application != "" {
			w.Pair, w.Uploaded = w.Known.Pair, w.Completed
		}
	}
	if fault == "" && read.Deploys() {
		if fault, err = t.findOrdered(ctx, w); err != nil {
			return "", err
		}
	}
	w.ID = w.request.UploadID
	w.entry = t.stateOf(w)
	return fault, nil
}

// stateOf is where the operator looks: of a deployment, by the artifact that
// CodeDeploy's events name.
func (t *Trigger) stateOf(w *work) *status.Entry {
	if w.Order.Key == "" {
		return t.Statuses.Entry(w.ID, w.Key, w.VersionID)
	}
	return w.Upload.Entry(t.Statuses)
}

// findOrdered reads the artifact that an order is about.
func (t *Trigger) findOrdered(ctx context.Context, w *work) (fault string, err error) {
	of := &Upload{Upload: w.Artifact(), Bucket: w.Bucket}
	found, err := t.Artifacts.head(ctx, of, of.VersionID)
	if err != nil {
		return gone(err), unless(gone(err), err)
	}
	w.artifact = found.artifact
	about, malformed := metadata.Parse(found.Metadata)
	w.Order.Uploaded, w.request.Commit, w.request.Pipeline = found.Modified, about.Commit, about.Pipeline
	switch {
	case malformed != "":
		return malformed, nil
	case about.Application != w.Application:
		return fmt.Sprintf("the artifact is of application %q, want one of %q", clip.Text(about.Application, 100), clip.Text(w.Application, 100)), nil
	}
	w.bundle, fault = about.Bundle(of.Key)
	return fault, nil
}

// complete adds what only the group's record knows of an order: who it was, when the
// message is not S3's, and what ran when it was accepted.
func (w *work) complete(r *group.Record) (fault string) {
	if known := r.Find(w.Upload.Upload); known != nil && known.Ordered() {
		w.Order = known.Order
		return ""
	}
	if !order.IsOperator(w.Order.Operator) {
		return "S3's event does not say who ordered it: order it again"
	}
	if running := r.Running(); running != nil {
		w.Order.FromVersionID = running.Artifact().VersionID
	}
	return ""
}

// authorize finds out whether an artifact may be deployed again. An operator may not
// deploy what was never proven: it has to have succeeded, in the group itself or in
// the one that it is promoted from; and a promotion has to keep to the rule of its
// group.
func (t *Trigger) authorize(ctx context.Context, w *work, f *Facts) (*trust.Refusal, error) {
	w.proof, w.By = nil, trust.Deployer{}
	// What is only noted was looked at by nobody: AWS failed before.
	if known := f.Record.Admitted(w.Upload.Upload); known != nil && known.Ordered() {
		w.By = known.By
		return nil, nil
	}
	where, record := w.Pair, &f.Record
	if w.order.Kind == order.Promote {
		where.DeploymentGroup = w.order.From
		if !t.Allowed.Has(where) {
			f.Fault = fmt.Sprintf("deployment group %q, which it is promoted from, is not on the list of what may be deployed", clip.Text(where.DeploymentGroup, 100))
			return nil, nil
		}
		from, err := t.Records.Load(ctx, where)
		if err != nil {
			return nil, err
		}
		record = &from.Record
	}
	before := record.Succeeded(w.Artifact())
	if before == nil {
		f.Fault = fmt.Sprintf("version %s has no successful deployment to %s among those that its record has, the last eleven: scripts/ops deployments lists them",
			clip.Text(w.Order.VersionID, 100), clip.Text(where.DeploymentGroup, 100))
		return nil, nil
	}
	w.By = before.By
	if w.order.Kind == order.Promote {
		return refusal(t.Allowed[w.Pair].Recheck(w.By)), nil
	}
	return nil, nil
}

// withdraw ends a promotion whose artifact the other group has let go of meanwhile:
// it may be marked as unwanted by now. The status function looks at this group's
// record before it marks, and so one of both sees what the other has written.
func (t *Trigger) withdraw(ctx context.Context, w *work, f *Facts) (Outcome, error) {
	if w.order.Kind != order.Promote {
		return Outcome{}, nil
	}
	from, err := t.Records.Load(ctx, allowlist.Pair{Application: w.Application, DeploymentGroup: w.order.From})
	if err != nil || from.Holds(w.Artifact()) {
		return Outcome{}, err
	}
	reason := fmt.Sprintf("%s has had eleven newer versions while the promotion waited, and does not keep this one: promote a newer one", clip.Text(w.order.From, 100))
	if err := w.record.Change(ctx, func(r *group.Record) {
		r.Finish(group.End{Upload: f.Upload, State: status.Rejected, Reason: reason})
	}); err != nil {
		return Outcome{}, err
	}
	return t.finish(ctx, w, status.Rejected, reason)
}

// park accepts the upload, and leaves it to the record: its message is done with, so
// that a pause may last as long as it likes.
func (t *Trigger) park(ctx context.Context, w *work, f *Facts, reason string) (Outcome, error) {
	known := f.Record
	displaced := known.Park(f.Upload)
	if err := t.keep(ctx, w, &known); err != nil {
		return Outcome{}, err
	}
	t.tellDisplaced(ctx, w, &known, displaced)
	err := w.entry.Change(ctx, func(seen status.Status) (status.Status, error) {
		if seen.Settled() || seen.Reason == reason && !seen.GivenUp {
			return seen, nil
		}
		return w.status(status.Waiting, reason), nil
	})
	w.ID = w.entry.ID()
	return Outcome{Parked, reason}, err
}

// turn pauses or resumes a group. Whoever waits for that is sent by the schedule.
func (t *Trigger) turn(ctx context.Context, w *work, fault string) Outcome {
	end, err := t.turnNow(ctx, w, fault)
	if err != nil {
		return t.tell(ctx, w, failed(err), err)
	}
	return end
}

func (t *Trigger) turnNow(ctx context.Context, w *work, fault string) (Outcome, error) {
	if err := w.entry.Load(ctx); err != nil {
		return Outcome{}, err
	}
	if w.entry.Settled() {
		return outcome(Repeated, "the order's state is %s already", w.entry.State), nil
	}
	switch {
	case fault != "":
	case !t.Allowed.Has(w.Pair):
		fault = fmt.Sprintf("application %q with deployment group %q is not on the list of what may be deployed", clip.Text(w.Application, 100), clip.Text(w.DeploymentGroup, 100))
	case !order.IsOperator(w.Order.Operator):
		fault = "S3's event does not say who ordered it: order it again"
	}
	if fault != "" {
		return Outcome{Rejected, fault}, w.entry.Merge(ctx, w.status(status.Rejected, fault))
	}
	record, err := t.Records.Load(ctx, w.Pair)
	if err != nil {
		return Outcome{}, err
	}
	var pause *group.Pause
	reason := "uploads are deployed again; the newest that waits has its turn within five minutes"
	if w.order.Kind == order.Pause {
		pause = &group.Pause{By: w.Order.Operator, Since: w.Uploaded}
		reason = "uploads wait until the group is resumed"
	}
	in := true
	if err := record.Change(ctx, func(r *group.Record) { in = r.Switch(w.Upload.Upload, pause) }); err != nil {
		return Outcome{}, err
	}
	if !in {
		reason = "the group was paused or resumed by a later order before"
		return Outcome{Superseded, reason}, w.entry.Merge(ctx, w.status(status.Superseded, reason))
	}
	return Outcome{Switched, reason}, w.entry.Merge(ctx, w.status(status.Succeeded, reason))
}
