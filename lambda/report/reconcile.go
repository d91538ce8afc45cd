package report

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/lambda/deploy"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/metadata"
	"gitlab-codedeploy/lambda/internal/metric"
	"gitlab-codedeploy/lambda/internal/object"
	"gitlab-codedeploy/lambda/internal/status"
)

const (
	// batchGet is the most deployments that one BatchGetDeployments takes.
	// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_BatchGetDeployments.html
	batchGet = 25
	// maxPeeks bounds how many times dead letters are taken, ten at a time.
	maxPeeks = 20
	// mostMarked bounds the versions of a group that are marked in one go.
	mostMarked = 20
	// reserve of the invocation's time, in which no further group is begun.
	reserve = 10 * time.Second
	// forgotten is after how long a deployment that CodeDeploy does not have
	// counts as failed: its application was deleted.
	forgotten = time.Hour
)

// Reconcile looks at what is unfinished: at the deployments of each group's
// record, at uploads whose turn it is, and at dead letters. What it finds to be
// otherwise than it was told, it tells.
//
// With 1,000 groups and a run each five minutes that is at least 12 lists, and 12
// looks at the dead letters, an hour. A record in which nothing is unfinished is
// read when it has changed, and when the function is new; each other record
// costs two calls a run, and one more while it has an attempt.
func (r *Reporter) Reconcile(ctx context.Context) error {
	var (
		errs  []error
		tally tally
		mu    sync.Mutex
		work  sync.WaitGroup
		free  = make(chan struct{}, cmp.Or(r.AtOnce, 8))
	)
	begin := r.begin()
	err := r.list(ctx, begin, func(key, etag string) bool {
		if late(ctx) {
			r.goOnAfter(key)
			return false
		}
		if r.isCalm(key, etag) {
			return true
		}
		free <- struct{}{}
		work.Go(func() {
			defer func() { <-free }()
			counted, err := r.group(ctx, key)
			mu.Lock()
			defer mu.Unlock()
			tally.add(counted)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", clip.Line(key, 300), err))
			}
		})
		return true
	})
	work.Wait()
	given, letters := r.giveUp(ctx)
	r.count(tally, given)
	r.Log.InfoContext(ctx, "reconciled", "states", tally.states, "again", tally.again, "givenUp", given)
	return errors.Join(append(errs, err, letters)...)
}

// tally counts what one run did.
type tally struct{ states, again int }

func (t *tally) add(other tally) { t.states, t.again = t.states+other.states, t.again+other.again }

func (r *Reporter) count(t tally, givenUp int) {
	var values []metric.Value
	for name, n := range map[string]int{"StatesReconciled": t.states, "UploadsGivenUp": givenUp} {
		if n > 0 {
			values = append(values, metric.Value{Name: name, Unit: metric.Count, Value: float64(n)})
		}
	}
	slices.SortFunc(values, func(a, b metric.Value) int { return strings.Compare(a.Name, b.Name) })
	r.Metrics.Write(values, nil)
}

func late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < reserve
}

// list names every record, those after begin first, and the others after them,
// until each has had enough.
func (r *Reporter) list(ctx context.Context, begin string, each func(key, etag string) bool) error {
	for o, err := range r.records(ctx, begin) {
		if err != nil || !each(aws.ToString(o.Key), aws.ToString(o.ETag)) {
			return err
		}
	}
	if begin == "" {
		return nil
	}
	for o, err := range r.records(ctx, "") {
		if err != nil || aws.ToString(o.Key) > begin || !each(aws.ToString(o.Key), aws.ToString(o.ETag)) {
			return err
		}
	}
	return nil
}

