package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
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
	ID string // upload-id of the metadata, else VersionID: see status.IDs
	allowlist.Pair
	Bucket       string
	Key          string
	VersionID    string
	DeploymentID string
	Completed    time.Time // by the event; zero when it does not say
	Uploaded     time.Time // see uploadTime
	Started      time.Time // when this process created the deployment

	// Claim says on whose behalf the upload is worked on.
	Claim status.Claim
}

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
	} {
		if field.value != "" {
			attrs = append(attrs, slog.String(field.name, clip.Text(field.value, maxKey)))
		}
	}
	return slog.GroupValue(attrs...)
}

// status is what the job is told.
func (u *Upload) status(state status.State, reason string) status.Status {
	return status.Status{
		State:           state,
		DeploymentID:    u.DeploymentID,
		Application:     clip.Line(u.Application, 100),
		DeploymentGroup: clip.Line(u.DeploymentGroup, 100),
		Reason:          reason,
	}
}

// Trigger starts the deployment that an upload asks for, once.
//
//  1. HeadObject         what is it, and is it the newest version of its key?
//  2. GetDeploymentGroup is the group blue/green? Asked now and then.
//  3. PutObject          claim it: a status object "Waiting", if there is none
//  4. ListDeployments    has the group got it, or a newer one from another key?
//  5. CreateDeployment
//  6. PutObject          "Created", with the deployment's id
//
// CreateDeployment has no idempotency token, so three things keep a second one
// away: the claim, which one of several messages about an upload gets; the
// look at the group's deployments, which are CodeDeploy's own record; and
// CodeDeploy itself, which takes one active deployment a group.
//
// The process may die at any point, or an answer be lost. The message then
// comes again, and finds:
//
//	died after  what is there             what the next one does
//	1, 2        nothing                   all of it
//	3, 4        a claim of its message    takes the claim over, looks, creates
//	5           the same, a deployment    takes the claim over, looks, finds it: 6
//	6           a status with an id       nothing
//	an end      Superseded or Rejected    nothing
//
// Another message about the same upload respects a claim until it is Lease old,
// by when its owner's invocation is over.
type Trigger struct {
	Artifacts *Artifacts
	Groups    *BlueGreenGroups
	Statuses  *status.Store
	History   *History
	Deployer  Deployer
	Allowed   allowlist.List

	// Lease is how long a claim keeps other messages out; it has to be longer
	// than one record may take. 0 means 1 minute.
	Lease time.Duration
	// MaxAge is how old an answer about the group's deployments may be when
	// the next one is created. A blue/green deployment takes longer than that,
	// so none can have come and gone meanwhile. 0 means 2 s.
	MaxAge time.Duration
}

// Start takes an upload with bucket, key and, if the event had it, version. It
// returns nil once CodeDeploy has the deployment, a Verdict when this event
// makes none, and any other error when it is worth another try.
func (t *Trigger) Start(ctx context.Context, u *Upload) error {
	u.ID = u.VersionID
	artifact, verdict := t.Artifacts.Find(ctx, u)
	if verdict != nil && verdictOf(verdict) == nil {
		return verdict
	}
	request, malformed := parseMetadata(artifact.Metadata)
	u.Pair, u.Uploaded = request.Pair, uploadTime(artifact.Modified, u.Completed)
	if u.VersionID == "" {
		u.ID = request.UploadID
		return verdict // There is no version whose status could be told.
	}
	entry := t.Statuses.Entry(request.UploadID, u.Key, u.VersionID)
	err := t.start(ctx, u, entry, artifact, request, cmp.Or(verdict, malformed))
	u.ID = entry.ID()
	return err
}

