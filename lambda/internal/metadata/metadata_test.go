package metadata

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/allowlist"
)

func TestS14_BundleTypeComesFromTheKeyUnlessTheMetadataNamesIt(t *testing.T) {
	for _, tt := range []struct {
		metadata, key string
		want          types.BundleType
	}{
		{"", "artifacts/web/artifact.gz", types.BundleTypeTarGZip},
		{"", "artifacts/web/a.tar.gz", types.BundleTypeTarGZip},
		{"", "artifacts/web/a.TGZ", types.BundleTypeTarGZip},
		{"", "artifacts/web/a.tar", types.BundleTypeTar},
		{"", "artifacts/web/a.Zip", types.BundleTypeZip},
		{"", "artifacts/web/appspec.yaml", types.BundleTypeYaml},
		{"", "artifacts/web/appspec.yml", types.BundleTypeYaml},
		{"", "artifacts/web/appspec.json", types.BundleTypeJson},
		{"tgz", "artifacts/web/a", types.BundleTypeTarGZip},
		{"TAR", "artifacts/web/a.zip", types.BundleTypeTar},
		{"yaml", "artifacts/web/a.zip", types.BundleTypeYaml},
		{"json", "artifacts/web/a.zip", types.BundleTypeJson},
		{"", "artifacts/web/a", ""},
		{"", "artifacts/web.zip/a.txt", ""},
		{"", "artifacts/zip", ""},
		{"rar", "artifacts/web/a.zip", ""},
		{".zip", "artifacts/web/a.zip", ""},
	} {
		t.Run(tt.metadata+" "+tt.key, func(t *testing.T) {
			got, fault := Request{BundleType: tt.metadata}.Bundle(tt.key)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want == "", fault != "", fault)
		})
	}
}

func TestS14_OnlyACommitAndAnAddressReachTheDescription(t *testing.T) {
	r, fault := Parse(map[string]string{
		"application-name": "web", "deploymentgroup-name": "g",
		"commit-sha": "main; rm -rf", "pipeline-url": "javascript:alert(1)",
	})
	require.Empty(t, fault)
	assert.Equal(t, Request{Pair: allowlist.Pair{Application: "web", DeploymentGroup: "g"}}, r)
}
