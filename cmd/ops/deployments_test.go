package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
)

const artifactBucket = "example-deploy-staging"

// deployOutputs are those of the deployment account's stack.
func deployOutputs(more ...string) map[string]string {
	const queues = "https://sqs.ap-northeast-1.amazonaws.com/222222222222/"
	outputs := map[string]string{"ArtifactBucketName": artifactBucket, "QueueUrl": queues + "uploads", "DeadLetterQueueUrl": queues + "dead-letters"}
	for pair := range slices.Chunk(more, 2) {
		outputs[pair[0]] = pair[1]
	}
	return outputs
}

// newDeploySession is a session in which the deployment account is open.
func newDeploySession(t *testing.T) *session {
	t.Helper()
	s := newSession(t)
	s.cloud.PlayAccount(deployAccount, map[string]map[string]string{"Deploy-staging": deployOutputs()})
	return s
}

// refuse lets an operation be refused, as IAM does it.
func refuse[In, Out any](s *session, code, words string) {
	awstest.On(s.cloud, func(context.Context, *In) (*Out, error) { return nil, awstest.Refusal(code, words) })
}

// history plays what a deployment account has of deployments and uploads.
type history struct {
	*session
	now     time.Time
	objects []s3types.Object // of the listing
	states  map[string]string
	ids     []string
	infos   map[string]types.DeploymentInfo
	groups  []string
}

func newHistory(t *testing.T) *history {
	t.Helper()
	h := &history{session: newDeploySession(t), states: map[string]string{}, infos: map[string]types.DeploymentInfo{}}
	h.now = time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)
	h.program.now = func() time.Time { return h.now }
	awstest.On(h.cloud, func(context.Context, *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
		return &s3.ListObjectsV2Output{Contents: h.objects}, nil
	})
	awstest.On(h.cloud, func(_ context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
		state, there := h.states[*in.Key]
		if !there {
			return nil, &s3types.NoSuchKey{}
		}
		return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(state))}, nil
	})
	awstest.On(h.cloud, func(_ context.Context, in *codedeploy.ListDeploymentGroupsInput) (*codedeploy.ListDeploymentGroupsOutput, error) {
		return &codedeploy.ListDeploymentGroupsOutput{DeploymentGroups: h.groups}, nil
	})
	awstest.On(h.cloud, func(context.Context, *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
		return &codedeploy.ListDeploymentsOutput{Deployments: h.ids}, nil
	})
	awstest.On(h.cloud, func(_ context.Context, in *codedeploy.BatchGetDeploymentsInput) (*codedeploy.BatchGetDeploymentsOutput, error) {
		out := &codedeploy.BatchGetDeploymentsOutput{}
		for _, id := range in.DeploymentIds {
			if info, known := h.infos[id]; known {
				out.DeploymentsInfo = append(out.DeploymentsInfo, info)
			}
		}
		return out, nil
	})
	return h
}

// upload plays an upload's state of so many seconds ago, with more fields.
func (h *history) upload(id string, ago int, state string, more map[string]any) {
	at := h.now.Add(-time.Duration(ago) * time.Second)
	content := map[string]any{"uploadId": id, "state": state, "application": "web", "deploymentGroup": "blue", "versionId": "v-" + id, "updatedAt": at.Format(time.RFC3339Nano)}
	maps.Copy(content, more)
	text, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	h.object(id, at, string(text))
}

func (h *history) object(id string, at time.Time, text string) {
	h.states["deployments/"+id+".json"] = text
	h.objects = append(h.objects, s3types.Object{Key: aws.String("deployments/" + id + ".json"), LastModified: &at, Size: aws.Int64(int64(len(text)))})
}

// deployment plays one of CodeDeploy's.
func (h *history) deployment(id string, ago int, status types.DeploymentStatus, change ...func(*types.DeploymentInfo)) {
	at := h.now.Add(-time.Duration(ago) * time.Second)
	info := types.DeploymentInfo{
		DeploymentId: &id, Status: status, ApplicationName: aws.String("web"), DeploymentGroupName: aws.String("blue"), Creator: types.DeploymentCreatorUser, CreateTime: &at,
		Revision: &types.RevisionLocation{S3Location: &types.S3Location{Bucket: aws.String(artifactBucket), Key: aws.String("artifacts/web/artifact.gz"), Version: aws.String("v-" + id)}},
	}
	for _, c := range change {
		c(&info)
	}
	h.infos[id] = info
	h.ids = append(h.ids, id)
}

func described(text string) func(*types.DeploymentInfo) {
	return func(d *types.DeploymentInfo) { d.Description = &text }
}

