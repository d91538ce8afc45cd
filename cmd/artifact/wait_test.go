package main

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/upload/uploadtest"
)

// How states are read and told is tested beside upload.Wait; these are about what
// the command makes of it.

func TestS15_TheExitStatusAndTheResultTellHowTheDeploymentEnded(t *testing.T) {
	for state, want := range map[string]int{"Succeeded": 0, "Superseded": 0, "Failed": 1, "Stopped": 1, "Rejected": 1} {
		b := uploadtest.NewBucket(t, nil)
		b.Says(map[string]any{"state": state, "deploymentId": "d-7", "reason": `<green> & "blue", 日本語`})
		r := newJob(t, b).upload(t, "--wait")
		assert.Equal(t, want, r.status, r.stderr)
		assert.Equal(t, []any{state, "d-7", `<green> & "blue", 日本語`}, []any{r.field(t, "state"), r.field(t, "deploymentId"), r.field(t, "reason")})
		assert.Contains(t, r.stdout, `"reason":"<green> & \"blue\", 日本語"`)
		assert.Equal(t, b.Versions(defaultKey)[0].VersionID, r.field(t, "versionId"))
		if want == 1 {
			assert.Contains(t, r.last(), " error: "+state+" after ")
		}
	}
}

func TestS15_ATimeOutHasAnExitStatusOfItsOwn(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	b.Says(map[string]any{"state": "InProgress", "deploymentId": "d-7"})
	j := newJob(t, b)
	j.env["DEPLOY_TIMEOUT"] = "1"
	r := j.upload(t, "--wait")
	assert.Equal(t, 3, r.status, r.stderr)
	assert.Contains(t, r.last(), "error: timed out after 0m01s in state InProgress; deployment d-7 goes on")
	assert.Equal(t, []any{"InProgress", "d-7", nil}, []any{r.field(t, "state"), r.field(t, "deploymentId"), r.field(t, "reason")})
}

func TestS15_UntilTrafficIsGreenBeforeTheOldInstancesGo(t *testing.T) {
	for _, variable := range []string{"", "traffic"} {
		b := uploadtest.NewBucket(t, nil)
		b.Says(map[string]any{"state": "InProgress", "deploymentId": "d-7", "trafficMoved": true})
		j := newJob(t, b)
		args := []string{"--wait", "--until", "traffic"}
		if j.env["DEPLOY_UNTIL"] = variable; variable != "" {
			args = []string{"--wait"}
		}
		r := j.upload(t, args...)
		assert.Equal(t, 0, r.status, r.stderr)
		assert.Equal(t, "InProgress", r.field(t, "state"))
	}
}

func TestS15_TheVariableWaitsAsTheOptionDoes(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	b.Says(map[string]any{"state": "Succeeded"})
	j := newJob(t, b)
	j.env["DEPLOY_WAIT"] = "true"
	r := j.upload(t)
	assert.Equal(t, 0, r.status, r.stderr)
	assert.Equal(t, "Succeeded", r.field(t, "state"))

	j.env["DEPLOY_WAIT"] = "false"
	r = j.upload(t)
	assert.NotContains(t, r.stdout, `"state"`)
	assert.NotContains(t, r.stderr, "waiting")
}

func TestS15_ADryRunDoesNotWaitAndItsResultHasTheFieldsAsNull(t *testing.T) {
	r := newJob(t, nil).upload(t, "--dry-run", "--wait")
	assert.Equal(t, 0, r.status, r.stderr)
	assert.Equal(t, []any{nil, nil, nil, true}, []any{r.field(t, "state"), r.field(t, "deploymentId"), r.field(t, "reason"), r.field(t, "dryRun")})
}

func TestS15_AnUploadThatFailsIsNotWaitedFor(t *testing.T) {
	b := uploadtest.NewBucket(t, at("PutObject", uploadtest.Fault{Status: 403, Code: "AccessDenied"}))
	r := newJob(t, b).upload(t, "--wait")
	assert.Equal(t, 1, r.status)
	assert.NotContains(t, r.stderr, "waiting")
	assert.Empty(t, r.stdout)
	assert.Zero(t, b.Looks())
}

// full is where nothing can be written.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

//fault:whole the result cannot be written | that is no success
func TestS15_AResultThatNobodyCanTakeIsNoSuccess(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	b.Says(map[string]any{"state": "Succeeded"})
	j := newJob(t, b)
	j.stdout = full{}
	r := j.upload(t, "--wait")
	assert.Equal(t, 1, r.status)
	assert.Contains(t, r.stderr, "Succeeded after")
	assert.Contains(t, r.last(), "error: the result cannot be written: no space left on device")
	assert.Equal(t, 1, j.upload(t, "--dry-run").status)
}

func TestS15_StatusTellsOfAnEarlierUpload(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	status := func(args ...string) run {
		return j.run(t, append([]string{"status", "4711-90210-1c2d3e4f5a6b", "--bucket", "artifacts-test"}, args...)...)
	}
	r := status()
	assert.Equal(t, 1, r.status)
	assert.Contains(t, r.last(), "there is no state s3://artifacts-test/deployments/4711-90210-1c2d3e4f5a6b.json")
	assert.Nil(t, r.field(t, "state"))

	b.Says(map[string]any{"state": "InProgress", "deploymentId": "d-7", "key": defaultKey, "versionId": "v1"})
	r = status()
	require.Equal(t, 0, r.status, r.stderr)
	assert.JSONEq(t, `{"uploadId":"4711-90210-1c2d3e4f5a6b","bucket":"artifacts-test","key":"`+defaultKey+`","versionId":"v1",
		"state":"InProgress","deploymentId":"d-7","reason":null}`, r.stdout)

	b.SaysAt(func(_ string, looks int) any {
		return map[string]any{"state": map[bool]string{true: "InProgress", false: "Failed"}[looks < 6], "reason": "TIMEOUT"}
	})
	r = status("--wait")
	assert.Equal(t, 1, r.status)
	assert.Contains(t, r.last(), "error: Failed after 0m00s: TIMEOUT")
	assert.Equal(t, 1, status().status)
	assert.Equal(t, 3, func() int {
		b.Says(map[string]any{"state": "Waiting"})
		return status("--wait", "--timeout", "1").status
	}())
}
