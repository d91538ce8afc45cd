package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/again"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/mark"
	"gitlab-codedeploy/lambda/internal/metadata"
	"gitlab-codedeploy/lambda/internal/origin"
	"gitlab-codedeploy/lambda/internal/status"
)

// Deployer is the part of the CodeDeploy client that Trigger needs.
type Deployer interface {
	CreateDeployment(context.Context, *codedeploy.CreateDeploymentInput, ...func(*codedeploy.Options)) (*codedeploy.CreateDeploymentOutput, error)
}

// Upload is one artifact on its way to a deployment. Its fields are filled in
// as they become known, and stay "" until then.
type Upload struct {
	group.Upload // its ID is the upload-id of the metadata, else the version's: see status.IDs
	allowlist.Pair
	Bucket       string
	DeploymentID string
	Completed    time.Time // by the event; zero when it does not say
	Started      time.Time // when this process created the deployment
	Rule         string    // of who may deploy; the one that failed

	Known again.Known // of messages that the status function has sent
	// Principal is who has written the object, by S3's event; "" when it is not S3's.
	Principal string
}

// IsOrder says whether the object is an operator's order, and no artifact.
func (u Upload) IsOrder() bool { return strings.HasPrefix(u.Key, order.Prefix) }

// LogValue lists what is known; each value is bounded, as all come from outside.
func (u Upload) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, field := range []struct{ name, value string }{
		{"uploadId", u.ID},
		{"application", u.Application},
		{"deploymentGroup", u.DeploymentGroup},
		{"key", u.Key},
		{"versionId", u.VersionID},
		{"deploymentId", u.DeploymentID},
		{"rule", u.Rule},
		{"project", u.By.Project},
		{"ref", u.By.Ref},
		{"user", u.By.User},
		{"pipelineUrl", u.By.PipelineURL},
		{"order", u.Order.Kind},
		{"operator", u.Order.Operator},
	} {
		if field.value != "" {
			attrs = append(attrs, slog.String(field.name, clip.Text(field.value, maxKey)))
		}
	}
	return slog.GroupValue(attrs...)
}

// Trigger starts the deployment that an upload asks for, once, and in the order
// of the group's uploads. Its way is straight: gather the facts, decide, act.
//
//	gather  1. HeadObject         what is it? If another one lies upon it, ListObjectVersions:
//	                              was it deleted before?
//	        2. GetObject          the group's record: who was accepted, who deploys
//	        3. GetObject          the job's token: may this project and ref deploy it?
//	                              And what another attempt's job was told, if there is one.
//	        4. GetDeploymentGroup is the group blue/green? Asked now and then.
//	        5. ListDeployments    what was the group given that the record lacks?
//	decide                        see decide
//	act     6. PutObject          the attempt, into the record that was seen in 2
//	        7. PutObject          a status object "Waiting", if there is none
//	        8. CreateDeployment
//	        9. PutObject          "Created", with the deployment's id
//
// The record is not told of the deployment: the attempt stays there, and whoever
// finds it looks at what its job was told. Mostly that is nobody before the status
// function notes the deployment's end.
//
// CreateDeployment has no idempotency token. The attempt in the record takes its
// place: one process at a time may create a deployment of a group, and it gives
// the attempt back only if CodeDeploy has said that it did nothing. The process
// may die at any point, or an answer be lost. Whoever comes next finds:
//
//	died after  what is there                 what is done
//	1 to 5      nothing                       all of it
//	6, 7, 8     an attempt                    nothing for as long as the Lease; then
//	                                          CodeDeploy's list tells what came of it
//	9           a status with an id           nothing
//
// A token is spent by the first thing that is written into the record, and
// nothing is told before that: whoever reads an upload's id in its state finds
// its token worth nothing.
type Trigger struct {
	Artifacts *Artifacts
	Tokens    *Tokens
	GitLab    *trust.Verifier // whose tokens they are
	Groups    *BlueGreenGroups
	Records   *group.Store
	Statuses  *status.Store
	History   *History
	Deployer  Deployer
	Orders    *Orders
	Marker    *mark.Marker
	Allowed   allowlist.List
	Prefix    string // of artifacts' keys
	Log       *slog.Logger
}

