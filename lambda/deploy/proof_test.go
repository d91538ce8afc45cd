package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/internal/trust/signer"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/status"
)

var gitlab = func() *signer.Signer {
	s, err := signer.New("https://gitlab.example.com")
	if err != nil {
		panic(err)
	}
	return s
}()

var (
	webProject = trust.Project{ID: 42, Path: "team/web"}
	webRule    = trust.Rule{Projects: []trust.Project{webProject}, Refs: []string{"main"}}
	webJob     = signer.Job{Project: webProject, Ref: "main", Issued: testTime.Add(-time.Minute), TTL: time.Hour}
	webBy      = trust.Deployer{Project: "team/web", Ref: "main", User: "jdoe", PipelineURL: "https://gitlab.example.com/team/web/-/pipelines/12"}
)

// proving is a handler that wants a proof for each of its pairs.
func (w *world) proving() *Handler {
	h := w.handler()
	if w.now == nil {
		now := func() time.Time { return testTime.Add(time.Minute) }
		h.Trigger.Records.Now, h.Trigger.Statuses.Now = now, now
	}
	h.Trigger.GitLab = &trust.Verifier{Keys: gitlab.Keys(), URL: gitlab.URL}
	for pair := range h.Trigger.Allowed {
		h.Trigger.Allowed[pair] = webRule
	}
	return h
}

// putToken puts a token for an upload id, some time after testTime.
func (w *world) putToken(id, text string, after time.Duration) {
	w.tokens = append(w.tokens, token{key: "tokens/" + id, version: fmt.Sprintf("t%d", len(w.tokens)), text: text, at: testTime.Add(after)})
}

func prove(t *testing.T, h *Handler, u Upload) (Upload, Outcome) {
	t.Helper()
	end := h.Trigger.Deploy(t.Context(), &u, try{owner: "m1/1"})
	return u, end
}

func TestS15_AProvenUploadIsDeployedAndItsStateSaysWhose(t *testing.T) {
	w := &world{}
	w.putToken("artifact", gitlab.Token(webJob), -time.Second)
	u, end := prove(t, w.proving(), testUpload("v1"))
	require.Equal(t, Created, end.End, end.Reason)
	assert.Equal(t, webBy, w.status(t, "artifact").Deployer)
	assert.Equal(t, webBy, u.By)
	assert.Contains(t, w.objects["deployments/artifact.json"],
		`"project":"team/web","ref":"main","user":"jdoe","pipelineUrl":"https://gitlab.example.com/team/web/-/pipelines/12"`)
	assert.NotContains(t, strings.Join([]string{w.log.String(), w.objects["groups/web/web-blue-green.json"], w.objects["deployments/artifact.json"]}, ""),
		strings.Split(gitlab.Token(webJob), ".")[0], "nothing of a token is kept")
}

