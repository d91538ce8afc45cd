package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/internal/plain"
)

// Reader is the part of the S3 client that Wait needs.
type Reader interface {
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Wait looks at the state of one upload until its deployment has ended. It
// polls: the job can be told nothing, for it has no address (ADR 0008).
type Wait struct {
	Client Reader
	Bucket string
	// IDs are the ids that the state may have: see StateIDs.
	IDs []string
	// Key and VersionID are the upload's own. A state of another one is ignored;
	// "" takes any.
	Key, VersionID string
	// Since is when the upload was done.
	Since time.Time
	// Timeout is how long is waited. Zero means an hour, and what the group itself
	// waits for by its settings.
	Timeout time.Duration
	// UntilTraffic ends the wait as soon as the new instances have the traffic.
	UntilTraffic bool
	// Pause is that between the first looks; it grows to 7.5 times as much. Zero
	// means two seconds.
	Pause time.Duration
	// JobTimeout is when GitLab ends the job, counted from its beginning; zero
	// means unknown.
	JobTimeout time.Duration
	// Region is that of the links to CodeDeploy's console; "" leaves them out.
	Region string
	// Log takes a line for people.
	Log func(format string, args ...any)

	// State is the last one that was seen. It stays when the wait ends early.
	State State

	seen    string // ETag of what was read last
	told    string // what was told last
	refused string // the right that S3 refused at the last look
	trouble string // what went wrong at the last look
}

// TimeoutError means that the deployment did not end within the time.
type TimeoutError struct{ message string }

func (e *TimeoutError) Error() string { return e.message }

const (
	defaultTimeout = time.Hour
	firstPause     = 2 * time.Second
	// maxState bounds what is read as a state. It is the bound of the functions
	// that write them, too.
	maxState = 64 << 10
)

// Follow returns nil when the deployment succeeded, when a newer upload took its
// place, or when the traffic has moved and that is waited for. A *TimeoutError
// says that the time is up; any other error that the upload is not deployed, or
// that its state may not be read.
func (w *Wait) Follow(ctx context.Context) error {
	if w.Timeout > 0 {
		w.Log("waiting up to %.0f s for the deployment", w.Timeout.Seconds())
	} else {
		w.Log("waiting up to %.0f s for the deployment, and as long as its group waits by itself", defaultTimeout.Seconds())
	}
	first := firstPause
	if w.Pause > 0 {
		first = w.Pause
	}
	for pause := first; ; pause = min(pause*3/2, first*15/2) {
		ended, err := w.look(ctx)
		if ctx.Err() != nil {
			return w.interrupted(ctx)
		}
		if ended || err != nil {
			return err
		}
		left := w.left()
		if left <= 0 {
			return w.timedOut()
		}
		select {
		case <-time.After(min(jitter(pause), left)):
		case <-ctx.Done():
			return w.interrupted(ctx)
		}
	}
}

// Once looks at the state as it is now. The error says that the upload is not
// deployed, or that there is no state.
func (w *Wait) Once(ctx context.Context) error {
	// A refusal, or an id that is another upload's, takes a second look.
	for range 2 {
		if _, err := w.look(ctx); err != nil || w.State.Name != "" {
			return err
		}
	}
	if w.trouble != "" {
		return fmt.Errorf("the state cannot be seen: %s", w.trouble)
	}
	return fmt.Errorf("there is no state s3://%s/%s%s.json: nothing has taken such an upload up", w.Bucket, StatePrefix, w.IDs[0])
}

// jitter keeps the jobs of many projects from asking in step.
func jitter(pause time.Duration) time.Duration {
	return time.Duration(float64(pause) * (0.75 + rand.Float64()/2))
}

// timeout is the longest wait. Without one of the caller's it covers what the
// group waits for.
func (w *Wait) timeout() time.Duration {
	switch {
	case w.Timeout > 0:
		return w.Timeout
	case w.State.Group != nil:
		return defaultTimeout + w.State.Group.Wait(w.UntilTraffic)
	}
	return defaultTimeout
}

func (w *Wait) left() time.Duration { return w.timeout() - time.Since(w.Since) }

// look reads the state where it changed. It lists first: of a key that is not
// there yet, GET says 403 to a role that may not list all of the bucket, and
// that would look like a refusal.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (w *Wait) look(ctx context.Context) (ended bool, err error) {
	// An S3 that does not answer cannot hold the job for longer than it waits.
	asking, cancel := context.WithTimeout(ctx, min(max(w.left(), 5*time.Second), time.Minute))
	defer cancel()
	key := StatePrefix + w.IDs[0] + ".json"
	list, err := w.Client.ListObjectsV2(asking, &s3.ListObjectsV2Input{Bucket: &w.Bucket, Prefix: &key, MaxKeys: aws.Int32(1)})
	if err != nil {
		return false, w.unseen(ctx, "s3:ListBucket with s3:prefix "+StatePrefix+"*", err)
	}
	if len(list.Contents) > 0 && aws.ToString(list.Contents[0].Key) == key && aws.ToString(list.Contents[0].ETag) != w.seen {
		found := list.Contents[0]
		if size := aws.ToInt64(found.Size); size > maxState {
			w.Log("s3://%s/%s is no state, it has %d bytes; waiting on", w.Bucket, key, size)
		} else {
			text, err := w.read(asking, key)
			if err != nil {
				return false, w.unseen(ctx, "s3:GetObject on "+StatePrefix+"*", err)
			}
			ended, err = w.take(key, text)
			if ended || err != nil {
				return ended, err
			}
		}
		w.seen = aws.ToString(found.ETag)
	}
	w.refused, w.trouble = "", ""
	return false, nil
}

