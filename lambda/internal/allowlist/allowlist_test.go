package allowlist

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/trust"
)

func writeAllowList(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), File)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestS14_AllowListNamesThePairsAndNoOthers(t *testing.T) {
	list, err := Load(writeAllowList(t, `[
		{"application": "web", "deploymentGroup": "web-blue-green"},
		{"application": "shop", "deploymentGroup": "shop-blue-green"}
	]`))
	require.NoError(t, err)
	assert.True(t, list.Has(Pair{"web", "web-blue-green"}))
	assert.True(t, list.Has(Pair{"shop", "shop-blue-green"}))
	assert.False(t, list.Has(Pair{"web", "shop-blue-green"}), "a pair is allowed as a pair")
	assert.Zero(t, list[Pair{"web", "web-blue-green"}], "the rule that lets nobody deploy")
}

func TestS15_EachPairHasItsRule(t *testing.T) {
	list, err := Load(writeAllowList(t, `[
		{"application": "web", "deploymentGroup": "g", "projects": [{"id": 42, "path": "team/web"}], "refs": ["main"], "unprotectedRefs": true},
		{"application": "shop", "deploymentGroup": "g", "anyProject": true}
	]`))
	require.NoError(t, err)
	assert.Equal(t, List{
		{"web", "g"}:  {Projects: []trust.Project{{ID: 42, Path: "team/web"}}, Refs: []string{"main"}, UnprotectedRefs: true},
		{"shop", "g"}: {AnyProject: true},
	}, list)
}

func TestS14_AMistakeInTheAllowListSaysWhatIsWrong(t *testing.T) {
	for content, want := range map[string]string{
		``:                                    "EOF",
		`[]`:                                  "names no deployment group",
		`null`:                                "names no deployment group",
		`{"application":"web"}`:               "cannot unmarshal object",
		`[{"application":"web"}]`:             "entry 1 has an empty application or deploymentGroup",
		`[{"application":"web","group":"g"}]`: `unknown field "group"`,
		`[{"application":"web","deploymentGroup":"g"}] [`:            "nothing after it",
		`[{"application":"web","deploymentGroup":"g"}]{"more":true}`: "nothing after it",
	} {
		t.Run(content, func(t *testing.T) {
			_, err := Load(writeAllowList(t, content))
			require.ErrorContains(t, err, want)
			assert.ErrorContains(t, err, File)
		})
	}
	_, err := Load(filepath.Join(t.TempDir(), File))
	require.ErrorIs(t, err, os.ErrNotExist)
}