// try is one try of one message.
type try struct {
	owner string
	again bool // there was one before
}

// rounds bounds how often the facts are gathered anew because somebody else
// has changed the group's record meanwhile.
const rounds = 5

// work is what the steps for one upload share.
type work struct {
	*Upload
	try
	artifact artifact
	request  metadata.Request
	order    order.Order // what the operator wants, if it is an order
	bundle   types.BundleType
	entry    *status.Entry
	record   *group.Entry // nil while the upload's group is unknown
	settings status.Group // of the group, once it was looked at
	proof    *trust.Proof // what the job's token has proven, nil without one
}

// Deploy takes an upload with bucket, key and, if the event had it, version.
func (t *Trigger) Deploy(ctx context.Context, u *Upload, by try) Outcome {
	w := &work{Upload: u, try: by}
	fault, err := t.identify(ctx, w)
	if err != nil {
		return failed(err)
	}
	if w.order.Kind != "" && !w.order.Deploys() {
		return t.turn(ctx, w, fault)
	}
	for range rounds {
		facts, err := t.gather(ctx, w, fault)
		if err != nil {
			return t.tell(ctx, w, failed(err), err)
		}
		action := decide(facts)
		if action.Do == Search {
			found, err := t.History.Look(ctx, &facts.Record, facts.Upload)
			if err != nil || !found.complete && found.fault == "" {
				return t.save(ctx, w, &facts.Record, err)
			}
			facts.Searched, facts.Active, facts.Now = found.fault == "", found.active, t.Records.Time()
			if found.fault != "" {
				facts.Fault, facts.Searched = found.fault, true
			}
			action = decide(facts)
		}
		end, err := t.act(ctx, w, &facts, action)
		if errors.Is(err, group.ErrChanged) {
			continue
		}
		if err != nil {
			return t.tell(ctx, w, failed(err), err)
		}
		return end
	}
	return outcome(Failed, "the group's record was changed by others %d times", rounds)
}

// identify finds out what the upload is: nothing of that changes from try to try,
// except that it may go. A fault says why it can never be deployed.
func (t *Trigger) identify(ctx context.Context, w *work) (fault string, err error) {
	if w.IsOrder() {
		return t.identifyOrder(ctx, w)
	}
	w.ID = w.VersionID
	w.artifact, fault, err = t.Artifacts.Find(ctx, w.Upload)
	if err != nil {
		return "", err
	}
	var malformed string
	w.request, malformed = metadata.Parse(w.artifact.Metadata)
	w.Pair, w.Uploaded = w.request.Pair, uploadTime(w.artifact.Modified, w.Completed)
	if w.artifact.Metadata == nil && fault != "" && w.Known.Application != "" {
		w.Pair, w.request.UploadID, w.Uploaded = w.Known.Pair, w.Known.UploadID, w.Completed
	}
	if fault == "" {
		fault = malformed
	}
	if fault == "" {
		w.bundle, fault = w.request.Bundle(w.Key)
	}
	w.entry = t.Statuses.Entry(w.request.UploadID, w.Key, w.VersionID)
	w.ID = w.entry.ID()
	return fault, nil
}