func (w *Wait) read(ctx context.Context, key string) ([]byte, error) {
	object, err := w.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &w.Bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	defer object.Body.Close()
	return io.ReadAll(io.LimitReader(object.Body, maxState))
}

// unseen deals with a look that S3 did not allow. A refusal counts when it comes
// twice in a row: a right takes seconds to be in force everywhere.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html
func (w *Wait) unseen(ctx context.Context, right string, err error) error {
	message := plain.Line(err.Error(), 500)
	var answer smithy.APIError
	switch {
	case ctx.Err() != nil:
		return nil // The caller tells of it.
	case errors.Is(err, context.DeadlineExceeded):
		message = "no answer in time"
	}
	if !errors.As(err, &answer) || answer.ErrorCode() != "AccessDenied" {
		if w.refused = ""; message != w.trouble {
			w.Log("the state cannot be seen, trying again: %s", message)
		}
		w.trouble = message
		return nil
	}
	if w.refused != right {
		w.refused = right
		w.Log("S3 refuses to tell the state, trying once more: %s", message)
		return nil
	}
	return fmt.Errorf("the state may not be read: the role of the runner's host lacks %s, by its own policy or by the bucket's, "+
		"which wants account A's S3 endpoint; %s (AWS said: %s)", right, w.whatGoesOn(), message)
}

// take reads a state, and tells it where it is new.
func (w *Wait) take(key string, text []byte) (ended bool, err error) {
	state, err := ParseState(text)
	if err != nil {
		w.Log("s3://%s/%s is %s; waiting on", w.Bucket, key, err)
		return false, nil
	}
	if w.isOthers(state) {
		w.Log("s3://%s/%s tells of another upload, version %s of %s; ignored", w.Bucket, key, plain.Line(state.VersionID, 100), plain.Line(state.Key, 200))
		if len(w.IDs) > 1 {
			w.IDs = w.IDs[1:]
		}
		return false, nil
	}
	before := w.State
	// Known once, known for good: a later object need not repeat it.
	if state.DeploymentID == "" {
		state.DeploymentID = before.DeploymentID
	}
	if state.Group == nil {
		state.Group = before.Group
	}
	w.State = state
	w.tellGroup(before.Group)
	if state.DeploymentID != before.DeploymentID {
		w.Log("deployment %s, %s", state.DeploymentID, w.whereToSee())
	}
	if told := state.Name + " " + state.Reason; told != w.told {
		w.told = told
		return w.tell()
	}
	return w.ended()
}

// isOthers says whether a state is another upload's. One that does not name its
// upload is taken.
func (w *Wait) isOthers(state State) bool {
	other := func(got, want string) bool { return got != "" && want != "" && got != want }
	return other(state.Key, w.Key) || other(state.VersionID, w.VersionID)
}

// tellGroup tells what the group is going to do, as soon as that is known.
func (w *Wait) tellGroup(before *Group) {
	group := w.State.Group
	if group == nil || before != nil && *before == *group {
		return
	}
	waits := group.Wait(w.UntilTraffic)
	w.Log("of the deployment group: %s", *group)
	switch {
	case w.Timeout == 0 && waits > 0:
		w.Log("waiting up to %.0f s, of which the group waits for %.0f s", w.timeout().Seconds(), waits.Seconds())
	case w.Timeout > 0 && w.Timeout <= waits:
		w.Log("warning: the time-out of %.0f s is over before the group is: it waits for %.0f s by itself", w.Timeout.Seconds(), waits.Seconds())
	}
	if w.JobTimeout > 0 && w.timeout() > w.JobTimeout {
		w.Log("warning: GitLab ends the job %.0f s after its beginning, and this may take %.0f s: raise the job's \"timeout:\"", w.JobTimeout.Seconds(), w.timeout().Seconds())
	}
}

