package again

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/group"
)

func TestS14_AMessageHasTheFormOfS3sEvents(t *testing.T) {
	assert.JSONEq(t, `{"Records": [{
		"eventName": "ObjectCreated:Again", "eventTime": "2026-11-23T01:02:03.250Z",
		"s3": {"bucket": {"name": "bucket"}, "object": {"key": "artifacts%2Fa+b.zip", "versionId": "v1"}},
		"gitlabCodeDeploy": {"application": "web", "deploymentGroup": "blue", "uploadId": "job-9"}
	}]}`, Message("bucket", allowlist.Pair{Application: "web", DeploymentGroup: "blue"}, group.Upload{
		ID: "job-9", Key: "artifacts/a b.zip", VersionID: "v1",
		Uploaded: time.Date(2026, 11, 23, 10, 2, 3, 250e6, time.FixedZone("JST", 9*60*60)),
	}))
}