// gather collects the facts of now.
func (t *Trigger) gather(ctx context.Context, w *work, fault string) (f Facts, err error) {
	f = Facts{Fault: fault}
	// An upload without a version or a pair has no place in any order.
	if w.VersionID != "" && w.Application != "" && w.DeploymentGroup != "" {
		if w.record, err = t.Records.Load(ctx, w.Pair); err != nil {
			return f, err
		}
		if f.Record, err = w.record.Copy(); err != nil {
			return f, err
		}
		if err = t.hear(ctx, w, &f); err != nil {
			return f, err
		}
	}
	if w.IsOrder() {
		unknown := w.Order.Key == ""
		if incomplete := w.complete(&f.Record); f.Fault == "" {
			f.Fault = incomplete
		}
		if unknown && w.Order.Key != "" { // The order is gone, and the record knows it.
			w.entry = t.stateOf(w)
		}
	}
	known := f.Record.Knows(w.Upload.Upload)
	f.Orphan = w.record == nil && w.artifact.Metadata == nil
	if w.VersionID != "" && (w.again || f.Orphan || known || w.entry.State != "") {
		if err := w.entry.Load(ctx); err != nil {
			return f, err
		}
	}
	f.Told, f.Asked = w.entry.Status, w.Known.Application == ""
	w.ID = w.entry.ID()
	f.Now = t.Records.Time()
	if f.Fault == "" && !f.Told.Settled() {
		if err = t.check(ctx, w, &f); err != nil {
			return f, err
		}
	}
	f.Upload = w.Upload.Upload
	if known {
		f.Upload.Uploaded = f.Record.Place(f.Upload)
	}
	return f, nil
}

// hear notes what came of another upload's attempt, if its job was told.
func (t *Trigger) hear(ctx context.Context, w *work, f *Facts) error {
	if f.Record.Attempt == nil || f.Record.Attempt.Same(w.Upload.Upload) {
		return nil // What this upload's own job was told is looked at anyway.
	}
	made, err := f.Record.Attempted(ctx, t.Statuses, t.Records.Time())
	if made != nil {
		f.Record.Heard(*made)
	}
	return err
}

// check settles whether the group may be deployed to, by whoever uploaded and with
// what lies at that key, before anything is asked of CodeDeploy about a pair that
// comes from outside.
func (t *Trigger) check(ctx context.Context, w *work, f *Facts) (err error) {
	if !t.Allowed.Has(w.Pair) {
		f.Fault = fmt.Sprintf("application %q with deployment group %q is not on the list of what may be deployed: correct the job's variables, or have the pair added to deploymentGroups in the environment's configuration",
			clip.Text(w.Application, 100), clip.Text(w.DeploymentGroup, 100))
		return nil
	}
	allow := t.prove
	if w.IsOrder() {
		allow = t.authorize
	}
	if f.Refusal, err = allow(ctx, w, f); err != nil || f.Refusal != nil || f.Fault != "" {
		return err
	}
	if f.Fault = misplaced(w.Artifact().Key, t.Prefix, w.Application, alone(w.Application, t.Allowed)); f.Fault != "" {
		return nil
	}
	f.Fault, err = t.Groups.Check(ctx, w.Pair)
	w.settings = t.Groups.Settings(w.Pair)
	return err
}

// prove finds out whether whoever uploaded may deploy, and who it is. What was
// proven once stays so for as long as the upload waits: its token ends long
// before.
func (t *Trigger) prove(ctx context.Context, w *work, f *Facts) (*trust.Refusal, error) {
	w.proof, w.By = nil, trust.Deployer{}
	rule := t.Allowed[w.Pair]
	if rule.AnyProject {
		return nil, nil
	}
	by, accepted := f.Record.Accepted(w.Upload.Upload)
	if !accepted && w.entry.Deployer != (trust.Deployer{}) {
		by, accepted = w.entry.Deployer, true
	}
	if accepted {
		w.By = by
		return refusal(rule.Recheck(by)), nil
	}
	token, missing, err := t.Tokens.Of(ctx, w.request.UploadID, w.artifact.Modified, f.Now)
	if err != nil {
		return nil, err
	}
	if missing != nil {
		// An upload that was given up, and is redriven by an operator, is no longer in
		// the record. Its state still says whose it is.
		if err := w.entry.Load(ctx); err != nil {
			return nil, err
		}
		if w.entry.Deployer == (trust.Deployer{}) {
			return missing, nil
		}
		f.Told, w.By = w.entry.Status, w.entry.Deployer
		return refusal(rule.Recheck(w.By)), nil
	}
	proof, err := t.GitLab.Verify(token, rule, w.artifact.Modified)
	if err != nil {
		return refusal(err), nil
	}
	if !f.Record.Spend(proof, w.Upload.Upload, f.Now) {
		return &trust.Refusal{Rule: RuleSpent, Reason: "the token was worth another upload to this deployment group already, want one token for each: run the job again"}, nil
	}
	w.proof, w.By = &proof, proof.Deployer
	return nil, nil
}