func application(name string) func(*types.DeploymentInfo) {
	return func(d *types.DeploymentInfo) { d.ApplicationName = &name }
}

// deployments runs the command.
func (h *history) deployments(t *testing.T, args ...string) error {
	t.Helper()
	h.out.Reset()
	h.err.Reset()
	return h.run(t, append([]string{"deployments", "--env", "staging", "--profile", "b"}, args...)...)
}

var blanks = regexp.MustCompile(` {2,}`)

// rows are the table's without its head, with single blanks.
func (s *session) rows() []string {
	lines := strings.Split(strings.TrimRight(s.out.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = blanks.ReplaceAllString(lines[i], " ")
	}
	return lines[1:]
}

// column is one of the table's, from 1, where no cell before it has a blank but the age.
func (s *session) column(n int) (cells []string) {
	for _, row := range s.rows() {
		cells = append(cells, strings.Fields(row)[n-1])
	}
	return cells
}

// result is the JSON output.
func (s *session) result(t *testing.T) (rows []map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(s.out.Bytes(), &rows), "%s", s.out.String())
	return rows
}

// printable fails when a terminal would act on a character.
func printable(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		assert.False(t, r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)), "%q of %q", r, text)
	}
}

// untrusted plays what uploads may have made of states and descriptions.
func untrusted(h *history) {
	web := func(d *types.DeploymentInfo) {
		d.ApplicationName, d.DeploymentGroupName = aws.String("sample-web"), aws.String("blue-green")
	}
	version := func(v string) func(*types.DeploymentInfo) {
		return func(d *types.DeploymentInfo) { d.Revision.S3Location.Version = &v }
	}
	h.deployment("d-1", 40, types.DeploymentStatusSucceeded, web, version("v-done"))
	h.deployment("d-2", 30, types.DeploymentStatusCreated, web, version("v-unwritten"), described("upload-id=unwritten uploaded=2026-11-23T01:02:03Z"))
	h.deployment("d-3", 20, types.DeploymentStatusCreated, web, version("v-by-hand"), described("\x1b[2J upload-id=such/name upload-id=x"))
	h.deployment("d-4", 20, types.DeploymentStatusCreated, application("somebody-elses"), func(d *types.DeploymentInfo) { d.Revision = nil })
	pair := map[string]any{"application": "sample-web", "deploymentGroup": "blue-green"}
	more := func(fields map[string]any) map[string]any {
		all := maps.Clone(pair)
		maps.Copy(all, fields)
		return all
	}
	h.upload("done", 35, "Succeeded", more(map[string]any{"deploymentId": "d-1"}))
	h.upload("unwritten", 31, "Waiting", pair)
	h.upload("rejected", 200, "Rejected", map[string]any{"application": "other-web", "deploymentGroup": "blue-green",
		"reason": "no deployment group \x1b]0;owned\x07\u202e" + strings.Repeat(" long", 800)})
	h.upload("forged", 300, "Waiting", map[string]any{"application": "\x1b[31mred\nline", "deploymentGroup": "a b"})
	for i, name := range []string{"not-json", "array", "unknown-state", "number", "option", "..", "huge"} {
		text := map[string]string{"not-json": "{", "array": "[]", "unknown-state": `{"state":"\u001b[2J"}`, "number": `{"state":"Waiting","key":7}`,
			"option": `{"state":"Failed","deploymentId":"--profile x"}`, "..": `{"state":7}`, "huge": `{"state":"Waiting"}`}[name]
		h.object(name, h.now.Add(-time.Duration(400+i)*time.Second), text)
		if name == "huge" {
			h.objects[len(h.objects)-1].Size = aws.Int64(64<<10 + 1)
		}
	}
	h.object("such/name", h.now, "{}")
}

