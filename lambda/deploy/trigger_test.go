package deploy

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/group"
)

// start runs one upload through the trigger.
func start(t *testing.T, w *world, u Upload) (Upload, Outcome) {
	t.Helper()
	end := w.handler().Trigger.Deploy(t.Context(), &u, try{owner: "m1/1"})
	return u, end
}

// testUpload is the version of testKey.
func testUpload(version string) Upload {
	return Upload{Upload: group.Upload{Key: testKey, VersionID: version}, Bucket: testBucket}
}

func TestS14_MetadataDecidesBetweenDeployedAndRejected(t *testing.T) {
	for name, tt := range map[string]struct {
		change map[string]string // over goodMetadata; "-" removes
		reason string            // of the rejection; "" means deployed
	}{
		"complete":            {},
		"odd case":            {change: map[string]string{"application-name": "-", "Application-Name": "web"}},
		"doubled prefix":      {change: map[string]string{"application-name": "-", "deploymentgroup-name": "-", "x-amz-meta-application-name": "web", "X-Amz-Meta-DeploymentGroup-Name": "web-blue-green"}},
		"one key doubled":     {change: map[string]string{"application-name": "-", "x-amz-meta-application-name": "web"}},
		"both spellings":      {change: map[string]string{"x-amz-meta-application-name": "web"}},
		"spellings differ":    {change: map[string]string{"x-amz-meta-application-name": "shop"}, reason: "application-name comes twice, with different values"},
		"one spelling empty":  {change: map[string]string{"x-amz-meta-deploymentgroup-name": ""}, reason: "deploymentgroup-name comes twice"},
		"prefix tripled":      {change: map[string]string{"application-name": "-", "x-amz-meta-x-amz-meta-application-name": "web"}, reason: "application-name is missing"},
		"no application":      {change: map[string]string{"application-name": "-"}, reason: "metadata application-name is missing, deploymentgroup-name is there"},
		"no group":            {change: map[string]string{"deploymentgroup-name": "-"}, reason: "metadata deploymentgroup-name is missing, application-name is there"},
		"blank group":         {change: map[string]string{"deploymentgroup-name": "  "}, reason: "metadata deploymentgroup-name is missing"},
		"none":                {change: map[string]string{"application-name": "-", "deploymentgroup-name": "-", "upload-id": "-"}, reason: "no metadata application-name and deploymentgroup-name"},
		"application unknown": {change: map[string]string{"application-name": "shop"}, reason: `application "shop" with deployment group "web-blue-green" is not on the list`},
		"case of a name":      {change: map[string]string{"application-name": "Web"}, reason: `application "Web"`},
		"bundle type given":   {change: map[string]string{"bundle-type": "ZIP"}},
		"bundle type unknown": {change: map[string]string{"bundle-type": "rar"}, reason: `bundle-type is "rar": want tar, tgz, zip, YAML or JSON`},
		"ids differ":          {change: map[string]string{"x-amz-meta-upload-id": "other"}, reason: "upload-id comes twice"},
	} {
		t.Run(name, func(t *testing.T) {
			metadata := goodMetadata(testKey)
			maps.Copy(metadata, tt.change)
			maps.DeleteFunc(metadata, func(_, v string) bool { return v == "-" })
			w := &world{head: func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
				return headOf(metadata), nil
			}}
			_, end := start(t, w, testUpload("v1"))
			if tt.reason == "" {
				require.Equal(t, Created, end.End, end.Reason)
				assert.Len(t, w.creates, 1)
				return
			}
			require.Equal(t, Rejected, end.End)
			assert.Contains(t, end.Reason, tt.reason)
			assert.Empty(t, w.groups, "a rejected artifact costs no call to CodeDeploy")
			assert.Empty(t, w.creates)
		})
	}
}

func TestS14_TheUploadIDIsTheJobsOrElseTheVersion(t *testing.T) {
	for id, want := range map[string]string{
		"a":                             "a",
		"7F-" + strings.Repeat("x", 61): "7F-" + strings.Repeat("x", 61),
		"":                              "v1",
		strings.Repeat("x", 65):         "v1",
		"../../artifacts/x":             "v1",
		"a b":                           "v1",
		"a\nb":                          "v1",
		"a\n":                           "a", // blanks around a value are not part of it
		"ａ":                             "v1",
	} {
		t.Run(id, func(t *testing.T) {
			w := &world{head: func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
				metadata := goodMetadata(testKey)
				metadata["upload-id"] = id
				return headOf(metadata), nil
			}}
			u, end := start(t, w, testUpload("v1"))
			require.Equal(t, Created, end.End, end.Reason)
			assert.Equal(t, want, u.ID)
			assert.Equal(t, "upload-id="+want+" uploaded=2026-11-23T01:02:03Z", aws.ToString(w.creates[0].Description))
		})
	}
}

func TestS14_ARejectedUploadKeepsItsIDForTheReport(t *testing.T) {
	w := &world{head: func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		return headOf(map[string]string{"upload-id": "job-9", "application-name": "web"}), nil
	}}
	u, end := start(t, w, testUpload("v1"))
	require.Equal(t, Rejected, end.End)
	assert.Equal(t, "job-9", u.ID)
	assert.Equal(t, "web", u.Application)
}

func TestS14_AnEventWithoutVersionMeansTheCurrentOne(t *testing.T) {
	w := &world{}
	u, end := start(t, w, testUpload(""))
	require.Equal(t, Created, end.End, end.Reason)
	assert.Nil(t, w.heads[0].VersionId)
	assert.Equal(t, "v1", u.VersionID)
	assert.Equal(t, "v1", aws.ToString(w.creates[0].Revision.S3Location.Version))
}

func TestS14_ABucketWithoutVersionsIsAnOperatorsMistakeAndRetried(t *testing.T) {
	for _, version := range []*string{nil, aws.String("null")} { // never, and no longer
		w := &world{head: func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
			head := headOf(goodMetadata(testKey))
			head.VersionId = version
			return head, nil
		}}
		_, end := start(t, w, testUpload(aws.ToString(version)))
		require.Equal(t, Failed, end.End)
		assert.Contains(t, end.Reason, "turn versioning of the artifact bucket on")
		assert.Empty(t, w.creates)
		assert.Empty(t, w.objects)
	}
}
