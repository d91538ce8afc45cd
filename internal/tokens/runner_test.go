//go:build unix

package tokens

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/postgrestest"
)

const (
	runnerName  = "gitlab-codedeploy-staging"
	parameter   = "/gitlab-codedeploy/staging/runner-token"
	key         = "arn:aws:kms:ap-northeast-1:111111111111:key/12345678-1234-1234-1234-123456789012"
	ofInstance  = "GR1348941abcDEF_123-xyz"
	ofTheRunner = "glrt-abcDEF_123-xyz456"
)

// issuing is a server that hands a token over.
type issuing struct {
	*machinetest.Host
	Issue
	cloud  *awstest.Cloud
	put    *ssm.PutParameterInput
	refuse error
	failed string // Rails fails with it
	prints string // instead of a token
}

func newIssuing(t *testing.T, version string) *issuing {
	s := &issuing{Host: machinetest.New(t), cloud: awstest.New(t)}
	s.Host.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce "+version+"\n")
	s.On(rails, func(c machinetest.Call) int {
		c.Print("/opt/gitlab/embedded/lib/ruby/gems: warning: already initialized constant\n")
		switch {
		case s.failed != "":
			c.Complain("%s\n", s.failed)
			return 1
		case s.prints != "":
			c.Print("gitlab-codedeploy: %s\n", s.prints)
		case c.Input == registrationToken:
			c.Print("gitlab-codedeploy: %s\n", ofInstance)
		case strings.HasPrefix(version, "15."):
			// app/services/ci/runners/create_runner_service.rb of v15.10.0
			c.Complain("GitLab refuses to make a runner: Insufficient permissions\n")
			return 1
		default:
			assert.Equal(t, newRunner, c.Input)
			assert.JSONEq(t, `{"name":"`+runnerName+`","tags":["deploy","linux"]}`, c.Args[len(c.Args)-1])
			c.Print("gitlab-codedeploy: %s\n", ofTheRunner)
		}
		return 0
	})
	awstest.On(s.cloud, func(_ context.Context, in *ssm.PutParameterInput) (*ssm.PutParameterOutput, error) {
		s.put = in
		return &ssm.PutParameterOutput{}, s.refuse
	})
	s.Issue = Issue{GitLab: omnibus.GitLab{Machine: s.Machine}, Name: runnerName, Tags: []string{"deploy", "linux"}, Parameter: parameter, Key: key}
	return s
}

func (s *issuing) issue(t *testing.T) (Issued, error) {
	t.Helper()
	issued, err := s.Issue.Put(t.Context(), ssm.NewFromConfig(s.cloud.Config("ap-northeast-1")))
	said := s.Talk.String()
	if err != nil {
		said += err.Error()
	}
	for _, token := range []string{ofInstance, ofTheRunner} {
		assert.NotContains(t, said+strings.Join(s.Ran(), "\n"), token, "a token is nowhere")
	}
	return issued, err
}

func TestS13_TheTokenThatTheVersionRegistersWithIsHandedOver(t *testing.T) {
	for version, want := range map[string]Issued{
		"13.10.2":     {"13.10.2", Registration},
		"15.9.8":      {"15.9.8", Registration},
		"16.0.0":      {"16.0.0", Authentication},
		"16.11.10":    {"16.11.10", Authentication},
		"18.2.1-ee.0": {"18.2.1", Authentication},
	} {
		s := newIssuing(t, version)
		got, err := s.issue(t)
		require.NoError(t, err, version)
		assert.Equal(t, want, got)
		token := ofInstance
		if want.Token == Authentication {
			token = ofTheRunner
		}
		assert.Equal(t, ssm.PutParameterInput{
			Name: aws.String(parameter), Value: &token, KeyId: aws.String(key), Type: types.ParameterTypeSecureString, Overwrite: aws.Bool(true),
		}, *s.put, "over an older one, too")
	}
	// docs.gitlab.com/ci/runners/runners_scope/: introduced in 15.10 behind the flag
	// create_runner_workflow_for_admin, enabled by default in 16.0.
	t.Run("S13 register-runner | GitLab is 15.10 or 15.11, which makes no runners as long as nobody switches that on | the registration token is used", func(t *testing.T) {
		for _, version := range []string{"15.10.8", "15.11.13"} {
			got, err := newIssuing(t, version).issue(t)
			require.NoError(t, err, version)
			assert.Equal(t, Registration, got.Token)
		}
	})
}

