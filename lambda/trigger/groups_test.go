package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/allowlist"
)

func TestS14_AGroupThatIsNotBlueGreenIsRejected(t *testing.T) {
	for name, out := range map[string]*codedeploy.GetDeploymentGroupOutput{
		"in-place": groupOf(types.DeploymentTypeInPlace),
		"no style": {DeploymentGroupInfo: &types.DeploymentGroupInfo{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{group: func(context.Context, *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error) {
				return out, nil
			}}
			_, err := start(t, w, Upload{Bucket: testBucket, Key: testKey, VersionID: "v1"})
			require.ErrorIs(t, err, ErrRejected)
			assert.ErrorContains(t, err, `"web-blue-green" of "web" is not blue/green: set its deployment type to BLUE_GREEN`)
			assert.Empty(t, w.creates)
		})
	}
}

func TestS14_APositiveAnswerAboutAGroupIsBelievedForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		groups := &BlueGreenGroups{Client: w}
		require.NoError(t, groups.Check(t.Context(), testPair))
		time.Sleep(5*time.Minute - time.Nanosecond)
		require.NoError(t, groups.Check(t.Context(), testPair))
		assert.Len(t, w.groups, 1)

		require.NoError(t, groups.Check(t.Context(), allowlist.Pair{Application: "web", DeploymentGroup: "other"}))
		assert.Len(t, w.groups, 2, "each pair has an answer of its own")

		time.Sleep(time.Nanosecond)
		require.NoError(t, groups.Check(t.Context(), testPair))
		assert.Len(t, w.groups, 3)
	})
}

func TestS14_NegativeAnswersAboutAGroupAreNotKept(t *testing.T) {
	answers := []func() (*codedeploy.GetDeploymentGroupOutput, error){
		func() (*codedeploy.GetDeploymentGroupOutput, error) { return groupOf(types.DeploymentTypeInPlace), nil },
		func() (*codedeploy.GetDeploymentGroupOutput, error) { return nil, errors.New("connection reset") },
		func() (*codedeploy.GetDeploymentGroupOutput, error) {
			return &codedeploy.GetDeploymentGroupOutput{}, nil
		},
		func() (*codedeploy.GetDeploymentGroupOutput, error) {
			return nil, &types.DeploymentGroupDoesNotExistException{}
		},
		func() (*codedeploy.GetDeploymentGroupOutput, error) {
			return groupOf(types.DeploymentTypeBlueGreen), nil
		},
	}
	w := &world{}
	w.group = func(context.Context, *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error) {
		return answers[len(w.groups)-1]()
	}
	groups := &BlueGreenGroups{Client: w}
	var rejected []bool
	for range answers {
		rejected = append(rejected, errors.Is(groups.Check(t.Context(), testPair), ErrRejected))
	}
	assert.Equal(t, []bool{true, false, false, true, false}, rejected)
	require.NoError(t, groups.Check(t.Context(), testPair))
	assert.Len(t, w.groups, len(answers))
}
