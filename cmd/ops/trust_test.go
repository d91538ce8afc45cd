package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/remote/remotetest"
	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/internal/trust/signer"
)

var gitlabKey, newKey = newKeys(), newKeys()

func newKeys() trust.Keys {
	s, err := signer.New("https://gitlab.example.com")
	if err != nil {
		panic(err)
	}
	return s.Keys()
}

// server plays GitLab's account with a server in it that shows keys.
type server struct {
	*operating
	status int // of its script
	stdout string
	stderr string
	file   string
}

func newServer(t *testing.T, known, shown trust.Keys) *server {
	t.Helper()
	s := &server{operating: newOperating(t), stdout: answer(shown)}
	s.OnLook("keys", func(map[string]string) (int, string, string) { return s.status, s.stdout, s.stderr })
	s.file = filepath.Join(s.configs, "staging.jwks.json")
	if known != nil {
		require.NoError(t, os.WriteFile(s.file, known.Encode(), 0o600))
	}
	return s
}

// neverEnd lets the server never come to an end.
func (s *server) neverEnd() {
	awstest.On(s.cloud, func(context.Context, *ssm.GetCommandInvocationInput) (*ssm.GetCommandInvocationOutput, error) {
		return &ssm.GetCommandInvocationOutput{Status: types.CommandInvocationStatusInProgress}, nil
	})
}

// trust runs the command.
func (s *server) trust(t *testing.T, args ...string) error {
	t.Helper()
	return s.run(t, append([]string{"trust"}, args...)...)
}

// answer is what the server prints: the same keys at both addresses, each on one line.
func answer(keys trust.Keys) string {
	text := strings.Join(strings.Fields(string(keys.Encode())), "")
	return "keys /oauth/discovery/keys " + text + "\nkeys /-/jwks " + text + "\n"
}

func (s *server) keys(t *testing.T) trust.Keys {
	t.Helper()
	text, err := os.ReadFile(s.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	keys, err := trust.ParseKeys(text)
	require.NoError(t, err)
	return keys
}

func TestS15_TrustWritesTheKeysThatGitLabShows(t *testing.T) {
	s := newServer(t, nil, gitlabKey)
	require.NoError(t, s.trust(t, "--env", "staging", "--profile", "gitlab"))
	assert.Equal(t, gitlabKey, s.keys(t))
	assert.Equal(t, 1, s.asked)
	assert.Equal(t, "+ "+gitlabKey[0].ID+"  GitLab signs, or has begun to sign, with it\n", s.out.String(), "stdout is the result")
	assert.Equal(t, []string{"keys"}, s.sent())
	in := awstest.Inputs[ssm.SendCommandInput](s.cloud)[0]
	assert.Equal(t, []string{"i-0123456789abcdef0"}, in.InstanceIds)
	assert.Empty(t, in.Parameters, "the address stands in the document")
	left, err := filepath.Glob(filepath.Join(filepath.Dir(s.file), ".*"))
	require.NoError(t, err)
	assert.Empty(t, left, "nothing half-written stays")
	info, err := os.Stat(s.file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode())
}

func TestS15_TrustShowsWhatChangesAndAsks(t *testing.T) {
	replaced := trust.Keys{{ID: gitlabKey[0].ID, Public: newKey[0].Public}}
	for name, tt := range map[string]struct {
		shown  trust.Keys
		args   []string
		answer string
		want   trust.Keys // in the file
		out    string
		err    string
	}{
		"nothing":              {shown: gitlabKey, want: gitlabKey},
		"a new key beside it":  {shown: append(newKeysOf(newKey), gitlabKey...), answer: "y", want: append(newKeysOf(newKey), gitlabKey...), out: "+ " + newKey[0].ID},
		"a new key for it":     {shown: newKey, answer: "y", want: newKey, out: "- " + gitlabKey[0].ID},
		"and the old one kept": {shown: newKey, args: []string{"--keep"}, answer: "y", want: append(newKeysOf(newKey), gitlabKey...), out: "= " + gitlabKey[0].ID},
		"another of that name": {shown: replaced, answer: "y", want: replaced, out: "! " + gitlabKey[0].ID + "  GitLab shows ANOTHER key of this name"},
		"no":                   {shown: newKey, answer: "n", want: gitlabKey, err: "not confirmed; nothing was done"},
		"only Enter":           {shown: newKey, answer: "", want: gitlabKey, err: "not confirmed"},
		"dry run":              {shown: newKey, args: []string{"--dry-run"}, want: gitlabKey, out: "- " + gitlabKey[0].ID, err: "dry run"},
		"yes":                  {shown: newKey, args: []string{"--yes"}, want: newKey},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, gitlabKey, tt.shown)
			asked := 0
			s.answer = func() string { asked++; return tt.answer }
			err := s.trust(t, append([]string{"--env", "staging"}, tt.args...)...)
			switch {
			case tt.err == "":
				require.NoError(t, err)
			case errors.Is(err, calls.ErrDryRun):
				assert.Zero(t, exitStatus(err))
				assert.Contains(t, s.out.String(), `ssm:SendCommand {"DocumentName":"gitlab-codedeploy-staging-keys"`)
			default:
				require.ErrorContains(t, err, tt.err)
				assert.Equal(t, 1, exitStatus(err))
			}
			assert.ElementsMatch(t, tt.want, s.keys(t))
			assert.Contains(t, s.out.String(), tt.out)
			assert.Equal(t, tt.answer != "" || strings.HasPrefix(tt.err, "not confirmed"), asked == 1)
		})
	}
}