// records are those after a key; an error is the last.
func (r *Reporter) records(ctx context.Context, after string) iter.Seq2[s3types.Object, error] {
	return func(yield func(s3types.Object, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &r.Bucket, Prefix: aws.String(group.Prefix)}
		if after != "" {
			in.StartAfter = &after
		}
		for pages := s3.NewListObjectsV2Paginator(r.Objects, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(s3types.Object{}, fmt.Errorf("list the groups' records: %w", err))
				return
			}
			for _, o := range page.Contents {
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

func (r *Reporter) begin() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	begin := r.from
	r.from = ""
	return begin
}

// goOnAfter makes the next run begin with the group that this one came to last.
func (r *Reporter) goOnAfter(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from = key[:len(key)-1] // just before it
}

func (r *Reporter) isCalm(key, etag string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return etag != "" && r.calm[key] == etag
}

func (r *Reporter) setCalm(key, etag string, calm bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calm == nil {
		r.calm = map[string]string{}
	}
	if delete(r.calm, key); calm {
		r.calm[key] = etag
	}
}

// group reconciles one group.
func (r *Reporter) group(ctx context.Context, key string) (t tally, err error) {
	record, err := r.Records.LoadKey(ctx, key)
	if err != nil || !record.Exists() {
		return t, err
	}
	now := r.Records.Time()
	known, err := record.Copy()
	if err != nil {
		return t, err
	}
	// The trigger tells the job of a deployment, and leaves the record to us.
	made, err := known.Attempted(ctx, r.Statuses, now)
	if err != nil {
		return t, err
	}
	if made != nil {
		known.Heard(*made)
	}
	var unfinished []group.Deployment
	for _, d := range known.Deployments {
		if d.Unfinished(now) {
			unfinished = append(unfinished, d)
		}
	}
	heard, told, err := r.ask(ctx, unfinished, now)
	t.states = told
	if err != nil {
		return t, err
	}
	ended, err := r.tellEnds(ctx, record)
	if err != nil {
		return t, err
	}
	marked, err := r.mark(ctx, record.Pair(), record.Expired)
	if err != nil {
		return t, err
	}
	err = record.Change(ctx, func(known *group.Record) {
		if made != nil {
			known.Heard(*made)
		}
		for _, d := range heard {
			known.HeardBeside(d)
		}
		for i := range known.Ended {
			known.Ended[i].Told = known.Ended[i].Told || slices.ContainsFunc(ended, known.Ended[i].Same)
		}
		known.Expired = slices.DeleteFunc(known.Expired, func(u group.Upload) bool { return slices.ContainsFunc(marked, u.Same) })
	})
	if err != nil {
		return t, err
	}
	for _, u := range append(r.turn(&record.Record, now), record.Noted...) {
		t.again++
		if err := r.again(ctx, record.Pair(), u); err != nil {
			return t, err
		}
	}
	r.setCalm(key, record.ETag(), r.settled(&record.Record, now))
	return t, err
}

// settled says whether nothing is to be done about a record until it changes.
func (r *Reporter) settled(record *group.Record, now time.Time) bool {
	return calm(record, now) && (record.Parked == nil || r.listed(record))
}

// calm says whether nothing of a record is unfinished. What waits until the group is
// resumed is not: then the record changes.
func calm(r *group.Record, now time.Time) bool {
	return r.Waiting == nil && r.Attempt == nil && len(r.Expired) == 0 && len(r.Noted) == 0 &&
		!slices.ContainsFunc(r.Ended, func(e group.End) bool { return !e.Told }) &&
		!slices.ContainsFunc(r.Deployments, func(d group.Deployment) bool { return d.Unfinished(now) })
}

func (r *Reporter) listed(record *group.Record) bool {
	return r.Allowed == nil || r.Allowed.Has(allowlist.Pair{Application: record.Application, DeploymentGroup: record.DeploymentGroup})
}

// turn returns the uploads whose turn it is, as far as the record tells: whatever became
// of their messages.
func (r *Reporter) turn(record *group.Record, now time.Time) []group.Upload {
	busy := slices.ContainsFunc(record.Deployments, func(d group.Deployment) bool { return !d.State.Final() })
	listed := r.listed(record)
	switch {
	case record.Attempt != nil && now.Sub(record.Attempt.At) < deploy.Lease:
		return nil
	case record.Attempt != nil && record.Waiting != nil:
		// Who attempted may have been told an end, and does nothing any more: then who
		// waits takes the place.
		return []group.Upload{record.Attempt.Upload, *record.Waiting}
	case record.Attempt != nil:
		return []group.Upload{record.Attempt.Upload}
	case record.Waiting != nil && (!busy || !listed): // What is not on the list any more has to be told.
		return []group.Upload{*record.Waiting}
	case record.Parked != nil && !listed:
		return []group.Upload{*record.Parked}
	}
	return nil
}

// ask asks CodeDeploy how deployments are, and tells their uploads. It returns
// what was heard, and how many were told anything new.
func (r *Reporter) ask(ctx context.Context, unfinished []group.Deployment, now time.Time) (heard []group.Deployment, told int, err error) {
	for chunk := range slices.Chunk(unfinished, batchGet) {
		var ids []string
		for _, d := range chunk {
			ids = append(ids, d.DeploymentID)
		}
		out, err := r.Deployments.BatchGetDeployments(ctx, &codedeploy.BatchGetDeploymentsInput{DeploymentIds: ids})
		if err != nil {
			return heard, told, fmt.Errorf("read deployments: %w", err)
		}
		for _, d := range chunk {
			i := slices.IndexFunc(out.DeploymentsInfo, func(info types.DeploymentInfo) bool { return aws.ToString(info.DeploymentId) == d.DeploymentID })
			var state status.Status
			switch {
			case i >= 0:
				state = status.OfDeployment(&out.DeploymentsInfo[i], "")
				r.explain(ctx, &state)
			case !d.State.Final() && now.Sub(d.SeenAt) > forgotten:
				state = status.Status{State: status.Failed, DeploymentID: d.DeploymentID, Reason: "CodeDeploy does not have the deployment any more: its application or group was deleted"}
			default:
				continue
			}
			changed, err := r.tellUpload(ctx, d, state)
			if err != nil {
				return heard, told, err
			}
			if changed {
				told++
			}
			d.State, d.Reason, d.SeenAt = state.State, clip.Line(state.Reason, 200), now
			d.Told = state.State.Final()
			if !state.State.Final() {
				d.Reason = ""
			}
			heard = append(heard, d)
		}
	}
	return heard, told, nil
}

// tellUpload tells an upload how its deployment is, and returns whether that was
// another state than it had.
func (r *Reporter) tellUpload(ctx context.Context, d group.Deployment, state status.Status) (changed bool, err error) {
	entry := d.Upload.Entry(r.Statuses)
	if err := entry.Load(ctx); err != nil {
		return false, err
	}
	before := entry.Status
	state.Deployer, state.Order = d.By, d.Order.Order
	if err := entry.Merge(ctx, state); err != nil {
		return false, err
	}
	return before.State != entry.State, nil
}

// tellEnds tells uploads how they ended: whoever decided it may have died since.
func (r *Reporter) tellEnds(ctx context.Context, record *group.Entry) (told []group.Upload, err error) {
	for _, e := range record.Ended {
		if e.Told {
			continue
		}
		entry := e.Upload.Entry(r.Statuses)
		if err := entry.Load(ctx); err != nil {
			return told, err
		}
		if err := entry.Merge(ctx, status.Status{
			State: e.State, Reason: e.Reason, Application: record.Application, DeploymentGroup: record.DeploymentGroup, Deployer: e.By, Order: e.Order.Order,
		}); err != nil {
			return told, err
		}
		if entry.DeploymentID == "" {
			if err := r.Marker.Expire(ctx, e.Upload); err != nil {
				return told, err
			}
		}
		told = append(told, e.Upload)
	}
	return told, nil
}

// mark marks versions that the group does not want any more, unless another group
// of the application was given one: then it is that one's to mark later. Others are
// looked at after the group has let go, and a promotion looks at this group once
// another one has it: so one of both sees the other.
func (r *Reporter) mark(ctx context.Context, pair allowlist.Pair, expired []group.Upload) (marked []group.Upload, err error) {
	if len(expired) == 0 {
		return nil, nil
	}
	others, err := r.others(ctx, pair)
	if err != nil {
		return nil, err
	}
	for _, u := range expired[:min(len(expired), mostMarked)] {
		if slices.ContainsFunc(others, func(other *group.Entry) bool { return other.Holds(u) }) {
			marked = append(marked, u)
			continue
		}
		if err := r.Marker.Expire(ctx, u); err != nil {
			return marked, err
		}
		marked = append(marked, u)
	}
	return marked, nil
}

// others reads the records of the application's other groups.
func (r *Reporter) others(ctx context.Context, pair allowlist.Pair) (others []*group.Entry, err error) {
	own := group.Key(pair)
	in := &s3.ListObjectsV2Input{Bucket: &r.Bucket, Prefix: aws.String(own[:strings.LastIndex(own, "/")+1])}
	for pages := s3.NewListObjectsV2Paginator(r.Objects, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the application's records: %w", err)
		}
		for _, o := range page.Contents {
			if key := aws.ToString(o.Key); key != own {
				other, err := r.Records.LoadKey(ctx, key)
				if err != nil {
					return nil, err
				}
				others = append(others, other)
			}
		}
	}
	return others, nil
}

// giveUp looks into the dead letters of the trigger: whoever still waits for one
// of them is told that he waits in vain. The letters stay where they are.
func (r *Reporter) giveUp(ctx context.Context) (given int, err error) {
	if r.DeadLetters == "" {
		return 0, nil
	}
	for range maxPeeks {
		messages, err := r.receive(ctx, r.DeadLetters)
		if err != nil || len(messages) == 0 {
			return given, err
		}
		for _, m := range messages {
			for _, u := range deploy.Uploads(aws.ToString(m.Body), r.Bucket, r.Prefix) {
				gave, err := r.giveUpUpload(ctx, u)
				if err != nil {
					return given, err
				}
				if gave {
					given++
				}
			}
		}
		if late(ctx) {
			break
		}
	}
	return given, nil
}

// peekSeconds is for how long a dead letter that was looked at is hidden, so
// that the next look finds others.
const peekSeconds = 30

// askAllSeconds makes SQS ask all of its servers: without a wait it asks some of
// them, and an answer without messages does not mean that there are none.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
const askAllSeconds = 1

func (r *Reporter) receive(ctx context.Context, queue string) ([]sqstypes.Message, error) {
	out, err := r.Queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &queue, MaxNumberOfMessages: 10, VisibilityTimeout: peekSeconds, WaitTimeSeconds: askAllSeconds,
	})
	if err != nil {
		return nil, fmt.Errorf("look into the dead letters: %w", err)
	}
	return out.Messages, nil
}

