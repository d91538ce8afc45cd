package status

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var states = []State{Waiting, Created, InProgress, Ready, Succeeded, Failed, Stopped, Superseded, Rejected}

func TestS15_TheStatesHaveOneOrder(t *testing.T) {
	for i, s := range states {
		for j, other := range states {
			assert.Equal(t, i > j && !other.Final(), s.After(other), "%s after %s", s, other)
		}
		assert.True(t, s.After(""))
		assert.Equal(t, i >= 4, s.Final(), s)
	}
}

func TestS15_CodeDeploysStatusesHaveAState(t *testing.T) {
	for deployment, want := range map[types.DeploymentStatus]State{
		"": Created, "Created": Created, "Queued": Created, "InProgress": InProgress, "Baking": InProgress, "Ready": Ready,
		"Succeeded": Succeeded, "Failed": Failed, "Stopped": Stopped, "SomethingNew": InProgress,
	} {
		assert.Equal(t, want, Of(deployment), deployment)
	}
	for _, known := range types.DeploymentStatus("").Values() {
		assert.True(t, Of(known) != InProgress || known == "InProgress" || known == "Baking", "%s needs a state", known)
	}
}

func TestS15_OnlyADeploymentThatEndedHasAReason(t *testing.T) {
	failure := &types.ErrorInformation{Code: "HEALTH_CONSTRAINTS", Message: aws.String("too few healthy instances")}
	reason := func(d *types.DeploymentInfo) string { return OfDeployment(d, "").Reason }
	assert.Equal(t, "HEALTH_CONSTRAINTS: too few healthy instances", reason(&types.DeploymentInfo{Status: "Failed", ErrorInformation: failure}))
	assert.Equal(t, "TIMEOUT", reason(&types.DeploymentInfo{Status: "Stopped", ErrorInformation: &types.ErrorInformation{Code: "TIMEOUT"}}))
	assert.Empty(t, reason(&types.DeploymentInfo{Status: "InProgress", ErrorInformation: failure}))
	assert.Empty(t, reason(&types.DeploymentInfo{Status: "Failed"}))
}

// Ready is for whoever has to let the traffic over; what comes after it is told.
//
//fault:words the traffic has moved, and the old instances are waited for | the state is not Ready, and says how many minutes are left
func TestS15_ReadyIsOnlyWhatSomebodyHasToActOn(t *testing.T) {
	options := func(action types.DeploymentReadyAction) *types.BlueGreenDeploymentConfiguration {
		return &types.BlueGreenDeploymentConfiguration{
			DeploymentReadyOption:                     &types.DeploymentReadyOption{ActionOnTimeout: action, WaitTimeInMinutes: 90},
			TerminateBlueInstancesOnDeploymentSuccess: &types.BlueInstanceTerminationOption{TerminationWaitTimeInMinutes: 75},
		}
	}
	stop, goOn := options(types.DeploymentReadyActionStopDeployment), options(types.DeploymentReadyActionContinueDeployment)
	const moved = "the new instances have the traffic; the old ones go 75 minutes later"
	for name, tt := range map[string]struct {
		info  types.DeploymentInfo
		heard State
		want  Status
	}{
		"somebody has to":        {types.DeploymentInfo{Status: "Ready", BlueGreenDeploymentConfiguration: stop}, "", Status{State: Ready, Group: Group{"manual", 90, "terminate", 75}, Reason: "let the traffic over within 90 minutes, or the deployment is stopped"}},
		"heard before":           {types.DeploymentInfo{Status: "InProgress", BlueGreenDeploymentConfiguration: stop}, Ready, Status{State: Ready, Group: Group{"manual", 90, "terminate", 75}, Reason: "let the traffic over within 90 minutes, or the deployment is stopped"}},
		"nobody has to":          {types.DeploymentInfo{Status: "Ready", BlueGreenDeploymentConfiguration: goOn}, Ready, Status{State: InProgress, Group: Group{"automatic", 0, "terminate", 75}}},
		"not told":               {types.DeploymentInfo{Status: "Ready"}, "", Status{State: Ready}},
		"moved":                  {types.DeploymentInfo{Status: "InProgress", BlueGreenDeploymentConfiguration: stop, InstanceTerminationWaitTimeStarted: true}, "", Status{State: InProgress, Group: Group{"manual", 90, "terminate", 75}, TrafficMoved: true, Reason: moved}},
		"moved, an old event":    {types.DeploymentInfo{Status: "InProgress", BlueGreenDeploymentConfiguration: stop, InstanceTerminationWaitTimeStarted: true}, Ready, Status{State: InProgress, Group: Group{"manual", 90, "terminate", 75}, TrafficMoved: true, Reason: moved}},
		"moved, minutes unknown": {types.DeploymentInfo{Status: "InProgress", InstanceTerminationWaitTimeStarted: true}, "", Status{State: InProgress, TrafficMoved: true, Reason: "the new instances have the traffic; the old ones go some time later"}},
		"over":                   {types.DeploymentInfo{Status: "Succeeded", InstanceTerminationWaitTimeStarted: true}, "", Status{State: Succeeded}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, OfDeployment(&tt.info, tt.heard)) })
	}
}

