package deploy

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/status"
)

const (
	orderKey  = "orders/web/web-blue-green/20261123T010203.json"
	alice     = "AWS:AROAEXAMPLE:alice"
	otherPair = "5" // another group of the application
)

// rollback is the order to deploy before again.
var rollback = order.Order{Kind: order.Rollback, Application: "web", DeploymentGroup: testPair.DeploymentGroup, Key: before.Key, VersionID: before.VersionID}

// ordered runs the first try of the message about an order.
func ordered(t *testing.T, w *world, o order.Order, principal string) (Upload, Outcome) {
	t.Helper()
	w.putObject(t, orderKey, o)
	u := Upload{Upload: group.Upload{Key: orderKey, VersionID: "o1"}, Bucket: testBucket, Completed: eventTime}
	u.Principal = principal
	return start(t, w, u)
}

// artifactOf answers HeadObject for the artifact of an order.
func artifactOf(application string) func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	return func(_ context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		head := headOf(map[string]string{"application-name": application, "deploymentgroup-name": testPair.DeploymentGroup, "upload-id": "before"})
		head.LastModified, head.VersionId = &before.Uploaded, in.VersionId
		return head, nil
	}
}

// ran is a record in which before was deployed, and mine runs.
func ran(state status.State) group.Record {
	return group.Record{Newest: mine, Deployments: []group.Deployment{
		{Upload: before, DeploymentID: "d-1", State: state}, {Upload: mine, DeploymentID: "d-2", State: status.Succeeded},
	}}
}

func TestS15_AnOrderDeploysWhatHasSucceeded(t *testing.T) {
	promotion := order.Order{Kind: order.Promote, Application: "web", DeploymentGroup: testPair.DeploymentGroup, Key: before.Key, VersionID: before.VersionID, From: otherPair}
	unlisted := promotion
	unlisted.From = "unlisted"
	for name, tt := range map[string]struct {
		order     order.Order
		principal string
		own       group.Record
		other     status.State // of before in the other group
		artifact  string       // its application
		refused   string       // "" is deployed
	}{
		"a rollback":                             {rollback, alice, ran(status.Succeeded), "", "web", ""},
		"to what failed":                         {rollback, alice, ran(status.Failed), "", "web", "version v0 has no successful deployment to web-blue-green"},
		"to what the record does not have":       {rollback, alice, group.Record{}, "", "web", "has no successful deployment"},
		"by nobody":                              {rollback, "", ran(status.Succeeded), "", "web", "S3's event does not say who ordered it"},
		"of another application's artifact":      {rollback, alice, ran(status.Succeeded), "", "shop", `the artifact is of application "shop", want one of "web"`},
		"a promotion":                            {promotion, alice, group.Record{}, status.Succeeded, "web", ""},
		"of what failed there":                   {promotion, alice, ran(status.Succeeded), status.Failed, "web", "version v0 has no successful deployment to 5"},
		"from a group that is not on the list":   {unlisted, alice, ran(status.Succeeded), status.Succeeded, "web", `deployment group "unlisted", which it is promoted from, is not on the list`},
		"of what succeeded here and not there":   {promotion, alice, ran(status.Succeeded), "", "web", "has no successful deployment to 5"},
		"a rollback to what succeeded elsewhere": {rollback, alice, group.Record{}, status.Succeeded, "web", "has no successful deployment to web-blue-green"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{head: artifactOf(tt.artifact)}
			w.putRecord(t, tt.own)
			if tt.other != "" {
				w.putObject(t, "groups/web/"+otherPair+".json", group.Record{Application: "web", DeploymentGroup: otherPair,
					Newest: before, Deployments: []group.Deployment{{Upload: before, DeploymentID: "d-9", State: tt.other}}})
			}
			u, end := ordered(t, w, tt.order, tt.principal)
			said := w.status(t, order.ID(orderKey, "o1"))
			if tt.refused != "" {
				require.Equal(t, Rejected, end.End, end.Reason)
				assert.Contains(t, end.Reason, tt.refused)
				assert.Empty(t, w.creates)
				assert.Equal(t, status.Rejected, said.State)
				return
			}
			require.Equal(t, Created, end.End, end.Reason)
			require.Len(t, w.creates, 1)
			location := w.creates[0].Revision.S3Location
			assert.Equal(t, before.Key+" v0", aws.ToString(location.Key)+" "+aws.ToString(location.Version))
			assert.Equal(t, alice, said.Order.Operator)
			assert.Equal(t, order.ID(orderKey, "o1"), u.ID)
			if tt.order.Kind == order.Rollback {
				assert.Equal(t, mine.VersionID, said.Order.FromVersionID, "what ran before")
			}
		})
	}
}

