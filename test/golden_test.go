package test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

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
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf) // writes maps in the order of their keys
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	require.NoError(t, enc.Encode(tpl.raw))
	got := assetHash.ReplaceAll(buf.Bytes(), []byte("<asset>"))

	path := filepath.Join("testdata", name+".template.json")
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "make it with: go test ./test -run Golden -update")
	require.JSONEq(t, string(want), string(got),
		"the template of %s changed; rewrite the golden with: go test ./test -run Golden -update; then read its diff", name)
}