func TestS15_MergeKeepsWhatIsFurtherOn(t *testing.T) {
	for name, tt := range map[string]struct {
		seen, known Status
		taken       bool
	}{
		"the first":                         {Status{}, Status{State: Waiting}, true},
		"another reason to wait":            {Status{State: Waiting, Reason: "a"}, Status{State: Waiting, Reason: "b"}, true},
		"a deployment":                      {Status{State: Waiting}, Status{State: Created, DeploymentID: "d-1"}, true},
		"its event came first":              {Status{State: InProgress, DeploymentID: "d-1"}, Status{State: Created, DeploymentID: "d-1"}, false},
		"the same again":                    {Status{State: Ready, DeploymentID: "d-1"}, Status{State: Ready, DeploymentID: "d-1", Reason: "x"}, false},
		"further on":                        {Status{State: Ready, DeploymentID: "d-1"}, Status{State: Failed, DeploymentID: "d-1"}, true},
		"a second end":                      {Status{State: Failed, DeploymentID: "d-1"}, Status{State: Succeeded, DeploymentID: "d-1"}, false},
		"a second deployment":               {Status{State: Created, DeploymentID: "d-1"}, Status{State: Succeeded, DeploymentID: "d-2"}, false},
		"a verdict while one waits":         {Status{State: Waiting}, Status{State: Superseded}, true},
		"a verdict against a deployment":    {Status{State: Created, DeploymentID: "d-1"}, Status{State: Rejected}, false},
		"waiting in spite of a deployment":  {Status{State: Created, DeploymentID: "d-1"}, Status{State: Waiting}, false},
		"the traffic has moved":             {Status{State: Ready, DeploymentID: "d-1"}, Status{State: InProgress, TrafficMoved: true, DeploymentID: "d-1"}, true},
		"moved, and an old event":           {Status{State: InProgress, TrafficMoved: true, DeploymentID: "d-1"}, Status{State: Ready, DeploymentID: "d-1"}, false},
		"the end after it":                  {Status{State: InProgress, TrafficMoved: true, DeploymentID: "d-1"}, Status{State: Failed, DeploymentID: "d-1"}, true},
		"given up":                          {Status{State: Waiting}, Status{State: Rejected, GivenUp: true}, true},
		"revived":                           {Status{State: Rejected, GivenUp: true}, Status{State: Waiting}, true},
		"deployed after all":                {Status{State: Rejected, GivenUp: true}, Status{State: Created, DeploymentID: "d-1"}, true},
		"given up in spite of a deployment": {Status{State: Created, DeploymentID: "d-1"}, Status{State: Rejected, GivenUp: true}, false},
		"the reason comes later":            {Status{State: Failed, DeploymentID: "d-1"}, Status{State: Failed, DeploymentID: "d-1", Reason: "x"}, true},
		"the log comes later":               {Status{State: Failed, DeploymentID: "d-1", Reason: "x"}, Status{State: Failed, DeploymentID: "d-1", Reason: "x; y", LogTail: "z"}, true},
		"another reason of the end":         {Status{State: Failed, DeploymentID: "d-1", Reason: "x"}, Status{State: Failed, DeploymentID: "d-1", Reason: "y"}, false},
		"a deployment in spite of the end":  {Status{State: Superseded}, Status{State: Created, DeploymentID: "d-1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			want := tt.seen
			if tt.taken {
				want = tt.known
			}
			assert.Equal(t, want, tt.seen.Merge(tt.known))
		})
	}
}