//fault:words an upload without a token of a job that may deploy it | it is refused with the rule that failed; nothing is asked of CodeDeploy, and the group's record stays as it is
func TestS15_AnUploadWithoutAProofIsRefused(t *testing.T) {
	other := webJob
	other.Project = trust.Project{ID: 7, Path: "team/other"}
	for name, tt := range map[string]struct {
		metadata func(map[string]string)
		token    string
		after    time.Duration
		rule     string
		reason   string
	}{
		"no token":                 {rule: RuleMissing, reason: "no token of the job at tokens/artifact"},
		"no upload id":             {metadata: func(m map[string]string) { delete(m, "upload-id") }, token: gitlab.Token(webJob), rule: RuleMissing, reason: "no upload-id"},
		"a forged upload id":       {metadata: func(m map[string]string) { m["upload-id"] = "../groups/web" }, token: gitlab.Token(webJob), rule: RuleMissing, reason: "no upload-id"},
		"another project's token":  {token: gitlab.Token(other), rule: trust.RuleProject, reason: `of project 7 ("team/other"), want 42 (team/web)`},
		"a token that is no token": {token: "hello", rule: trust.RuleToken, reason: "cannot be read"},
		"a token that is too long": {token: strings.Repeat("a", 20<<10), rule: trust.RuleToken, reason: "16385 bytes, want at most 16384"},
		"a token put afterwards":   {token: gitlab.Token(webJob), after: time.Second, rule: RuleMissing, reason: "after the artifact was uploaded"},
	} {
		t.Run(name, func(t *testing.T) {
			metadata := goodMetadata(testKey)
			if tt.metadata != nil {
				tt.metadata(metadata)
			}
			w := &world{head: func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) { return headOf(metadata), nil }}
			if tt.token != "" {
				w.putToken("artifact", tt.token, tt.after)
			}
			h := w.proving()
			assert.Empty(t, handle(t, t.Context(), h, message("m1", 1)), "a retry cannot cure it")
			id := "artifact"
			if tt.metadata != nil {
				id = "v1"
			}
			s := w.status(t, id)
			assert.Equal(t, status.Rejected, s.State)
			assert.Contains(t, s.Reason, tt.reason)
			assert.Zero(t, s.Deployer, "nobody has proven who it was")
			assert.NotContains(t, w.objects, "groups/web/web-blue-green.json")
			assert.Empty(t, w.groups)
			assert.Empty(t, w.lists)
			assert.Empty(t, w.creates)
			assert.Equal(t, []string{"v1"}, w.marked, "what nobody may deploy is not kept")
			assert.Contains(t, w.metrics.String(), `"UploadsRefused":1`)
			assert.NotContains(t, w.metrics.String(), "UploadsRejected")
			line := w.logged(t)[0]
			assert.Equal(t, "refused", line["msg"])
			assert.Equal(t, tt.rule, line["rule"])
			assert.Contains(t, line["reason"], tt.reason)
			if len(tt.token) > 40 {
				assert.NotContains(t, w.log.String(), tt.token[:40])
			}
		})
	}
}

// secondsApart lets S3 have several versions of testKey, uploaded seconds apart, all
// with one upload id each.
func secondsApart(w *world, ids map[string]string) {
	w.head = func(_ context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		version := aws.ToString(in.VersionId)
		if version == "" {
			version = "v9"
		}
		metadata := goodMetadata(testKey)
		metadata["upload-id"] = ids[version]
		head := headOf(metadata)
		head.VersionId = &version
		head.LastModified = aws.Time(testTime.Add(time.Duration(version[1]-'0') * time.Second))
		return head, nil
	}
}

//fault:words a stranger uploads to the key of somebody else's artifact, before it, between and after | theirs are refused, and the one that may be deployed is
func TestS15_AStrangersUploadsStandInNobodysWay(t *testing.T) {
	w := &world{}
	secondsApart(w, map[string]string{"v1": "stranger-1", "v2": "job", "v3": "stranger-2", "v4": "job-2", "v5": "job", "v9": "stranger-2"})
	stranger := webJob
	stranger.Project = trust.Project{ID: 7, Path: "team/other"}
	w.putToken("stranger-1", gitlab.Token(stranger), 0)
	w.putToken("job", gitlab.Token(webJob), 0)
	w.putToken("stranger-2", gitlab.Token(stranger), 0)
	h := w.proving()
	for _, step := range []struct {
		version string
		want    End
		reason  string
	}{
		{"v3", Refused, "of project 7"}, // the newest comes first
		{"v2", Created, ""},
		{"v1", Refused, "of project 7"},
		{"v5", Refused, "was worth another upload"}, // under the id of its owner
		{"v4", Refused, "no token"},
		{"v2", Repeated, "Created already"},
	} {
		_, end := prove(t, h, testUpload(step.version))
		assert.Equal(t, step.want, end.End, "%s: %s", step.version, end.Reason)
		assert.Contains(t, end.Reason, step.reason)
	}
	require.Len(t, w.creates, 1)
	assert.Equal(t, "v2", aws.ToString(w.creates[0].Revision.S3Location.Version))
	assert.Equal(t, status.Created, w.status(t, "job").State, "its owner's state is its owner's")
}

