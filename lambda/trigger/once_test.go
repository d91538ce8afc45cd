package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/origin"
	"gitlab-codedeploy/lambda/internal/status"
)

// message is one delivery of an event about testKey's version v1.
func message(id string, receive int) events.SQSEvent {
	batch := batchOf(body(s3Record(testBucket, testKey, "v1")))
	batch.Records[0].MessageId = id
	batch.Records[0].Attributes["ApproximateReceiveCount"] = fmt.Sprint(receive)
	return batch
}

// deploymentOf is a deployment of an upload, as the trigger makes it.
func deploymentOf(key, version string, uploaded time.Time) types.DeploymentInfo {
	return types.DeploymentInfo{
		Creator:     types.DeploymentCreatorUser,
		Status:      types.DeploymentStatusInProgress,
		Description: aws.String(origin.Origin{UploadID: "other", Uploaded: uploaded}.Description()),
		Revision: &types.RevisionLocation{
			RevisionType: types.RevisionLocationTypeS3,
			S3Location:   &types.S3Location{Bucket: aws.String(testBucket), Key: &key, Version: &version},
		},
	}
}

// deployed puts deployments into the world.
func (w *world) deployed(infos map[string]types.DeploymentInfo) {
	w.deployments = map[string]types.DeploymentInfo{}
	for id, info := range infos {
		info.DeploymentId = &id
		w.deployments[id] = info
	}
}

// remember makes CreateDeployment leave a deployment behind.
func (w *world) remember() {
	w.create = func(_ context.Context, in *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
		id := fmt.Sprintf("d-%d", len(w.creates))
		if w.deployments == nil {
			w.deployments = map[string]types.DeploymentInfo{}
		}
		w.deployments[id] = types.DeploymentInfo{
			DeploymentId: &id, Creator: types.DeploymentCreatorUser, Status: types.DeploymentStatusCreated,
			Description: in.Description, Revision: in.Revision,
		}
		return &codedeploy.CreateDeploymentOutput{DeploymentId: &id}, nil
	}
}

func TestS14_ADeploymentIsFiveCallsAndToldToTheJob(t *testing.T) {
	w := &world{}
	h := w.handler()
	require.NoError(t, h.Trigger.Groups.Check(t.Context(), testPair)) // asked before, by another upload
	w.calls = nil
	require.Empty(t, handle(t, t.Context(), h, message("m1", 1)))
	assert.Equal(t, []string{"HeadObject", "PutObject", "ListDeployments", "CreateDeployment", "PutObject"}, w.calls)

	got := w.status(t, "artifact")
	assert.WithinDuration(t, time.Now(), got.UpdatedAt, time.Minute)
	got.UpdatedAt = time.Time{}
	assert.Equal(t, status.Status{
		UploadID: "artifact", State: status.Created, DeploymentID: "d-TEST00001",
		Application: "web", DeploymentGroup: "web-blue-green", Key: testKey, VersionID: "v1",
	}, got)
}

func TestS14_TheSameEventAgainDeploysNothing(t *testing.T) {
	w := &world{}
	h := w.handler()
	for _, m := range []events.SQSEvent{message("m1", 1), message("m2", 1), message("m1", 2), message("m3", 7)} {
		assert.Empty(t, handle(t, t.Context(), h, m))
	}
	assert.Len(t, w.creates, 1)
	for _, line := range w.logged(t)[1:] {
		assert.Equal(t, "repeated", line["msg"])
		assert.Equal(t, "d-TEST00001", line["deploymentId"])
	}
}

func TestS14_AnotherMessageOfTheSameUploadWaitsForTheFirst(t *testing.T) {
	now := testTime
	w := &world{now: func() time.Time { return now }}
	w.remember()
	create := w.create
	w.create = func(ctx context.Context, in *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
		// While the first message is being worked on:
		assert.Equal(t, []string{"m2"}, handle(t, ctx, w.handler(), message("m2", 1)))
		return create(ctx, in)
	}
	assert.Empty(t, handle(t, t.Context(), w.handler(), message("m1", 1)))
	assert.Empty(t, handle(t, t.Context(), w.handler(), message("m2", 2)), "it finds the deployment")
	assert.Len(t, w.creates, 1)
}

