package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/rights"
)

func TestPolicyNamesWhatTheStackHas(t *testing.T) {
	s := newSession(t)
	outputs := maps.Clone(gitlabOutputs)
	outputs["RootPasswordSecretArn"] = "arn:aws:secretsmanager:ap-northeast-1:111111111111:secret:one-AbCdEf"
	s.cloud.PlayAccount(gitlabAccount, map[string]map[string]string{"GitLab-staging": outputs})
	require.NoError(t, s.run(t, "policy", "shell", "--env", "staging", "--profile-a", "gitlab", "--account", "a"))
	var policy rights.Policy
	require.NoError(t, json.Unmarshal(s.out.Bytes(), &policy), "stdout is one policy, as IAM takes it")
	assert.True(t, policy.Allows("ssm:StartSession", "arn:aws:ec2:ap-northeast-1:111111111111:instance/i-0123456789abcdef0"))
	assert.True(t, policy.Allows("ssm:StartSession", "arn:aws:ec2:ap-northeast-1:111111111111:instance/i-0fedcba9876543210"))
	assert.False(t, policy.Allows("ssm:StartSession", "arn:aws:ec2:ap-northeast-1:111111111111:instance/i-00000000000000001"))
	assert.False(t, policy.Allows("ssm:SendCommand", "arn:aws:ec2:ap-northeast-1:111111111111:instance/i-0123456789abcdef0"), "a shell is a right of its own")
	assert.NotContains(t, s.out.String(), "<")
}

func TestPolicyAsksNobodyForPlaceholders(t *testing.T) {
	s := newSession(t)
	require.NoError(t, s.run(t, "policy", "operator", "--env", "staging", "--placeholders"))
	assert.Empty(t, s.cloud.Calls())
	var policies map[string]rights.Policy
	require.NoError(t, json.Unmarshal(s.out.Bytes(), &policies))
	assert.True(t, policies[gitlabAccount].Allows("ssm:SendCommand", "arn:aws:ec2:ap-northeast-1:111111111111:instance/<ServerInstanceId>"))
	assert.True(t, policies[gitlabAccount].Allows("ssm:SendCommand", "arn:aws:ssm:ap-northeast-1:111111111111:document/gitlab-codedeploy-staging-upgrade"))
	assert.False(t, policies[gitlabAccount].Allows("ssm:SendCommand", "arn:aws:ssm:ap-northeast-1:111111111111:document/AWS-RunShellScript"))
	assert.True(t, policies[deployAccount].Allows("sqs:StartMessageMoveTask", "arn:aws:sqs:ap-northeast-1:222222222222:<name in DeadLetterQueueUrl>"))
}

func TestPolicyOfAViewerStartsNothing(t *testing.T) {
	s := newSession(t)
	require.NoError(t, s.run(t, "policy", "viewer", "--env", "staging", "--placeholders"))
	var policies map[string]rights.Policy
	require.NoError(t, json.Unmarshal(s.out.Bytes(), &policies))
	for _, document := range []string{"backup", "restore", "upgrade", "configure", "reindex", "reset-tokens", "register-runner", "unregister-runner", "upgrade-runner", "runner-token"} {
		assert.False(t, policies[gitlabAccount].Allows("ssm:SendCommand", "arn:aws:ssm:ap-northeast-1:111111111111:document/gitlab-codedeploy-staging-"+document), document)
	}
	for _, policy := range policies {
		for _, st := range policy.Statement {
			for _, action := range st.Action {
				assert.Regexp(t, `^[a-z0-9]+:(BatchGet|Describe|Filter|Get|List|Simulate)|^ssm:SendCommand$`, action)
				assert.NotEqual(t, "secretsmanager:GetSecretValue", action)
			}
		}
	}
}

func TestPolicyRefusesWrongUse(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no role":             {[]string{"--env", "staging"}, "want the role: viewer, operator, shell, deployer"},
		"unknown role":        {[]string{"root", "--env", "staging"}, `got role "root", want one of viewer`},
		"no environment":      {[]string{"viewer"}, "--env is required"},
		"unknown account":     {[]string{"viewer", "--env", "staging", "--account", "c"}, `--account: want a or b, got "c"`},
		"nothing to do there": {[]string{"shell", "--env", "staging", "--account", "b"}, "a shell does nothing in account b"},
		"no such profile":     {[]string{"shell", "--env", "staging", "--profile-a", "nobody"}, `profile "nobody"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(t)
			err := s.run(t, append([]string{"policy"}, tt.args...)...)
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, 2, exitStatus(err))
			assert.Empty(t, s.out.String())
		})
	}
}

// TestPolicyFitsIAMWhateverTheNumberOfPairs is about IAM's limit of a managed policy: pairs are named as long as they fit, and
// above that the policy is about all groups of the account, and of no other.
func TestPolicyFitsIAMWhateverTheNumberOfPairs(t *testing.T) {
	for pairs, named := range map[int]bool{1: true, 5: true, 20: false, 1000: false} {
		t.Run(fmt.Sprint(pairs), func(t *testing.T) {
			names := stagingNames(t)
			names.Config.Deploy.DeploymentGroups, names.Config.Deploy.Applications = nil, nil
			for n := range pairs {
				application := fmt.Sprintf("application-of-a-long-name-%d", n)
				names.Config.Deploy.DeploymentGroups = append(names.Config.Deploy.DeploymentGroups, config.DeploymentGroup{Application: application, DeploymentGroup: "production"})
				names.Config.Deploy.Applications = append(names.Config.Deploy.Applications, config.Application{Name: application, ReaderRoles: []string{application + "-instances"}})
			}
			for _, r := range roles {
				made, err := (&program{}).policies(names, r)
				require.NoError(t, err, r.name)
				for side, policy := range made {
					assert.LessOrEqual(t, policy.Bytes(), rights.MaxBytes, "%s in %s", r.name, side)
				}
				group := func(account, application string) string {
					return "arn:aws:codedeploy:ap-northeast-1:" + account + ":deploymentgroup:" + application + "/production"
				}
				if r.name == "operator" {
					policy := made[account.Deploy]
					for _, n := range []int{0, pairs - 1} {
						assert.True(t, policy.Allows("codedeploy:ListDeployments", group(deployAccount, fmt.Sprintf("application-of-a-long-name-%d", n))))
					}
					assert.Equal(t, !named, policy.Allows("codedeploy:ListDeployments", group(deployAccount, "another")))
					assert.False(t, policy.Allows("codedeploy:ListDeployments", group(gitlabAccount, "application-of-a-long-name-0")))
				}
			}
		})
	}
}