// tell tells a state that is new.
func (w *Wait) tell() (ended bool, err error) {
	reason := ""
	if w.State.Reason != "" {
		reason = ": " + w.State.Reason
	}
	switch w.State.Name {
	case Waiting, Created, InProgress, Ready, Succeeded:
		w.Log("%s after %s%s", w.State.Name, w.elapsed(), reason)
	case Superseded:
		w.Log("%s after %s%s; this upload is not deployed, a newer one took its place, and the newer one's pipeline tells how that ends", w.State.Name, w.elapsed(), reason)
	case Failed, Stopped, Rejected:
		for _, line := range w.State.Log {
			w.Log("log of the instance: %s", line)
		}
	default:
		w.Log("%s after %s%s; a state that this program does not know, waiting on", w.State.Name, w.elapsed(), reason)
	}
	return w.ended()
}

// ended says whether the wait is over, and returns an error when it ended badly.
func (w *Wait) ended() (bool, error) {
	over, well := w.State.Ended()
	if w.UntilTraffic && w.State.TrafficMoved && !over {
		w.Log("the new instances have the traffic, which is what was waited for; %s", w.whatGoesOn())
		return true, nil
	}
	if !over || well {
		return over, nil
	}
	reason := w.State.Reason
	if reason == "" {
		reason = "no reason was given"
	}
	if w.State.Name == Rejected {
		return true, fmt.Errorf("%s after %s, nothing is deployed: %s", Rejected, w.elapsed(), reason)
	}
	deployment := ""
	if w.State.DeploymentID != "" {
		deployment = ", deployment " + w.State.DeploymentID
	}
	return true, fmt.Errorf("%s after %s%s: %s", w.State.Name, w.elapsed(), deployment, reason)
}

func (w *Wait) timedOut() error {
	var advice string
	switch w.State.Name {
	case "":
		advice = "Nothing has taken the upload up: account B's operators see why in the trigger's log and in its queue"
	case Waiting:
		advice = "It is deployed as soon as its group is free"
	default:
		advice = "See where it stands " + w.whereToSee()
	}
	trouble := ""
	if w.trouble != "" {
		trouble = " (the last look failed: " + w.trouble + ")"
	}
	return &TimeoutError{fmt.Sprintf("timed out after %s %s; %s. %s. To wait longer, raise --timeout or DEPLOY_TIMEOUT, and the job's timeout. "+
		"Running the job again uploads and deploys again%s", w.elapsed(), w.standing(), w.whatGoesOn(), advice, trouble)}
}

// interrupted tells what a signal ended, such as a cancelled job's.
func (w *Wait) interrupted(ctx context.Context) error {
	return &interruptedError{fmt.Sprintf("interrupted after %s %s; %s", w.elapsed(), w.standing(), w.whatGoesOn()), context.Cause(ctx)}
}

type interruptedError struct {
	message string
	cause   error
}

func (e *interruptedError) Error() string { return e.message }
func (e *interruptedError) Unwrap() error { return e.cause }

// elapsed is the time since the upload.
func (w *Wait) elapsed() string {
	seconds := int(time.Since(w.Since).Seconds())
	return fmt.Sprintf("%dm%02ds", seconds/60, seconds%60)
}

// standing is the last state.
func (w *Wait) standing() string {
	switch {
	case w.State.Name == "":
		return "without a state"
	case w.State.Reason != "":
		return fmt.Sprintf("in state %s (%s)", w.State.Name, w.State.Reason)
	}
	return "in state " + w.State.Name
}

// whatGoesOn is what no end of this program stops.
func (w *Wait) whatGoesOn() string {
	if w.State.DeploymentID != "" {
		return "deployment " + w.State.DeploymentID + " goes on"
	}
	return "the upload stays, and may still be deployed"
}

var regionPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)

// whereToSee tells the page of the deployment. It belongs to account B: the
// reader must be signed in there.
func (w *Wait) whereToSee() string {
	const console = "in account B's CodeDeploy console"
	if w.State.DeploymentID == "" || !regionPattern.MatchString(w.Region) {
		return console
	}
	return fmt.Sprintf("%s: https://%s.console.aws.amazon.com/codesuite/codedeploy/deployments/%s?region=%[2]s", console, w.Region, w.State.DeploymentID)
}
