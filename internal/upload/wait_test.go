package upload

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	testID      = "4711-90210-1c2d3e4f5a6b"
	testKey     = "artifacts/web/artifact.gz"
	testVersion = "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"
)

// stateBucket plays the artifact bucket. What happens there happens at a look.
type stateBucket struct {
	objects map[string]string
	// at is what account B does before the n-th list, counted from 1.
	at map[int]func()
	// list and get fail a request; n counts those of its kind.
	list, get func(ctx context.Context, n int) error

	lists, gets int
	pauses      []time.Duration
	last        time.Time
}

func (b *stateBucket) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	if b.lists++; b.lists > 1 {
		b.pauses = append(b.pauses, time.Since(b.last))
	}
	b.last = time.Now()
	if do := b.at[b.lists]; do != nil {
		do()
	}
	if b.list != nil {
		if err := b.list(ctx, b.lists); err != nil {
			return nil, err
		}
	}
	out, first := &s3.ListObjectsV2Output{}, ""
	for key := range b.objects {
		if strings.HasPrefix(key, *in.Prefix) && (first == "" || key < first) {
			first = key
		}
	}
	if first != "" {
		text := b.objects[first]
		out.Contents = []s3types.Object{{Key: &first, ETag: aws.String(fmt.Sprintf(`"%x"`, md5.Sum([]byte(text)))), Size: aws.Int64(int64(len(text)))}}
	}
	return out, nil
}

func (b *stateBucket) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	b.gets++
	if b.get != nil {
		if err := b.get(ctx, b.gets); err != nil {
			return nil, err
		}
	}
	text, there := b.objects[*in.Key]
	if !there {
		return nil, refusal("AccessDenied") // as S3 says to a role that may not list all of the bucket
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(text))}, nil
}

// put writes a state as account B's functions do; pairs add fields or replace them.
func (b *stateBucket) put(id, state string, pairs ...any) {
	fields := map[string]any{
		"uploadId": id, "state": state, "deploymentId": "", "application": "web", "deploymentGroup": "web-blue-green",
		"key": testKey, "versionId": testVersion, "reason": "", "updatedAt": "2026-11-23T10:00:00Z",
	}
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i].(string)] = pairs[i+1]
	}
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	if b.objects == nil {
		b.objects = map[string]string{}
	}
	b.objects[StatePrefix+id+".json"] = string(text)
}

// follow waits in played time. It returns the error, and what was said.
func follow(t *testing.T, b *stateBucket, adjust ...func(*Wait)) (w *Wait, said string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, said, err = followNow(t.Context(), b, adjust...)
	})
	return w, said, err
}

func followNow(ctx context.Context, b *stateBucket, adjust ...func(*Wait)) (*Wait, string, error) {
	var out bytes.Buffer
	w := &Wait{
		Client: b, Bucket: "artifacts-test", IDs: StateIDs(testID, testKey, testVersion), Key: testKey, VersionID: testVersion,
		Since: time.Now(), Region: "ap-northeast-1", Log: func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) },
	}
	for _, f := range adjust {
		f(w)
	}
	err := w.Follow(ctx)
	return w, out.String(), err
}

func timeout(d time.Duration) func(*Wait) { return func(w *Wait) { w.Timeout = d } }

func refusal(code string) error { return &smithy.GenericAPIError{Code: code, Message: "as told"} }

// --- how it ends -----------------------------------------------------------

