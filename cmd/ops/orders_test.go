package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/order"
)

// ordered plays the artifact bucket: records of groups, what is ordered, and what the
// trigger says of it.
type ordered struct {
	*session
	objects map[string]string
	placed  []order.Order
	says    []string // the state's text, look by look; the last one stays
	looks   int
	twice   bool // the order's answer is lost, and the SDK sends it again
}

const orderedApp = "sample-web"

func newOrdered(t *testing.T) *ordered {
	t.Helper()
	s := &ordered{session: newDeploySession(t), objects: map[string]string{}}
	addGroup(t, s.session, orderedApp, "blue-green")
	s.says = []string{"", `{"state":"Waiting","reason":"its deployment is being created","order":{"operator":"AWS:AROAEXAMPLE:alice","fromVersionId":"v3"}}`}
	awstest.On(s.cloud, func(_ context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
		text, there := s.objects[*in.Key]
		if strings.HasPrefix(*in.Key, "deployments/order.") {
			text = s.says[min(s.looks, len(s.says)-1)]
			s.looks++
			there = text != ""
		}
		if !there {
			return nil, &s3types.NoSuchKey{}
		}
		return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(text)), VersionId: aws.String("ov-1")}, nil
	})
	awstest.On(s.cloud, func(_ context.Context, in *s3.PutObjectInput) (*s3.PutObjectOutput, error) {
		assert.Equal(t, "*", aws.ToString(in.IfNoneMatch), "an order is placed once")
		text, err := io.ReadAll(in.Body)
		require.NoError(t, err)
		o, err := order.Parse(text)
		require.NoError(t, err)
		s.placed = append(s.placed, o)
		s.objects[*in.Key] = string(text)
		if s.twice {
			return nil, awstest.Refusal("PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
		}
		return &s3.PutObjectOutput{VersionId: aws.String("ov-1")}, nil
	})
	return s
}

// record plays a group's. Each word is a version that succeeded, or "v!" one that failed.
func (s *ordered) record(group string, more map[string]any, versions ...string) {
	var list []any
	for i, v := range versions {
		name, failed := strings.CutSuffix(v, "!")
		state := "Succeeded"
		if failed {
			state = "Failed"
		}
		d := map[string]any{"uploadId": "u-" + name, "key": "artifacts/sample-web/artifact.gz", "versionId": name, "uploaded": at(name), "deploymentId": fmt.Sprint("d-", i), "state": state,
			"by": map[string]any{"project": "team/web", "ref": "main", "user": "jdoe"}}
		if artifact, again := strings.CutPrefix(name, "order:"); again {
			d["key"], d["versionId"], d["uploaded"] = "orders/x.json", "ov-0", "2026-11-27T00:00:00Z"
			d["order"] = map[string]any{"kind": "rollback", "operator": "AWS:X:bob", "artifactKey": "artifacts/sample-web/artifact.gz", "artifactVersionId": artifact, "artifactUploaded": at(artifact)}
		}
		list = append(list, d)
	}
	record := map[string]any{"application": orderedApp, "deploymentGroup": group, "deployments": list}
	for k, v := range more {
		record[k] = v
	}
	text, err := json.Marshal(record)
	if err != nil {
		panic(err)
	}
	s.objects["groups/sample-web/"+group+".json"] = string(text)
}

// at is when a version was uploaded: v3 on the third.
func at(version string) string {
	return fmt.Sprintf("2026-11-%02dT01:02:03Z", version[len(version)-1]-'0')
}

func (s *ordered) ops(t *testing.T, words string, more ...string) error {
	t.Helper()
	s.out.Reset()
	s.err.Reset()
	return s.run(t, append(strings.Fields(words+" --env staging --application sample-web"), more...)...)
}

const blueGreen = " --deployment-group blue-green"