// A message that comes again may be another one than S3's, which names nobody. The
// record knows who ordered it, and what ran when it was accepted.
func TestS15_AnOrderThatWaitedIsKnown(t *testing.T) {
	waiting := group.Upload{ID: order.ID(orderKey, "o1"), Key: orderKey, VersionID: "o1", Uploaded: eventTime, Order: group.Order{
		Order: status.Order{Kind: order.Rollback, Operator: alice, FromVersionID: "v-then"}, Key: before.Key, VersionID: before.VersionID, Uploaded: before.Uploaded,
	}}
	t.Run("it is deployed, as it was accepted", func(t *testing.T) {
		w := &world{head: artifactOf("web")}
		record := ran(status.Failed) // has changed since
		record.Waiting = &waiting
		w.putRecord(t, record)
		_, end := ordered(t, w, rollback, "")
		require.Equal(t, Created, end.End, end.Reason)
		said := w.status(t, waiting.ID)
		assert.Equal(t, alice, said.Order.Operator)
		assert.Equal(t, "v-then", said.Order.FromVersionID)
	})
	t.Run("it was only noted when AWS failed, and may not be deployed", func(t *testing.T) {
		w := &world{head: artifactOf("web")}
		record := ran(status.Failed)
		record.Noted = []group.Upload{waiting}
		w.putRecord(t, record)
		_, end := ordered(t, w, rollback, alice)
		assert.Equal(t, Rejected, end.End, end.Reason)
		assert.Contains(t, end.Reason, "has no successful deployment")
		assert.Empty(t, w.creates)
	})
	t.Run("it is gone, and ends where its operator looks", func(t *testing.T) {
		w := &world{get: func(in *s3.GetObjectInput) error {
			if aws.ToString(in.Key) == orderKey {
				return httpError(404)
			}
			return nil
		}}
		record := ran(status.Succeeded)
		record.Waiting = &waiting
		w.putRecord(t, record)
		u := Upload{Upload: group.Upload{Key: orderKey, VersionID: "o1"}, Bucket: testBucket, Completed: eventTime}
		u.Known.Pair, u.Known.UploadID = testPair, waiting.ID
		_, end := start(t, w, u)
		require.Equal(t, Rejected, end.End, end.Reason)
		said := w.status(t, waiting.ID)
		assert.Equal(t, status.Rejected, said.State)
		assert.Equal(t, before.Key, said.Key, "a deployment's state is found by its artifact")
		assert.Nil(t, w.record(t).Waiting)
	})
}

// A promotion has to keep to the rule of its group: a rollback deploys what had to
// keep to it before.
func TestS15_APromotionKeepsToTheRuleOfItsGroup(t *testing.T) {
	by := trust.Deployer{Project: "shop/web", Ref: "main"}
	for name, tt := range map[string]struct {
		kind    string
		refs    []string
		refused bool
	}{
		"the ref may deploy here":               {order.Promote, []string{"main"}, false},
		"the ref may not":                       {order.Promote, []string{"release"}, true},
		"a rollback, and the rule is newer now": {order.Rollback, []string{"release"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{head: artifactOf("web")}
			proven := before
			proven.By = by
			w.putRecord(t, group.Record{Newest: mine, Deployments: []group.Deployment{{Upload: proven, DeploymentID: "d-1", State: status.Succeeded}}})
			w.putObject(t, "groups/web/"+otherPair+".json", group.Record{Application: "web", DeploymentGroup: otherPair,
				Deployments: []group.Deployment{{Upload: proven, DeploymentID: "d-9", State: status.Succeeded}}})
			o := rollback
			if tt.kind == order.Promote {
				o.Kind, o.From = order.Promote, otherPair
			}
			w.putObject(t, orderKey, o)
			u := Upload{Upload: group.Upload{Key: orderKey, VersionID: "o1"}, Bucket: testBucket, Completed: eventTime}
			u.Principal = alice
			trigger := w.handler().Trigger
			trigger.Allowed[testPair] = trust.Rule{Projects: []trust.Project{{ID: 7, Path: "shop/web"}}, Refs: tt.refs}
			end := trigger.Deploy(t.Context(), &u, try{owner: "m1/1"})
			if tt.refused {
				assert.Equal(t, Refused, end.End, end.Reason)
				assert.Contains(t, end.Reason, "may not deploy this any more")
				assert.Empty(t, w.creates)
				return
			}
			require.Equal(t, Created, end.End, end.Reason)
			assert.Equal(t, by, w.status(t, order.ID(orderKey, "o1")).Deployer, "whose upload it was")
		})
	}
}

