package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
)

// complete is what a shell is told to complete the last of the words with.
func (s *session) complete(t *testing.T, words ...string) []string {
	t.Helper()
	s.out.Reset()
	require.NoError(t, s.run(t, append([]string{"__complete"}, words...)...))
	lines := strings.Split(strings.TrimSpace(s.out.String()), "\n")
	require.NotEmpty(t, lines)
	assert.Regexp(t, `^:\d+$`, lines[len(lines)-1], "cobra's directive")
	return lines[:len(lines)-1]
}

// newCompletion is a session with a second environment, an application with two groups, and two backups.
func newCompletion(t *testing.T) *session {
	s := newSession(t)
	text, err := os.ReadFile(filepath.Join(s.configs, "staging.yaml"))
	require.NoError(t, err)
	more := strings.Replace(string(text), "  deploymentGroups:\n", "  deploymentGroups:\n    - {application: shop, deploymentGroup: shop-blue}\n    - {application: shop, deploymentGroup: shop-canary}\n", 1)
	require.NoError(t, os.WriteFile(filepath.Join(s.configs, "staging.yaml"), []byte(more), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(s.configs, "production.yaml"), text, 0o600))
	awstest.On(s.cloud, func(context.Context, *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
		out := &s3.ListObjectsV2Output{}
		for _, id := range []string{"1606734000_2020_11_30_13.10.2", "1606820400_2020_12_01_13.10.2"} {
			out.Contents = append(out.Contents, types.Object{Key: aws.String("backups/" + id + "/manifest.json")}, types.Object{Key: aws.String("backups/" + id + "/shared.tar.gz")})
		}
		out.Contents = append(out.Contents, types.Object{Key: aws.String("backups/1606906800_2020_12_02_13.10.2/shared.tar.gz")})
		return out, nil
	})
	return s
}

func TestCompletionKnowsConfigurationAndAccount(t *testing.T) {
	for name, tt := range map[string]struct {
		words []string
		want  []string
	}{
		"environments":                {[]string{"deployments", "--env", ""}, []string{"production", "staging"}},
		"one that is begun":           {[]string{"backup", "--env", "st"}, []string{"staging"}},
		"applications":                {[]string{"deployments", "--env", "staging", "--application", ""}, []string{"sample-web", "shop"}},
		"groups of an application":    {[]string{"deployments", "--env", "staging", "--application", "shop", "--deployment-group", ""}, []string{"shop-blue", "shop-canary"}},
		"all groups":                  {[]string{"deployments", "--env", "staging", "--deployment-group", "s"}, []string{"sample-web-blue-green", "shop-blue", "shop-canary"}},
		"complete backups":            {[]string{"restore", "--env", "staging", "--backup", ""}, []string{"1606820400_2020_12_01_13.10.2", "1606734000_2020_11_30_13.10.2"}},
		"hosts":                       {[]string{"connect", "--host", ""}, []string{"server", "runner"}},
		"roles":                       {[]string{"policy", "sh"}, []string{"shell"}},
		"no environment yet":          {[]string{"deployments", "--application", ""}, nil},
		"an environment that is none": {[]string{"deployments", "--env", "nothing", "--application", ""}, nil},
		"no such profile":             {[]string{"restore", "--env", "staging", "--profile", "nobody", "--backup", ""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := newCompletion(t).complete(t, tt.words...)
			var values []string
			for _, line := range got {
				value, _, _ := strings.Cut(line, "\t")
				values = append(values, value)
			}
			assert.Equal(t, tt.want, values)
		})
	}
}

func TestCompletionDoesNotWaitForAnAccount(t *testing.T) {
	s := newCompletion(t)
	awstest.On(s.cloud, func(ctx context.Context, _ *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		root := s.command()
		root.SetArgs([]string{"__complete", "restore", "--env", "staging", "--backup", ""})
		require.NoError(t, root.ExecuteContext(t.Context()))
		assert.Equal(t, completionTime, time.Since(began))
	})
	assert.Equal(t, ":4", strings.TrimSpace(s.out.String()))
}

func TestCompletionIsThereForEachShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		s := newSession(t)
		require.NoError(t, s.run(t, "completion", shell), shell)
		assert.Contains(t, s.out.String(), "ops", shell)
		assert.Greater(t, s.out.Len(), 500, shell)
	}
}

func TestVersionIsTheBuilds(t *testing.T) {
	s := newSession(t)
	require.NoError(t, s.run(t, "--version"))
	assert.Equal(t, "ops version "+version+"\n", s.out.String())
}