// An upload's id can be read in its state. From then on its token has to be spent.
//
//fault:words AWS does not answer, the job is told that it waits, and somebody who reads its upload id there uploads under it | the token was spent before the job was told
func TestS15_ATokenIsSpentBeforeTheUploadIDIsTold(t *testing.T) {
	w := &world{group: func(context.Context, *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error) {
		return nil, errors.New("connection reset")
	}}
	secondsApart(w, map[string]string{"v1": "job", "v2": "job"})
	w.putToken("job", gitlab.Token(webJob), 0)
	h := w.proving()
	_, end := prove(t, h, testUpload("v1"))
	require.Equal(t, Failed, end.End)
	assert.Equal(t, status.Waiting, w.status(t, "job").State)
	assert.Equal(t, webJob.Project.Path, w.status(t, "job").Deployer.Project)
	assert.Contains(t, w.objects["groups/web/web-blue-green.json"], `"spent":[{"token":"`)

	w.group = nil
	_, end = prove(t, h, testUpload("v2"))
	assert.Equal(t, Refused, end.End, end.Reason)
	assert.Equal(t, status.Waiting, w.status(t, "job").State, "the forged id has not touched the state of its owner")
	_, end = prove(t, h, testUpload("v1"))
	assert.Equal(t, Created, end.End, end.Reason)
}

//fault:words a token is put over another one after the upload, or within the same second before it | what lay there when the artifact arrived counts
func TestS15_WhatLayThereWhenTheArtifactArrivedCounts(t *testing.T) {
	stranger := webJob
	stranger.Project = trust.Project{ID: 7, Path: "team/other"}
	good, bad := gitlab.Token(webJob), gitlab.Token(stranger)
	for name, tt := range map[string]struct {
		put  func(w *world)
		want End
	}{
		"good, then bad":  {func(w *world) { w.putToken("artifact", good, -time.Minute); w.putToken("artifact", bad, time.Minute) }, Created},
		"bad, then good":  {func(w *world) { w.putToken("artifact", bad, -time.Minute); w.putToken("artifact", good, time.Minute) }, Refused},
		"replaced before": {func(w *world) { w.putToken("artifact", bad, -time.Minute); w.putToken("artifact", good, -time.Second) }, Created},
		"only afterwards, again and again": {func(w *world) {
			w.putToken("artifact", good, time.Second)
			w.putToken("artifact", good, time.Minute)
		}, Refused},
		"of an id that begins with this one": {func(w *world) { w.putToken("artifact-2", good, -time.Minute); w.putToken("artifact", bad, time.Minute) }, Refused},
		"in the upload's second":             {func(w *world) { w.putToken("artifact", good, 900*time.Millisecond) }, Created},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{now: func() time.Time { return testTime.Add(2 * time.Minute) }}
			tt.put(w)
			_, end := prove(t, w.proving(), testUpload("v1"))
			assert.Equal(t, tt.want, end.End, end.Reason)
		})
	}
}

// While AWS fails the first, the second one is accepted. What the first had proven
// was worth nothing by then, and its state does not say otherwise.
func TestS15_WhoeverIsOvertakenWhileAWSFailsHasProvenNothing(t *testing.T) {
	w := &world{}
	secondsApart(w, map[string]string{"v1": "a", "v2": "b"})
	text := gitlab.Token(webJob)
	w.putToken("a", text, 0)
	w.putToken("b", text, 0)
	h := w.proving()
	w.group = func(context.Context, *codedeploy.GetDeploymentGroupInput) (*codedeploy.GetDeploymentGroupOutput, error) {
		w.group = nil
		_, end := prove(t, h, testUpload("v2"))
		require.Equal(t, Created, end.End, end.Reason)
		return nil, errors.New("connection reset")
	}
	_, end := prove(t, h, testUpload("v1"))
	require.Equal(t, Failed, end.End, end.Reason)
	assert.Equal(t, status.Waiting, w.status(t, "a").State)
	assert.Zero(t, w.status(t, "a").Deployer)
	_, end = prove(t, h, testUpload("v1"))
	assert.Equal(t, Refused, end.End, end.Reason)
	assert.Len(t, w.creates, 1)
}