// Between the decision and the call the other group may let go of the artifact, which
// is marked as unwanted then.
func TestS15_APromotionIsWithdrawnWhenItsArtifactIsLetGoOf(t *testing.T) {
	promotion := rollback
	promotion.Kind, promotion.From = order.Promote, otherPair
	otherRecord := "groups/web/" + otherPair + ".json"
	for name, tt := range map[string]struct {
		meanwhile func(t *testing.T, w *world) // once the attempt is in the record
		end       End
		reason    string
	}{
		"it is kept": {func(*testing.T, *world) {}, Created, ""},
		"it is let go of": {func(t *testing.T, w *world) {
			w.putObject(t, otherRecord, group.Record{Application: "web", DeploymentGroup: otherPair})
		}, Rejected, "5 has had eleven newer versions while the promotion waited"},
		"nobody can tell": {func(_ *testing.T, w *world) { w.get = refusing(otherRecord) }, Failed, "503"},
		"it cannot be noted": {func(t *testing.T, w *world) {
			w.putObject(t, otherRecord, group.Record{Application: "web", DeploymentGroup: otherPair})
			w.put = func(in *s3.PutObjectInput) error {
				if aws.ToString(in.Key) == testRecord {
					return httpError(503)
				}
				return nil
			}
		}, Failed, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{head: artifactOf("web")}
			w.putRecord(t, group.Record{})
			w.putObject(t, otherRecord, group.Record{Application: "web", DeploymentGroup: otherPair,
				Deployments: []group.Deployment{{Upload: before, DeploymentID: "d-9", State: status.Succeeded}}})
			w.put = func(in *s3.PutObjectInput) error { // of the state, which comes after the attempt
				if strings.HasPrefix(aws.ToString(in.Key), "deployments/") {
					w.put = nil
					tt.meanwhile(t, w)
				}
				return nil
			}
			_, end := ordered(t, w, promotion, alice)
			assert.Equal(t, tt.end, end.End, end.Reason)
			assert.Contains(t, end.Reason, tt.reason)
			assert.Len(t, w.creates, map[End]int{Created: 1}[tt.end])
		})
	}
}

// refusing fails each GetObject of a key.
func refusing(key string) func(*s3.GetObjectInput) error {
	return func(in *s3.GetObjectInput) error {
		if aws.ToString(in.Key) == key {
			return httpError(503)
		}
		return nil
	}
}

func TestS15_AGroupIsPausedAndResumed(t *testing.T) {
	pause := order.Order{Kind: order.Pause, Application: "web", DeploymentGroup: testPair.DeploymentGroup}
	resume := pause
	resume.Kind = order.Resume
	unlisted := pause
	unlisted.DeploymentGroup = "unlisted"
	paused := &group.Pause{By: alice, Since: eventTime}
	later := group.Upload{ID: "order.later", Key: "orders/later", VersionID: "o9", Uploaded: eventTime.Add(time.Minute)}
	id := order.ID(orderKey, "o1")
	for name, tt := range map[string]struct {
		order     order.Order
		principal string
		before    group.Record
		prepare   func(t *testing.T, w *world)
		end       End
		state     status.State // "" if nothing is told
		reason    string
		after     *group.Pause
	}{
		"paused":            {pause, alice, group.Record{}, nil, Switched, status.Succeeded, "uploads wait until the group is resumed", paused},
		"resumed":           {resume, alice, group.Record{Paused: paused}, nil, Switched, status.Succeeded, "uploads are deployed again", nil},
		"of no group":       {unlisted, alice, group.Record{}, nil, Rejected, status.Rejected, "is not on the list of what may be deployed", nil},
		"by nobody":         {pause, "", group.Record{}, nil, Rejected, status.Rejected, "S3's event does not say who ordered it", nil},
		"no order":          {order.Order{Kind: order.Pause, Application: "web"}, alice, group.Record{}, nil, Rejected, status.Rejected, "the order cannot be carried out", nil},
		"a later one is in": {pause, alice, group.Record{Switched: later}, nil, Superseded, status.Superseded, "paused or resumed by a later order before", nil},
		"told already": {pause, alice, group.Record{}, func(t *testing.T, w *world) {
			w.putStatus(t, group.Upload{ID: id, Key: orderKey, VersionID: "o1"}, status.Status{State: status.Rejected, Reason: "before"})
		}, Repeated, status.Rejected, "the order's state is Rejected already", nil},
		"its state cannot be read":  {pause, alice, group.Record{}, func(_ *testing.T, w *world) { w.get = refusing("deployments/" + id + ".json") }, Failed, "", "503", nil},
		"the record cannot be read": {pause, alice, group.Record{}, func(_ *testing.T, w *world) { w.get = refusing(testRecord) }, Failed, "", "503", nil},
		"the record cannot be changed": {pause, alice, group.Record{}, func(_ *testing.T, w *world) {
			w.put = func(in *s3.PutObjectInput) error {
				if aws.ToString(in.Key) == testRecord {
					return httpError(503)
				}
				return nil
			}
		}, Failed, "", "503", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.putRecord(t, tt.before)
			if tt.prepare != nil {
				tt.prepare(t, w)
			}
			_, end := ordered(t, w, tt.order, tt.principal)
			assert.Equal(t, tt.end, end.End, end.Reason)
			assert.Contains(t, end.Reason, tt.reason)
			assert.Equal(t, tt.after, w.record(t).Paused)
			w.get, w.put = nil, nil
			if tt.state == "" {
				assert.NotContains(t, []string{string(status.Succeeded), string(status.Rejected)}, w.objects["deployments/"+id+".json"])
				_, end = ordered(t, w, tt.order, tt.principal)
				assert.Equal(t, Switched, end.End, "the next try does it: %s", end.Reason)
				return
			}
			assert.Equal(t, tt.state, w.status(t, id).State)
		})
	}
}