func TestS15_TheStatesAndTheWayToTheConsoleAreTold(t *testing.T) {
	b := &stateBucket{}
	b.at = map[int]func(){
		1: func() { b.put(testID, Waiting, "reason", "deployment d-OLD is still running") },
		2: func() { b.put(testID, Created, "deploymentId", "d-ABC123XYZ") },
		3: func() { b.put(testID, Succeeded, "deploymentId", "d-ABC123XYZ") },
	}
	w, said, err := follow(t, b)
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^waiting up to 3600 s for the deployment, and as long as its group waits by itself$`, said)
	assert.Regexp(t, `(?m)^Waiting after 0m00s: deployment d-OLD is still running$`, said)
	assert.Regexp(t, `(?m)^Created after 0m0[1-2]s$`, said)
	assert.Regexp(t, `Succeeded after 0m0[3-6]s\n$`, said)
	assert.Equal(t, State{Name: Succeeded, DeploymentID: "d-ABC123XYZ", Key: testKey, VersionID: testVersion}, w.State)
	assert.Equal(t, 1, strings.Count(said, "https://ap-northeast-1.console.aws.amazon.com/codesuite/codedeploy/deployments/d-ABC123XYZ?region=ap-northeast-1\n"),
		"once, as soon as the deployment is known")
}

func TestS15_FailedStoppedAndRejectedAreErrorsWithTheReason(t *testing.T) {
	const reason = `HEALTH_CONSTRAINTS: the "green" fleet \ did not come up`
	for state, want := range map[string]string{
		Failed:   "Failed after 0m00s, deployment d-1: " + reason,
		Stopped:  "Stopped after 0m00s, deployment d-1: " + reason,
		Rejected: "Rejected after 0m00s, nothing is deployed: " + reason,
	} {
		b := &stateBucket{}
		b.put(testID, state, "deploymentId", "d-1", "reason", reason)
		w, _, err := follow(t, b)
		require.EqualError(t, err, want)
		assert.Equal(t, []string{state, "d-1", reason}, []string{w.State.Name, w.State.DeploymentID, w.State.Reason})

		b.put(testID, state)
		_, _, err = follow(t, b)
		assert.ErrorContains(t, err, "no reason was given")
	}
}

func TestS15_SupersededIsWellAndTheNewerUploadsPipelineTells(t *testing.T) {
	b := &stateBucket{}
	b.put(testID, Superseded)
	_, said, err := follow(t, b)
	require.NoError(t, err)
	assert.Contains(t, said, "Superseded after 0m00s; this upload is not deployed, a newer one took its place, and the newer one's pipeline tells how that ends\n")
}

func TestS15_WithoutAnyStateTheTimeOutSaysWhomToAsk(t *testing.T) {
	_, said, err := follow(t, &stateBucket{}, timeout(30*time.Second))
	var late *TimeoutError
	require.ErrorAs(t, err, &late)
	assert.Contains(t, said, "waiting up to 30 s for the deployment\n")
	assert.EqualError(t, err, "timed out after 0m30s without a state; the upload stays, and may still be deployed. Nothing has taken the upload up: "+
		"account B's operators see why in the trigger's log and in its queue. To wait longer, raise --timeout or DEPLOY_TIMEOUT, and the job's timeout. "+
		"Running the job again uploads and deploys again")
}

func TestS15_TimedOutInAStateItSaysWhichAndWhatGoesOn(t *testing.T) {
	b := &stateBucket{}
	b.put(testID, InProgress, "deploymentId", "d-7", "reason", "2 of 4 instances")
	w, _, err := follow(t, b, timeout(time.Second))
	var late *TimeoutError
	require.ErrorAs(t, err, &late)
	assert.ErrorContains(t, err, "in state InProgress (2 of 4 instances); deployment d-7 goes on. See where it stands in account B's CodeDeploy console: https://")
	assert.Equal(t, InProgress, w.State.Name)

	b.put(testID, Waiting, "reason", "group is busy")
	_, _, err = follow(t, b, timeout(time.Second))
	require.ErrorAs(t, err, &late)
	assert.ErrorContains(t, err, "in state Waiting (group is busy); the upload stays, and may still be deployed. It is deployed as soon as its group is free")
}

func TestS15_ASignalEndsTheWaitAtOnceAndSaysWhatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("SIGTERM")
		b := &stateBucket{}
		b.put(testID, InProgress, "deploymentId", "d-7")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(cause) })
		start := time.Now()
		w, _, err := followNow(ctx, b)
		require.ErrorIs(t, err, cause)
		assert.EqualError(t, err, "interrupted after 0m05s in state InProgress; deployment d-7 goes on")
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.Equal(t, "d-7", w.State.DeploymentID)
	})
}

func TestS15_ASignalEndsALookThatS3DoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &stateBucket{list: func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		_, said, err := followNow(ctx, b)
		require.ErrorIs(t, err, context.Canceled)
		assert.EqualError(t, err, "interrupted after 0m02s without a state; the upload stays, and may still be deployed")
		assert.NotContains(t, said, "cannot be seen")
	})
}

// --- a wait that knows the group -------------------------------------------

func group(traffic string, trafficMinutes int, termination string, terminationMinutes int) map[string]any {
	return map[string]any{"traffic": traffic, "trafficMinutes": trafficMinutes, "termination": termination, "terminationMinutes": terminationMinutes}
}

//fault:whole the group waits for longer than an hour | so does the job
func TestS15_TheDefaultTimeOutCoversWhatTheGroupWaitsFor(t *testing.T) {
	for _, tt := range []struct {
		name         string
		group        any
		untilTraffic bool
		want         time.Duration
		says         string
	}{
		{"unknown", nil, false, time.Hour, ""},
		{"nothing to wait for", group("automatic", 0, "terminate", 0), false, time.Hour, "of the deployment group: the traffic moves once the new instances are ready; the old ones go at once\n"},
		{"the old instances", group("automatic", 0, "terminate", 60), false, 2 * time.Hour,
			"of the deployment group: the traffic moves once the new instances are ready; the old ones go 60 minutes later\nwaiting up to 7200 s, of which the group waits for 3600 s\n"},
		{"a person", group("manual", 90, "terminate", 1), false, time.Hour + 91*time.Minute,
			"of the deployment group: somebody has to let the traffic over to the new instances, within 90 minutes; the old ones go 1 minute later\n"},
		{"the old ones stay", group("automatic", 0, "keep", 60), false, time.Hour, "; the old ones stay\n"},
		{"a person, until the traffic moves", group("manual", 90, "terminate", 60), true, time.Hour + 90*time.Minute, "of which the group waits for 5400 s"},
		{"two days of each", group("manual", 2880, "terminate", 2880), false, 97 * time.Hour, ""},
		{"a setting that no group can have", group("manual", 2881, "terminate", 0), false, time.Hour, ""},
		{"a negative one", group("manual", 1, "terminate", -60), false, time.Hour, ""},
		{"text where a number is wanted", map[string]any{"traffic": "manual", "trafficMinutes": "90", "terminationMinutes": 0}, false, time.Hour, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &stateBucket{}
				b.put(testID, InProgress, "group", tt.group)
				start := time.Now()
				_, said, err := followNow(t.Context(), b, func(w *Wait) { w.UntilTraffic = tt.untilTraffic })
				var late *TimeoutError
				require.ErrorAs(t, err, &late)
				assert.Equal(t, tt.want, time.Since(start))
				assert.Contains(t, said, tt.says)
				assert.LessOrEqual(t, strings.Count(said, "of the deployment group"), 1, "told once")
			})
		})
	}
}

func TestS15_ATimeOutThatIsOverBeforeTheGroupIsWarnedOf(t *testing.T) {
	b := &stateBucket{}
	b.put(testID, InProgress, "group", group("automatic", 0, "terminate", 60))
	_, said, err := follow(t, b, timeout(time.Hour), func(w *Wait) { w.JobTimeout = 30 * time.Minute })
	require.Error(t, err)
	assert.Contains(t, said, "warning: the time-out of 3600 s is over before the group is: it waits for 3600 s by itself\n")
	assert.Contains(t, said, "warning: GitLab ends the job 1800 s after its beginning, and this may take 3600 s: raise the job's \"timeout:\"\n")
	_, said, _ = follow(t, b, timeout(time.Hour+time.Second), func(w *Wait) { w.JobTimeout = 2 * time.Hour })
	assert.NotContains(t, said, "warning")
}

func TestS15_UntilTrafficEndsWellWhenTheNewInstancesHaveIt(t *testing.T) {
	moved := func(until bool) (*Wait, string, error) {
		b := &stateBucket{}
		b.put(testID, InProgress, "deploymentId", "d-7")
		b.at = map[int]func(){
			2: func() {
				b.put(testID, InProgress, "deploymentId", "d-7", "trafficMoved", true, "reason", "the new instances have the traffic; the old ones go 60 minutes later")
			},
			3: func() { b.put(testID, Failed, "deploymentId", "d-7", "trafficMoved", true) },
		}
		return follow(t, b, func(w *Wait) { w.UntilTraffic = until })
	}
	w, said, err := moved(true)
	require.NoError(t, err)
	assert.Equal(t, InProgress, w.State.Name)
	assert.Contains(t, said, "the new instances have the traffic, which is what was waited for; deployment d-7 goes on\n")
	_, _, err = moved(false)
	require.ErrorContains(t, err, "Failed after")

	b := &stateBucket{}
	b.put(testID, Failed, "trafficMoved", true)
	_, _, err = follow(t, b, func(w *Wait) { w.UntilTraffic = true })
	require.ErrorContains(t, err, "Failed after", "an end counts for more than the traffic")
}

func TestS15_TheLogOfTheInstanceThatFailedIsShown(t *testing.T) {
	b := &stateBucket{}
	b.put(testID, Failed, "deploymentId", "d-7", "reason", "HEALTH_CONSTRAINTS: AfterInstall failed on i-1", "logTail", "[stderr]起動できません\n\x1b[2Jexit 1\n")
	w, said, err := follow(t, b)
	require.EqualError(t, err, "Failed after 0m00s, deployment d-7: HEALTH_CONSTRAINTS: AfterInstall failed on i-1")
	assert.Contains(t, said, "log of the instance: [stderr]起動できません\nlog of the instance: exit 1\n")
	assert.Len(t, w.State.Log, 2)
}

// --- how often it asks -----------------------------------------------------

func TestS15_ThePausesGrowFromTwoToFifteenSecondsGiveOrTakeAQuarter(t *testing.T) {
	b := &stateBucket{}
	b.at = map[int]func(){12: func() { b.put(testID, Succeeded) }}
	_, _, err := follow(t, b)
	require.NoError(t, err)
	factors := map[float64]bool{}
	for i, about := range []float64{2, 3, 4.5, 6.75, 10.125, 15, 15, 15, 15, 15, 15} {
		factor := b.pauses[i].Seconds() / about
		assert.InDelta(t, 1, factor, 0.2501, "pause %d: %s", i+1, b.pauses[i])
		factors[factor] = true
	}
	assert.Greater(t, len(factors), 3, "jitter")
}

func TestS15_NoPauseIsLongerThanTheTimeThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, _, err := followNow(t.Context(), &stateBucket{}, timeout(20*time.Second), func(w *Wait) { w.Pause = time.Minute })
		require.Error(t, err)
		assert.Equal(t, 20*time.Second, time.Since(start))
	})
}

func TestS15_AnUnchangedStateIsReadOnce(t *testing.T) {
	b := &stateBucket{}
	b.put(testID, InProgress, "deploymentId", "d-7")
	b.at = map[int]func(){5: func() { b.put(testID, Succeeded, "deploymentId", "d-7") }}
	_, said, err := follow(t, b)
	require.NoError(t, err)
	assert.Equal(t, 2, b.gets)
	assert.Equal(t, 1, strings.Count(said, "InProgress after"))
}

// --- what the states may be ------------------------------------------------

func TestS15_WithoutAKnownRegionThereIsNoLink(t *testing.T) {
	b := &stateBucket{}
	b.put(testID, Succeeded, "deploymentId", "d-7")
	_, said, err := follow(t, b, func(w *Wait) { w.Region = `x"y` })
	require.NoError(t, err)
	assert.Contains(t, said, "deployment d-7, in account B's CodeDeploy console\n")
	assert.NotContains(t, said, "https:")
}