func TestRollback(t *testing.T) {
	t.Run("S15 rollback | nothing is named | the last version that succeeded before the one that runs; it shows both, and asks", func(t *testing.T) {
		s := newOrdered(t)
		s.record("blue-green", nil, "v1", "v2!", "v3")
		require.NoError(t, s.ops(t, "rollback"+blueGreen))
		assert.Equal(t, []order.Order{{Kind: "rollback", Application: orderedApp, DeploymentGroup: "blue-green", Key: "artifacts/sample-web/artifact.gz", VersionID: "v1"}}, s.placed)
		assert.Equal(t, 1, s.asked)
		assert.Contains(t, s.err.String(), "rollback of sample-web/blue-green\n"+
			"  runs      version v3 of artifacts/sample-web/artifact.gz, uploaded 2026-11-03 01:02:03 UTC (team/web@main by jdoe)\n"+
			"  would run version v1 of artifacts/sample-web/artifact.gz, uploaded 2026-11-01 01:02:03 UTC (team/web@main by jdoe)\n")
		assert.Contains(t, s.err.String(), "Deploy v1 to sample-web/blue-green? [y/N]")
		var r map[string]any
		require.NoError(t, json.Unmarshal(s.out.Bytes(), &r))
		assert.Equal(t, []any{"rollback", "v1", "v3", "Waiting", "AWS:AROAEXAMPLE:alice", nil}, []any{r["kind"], r["versionId"], r["fromVersionId"], r["state"], r["operator"], r["deploymentId"]})
	})

	t.Run("S15 rollback | it is done a second time | it goes further back, and not forth", func(t *testing.T) {
		s := newOrdered(t)
		s.record("blue-green", nil, "v1", "v2", "v3", "order:v2")
		require.NoError(t, s.ops(t, "rollback --yes"+blueGreen))
		assert.Equal(t, "v1", s.placed[0].VersionID)
	})

	t.Run("S15 rollback | --to names a version, or how its id begins | that one, if it is one that succeeded", func(t *testing.T) {
		s := newOrdered(t)
		s.record("blue-green", nil, "abc1", "abd2!", "abe3", "xyz4")
		require.NoError(t, s.ops(t, "rollback --yes --to abc"+blueGreen))
		assert.Equal(t, "abc1", s.placed[0].VersionID)
		for to, want := range map[string]string{
			"ab": "is none that has succeeded in sample-web/blue-green and is kept, or more than one; want one of abc1, abe3, xyz4", "abd2": `version "abd2" is none`,
			"xyz4": "sample-web/blue-green runs version xyz4 already",
		} {
			err := s.ops(t, "rollback --yes --to "+to+blueGreen)
			assert.Equal(t, 1, exitStatus(err))
			assert.ErrorContains(t, err, want)
		}
		assert.Len(t, s.placed, 1)
	})

	t.Run("S15 rollback | there is nothing to go back to | it says so, and orders nothing", func(t *testing.T) {
		s := newOrdered(t)
		assert.ErrorContains(t, s.ops(t, "rollback --yes"+blueGreen), "nothing was ever deployed to sample-web/blue-green by an upload")
		s.record("blue-green", nil, "v1!")
		assert.ErrorContains(t, s.ops(t, "rollback --yes"+blueGreen), "nothing has succeeded in sample-web/blue-green")
		s.record("blue-green", nil, "v1", "v2!")
		assert.ErrorContains(t, s.ops(t, "rollback --yes"+blueGreen), "runs the first version that its record has")
		s.objects["groups/sample-web/blue-green.json"] = `{"application":"other"}`
		assert.ErrorContains(t, s.ops(t, "rollback --yes"+blueGreen), "the record of sample-web/blue-green is none")
		assert.Empty(t, s.placed)
	})

	t.Run("S15 rollback | uploads wait, a deployment is under way, the group is paused | each is said before the question", func(t *testing.T) {
		s := newOrdered(t)
		s.answer = func() string { return "n" }
		s.record("blue-green", map[string]any{"waiting": map[string]any{"uploadId": "w"}, "parked": map[string]any{"uploadId": "p\x1b[2J"}, "attempt": map[string]any{"uploadId": "a"},
			"paused": map[string]any{"by": "AWS:X:bob", "since": "2026-11-28T01:00:00Z"}}, "v1", "v2")
		err := s.ops(t, "rollback"+blueGreen)
		assert.Equal(t, 1, exitStatus(err))
		for _, want := range []string{"note: w waits for the group, and is superseded by this", "note: p??2J waits until the group is resumed", "note: the deployment of a may be under way", "note: the group is paused by AWS:X:bob since 2026-11-28T01:00:00Z"} {
			assert.Contains(t, s.err.String(), want)
		}
		printable(t, s.err.String())
		assert.Empty(t, s.placed)
	})

	t.Run("S15 rollback | the answer to the order is lost, and it is sent again | it is ordered once", func(t *testing.T) {
		s := newOrdered(t)
		s.twice = true
		s.record("blue-green", nil, "v1", "v2")
		require.NoError(t, s.ops(t, "rollback --yes"+blueGreen))
		assert.Contains(t, s.out.String(), order.ID(onlyOrder(s), "ov-1"))
	})

	t.Run("S15 rollback | --follow | it waits for the end of the deployment, and its status says which", func(t *testing.T) {
		for state, status := range map[string]int{"Succeeded": 0, "Failed": 1, "Stopped": 1, "Superseded": 1, "Rejected": 1} {
			s := newOrdered(t)
			s.record("blue-green", nil, "v1", "v2")
			s.says = append(s.says, `{"state":"InProgress","deploymentId":"d-9"}`, `{"state":"InProgress","deploymentId":"d-9"}`, `{"state":"`+state+`","deploymentId":"d-9","reason":"because \u001b[2J"}`)
			assert.Equal(t, status, exitStatus(s.ops(t, "rollback --yes --follow"+blueGreen)), state)
			assert.Contains(t, s.out.String(), `"state": "`+state+`"`)
			assert.Equal(t, 1, strings.Count(s.err.String(), "InProgress"), "each change once")
			printable(t, s.err.String()+s.out.String())
		}
	})

	t.Run("S15 rollback | the trigger does not take the order in time | exit 3; the order goes on", func(t *testing.T) {
		s := newOrdered(t)
		s.record("blue-green", nil, "v1", "v2")
		s.says = []string{""}
		err := s.ops(t, "rollback --yes --timeout 10"+blueGreen)
		assert.Equal(t, 3, exitStatus(err))
		assert.ErrorContains(t, err, "is Placed after 10 s: the order goes on")
		assert.Contains(t, s.out.String(), `"state": "Placed"`)
		assert.Equal(t, 5, s.looks)
	})

	t.Run("S15 rollback | the state cannot be read | two failures are nothing, three end the waiting", func(t *testing.T) {
		s := newOrdered(t)
		s.record("blue-green", nil, "v1", "v2")
		awstest.On(s.cloud, func(_ context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
			if text, there := s.objects[*in.Key]; there {
				return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(text))}, nil
			}
			s.looks++
			return nil, awstest.Refusal("AccessDenied", "no")
		})
		err := s.ops(t, "rollback --yes"+blueGreen)
		assert.Equal(t, 1, exitStatus(err))
		assert.ErrorContains(t, err, "AccessDenied")
		assert.ErrorContains(t, err, "it goes on")
		assert.Equal(t, 3, s.looks)
	})

	t.Run("S15 rollback | the right to order is missing | exit 1 with AWS's words", func(t *testing.T) {
		s := newOrdered(t)
		s.record("blue-green", nil, "v1", "v2")
		refuse[s3.PutObjectInput, s3.PutObjectOutput](s.session, "AccessDenied", "no")
		err := s.ops(t, "rollback --yes"+blueGreen)
		assert.Equal(t, 1, exitStatus(err))
		assert.ErrorContains(t, err, "place the order: ")
		assert.ErrorContains(t, err, "AccessDenied")
	})

	t.Run("S15 rollback | --dry-run | the order is printed, and not placed", func(t *testing.T) {
		s := newOrdered(t)
		s.record("blue-green", nil, "v1", "v2")
		assert.Equal(t, 0, exitStatus(s.ops(t, "rollback --dry-run"+blueGreen)))
		assert.Contains(t, s.out.String(), "s3:PutObject ")
		assert.Empty(t, s.placed)
	})

	t.Run("S15: wrong use of orders ends with 2, and calls nothing", func(t *testing.T) {
		for args, want := range map[string]string{
			"rollback --env staging --yes":                                                     "--application is required",
			"rollback --env staging --yes --application a":                                     "--deployment-group is required",
			"pause --env staging --yes --application a;b --deployment-group x":                 "--application: want up to 100 letters",
			"resume --env staging --yes --application a --deployment-group x --timeout 0":      "--timeout: want seconds, got '0'",
			"promote --env staging --yes --application sample-web --from a --to a":             "--from: want another deployment group of the application than --to",
			"promote --env staging --yes --application sample-web --to a":                      "--from: want another deployment group",
			"rollback --env staging --yes --application sample-web --deployment-group x --all": "unknown flag: --all",
			"rollback --application sample-web --deployment-group x --yes":                     "--env is required",
		} {
			s := newOrdered(t)
			err := s.run(t, strings.Fields(args)...)
			assert.Equal(t, 2, exitStatus(err), args)
			assert.ErrorContains(t, err, want)
			assert.Empty(t, s.cloud.Names())
		}
		s := newOrdered(t)
		err := s.ops(t, "rollback --yes --deployment-group nope")
		assert.Equal(t, 2, exitStatus(err))
		assert.ErrorContains(t, err, "deploy.deploymentGroups in config/staging.yaml has no sample-web/nope, want one of sample-web/blue-green")
		s.terminal = false
		assert.ErrorContains(t, s.ops(t, "rollback"+blueGreen), "pass --yes")
	})
}

