package test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestS5_theVaultsLockTakesWhatThePlanKeeps: a lock fails every job that keeps a
// snapshot for less, at night, when nobody sees it.
func TestS5_theVaultsLockTakesWhatThePlanKeeps(t *testing.T) {
	cfg := staging(t)
	cfg.GitLab.Server.SnapshotKeepDays = 17
	gitlab := synthesiseGitLab(t, cfg)
	id, vault := gitlab.one(t, "AWS::Backup::BackupVault")
	_, plan := gitlab.one(t, "AWS::Backup::BackupPlan")

	assert.EqualValues(t, 17, at(vault.Properties, "LockConfiguration", "MinRetentionDays"))
	assert.Nil(t, at(vault.Properties, "LockConfiguration", "ChangeableForDays"), "that lock could never be lifted, not by its owner either")
	rules := list(at(plan.Properties, "BackupPlan", "BackupPlanRule"))
	require.NotEmpty(t, rules)
	for _, rule := range rules {
		assert.EqualValues(t, 17, at(rule, "Lifecycle", "DeleteAfterDays"))
		// CloudFormation changes the vault first, so that for a moment the plan may
		// keep too little, and never a moment in which AWS refuses the plan.
		assert.Contains(t, references(at(rule, "TargetBackupVault")), id)
	}
}

// TestS5_deploysMayChangeTheVault: the role that deploys is
// named by the bootstrap's qualifier.
func TestS5_deploysMayChangeTheVault(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	_, vault := gitlab.one(t, "AWS::Backup::BackupVault")
	for _, s := range statements(vault.Properties["AccessPolicy"]) {
		if s["Sid"] == "NobodyOpensTheVault" {
			exempt := list(at(s, "Condition", "ArnNotEquals", "aws:PrincipalArn"))
			require.Len(t, exempt, 2)
			assert.Contains(t, text(exempt[0]), ":iam::111111111111:role/cdk-hnb659fds-cfn-exec-role-111111111111-ap-northeast-1")
			assert.Equal(t, "arn:aws:iam::111111111111:role/gitlab-break-glass", exempt[1])
			return
		}
	}
	require.Fail(t, "no statement NobodyOpensTheVault")
}