// giveUpUpload gives an upload up that a dead letter is about.
func (r *Reporter) giveUpUpload(ctx context.Context, u deploy.Upload) (bool, error) {
	if u.VersionID == "" {
		return false, nil // Nobody knows which version it is about.
	}
	about := r.upload
	if u.IsOrder() {
		about = r.order
	}
	request, entry, since, gone, err := about(ctx, u)
	if err != nil {
		return false, err
	}
	if err := entry.Load(ctx); err != nil {
		return false, err
	}
	switch {
	case entry.Ended() && entry.DeploymentID == "":
		return false, r.Marker.Expire(ctx, u.Upload) // Perhaps that is what failed.
	case entry.Settled(), entry.GivenUp:
		return false, nil
	}
	if gone && u.Known.Application == "" && entry.State == "" {
		// The trigger would say the same, and a redrive would cure nothing.
		return false, entry.Merge(ctx, status.Status{State: status.Rejected, Reason: deploy.ReasonGone})
	}
	known := status.Status{
		State: status.Rejected, GivenUp: true, Application: clip.Line(request.Application, 100), DeploymentGroup: clip.Line(request.DeploymentGroup, 100),
		Reason: fmt.Sprintf("given up after %s: an operator has to redrive it", r.Records.Time().Sub(since).Round(time.Minute)),
	}
	if request.Application != "" && request.DeploymentGroup != "" {
		record, err := r.Records.Load(ctx, request.Pair)
		if err != nil {
			return false, err
		}
		end, deployment := record.End(u.Upload), record.Deployment(u.Upload)
		switch {
		case end != nil:
			known.State, known.Reason, known.GivenUp = end.State, end.Reason, false
		case deployment != nil:
			known.State, known.Reason, known.GivenUp, known.DeploymentID = deployment.State, deployment.Reason, false, deployment.DeploymentID
		case record.Attempt != nil && record.Attempt.Same(u.Upload):
			return false, nil // What comes of it is found out by another message.
		case record.Parked != nil && record.Parked.Same(u.Upload):
			return false, nil // It needs none.
		case record.Waiting != nil && record.Waiting.Same(u.Upload):
			if err := record.Change(ctx, func(r *group.Record) {
				if r.Waiting != nil && r.Waiting.Same(u.Upload) && (r.Attempt == nil || !r.Attempt.Same(u.Upload)) {
					r.Waiting = nil
				}
			}); err != nil {
				return false, err
			}
			if record.Attempt != nil && record.Attempt.Same(u.Upload) {
				return false, nil
			}
		}
	}
	err = entry.Change(ctx, func(seen status.Status) (status.Status, error) {
		if seen.Settled() || seen.GivenUp {
			return seen, nil
		}
		return known, nil
	})
	if err == nil && !entry.GivenUp && entry.DeploymentID == "" {
		err = r.Marker.Expire(ctx, u.Upload) // Its end was decided, and nobody told.
	}
	return err == nil && entry.GivenUp, err
}