// All that can happen to one upload, in every order, each of it any number of
// times in between: what is seen never goes back, and once everything has been
// heard, the end is the end that was heard first.
//
//fault:end events come late, twice, and in any order | no state goes back
func TestS15_NoOrderOfEventsMovesAStateBack(t *testing.T) {
	happenings := []Status{
		{State: Waiting, Reason: "busy"},
		{State: Created, DeploymentID: "d-1"},
		{State: InProgress, DeploymentID: "d-1"},
		{State: Ready, DeploymentID: "d-1"},
		{State: Succeeded, DeploymentID: "d-1"},
		{State: Failed, DeploymentID: "d-1"},
		{State: Created, DeploymentID: "d-2"},
		{State: Superseded},
	}
	orders := 0
	permutations(happenings, func(order []Status) {
		orders++
		var seen Status
		for i, h := range order {
			next := seen.Merge(h)
			again := next.Merge(h)
			for _, old := range order[:i] {
				again = again.Merge(old) // repeated events
			}
			switch {
			case again != next && !(again.State == Waiting && next.State == Waiting):
				t.Fatalf("%v: an event that came again changed %v to %v", order, next, again)
			case seen.State.After(next.State):
				t.Fatalf("%v: %s went back to %s", order, seen.State, next.State)
			case seen.State.Final() && next != seen:
				t.Fatalf("%v: %v did not stay", order, seen)
			case seen.DeploymentID != "" && next.DeploymentID != seen.DeploymentID:
				t.Fatalf("%v: deployment %s became %q", order, seen.DeploymentID, next.DeploymentID)
			}
			seen = next
		}
		if first := order[0]; first.State == Superseded && seen != first {
			t.Fatalf("%v ended as %v", order, seen)
		}
		if seen.DeploymentID == "d-1" && !seen.State.Final() {
			t.Fatalf("%v ended as %v", order, seen)
		}
	})
	assert.Equal(t, 8*7*6*5*4*3*2, orders)
}

func permutations(list []Status, visit func([]Status)) {
	var from func(int)
	from = func(n int) {
		if n == len(list) {
			visit(list)
			return
		}
		for i := n; i < len(list); i++ {
			list[n], list[i] = list[i], list[n]
			from(n + 1)
			list[n], list[i] = list[i], list[n]
		}
	}
	from(0)
}

func TestS15_TheObjectHasTheDocumentedForm(t *testing.T) {
	s := Status{
		UploadID: "job-9", State: Failed, DeploymentID: "d-1", Application: "web", DeploymentGroup: "g",
		Key: "artifacts/a&b.gz", VersionID: "v1", Reason: "HEALTH_CONSTRAINTS: <none> \"left\"",
		UpdatedAt: time.Date(2026, 11, 23, 1, 2, 3, 4e6, time.UTC),
	}
	text, err := s.encode()
	require.NoError(t, err)
	assert.Equal(t, `{"uploadId":"job-9","state":"Failed","deploymentId":"d-1","application":"web","deploymentGroup":"g",`+
		`"key":"artifacts/a&b.gz","versionId":"v1","reason":"HEALTH_CONSTRAINTS: <none> \"left\"","updatedAt":"2026-11-23T01:02:03.004Z"}`+"\n", string(text))

	back, err := decode(text)
	require.NoError(t, err)
	assert.Equal(t, s, back)

	s.Group, s.LogTail = Group{"manual", 90, "keep", 0}, "line\n日本語"
	s.TrafficMoved, s.GivenUp = true, true
	text, err = s.encode()
	require.NoError(t, err)
	assert.Contains(t, string(text), `,"group":{"traffic":"manual","trafficMinutes":90,"termination":"keep","terminationMinutes":0},"logTail":"line\n日本語","trafficMoved":true,"givenUp":true}`)
}

func TestS15_WhatIsNoStatusIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "null", "[]", `{}`, `{"state":"Done","versionId":"v"}`, `{"state":"Waiting"}`, `{"state":7}`,
		`{"state":"Waiting","versionId":"v","updatedAt":"yesterday"}`, `{"state":"Waiting","versionId":"v"}}`,
		`{"state":"Waiting","versionId":"v","reason":"` + strings.Repeat("x", maxObject) + `"}`,
	} {
		_, err := decode([]byte(text))
		require.Error(t, err, "%.80s", text)
		assert.Less(t, len(err.Error()), 400)
	}
}