func TestS14_AClaimIsRespectedUntilItsOwnerIsGone(t *testing.T) {
	owner := status.Claim{Message: "m1", Receive: 3, Request: "r1"}
	for name, tt := range map[string]struct {
		mine status.Claim
		age  time.Duration
		held bool
	}{
		"another message":               {status.Claim{Message: "m2", Receive: 9, Request: "r2"}, time.Minute - time.Millisecond, true},
		"another message, old":          {status.Claim{Message: "m2", Receive: 1, Request: "r2"}, time.Minute, false},
		"the same message, again":       {status.Claim{Message: "m1", Receive: 4, Request: "r2"}, 0, false},
		"the same message, redriven":    {status.Claim{Message: "m1", Receive: 1, Request: "r2"}, 0, false},
		"the same receive, elsewhere":   {status.Claim{Message: "m1", Receive: 3, Request: "r2"}, 0, true},
		"the owner's own, answer lost":  {owner, 0, false},
		"the owner's own, answer late":  {owner, time.Hour, false},
		"another message of the future": {status.Claim{Message: "m2", Receive: 1, Request: "r2"}, -time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			now := testTime
			w := &world{now: func() time.Time { return now }}
			h := w.handler()
			entry := h.Trigger.Statuses.Entry("artifact", testKey, "v1")
			require.NoError(t, entry.Merge(t.Context(), status.Status{State: status.Waiting, Claim: owner}))
			now = now.Add(tt.age)
			u := Upload{Bucket: testBucket, Key: testKey, VersionID: "v1", Claim: tt.mine}
			err := h.Trigger.Start(t.Context(), &u)
			if tt.held {
				require.ErrorIs(t, err, ErrWaiting)
				assert.Empty(t, w.creates)
				assert.Equal(t, owner, w.status(t, "artifact").Claim, "the claim is untouched")
				return
			}
			require.NoError(t, err)
			assert.Len(t, w.creates, 1)
		})
	}
}

func TestS14_AnInvocationIsToldFromAnother(t *testing.T) {
	w := &world{}
	invocation := func(request string) context.Context {
		return lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: request})
	}
	w.create = func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
		// The queue hands the message out twice, and counts it once.
		assert.Equal(t, []string{"m1"}, handle(t, invocation("r2"), w.handler(), message("m1", 1)))
		return &codedeploy.CreateDeploymentOutput{DeploymentId: aws.String("d-1")}, nil
	}
	assert.Empty(t, handle(t, invocation("r1"), w.handler(), message("m1", 1)))
	assert.Len(t, w.creates, 1)
}

