package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autoscalingtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
)

// ops runs the operator's program of a checkout as a user does who evaluated the line that "up" printed.
func ops(t *testing.T, checkout string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.Command("bash", append([]string{"-c", both().up.stdout + `exec "$@"`, "bash", filepath.Join(checkout, "bin", "ops")}, args...)...)
	cmd.Env = append(os.Environ(), "AWS_PROFILE=", "CDK_VALIDATION=false")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	return out.String(), said.String(), err
}

// opsJSON is ops for a command that ends well and prints JSON.
func opsJSON(t *testing.T, answer any, args ...string) {
	t.Helper()
	stdout, stderr, err := ops(t, root, args...)
	require.NoError(t, err, "%s%s", stdout, stderr)
	require.NoError(t, json.Unmarshal([]byte(stdout), answer), stdout)
}

// laptop is a folder with the operator's program and the configurations of this checkout.
func laptop(t *testing.T) string {
	t.Helper()
	checkout := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(checkout, "config"), os.DirFS(filepath.Join(root, "config"))))
	require.NoError(t, os.Mkdir(filepath.Join(checkout, "bin"), 0o700))
	require.NoError(t, os.Link(filepath.Join(root, "bin", "ops"), filepath.Join(checkout, "bin", "ops")))
	return checkout
}

// TestS15_AnOperatorsWay goes from nothing to a deployment, back and forward, with the operator's program alone. The first deploy is that of up.
func TestS15_AnOperatorsWay(t *testing.T) {
	bucket := up(t)["Deploy-local"]["ArtifactBucketName"] // by scripts/ops deploy
	both := []string{"--profile-a", "account-a", "--profile-b", "account-b"}

	t.Run("init", func(t *testing.T) {
		checkout := laptop(t)
		_, stderr, err := ops(t, checkout, append([]string{"init", "--env", "trial", "--yes", "--region", "ap-northeast-1",
			"--domain", "gitlab.example.com", "--allow", "203.0.113.0/24"}, both...)...)
		require.NoError(t, err, stderr)
		cfg, err := config.Load(filepath.Join(checkout, "config"), "trial")
		require.NoError(t, err)
		assert.Equal(t, []string{"111111111111", "222222222222"}, []string{cfg.GitLab.Account, cfg.Deploy.Account})
		assert.Len(t, cfg.Deploy.DeploymentGroups, 2, "what CodeDeploy has")
	})

	t.Run("doctor", func(t *testing.T) {
		stdout, stderr, err := ops(t, root, append([]string{"doctor", "--env", "local", "--json"}, both...)...)
		require.Error(t, err, "nobody has made a backup here")
		var findings []struct{ Where, Check, State, Found, Remedy string }
		require.NoError(t, json.Unmarshal([]byte(stdout), &findings), "%s%s", stdout, stderr)
		states := map[string]string{}
		for _, f := range findings {
			states[f.Where+": "+f.Check] = f.State
			if f.State == "wrong" {
				assert.NotEmpty(t, f.Remedy, f.Check)
			}
		}
		for check, want := range map[string]string{
			"account A: certificate": "ok", "account A: backups": "wrong", "account A: GitLab's keys": "unchecked", "account B: uploads": "ok",
		} {
			assert.Equal(t, want, states[check], "%s: %s", check, stdout)
		}
	})

	t.Run("deploy again", func(t *testing.T) {
		_, stderr, err := ops(t, root, append([]string{"deploy", "--env", "local", "--yes", "--timeout", "240", "--method", "direct"}, both...)...)
		require.NoError(t, err, stderr)
	})

	push := func() string {
		id := putToken(t, bucket, jobToken(t, "--project", "team/sample-web", "--ref", "main"))
		version := putArtifact(t, bucket, id)
		require.Equal(t, "Succeeded", ended(t, bucket, id).State)
		return version
	}
	first, second := push(), push()
	type row struct{ DeploymentGroup, State, VersionID, Project, Ref string }
	live := func(group string) (rows []row) {
		opsJSON(t, &rows, "deployments", "--env", "local", "--profile", "account-b", "--application", "sample-web", "--deployment-group", group, "--json")
		return rows
	}
	newest := live("sample-web-blue-green")[0]
	assert.Equal(t, row{"sample-web-blue-green", "Succeeded", second, "team/sample-web", "main"}, newest)

	type order struct{ State, VersionID, Operator string }
	var back order
	opsJSON(t, &back, "rollback", "--env", "local", "--profile", "account-b", "--application", "sample-web",
		"--deployment-group", "sample-web-blue-green", "--yes", "--follow")
	assert.Equal(t, "Succeeded", back.State)
	assert.Equal(t, first, back.VersionID)
	assert.NotEmpty(t, back.Operator)
	assert.Equal(t, first, live("sample-web-blue-green")[0].VersionID)

	var forward order
	opsJSON(t, &forward, "promote", "--env", "local", "--profile", "account-b", "--application", "sample-web",
		"--from", "sample-web-blue-green", "--to", "sample-web-production", "--yes", "--follow")
	assert.Equal(t, "Succeeded", forward.State)
	assert.Equal(t, first, forward.VersionID)
	assert.Equal(t, first, live("sample-web-production")[0].VersionID)

	third := push()
	assert.Equal(t, third, live("sample-web-blue-green")[0].VersionID, "the next push ends the rollback")
}

