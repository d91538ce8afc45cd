package test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/inputs"
)

// TestImportsPointOneWay keeps main → stacks → {constructs, internal/config},
// and everything that Lambda runs free of the CDK.
func TestImportsPointOneWay(t *testing.T) {
	const module = "gitlab-codedeploy"
	require.NoError(t, inputs.Are(".."))
	for pkg, banned := range map[string][]string{
		"../lambda/...":          {"github.com/aws/aws-cdk-go", module + "/constructs", module + "/stacks", module + "/internal/config", module + "/internal/preflight", module + "/internal/gobuild"},
		"../internal/trust":      {"github.com/aws", module + "/constructs", module + "/stacks", module + "/lambda", module + "/internal/config"},
		"../cmd/ops":             {"github.com/aws/aws-cdk-go", module + "/constructs", module + "/stacks", module + "/lambda"},
		"../constructs/...":      {module + "/stacks", module + "/internal/config", module + "/lambda", "github.com/aws/aws-sdk-go-v2"},
		"../stacks/...":          {module + "/lambda", "github.com/aws/aws-sdk-go-v2"},
		"../internal/config/...": {"github.com/aws", module + "/constructs"},
		"../internal/appspec":    {"github.com/aws", module + "/constructs", module + "/stacks", module + "/lambda", module + "/internal/config"},
		"../cmd/artifact":        {"github.com/aws/aws-cdk-go", "github.com/aws/aws-sdk-go-v2/service/codedeploy", module + "/constructs", module + "/stacks", module + "/lambda", module + "/internal/config"},
		"../internal/bundle":     {"github.com/aws", module},
		"../internal/upload":     {"github.com/aws/aws-cdk-go", module + "/constructs", module + "/stacks", module + "/lambda", module + "/internal/config"},
		"../internal/preflight":  {"github.com/aws/aws-cdk-go", module + "/constructs", module + "/stacks", module + "/lambda"},
		"..":                     {"github.com/stretchr", "github.com/cdklabs/cdk-nag-go", "github.com/aws/aws-sdk-go-v2"},
	} {
		out, err := exec.Command("go", "list", "-deps", pkg).Output()
		require.NoError(t, err, pkg)
		deps := strings.Fields(string(out))
		assert.NotEmpty(t, deps)
		for _, dep := range deps {
			if "../"+strings.TrimPrefix(dep, module+"/") == pkg {
				continue // Each list ends with the package itself.
			}
			for _, prefix := range banned {
				assert.False(t, strings.HasPrefix(dep, prefix), "%s imports %s", pkg, dep)
			}
		}
	}
}