// refusal is what package trust promises an error to be.
func refusal(err error) *trust.Refusal {
	var refusal *trust.Refusal
	errors.As(err, &refusal)
	return refusal
}

// act carries a decision out. It returns group.ErrChanged when somebody else has
// changed the group's record since the facts were gathered.
func (t *Trigger) act(ctx context.Context, w *work, f *Facts, a Action) (Outcome, error) {
	switch a.Do {
	case Repeat:
		w.DeploymentID = f.Told.DeploymentID
		return t.repeat(ctx, w, f, a)
	case Adopt:
		w.DeploymentID = a.Deployment.DeploymentID
		if err := t.keep(ctx, w, &f.Record); err != nil {
			return Outcome{}, err
		}
		return Outcome{Repeated, a.Reason}, w.entry.Merge(ctx, w.status(a.Deployment.State, a.Deployment.Reason))
	case Finish:
		return t.finish(ctx, w, a.State, a.Reason)
	case Reject:
		if !t.counts(w, f) {
			return t.finish(ctx, w, status.Rejected, a.Reason)
		}
		return t.end(ctx, w, f, status.Rejected, a.Reason)
	case Refuse:
		return t.refuse(ctx, w, f)
	case Supersede:
		return t.end(ctx, w, f, status.Superseded, a.Reason)
	case Hold:
		if f.Orphan {
			return Outcome{Waiting, a.Reason}, nil
		}
		return t.tell(ctx, w, Outcome{Waiting, a.Reason}, nil), nil
	case Park:
		return t.park(ctx, w, f, a.Reason)
	case Wait:
		return t.wait(ctx, w, f, a.Reason)
	case Create:
		return t.create(ctx, w, f)
	}
	return Outcome{}, fmt.Errorf("nothing is known about how to %s", a.Do)
}

// repeat sees to it that the group's record knows what the job was told. An
// upload that somebody has deployed by hand while it waited is told of by an
// event, perhaps before any look at the group. Only what the record knows is
// followed to its end when further events are lost.
func (t *Trigger) repeat(ctx context.Context, w *work, f *Facts, a Action) (Outcome, error) {
	if w.record != nil && (w.record.Exists() || t.Allowed.Has(w.Pair)) {
		err := w.record.Put(ctx, func(r *group.Record) {
			waits := r.Waiting != nil && r.Waiting.Same(f.Upload)
			attempted := r.Attempt != nil && r.Attempt.Same(f.Upload)
			unknown := !f.Told.Ended() && r.Deployment(f.Upload) == nil &&
				f.Told.Application == w.Application && f.Told.DeploymentGroup == w.DeploymentGroup
			switch {
			case f.Told.DeploymentID != "" && (waits || attempted || unknown):
				r.Heard(group.Deployment{Upload: f.Upload, DeploymentID: f.Told.DeploymentID, State: f.Told.State, Reason: f.Told.Reason, SeenAt: f.Now})
			case waits:
				r.Waiting = nil
			}
			r.Forget(f.Upload)
		})
		if err != nil {
			return Outcome{}, err
		}
	}
	if f.Told.DeploymentID == "" && f.Told.Ended() {
		return Outcome{Repeated, a.Reason}, t.Marker.Expire(ctx, w.Upload.Upload)
	}
	return Outcome{Repeated, a.Reason}, nil
}

// keep puts what was found out into the group's record, if anything was.
func (t *Trigger) keep(ctx context.Context, w *work, known *group.Record) error {
	return w.record.Put(ctx, func(r *group.Record) { *r = *known })
}

