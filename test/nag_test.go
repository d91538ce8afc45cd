package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/jsii-runtime-go"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestS1toS14_checkersHaveNothingToSay runs cdk-nag's AwsSolutions rules and
// the CDK's own validation. A finding is mended, or acknowledged next to its
// resource with a reason.
func TestS1toS14_checkersHaveNothingToSay(t *testing.T) {
	assert.Empty(t, findings(t, newAppWithStaging(t)))
}

// TestCheckersAreHeard keeps the test above honest.
func TestCheckersAreHeard(t *testing.T) {
	app := newApp(t)
	stack := awscdk.NewStack(app, jsii.String("Bad"), nil)
	awss3.NewBucket(stack, jsii.String("Bucket"), nil)
	assert.Contains(t, fmt.Sprint(findings(t, app)), "AwsSolutions-S1")
}

// findings synthesises app under the checkers and returns "rule: message at
// construct" of everything that is not acknowledged.
func findings(t *testing.T, app awscdk.App) []string {
	t.Helper()
	awscdk.Aspects_Of(app).Add(cdknag.NewAwsSolutionsChecks(&cdknag.NagPackProps{
		Verbose: jsii.Bool(true), Reports: jsii.Bool(false),
	}), nil)
	func() {
		// An error of a checker ends synth with a panic; the report is
		// written before.
		defer func() { _ = recover() }()
		app.Synth(nil)
	}()

	raw, err := os.ReadFile(filepath.Join(*app.Outdir(), "validation-report.json"))
	require.NoError(t, err)
	var report struct {
		PluginReports []struct {
			PluginName string
			Violations []struct {
				RuleName, Description string
				ViolatingConstructs   []struct{ ConstructPath string }
			}
		}
	}
	require.NoError(t, json.Unmarshal(raw, &report))
	require.NotEmpty(t, report.PluginReports, "no checker ran")
	var found []string
	for _, plugin := range report.PluginReports {
		for _, v := range plugin.Violations {
			for _, c := range v.ViolatingConstructs {
				found = append(found, fmt.Sprintf("%s: %s at %s", v.RuleName, v.Description, c.ConstructPath))
			}
		}
	}
	return found
}