// upload reads what a dead letter is about: whose it is, where its job looks, and
// since when it waits.
func (r *Reporter) upload(ctx context.Context, u deploy.Upload) (request metadata.Request, entry *status.Entry, since time.Time, gone bool, err error) {
	head, err := r.Objects.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &r.Bucket, Key: &u.Key, VersionId: &u.VersionID})
	if err != nil && object.Status(err) != 404 && object.Status(err) != 405 {
		return request, nil, since, false, fmt.Errorf("read the artifact's metadata: %w", err)
	}
	since, gone = u.Completed, err != nil
	if !gone {
		request, _ = metadata.Parse(head.Metadata)
		since = aws.ToTime(head.LastModified)
	}
	if u.Known.Application != "" {
		request.Pair, request.UploadID = u.Known.Pair, u.Known.UploadID
	}
	return request, r.Statuses.Entry(request.UploadID, u.Key, u.VersionID), since, gone, nil
}

// order is upload for an operator's order.
func (r *Reporter) order(ctx context.Context, u deploy.Upload) (request metadata.Request, entry *status.Entry, since time.Time, gone bool, err error) {
	orders := &deploy.Orders{Client: r.Records.Objects, Bucket: r.Bucket}
	read, since, fault, err := orders.Read(ctx, &u.Upload)
	if err != nil {
		return request, nil, since, false, err
	}
	if gone = fault != ""; gone {
		since = u.Completed
	}
	request.Pair, request.UploadID = allowlist.Pair{Application: read.Application, DeploymentGroup: read.DeploymentGroup}, order.ID(u.Key, u.VersionID)
	if u.Known.Application != "" {
		request.Pair = u.Known.Pair
	}
	u.ID = request.UploadID
	if read.Deploys() {
		u.Order = group.Order{Key: read.Key, VersionID: read.VersionID}
	} else if gone && request.Application != "" {
		record, err := r.Records.Load(ctx, request.Pair)
		if err != nil {
			return request, nil, since, gone, err
		}
		if known := record.Find(u.Upload); known != nil {
			u.Upload = *known
		}
	}
	return request, u.Upload.Entry(r.Statuses), since, gone, nil
}

// Redrive works off the function's own dead letters: events that it failed on.
func (r *Reporter) Redrive(ctx context.Context) (answer Answer, err error) {
	if r.OwnDeadLetters == "" {
		return answer, errors.New("redrive: OWN_DEAD_LETTER_QUEUE_URL is not set")
	}
	var errs []error
	for !late(ctx) {
		messages, err := r.receive(ctx, r.OwnDeadLetters)
		if err != nil {
			return answer, errors.Join(append(errs, err)...)
		}
		if len(messages) == 0 {
			break
		}
		for _, m := range messages {
			what, event, err := decodeEvent(json.RawMessage(aws.ToString(m.Body)))
			if err == nil && what == changed {
				if err := r.change(ctx, event); err != nil {
					answer.Left++
					continue // It was logged.
				}
			}
			if _, err := r.Queues.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &r.OwnDeadLetters, ReceiptHandle: m.ReceiptHandle}); err != nil {
				return answer, fmt.Errorf("delete a dead letter: %w", err)
			}
			answer.Events++
		}
	}
	return answer, errors.Join(errs...)
}