// save keeps how far a look came that did not finish.
func (t *Trigger) save(ctx context.Context, w *work, known *group.Record, err error) Outcome {
	if saving := t.keep(ctx, w, known); saving != nil && err == nil {
		err = saving
	}
	if err != nil {
		return t.tell(ctx, w, failed(err), err)
	}
	return t.tell(ctx, w, Outcome{Waiting, "the group's many deployments are being looked through"}, nil)
}

// end decides an upload's end, and tells it. It is decided in the group's record,
// where nobody can create its deployment at the same time.
func (t *Trigger) end(ctx context.Context, w *work, f *Facts, state status.State, reason string) (Outcome, error) {
	if w.record != nil && (t.Allowed.Has(w.Pair) || w.record.Exists()) {
		known := f.Record
		known.Finish(group.End{Upload: f.Upload, State: state, Reason: clip.Line(reason, 500)})
		if err := t.keep(ctx, w, &known); err != nil {
			return Outcome{}, err
		}
	}
	return t.finish(ctx, w, state, reason)
}

// counts says whether an upload that ends is worth a line in its group's record:
// the group knows it, or whoever uploaded it may deploy, or nobody may any more. The record is left alone
// by others, who must not get into the way of those who may.
func (t *Trigger) counts(w *work, f *Facts) bool {
	return f.Record.Knows(f.Upload) || w.By != (trust.Deployer{}) || t.Allowed[w.Pair].AnyProject || !t.Allowed.Has(w.Pair)
}

// refuse ends an upload of which nobody has proven that he may deploy it.
func (t *Trigger) refuse(ctx context.Context, w *work, f *Facts) (end Outcome, err error) {
	w.Rule = f.Refusal.Rule
	if t.counts(w, f) {
		end, err = t.end(ctx, w, f, status.Rejected, f.Refusal.Reason)
	} else {
		end, err = t.finish(ctx, w, status.Rejected, f.Refusal.Reason)
	}
	if end.End == Rejected {
		end.End = Refused
	}
	return end, err
}

// finish tells the job that there will be no deployment, and lets S3 forget the
// version soon.
func (t *Trigger) finish(ctx context.Context, w *work, state status.State, reason string) (Outcome, error) {
	end := Outcome{Superseded, reason}
	if state == status.Rejected {
		end.End = Rejected
	}
	if w.VersionID == "" {
		return end, nil // There is no version whose status could be told.
	}
	before := w.entry.Status
	if err := w.entry.Merge(ctx, w.status(state, reason)); err != nil {
		return Outcome{}, err
	}
	w.ID, w.DeploymentID = w.entry.ID(), w.entry.DeploymentID
	if w.entry.DeploymentID != "" {
		return outcome(Repeated, "the upload's state is %s already", w.entry.State), nil
	}
	if before.Settled() || w.entry.State != state {
		end = outcome(Repeated, "the upload's state is %s already", w.entry.State)
	}
	return end, t.Marker.Expire(ctx, w.Upload.Upload)
}

// wait accepts the upload, and tells its job what it waits for. An older one that
// waited is told at once that it waits in vain.
func (t *Trigger) wait(ctx context.Context, w *work, f *Facts, reason string) (Outcome, error) {
	known := f.Record
	accept := known.Accept
	if known.Paused != nil && !f.Upload.Ordered() {
		accept = known.Park // An order that waits goes first.
	}
	displaced := accept(f.Upload)
	if err := t.keep(ctx, w, &known); err != nil {
		return Outcome{}, err
	}
	t.tellDisplaced(ctx, w, &known, displaced)
	return t.tell(ctx, w, Outcome{Waiting, reason}, nil), nil
}