// TestEveryBenchmarkOfTheOperatorsCommandsStillMeasures on this emulator, which has no backups before: test/bench has the others.
func TestEveryBenchmarkOfTheOperatorsCommandsStillMeasures(t *testing.T) {
	up(t)
	cmd := exec.Command("go", "run", "./test/bench", "-emulator", dir, "-old-scripts=false", "-operator-pairs=1", "-follow-pairs=1", "-follow-for=2s", "ops")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	table, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	for _, row := range []string{"ops deployments, on the emulator", "ops check, on the emulator", "ops backups, on the emulator", "ops backup: CPU time a minute"} {
		assert.Regexp(t, `(?m)^`+row+` +[1-9][0-9.]* m?s .* ≤ [0-9]+ ms: (met|MISSED) *$`, string(table))
	}
}

// TestS7_CheckLooksThroughRealClients is about what the emulator can answer: it has no agents, which is one line.
func TestS7_CheckLooksThroughRealClients(t *testing.T) {
	up(t)
	stdout, stderr, err := ops(t, root, "check", "--env", "local", "--profile", "account-a", "--json")
	require.Error(t, err, "no agent has answered")
	var findings []struct{ Where, What, State, Found string }
	require.NoError(t, json.Unmarshal([]byte(stdout), &findings), "%s%s", stdout, stderr)
	states := map[string]string{}
	for _, f := range findings {
		states[f.Where+": "+f.What] = f.State
		if f.What == "SSM Agent" {
			assert.Contains(t, f.Found, "an emulator does not serve every call")
			assert.NotContains(t, f.Found, "<")
		}
	}
	delete(states, "this machine: plug-in of the AWS CLI")
	assert.Equal(t, map[string]string{
		"network: endpoint ssm": "ok", "network: endpoint ssmmessages": "ok", "network: endpoint ec2messages": "ok",
		"server: instance": "ok", "server: role": "ok", "server: SSM Agent": "unknown",
		"runner: instance": "ok", "runner: role": "ok", "runner: SSM Agent": "unknown",
	}, states)
}

// TestS8_AnOperationOnTheEmulatorEndsInOneLine: it takes every document, and runs none.
func TestS8_AnOperationOnTheEmulatorEndsInOneLine(t *testing.T) {
	up(t)
	stdout, stderr, err := ops(t, root, "backup", "--env", "local", "--profile", "account-a")
	require.Error(t, err)
	assert.Empty(t, stdout)
	assert.Regexp(t, `\nerror: the server took 3 documents and printed nothing: an emulator runs none; run \S+ may go on, .*\n$`, stderr)
}

// TestS15_WhatTheEmulatorDoesNotServeIsOneLine that says what to do, whatever moto answers.
func TestS15_WhatTheEmulatorDoesNotServeIsOneLine(t *testing.T) {
	up(t)
	for args, want := range map[string]string{
		"logs status --profile account-b":           `AWS Lambda does not say where \S+ logs, and the log group \S+ does not exist: an emulator keeps no logs of functions; those of make up are below \.emulator/logs`,
		"logs install --profile account-a":          `an emulator does not serve every call`,
		"redrive --yes --profile account-b":         `an emulator does not serve every call`,
		"trust --yes --profile account-a":           `printed nothing: an emulator takes documents and runs none`,
		"configure --check --profile account-a":     `printed nothing: an emulator runs none`,
		"upgrade --preflight --profile account-a":   `printed nothing: an emulator runs none`,
		"reset-tokens --yes --profile account-a":    `printed nothing: an emulator runs none`,
		"register-runner --yes --profile account-a": `printed nothing: an emulator runs none`,
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel() // half of them wait for seconds, to be sure that nothing comes
			stdout, stderr, err := ops(t, root, append(strings.Fields(args), "--env", "local")...)
			require.Error(t, err)
			assert.Empty(t, stdout)
			said := strings.Split(strings.TrimSpace(stderr), "\n")
			assert.Regexp(t, `^error: .*`+want, said[len(said)-1])
			assert.NotContains(t, stderr, "<")
		})
	}
}

