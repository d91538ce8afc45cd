package deploy

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
	"gitlab-codedeploy/lambda/internal/status"
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
			_, end := start(t, w, testUpload("v1"))
			require.Equal(t, Rejected, end.End)
			assert.Contains(t, end.Reason, `"web-blue-green" of "web" is not blue/green: set its deployment type to BLUE_GREEN`)
			assert.Empty(t, w.creates)
		})
	}
}

func TestS14_APositiveAnswerAboutAGroupIsBelievedForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		groups := &BlueGreenGroups{Client: w}
		requireGood(t, groups, testPair)
		time.Sleep(5*time.Minute - time.Nanosecond)
		requireGood(t, groups, testPair)
		assert.Len(t, w.groups, 1)

		requireGood(t, groups, allowlist.Pair{Application: "web", DeploymentGroup: "other"})
		assert.Len(t, w.groups, 2, "each pair has an answer of its own")

		time.Sleep(time.Nanosecond)
		requireGood(t, groups, testPair)
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
		fault, _ := groups.Check(t.Context(), testPair)
		rejected = append(rejected, fault != "")
	}
	assert.Equal(t, []bool{true, false, false, true, false}, rejected)
	requireGood(t, groups, testPair)
	assert.Len(t, w.groups, len(answers))
}

func requireGood(t *testing.T, groups *BlueGreenGroups, pair allowlist.Pair) {
	t.Helper()
	fault, err := groups.Check(t.Context(), pair)
	require.NoError(t, err)
	require.Empty(t, fault)
}

// The first state that a job sees tells it how long its deployment may take; so
// does that of the next upload, although the group is not asked again.
func TestS15_TheStateTellsWhatTheGroupWaitsFor(t *testing.T) {
	out := groupOf(types.DeploymentTypeBlueGreen)
	out.DeploymentGroupInfo.BlueGreenDeploymentConfiguration = &types.BlueGreenDeploymentConfiguration{
		DeploymentReadyOption:                     &types.DeploymentReadyOption{ActionOnTimeout: types.DeploymentReadyActionStopDeployment, WaitTimeInMinutes: 90},
		TerminateBlueInstancesOnDeploymentSuccess: &types.BlueInstanceTerminationOption{Action: types.InstanceActionTerminate, TerminationWaitTimeInMinutes: 60},
	}
	w := &world{group: func(context.Context, *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error) {
		return out, nil
	}}
	_, end := start(t, w, testUpload("v1"))
	require.Equal(t, Created, end.End, end.Reason)
	assert.Equal(t, status.Group{Traffic: "manual", TrafficMinutes: 90, Termination: "terminate", TerminationMinutes: 60}, w.status(t, "artifact").Group)

	groups := &BlueGreenGroups{Client: w}
	assert.Zero(t, groups.Settings(testPair))
	requireGood(t, groups, testPair)
	requireGood(t, groups, testPair)
	assert.Equal(t, int32(60), groups.Settings(testPair).TerminationMinutes)
}