func TestS14_ADeploymentThatWasMadeBeforeIsFound(t *testing.T) {
	own := deploymentOf(testKey, "v1", testTime)
	with := func(change func(*types.DeploymentInfo)) types.DeploymentInfo {
		info := own
		change(&info)
		return info
	}
	for name, tt := range map[string]struct {
		info types.DeploymentInfo
		want status.State // "" means that a new one is made
	}{
		"running":      {own, status.InProgress},
		"not begun":    {with(func(i *types.DeploymentInfo) { i.Status = types.DeploymentStatusQueued }), status.Created},
		"over":         {with(func(i *types.DeploymentInfo) { i.Status = types.DeploymentStatusSucceeded }), status.Succeeded},
		"made by hand": {with(func(i *types.DeploymentInfo) { i.Description = nil }), status.InProgress},
		"failed, rolled back": {with(func(i *types.DeploymentInfo) {
			i.Status, i.RollbackInfo = "Failed", &types.RollbackInfo{RollbackDeploymentId: aws.String("d-9")}
		}), status.Failed},
		"a rollback to it": {with(func(i *types.DeploymentInfo) { i.Creator = types.DeploymentCreatorCodeDeployRollback }), ""},
		"a new instance":   {with(func(i *types.DeploymentInfo) { i.Creator = types.DeploymentCreatorAutoscaling }), ""},
		"another version":  {deploymentOf(testKey, "v0", testTime.Add(-time.Second)), ""},
		"another key":      {deploymentOf("artifacts/other.gz", "v1", testTime.Add(-time.Second)), ""},
		"another bucket": {with(func(i *types.DeploymentInfo) {
			i.Revision = &types.RevisionLocation{S3Location: &types.S3Location{Bucket: aws.String("b"), Key: aws.String(testKey), Version: aws.String("v1")}}
		}), ""},
		"from GitHub": {with(func(i *types.DeploymentInfo) { i.Revision = &types.RevisionLocation{} }), ""},
		"no revision": {with(func(i *types.DeploymentInfo) { i.Revision = nil }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.deployed(map[string]types.DeploymentInfo{"d-1": tt.info})
			assert.Empty(t, handle(t, t.Context(), w.handler(), message("m1", 1)))
			got := w.status(t, "artifact")
			if tt.want == "" {
				assert.Len(t, w.creates, 1)
				assert.Equal(t, status.Created, got.State)
				return
			}
			assert.Empty(t, w.creates)
			assert.Equal(t, tt.want, got.State)
			assert.Equal(t, "d-1", got.DeploymentID)
			assert.Empty(t, w.metrics.String(), "it was counted when it was made")
		})
	}
}

func TestS14_OfTwoDeploymentsOfAnUploadTheFirstIsItsOwn(t *testing.T) {
	for _, first := range []string{"d-1", "d-2"} { // CodeDeploy promises no order
		w := &world{}
		infos := map[string]types.DeploymentInfo{}
		for _, id := range []string{"d-1", "d-2"} {
			info := deploymentOf(testKey, "v1", testTime)
			info.CreateTime = aws.Time(testTime.Add(time.Minute))
			if id == first {
				info.CreateTime = aws.Time(testTime)
			}
			infos[id] = info
		}
		w.deployed(infos)
		assert.Empty(t, handle(t, t.Context(), w.handler(), message("m1", 1)))
		assert.Equal(t, first, w.status(t, "artifact").DeploymentID)
	}
}

func TestS14_TheNewestUploadOfAGroupWins(t *testing.T) {
	const reason = "the group was given a newer artifact before, by deployment d-1"
	for name, tt := range map[string]struct {
		info       types.DeploymentInfo
		superseded bool
	}{
		"an older one from another key":          {deploymentOf("artifacts/z.gz", "w", testTime.Add(-time.Second)), false},
		"a newer one from another key":           {deploymentOf("artifacts/a.gz", "w", testTime.Add(time.Second)), true},
		"the same second, before":                {deploymentOf("artifacts/z.gz", "w", testTime.Add(3*time.Millisecond)), false},
		"the same second, behind":                {deploymentOf("artifacts/a.gz", "w", testTime.Add(5*time.Millisecond)), true},
		"the same time, a key before":            {deploymentOf("artifacts/a.gz", "w", eventTime), false},
		"the same time, a key behind":            {deploymentOf("artifacts/z.gz", "w", eventTime), true},
		"the same second, the same key":          {deploymentOf(testKey, "v0", testTime), false}, // S3 says that v1 is current
		"an older version":                       {deploymentOf(testKey, "v0", testTime.Add(-time.Second)), false},
		"a version that came since S3 was asked": {deploymentOf(testKey, "v2", testTime.Add(time.Second)), true},
		"a key outside the artifacts":            {deploymentOf("backups/z.gz", "w", testTime.Add(time.Second)), false},
		"a newer one, rolled back to by CodeDeploy": {func() types.DeploymentInfo {
			i := deploymentOf("artifacts/z.gz", "w", testTime.Add(time.Second))
			i.Creator = types.DeploymentCreatorCodeDeployRollback
			return i
		}(), false},
		"a newer one that failed": {func() types.DeploymentInfo {
			i := deploymentOf("artifacts/z.gz", "w", testTime.Add(time.Second))
			i.Status = types.DeploymentStatusFailed
			return i
		}(), true},
		"somebody's own, without a word about uploads": {func() types.DeploymentInfo {
			i := deploymentOf("artifacts/z.gz", "w", testTime)
			i.Description = aws.String("by hand")
			return i
		}(), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.deployed(map[string]types.DeploymentInfo{"d-1": tt.info})
			assert.Empty(t, handle(t, t.Context(), w.handler(), message("m1", 1)))
			got := w.status(t, "artifact")
			if !tt.superseded {
				assert.Len(t, w.creates, 1)
				return
			}
			assert.Empty(t, w.creates)
			assert.Equal(t, status.Superseded, got.State)
			assert.Equal(t, reason, got.Reason)
			assert.Equal(t, "superseded", w.logged(t)[0]["msg"])
		})
	}
}

