package place

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/status"
)

var uploaded = time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)

// versions answers HeadObject for one version, uploaded by job-9.
type versions struct {
	answer int
	asked  []string
}

func (f *versions) HeadObject(_ context.Context, in *s3.HeadObjectInput, _ ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	f.asked = append(f.asked, *in.Bucket+"/"+*in.Key+" "+*in.VersionId)
	if f.answer != 200 {
		return nil, &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: f.answer}},
			Err:      errors.New(http.StatusText(f.answer)),
		}
	}
	return &s3.HeadObjectOutput{LastModified: &uploaded, Metadata: map[string]string{"upload-id": "job-9"}}, nil
}

func finder(answer int) (*Finder, *versions) {
	client := &versions{answer: answer}
	return &Finder{Client: client, Bucket: "bucket", Prefix: "artifacts/"}, client
}

// info is a deployment that a person or a job asked for.
func info(change ...func(*types.DeploymentInfo)) *types.DeploymentInfo {
	i := &types.DeploymentInfo{
		DeploymentId: aws.String("d-1"),
		Creator:      types.DeploymentCreatorUser,
		Revision: &types.RevisionLocation{S3Location: &types.S3Location{
			Bucket: aws.String("bucket"), Key: aws.String("artifacts/x.zip"), Version: aws.String("v1"),
		}},
	}
	for _, c := range change {
		c(i)
	}
	return i
}

//fault:hands CodeDeploy rolls back, or Auto Scaling deploys to a new instance | that is no order of ours
func TestS14_OnlyWhatSomebodyAskedForHasAPlace(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*types.DeploymentInfo)
		want   string
	}{
		"a user's":              {func(*types.DeploymentInfo) {}, ""},
		"nobody says whose":     {func(i *types.DeploymentInfo) { i.Creator = "" }, ""},
		"a rollback":            {func(i *types.DeploymentInfo) { i.Creator = types.DeploymentCreatorCodeDeployRollback }, "made by codeDeployRollback"},
		"Auto Scaling's":        {func(i *types.DeploymentInfo) { i.Creator = types.DeploymentCreatorAutoscaling }, "made by autoscaling"},
		"no revision":           {func(i *types.DeploymentInfo) { i.Revision = nil }, "the revision is not in S3"},
		"from GitHub":           {func(i *types.DeploymentInfo) { i.Revision.S3Location = nil }, "the revision is not in S3"},
		"of another bucket":     {func(i *types.DeploymentInfo) { i.Revision.S3Location.Bucket = aws.String("other") }, "the revision is not in the artifact bucket"},
		"of no artifact":        {func(i *types.DeploymentInfo) { i.Revision.S3Location.Key = aws.String("backups/x.zip") }, "the revision is not in the artifact bucket"},
		"of the newest version": {func(i *types.DeploymentInfo) { i.Revision.S3Location.Version = nil }, "the revision has no version"},
	} {
		t.Run(name, func(t *testing.T) {
			f, client := finder(200)
			revision, reason := f.Artifact(info(tt.change))
			assert.Equal(t, tt.want, reason)
			assert.Equal(t, tt.want == "", revision != nil)
			_, ok, err := f.Of(t.Context(), &group.Record{}, info(tt.change))
			require.NoError(t, err)
			assert.Equal(t, tt.want == "", ok)
			assert.Equal(t, tt.want == "", len(client.asked) == 1)
		})
	}
}

// The description is believed for the part of a second that S3 does not tell.
//
//fault:hands somebody deploys a revision in the console | it counts by the time of its upload, whatever the description says
func TestS14_S3TellsWhenARevisionWasUploaded(t *testing.T) {
	for description, want := range map[string]time.Time{
		"":        uploaded,
		"by hand": uploaded,
		"upload-id=forged uploaded=2026-11-23T01:02:03.25Z": uploaded.Add(250 * time.Millisecond),
		"upload-id=forged uploaded=2026-11-23T01:02:04Z":    uploaded,
		"upload-id=forged uploaded=2036-11-23T01:02:03Z":    uploaded,
	} {
		f, client := finder(200)
		u, ok, err := f.Of(t.Context(), &group.Record{}, info(func(i *types.DeploymentInfo) { i.Description = &description }))
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Equal(t, group.Upload{ID: "job-9", Key: "artifacts/x.zip", VersionID: "v1", Uploaded: want}, u, description)
		assert.Equal(t, []string{"bucket/artifacts/x.zip v1"}, client.asked)
	}
}

