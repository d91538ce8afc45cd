package test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/jsii-runtime-go"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"
	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/stacks"
)

// TestS1toS14_cdkNagHasNothingToSay runs the AwsSolutions rules. A finding is
// mended, or acknowledged next to its resource with a reason.
func TestS1toS14_cdkNagHasNothingToSay(t *testing.T) {
	app := newApp(t)
	a, b := stacks.NewGitLab(app, staging(t), ".."), stacks.NewDeploy(app, staging(t), "..")
	awscdk.Aspects_Of(app).Add(cdknag.NewAwsSolutionsChecks(&cdknag.NagPackProps{Verbose: jsii.Bool(true), Reports: jsii.Bool(false)}), nil)

	for _, stack := range []awscdk.Stack{a, b} {
		notes := assertions.Annotations_FromStack(stack)
		for _, message := range *notes.FindError(jsii.String("*"), assertions.Match_AnyValue()) {
			assert.Fail(t, *message.Id, fmt.Sprint(message.Entry.Data))
		}
		for _, message := range *notes.FindWarning(jsii.String("*"), assertions.Match_AnyValue()) {
			assert.Fail(t, *message.Id, fmt.Sprint(message.Entry.Data))
		}
	}
}