// versions makes HeadObject know the versions of testKey; current is "" when
// the key is deleted.
func (w *world) versions(current string, all ...string) {
	w.head = func(_ context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		version := aws.ToString(in.VersionId)
		if version == "" {
			version = current
		}
		if !slices.Contains(all, version) {
			return nil, httpError(404)
		}
		head := headOf(goodMetadata(testKey))
		head.VersionId = &version
		return head, nil
	}
}

func TestS14_AVersionThatIsNotTheCurrentOneIsNeverDeployed(t *testing.T) {
	for name, tt := range map[string]struct {
		event, current string
		all            []string
		id             string // of the status
		want           status.State
		reason         string
	}{
		"current":                      {"v1", "v1", []string{"v1", "v0"}, "artifact", status.Created, ""},
		"not said":                     {"", "v2", []string{"v2"}, "artifact", status.Created, ""},
		"overtaken":                    {"v1", "v2", []string{"v1", "v2"}, "artifact", status.Superseded, "a newer artifact was uploaded to the same key"},
		"overtaken and cleaned up":     {"v1", "v2", []string{"v2"}, "v1", status.Rejected, "the object, or this version of it, is gone"},
		"deleted":                      {"v1", "", []string{"v1"}, "artifact", status.Rejected, "the object was deleted before it could be deployed"},
		"deleted for good":             {"v1", "", nil, "v1", status.Rejected, "is gone"},
		"version that forges no path":  {"../v", "", nil, "", status.Rejected, "is gone"},
		"not said, and deleted by now": {"", "", nil, "none", status.Rejected, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.versions(tt.current, tt.all...)
			batch := batchOf(body(s3Record(testBucket, testKey, tt.event)))
			assert.Empty(t, handle(t, t.Context(), w.handler(), batch))
			if tt.want != status.Created {
				assert.Empty(t, w.creates)
			}
			switch tt.id {
			case "none":
				assert.Empty(t, w.objects, "there is no version to tell about")
			case "":
				key := slices.Collect(maps.Keys(w.objects))[0]
				assert.Regexp(t, `^deployments/sha256\.[0-9a-f]{64}\.json$`, key)
			default:
				got := w.status(t, tt.id)
				assert.Equal(t, tt.want, got.State)
				assert.Contains(t, got.Reason, tt.reason)
			}
		})
	}
}

func TestS14_AVersionDeployedWithinTheSameSecondIsSettledByS3(t *testing.T) {
	for _, current := range []string{"v2", ""} { // overtaken, deleted
		w := &world{}
		w.versions("v1", "v1", "v2")
		w.deployed(map[string]types.DeploymentInfo{"d-2": deploymentOf(testKey, "v2", testTime)})
		w.list = func(context.Context, *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
			w.versions(current, "v1", "v2") // after v1 was found to be current
			return &codedeploy.ListDeploymentsOutput{Deployments: []string{"d-2"}}, nil
		}
		assert.Empty(t, handle(t, t.Context(), w.handler(), message("m1", 1)))
		assert.Empty(t, w.creates)
		assert.Equal(t, status.Superseded, w.status(t, "artifact").State)
	}
}

