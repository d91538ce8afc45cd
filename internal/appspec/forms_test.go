package appspec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// form is an AppSpec file as people publish it, of testdata/forms.txt.
type form struct {
	name, file, folder, agent, text string
}

func forms(t *testing.T) (all []form) {
	t.Helper()
	raw, err := os.ReadFile("testdata/forms.txt")
	require.NoError(t, err)
	for _, part := range strings.Split(string(raw), "\n== ")[1:] {
		f := form{file: "appspec.yml"}
		var rest string
		f.name, rest, _ = strings.Cut(part, "\n")
		for f.agent == "" {
			key, value, found := strings.Cut(rest, ": ")
			require.True(t, found, "%s: want file, folder, agent", f.name)
			value, rest, _ = strings.Cut(value, "\n")
			switch key {
			case "file":
				f.file = value
			case "folder":
				f.folder = value
			case "agent":
				f.agent = value
			default:
				t.Fatalf("%s: got %s, want file, folder or agent", f.name, key)
			}
		}
		f.text = strings.TrimRight(rest, "\n") + "\n"
		all = append(all, f)
	}
	return all
}

func TestS13_formsThatPeoplePublish(t *testing.T) {
	all := forms(t)
	require.GreaterOrEqual(t, len(all), 50)
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) {
			folder := map[string]string{f.file: f.text}
			for _, name := range strings.Fields(f.folder) {
				folder[name] = "#!/bin/sh\n"
			}
			result, err := Check(write(t, folder), nil)
			require.NoError(t, err)
			verdict := "deploys"
			if result.Platform != Server {
				verdict += " " + string(result.Platform)
			}
			if isRefused(result) {
				verdict = "refuses"
			}
			for _, p := range result.Problems {
				if !p.Warning {
					verdict += fmt.Sprintf(" %d:%d", p.Line, p.Column)
				}
			}
			assert.Equal(t, f.agent, verdict, "%v", result.Problems)
		})
	}
}

// write makes a folder. A name that ends with a slash is a folder, a text "-> x" a link to x; scripts are executable.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "around", "folder")
	require.NoError(t, os.MkdirAll(root, 0o755))
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(root, name)
		if strings.HasSuffix(name, "/") {
			require.NoError(t, os.MkdirAll(path, 0o755))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if target, isLink := strings.CutPrefix(files[name], "-> "); isLink {
			require.NoError(t, os.Symlink(target, path))
			continue
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(files[name], "#!") {
			mode = 0o755
		}
		require.NoError(t, os.WriteFile(path, []byte(files[name]), mode))
	}
	return root
}
