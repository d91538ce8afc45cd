package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/cdk"
)

const oneTopic = `{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}`

// newReview is a session in which both stacks are deployed as they are synthesised. The library that compares is the real one.
func newReview(t *testing.T) *accounts {
	t.Helper()
	if _, err := os.Stat("../../node_modules/@aws-cdk/cloudformation-diff"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("node_modules is missing: run make setup")
		}
		t.Skip("node_modules is missing: run make setup")
	}
	s := newAccounts(t)
	s.cdk.template = oneTopic
	s.cdk.synthesis = func(folder string) {
		require.NoError(t, os.WriteFile(cdk.Assembly(folder).Template("Deploy-staging"), []byte(oneTopic), 0o600))
	}
	s.a.template, s.b.template = oneTopic, oneTopic
	return s
}

func TestS15_WithoutAChangeTheNoteSaysSoAndNothingIsLeftBehind(t *testing.T) {
	s := newReview(t)
	require.NoError(t, s.both(t, "diff"))
	assert.True(t, strings.HasPrefix(s.out.String(), "## What changes in staging\n\nNothing changes.\n"), s.out.String())
	s.leavesNothing(t)
}

func TestS15_BothDeployedTemplatesAreComparedWithOneSynthesisAndNothingElseIsCalled(t *testing.T) {
	s := newReview(t)
	s.b.template = `{"Resources": {}}`
	require.NoError(t, s.both(t, "diff"))
	assert.Contains(t, s.out.String(), "0 resources are replaced, 0 removed, 1 created, 0 changed.")
	assert.Equal(t, []string{"cdk synth", "sts:GetCallerIdentity", "sts:GetCallerIdentity", "cloudformation:GetTemplate", "cloudformation:GetTemplate"}, s.did(2))
	assert.Equal(t, []string{"CDK_VALIDATION=false"}, s.cdk.runs[0].Env, "the templates are not validated only to be compared")
}

func TestS15_AStackThatDoesNotExistYetIsAllNew(t *testing.T) {
	s := newReview(t)
	s.b.state = ""
	require.NoError(t, s.both(t, "diff"))
	assert.Contains(t, s.out.String(), "Account 222222222222, ap-northeast-1. It is not deployed yet: all of it is created.")
}

func TestS15_AWrongAccountNeverLooksLikeAStackThatIsNotDeployed(t *testing.T) {
	s := newReview(t)
	s.b.id, s.b.state = "333333333333", ""
	assert.Equal(t, 2, exitStatus(s.both(t, "diff")))
	assert.Empty(t, s.out.String())
	assert.Contains(t, s.err.String(), "profile profile-b is of account 333333333333, but Deploy-staging belongs to account 222222222222")
}

func TestS15_ATemplateThatCannotBeReadIsNamedWithAWSsWords(t *testing.T) {
	s := newReview(t)
	withoutRight[cloudformation.GetTemplateInput, cloudformation.GetTemplateOutput](s.a)
	err := s.both(t, "diff")
	assert.Equal(t, 1, exitStatus(err))
	assert.Empty(t, s.out.String())
	assert.ErrorContains(t, err, "read the template of GitLab-staging as profile-a: ")
	assert.ErrorContains(t, err, "AccessDenied")
	for _, other := range []string{"Resources:\n", "null", `"text"`} {
		s = newReview(t)
		s.a.template = other
		assert.ErrorContains(t, s.both(t, "diff"), "the deployed template of GitLab-staging is not JSON: the CDK did not deploy it")
	}
}

func TestS15_DiffWithOnlyNeedsOneProfileAndLooksAtOneAccount(t *testing.T) {
	s := newReview(t)
	require.NoError(t, s.run(t, "diff", "--env", "staging", "--only", "b", "--profile-b", "profile-b"))
	assert.Contains(t, s.out.String(), "### Deploy-staging")
	assert.NotContains(t, s.out.String(), "GitLab-staging")
	assert.Empty(t, s.a.Calls())
	err := s.run(t, "diff", "--env", "staging", "--only", "b", "--profile-a", "profile-a")
	assert.Equal(t, 2, exitStatus(err))
	assert.ErrorContains(t, err, "missing: --profile-b")
	err = s.run(t, "diff", "--env", "staging", "--only", "c", "--profile-b", "profile-b")
	assert.Equal(t, 2, exitStatus(err))
	assert.ErrorContains(t, err, `--only: want a or b, got "c"`)
}

func TestS15_DiffComparesAnAssemblyThatWasMadeBefore(t *testing.T) {
	s := newReview(t)
	made := filepath.Join(t.TempDir(), "made before")
	s.cdk.template = `{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}, "Queue": {"Type": "AWS::SQS::Queue"}}}`
	s.cdk.synthesise(made)
	require.NoError(t, s.both(t, "diff", "--assembly", made))
	assert.Contains(t, s.out.String(), "| `Queue` | AWS::SQS::Queue |")
	assert.Empty(t, s.runs("synth"))
	err := s.both(t, "diff", "--assembly", "nowhere")
	assert.Equal(t, 2, exitStatus(err))
	assert.ErrorContains(t, err, "--assembly: nowhere/manifest.json does not exist")
}

func TestS15_DiffPrintsItsCallsInADryRunAndCallsNothing(t *testing.T) {
	s := newReview(t)
	s.open = func(context.Context, string, string) (aws.Config, error) {
		t.Error("no account is opened")
		return aws.Config{}, nil
	}
	require.NoError(t, s.both(t, "diff", "--dry-run"))
	assert.Contains(t, s.out.String(), `cloudformation:GetTemplate {"StackName":"GitLab-staging","TemplateStage":"Original"}`)
	assert.Regexp(t, `(?m)^cdk synth .*env=staging`, s.out.String())
	assert.Empty(t, s.a.Calls())
	s.leavesNothing(t)
}
