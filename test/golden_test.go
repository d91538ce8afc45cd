package test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden templates")

// assetHash is the content hash in an asset's object key. It changes with
// every compiler and says nothing to a reader.
var assetHash = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// TestGolden_S1toS14 compares both stacks with their reviewed templates.
// Construct ids are a contract: a changed logical id here is a replaced
// resource there.
func TestGolden_S1toS14(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	for name, tpl := range map[string]template{"GitLab-staging": gitlab, "Deploy-staging": deploy} {
		t.Run(name, func(t *testing.T) { golden(t, name, tpl) })
	}
}

func golden(t *testing.T, name string, tpl template) {
	tpl.raw = maskStarters(t, tpl.raw)
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf) // writes maps in the order of their keys
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	require.NoError(t, enc.Encode(tpl.raw))
	got := string(assetHash.ReplaceAll(buf.Bytes(), []byte("<asset>")))

	compareGolden(t, filepath.Join("testdata", name+".template.json"), got)
}

// compareGolden compares a text with the reviewed one in a file.
func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "make it with: go test ./test -run Golden -update")
	diff, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(string(want)), FromFile: path,
		B: difflib.SplitLines(got), ToFile: "now", Context: 3,
	})
	require.NoError(t, err)
	if diff != "" {
		t.Errorf("%s is not what comes out now:\n%s\nIf that is meant: go test ./test -run Golden -update", path, diff)
	}
}

// maskStarters returns a copy of a template in which the documents' starters are left
// out, but for the lines that hand over arguments: they are all the same, and
// TestS13_theStarterRunsTheBuildOfItsHashAndNothingElse is about them.
func maskStarters(t *testing.T, raw map[string]any) map[string]any {
	encoded, err := json.Marshal(raw)
	require.NoError(t, err)
	var masked map[string]any
	require.NoError(t, json.Unmarshal(encoded, &masked))
	resources, _ := masked["Resources"].(map[string]any)
	for _, r := range resources {
		inputs, ok := at(r, "Properties", "Content", "mainSteps", 0, "inputs").(map[string]any)
		if ok {
			header, _ := cutScript(list(inputs["runCommand"]))
			inputs["runCommand"] = append(slices.Clone(header), "<starter>")
		}
	}
	return masked
}