// tellDisplaced is a courtesy: the upload's own message does the same.
func (t *Trigger) tellDisplaced(ctx context.Context, w *work, r *group.Record, u *group.Upload) {
	if u == nil {
		return
	}
	end := r.End(*u)
	entry := u.Entry(t.Statuses)
	err := entry.Load(ctx)
	if err == nil {
		err = entry.Merge(ctx, status.Status{
			State: end.State, Reason: end.Reason, Application: r.Application, DeploymentGroup: r.DeploymentGroup, Deployer: u.By, Order: u.Order.Order,
		})
	}
	if err == nil && entry.DeploymentID == "" {
		err = t.Marker.Expire(ctx, *u)
	}
	if err != nil {
		t.Log.WarnContext(ctx, "an upload that was overtaken is told later", "displaced", u.ID, "err", clip.Text(err.Error(), 1000))
	}
}

// createOnce keeps the SDK from sending a CreateDeployment again: after a lost
// answer that could deploy twice.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_CreateDeployment.html
func createOnce(o *codedeploy.Options) { o.Retryer = aws.NopRetryer{} }

// create makes the deployment: the one thing that cannot be taken back.
func (t *Trigger) create(ctx context.Context, w *work, f *Facts) (Outcome, error) {
	attempt := group.Attempt{Upload: f.Upload, Owner: w.owner, At: f.Now}
	known := f.Record
	displaced := known.Begin(attempt)
	if err := t.keep(ctx, w, &known); err != nil {
		return Outcome{}, err
	}
	if err := t.announce(ctx, w); err != nil || w.entry.Settled() {
		giveBack := w.record.Change(ctx, func(r *group.Record) { r.GiveBack(attempt) })
		if err == nil {
			err = group.ErrChanged // What the job was told is a fact that was missing.
		}
		return Outcome{}, errors.Join(err, giveBack)
	}
	t.tellDisplaced(ctx, w, &known, displaced)
	if end, err := t.withdraw(ctx, w, f); err != nil || end.End != "" {
		return end, err
	}

	out, err := t.send(ctx, w)
	if err != nil {
		return t.notCreated(ctx, w, attempt, err)
	}
	w.DeploymentID, w.Started = aws.ToString(out.DeploymentId), t.Records.Time()
	err = w.entry.Merge(ctx, w.status(status.Created, ""))
	if err == nil && w.entry.DeploymentID == w.DeploymentID {
		return Outcome{End: Created}, nil
	}
	// The job cannot tell, so the record has to. What it lacks, CodeDeploy knows.
	return Outcome{End: Created}, errors.Join(err, w.record.Change(ctx, func(r *group.Record) {
		r.Heard(group.Deployment{Upload: f.Upload, DeploymentID: w.DeploymentID, State: status.Created, SeenAt: w.Started})
	}))
}

// announce writes the first state of an upload, by which its id is its own.
func (t *Trigger) announce(ctx context.Context, w *work) error {
	err := w.entry.Change(ctx, func(seen status.Status) (status.Status, error) {
		if seen.State == "" || seen.GivenUp {
			return w.status(status.Waiting, reasonBeingCreated), nil
		}
		return seen, nil
	})
	w.ID = w.entry.ID()
	return err
}

// send sends the one call that deploys. It overrides nothing of the group, and
// neither fileExistsBehavior nor the two switches are set: their defaults are
// the safe side, and a blue/green group gets fresh instances anyway.
func (t *Trigger) send(ctx context.Context, w *work) (*codedeploy.CreateDeploymentOutput, error) {
	from := origin.Origin{
		UploadID: w.ID, Uploaded: w.Uploaded, Commit: w.request.Commit, Pipeline: w.request.Pipeline,
		Order: w.Order.Kind, By: w.Order.Operator,
	}
	deployed := w.Artifact()
	return t.Deployer.CreateDeployment(ctx, &codedeploy.CreateDeploymentInput{
		ApplicationName:     &w.Application,
		DeploymentGroupName: &w.DeploymentGroup,
		Description:         aws.String(from.Description()),
		Revision: &types.RevisionLocation{
			RevisionType: types.RevisionLocationTypeS3,
			S3Location: &types.S3Location{
				Bucket:     &w.Bucket,
				Key:        &deployed.Key,
				Version:    &deployed.VersionID,
				ETag:       optional(w.artifact.ETag),
				BundleType: w.bundle,
			},
		},
	}, createOnce)
}