// onlyOrder is the key of the order that was placed.
func onlyOrder(s *ordered) string {
	for key := range s.objects {
		if strings.HasPrefix(key, order.Prefix) {
			return key
		}
	}
	return ""
}

func TestPromote(t *testing.T) {
	// twoGroups lists another group of the application.
	twoGroups := func(t *testing.T) *ordered {
		s := newOrdered(t)
		addGroup(t, s.session, orderedApp, "production")
		s.record("blue-green", nil, "v1", "v2", "v3!")
		return s
	}
	t.Run("S15 promote | nothing is named | what runs in the one group is deployed to the other", func(t *testing.T) {
		s := twoGroups(t)
		s.record("production", nil, "v1")
		require.NoError(t, s.ops(t, "promote --from blue-green --to production"))
		assert.Equal(t, []order.Order{{Kind: "promote", Application: orderedApp, DeploymentGroup: "production", From: "blue-green", Key: "artifacts/sample-web/artifact.gz", VersionID: "v2"}}, s.placed)
		assert.Contains(t, s.err.String(), "promotion from blue-green of sample-web/production\n  runs      version v1 ")
		assert.Equal(t, 1, s.asked)
	})
	t.Run("S15 promote | a version is named, and nothing was deployed there yet | it is ordered, and that is said", func(t *testing.T) {
		s := twoGroups(t)
		require.NoError(t, s.ops(t, "promote --yes --from blue-green --to production --version v1"))
		assert.Equal(t, "v1", s.placed[0].VersionID)
		assert.Contains(t, s.err.String(), "note: nothing was ever deployed to sample-web/production by an upload")
		assert.Contains(t, s.err.String(), "runs      nothing that has succeeded")
	})
	t.Run("S15 promote | the other group runs it already, or the first has nothing | nothing is ordered", func(t *testing.T) {
		s := twoGroups(t)
		s.record("production", nil, "v2")
		assert.ErrorContains(t, s.ops(t, "promote --yes --from blue-green --to production"), "sample-web/production runs version v2 already")
		s.record("blue-green", nil, "v1!")
		assert.ErrorContains(t, s.ops(t, "promote --yes --from blue-green --to production"), "nothing has succeeded in sample-web/blue-green")
		assert.ErrorContains(t, s.ops(t, "promote --yes --from nope --to production"), "has no sample-web/nope")
		assert.Empty(t, s.placed)
	})
}

