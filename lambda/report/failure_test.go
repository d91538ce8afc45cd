package report

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/status"
)

const healthConstraints = `"errorInformation":{"code":"HEALTH_CONSTRAINTS","message":"too few healthy instances"},"creator"`

// instances answers with one target that failed in AfterInstall, after one that
// did not get that far.
func (f fixture) instances() {
	f.Operations["ListDeploymentTargets"] = func(w http.ResponseWriter, _ string, _ int) {
		io.WriteString(w, `{"targetIds":["i-0first","i-0second"]}`)
	}
	f.Operations["BatchGetDeploymentTargets"] = func(w http.ResponseWriter, _ string, _ int) {
		io.WriteString(w, `{"deploymentTargets":[
			{"deploymentTargetType":"InstanceTarget","instanceTarget":{"targetId":"i-0first","status":"Failed","lifecycleEvents":[{"lifecycleEventName":"BeforeInstall","status":"Skipped"}]}},
			{"deploymentTargetType":"InstanceTarget","instanceTarget":{"targetId":"i-0second","status":"Failed","lifecycleEvents":[
				{"lifecycleEventName":"BeforeInstall","status":"Succeeded"},
				{"lifecycleEventName":"AfterInstall","status":"Failed","diagnostics":{"errorCode":"ScriptFailed","scriptName":"scripts/start.sh",
					"message":"Script at specified location: scripts/start.sh failed with exit code 1","logTail":"LifecycleEvent - AfterInstall\n[stderr]起動できません\n"}}]}}]}`)
	}
}

// CodeDeploy's own message names neither instance nor script.
//
//fault:words a script fails on an instance | the state names instance, lifecycle event and script, and has the end of its log
func TestS15_AFailedDeploymentSaysWhereAndHow(t *testing.T) {
	const want = "HEALTH_CONSTRAINTS: too few healthy instances; AfterInstall failed on i-0second (ScriptFailed, scripts/start.sh): " +
		"Script at specified location: scripts/start.sh failed with exit code 1"
	told := func(t *testing.T, f fixture) {
		s := f.status(t, statusPath)
		assert.Equal(t, want, s["reason"])
		assert.Equal(t, "LifecycleEvent - AfterInstall\n[stderr]起動できません\n", s["logTail"])
	}
	t.Run("told by an event", func(t *testing.T) {
		f := newFixture(t, deployment("Failed", `"creator"`, healthConstraints))
		f.instances()
		require.NoError(t, f.handle(t, sample("FAILURE")))
		told(t, f)
		assert.JSONEq(t, `{"deploymentId":"d-WIRE00001","targetFilters":{"TargetStatus":["Failed"]}}`, f.Bodies("ListDeploymentTargets")[0])
		assert.JSONEq(t, `{"deploymentId":"d-WIRE00001","targetIds":["i-0first","i-0second"]}`, f.Bodies("BatchGetDeploymentTargets")[0])
	})
	t.Run("found by the schedule", func(t *testing.T) {
		f, _ := newSchedule(t, map[string]string{"d-1": `"status":"Failed",` + strings.TrimSuffix(healthConstraints, `,"creator"`)})
		f.instances()
		f.putStatus("InProgress", `,"deploymentId":"d-1"`)
		f.putRecord(t, group.Record{Deployments: []group.Deployment{{Upload: job9, DeploymentID: "d-1", State: status.InProgress}}})
		require.NoError(t, f.handle(t, schedule))
		told(t, f)
	})
	t.Run("of no other end", func(t *testing.T) {
		for _, state := range []string{"Succeeded", "Stopped", "InProgress"} {
			f := newFixture(t, deployment(state))
			f.instances()
			require.NoError(t, f.handle(t, sample("STOP")))
			assert.NotContains(t, f.Requests(), "ListDeploymentTargets", state)
		}
	})
}

// targets play instances, without a wire.
type targets struct {
	list func(context.Context) error
	get  []types.DeploymentTarget
	err  error
}

func (t targets) ListDeploymentTargets(ctx context.Context, _ *codedeploy.ListDeploymentTargetsInput, _ ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentTargetsOutput, error) {
	if t.list != nil {
		return nil, t.list(ctx)
	}
	return &codedeploy.ListDeploymentTargetsOutput{TargetIds: make([]string, 100)}, nil
}

func (t targets) BatchGetDeploymentTargets(_ context.Context, in *codedeploy.BatchGetDeploymentTargetsInput, _ ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentTargetsOutput, error) {
	if len(in.TargetIds) > 25 {
		return nil, errors.New("more than 25 targets")
	}
	return &codedeploy.BatchGetDeploymentTargetsOutput{DeploymentTargets: t.get}, t.err
}

//fault:words CodeDeploy does not tell where a deployment failed | its own reason is told, and in time
func TestS15_WhereADeploymentFailedIsACourtesy(t *testing.T) {
	failed := func(code types.LifecycleErrorCode, text string) []types.LifecycleEvent {
		return []types.LifecycleEvent{{LifecycleEventName: aws.String("BeforeAllowTraffic"), Status: types.LifecycleEventStatusFailed,
			Diagnostics: &types.Diagnostics{ErrorCode: code, Message: &text}}}
	}
	for name, tt := range map[string]struct {
		targets targets
		want    string
	}{
		"refused":         {targets{list: func(context.Context) error { return errors.New("AccessDenied") }}, "TIMEOUT"},
		"refused later":   {targets{err: errors.New("AccessDenied")}, "TIMEOUT"},
		"no target":       {targets{}, "TIMEOUT"},
		"nothing known":   {targets{get: []types.DeploymentTarget{{}}}, "TIMEOUT"},
		"no diagnostics":  {targets{get: []types.DeploymentTarget{{EcsTarget: &types.ECSTarget{TargetId: aws.String("web:1"), LifecycleEvents: []types.LifecycleEvent{{LifecycleEventName: aws.String("Install"), Status: types.LifecycleEventStatusFailed}}}}}}, "TIMEOUT; Install failed on web:1"},
		"Lambda":          {targets{get: []types.DeploymentTarget{{LambdaTarget: &types.LambdaTarget{TargetId: aws.String("f"), LifecycleEvents: failed("UnknownError", "no\n  answer")}}}}, "TIMEOUT; BeforeAllowTraffic failed on f (UnknownError): no answer"},
		"does not answer": {targets{list: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, "TIMEOUT"},
		"tells very much": {targets{get: []types.DeploymentTarget{{InstanceTarget: &types.InstanceTarget{TargetId: aws.String("i-1"), LifecycleEvents: failed("ScriptFailed", strings.Repeat("x", 9000))}}}}, "TIMEOUT; BeforeAllowTraffic failed on i-1 (ScriptFailed): " + strings.Repeat("x", 300) + "… (9000 bytes)"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				known := status.Status{State: status.Failed, DeploymentID: "d-1", Reason: "TIMEOUT"}
				start := time.Now()
				(&Reporter{Targets: tt.targets, Log: slog.New(slog.DiscardHandler)}).explain(t.Context(), &known)
				assert.Equal(t, tt.want, known.Reason)
				assert.LessOrEqual(t, time.Since(start), explaining)
			})
		})
	}
}