func TestS15_StatesOutOfOrderAndAnUnknownOneAreToldAndWaitedOver(t *testing.T) {
	b := &stateBucket{at: map[int]func(){}}
	states := []string{Waiting, Ready, Created, "Paused", InProgress}
	for i, state := range states {
		b.at[i+1] = func() { b.put(testID, state, "deploymentId", "d-7") }
	}
	b.at[len(states)+1] = func() { b.put(testID, Succeeded) }
	w, said, err := follow(t, b)
	require.NoError(t, err)
	for _, state := range states {
		assert.Contains(t, said, "\n"+state+" after ")
	}
	assert.Contains(t, said, "; a state that this program does not know, waiting on\n")
	assert.Equal(t, "d-7", w.State.DeploymentID, "the last object did not name it; it is known all the same")
}

// noStates is a line for each object that is none.
func noStates(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/no-states.txt")
	require.NoError(t, err)
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

//fault:whole a state is rubbish | it is told once and waited over
func TestS15_WhatIsNoStateIsToldAndWaitedOver(t *testing.T) {
	b := &stateBucket{objects: map[string]string{}, at: map[int]func(){}}
	garbage := noStates(t)
	require.Greater(t, len(garbage), 20)
	for i, text := range garbage {
		b.at[i+1] = func() { b.objects[StatePrefix+testID+".json"] = text }
	}
	b.at[len(garbage)+1] = func() { b.objects[StatePrefix+testID+".json"] = strings.Repeat("\x00", maxState+1) }
	b.at[len(garbage)+2] = func() { b.put(testID, Succeeded) }
	w, said, err := follow(t, b)
	require.NoError(t, err)
	assert.Equal(t, len(garbage), strings.Count(said, ".json is not in the form of a state"), said)
	assert.Contains(t, said, "is no state, it has 65537 bytes; waiting on\n")
	assert.Equal(t, Succeeded, w.State.Name)
}

func TestS15_AnyLayoutOfTheSameJSONIsRead(t *testing.T) {
	s, err := ParseState([]byte("\n{ \"reason\" :\t\"a\\u0026b \\\"c\\\" \\\\ d\\/e\\tf \\u00e9\\ud83d\\ude00 \xc3\xa9\",\"claim\":{\"state\":\"Succeeded\",\"a\":[1,{\"b\":\"]}\\\"}\"}]}," +
		"\"more\":-1.5e3,\"on\":true,\"off\":false,\r\n \"deploymentId\":\"d-7\",\"versionId\":null, \"state\":\"Fail\\u0065d\"}\n\n"))
	require.NoError(t, err)
	assert.Equal(t, State{Name: Failed, DeploymentID: "d-7", Reason: `a&b "c" \ d/e f é😀 é`, Log: s.Log}, s)
}

//fault:whole a state has escape sequences | none of them reaches a terminal, and text of any language does
func TestS15_NoControlCharacterOfAStateReachesAnybody(t *testing.T) {
	b := &stateBucket{objects: map[string]string{StatePrefix + testID + ".json": "{\"state\":\"Failed\",\"deploymentId\":\"d-\\u001b[2J\"," +
		"\"reason\":\"\\u001b]0;x\\u0007 \\u001b[31mred\\u009b2J\x9b1m\xc2\x9b \\u0000\\u007f\x7f end\",\"logTail\":\"\\u001b[2Jlog\\u009b1m\"}"}}
	w, said, err := follow(t, b)
	require.Error(t, err)
	assert.Equal(t, "", w.State.DeploymentID)
	assert.True(t, strings.HasSuffix(w.State.Reason, " end"))
	assert.NotRegexp(t, regexp.MustCompile(`[\x00-\x09\x0b-\x1f\x7f\x{80}-\x{9f}]`), said+err.Error()+strings.Join(w.State.Log, ""))
}

func TestS15_ALongReasonIsCut(t *testing.T) {
	b := &stateBucket{}
	b.put(testID, Failed, "reason", strings.Repeat("x", 9000))
	w, _, err := follow(t, b)
	require.Error(t, err)
	assert.Len(t, []rune(w.State.Reason), 1000)
}

//fault:whole somebody else has used the upload id | the state is found under an id that nobody else can have
func TestS15_TheStateOfAnotherUploadUnderOurIDIsIgnored(t *testing.T) {
	sum := sha256.Sum256([]byte(testKey + "\x00" + testVersion))
	digest := fmt.Sprintf("sha256.%x", sum) // as the function IDs of lambda/internal/status makes it
	b := &stateBucket{}
	b.put(testID, Succeeded, "versionId", "another", "deploymentId", "d-OTHER")
	b.put(testVersion, Succeeded, "versionId", "another", "deploymentId", "d-OTHER")
	b.at = map[int]func(){3: func() { b.put(digest, Failed, "deploymentId", "d-7", "reason", "the upload id was taken") }}
	w, said, err := follow(t, b)
	require.ErrorContains(t, err, "deployment d-7: the upload id was taken")
	for _, id := range []string{testID, testVersion} {
		assert.Contains(t, said, "/"+id+".json tells of another upload, version another of "+testKey+"; ignored\n")
	}
	assert.Equal(t, "d-7", w.State.DeploymentID)

	b = &stateBucket{}
	b.put(testID, Succeeded, "key", "artifacts/other.gz")
	b.put(testVersion, Failed)
	_, said, err = follow(t, b)
	require.ErrorContains(t, err, "Failed")
	assert.Contains(t, said, "of artifacts/other.gz; ignored\n")
}

func TestS15_AKeyThatOnlyBeginsLikeOursIsNotTakenForIt(t *testing.T) {
	b := &stateBucket{}
	b.put(testID+".json", Failed)
	b.at = map[int]func(){3: func() { b.objects = nil; b.put(testID, Succeeded) }}
	_, _, err := follow(t, b)
	require.NoError(t, err)
}

func TestS15_StateIDsAreThoseOfTheFunctions(t *testing.T) {
	assert.Equal(t, []string{"id"}, StateIDs("id", testKey, ""))
	ids := StateIDs("id", testKey, "a/b")
	assert.Len(t, ids, 2, "a version id that could leave the folder is no key")
	for _, id := range append(ids, StateIDs("id", testKey, testVersion)...) {
		assert.True(t, ValidID(id), id)
	}
	for _, id := range []string{"", "..", "../x", "a/b", "a b", strings.Repeat("x", 129)} {
		assert.False(t, ValidID(id), id)
	}
}

// --- when S3 does not tell -------------------------------------------------

//fault:whole the runner may not read states | the second refusal ends the wait and names the right
func TestS15_ARoleWithoutTheRightToListOrToReadEndsTheWait(t *testing.T) {
	refuse := func(context.Context, int) error { return refusal("AccessDenied") }
	for right, b := range map[string]*stateBucket{
		"s3:ListBucket with s3:prefix deployments/*": {list: refuse},
		"s3:GetObject on deployments/*":              {get: refuse},
	} {
		b.put(testID, InProgress)
		_, said, err := follow(t, b)
		require.ErrorContains(t, err, "the state may not be read: the role of the runner's host lacks "+right+", by its own policy")
		assert.ErrorContains(t, err, "the upload stays, and may still be deployed (AWS said: ")
		assert.Contains(t, said, "S3 refuses to tell the state, trying once more")
		assert.Equal(t, 2, b.lists)
	}
}

//fault:whole S3 refuses once, is slow, or has a fault | the wait goes on
func TestS15_ARefusalThatDoesNotComeAgainAndOtherFaultsAreWaitedOver(t *testing.T) {
	fails := func(code string, times int) func(context.Context, int) error {
		return func(_ context.Context, n int) error {
			if n <= times {
				return refusal(code)
			}
			return nil
		}
	}
	for _, tt := range []struct {
		list, get func(context.Context, int) error
		code      string
		want      string
	}{
		{fails("AccessDenied", 1), nil, "AccessDenied", "S3 refuses to tell the state, trying once more"},
		{nil, fails("AccessDenied", 1), "AccessDenied", "S3 refuses to tell the state, trying once more"},
		{fails("SlowDown", 3), nil, "SlowDown", "the state cannot be seen, trying again"},
		{nil, fails("InternalError", 3), "InternalError", "the state cannot be seen, trying again"},
		{nil, fails("NoSuchKey", 1), "NoSuchKey", "the state cannot be seen, trying again"},
	} {
		b := &stateBucket{list: tt.list, get: tt.get}
		b.put(testID, Succeeded)
		_, said, err := follow(t, b)
		require.NoError(t, err)
		assert.Equal(t, 1, strings.Count(said, tt.want+": api error "+tt.code), said)
	}
}

func TestS15_RefusalsOfTwoRightsOrWithAFaultBetweenThemAreNotTheSameTwice(t *testing.T) {
	b := &stateBucket{
		list: func(_ context.Context, n int) error {
			return map[int]error{1: refusal("AccessDenied"), 3: refusal("SlowDown"), 4: refusal("AccessDenied")}[n]
		},
		get: func(_ context.Context, n int) error { return map[int]error{1: refusal("AccessDenied")}[n] },
	}
	b.put(testID, Succeeded)
	_, said, err := follow(t, b)
	require.NoError(t, err)
	assert.Equal(t, 3, strings.Count(said, "trying once more"), said)
}

func TestS15_TheSameFaultIsToldOnceAndAgainAtTheTimeOut(t *testing.T) {
	b := &stateBucket{list: func(context.Context, int) error { return refusal("SlowDown") }}
	_, said, err := follow(t, b, timeout(time.Minute))
	require.ErrorContains(t, err, "(the last look failed: api error SlowDown: as told)")
	assert.Greater(t, b.lists, 2)
	assert.Equal(t, 1, strings.Count(said, "the state cannot be seen"))
}

//fault:whole S3 does not answer | the wait ends in time
func TestS15_AnS3ThatDoesNotAnswerCannotHoldTheJobBeyondTheTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &stateBucket{list: func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }}
		start := time.Now()
		_, said, err := followNow(t.Context(), b, timeout(time.Second))
		var late *TimeoutError
		require.ErrorAs(t, err, &late)
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.Contains(t, said, "the state cannot be seen, trying again: no answer in time\n")
	})
}