// notCreated gives the attempt back if CodeDeploy has said that it did nothing.
// Otherwise it stays: nobody knows what came of it before the list of
// deployments has to show it.
func (t *Trigger) notCreated(ctx context.Context, w *work, attempt group.Attempt, cause error) (Outcome, error) {
	if !refused(cause) {
		return Outcome{}, fmt.Errorf("create the deployment: %w", cause)
	}
	fault, permanent := permanent("create the deployment", cause)
	err := w.record.Change(ctx, func(r *group.Record) {
		if permanent {
			r.Finish(group.End{Upload: attempt.Upload, State: status.Rejected, Reason: clip.Line(fault, 500)})
		} else {
			r.GiveBack(attempt)
		}
	})
	end := w.record.End(attempt.Upload)
	switch busy, ofGroup := busy(cause); {
	case err != nil:
		return Outcome{}, fmt.Errorf("create the deployment: %w, and %w", cause, err)
	case end != nil:
		return t.finish(ctx, w, end.State, end.Reason)
	case busy && ofGroup:
		return t.tell(ctx, w, Outcome{Waiting, reasonBusy}, nil), nil
	case busy:
		return t.tell(ctx, w, Outcome{Waiting, "the account has as many deployments at once as CodeDeploy allows it: have the quota raised, or wait"}, nil), nil
	}
	return Outcome{}, fmt.Errorf("create the deployment: %w", cause)
}

// tell tells the job why the upload is not deployed yet, if it does not know.
// Telling is a courtesy: when it fails, the next try tells.
func (t *Trigger) tell(ctx context.Context, w *work, end Outcome, cause error) Outcome {
	reason := end.Reason
	if cause != nil {
		reason = waitingFor(cause)
	}
	if w.VersionID == "" {
		return end
	}
	if err := t.note(ctx, w); err != nil {
		end.Reason = fmt.Sprintf("%s (and could not note it: %v)", end.Reason, err)
		return end
	}
	err := w.entry.Change(ctx, func(seen status.Status) (status.Status, error) {
		if seen.Settled() || seen.Reason == reason && !seen.GivenUp {
			return seen, nil
		}
		return w.status(status.Waiting, reason), nil
	})
	w.ID = w.entry.ID()
	if err != nil {
		end.Reason = fmt.Sprintf("%s (and could not tell: %v)", end.Reason, err)
	}
	return end
}

// note sees to it that the group's record knows of an upload whose job is told
// anything: should its version be removed while it waits, nobody else can tell
// where its job looks.
func (t *Trigger) note(ctx context.Context, w *work) error {
	if w.record == nil {
		return errors.New("the group's record is unknown")
	}
	now := t.Records.Time()
	return w.record.Change(ctx, func(r *group.Record) {
		// Another upload may have been faster. Then this one proves nothing, and the
		// next try says so.
		if w.proof != nil && !r.Spend(*w.proof, w.Upload.Upload, now) {
			w.proof, w.By = nil, trust.Deployer{}
		}
		r.Note(w.Upload.Upload)
	})
}

// waitingFor is a reason in words that stay the same from try to try.
func waitingFor(cause error) string {
	var answer smithy.APIError
	if errors.As(cause, &answer) {
		return "will be tried again: AWS answered " + clip.Line(answer.ErrorCode(), 100)
	}
	return "will be tried again: AWS did not answer as it should, see the trigger's log"
}

// status is what the job is told.
func (w *work) status(state status.State, reason string) status.Status {
	return status.Status{
		State:           state,
		DeploymentID:    w.DeploymentID,
		Application:     clip.Line(w.Application, 100),
		DeploymentGroup: clip.Line(w.DeploymentGroup, 100),
		Reason:          reason,
		Deployer:        w.By,
		Order:           w.Order.Order,
		Group:           w.settings,
	}
}
