package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/sessions"
)

// session is a run of the program with a configuration of its own, in a played AWS.
type session struct {
	*program
	cloud    *awstest.Cloud // both accounts; it answers as the one of the profile that was opened last
	out, err bytes.Buffer
	asked    int
	shell    *playedPlugin // the plug-in for sessions
}

// The accounts of config/staging.yaml.
const gitlabAccount, deployAccount = "111111111111", "222222222222"

// newSession is a session in which GitLab's account is open, somebody sits at the terminal and says yes.
func newSession(t *testing.T) *session {
	t.Helper()
	text, err := os.ReadFile("../../config/staging.yaml")
	require.NoError(t, err)
	s := &session{cloud: awstest.New(t), shell: &playedPlugin{version: "1.2.764.0"}}
	s.program = &program{
		stdout: &s.out, stderr: &s.err, root: t.TempDir(), terminal: true, now: time.Now,
		answer: func() string { s.asked++; return "y" },
		find:   func(name string) (string, error) { return "/usr/local/bin/" + name, nil },
		plugin: func(path string) sessions.Plugin { s.shell.path = path; return s.shell },
		open: func(_ context.Context, region, profile string) (aws.Config, error) {
			if region != "ap-northeast-1" || profile == "nobody" {
				return aws.Config{}, fmt.Errorf("no profile %s in %s", profile, region)
			}
			return s.cloud.Config(region), nil
		},
	}
	s.configs = filepath.Join(s.root, "config")
	require.NoError(t, os.Mkdir(s.configs, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(s.configs, "staging.yaml"), text, 0o600))
	s.watch = func(ctx context.Context, side account.Side, call calls.Call) error {
		noteMade(ctx, side, call)
		if fault := s.undeclared(ctx, side, call); fault != "" {
			t.Error(fault)
		}
		return nil
	}
	s.cloud.PlayAccount(gitlabAccount, map[string]map[string]string{"GitLab-staging": gitlabOutputs})
	return s
}

// gitlabOutputs are those of GitLab's stack.
var gitlabOutputs = map[string]string{
	"ServerInstanceId":      "i-0123456789abcdef0",
	"RunnerInstanceId":      "i-0fedcba9876543210",
	"BackupBucketName":      "gitlab-staging-backups",
	"Url":                   "https://gitlab.example.com",
	"VpcId":                 "vpc-0a1b2c3d4e5f67890",
	"LoadBalancerDnsName":   "lb.example.com",
	"RootPasswordSecretArn": "arn:aws:secretsmanager:ap-northeast-1:111111111111:secret:RootPassword-AbCdEf",
	"RunnerTokenKeyArn":     "arn:aws:kms:ap-northeast-1:111111111111:key/12345678-1234-1234-1234-123456789012",
}

// run runs the program; time passes at once.
func (s *session) run(t *testing.T, args ...string) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		root := s.command()
		root.SetArgs(args)
		err = root.ExecuteContext(t.Context())
	})
	return err
}
