package appspec

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestS13_plainTextIsWhatRubyTakesItFor: each row of the file is a text, and the kind and text that Psych 4.0.3 made of it.
func TestS13_plainTextIsWhatRubyTakesItFor(t *testing.T) {
	raw, err := os.ReadFile("testdata/psych-scalars.tsv")
	require.NoError(t, err)
	kinds := map[kind]string{null: "null", boolean: "boolean", integer: "integer", float: "float", text: "text", symbol: "symbol", refused: "refused"}
	rows := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	require.Greater(t, len(rows), 200)
	for _, row := range rows {
		want := strings.Split(row, "\t")
		require.Len(t, want, 3, row)
		v := &value{}
		if v.resolve(want[0]) != "" {
			v.kind, v.text = refused, ""
		}
		assert.Equal(t, want, []string{want[0], kinds[v.kind], v.text})
	}
}

// TestS13_entriesOfAccessControlLists has the agent's own answers: + for what it takes.
func TestS13_entriesOfAccessControlLists(t *testing.T) {
	for _, entry := range strings.Fields(`+u:root:rw +user:root:rwx +d:u:root:rw +default:user:root:rwx -u::rw -::rw -:rw +root:rw +m:rwx
		+mask:rwx +m::rwx +mask::7 -o:rw -other::r -o:x:r +d:o:rw +d:m:rwx -d:d:u:rw -x:u:root:rw -u:root:rwz -u:root:8 +u:root:7
		+u:root: -a:b:c:d:e -x -u:root:rw:x +d::rw +g:root:r -group::r +d:g::r +default::rw +d:root:7`) {
		isDefault, wrong := readACE(entry[1:])
		assert.Equal(t, entry[0] == '+', wrong == "", "%s: %s", entry, wrong)
		if wrong == "" {
			assert.Equal(t, entry[1] == 'd', isDefault, entry)
		}
	}
}

// TestS13_rangesOfSELinux has the agent's own answers: + for what it takes.
func TestS13_rangesOfSELinux(t *testing.T) {
	for _, limits := range strings.Fields(`+s0 +s1 -s +s0-s1 -s1-s0 +s0-s0 -s0- +s0:c1 +s0:c1,c2 +s0:c1.c3 -s0:c3.c1 -s0:c1,c1 -s0:c1.c3,c2
		-s0:c1024 -s0: -s0:c +s0:, +s0:c1, -s0:,c1 -x0 -S0 -s0:c1.c2.c3 -s0-s1-s2 -:c1 -s0:c1:c2`) {
		assert.Equal(t, limits[0] == '+', isRange(limits[1:]), limits)
	}
}

// TestS13_patternsOfPermissions: a star is for any characters of one name, and nothing else is special.
func TestS13_patternsOfPermissions(t *testing.T) {
	for pattern, names := range map[string]string{
		"*":      "+a +a.sh -d/a",
		"*.sh":   "+a.sh +.sh -a.sh.txt -d/a.sh",
		"a*b*c":  "+abc +aXbYc +abcbc -ab -acb",
		"a**c":   "+ac +abc -ab",
		"a.sh":   "+a.sh -axsh -a.shx",
		"[a].?h": "+[a].?h -a.sh",
		"aa*aa":  "+aaaa -aaa",
	} {
		for _, name := range strings.Fields(names) {
			assert.Equal(t, name[0] == '+', globs(name[1:], pattern), "%s %s", pattern, name)
		}
	}
}

// TestS13_whatPermissionsAreFor counts on each file being named once: a second entry for it is refused.
func TestS13_whatPermissionsAreFor(t *testing.T) {
	const both = head + "files:\n  - source: /\n    destination: /srv\npermissions:\n  - object: /srv\n    mode: 755\n"
	for entry, want := range map[string]string{
		"pattern: '*.html'":                    "/srv/index.html",
		"pattern: '*.txt'":                     "",
		"type: [directory], pattern: 's*'":     "/srv/scripts",
		"type: [file], except: ['*.html']":     "/srv/a dir/it's #1",
		"type: [directory], except: ['a dir']": "/srv/scripts",
		"type: []":                             "",
	} {
		got := said(t, write(t, sample(both+"  - {object: /srv, "+entry+"}\n")), nil)
		if want == "" {
			assert.Equal(t, "appspec.yml:9:5: warning: permissions for '/srv' change nothing: files puts nothing there that they are for", got, entry)
		} else {
			assert.Equal(t, "appspec.yml:9:5: permissions of "+quote(want)+" are set twice, want one entry for it", got, entry)
		}
	}
}
