package script

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// project writes files into a new folder and returns it.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	return root
}

func TestS8DataStandsInTheScriptThatReadsIt(t *testing.T) {
	root := project(t, map[string]string{
		"a.sh":  "#!/bin/bash\n#/ Usage\n# Stops.\n# inlined data=d.tsv\nSTOPS=$(cat \"$(dirname \"$0\")/d.tsv\")\nmain\n",
		"d.tsv": "# a comment\n1\t$x\n",
	})
	lines, err := Inline(root, "a.sh")
	require.NoError(t, err)
	assert.Equal(t, []string{"#/ Usage", "# Stops.", "STOPS=$(cat <<'END_OF_DATA'", "# a comment", "1\t$x", "END_OF_DATA", ")", "main"}, lines)
}

func TestS8DataThatCannotStandThereIsRefused(t *testing.T) {
	for want, files := range map[string]map[string]string{
		`a.sh:2: want NAME=$(cat "…") after the data's name, d`: {"a.sh": "# inlined data=d\necho\n", "d": "x\n"},
		"d contains {{ or END_OF_DATA":                          {"a.sh": "# inlined data=d\nX=$(cat \"d\")\n", "d": "END_OF_DATA\n"},
	} {
		_, err := Inline(project(t, files), "a.sh")
		assert.EqualError(t, err, want)
	}
	_, err := Inline(project(t, map[string]string{"a.sh": "# inlined data=gone\nX=$(cat \"gone\")\n"}), "a.sh")
	assert.ErrorContains(t, err, "gone: no such file")
}

func TestS8WhatIsSaidOfFunctionsStaysOutAndTheHelpStays(t *testing.T) {
	root := project(t, map[string]string{
		"a.sh": "#/ Usage\n\n# A constant.\nA=1\n\n# What first does.\nfirst() { :; }\n# shellcheck source=b.sh\nsource b.sh\nmain\n",
		"b.sh": "# What it is.\n# shellcheck shell=bash\n\n# A setting's reason.\nX=1\n\n# What f does.\n# In two lines.\nf() {\n  # inside\n  cat <<END\n# text\n# more\nEND\n}\n# the end\n",
	})
	lines, err := Inline(root, "a.sh")
	require.NoError(t, err)
	assert.Equal(t, []string{
		"#/ Usage", "", "# A constant.", "A=1", "", "first() { :; }",
		"", "# A setting's reason.", "X=1", "", "f() {", "  # inside", "  cat <<END", "# text", "# more", "END", "}", "# the end", "main",
	}, lines)
}
