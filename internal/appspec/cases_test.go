package appspec

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// agentCase is a folder, and what CodeDeploy's agent 1.8.1 did with it.
type agentCase struct {
	Name     string
	Agent    bool // deployed
	Kind     string
	RootMode string
	Files    map[string]struct {
		Mode, Text, Base64, Dir, Link string
	}
}

// onPurpose are the cases that are judged otherwise than the agent did, with the reason.
var onPurpose = map[string]string{}

// TestS13_theAgentsOwnAnswers asks about each folder that the agent was given.
//
//fault:whole an AppSpec file or a folder that CodeDeploy's agent refuses | refused with line and column before anything is sent
func TestS13_theAgentsOwnAnswers(t *testing.T) {
	var cases []agentCase
	raw, err := os.ReadFile("testdata/appspec-cases.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.NotEmpty(t, cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			result, err := Check(c.build(t), nil)
			require.NoError(t, err)
			if reason, differs := onPurpose[c.Name]; differs {
				assert.Equal(t, c.Agent, isRefused(result), "judged as the agent did, though not so on purpose: %s", reason)
				return
			}
			assert.Equal(t, c.Agent, !isRefused(result), "the agent: %t %s; got %v", c.Agent, c.Kind, result.Problems)
			for _, p := range result.Problems {
				t.Log(p)
			}
		})
	}
}

func (c agentCase) build(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "a", "b")
	require.NoError(t, os.MkdirAll(root, 0o755))
	var names []string
	for name := range c.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f, path := c.Files[name], filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case f.Link != "":
			require.NoError(t, os.Symlink(f.Link, path))
		case f.Dir != "":
			require.NoError(t, os.MkdirAll(path, 0o755))
		default:
			text := []byte(f.Text)
			if f.Base64 != "" {
				var err error
				text, err = base64.StdEncoding.DecodeString(f.Base64)
				require.NoError(t, err)
			}
			require.NoError(t, os.WriteFile(path, text, 0o600))
			require.NoError(t, os.Chmod(path, mode(t, f.Mode)))
		}
	}
	for _, name := range slices.Backward(names) {
		if dir := c.Files[name].Dir; dir != "" {
			require.NoError(t, os.Chmod(filepath.Join(root, name), mode(t, dir)))
		}
	}
	require.NoError(t, os.Chmod(root, mode(t, c.RootMode)))
	t.Cleanup(func() { _ = os.Chmod(root, 0o755) })
	return root
}

func mode(t *testing.T, text string) os.FileMode {
	t.Helper()
	n, err := strconv.ParseUint(text, 0, 32)
	require.NoError(t, err)
	return os.FileMode(n)
}

// isRefused tells whether CodeDeploy would refuse the folder.
func isRefused(r Result) bool {
	return slices.ContainsFunc(r.Problems, func(p Problem) bool { return !p.Warning })
}