func TestPauseAndResume(t *testing.T) {
	for name, kind := range map[string]string{
		"S15 pause | somebody says yes | it is ordered, and waited for until the trigger has done it":  "pause",
		"S15 resume | somebody says yes | it is ordered, and waited for until the trigger has done it": "resume",
	} {
		t.Run(name, func(t *testing.T) {
			s := newOrdered(t)
			s.says = []string{"", "", `{"state":"Succeeded","reason":"done","order":{"operator":"AWS:X:alice"}}`}
			require.NoError(t, s.ops(t, kind+blueGreen))
			assert.Equal(t, []order.Order{{Kind: kind, Application: orderedApp, DeploymentGroup: "blue-green"}}, s.placed)
			assert.Equal(t, 1, s.asked)
			assert.Contains(t, s.out.String(), `"operator": "AWS:X:alice"`)
		})
		t.Run(kind+" that another order has overtaken", func(t *testing.T) {
			s := newOrdered(t)
			s.says = []string{`{"state":"Superseded","reason":"a later one"}`}
			assert.Equal(t, 1, exitStatus(s.ops(t, kind+" --yes"+blueGreen)))
			assert.Contains(t, s.err.String(), "Superseded: a later one")
		})
	}
}

// addGroup adds a deployment group to the configuration of a session.
func addGroup(t *testing.T, s *session, application, group string) {
	t.Helper()
	file := filepath.Join(s.configs, "staging.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	const list = "  deploymentGroups:\n"
	require.Contains(t, string(text), list)
	added := strings.Replace(string(text), list, list+"    - {application: "+application+", deploymentGroup: "+group+", projects: any}\n", 1)
	require.NoError(t, os.WriteFile(file, []byte(added), 0o600))
}