func TestDeployments(t *testing.T) {
	t.Run("S15: AWS's answers become one table, and nothing in them reaches the terminal as a command", func(t *testing.T) {
		h := newHistory(t)
		untrusted(h)
		h.stdout = &terminal{&h.out, 200}
		require.NoError(t, h.deployments(t, "--last", "20"))
		printable(t, h.out.String()+h.err.String())
		lines := strings.Split(strings.TrimSpace(h.out.String()), "\n")
		// A line for each row: head, 3 deployments, rejected, forged, 7 unreadable.
		assert.Len(t, lines, 13)
		for _, line := range lines {
			assert.LessOrEqual(t, text.StringWidth(line), 200)
		}
		for _, want := range []string{
			`(?m)^sample-web +blue-green +Succeeded +40 s +done +d-1 +v-done +-$`,
			`(?m)^sample-web +blue-green +Created +30 s +unwritten +d-2 +v-unwritten +-$`,
			`(?m)^sample-web +blue-green +Created +20 s +- +d-3 +v-by-hand +-$`,
			`(?m)^other-web +blue-green +Rejected +3 m +rejected +- +v-rejected +no deployment group .*long.*…$`,
			`(?m)^\?\?31mred\?line +a\?b +Waiting `,
		} {
			assert.Regexp(t, want, h.out.String())
		}
		for _, name := range []string{"not-json", "array", "unknown-state", "number", "option", "huge", `\.\.`} {
			assert.Regexp(t, `(?m)^- +- +unreadable +\d+ m +`+name+` `, h.out.String())
		}
		assert.NotContains(t, h.out.String(), "somebody-elses")
		assert.NotContains(t, h.out.String(), "such/name")
	})

	t.Run("S15: --json is one array of the same rows, exact and yet printable", func(t *testing.T) {
		h := newHistory(t)
		untrusted(h)
		require.NoError(t, h.deployments(t, "--json"))
		printable(t, h.out.String())
		states, exact, longest := map[string]int{}, 0, 0
		for _, row := range h.result(t) {
			states[row["state"].(string)]++
			if row["application"] == "\x1b[31mred\nline" {
				exact++
			}
			if reason, ok := row["reason"].(string); ok {
				longest = max(longest, len(reason))
			}
			assert.Equal(t, []string{"ageSeconds", "application", "commit", "deploymentGroup", "deploymentId", "endedAt", "key", "operator", "order", "pipelineUrl",
				"project", "reason", "ref", "since", "state", "uploadId", "user", "versionId"}, slices.Sorted(maps.Keys(row)))
		}
		// --last 5 counts for the unreadable ones, too.
		assert.Equal(t, map[string]int{"Created": 2, "Rejected": 1, "Succeeded": 1, "Waiting": 1, "unreadable": 5}, states)
		assert.Equal(t, 1, exact)
		assert.Greater(t, longest, 3000)
	})

	t.Run("S15: --application asks for its groups, and leaves other applications and unreadable states out", func(t *testing.T) {
		h := newHistory(t)
		untrusted(h)
		h.groups, h.ids = []string{"blue-green"}, nil
		require.NoError(t, h.deployments(t, "--application", "other-web"))
		require.Len(t, h.rows(), 1)
		assert.Regexp(t, `^other-web blue-green Rejected `, h.rows()[0])
		assert.Contains(t, h.err.String(), "7 unreadable upload states: ")
		assert.Contains(t, h.err.String(), "not-json")
	})

	t.Run("S15: a profile of another account is refused, and both accounts are named", func(t *testing.T) {
		h := newHistory(t)
		h.cloud.PlayAccount("333333333333", nil)
		err := h.deployments(t)
		assert.Equal(t, 2, exitStatus(err))
		assert.ErrorContains(t, err, "the credentials are of account 333333333333, but Deploy-staging belongs to account 222222222222 (deploy.account in config/staging.yaml)")
		assert.Empty(t, h.out.String())
	})

	t.Run("S15: an environment that does not exist is answered with the ones that do", func(t *testing.T) {
		h := newHistory(t)
		require.NoError(t, os.WriteFile(filepath.Join(h.configs, "local.yaml"), nil, 0o600))
		err := h.run(t, "deployments", "--env", "nope")
		assert.Equal(t, 2, exitStatus(err))
		assert.ErrorContains(t, err, `got "nope", want one of local, staging`)
		assert.Empty(t, h.cloud.Names())
	})

	t.Run("S15: the newest come first, five of each application unless --last says otherwise", func(t *testing.T) {
		h := newHistory(t)
		for i := range 7 {
			h.deployment(fmt.Sprintf("d-%d", i+1), (i+1)*100, types.DeploymentStatusSucceeded)
		}
		h.deployment("d-8", 50, types.DeploymentStatusSucceeded, application("api"))
		h.deployment("d-9", 5000, types.DeploymentStatusSucceeded, application("api"))
		require.NoError(t, h.deployments(t))
		assert.Equal(t, []string{"d-8", "d-9", "d-1", "d-2", "d-3", "d-4", "d-5"}, h.column(7))
		require.NoError(t, h.deployments(t, "--last", "1"))
		assert.Equal(t, []string{"d-8", "d-1"}, h.column(7))
	})

	t.Run("S14: uploads without a deployment are listed with their reason", func(t *testing.T) {
		h := newHistory(t)
		h.upload("u-1", 600, "Waiting", map[string]any{"reason": "DeploymentLimitExceeded: web, blue is busy"})
		h.upload("u-2", 1200, "Superseded", map[string]any{"reason": "a newer upload was there first"})
		h.upload("u-3", 1800, "Rejected", map[string]any{"reason": `bundle-type "rar" is unknown`})
		require.NoError(t, h.deployments(t))
		assert.Equal(t, []string{
			"web blue Waiting 10 m u-1 - v-u-1 DeploymentLimitExceeded: web, blue is busy",
			"web blue Superseded 20 m u-2 - v-u-2 a newer upload was there first",
			`web blue Rejected 30 m u-3 - v-u-3 bundle-type "rar" is unknown`,
		}, h.rows())
	})

	t.Run("S15: whose upload it was stands in a column of its own, as soon as one was proven", func(t *testing.T) {
		h := newHistory(t)
		h.upload("proven", 60, "Succeeded", map[string]any{"deploymentId": "d-1", "project": "team/web", "ref": "main", "user": "jdoe", "pipelineUrl": "https://gitlab.example.com/team/web/-/pipelines/12"})
		h.deployment("d-1", 60, types.DeploymentStatusSucceeded, described("upload-id=proven commit=0123456789abcdef pipeline=https://forged.example.com"))
		h.upload("refused", 120, "Rejected", map[string]any{"reason": "another project"})
		h.upload("forged", 180, "Rejected", map[string]any{"project": 7})
		require.NoError(t, h.deployments(t))
		assert.Regexp(t, `^APPLICATION .* VERSION +FROM +REASON\n`, h.out.String())
		assert.Regexp(t, `(?m) proven +d-1 +v-proven +team/web@main 01234567 by jdoe +-$`, h.out.String())
		assert.Regexp(t, `(?m) refused +- +v-refused +- +another project$`, h.out.String())
		assert.Regexp(t, `(?m) unreadable .* forged .*project is no text$`, h.out.String())
		require.NoError(t, h.deployments(t, "--json"))
		row := h.result(t)[0]
		assert.Equal(t, []any{"team/web", "main", "jdoe", "https://gitlab.example.com/team/web/-/pipelines/12", "0123456789abcdef"},
			[]any{row["project"], row["ref"], row["user"], row["pipelineUrl"], row["commit"]})
	})

	t.Run("S15 deployments | an operator has rolled back | who it was stands beside whose the artifact is, and when it ended", func(t *testing.T) {
		h := newHistory(t)
		h.upload("order.1", 60, "Succeeded", map[string]any{"deploymentId": "d-1", "project": "team/web", "ref": "main", "user": "jdoe",
			"order": map[string]any{"kind": "rollback", "operator": "AWS:AROAEXAMPLE:alice", "from": "v-2"}})
		h.deployment("d-1", 60, types.DeploymentStatusSucceeded, func(d *types.DeploymentInfo) { d.CompleteTime = aws.Time(h.now.Add(-10 * time.Second)) })
		h.upload("bad", 90, "Waiting", map[string]any{"order": 7})
		require.NoError(t, h.deployments(t))
		assert.Regexp(t, `(?m) order.1 +d-1 +v-order.1 +team/web@main by jdoe, rollback by AWS:AROAEXAMPLE:alice +-$`, h.out.String())
		assert.Contains(t, h.out.String(), "order is no order")
		require.NoError(t, h.deployments(t, "--json"))
		row := h.result(t)[0]
		assert.Equal(t, []any{"rollback", "AWS:AROAEXAMPLE:alice", "2026-11-28T05:59:50.000Z"}, []any{row["order"], row["operator"], row["endedAt"]})
	})

	t.Run("S15: a deployment that both sources know is one row, in the state that is further on", func(t *testing.T) {
		h := newHistory(t)
		h.upload("behind", 5, "Created", map[string]any{"deploymentId": "d-1", "reason": "old"})
		h.deployment("d-1", 300, types.DeploymentStatusFailed, func(d *types.DeploymentInfo) {
			d.ErrorInformation = &types.ErrorInformation{Code: types.ErrorCodeHealthConstraints, Message: aws.String("too few\ninstances")}
		})
		h.upload("ahead", 5, "Succeeded", map[string]any{"deploymentId": "d-2"})
		h.deployment("d-2", 400, types.DeploymentStatusInProgress)
		h.upload("gone", 500, "Stopped", map[string]any{"deploymentId": "d-3", "reason": "stopped by hand"})
		h.upload("old", 600, "InProgress", map[string]any{"deploymentId": "d-4", "reason": "no longer true"})
		h.deployment("d-4", 660, types.DeploymentStatusSucceeded)
		require.NoError(t, h.deployments(t))
		assert.Equal(t, []string{
			"web blue Failed 5 m behind d-1 v-behind HEALTH_CONSTRAINTS: too few instances",
			"web blue Succeeded 6 m ahead d-2 v-ahead -",
			"web blue Stopped 8 m gone d-3 v-gone stopped by hand",
			"web blue Succeeded 11 m old d-4 v-old -",
		}, h.rows())
	})

	t.Run("S14: a deployment whose function ended before it wrote so is not listed as waiting, too", func(t *testing.T) {
		h := newHistory(t)
		h.upload("u-1", 5, "Waiting", map[string]any{"versionId": "v-d-1"})
		h.deployment("d-1", 60, types.DeploymentStatusCreated, described("upload-id=u-1 uploaded=2026-11-23T01:02:03Z commit=abc"))
		require.NoError(t, h.deployments(t))
		assert.Equal(t, []string{"web blue Created 1 m u-1 d-1 v-d-1 -"}, h.rows())
	})

	t.Run("S15: what CodeDeploy does by itself is told as such, and is no upload's", func(t *testing.T) {
		h := newHistory(t)
		h.deployment("d-1", 60, types.DeploymentStatusSucceeded, described("upload-id=u-1"), func(d *types.DeploymentInfo) { d.Creator = types.DeploymentCreatorCodeDeployRollback })
		require.NoError(t, h.deployments(t))
		assert.Equal(t, []string{"web blue Succeeded 1 m - d-1 v-d-1 made by CodeDeploy itself (codeDeployRollback)"}, h.rows())
	})

	t.Run("S15: somebody's deployment to a group of ours is listed, other groups are not", func(t *testing.T) {
		h := newHistory(t)
		elsewhere := func(d *types.DeploymentInfo) {
			d.Revision = &types.RevisionLocation{GitHubLocation: &types.GitHubLocation{Repository: aws.String("a/b")}}
		}
		h.deployment("d-1", 60, types.DeploymentStatusSucceeded)
		h.deployment("d-2", 70, types.DeploymentStatusSucceeded, elsewhere)
		h.deployment("d-3", 80, types.DeploymentStatusSucceeded, elsewhere, application("theirs"))
		require.NoError(t, h.deployments(t))
		assert.Equal(t, []string{"d-1", "d-2"}, h.column(7))
	})

	t.Run("S15: ages are told in seconds, minutes, hours and days", func(t *testing.T) {
		h := newHistory(t)
		for i, ago := range []int{7, 185, 7300, 345700, -60} { // A laptop's clock may be behind.
			h.deployment(fmt.Sprint("d-", i), ago, types.DeploymentStatusSucceeded)
		}
		require.NoError(t, h.deployments(t))
		var ages []string
		for _, row := range h.rows() {
			ages = append(ages, strings.Join(strings.Fields(row)[3:5], " "))
		}
		assert.Equal(t, []string{"0 s", "7 s", "3 m", "2 h", "4 d"}, ages)
	})

	t.Run("S15: a status of CodeDeploy's that is new to us is under way", func(t *testing.T) {
		h := newHistory(t)
		h.deployment("d-1", 7, "Baking")
		h.deployment("d-2", 8, types.DeploymentStatusQueued)
		require.NoError(t, h.deployments(t))
		assert.Equal(t, []string{"InProgress", "Created"}, h.column(3))
	})

	t.Run("S15: both names ask for one group's deployments only", func(t *testing.T) {
		h := newHistory(t)
		h.deployment("d-1", 7, types.DeploymentStatusSucceeded)
		h.upload("u-1", 10, "Rejected", nil)
		h.upload("u-2", 10, "Rejected", map[string]any{"deploymentGroup": "green"})
		require.NoError(t, h.deployments(t, "--application", "web", "--deployment-group", "blue"))
		assert.Equal(t, []string{"Succeeded", "Rejected"}, h.column(3))
		asked := awstest.Inputs[codedeploy.ListDeploymentsInput](h.cloud)
		require.Len(t, asked, 1)
		assert.Equal(t, []string{"web", "blue"}, []string{*asked[0].ApplicationName, *asked[0].DeploymentGroupName})
		assert.NotContains(t, h.cloud.Names(), "codedeploy:ListDeploymentGroups")
	})

	t.Run("S14: uploads of an application that CodeDeploy does not have are listed", func(t *testing.T) {
		h := newHistory(t)
		h.upload("u-1", 600, "Rejected", map[string]any{"reason": "CodeDeploy has no application web"})
		refuse[codedeploy.ListDeploymentGroupsInput, codedeploy.ListDeploymentGroupsOutput](h.session, "ApplicationDoesNotExistException", "no")
		require.NoError(t, h.deployments(t, "--application", "web"))
		assert.Equal(t, []string{"web blue Rejected 10 m u-1 - v-u-1 CodeDeploy has no application web"}, h.rows())
		assert.Contains(t, h.err.String(), "CodeDeploy has no application web in account 222222222222, ap-northeast-1")
	})

	t.Run("S15: --application asks for each of its groups, and a vanished one is no failure", func(t *testing.T) {
		h := newHistory(t)
		h.groups = []string{"blue", "a b", "evil\x1b[2J"}
		h.deployment("d-1", 7, types.DeploymentStatusSucceeded)
		awstest.On(h.cloud, func(_ context.Context, in *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
			if *in.DeploymentGroupName == "a b" {
				return nil, awstest.Refusal("DeploymentGroupDoesNotExistException", "no")
			}
			return &codedeploy.ListDeploymentsOutput{Deployments: h.ids}, nil
		})
		require.NoError(t, h.deployments(t, "--application", "web"))
		var asked []string
		for _, in := range awstest.Inputs[codedeploy.ListDeploymentsInput](h.cloud) {
			asked = append(asked, *in.DeploymentGroupName)
		}
		assert.Equal(t, []string{"blue", "a b"}, asked)
		assert.Equal(t, []string{"d-1"}, h.column(7))
		assert.Contains(t, h.err.String(), "no deployment group a b of application web")
	})

	t.Run("S15: only the newest hundred upload states are read, and that is said", func(t *testing.T) {
		h := newHistory(t)
		for i := 1; i <= 150; i++ { // By name the newest is in the middle.
			h.upload(fmt.Sprintf("u-%03d", i), 10+(i*77%150)*60, "Waiting", nil)
		}
		require.NoError(t, h.deployments(t, "--last", "100"))
		read := map[string]bool{}
		for _, in := range awstest.Inputs[s3.GetObjectInput](h.cloud) {
			read[*in.Key] = true
		}
		assert.Len(t, read, 100)
		assert.True(t, read["deployments/u-150.json"], "150·77 ≡ 0 is the newest")
		assert.False(t, read["deployments/u-037.json"], "37·77 ≡ 149 is the oldest")
		assert.Contains(t, h.err.String(), "looked at the newest 100 of 150 upload states")
	})

	t.Run("S15: deployments are read 25 at a time, and a longer list is told", func(t *testing.T) {
		h := newHistory(t)
		for i := 1; i <= 120; i++ {
			h.deployment(fmt.Sprint("d-", i), i*60, types.DeploymentStatusSucceeded)
		}
		awstest.On(h.cloud, func(_ context.Context, in *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
			if in.NextToken == nil {
				return &codedeploy.ListDeploymentsOutput{Deployments: h.ids[:60], NextToken: aws.String("more")}, nil
			}
			return &codedeploy.ListDeploymentsOutput{Deployments: h.ids[60:]}, nil
		})
		require.NoError(t, h.deployments(t, "--last", "100"))
		var sizes []int
		for _, in := range awstest.Inputs[codedeploy.BatchGetDeploymentsInput](h.cloud) {
			sizes = append(sizes, len(in.DeploymentIds))
		}
		assert.Equal(t, []int{25, 25, 25, 25}, sizes)
		assert.Len(t, h.rows(), 100)
		assert.Contains(t, h.err.String(), "looked at the newest 100 deployments; --application and --deployment-group look at one group's")
	})

	t.Run("S15: a deployment that only an upload's state names cannot hide the others", func(t *testing.T) {
		h := newHistory(t)
		h.deployment("d-1", 60, types.DeploymentStatusSucceeded)
		h.upload("u-1", 50, "Failed", map[string]any{"deploymentId": "d-FORGOTTEN", "reason": "an old one"})
		awstest.On(h.cloud, func(_ context.Context, in *codedeploy.BatchGetDeploymentsInput) (*codedeploy.BatchGetDeploymentsOutput, error) {
			if in.DeploymentIds[0] == "d-FORGOTTEN" {
				return nil, awstest.Refusal("DeploymentDoesNotExistException", "no")
			}
			return &codedeploy.BatchGetDeploymentsOutput{DeploymentsInfo: []types.DeploymentInfo{h.infos["d-1"]}}, nil
		})
		require.NoError(t, h.deployments(t))
		assert.Equal(t, []string{"d-FORGOTTEN", "d-1"}, h.column(7))
		assert.Contains(t, h.err.String(), "CodeDeploy does not know some deployments")
	})

	t.Run("S15: without deployments and uploads it says so, and JSON is an empty array", func(t *testing.T) {
		h := newHistory(t)
		require.NoError(t, h.deployments(t))
		assert.Empty(t, h.out.String())
		assert.Contains(t, h.err.String(), "no deployments and no uploads yet")
		require.NoError(t, h.deployments(t, "--json"))
		assert.Equal(t, "[]\n", h.out.String())
		require.NoError(t, h.deployments(t, "--application", "web", "--deployment-group", "blue"))
		assert.Contains(t, h.err.String(), "no deployments and no uploads yet of web, blue")
	})

	t.Run("S15: a reason is cut to the terminal's width, in columns, and names never are", func(t *testing.T) {
		h := newHistory(t)
		h.upload("u-1", 10, "Rejected", map[string]any{"reason": strings.Repeat("デプロイメントグループは存在しません", 2)})
		h.stdout = &terminal{&h.out, 90}
		require.NoError(t, h.deployments(t))
		row := strings.Split(strings.TrimSpace(h.out.String()), "\n")[1]
		assert.Regexp(t, `v-u-1 .*…$`, row)
		// Each of these letters takes two columns, so that one may be left.
		assert.Contains(t, []int{89, 90}, text.StringWidth(row))
		h.stdout = &terminal{&h.out, 30} // Too narrow: the reason keeps 20 columns.
		require.NoError(t, h.deployments(t))
		assert.Regexp(t, `v-u-1    デプロイメントグル…\n$`, h.out.String())
	})

	t.Run("S15: elsewhere a reason is not cut to any terminal", func(t *testing.T) {
		h := newHistory(t)
		t.Setenv("COLUMNS", "80")
		h.upload("u-1", 10, "Rejected", map[string]any{"reason": strings.Repeat("word ", 100) + "end"})
		require.NoError(t, h.deployments(t))
		assert.Regexp(t, `word end\n$`, h.out.String())
	})

	t.Run("S15: a reader who stops early is no mistake", func(t *testing.T) {
		h := newHistory(t)
		h.deployment("d-1", 60, types.DeploymentStatusSucceeded)
		h.stdout = broken{}
		assert.NoError(t, h.deployments(t))
		assert.NoError(t, h.deployments(t, "--json"))
		assert.Empty(t, h.err.String())
	})

	t.Run("S15: expired credentials name account, AWS's words and the remedy", func(t *testing.T) {
		h := newHistory(t)
		refuse[sts.GetCallerIdentityInput, sts.GetCallerIdentityOutput](h.session, "ExpiredToken", "The security token included in the request is expired")
		err := h.deployments(t)
		assert.Equal(t, 2, exitStatus(err))
		assert.ErrorContains(t, err, "no credentials for account 222222222222 (deploy.account in config/staging.yaml)")
		assert.ErrorContains(t, err, "ExpiredToken")
		assert.ErrorContains(t, err, "aws sso login")
		assert.Equal(t, []string{"sts:GetCallerIdentity"}, h.cloud.Names())
	})

	t.Run("S15: a stack that is not deployed is told with the command that makes it", func(t *testing.T) {
		h := newHistory(t)
		h.cloud.PlayAccount(deployAccount, nil)
		err := h.deployments(t)
		assert.Equal(t, 2, exitStatus(err))
		assert.ErrorContains(t, err, "no stack Deploy-staging in account 222222222222, ap-northeast-1: scripts/ops deploy --env staging makes it")
	})

	t.Run("S15: an output that is no bucket's name reaches no call", func(t *testing.T) {
		h := newHistory(t)
		h.cloud.PlayAccount(deployAccount, map[string]map[string]string{"Deploy-staging": {"ArtifactBucketName": "--profile"}})
		err := h.deployments(t)
		assert.Equal(t, 1, exitStatus(err))
		assert.ErrorContains(t, err, `output ArtifactBucketName of stack Deploy-staging is "--profile"`)
		assert.Equal(t, []string{"sts:GetCallerIdentity", "cloudformation:DescribeStacks"}, h.cloud.Names())
	})

	t.Run("S15: whatever AWS refuses ends with 1, what was asked and AWS's words", func(t *testing.T) {
		for words, deny := range map[string]func(*session){
			"read the outputs of stack Deploy-staging": func(s *session) {
				refuse[cloudformation.DescribeStacksInput, cloudformation.DescribeStacksOutput](s, "AccessDenied", "no")
			},
			"listing deployments/ in example-deploy-staging": func(s *session) {
				refuse[s3.ListObjectsV2Input, s3.ListObjectsV2Output](s, "AccessDenied", "no")
			},
			"reading the upload states in example-deploy-staging": func(s *session) {
				refuse[s3.GetObjectInput, s3.GetObjectOutput](s, "AccessDenied", "no")
			},
			"listing the deployments": func(s *session) {
				refuse[codedeploy.ListDeploymentsInput, codedeploy.ListDeploymentsOutput](s, "AccessDenied", "no")
			},
			"reading deployments": func(s *session) {
				refuse[codedeploy.BatchGetDeploymentsInput, codedeploy.BatchGetDeploymentsOutput](s, "AccessDenied", "no")
			},
		} {
			h := newHistory(t)
			h.deployment("d-1", 60, types.DeploymentStatusSucceeded)
			for i := range 30 {
				h.upload(fmt.Sprint("u-", i), 10, "Rejected", nil)
			}
			deny(h.session)
			err := h.deployments(t)
			assert.Equal(t, 1, exitStatus(err), words)
			assert.ErrorContains(t, err, words)
			assert.ErrorContains(t, err, "AccessDenied")
			assert.Empty(t, h.out.String())
		}
	})

	t.Run("S15: an interrupted listing ends, and prints nothing", func(t *testing.T) {
		h := newHistory(t)
		ctx, interrupt := context.WithCancel(t.Context())
		awstest.On(h.cloud, func(ctx context.Context, _ *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
			interrupt()
			<-ctx.Done()
			return nil, ctx.Err()
		})
		root := h.command()
		root.SetArgs([]string{"deployments", "--env", "staging"})
		err := root.ExecuteContext(ctx)
		assert.Equal(t, 1, exitStatus(err))
		assert.Contains(t, message(ctx, err), "interrupted: ")
		assert.Empty(t, h.out.String())
	})

	t.Run("S15: --dry-run prints the calls, which only read", func(t *testing.T) {
		h := newHistory(t)
		h.upload("u-1", 10, "Rejected", nil)
		err := h.deployments(t, "--dry-run", "--application", "web", "--deployment-group", "blue")
		assert.Equal(t, 0, exitStatus(err))
		assert.Contains(t, h.out.String(), `s3:ListObjectsV2 {"Bucket":"example-deploy-staging","Prefix":"deployments/"}`)
		assert.Contains(t, h.out.String(), `codedeploy:ListDeployments {"ApplicationName":"web","DeploymentGroupName":"blue"}`)
		assert.NotContains(t, h.out.String(), "Rejected")
		for _, call := range h.cloud.Calls() {
			assert.True(t, call.Reads(), call.Name())
		}
	})

	t.Run("S15: wrong use ends with 2, says what is wrong, and calls nothing", func(t *testing.T) {
		for args, want := range map[string]string{
			"":                         "--env is required",
			"--env staging --profile":  "flag needs an argument: --profile",
			"--env staging --all":      "unknown flag: --all",
			"--env staging web":        `unknown command "web"`,
			"--env staging --last 0":   "--last: want a number from 1 to 100, got '0'",
			"--env staging --last 101": "--last: want a number from 1 to 100, got '101'",
			"--env staging --last all": "--last: want a number from 1 to 100, got 'all'",
			"--env staging --application file:///etc/passwd": "--application: want up to 100 letters, digits",
			"--env staging --deployment-group a;b":           "--deployment-group: want up to 100 letters, digits",
		} {
			h := newHistory(t)
			err := h.run(t, append([]string{"deployments"}, strings.Fields(args)...)...)
			assert.Equal(t, 2, exitStatus(err), args)
			assert.ErrorContains(t, err, want)
			assert.Empty(t, h.out.String())
			assert.Empty(t, h.cloud.Names())
		}
	})

	t.Run("S15: ops lists the command, and it has a help", func(t *testing.T) {
		h := newHistory(t)
		require.NoError(t, h.run(t, "--help"))
		assert.Regexp(t, `(?m)^  deployments +List the last deployments`, h.out.String())
		require.NoError(t, h.run(t, "deployments", "--help"))
		assert.Contains(t, h.out.String(), "ops deployments --env NAME")
	})
}

// terminal is a terminal of a width.
type terminal struct {
	*bytes.Buffer
	width int
}

func (t *terminal) Columns() int { return t.width }

// broken is a pipe whose reader has gone.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.Join(syscall.EPIPE) }