// start does what Start does, given all that S3 knows. A verdict that stands
// already is carried out, unless there is a deployment nevertheless.
func (t *Trigger) start(ctx context.Context, u *Upload, entry *status.Entry, artifact artifact, request Request, verdict error) error {
	u.ID = entry.ID()
	if u.Claim.Receive > 1 {
		// Something is there already. If not, no harm is done: claim finds out.
		if err := entry.Load(ctx); err != nil {
			return err
		}
	}
	var bundle types.BundleType
	if verdict == nil && !entry.Settled() {
		var err error
		if bundle, err = t.check(ctx, u, request); verdictOf(err) == nil && err != nil {
			return t.wait(ctx, u, entry, err)
		}
		verdict = err
	}
	tried, err := t.claim(ctx, u, entry, verdict)
	if err != nil {
		return err
	}
	if entry.Settled() {
		u.ID, u.DeploymentID = entry.ID(), entry.DeploymentID
		if verdict != nil && !tried {
			return verdict
		}
		return repeated("the upload's state is %s already", entry.State)
	}
	u.ID = entry.ID()

	err = t.deploy(ctx, u, entry, artifact, request, bundle, verdict)
	switch v := verdictOf(err); {
	case v != nil && v.Kind != ErrRepeated:
		return t.end(ctx, u, entry, err)
	case err != nil && v == nil && u.DeploymentID == "":
		return t.wait(ctx, u, entry, err)
	}
	return err
}

// check settles whether the upload may be deployed. Its verdicts are those
// that the uploader or the group's owner has to act on.
func (t *Trigger) check(ctx context.Context, u *Upload, request Request) (types.BundleType, error) {
	// Before any call to CodeDeploy: the pair comes from outside.
	if !t.Allowed[u.Pair] {
		return "", reject("application %q with deployment group %q is not on the list of what may be deployed: correct the job's variables, or have the pair added to deploymentGroups in the environment's configuration",
			clip.Text(u.Application, 100), clip.Text(u.DeploymentGroup, 100))
	}
	bundle, err := bundleType(request.BundleType, u.Key)
	if err != nil {
		return "", err
	}
	return bundle, t.Groups.Check(ctx, u.Pair)
}

// claim makes sure that nobody else works on the upload, or ends it at once
// when there is a verdict and nobody has worked on it before. Tried says that
// somebody has: then there may be a deployment.
func (t *Trigger) claim(ctx context.Context, u *Upload, entry *status.Entry, verdict error) (tried bool, err error) {
	err = entry.Change(ctx, func(seen status.Status) (status.Status, error) {
		tried = seen.State != ""
		switch {
		case !tried && verdict != nil:
			return u.status(stateOf(verdict), verdictOf(verdict).Reason), nil
		case !tried:
			seen = u.status(status.Waiting, "the deployment is being created")
		case seen.Settled() || seen.Claim == u.Claim:
			return seen, nil
		case t.held(seen, u.Claim):
			return seen, fmt.Errorf("%w: another message about the upload is being worked on", ErrWaiting)
		}
		seen.Claim = u.Claim
		return seen, nil
	})
	return tried, err
}

// held says whether the claim in seen keeps mine out. It does not when it was
// made for another receive of the same message: the queue hands a message out
// again when its receiver has given it back or run out of time. (It may hand one
// out twice by mistake; then there is still CodeDeploy's own lock.)
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
func (t *Trigger) held(seen status.Status, mine status.Claim) bool {
	owner := seen.Claim
	if owner == (status.Claim{}) || owner.Message == mine.Message && owner.Receive != mine.Receive {
		return false
	}
	return t.Statuses.Time().Sub(seen.UpdatedAt) < cmp.Or(t.Lease, time.Minute)
}

// deploy creates the deployment if the group has none of this upload or of a
// newer one. Whoever calls it holds the claim.
func (t *Trigger) deploy(ctx context.Context, u *Upload, entry *status.Entry, artifact artifact, request Request, bundle types.BundleType, verdict error) error {
	if verdict != nil && !t.Allowed[u.Pair] {
		return verdict // There is no right to look.
	}
	const looks = 3
	for range looks {
		asked := t.Statuses.Time()
		found, err := t.History.Look(ctx, u)
		if verdictOf(err) != nil {
			return cmp.Or(verdict, err)
		}
		if err != nil {
			return err
		}
		if found.own != nil {
			return t.adopt(ctx, u, entry, found.own)
		}
		if err := cmp.Or(verdict, t.overtaken(ctx, u, found)); err != nil {
			return err
		}
		if t.Statuses.Time().Sub(asked) < cmp.Or(t.MaxAge, 2*time.Second) {
			return t.create(ctx, u, entry, artifact, request, bundle)
		}
	}
	return fmt.Errorf("CodeDeploy takes too long to list the group's deployments, %d times", looks)
}

