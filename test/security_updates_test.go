package test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
)

// securityUpdates returns the association that installs them.
func securityUpdates(t *testing.T, tpl template) resource {
	t.Helper()
	var found []resource
	for _, id := range tpl.ofType(t, "AWS::SSM::Association") {
		if tpl.Resources[id].Properties["Name"] == "AWS-RunPatchBaselineWithHooks" {
			found = append(found, tpl.Resources[id])
		}
	}
	require.Len(t, found, 1)
	return found[0]
}

// TestS5_S11_securityUpdatesReachBothHosts: each host has the tag by which patch
// manager finds a baseline, and there is one for its system. Without one, it
// would take AWS's own, which rejects nothing.
func TestS5_S11_securityUpdatesReachBothHosts(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	updates := securityUpdates(t, gitlab)
	server, serverHost, _ := host(t, gitlab, "ServerInstanceId")
	runner, runnerHost, _ := host(t, gitlab, "RunnerInstanceId")
	assert.ElementsMatch(t, []any{ref(server), ref(runner)}, at(updates.Properties, "Targets", 0, "Values"))
	assert.Equal(t, "InstanceIds", at(updates.Properties, "Targets", 0, "Key"))
	assert.Equal(t, "cron(0 20 ? * SAT *)", updates.Properties["ScheduleExpression"])
	assert.Equal(t, true, updates.Properties["ApplyOnlyAtCronInterval"], "not when it is made or changed")
	assert.Equal(t, []any{"Install"}, at(updates.Properties, "Parameters", "Operation"))
	assert.Equal(t, []any{"RebootIfNeeded"}, at(updates.Properties, "Parameters", "RebootOption"))

	groups := groupsBySystem(t, gitlab)
	assert.Equal(t, map[any]any{"AMAZON_LINUX_2023": "gitlab-codedeploy-staging"}, groups)
	assert.Equal(t, groups["AMAZON_LINUX_2023"], tagOf(serverHost, "PatchGroup"))
	assert.Equal(t, groups["AMAZON_LINUX_2023"], tagOf(runnerHost, "PatchGroup"))

	cfg := staging(t)
	cfg.GitLab.Server.OperatingSystem = config.AmazonLinux2
	gitlab = synthesiseGitLab(t, cfg)
	_, serverHost, _ = host(t, gitlab, "ServerInstanceId")
	groups = groupsBySystem(t, gitlab)
	assert.Len(t, groups, 2)
	assert.Equal(t, groups["AMAZON_LINUX_2"], tagOf(serverHost, "PatchGroup"))
}

// groupsBySystem are the patch groups of the baselines, by their operating systems.
func groupsBySystem(t *testing.T, gitlab template) map[any]any {
	t.Helper()
	groups := map[any]any{}
	for _, id := range gitlab.ofType(t, "AWS::SSM::PatchBaseline") {
		baseline := gitlab.Resources[id].Properties
		require.Len(t, baseline["PatchGroups"], 1)
		groups[baseline["OperatingSystem"]] = at(baseline, "PatchGroups", 0)
		assert.Contains(t, list(securityUpdates(t, gitlab).DependsOn), id, "the first run has to find it")
	}
	return groups
}

// TestS8_S11_securityUpdatesNeverTouchGitLabRunnerOrDocker: an upgrade that
// nobody asked for would leave a stop out.
func TestS8_S11_securityUpdatesNeverTouchGitLabRunnerOrDocker(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	for _, id := range gitlab.ofType(t, "AWS::SSM::PatchBaseline") {
		baseline := gitlab.Resources[id].Properties
		assert.ElementsMatch(t, []any{"gitlab-ce", "gitlab-ee", "gitlab-runner", "gitlab-runner-helper-images", "docker"}, baseline["RejectedPatches"], id)
		assert.Equal(t, "BLOCK", baseline["RejectedPatchesAction"], id)
		assert.Nil(t, baseline["ApprovedPatches"], id)
		assert.Nil(t, baseline["Sources"], "%s: other repositories", id)
		rules := list(at(baseline, "ApprovalRules", "PatchRules"))
		require.Len(t, rules, 1, id)
		assert.NotEqual(t, true, at(rules[0], "EnableNonSecurity"), id)
		assert.Equal(t, []any{map[string]any{"Key": "CLASSIFICATION", "Values": []any{"Security"}}}, at(rules[0], "PatchFilterGroup", "PatchFilters"), id)
	}
}

// TestS8_securityUpdatesWaitForNoOperation: a restart in the middle of an upgrade
// or a restore would leave it half done.
func TestS8_securityUpdatesWaitForNoOperation(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	updates := securityUpdates(t, gitlab)
	for parameter, command := range map[string]string{
		"PreInstallHookDocName": "host hold-operations", "OnExitHookDocName": "host release-operations",
	} {
		id, _ := at(updates.Properties, "Parameters", parameter, 0, "Ref").(string)
		require.Equal(t, "AWS::SSM::Document", gitlab.Resources[id].Type, parameter)
		assert.Equal(t, command, gitlab.Resources[id].Metadata["Command"], parameter)
		content := gitlab.Resources[id].Properties["Content"].(map[string]any)
		assert.Empty(t, parametersOf(content), "patch manager hands none over")
	}
}

func TestS5_securityUpdatesCanBeSwitchedOffAndMoved(t *testing.T) {
	cfg := staging(t)
	cfg.GitLab.SecurityUpdates.Enabled = false
	off := synthesiseGitLab(t, cfg)
	for id, r := range off.Resources {
		assert.NotEqual(t, "AWS::SSM::PatchBaseline", r.Type, id)
		assert.NotEqual(t, "AWS-RunPatchBaselineWithHooks", r.Properties["Name"], id)
		assert.Nil(t, tagOf(r, "PatchGroup"), id)
	}

	cfg = staging(t)
	cfg.GitLab.SecurityUpdates.Day, cfg.GitLab.SecurityUpdates.Time = "TUE", "03:05"
	cfg.GitLab.Server.OperatingSystem, cfg.GitLab.Runner.OperatingSystem = config.AmazonLinux2, config.AmazonLinux2
	moved := synthesiseGitLab(t, cfg)
	assert.Equal(t, "cron(5 3 ? * TUE *)", securityUpdates(t, moved).Properties["ScheduleExpression"])
	_, baseline := moved.one(t, "AWS::SSM::PatchBaseline")
	assert.Equal(t, "AMAZON_LINUX_2", baseline.Properties["OperatingSystem"])
}
