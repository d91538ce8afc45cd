package constructs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// project writes files into a new folder and returns it.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return root
}

func TestS5_aDocumentHoldsTheScriptAndWhatItSources(t *testing.T) {
	root := project(t, map[string]string{
		"scripts/a.sh":     "#!/usr/bin/env bash\n#/ Usage\n# shellcheck source=scripts/lib/b.sh\nsource \"$(dirname \"$0\")/lib/b.sh\"\nmain \"$@\"\n",
		"scripts/lib/b.sh": "# shellcheck source=scripts/lib/c.sh\nsource c.sh\nlog() { echo; }\n",
		"scripts/lib/c.sh": "die() { exit 1; }\n",
	})
	content, err := scriptDocumentContent(ScriptDocumentProps{
		Root: root, Script: "scripts/a.sh", TimeoutSeconds: 60,
		Parameters: []ScriptParameter{{Name: "Version", Flag: "--version", Description: "Exact version", Pattern: `^[0-9.]+$`}},
	})
	require.NoError(t, err)
	inputs := content["mainSteps"].([]any)[0].(map[string]any)["inputs"].(map[string]any)
	assert.Equal(t, []string{
		"#!/usr/bin/env bash",
		"set -- --version '{{ Version }}'",
		"#/ Usage",
		"die() { exit 1; }",
		"log() { echo; }",
		`main "$@"`,
	}, inputs["runCommand"])
	assert.Equal(t, "60", inputs["timeoutSeconds"])
}

func TestS13_whatASenderHasNoSayInStandsInTheDocument(t *testing.T) {
	root := project(t, map[string]string{"a.sh": "#!/usr/bin/env bash\nmain \"$@\"\n"})
	props := ScriptDocumentProps{
		Root: root, Script: "a.sh", TimeoutSeconds: 60,
		Arguments:  []ScriptArgument{{Flag: "--bucket", Value: "assets"}, {Flag: "--key", Value: "folder/a.bin"}},
		Parameters: []ScriptParameter{{Name: "Word", Flag: "--word", Pattern: "^[a-z]*$"}},
	}
	content, err := scriptDocumentContent(props)
	require.NoError(t, err)
	inputs := content["mainSteps"].([]any)[0].(map[string]any)["inputs"].(map[string]any)
	assert.Equal(t, []string{"#!/usr/bin/env bash", "set -- --bucket 'assets' --key 'folder/a.bin' --word '{{ Word }}'", `main "$@"`}, inputs["runCommand"])
	assert.NotContains(t, content["parameters"], "Bucket")

	for _, value := range []string{"", "a'b", "{{ Word }}", "$(id)", "a b", "${Token[TOKEN.1]}"} {
		props.Arguments = []ScriptArgument{{Flag: "--key", Value: value}}
		_, err := scriptDocumentContent(props)
		assert.ErrorContains(t, err, "argument --key: got ", value)
	}
}

func TestS8_aDetachedDocumentTellsItsRunBeforeTheScript(t *testing.T) {
	root := project(t, map[string]string{"a.sh": "#!/usr/bin/env bash\noperate test main \"$@\"\n"})
	content, err := scriptDocumentContent(ScriptDocumentProps{
		Root: root, Script: "a.sh", TimeoutSeconds: 60, Detached: true,
		Parameters: []ScriptParameter{{Name: "Word", Flag: "--word", Pattern: "^[a-z]*$", Optional: true}},
	})
	require.NoError(t, err)
	inputs := content["mainSteps"].([]any)[0].(map[string]any)["inputs"].(map[string]any)
	assert.Equal(t, []string{
		"#!/usr/bin/env bash",
		"export RUN_ID='{{ RunId }}'",
		"set -- --word '{{ Word }}'",
		`operate test main "$@"`,
	}, inputs["runCommand"])
	parameters := content["parameters"].(map[string]any)
	assert.NotContains(t, parameters["RunId"], "default", "who starts a run names it")
	assert.Equal(t, "", parameters["Word"].(map[string]any)["default"])
}

func TestS8_aDefaultThatThePatternRefusesIsRefused(t *testing.T) {
	root := project(t, map[string]string{"a.sh": "true\n"})
	_, err := scriptDocumentContent(ScriptDocumentProps{
		Root: root, Script: "a.sh",
		Parameters: []ScriptParameter{{Name: "Word", Flag: "--word", Pattern: "^[a-z]+$", Optional: true}},
	})
	assert.ErrorContains(t, err, `pattern "^[a-z]+$" does not let the default "" through`)
}

func TestS5_aDocumentThatSystemsManagerWouldMisreadIsRefused(t *testing.T) {
	root := project(t, map[string]string{
		"braces.sh": "docker ps --format '{{.ID}}'\n",
		"lost.sh":   "# shellcheck source=lib.sh\necho no source line\n",
		"gone.sh":   "# shellcheck source=gone/lib.sh\nsource gone/lib.sh\n",
		"large.sh":  strings.Repeat("echo 0123456789\n", 5000),
		"fine.sh":   "true\n",
	})
	for name, tt := range map[string]struct {
		script, pattern, want string
	}{
		"placeholders of its own":      {"braces.sh", `^x$`, "braces.sh contains {{"},
		"a directive without a source": {"lost.sh", `^x$`, "lost.sh:2: want a source line"},
		"a sourced file that is gone":  {"gone.sh", `^x$`, "gone/lib.sh: no such file"},
		"more than the limit":          {"large.sh", `^x$`, "Systems Manager takes 65536"},
		"an open pattern":              {"fine.sh", `[a-z]+`, `pattern "[a-z]+" is not anchored`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := scriptDocumentContent(ScriptDocumentProps{
				Root: root, Script: tt.script,
				Parameters: []ScriptParameter{{Name: "Name", Flag: "--name", Description: "", Pattern: tt.pattern}},
			})
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