// overtaken is a verdict when the group has got a newer upload.
func (t *Trigger) overtaken(ctx context.Context, u *Upload, found findings) error {
	const reason = "the group was given a newer artifact before, by deployment %s"
	if found.newer != "" {
		return supersede(reason, found.newer)
	}
	if found.level == "" {
		return nil
	}
	current, err := t.Artifacts.StillCurrent(ctx, u)
	if err == nil && !current {
		return supersede(reason, found.level)
	}
	return err
}

// adopt takes a deployment over that an earlier try has made, in the state in
// which it is by now: its events may have come before there was a status.
func (t *Trigger) adopt(ctx context.Context, u *Upload, entry *status.Entry, own *types.DeploymentInfo) error {
	u.DeploymentID = aws.ToString(own.DeploymentId)
	if err := entry.Merge(ctx, u.status(status.Of(own.Status), status.Reason(own))); err != nil {
		return err
	}
	return repeated("an earlier try has made the deployment")
}

// createOnce keeps the SDK from sending a CreateDeployment again. After a lost
// answer that could deploy twice, and while the SDK waits to be throttled no
// more, the look at the group's deployments grows old.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_CreateDeployment.html
func createOnce(o *codedeploy.Options) { o.Retryer = aws.NopRetryer{} }

// create sends the one call that deploys. It overrides nothing of the group,
// and neither fileExistsBehavior nor the two switches are set: their defaults
// are the safe side, and a blue/green group gets fresh instances anyway.
func (t *Trigger) create(ctx context.Context, u *Upload, entry *status.Entry, artifact artifact, request Request, bundle types.BundleType) error {
	from := origin.Origin{UploadID: u.ID, Uploaded: u.Uploaded, Commit: request.Commit, Pipeline: request.Pipeline}
	out, err := t.Deployer.CreateDeployment(ctx, &codedeploy.CreateDeploymentInput{
		ApplicationName:     &u.Application,
		DeploymentGroupName: &u.DeploymentGroup,
		Description:         aws.String(from.Description()),
		Revision: &types.RevisionLocation{
			RevisionType: types.RevisionLocationTypeS3,
			S3Location: &types.S3Location{
				Bucket:     &u.Bucket,
				Key:        &u.Key,
				Version:    &u.VersionID,
				ETag:       optional(artifact.ETag),
				BundleType: bundle,
			},
		},
	}, createOnce)
	if err != nil {
		return codeDeployFault("create the deployment", err)
	}
	u.DeploymentID, u.Started = aws.ToString(out.DeploymentId), t.Statuses.Time()
	return entry.Merge(ctx, u.status(status.Created, ""))
}

// end tells the job that there will be no deployment.
func (t *Trigger) end(ctx context.Context, u *Upload, entry *status.Entry, verdict error) error {
	if err := entry.Merge(ctx, u.status(stateOf(verdict), verdictOf(verdict).Reason)); err != nil {
		return err
	}
	return verdict
}

func stateOf(verdict error) status.State {
	if errors.Is(verdict, ErrSuperseded) {
		return status.Superseded
	}
	return status.Rejected
}

// wait tells the job why the upload is not deployed yet, if it does not know,
// and returns the cause. Telling is a courtesy: when it fails, the next try
// tells.
func (t *Trigger) wait(ctx context.Context, u *Upload, entry *status.Entry, cause error) error {
	reason := waitingFor(cause)
	err := entry.Change(ctx, func(seen status.Status) (status.Status, error) {
		if seen.Settled() || seen.Reason == reason {
			return seen, nil
		}
		next := u.status(status.Waiting, reason)
		next.Claim = seen.Claim // whoever has it by now
		return next, nil
	})
	if err != nil {
		return fmt.Errorf("%w (and could not tell: %v)", cause, err)
	}
	return cause
}

// waitingFor is a reason in words that stay the same from try to try.
func waitingFor(cause error) string {
	var fault smithy.APIError
	switch {
	case errors.Is(cause, ErrWaiting):
		return "the group's deployment before this one has not ended"
	case errors.As(cause, &fault):
		return "will be tried again: AWS answered " + clip.Line(fault.ErrorCode(), 100)
	}
	return "will be tried again: AWS did not answer as it should, see the trigger's log"
}
