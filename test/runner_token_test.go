package test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runnerTokenKeyID returns the id of the key, by the output that names it.
func runnerTokenKeyID(t *testing.T, gitlab template) string {
	t.Helper()
	id, _ := at(gitlab.Outputs, "RunnerTokenKeyArn", "Value", "Fn::GetAtt", 0).(string)
	require.Equal(t, "AWS::KMS::Key", gitlab.Resources[id].Type)
	return id
}

// runnerTokenKey returns the statements of the key's policy by what they do.
func runnerTokenKey(t *testing.T) (administer, encrypt, decrypt map[string]any) {
	t.Helper()
	gitlab, _ := synthesiseStaging(t)
	key := gitlab.Resources[runnerTokenKeyID(t, gitlab)]
	for _, s := range statements(key.Properties["KeyPolicy"]) {
		require.Equal(t, "Allow", s["Effect"])
		switch text(s["Action"]) {
		case text("kms:Encrypt"):
			encrypt = s
		case text("kms:Decrypt"):
			decrypt = s
		default:
			require.Nil(t, administer, "one statement for the rest")
			administer = s
		}
	}
	return administer, encrypt, decrypt
}

func TestS13_onlyTheServerEncryptsTheTokenAndOnlyTheRunnerDecryptsIt(t *testing.T) {
	_, encrypt, decrypt := runnerTokenKey(t)
	require.NotNil(t, encrypt)
	require.NotNil(t, decrypt)
	assert.Contains(t, text(encrypt["Principal"]), "ServerRole")
	assert.Contains(t, text(decrypt["Principal"]), "RunnerRole")
	for _, s := range []map[string]any{encrypt, decrypt} {
		assert.Equal(t, "ssm.ap-northeast-1.amazonaws.com", at(s, "Condition", "StringEquals", "kms:ViaService"))
		assert.Contains(t, text(at(s, "Condition", "StringEquals", "kms:EncryptionContext:PARAMETER_ARN")), ":parameter/gitlab-codedeploy/staging/runner-token")
	}
}

// What the account gets, IAM can hand on: no word of it may use the key or
// make a grant, which is another way to use it.
func TestS13_theAccountAdministersTheKeyAndCannotUseIt(t *testing.T) {
	administer, _, _ := runnerTokenKey(t)
	actions := list(administer["Action"])
	require.NotEmpty(t, actions)
	for _, action := range actions {
		prefix := strings.TrimSuffix(action.(string), "*")
		for _, use := range []string{"kms:Decrypt", "kms:Encrypt", "kms:ReEncryptFrom", "kms:GenerateDataKey", "kms:DeriveSharedSecret", "kms:CreateGrant"} {
			assert.False(t, strings.HasPrefix(use, prefix) && strings.HasSuffix(action.(string), "*") || use == action, "%s allows %s", action, use)
		}
	}
	assert.Contains(t, actions, "kms:Put*", "or nobody could ever change the policy")
}

func TestS13_theRolesReachThatOneParameterOnly(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	found := map[string]string{}
	for _, id := range gitlab.ofType(t, "AWS::IAM::Policy") {
		policy := gitlab.Resources[id].Properties
		for _, s := range statements(policy["PolicyDocument"]) {
			if s["Effect"] == "Allow" && strings.Contains(text(s["Action"]), "kms:") {
				assert.NotContains(t, text(s["Resource"]), "*", "the key's own policy says who")
				assert.NotContains(t, text(s["Resource"]), runnerTokenKeyID(t, gitlab), "the key's own policy says who")
			}
			if !strings.Contains(text(s["Resource"]), "runner-token") {
				continue
			}
			assert.NotContains(t, text(s["Resource"]), "*")
			found[text(policy["Roles"])] += text(s["Action"])
		}
	}
	require.Len(t, found, 2)
	for roles, actions := range found {
		if strings.Contains(roles, "ServerRole") {
			assert.Equal(t, text("ssm:PutParameter"), actions)
		} else {
			assert.Contains(t, roles, "RunnerRole")
			assert.Equal(t, text([]any{"ssm:DeleteParameter", "ssm:GetParameter"}), actions)
		}
	}
}