func TestS15_NoIDForgesAPath(t *testing.T) {
	own := IDs("", "artifacts/x.gz", "../v")[0]
	require.Len(t, own, len("sha256.")+64)
	for _, tt := range []struct {
		uploadID, versionID string
		want                []string
	}{
		{"job-9", "3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY", []string{"job-9", "sha"}},
		{"job-9", "v._-1", []string{"job-9", "v._-1", "sha"}},
		{"", "v1", []string{"v1", "sha"}},
		{"v1", "v1", []string{"v1", "sha"}},
		{"../../artifacts/x", "v1", []string{"v1", "sha"}},
		{"a/b", "c/d", []string{"sha"}},
		{"a b", "v1\n", []string{"sha"}},
		{strings.Repeat("x", 129), strings.Repeat("v", 1024), []string{"sha"}},
		{"ａ", "", []string{"sha"}},
	} {
		got := IDs(tt.uploadID, "artifacts/x.gz", tt.versionID)
		assert.True(t, strings.HasPrefix(got[len(got)-1], "sha256."), got)
		got[len(got)-1] = "sha"
		assert.Equal(t, tt.want, got)
	}
	assert.Equal(t, []string{own}, IDs(own, "artifacts/x.gz", "../v"), "the last resort is listed once")
	assert.NotEqual(t, IDs("", "a", "bc/")[0], IDs("", "ab", "c/")[0])
}

func FuzzObject(f *testing.F) {
	f.Add(`{"uploadId":"job-9","state":"Waiting","deploymentId":"","application":"web","deploymentGroup":"g","key":"artifacts/x.gz","versionId":"v1","reason":"","updatedAt":"2026-11-23T01:02:03.004Z","claim":{"message":"m","receive":1,"request":"r"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := decode([]byte(text))
		if err != nil {
			return
		}
		if !s.State.After("") || s.VersionID == "" {
			t.Fatalf("accepted %+v", s)
		}
		again, err := s.encode()
		if err != nil {
			return // a time that JSON cannot hold
		}
		back, err := decode(again)
		if err != nil || !back.UpdatedAt.Equal(s.UpdatedAt) || back.Merge(s) != back && !(s.State == Waiting) {
			t.Fatalf("%q came back as %+v, %v", text, back, err)
		}
	})
}

func FuzzIDs(f *testing.F) {
	f.Add("job-9", "artifacts/x.gz", "v1")
	f.Add("../x", "artifacts/x.gz", "..")
	f.Fuzz(func(t *testing.T, uploadID, key, versionID string) {
		ids := IDs(uploadID, key, versionID)
		if len(ids) == 0 {
			t.Fatal("no id")
		}
		for _, id := range ids {
			if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool {
				return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", r)
			}) {
				t.Fatalf("id %q", id)
			}
		}
	})
}

// statusJSON is an object as it could stand in the bucket.
func statusJSON(s Status) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestS15_AGroupsSettingsSayWhatItWaitsFor(t *testing.T) {
	ready := func(action types.DeploymentReadyAction, minutes int32) *types.DeploymentReadyOption {
		return &types.DeploymentReadyOption{ActionOnTimeout: action, WaitTimeInMinutes: minutes}
	}
	old := func(action types.InstanceAction, minutes int32) *types.BlueInstanceTerminationOption {
		return &types.BlueInstanceTerminationOption{Action: action, TerminationWaitTimeInMinutes: minutes}
	}
	for name, tt := range map[string]struct {
		settings *types.BlueGreenDeploymentConfiguration
		want     Group
	}{
		"unknown":          {nil, Group{}},
		"CodeDeploy's own": {&types.BlueGreenDeploymentConfiguration{}, Group{"automatic", 0, "keep", 0}},
		"a person, then an hour": {&types.BlueGreenDeploymentConfiguration{
			DeploymentReadyOption: ready(types.DeploymentReadyActionStopDeployment, 90), TerminateBlueInstancesOnDeploymentSuccess: old(types.InstanceActionTerminate, 60),
		}, Group{"manual", 90, "terminate", 60}},
		"at once, and at once": {&types.BlueGreenDeploymentConfiguration{
			DeploymentReadyOption: ready(types.DeploymentReadyActionContinueDeployment, 0), TerminateBlueInstancesOnDeploymentSuccess: old(types.InstanceActionTerminate, 0),
		}, Group{"automatic", 0, "terminate", 0}},
		"kept": {&types.BlueGreenDeploymentConfiguration{TerminateBlueInstancesOnDeploymentSuccess: old(types.InstanceActionKeepAlive, 5)}, Group{"automatic", 0, "keep", 0}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, GroupOf(tt.settings)) })
	}
}