func TestS13_NothingIsPut(t *testing.T) {
	t.Run("S13 register-runner | Rails fails on the server, or prints no token | nothing is put", func(t *testing.T) {
		s := newIssuing(t, "13.10.2")
		s.failed = "PG::ConnectionBad"
		_, err := s.issue(t)
		require.EqualError(t, err, "read the registration token: gitlab-rails runner ended with 1: PG::ConnectionBad: no token")
		s.failed, s.prints = "", " "
		_, err = s.issue(t)
		require.EqualError(t, err, "read the registration token: gitlab-rails runner printed no token")
		s.On(rails, func(c machinetest.Call) int {
			c.Print("gitlab-codedeploy: %s\n", ofInstance)
			return 1
		})
		_, err = s.issue(t) // whose token stays out of the error
		require.Error(t, err)
		assert.Nil(t, s.put)
	})
	t.Run("S13 register-runner | Systems Manager refuses the parameter | it fails, and the token is not shown", func(t *testing.T) {
		s := newIssuing(t, "13.10.2")
		s.refuse = awstest.Refusal("AccessDeniedException", "no")
		_, err := s.issue(t)
		require.ErrorContains(t, err, "cannot put the token into "+parameter)
		require.ErrorContains(t, err, "AccessDeniedException")
	})
	s := newIssuing(t, "13.10.2")
	require.NoError(t, s.Remove("/opt/gitlab"))
	_, err := s.issue(t)
	require.ErrorIs(t, err, omnibus.ErrNone)
}

// A service's own idea of it, over HTTP: the value is encrypted with the key, and over an
// older one, too.
func TestS13_TheTokenIsASecureStringOfItsKey(t *testing.T) {
	client := ssm.NewFromConfig(awstest.Moto(t, "../..", "ap-northeast-1"))
	s := newIssuing(t, "13.10.2")
	for range 2 {
		_, err := s.Issue.Put(t.Context(), client)
		require.NoError(t, err)
	}
	got, err := client.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String(parameter), WithDecryption: aws.Bool(true)})
	require.NoError(t, err)
	assert.Equal(t, types.ParameterTypeSecureString, got.Parameter.Type)
	assert.Equal(t, ofInstance, aws.ToString(got.Parameter.Value))
	described, err := client.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
	require.NoError(t, err)
	require.Len(t, described.Parameters, 1)
	assert.Equal(t, key, aws.ToString(described.Parameters[0].KeyId))
}

func TestS13_TheRubyForGitLabHasNoSyntaxError(t *testing.T) {
	for name, program := range map[string]string{"registration": registrationToken, "runner": newRunner, "doctor": doctor, "keys": signingKeys} {
		command := exec.Command("ruby", "-c", "-")
		command.Stdin = strings.NewReader(program)
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
}

func TestS13_GitLabsDatabaseSaysWhetherTheRunnerIsOnline(t *testing.T) {
	for _, version := range postgrestest.Versions {
		t.Run(version, func(t *testing.T) {
			s := newServer(t, version)
			heard := func(id, ago string) Onlineness {
				if ago != "" {
					s.db.SQL("INSERT INTO ci_runners (id, description, contacted_at, runner_type) VALUES (" + id + ", '" + runnerName + "', (now() AT TIME ZONE 'UTC') - interval '" + ago + "', 1)")
				}
				o, err := Online(t.Context(), s.gitlab, runnerName)
				require.NoError(t, err)
				assert.Equal(t, o.Online, o.Err() == nil)
				return o
			}
			assert.Nil(t, heard("", "").Ago)
			o := heard("7", "2 hours")
			assert.False(t, o.Online)
			require.EqualError(t, o.Err(), "GitLab has not heard from a runner 'gitlab-codedeploy-staging' within 3600 s")
			// A dead registration of the same name does not count.
			o = heard("8", "20 seconds")
			assert.True(t, o.Online)
			assert.InDelta(t, 20, *o.Ago, 60)
		})
	}
	s := newServer(t, "13.10")
	s.Answers("gitlab-psql", "rubbish\n")
	_, err := Online(t.Context(), s.gitlab, runnerName)
	require.EqualError(t, err, `GitLab's database answers "rubbish" instead of a number of seconds`)
}