func TestS15_AJobDeploysToSeveralGroupsWithOneToken(t *testing.T) {
	w := &world{}
	text := gitlab.Token(webJob)
	h := w.proving()
	for _, id := range []string{"1", "2"} {
		w.putToken(id, text, 0)
		_, end := prove(t, h, Upload{Upload: group.Upload{Key: "artifacts/web/" + id + ".gz", VersionID: "v" + id}, Bucket: testBucket})
		assert.Equal(t, Created, end.End, end.Reason)
	}
}

//fault:words one token under two upload ids, both for one group | the second upload is refused, in whatever order they are worked on
func TestS15_ATokenIsWorthOneUploadForAGroup(t *testing.T) {
	w := &world{}
	secondsApart(w, map[string]string{"v1": "a", "v2": "b"})
	text := gitlab.Token(webJob)
	w.putToken("a", text, 0)
	w.putToken("b", text, 0)
	h := w.proving()
	_, end := prove(t, h, testUpload("v2"))
	require.Equal(t, Created, end.End, end.Reason)
	u, end := prove(t, h, testUpload("v1"))
	assert.Equal(t, Refused, end.End)
	assert.Equal(t, RuleSpent, u.Rule)
	assert.Contains(t, end.Reason, "was worth another upload to this deployment group already")
	_, end = prove(t, h, testUpload("v2"))
	assert.Equal(t, Repeated, end.End, "the same upload again is no other one")
}

// Both look at the record at the same time; the second one's write meets the first.
func TestS15_TwoUploadsWithOneTokenAtTheSameTimeAreNotBothDeployed(t *testing.T) {
	w := &world{}
	secondsApart(w, map[string]string{"v1": "a", "v2": "b"})
	text := gitlab.Token(webJob)
	w.putToken("a", text, 0)
	w.putToken("b", text, 0)
	h := w.proving()
	met := false
	w.put = func(in *s3.PutObjectInput) error {
		if !met && aws.ToString(in.Key) == "groups/web/web-blue-green.json" {
			met = true
			_, end := prove(t, h, testUpload("v2"))
			assert.Equal(t, Created, end.End, end.Reason)
		}
		return nil
	}
	_, end := prove(t, h, testUpload("v1"))
	assert.Equal(t, Refused, end.End, end.Reason)
	assert.Len(t, w.creates, 1)
	assert.Zero(t, w.status(t, "a").Deployer, "it has proven nothing after all")
}

// The group is busy for hours. The token ends, and its object goes.
//
//fault:words an accepted upload waits until its token has ended and is gone, or is given up and redriven | it was proven once, and is deployed
func TestS15_WhatWasProvenOnceStaysSo(t *testing.T) {
	for name, forget := range map[string]func(*group.Record){
		"while it waits":                    func(*group.Record) {},
		"when it was given up and redriven": func(r *group.Record) { r.Waiting = nil },
	} {
		t.Run(name, func(t *testing.T) {
			busy := true
			now := testTime.Add(time.Minute)
			w := &world{now: func() time.Time { return now }}
			w.create = func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
				if busy {
					return nil, &types.DeploymentLimitExceededException{}
				}
				return &codedeploy.CreateDeploymentOutput{DeploymentId: aws.String("d-TEST00001")}, nil
			}
			w.putToken("artifact", gitlab.Token(webJob), 0)
			h := w.proving()
			_, end := prove(t, h, testUpload("v1"))
			require.Equal(t, Waiting, end.End, end.Reason)
			assert.Equal(t, webBy, w.status(t, "artifact").Deployer)

			busy, now, w.tokens = false, testTime.Add(90*time.Hour), nil
			record, err := h.Trigger.Records.Load(t.Context(), testPair)
			require.NoError(t, err)
			require.NoError(t, record.Change(t.Context(), forget))
			_, end = prove(t, h, testUpload("v1"))
			require.Equal(t, Created, end.End, end.Reason)
			assert.Equal(t, webBy, w.status(t, "artifact").Deployer)
		})
	}
}