func TestS14_AnUploadThatWasDeployedIsNotSupersededLater(t *testing.T) {
	w := &world{}
	w.versions("v1", "v1")
	w.remember()
	w.put = func(in *s3.PutObjectInput) error {
		if w.puts == 2 {
			return errors.New("connection reset") // instead of "Created"
		}
		return nil
	}
	h := w.handler()
	require.Equal(t, []string{"m1"}, handle(t, t.Context(), h, message("m1", 1)))
	assert.Contains(t, w.metrics.String(), `"DeploymentsStarted":1`, "it was started, whatever came of its status")

	w.versions("v2", "v1", "v2")
	require.Empty(t, handle(t, t.Context(), h, message("m1", 2)))
	got := w.status(t, "artifact")
	assert.Equal(t, status.Created, got.State)
	assert.Equal(t, "d-1", got.DeploymentID)
	assert.Len(t, w.creates, 1)
}

func TestS14_TheGroupsDeploymentsAreReadInPagesOf25(t *testing.T) {
	w := &world{}
	infos := map[string]types.DeploymentInfo{}
	var ids []string
	for i := range 130 {
		id := fmt.Sprintf("d-%03d", i)
		ids = append(ids, id)
		infos[id] = deploymentOf("artifacts/a.gz", id, testTime.Add(-time.Second))
	}
	infos["d-129"] = deploymentOf(testKey, "v1", testTime)
	w.deployed(infos)
	w.list = func(_ context.Context, in *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
		if aws.ToString(in.NextToken) == "" {
			return &codedeploy.ListDeploymentsOutput{Deployments: ids[:100], NextToken: aws.String("more")}, nil
		}
		assert.Equal(t, "more", *in.NextToken)
		return &codedeploy.ListDeploymentsOutput{Deployments: ids[100:]}, nil
	}
	assert.Empty(t, handle(t, t.Context(), w.handler(), message("m1", 1)))
	assert.Empty(t, w.creates)
	assert.Equal(t, "d-129", w.status(t, "artifact").DeploymentID)
	require.Len(t, w.lists, 2)
	assert.Equal(t, eventTime.Add(-time.Minute), *w.lists[0].CreateTimeRange.Start)
	var sizes []int
	for _, b := range w.batches {
		sizes = append(sizes, len(b.DeploymentIds))
	}
	assert.Equal(t, []int{25, 25, 25, 25, 25, 5}, sizes)
}

func TestS14_ADeploymentThatCannotBeReadMayBeTheUploadsOwn(t *testing.T) {
	w := &world{}
	w.list = func(context.Context, *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
		return &codedeploy.ListDeploymentsOutput{Deployments: []string{"d-missing"}}, nil
	}
	assert.Equal(t, []string{"m1"}, handle(t, t.Context(), w.handler(), message("m1", 1)))
	assert.Empty(t, w.creates)
}

func TestS14_AnOldLookAtTheGroupIsRepeatedBeforeItIsBelieved(t *testing.T) {
	for name, tt := range map[string]struct {
		slow    int // so many looks take 2 s
		creates int
	}{"never slow": {0, 1}, "slow twice": {2, 1}, "always slow": {9, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				w.list = func(context.Context, *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
					if len(w.lists) <= tt.slow {
						time.Sleep(2 * time.Second)
					}
					return &codedeploy.ListDeploymentsOutput{}, nil
				}
				failed := handle(t, t.Context(), w.handler(), message("m1", 1))
				assert.Len(t, failed, 1-tt.creates)
				assert.Len(t, w.creates, tt.creates)
				assert.Len(t, w.lists, min(tt.slow+1, 3))
			})
		})
	}
}

