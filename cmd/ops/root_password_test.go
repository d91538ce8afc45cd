package main

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/calls"
)

func newSecret(t *testing.T, err error) *session {
	s := newSession(t)
	awstest.On(s.cloud, func(context.Context, *secretsmanager.GetSecretValueInput) (*secretsmanager.GetSecretValueOutput, error) {
		return &secretsmanager.GetSecretValueOutput{SecretString: aws.String("the-pass-word")}, err
	})
	return s
}

func TestS5_RootPasswordSaysWhereItIs(t *testing.T) {
	s := newSecret(t, nil)
	require.NoError(t, s.run(t, "root-password", "--env", "staging", "--profile", "my own"))
	assert.Equal(t, "aws secretsmanager get-secret-value --secret-id "+gitlabOutputs["RootPasswordSecretArn"]+
		" --query SecretString --output text --profile 'my own' --region ap-northeast-1\n", s.out.String())
	assert.Contains(t, s.err.String(), "the password is in Secrets Manager, account 111111111111, ap-northeast-1")
	assert.Empty(t, awstest.Inputs[secretsmanager.GetSecretValueInput](s.cloud))
}

func TestS5_RootPasswordIsPrintedOnRequestOnlyAndOnStdoutOnly(t *testing.T) {
	s := newSecret(t, nil)
	require.NoError(t, s.run(t, "root-password", "--env", "staging", "--show"))
	assert.Equal(t, "the-pass-word\n", s.out.String())
	assert.NotContains(t, s.err.String(), "the-pass-word")

	s = newSecret(t, nil)
	err := s.run(t, "root-password", "--env", "staging", "--show", "--dry-run")
	require.ErrorIs(t, err, calls.ErrDryRun)
	assert.Contains(t, s.out.String(), "secretsmanager:GetSecretValue {")
	assert.NotContains(t, s.out.String(), "the-pass-word")
	assert.Empty(t, awstest.Inputs[secretsmanager.GetSecretValueInput](s.cloud), "the secret is not read")
}

func TestS5_RootPasswordMeetsFaults(t *testing.T) {
	t.Run("S5 root-password | the profile may not read the secret | exit 1 with AWS's words, and nothing on stdout", func(t *testing.T) {
		s := newSecret(t, awstest.Refusal("AccessDeniedException", "no"))
		err := s.run(t, "root-password", "--env", "staging", "--show")
		require.ErrorContains(t, err, "read the secret: ")
		require.ErrorContains(t, err, "AccessDeniedException: no")
		assert.Equal(t, 1, exitStatus(err))
		assert.Empty(t, s.out.String())
	})
	s := newSecret(t, nil)
	s.cloud.PlayAccount(gitlabAccount, map[string]map[string]string{"GitLab-staging": {"RootPasswordSecretArn": "--profile"}})
	err := s.run(t, "root-password", "--env", "staging", "--show")
	require.ErrorContains(t, err, `output RootPasswordSecretArn of stack GitLab-staging is "--profile"`)
	assert.Empty(t, awstest.Inputs[secretsmanager.GetSecretValueInput](s.cloud))
}

func TestS5_WordsAreQuotedForAShell(t *testing.T) {
	assert.Equal(t, `aws --profile 'it'\''s $(mine)' '' a/b:c`, shellWords([]string{"aws", "--profile", "it's $(mine)", "", "a/b:c"}))
}