func TestS14_AVersionThatIsGoneIsOlderThanAllThatAreThere(t *testing.T) {
	f, _ := finder(404)
	u, ok, err := f.Of(t.Context(), &group.Record{}, info(func(i *types.DeploymentInfo) {
		i.Description = aws.String("upload-id=job-9 uploaded=2036-11-23T01:02:03Z")
	}))
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, group.Upload{Key: "artifacts/x.zip", VersionID: "v1"}, u)

	f, _ = finder(403)
	_, ok, err = f.Of(t.Context(), &group.Record{}, info())
	require.ErrorContains(t, err, "look for the revision of deployment d-1: ")
	assert.False(t, ok)
}

func TestS14_WhatTheRecordKnowsCostsNoCall(t *testing.T) {
	known := group.Upload{ID: "job-1", Key: "artifacts/x.zip", VersionID: "v1", Uploaded: uploaded.Add(time.Hour)}
	other := group.Upload{ID: "job-2", Key: "artifacts/x.zip", VersionID: "v2", Uploaded: uploaded}
	for name, tt := range map[string]struct {
		record group.Record
		known  bool
	}{
		"it waits":           {group.Record{Waiting: &known, Attempt: &group.Attempt{Upload: other}}, true},
		"it is attempted":    {group.Record{Waiting: &other, Attempt: &group.Attempt{Upload: known}}, true},
		"it was deployed":    {group.Record{Deployments: []group.Deployment{{Upload: other}, {Upload: known}}}, true},
		"it has ended":       {group.Record{Ended: []group.End{{Upload: known}}}, true},
		"it is noted":        {group.Record{Noted: []group.Upload{other, known}}, true},
		"others are known":   {group.Record{Waiting: &other, Attempt: &group.Attempt{Upload: other}, Deployments: []group.Deployment{{Upload: other}}, Ended: []group.End{{Upload: other}}}, false},
		"nothing is, as yet": {group.Record{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, client := finder(200)
			u, ok, err := f.Of(t.Context(), &tt.record, info())
			require.NoError(t, err)
			assert.True(t, ok)
			assert.Equal(t, tt.known, u == known)
			assert.Equal(t, tt.known, len(client.asked) == 0)
		})
	}
}

// One artifact is deployed several times by orders, and by uploads: which of them a
// deployment is of is said by the record.
func TestS15_WhichOrderADeploymentIsOf(t *testing.T) {
	artifact := group.Upload{ID: "job-9", Key: "artifacts/x.zip", VersionID: "v1"}
	orderOf := func(id, version string) group.Upload {
		return group.Upload{ID: id, Key: "orders/" + id, VersionID: "o", Order: group.Order{
			Order: status.Order{Kind: "rollback"}, Key: "artifacts/x.zip", VersionID: version,
		}}
	}
	first, second, ofAnother := orderOf("order.1", "v1"), orderOf("order.2", "v1"), orderOf("order.1", "v0")
	for name, tt := range map[string]struct {
		record group.Record
		id     string // that the deployment's description says
		want   string
	}{
		"the record has it as an order's":               {group.Record{Deployments: []group.Deployment{{Upload: second, DeploymentID: "d-1"}}, Attempt: &group.Attempt{Upload: first}}, "order.1", "order.2"},
		"the record has it as an upload's":              {group.Record{Deployments: []group.Deployment{{Upload: artifact, DeploymentID: "d-1"}}, Attempt: &group.Attempt{Upload: first}}, "order.1", ""},
		"another deployment is an order's":              {group.Record{Deployments: []group.Deployment{{Upload: first, DeploymentID: "d-0"}}}, "order.1", ""},
		"it is attempted":                               {group.Record{Attempt: &group.Attempt{Upload: first}}, "order.1", "order.1"},
		"it waits":                                      {group.Record{Attempt: &group.Attempt{Upload: second}, Waiting: &first}, "order.1", "order.1"},
		"it has ended":                                  {group.Record{Ended: []group.End{{Upload: second}, {Upload: first}}}, "order.1", "order.1"},
		"another order of the same artifact waits":      {group.Record{Waiting: &second}, "order.1", ""},
		"the order of that name is of another artifact": {group.Record{Waiting: &ofAnother}, "order.1", ""},
		"the upload itself waits":                       {group.Record{Waiting: &artifact}, "job-9", ""},
		"nothing is known":                              {group.Record{}, "order.1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ordered(&tt.record, artifact, "d-1", tt.id)
			if tt.want == "" {
				assert.Nil(t, got)
				return
			}
			require.NotNil(t, got)
			assert.Equal(t, tt.want, got.ID)
		})
	}
}