// The process dies before, or after, any one of its calls, again and again on
// the following tries, and the message comes again: in the end there is one
// deployment, and the status tells of it.
func TestS14_ADeathBetweenAnyTwoCallsEndsRight(t *testing.T) {
	type death struct {
		call  int
		after bool // after the call's effect
	}
	run := func(t *testing.T, deaths []death) (calls []int) {
		w := &world{}
		w.remember()
		mortal := &mortal{world: w}
		for receive := 1; receive <= len(deaths)+1; receive++ {
			mortal.dieAt, mortal.after, mortal.count = 0, false, 0
			if receive <= len(deaths) {
				mortal.dieAt, mortal.after = deaths[receive-1].call, deaths[receive-1].after
			}
			died := mortal.try(t, message("m1", receive))
			calls = append(calls, mortal.count)
			assert.Equal(t, mortal.dieAt > 0 && mortal.count >= mortal.dieAt, died)
		}
		got := w.status(t, "artifact")
		assert.Len(t, w.creates, 1, "%v: one deployment", deaths)
		assert.Equal(t, status.Created, got.State, "%v", deaths)
		assert.Equal(t, "d-1", got.DeploymentID, "%v", deaths)
		return calls
	}
	most := run(t, nil)[0]
	require.Equal(t, 6, most)
	runs := 0
	for first := 1; first <= most; first++ {
		for second := 1; second <= most+1; second++ {
			for _, after := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
				run(t, []death{{first, after[0]}, {second, after[1]}})
				runs++
			}
		}
	}
	assert.Equal(t, 6*7*4, runs)
}

// mortal is a world whose caller can be killed at a call.
type mortal struct {
	*world
	dieAt, count int
	after        bool
}

// try runs the handler in a goroutine of its own, which a death ends the way
// SIGKILL does: nothing of the program runs any more.
func (m *mortal) try(t *testing.T, batch events.SQSEvent) (died bool) {
	done := make(chan bool)
	go func() {
		answered := false
		defer func() { done <- !answered }()
		h := m.handler()
		h.Trigger.Artifacts.Client, h.Trigger.Groups.Client = m, m
		h.Trigger.Statuses.Objects, h.Trigger.History.Client, h.Trigger.Deployer = m, m, m
		answer, err := h.Handle(t.Context(), batch)
		answered = err == nil && len(answer.BatchItemFailures) == 0
	}()
	return <-done
}

// at calls do, and dies before or after it when its number has come.
func at[T any](m *mortal, do func() (T, error)) (T, error) {
	m.count++
	if m.count == m.dieAt && !m.after {
		runtime.Goexit()
	}
	out, err := do()
	if m.count == m.dieAt {
		runtime.Goexit()
	}
	return out, err
}

func (m *mortal) HeadObject(ctx context.Context, in *s3.HeadObjectInput, _ ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	return at(m, func() (*s3.HeadObjectOutput, error) { return m.world.HeadObject(ctx, in) })
}

func (m *mortal) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	return at(m, func() (*s3.GetObjectOutput, error) { return m.world.GetObject(ctx, in) })
}

func (m *mortal) PutObject(ctx context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	return at(m, func() (*s3.PutObjectOutput, error) { return m.world.PutObject(ctx, in) })
}

func (m *mortal) GetDeploymentGroup(ctx context.Context, in *codedeploy.GetDeploymentGroupInput, _ ...func(*codedeploy.Options)) (*codedeploy.GetDeploymentGroupOutput, error) {
	return at(m, func() (*codedeploy.GetDeploymentGroupOutput, error) { return m.world.GetDeploymentGroup(ctx, in) })
}

func (m *mortal) ListDeployments(ctx context.Context, in *codedeploy.ListDeploymentsInput, _ ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentsOutput, error) {
	return at(m, func() (*codedeploy.ListDeploymentsOutput, error) { return m.world.ListDeployments(ctx, in) })
}

func (m *mortal) BatchGetDeployments(ctx context.Context, in *codedeploy.BatchGetDeploymentsInput, _ ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentsOutput, error) {
	return at(m, func() (*codedeploy.BatchGetDeploymentsOutput, error) { return m.world.BatchGetDeployments(ctx, in) })
}

func (m *mortal) CreateDeployment(ctx context.Context, in *codedeploy.CreateDeploymentInput, _ ...func(*codedeploy.Options)) (*codedeploy.CreateDeploymentOutput, error) {
	return at(m, func() (*codedeploy.CreateDeploymentOutput, error) { return m.world.CreateDeployment(ctx, in) })
}