func TestS15_ARuleThatChangesHoldsForWhatWaits(t *testing.T) {
	w := &world{create: func(context.Context, *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
		return nil, &types.DeploymentLimitExceededException{}
	}}
	w.putToken("artifact", gitlab.Token(webJob), 0)
	h := w.proving()
	_, end := prove(t, h, testUpload("v1"))
	require.Equal(t, Waiting, end.End, end.Reason)

	h.Trigger.Allowed[testPair] = trust.Rule{Projects: []trust.Project{{ID: 43, Path: "team/new"}}, Refs: []string{"main"}}
	_, end = prove(t, h, testUpload("v1"))
	require.Equal(t, Refused, end.End, end.Reason)
	assert.Contains(t, end.Reason, `"team/web", which may not deploy this any more, want 43 (team/new)`)
	record, err := h.Trigger.Records.Load(t.Context(), testPair)
	require.NoError(t, err)
	assert.Nil(t, record.Waiting, "it waits no more, and nobody waits behind it")
}

func TestS15_AnOldTokenIsGoneEvenIfS3IsLateInRemovingIt(t *testing.T) {
	job := webJob
	job.TTL = 30 * 24 * time.Hour
	for age, want := range map[time.Duration]End{group.TokenLife - time.Second: Created, group.TokenLife + time.Second: Refused} {
		w := &world{now: func() time.Time { return testTime.Add(age) }}
		w.putToken("artifact", gitlab.Token(job), 0)
		_, end := prove(t, w.proving(), testUpload("v1"))
		assert.Equal(t, want, end.End, "%s: %s", age, end.Reason)
	}
}

func TestS15_ATokenThatCannotBeReadIsTriedAgain(t *testing.T) {
	w := &world{get: func(in *s3.GetObjectInput) error {
		if strings.HasPrefix(aws.ToString(in.Key), trust.Prefix) {
			return httpError(503)
		}
		return nil
	}}
	w.putToken("artifact", gitlab.Token(webJob), 0)
	h := w.proving()
	_, end := prove(t, h, testUpload("v1"))
	require.Equal(t, Failed, end.End)
	assert.Empty(t, w.creates)
	w.get = nil
	_, end = prove(t, h, testUpload("v1"))
	assert.Equal(t, Created, end.End, end.Reason)
}

func TestS15_NobodyMayDeployAPairWithoutProjects(t *testing.T) {
	w := &world{}
	w.putToken("artifact", gitlab.Token(webJob), 0)
	h := w.proving()
	h.Trigger.Allowed = allowlist.List{testPair: {}}
	_, end := prove(t, h, testUpload("v1"))
	assert.Equal(t, Refused, end.End)
	assert.Contains(t, end.Reason, "no project may deploy this")
}

func TestS15_WithTheProofSwitchedOffNoTokenIsRead(t *testing.T) {
	w := &world{}
	w.putToken("artifact", "hello", 0)
	_, end := start(t, w, testUpload("v1"))
	assert.Equal(t, Created, end.End, end.Reason)
	assert.Zero(t, w.status(t, "artifact").Deployer)
}

// The token was valid when the artifact was uploaded. How late the message is
// worked on does not matter, within the token's life.
func TestS15_TheTimeOfTheUploadCounts(t *testing.T) {
	for name, tt := range map[string]struct {
		change jwt.MapClaims
		want   End
	}{
		"ended since":        {jwt.MapClaims{"exp": testTime.Unix() + 1}, Created},
		"ended before":       {jwt.MapClaims{"exp": testTime.Unix()}, Refused},
		"begins after":       {jwt.MapClaims{"nbf": testTime.Unix() + 1}, Refused},
		"begins that moment": {jwt.MapClaims{"nbf": testTime.Unix(), "iat": testTime.Unix()}, Created},
	} {
		t.Run(name, func(t *testing.T) {
			claims := gitlab.Claims(webJob)
			for name, value := range tt.change {
				claims[name] = value
			}
			w := &world{now: func() time.Time { return testTime.Add(3 * time.Hour) }}
			w.putToken("artifact", gitlab.Sign(claims), 0)
			_, end := prove(t, w.proving(), testUpload("v1"))
			assert.Equal(t, tt.want, end.End, end.Reason)
		})
	}
}