// TestS15_SampleTargetComesAndGoes makes the sample twice, lets CodeDeploy copy its Auto Scaling group, and removes it twice.
func TestS15_SampleTargetComesAndGoes(t *testing.T) {
	cfg := accountB(t)
	deploy, groups, roles := codedeploy.NewFromConfig(cfg), autoscaling.NewFromConfig(cfg), iam.NewFromConfig(cfg)

	// An environment of its own: the emulator has the application of "local" already, as who needs no sample has.
	checkout := laptop(t)
	local, err := os.ReadFile(filepath.Join(checkout, "config", "local.yaml"))
	require.NoError(t, err)
	keys, err := os.ReadFile(filepath.Join(checkout, "config", "local.jwks.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(checkout, "config", "trial.yaml"), []byte(strings.NewReplacer("environment: local", "environment: trial", "sample-web", "sample-shop").Replace(string(local))), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(checkout, "config", "trial.jwks.json"), keys, 0o600))
	sample := func(verb string) string {
		stdout, stderr, err := ops(t, checkout, "sample", verb, "--env", "trial", "--profile", "account-b", "--yes")
		require.NoError(t, err, "%s%s", stdout, stderr)
		return stdout
	}

	address := sample("up")
	assert.Regexp(t, `^http://sample-trial\S*\n$`, address)
	assert.Equal(t, address, sample("up"), "what is there already")
	made, err := deploy.GetDeploymentGroup(t.Context(), &codedeploy.GetDeploymentGroupInput{
		ApplicationName: awssdk.String("sample-shop"), DeploymentGroupName: awssdk.String("sample-shop-blue-green")})
	require.NoError(t, err)
	info := made.DeploymentGroupInfo
	assert.Equal(t, "BLUE_GREEN", string(info.DeploymentStyle.DeploymentType))
	assert.Equal(t, "sample-trial", awssdk.ToString(info.AutoScalingGroups[0].Name))
	assert.Contains(t, awssdk.ToString(info.ServiceRoleArn), ":role/Sample-trial-ServiceRole")

	// As CodeDeploy does: another name, the same tags.
	first, err := groups.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"sample-trial"}})
	require.NoError(t, err)
	require.Len(t, first.AutoScalingGroups, 1)
	origin := first.AutoScalingGroups[0]
	var tags []autoscalingtypes.Tag
	for _, tag := range origin.Tags {
		tags = append(tags, autoscalingtypes.Tag{Key: tag.Key, Value: tag.Value, PropagateAtLaunch: tag.PropagateAtLaunch})
	}
	_, err = groups.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: awssdk.String("CodeDeploy_sample-shop-blue-green_d-1"), MinSize: origin.MinSize, MaxSize: origin.MaxSize,
		VPCZoneIdentifier: origin.VPCZoneIdentifier, Tags: tags,
		LaunchTemplate: &autoscalingtypes.LaunchTemplateSpecification{LaunchTemplateId: origin.LaunchTemplate.LaunchTemplateId}})
	require.NoError(t, err)

	sample("down")
	left, err := groups.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{})
	require.NoError(t, err)
	assert.Empty(t, left.AutoScalingGroups)
	applications, err := deploy.ListApplications(t.Context(), &codedeploy.ListApplicationsInput{})
	require.NoError(t, err)
	assert.Equal(t, []string{"sample-web"}, applications.Applications, "nobody else's")
	known, err := roles.ListRoles(t.Context(), &iam.ListRolesInput{MaxItems: awssdk.Int32(1000)})
	require.NoError(t, err)
	for _, role := range known.Roles {
		assert.NotContains(t, *role.RoleName, "Sample-")
	}
	sample("down")
}