func TestS15_StatusLooksAtWhatIsThere(t *testing.T) {
	b := &stateBucket{}
	once := func() (*Wait, error) {
		w := &Wait{Client: b, Bucket: "artifacts-test", IDs: []string{testID}, Since: time.Now(), Log: func(string, ...any) {}}
		return w, w.Once(t.Context())
	}
	_, err := once()
	require.EqualError(t, err, "there is no state s3://artifacts-test/deployments/"+testID+".json: nothing has taken such an upload up")
	b.put(testID, InProgress)
	w, err := once()
	require.NoError(t, err)
	assert.Equal(t, testVersion, w.State.VersionID, "any upload's")
	b.put(testID, Failed)
	_, err = once()
	require.ErrorContains(t, err, "Failed")
	b.list = func(context.Context, int) error { return refusal("SlowDown") }
	_, err = once()
	require.EqualError(t, err, "the state cannot be seen: api error SlowDown: as told")
	b.list = func(context.Context, int) error { return refusal("AccessDenied") }
	_, err = once()
	require.ErrorContains(t, err, "s3:ListBucket")
}

func FuzzParseState(f *testing.F) {
	for _, text := range noStates(f) {
		f.Add(text)
	}
	f.Add(`{"state":"Failed","deploymentId":"d-1","reason":"x","logTail":"y","group":{"traffic":"manual","trafficMinutes":1,"termination":"keep","terminationMinutes":2},"trafficMoved":true}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseState([]byte(text))
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Fatal("a long error")
			}
			return
		}
		if !statePattern.MatchString(s.Name) || s.DeploymentID != "" && !deploymentPattern.MatchString(s.DeploymentID) || len([]rune(s.Reason)) > maxReason || len(s.Log) > maxLogLines {
			t.Fatalf("%q became %+v", text, s)
		}
		if g := cmp.Or(s.Group, &Group{}); g.Wait(false) < 0 || g.Wait(false) > 97*time.Hour {
			t.Fatalf("%+v waits for %s", g, g.Wait(false))
		}
	})
}
