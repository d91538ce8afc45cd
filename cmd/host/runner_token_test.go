//go:build unix

package main

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/internal/awstest"
)

func issuing(t *testing.T) (*console, []string) {
	c := newConsole(t)
	cloud := awstest.New(t)
	awstest.On(cloud, func(_ context.Context, in *ssm.PutParameterInput) (*ssm.PutParameterOutput, error) {
		assert.Equal(t, "glrt-abcDEF_123-xyz456", aws.ToString(in.Value))
		return &ssm.PutParameterOutput{}, nil
	})
	c.aws = func(_ context.Context, region string) (aws.Config, error) { return cloud.Config(region), nil }
	c.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce 16.11.10\n")
	c.Answers("gitlab-rails runner -e production -", "gitlab-codedeploy: glrt-abcDEF_123-xyz456\n")
	return c, []string{"runner-token", "--action", "issue", "--name", "gitlab-codedeploy-staging", "--parameter", "/gitlab-codedeploy/staging/runner-token",
		"--key", "arn:aws:kms:ap-northeast-1:111111111111:key/12345678-1234-1234-1234-123456789012", "--region", "ap-northeast-1", "--tags", "a,b"}
}

func TestS13_RunnerTokenPrintsTheKindAlone(t *testing.T) {
	c, issue := issuing(t)
	status, stdout := c.types(issue...)
	assert.Zero(t, status, c.Talk)
	assert.JSONEq(t, `{"version": "16.11.10", "token": "authentication"}`, stdout)
	assert.Contains(t, c.Ran()[0], `"tags":["a","b"]`)

	c.Answers("gitlab-psql", "20\n")
	online := []string{"runner-token", "--action", "online", "--name", "gitlab-codedeploy-staging", "--parameter", "", "--key", "", "--region", "", "--tags", ""}
	status, stdout = c.types(online...)
	assert.Zero(t, status, c.Talk)
	assert.JSONEq(t, `{"runner": "gitlab-codedeploy-staging", "online": true, "contactedSecondsAgo": 20}`, stdout)
	c.Answers("gitlab-psql", "-1\n")
	status, stdout = c.types(online...)
	assert.Equal(t, 1, status)
	assert.JSONEq(t, `{"runner": "gitlab-codedeploy-staging", "online": false, "contactedSecondsAgo": null}`, stdout)
	assert.Contains(t, c.Talk.String(), "error: GitLab has not heard from a runner 'gitlab-codedeploy-staging' within 3600 s")
}

func TestS13_RunnerTokenChecksItsArguments(t *testing.T) {
	c, issue := issuing(t)
	for _, wrong := range [][2]string{
		{"--name", "a'b"}, {"--name", "$(id)"}, {"--parameter", "name"}, {"--key", "alias/a"}, {"--region", "tokyo"},
		{"--tags", "a,'b'"}, {"--tags", "a,,b"}, {"--action", "steal"},
	} {
		status, stdout := c.types(append(issue, wrong[:]...)...)
		assert.Equal(t, 2, status, wrong)
		assert.Empty(t, stdout)
		assert.Contains(t, c.Talk.String(), wrong[0]+": got ")
		assert.Contains(t, c.Talk.String(), "want ")
	}
	assert.Empty(t, c.Ran())
}