func newKeysOf(keys trust.Keys) trust.Keys { return append(trust.Keys{}, keys...) }

func TestS15_TrustWritesNothingWhenItIsNotSure(t *testing.T) {
	mixed := answer(gitlabKey) + answer(trust.Keys{{ID: gitlabKey[0].ID, Public: newKey[0].Public}})
	private := strings.Replace(answer(newKey), `"use":"sig"`, `"use":"sig","d":"x"`, 1)
	for name, tt := range map[string]struct {
		change func(*server)
		args   []string
		err    string
		status int
	}{
		"no environment":      {args: []string{"--profile", "x"}, err: "--env is required", status: 2},
		"unknown environment": {args: []string{"--env", "production"}, err: "production", status: 2},
		"unknown flag":        {args: []string{"--env", "staging", "--force"}, err: "unknown flag: --force", status: 2},
		"an argument":         {args: []string{"--env", "staging", "now"}, err: `unknown command "now"`, status: 2},
		"no such profile":     {args: []string{"--env", "staging", "--profile", "nobody"}, err: `profile "nobody"`, status: 2},
		"another account":     {change: func(s *server) { s.cloud.PlayAccount("222222222222", nil) }, err: "of account 222222222222, but GitLab-staging belongs to account 111111111111 (gitlab.account in config/staging.yaml)", status: 2},
		"no stack yet":        {change: func(s *server) { s.cloud.PlayAccount("111111111111", nil) }, err: "there is no stack GitLab-staging", status: 2},
		"no server yet": {change: func(s *server) {
			s.cloud.PlayAccount("111111111111", map[string]map[string]string{"GitLab-staging": {}})
		}, err: "ServerInstanceId", status: 1},
		"no terminal": {change: func(s *server) { s.terminal = false }, err: "pass --yes", status: 2},
		"no right to send": {change: func(s *server) {
			s.Fail("SendCommand", remotetest.Fault{Refused: "AccessDeniedException"})
		}, err: "send gitlab-codedeploy-staging-keys to i-0123456789abcdef0", status: 1},
		"the host fails": {change: func(s *server) {
			s.status, s.stderr = 1, "first\n\x1b[31mGitLab shows no keys\x07\n"
		}, err: "ended with 1: GitLab shows no keys", status: 1},
		"the host never ends": {change: (*server).neverEnd, err: "no answer", status: 1},
		"too much":            {change: func(s *server) { s.stdout = strings.Repeat("a", 24000) }, err: "more than Systems Manager tells", status: 1},
		"nothing":             {change: func(s *server) { s.stdout = "" }, err: "printed nothing: an emulator takes documents and runs none", status: 1},
		"no keys":             {change: func(s *server) { s.stdout = "nothing of it\n" }, err: "GitLab shows no keys", status: 1},
		"no JSON":             {change: func(s *server) { s.stdout = "keys /-/jwks <html>" }, err: "/-/jwks of GitLab: want a key set", status: 1},
		"two of one name":     {change: func(s *server) { s.stdout = mixed }, err: "got another key of the name", status: 1},
		"a private key":       {change: func(s *server) { s.stdout = private }, err: "got a private key", status: 1},
		"a file that is none": {change: func(s *server) { _ = os.WriteFile(s.file, []byte("{}"), 0o600) }, err: "staging.jwks.json", status: 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, gitlabKey, newKey)
			if tt.change != nil {
				tt.change(s)
			}
			before, err := os.ReadFile(s.file)
			require.NoError(t, err)
			args := tt.args
			if args == nil {
				args = []string{"--env", "staging"}
			}
			err = s.trust(t, args...)
			require.ErrorContains(t, err, tt.err)
			assert.Equal(t, tt.status, exitStatus(err))
			assert.NotContains(t, err.Error(), "\x1b")
			after, err := os.ReadFile(s.file)
			require.NoError(t, err)
			assert.Equal(t, before, after)
			if tt.status == 2 && tt.change == nil {
				assert.Empty(t, s.sent())
			}
		})
	}
}

func TestS15_TrustCanBeInterrupted(t *testing.T) {
	s := newServer(t, gitlabKey, newKey)
	s.neverEnd()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		root := s.command()
		root.SetArgs([]string{"trust", "--env", "staging"})
		assert.ErrorIs(t, root.ExecuteContext(ctx), context.Canceled)
	})
	assert.Equal(t, gitlabKey, s.keys(t))
}

// What cannot be written leaves the old file as it is.
func TestS15_TrustKeepsTheOldFileWhenItCannotWrite(t *testing.T) {
	if os.Geteuid() == 0 {
		s := newServer(t, nil, newKey)
		s.answer = func() string { // root may write anywhere, but not into what is gone
			require.NoError(t, os.RemoveAll(s.configs))
			return "y"
		}
		assert.ErrorContains(t, s.trust(t, "--env", "staging"), "write GitLab's keys")
		return
	}
	s := newServer(t, gitlabKey, newKey)
	require.NoError(t, os.Chmod(s.configs, 0o500))
	defer os.Chmod(s.configs, 0o700)
	assert.ErrorContains(t, s.trust(t, "--env", "staging"), "write GitLab's keys")
	assert.Equal(t, gitlabKey, s.keys(t))
}
