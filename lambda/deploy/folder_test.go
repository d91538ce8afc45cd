package deploy

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/status"
)

// Each row of misplaced's table, and keys that look like one of them.
func TestS14_AnApplicationsArtifactsAreInItsFolder(t *testing.T) {
	for name, tt := range map[string]struct {
		key   string
		among bool // several applications
		alone bool // without another one
	}{
		"its folder":                         {"artifacts/web/artifact.gz", true, true},
		"a folder in its folder":             {"artifacts/web/main/7.tgz", true, true},
		"the source's own form":              {"artifacts/artifact.gz", false, true},
		"another application's folder":       {"artifacts/shop/artifact.gz", false, false},
		"a folder that begins like it":       {"artifacts/web2/artifact.gz", false, false},
		"its folder in other letters":        {"artifacts/Web/artifact.gz", false, false},
		"a file of its name":                 {"artifacts/web", false, true},
		"nothing in its folder":              {"artifacts/web/", false, false},
		"its folder below another's":         {"artifacts/shop/web/artifact.gz", false, false},
		"two dots out of another's":          {"artifacts/shop/../web/artifact.gz", false, false},
		"a folder without a name":            {"artifacts//web/artifact.gz", false, false},
		"the prefix alone":                   {"artifacts/", false, false},
		"its folder without the prefix":      {"web/artifact.gz", false, false},
		"its folder, two dots to another's":  {"artifacts/web/../shop/a.gz", true, true}, // S3 knows no ".."
		"its folder below a doubled prefix":  {"artifacts/artifacts/web/a.gz", false, false},
		"a file that begins like the prefix": {"artifacts", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			for alone, want := range map[bool]bool{false: tt.among, true: tt.alone} {
				fault := misplaced(tt.key, "artifacts/", "web", alone)
				assert.Equal(t, want, fault == "", "alone %t: %s", alone, fault)
				if fault != "" {
					assert.Contains(t, fault, `"`+tt.key+`", want artifacts/web/…`)
					assert.Equal(t, alone, strings.Contains(fault, " or artifacts/<file>"))
				}
			}
		})
	}
}

// The pair is on the list, the key is another application's.
//
//fault:end an artifact lies in another application's folder | it is rejected with both keys, and CodeDeploy is not asked
func TestS14_AKeyOfAnotherApplicationIsRejected(t *testing.T) {
	w := &world{}
	const key = "artifacts/shop/artifact.gz"
	w.head = func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		return headOf(goodMetadata(testKey)), nil
	}
	h := w.handler()
	h.Trigger.Allowed[allowlist.Pair{Application: "shop", DeploymentGroup: "shop-blue-green"}] = trust.Rule{AnyProject: true}
	const want = `the key is "artifacts/shop/artifact.gz", want artifacts/web/… for application web, whose instances read nothing else: correct the job's ARTIFACT_KEY`
	for range 2 { // The event comes twice.
		assert.Empty(t, handle(t, t.Context(), h, batchOf(body(s3Record(testBucket, key, "v1")))))
		told := w.status(t, "artifact")
		assert.Equal(t, status.Rejected, told.State)
		assert.Equal(t, want, told.Reason)
		assert.Equal(t, key, told.Key)
	}
	assert.Empty(t, w.groups, "nothing is asked about the group")
	assert.Empty(t, w.creates)
	assert.Contains(t, w.marked, "v1", "S3 may forget it")

	// A later one in the right place is deployed: what was rejected overtakes nothing.
	assert.Empty(t, handle(t, t.Context(), h, batchOf(body(s3Record(testBucket, "artifacts/web/artifact.gz", "v1")))))
	require.Len(t, w.creates, 1)
}

// An environment with one application keeps the form of the source.
//
//fault:end an artifact lies right below the prefix | it is deployed where there is a single application, and rejected among several
func TestS14_ASingleApplicationKeepsTheSourcesKey(t *testing.T) {
	for name, tt := range map[string]struct {
		others []string
		want   int
	}{"alone": {nil, 1}, "among others": {[]string{"shop"}, 0}} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.head = func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
				return headOf(goodMetadata(testKey)), nil
			}
			h := w.handler()
			for _, other := range tt.others {
				h.Trigger.Allowed[allowlist.Pair{Application: other, DeploymentGroup: "any"}] = trust.Rule{AnyProject: true}
			}
			assert.Empty(t, handle(t, t.Context(), h, batchOf(body(s3Record(testBucket, "artifacts/artifact.gz", "v1")))))
			assert.Len(t, w.creates, tt.want)
		})
	}
}