// What comes while a group is paused is kept by its record. Its message is done with.
func TestS15_AnUploadOfAPausedGroupWaitsInTheRecord(t *testing.T) {
	paused := group.Record{Paused: &group.Pause{By: alice, Since: eventTime}}
	reason := paused.Paused.Reason()
	t.Run("it is told once why", func(t *testing.T) {
		w := &world{}
		w.putRecord(t, paused)
		_, end := start(t, w, testUpload("v1"))
		require.Equal(t, Parked, end.End, end.Reason)
		assert.True(t, w.record(t).Parked.Same(mine))
		assert.Equal(t, status.Waiting, w.status(t, "artifact").State)
		assert.Equal(t, reason, w.status(t, "artifact").Reason)
		told := w.objects["deployments/artifact.json"]
		assert.Equal(t, Parked, retry(t, w).End)
		assert.Equal(t, told, w.objects["deployments/artifact.json"], "not even its time changes")
	})
	t.Run("it waited for something else before", func(t *testing.T) {
		w := &world{}
		w.putRecord(t, paused)
		w.putStatus(t, mine, status.Status{State: status.Waiting, Reason: "the group is busy"})
		assert.Equal(t, Parked, retry(t, w).End)
		assert.Equal(t, reason, w.status(t, "artifact").Reason)
	})
	t.Run("it was given up, and is redriven", func(t *testing.T) {
		w := &world{}
		w.putRecord(t, paused)
		w.putStatus(t, mine, status.Status{State: status.Failed, Reason: reason, GivenUp: true})
		u := testUpload("v1")
		end := w.handler().Trigger.Deploy(t.Context(), &u, try{owner: "m2/1", again: true})
		require.Equal(t, Parked, end.End, end.Reason)
		assert.Equal(t, status.Waiting, w.status(t, "artifact").State)
	})
	t.Run("an event tells its job of a deployment meanwhile", func(t *testing.T) {
		w := &world{}
		w.putRecord(t, paused)
		w.put = func(in *s3.PutObjectInput) error {
			if aws.ToString(in.Key) == testRecord {
				w.put = nil
				w.putStatus(t, mine, status.Status{State: status.InProgress, DeploymentID: "d-HAND00001"})
			}
			return nil
		}
		_, end := start(t, w, testUpload("v1"))
		assert.Equal(t, Parked, end.End, end.Reason)
		assert.Equal(t, status.InProgress, w.status(t, "artifact").State)
	})
	t.Run("the record cannot be changed", func(t *testing.T) {
		w := &world{}
		w.putRecord(t, paused)
		w.put = func(in *s3.PutObjectInput) error {
			if aws.ToString(in.Key) == testRecord {
				return httpError(503)
			}
			return nil
		}
		_, end := start(t, w, testUpload("v1"))
		assert.Equal(t, Failed, end.End)
		assert.Nil(t, w.record(t).Parked)
	})
}

func TestS15_ABucketWithoutVersionsTakesNoOrders(t *testing.T) {
	w := &world{}
	w.putObject(t, orderKey, rollback)
	for _, version := range []string{"", "null"} { // never, and no longer
		u := Upload{Upload: group.Upload{Key: orderKey, VersionID: version}, Bucket: testBucket, Completed: eventTime}
		u.Principal = alice
		_, end := start(t, w, u)
		assert.Equal(t, Failed, end.End)
		assert.Contains(t, end.Reason, "the order has no version: turn versioning of the artifact bucket on")
	}
}
