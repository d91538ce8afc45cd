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

const head = "version: 0.0\nos: linux\n"

// sample is the folder of the tests below.
func sample(appSpec string) map[string]string {
	return map[string]string{
		"appspec.yml": appSpec, "index.html": "hello\n", "a dir/it's #1": "", "a dir/run.sh": "#!/bin/sh\n",
		"scripts/start.sh": "#!/bin/sh\n", "scripts/plain.sh": "echo\n",
	}
}

// TestS13_aLargeFileThatIsNoYAMLIsRefusedAtOnce: where it stops to be YAML is looked for in small files only.
func TestS13_aLargeFileThatIsNoYAMLIsRefusedAtOnce(t *testing.T) {
	text := head + "hooks:\n" + strings.Repeat("  # a comment\n", 100_000) + "  - [\n"
	assert.Regexp(t, `^appspec.yml:\d+:1: not valid YAML: `, said(t, write(t, sample(text)), nil))
	assert.Equal(t, "appspec.yml: got 4194305 bytes, want at most 4194304", said(t, write(t, sample(strings.Repeat("#", 4<<20+1))), nil))
}

func TestS13_anAppSpecFileInJSONIsStrictJSON(t *testing.T) {
	folder := write(t, map[string]string{"appspec.json": "{\n  \"version\": 0.0,\n  \"Resources\": [],\n}\n"})
	assert.Equal(t, "appspec.json:4:1: not valid JSON: invalid character '}' looking for beginning of object key string", said(t, folder, nil))
}

// TestS13_whatIsSaid gives a file, with HEAD for its first two lines and ; for each end of a line, and all that must be
// said of it.
func TestS13_whatIsSaid(t *testing.T) {
	for text, want := range map[string]string{
		`HEAD`:                                  ``,
		`%YAML 1.1;---;HEAD...;hooks: nonsense`: `appspec.yml:5:1: warning: the document ends here, and the agent reads nothing after it; want one document whose keys all begin in column 1`,
		`---;HEADfiles: [];hooks: {}  # none`:   ``,
		`HEADfiles:;  - source: a dir;    destination: /srv`:               ``,
		`HEADfiles:;  - source: a dir/it's #1;    destination: /srv`:       `appspec.yml:4:13: source "a dir/it's" does not exist in the folder`,
		`HEADfiles:;  - source: "a dir/it's #1";    destination: /srv`:     ``,
		`HEADfiles:;  - source: 'a dir/it''s #1';    destination: /srv`:    ``,
		`HEADfiles:;  -;    source: index.html;    destination: /srv`:      ``,
		`HEADfiles:;  - source: >-;      index.html;    destination: /srv`: ``,
		`HEADfiles:;  - {source: index.html,;     destination: /srv}`:      ``,
		`HEADfiles: [{source: index.html, destination: /srv}]`:             ``,
		`HEADfile_exists_behavior: KEEP`:                                   `appspec.yml:3:23: file_exists_behavior: got 'KEEP', want DISALLOW, OVERWRITE or RETAIN`,
		`os: linux`:                                                        `appspec.yml: version is missing, want 0.0`,
		`version: 0.0`:                                                     `appspec.yml: os is missing, want linux`,
		`version: "0.0";os: linux`:                                         `appspec.yml:1:10: version: got '0.0' in quotes, want 0.0 without quotes`,
		`version: 1.0;os: linux`:                                           `appspec.yml:1:10: version: got '1.0', a number, want 0.0 without quotes`,
		`version: v0.0;os: linux`:                                          `appspec.yml:1:10: version: got 'v0.0', want 0.0 without quotes`,
		`version: 0.0;os: windows`:                                         `appspec.yml:2:5: os: got windows, want linux: CodeDeploy unpacks no tar archives on Windows`,
		`version: 0.0;os: macos`:                                           `appspec.yml:2:5: os: got 'macos', want linux`,
		``:                                                                 `appspec.yml: got an empty file, want version, os, files and hooks`,
		`# nothing yet`:                                                    `appspec.yml: got an empty file, want version, os, files and hooks`,
		`- version: 0.0`:                                                   `appspec.yml:1:1: got a list, want version, os, files and hooks with their values`,
		`HEADhook:;  AfterInstall: []`:                                     `appspec.yml:3:1: warning: unknown key 'hook', want version, os, files, hooks, permissions or file_exists_behavior: the agent passes over it`,
		`HEADhooks:;AfterInstall:;  - location: scripts/start.sh`:          `appspec.yml:4:1: warning: 'AfterInstall' at the top level runs nothing: the agent looks for it under hooks`,
		"HEADfiles:;\t- source: /":                                         `appspec.yml:4:1: not valid YAML: found character that cannot start any token (a tab in the indentation; want spaces)`,
		`HEADfiles:;  source: /;  destination: /srv`:                       `appspec.yml:4:3: files: got keys with values, want a list: begin each entry with '- source:'`,
		`HEADfiles:;  - source: /;     destination: /srv`:                  `appspec.yml:5:17: not valid YAML: mapping values are not allowed in this context (want one 'key: value' on a line with a space after the colon, and text with a colon in quotes)`,
		`HEADfiles:;  - source: /;    destination: /a;   - source: /;     destination: /b`: `appspec.yml:6:4: not valid YAML: did not find expected '-' indicator (want the keys of one entry, and the dashes of one list, in the same column)`,
		`HEADfiles:;  - source: /`:                                            `appspec.yml:4:5: an entry of files without destination`,
		`HEADfiles:;  - destination: /srv`:                                    `appspec.yml:4:5: an entry of files without source`,
		`HEADfiles:;  - source: ~;    destination: /srv`:                      `appspec.yml:4:5: an entry of files without source`,
		`HEADfiles:;  - source: *page;    destination: /srv`:                  `appspec.yml:4:13: got the alias '*page', want its value written out: the agent follows no aliases`,
		`HEADfiles:;  - source: "index.html;    destination: /srv`:            `appspec.yml:4:13: not valid YAML: found unexpected end of stream (a quote without an end)`,
		`HEADfiles:;  - source: "index\x2ehtml";    destination: /srv`:        ``,
		`HEADfiles:;  - source:/index.html;    destination: /srv`:             `appspec.yml:5:16: not valid YAML: mapping values are not allowed in this context (want one 'key: value' on a line with a space after the colon, and text with a colon in quotes)`,
		`HEADfiles:;  - <<: {source: /};    destination: /srv`:                ``,
		`HEADfiles:;  - source: /;    destination: /a;    source: index.html`: `appspec.yml:6:5: warning: 'source' stands twice here, and the agent takes the last; other agents refuse that`,
		`HEADfiles: 5`: `appspec.yml:3:8: files: got '5', a number, want a list: begin each entry with '- source:'`,
		`HEADfiles:;  - source: /;    destination: 8080;    owner: x`:                                              `appspec.yml:5:18: destination: got '8080', a number, want a path; in quotes it is one` + "\n" + `appspec.yml:6:5: warning: unknown key 'owner' in an entry of files, want source, destination: the agent passes over it`,
		`HEADfiles:;  - source: [a dir, run.sh];    destination: /srv`:                                             `appspec.yml:4:13: warning: source: got a list, which this agent joins to one path, and others refuse; want a path`,
		`HEADfiles:;  - source: index.html;    destination: srv`:                                                   `appspec.yml:5:18: warning: destination: got 'srv', want a path that begins with a slash: it counts from the agent's own folder`,
		`HEADfiles:;  - source: index.html;    destination: /srv/$NAME`:                                            `appspec.yml:5:18: warning: destination: got '/srv/$NAME', want no variable: the agent replaces none`,
		`HEADfiles:;  - source: index.html;    destination: /srv/a/../b`:                                           `appspec.yml:5:18: destination: got '/srv/a/..', want the path without '..': the agent tries to make the folder '/srv'`,
		`HEADfiles:;  - source: index.html;    destination: /srv/../opt/b`:                                         ``,
		`HEADfiles:;  - source: index.html;    destination: /a;  - source: scripts;    destination: /a/index.html`: `appspec.yml:7:18: destination '/a/index.html' is a file of another entry, and a folder too; want one of them`,
		`HEADfiles:;  - source: scripts;    destination: /a/index.html;  - source: index.html;    destination: /a`: `appspec.yml:7:18: destination '/a/index.html' is a folder of another entry, and the file 'index.html' too; want one of them`,
		`HEADhooks:;  - location: scripts/start.sh`:                                                                `appspec.yml:4:3: hooks: got a list, want lifecycle events such as AfterInstall:, each with a list of scripts`,
		`HEADhooks:;  AfterInstall:;    - timeout: 5`:                                                              `appspec.yml:5:7: a script of AfterInstall without location`,
		`HEADhooks:;  AfterInstall:;    location: scripts/start.sh`:                                                `appspec.yml:5:5: AfterInstall: got keys with values, want a list of scripts, each beginning with '- location:'`,
		`HEADhooks:;  AfterInstall: scripts/start.sh`:                                                              `appspec.yml:4:17: AfterInstall: got 'scripts/start.sh', want a list of scripts, each beginning with '- location:'`,
		`HEADhooks:;  AfterInstall:;    - location: scripts`:                                                       `appspec.yml:5:17: location 'scripts' is not a file`,
		`HEADhooks:;  AfterInstall:;    - location: a dir/run.sh`:                                                  `appspec.yml:5:17: location 'a dir/run.sh' has a space, and the agent hands it to a shell as it is`,
		`HEADhooks:;  AfterInstall:;    - location: scripts/plain.sh`:                                              ``,
		`HEADhooks:;  Unknown:;  AfterInstall:;    - location: scripts/start.sh`:                                   ``,
		`HEADhooks:;  Install:;    - location: gone.sh`:                                                            `appspec.yml:4:3: warning: Install: the agent runs no scripts for this event; want BeforeBlockTraffic, AfterBlockTraffic, ApplicationStop, BeforeInstall, AfterInstall, ApplicationStart, ValidateService, BeforeAllowTraffic or AfterAllowTraffic`,
		`HEADhooks:;  ApplicationStop:;    - location: gone.sh`:                                                    `appspec.yml:5:17: warning: location 'gone.sh' does not exist in the folder (CodeDeploy runs it in the deployment after this one, which fails)`,
		`HEADhooks:;  AfterInstall:;    - location: scripts/start.sh;      sudo: "no"`:                             `appspec.yml:6:13: warning: sudo: got 'no', want true or false: the agent takes it for true`,
		`HEADhooks:;  AfterInstall:;    - location: scripts/start.sh;      runas: 1000`:                            `appspec.yml:6:14: runas: got '1000', a number, want the name of a user`,
		`HEADhooks:;  AfterInstall:;    - location: scripts/start.sh;      runas: "a,b"`:                           `appspec.yml:6:14: runas: got 'a,b', want the name of a user`,
		`HEADhooks:;  AfterInstall:;    - location: scripts/start.sh;      runas: nobody`:                          `appspec.yml:6:14: runas: got 'nobody', want a user with a shell: su runs nothing for this one`,
		`HEADhooks:;  AfterInstall:;    - location: scripts/start.sh;      runas: nginx`:                           `appspec.yml:6:14: warning: runas: got 'nginx', which has no shell on most systems: su runs nothing then`,
		`HEADhooks:;  AfterInstall: {}`:                                                                            `appspec.yml:4:17: warning: AfterInstall: got {}, which other agents refuse; want a list`,
		`HEADfiles: {};permissions: {}`:                                                                            `appspec.yml:3:8: warning: files: got {}, which other agents refuse; want a list` + "\n" + `appspec.yml:4:14: warning: permissions: got {}, which other agents refuse; want a list`,
		`HEADhooks:;  AfterInstall:;    - location: scripts/start.sh;      timeout: 10m`:                           `appspec.yml:6:16: warning: timeout of AfterInstall: got '10m', which is 10 seconds for the agent; want a plain number of seconds`,
		`HEADhooks:;  AfterInstall:;    - location: scripts/start.sh;      timeout: 0.5`:                           `appspec.yml:6:16: timeout of AfterInstall: got '0.5', a number, want a number of seconds above 0`,
		`HEADhooks:;  AfterInstall:;    - location: scripts/start.sh;      timeout: 1:30`:                          `appspec.yml:4:3: warning: AfterInstall: the timeouts of its scripts are 5400 seconds together, and CodeDeploy ends the event after 3600` + "\n" + `appspec.yml:6:16: warning: timeout of AfterInstall: got '1:30', which is 5400 seconds for the agent; want a plain number of seconds`,
		`HEADpermissions:;  - object: /srv`:                                                                        `appspec.yml:4:5: warning: permissions for '/srv' change nothing: files puts nothing there that they are for`,
		`HEADpermissions:;  - object: ~deploy/x`:                                                                   `appspec.yml:4:13: object: got '~deploy/x', want a path that begins with a slash, on the instance`,
		`HEADpermissions:;  - object: ~root/x`:                                                                     `appspec.yml:4:5: warning: permissions for '~root/x' change nothing: files puts nothing there that they are for` + "\n" + `appspec.yml:4:13: warning: object: got '~root/x', want a path that begins with a slash, on the instance`,
		`HEADpermissions:;  - object: /a;    mode: 00755`:                                                          `appspec.yml:5:11: mode: got '00755', which YAML takes for the number 493, want one to four octal digits, such as '0644' in quotes or 644`,
		`HEADpermissions:;  - object: /a;    mode: "00755"`:                                                        `appspec.yml:5:11: mode: got '00755', want one to four octal digits, such as '0644' in quotes or 644`,
		`HEADResources: []`:                                          `appspec.yml:3:1: warning: unknown key 'Resources', want version, os, files, hooks, permissions or file_exists_behavior: the agent passes over it`,
		`version: 0.0;Resources: []`:                                 `appspec.yml:2:12: Resources: got a list, want a list with one resource, a name with Type and Properties`,
		`HEADpermissions:;  - owner: root`:                           `appspec.yml:4:5: an entry of permissions without object`,
		`HEADpermissions:;  - object: /a;    mode: 0644;    mood: 1`: `appspec.yml:4:5: warning: permissions for '/a' change nothing: files puts nothing there that they are for` + "\n" + `appspec.yml:5:11: warning: mode: got '0644', which YAML takes for the number 420, and that becomes the mode; want it in quotes, or without the leading zero` + "\n" + `appspec.yml:6:5: warning: unknown key 'mood' in an entry of permissions, want object, pattern, except, type, owner, group, mode, acls, context: the agent passes over it`,
		`HEADpermissions:;  - object: /a;    mode: u+x`:              `appspec.yml:5:11: mode: got 'u+x', want one to four octal digits, such as '0644' in quotes or 644`,
		`HEADfiles:;  - source: index.html;    destination: /a;permissions:;  - object: /a/index.html;    pattern: "*.html";    mode: 644`: `appspec.yml:8:14: pattern: got '*.html' for the file '/a/index.html', want none: a pattern is for what is in a folder`,
		`HEADfiles:;  - source: index.html;    destination: /a;permissions:;  - object: /a/index.html;    acls: ["d:u:x:r"]`:               `appspec.yml:8:11: acls: got a default entry for the file '/a/index.html', want it for folders only: type: [directory]`,
		`HEADpermissions:;  - object: /a;    acls: ["u:x:q"]`:                                                                              `appspec.yml:5:12: acls: got 'u:x:q', want permissions of r, w, x and -, or one octal digit`,
		`HEADpermissions:;  - object: /a;    context: {type: t, range: s1-s0}`:                                                             `appspec.yml:5:31: range: got 's1-s0', want an SELinux range such as s0, s0-s3 or s0-s3:c0.c3,c7`,
		`HEADx: !ruby/object:Gem::Installer {}`:                                                                                            `appspec.yml:3:4: got the tag '!ruby/object:Gem::Installer', want plain keys, lists and values: the agent makes no ruby/object:Gem::Installer` + "\n" + `appspec.yml:3:1: warning: unknown key 'x', want version, os, files, hooks, permissions or file_exists_behavior: the agent passes over it`,
		`HEADx: 2024-01-02`:                                                                                                                `appspec.yml:3:4: got '2024-01-02', which YAML takes for a date; want it in quotes, as the agent does not load it` + "\n" + `appspec.yml:3:1: warning: unknown key 'x', want version, os, files, hooks, permissions or file_exists_behavior: the agent passes over it`,
		"HEAD# \x1b[31m":                                                                                                                   `appspec.yml:3:3: got the control character "\x1b", want a text file in UTF-8`,
		"HEAD# \xe9":                                                                                                                       `appspec.yml:3:3: got bytes that are not UTF-8, want a text file in UTF-8`,
		"\ufeffHEAD":                                                                                                                       `appspec.yml: os is missing, want linux` + "\n" + `appspec.yml:1:1: warning: got a byte order mark, want a file without: it moves the line by a column` + "\n" + `appspec.yml:2:1: warning: the document ends here, and the agent reads nothing after it; want one document whose keys all begin in column 2`,
		"  version: 0.0;  os: linux;hooks:;  Nonsense:;    - location: gone.sh":                                                            `appspec.yml:3:1: warning: the document ends here, and the agent reads nothing after it; want one document whose keys all begin in column 3`,
		`HEADfiles:;  - source: /gone;    destination: /a;hooks:;  AfterInstall:;    - location: gone.sh`: `appspec.yml:4:13: source '/gone' does not exist in the folder` + "\n" + `appspec.yml:8:17: location 'gone.sh' does not exist in the folder`,
		"HEADfiles:;  - source: \"\\e[2J日本\";    destination: /a":                                         `appspec.yml:4:13: source "\x1b[2J日本" does not exist in the folder`,
	} {
		t.Run(text, func(t *testing.T) {
			appSpec := strings.ReplaceAll(strings.Replace(text, "HEAD", head, 1), ";", "\n")
			assert.Equal(t, sortedLines(want), sortedLines(said(t, write(t, sample(appSpec)), nil)))
		})
	}
}

func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func said(t *testing.T, folder string, excluded func(string) bool) string {
	t.Helper()
	result, err := Check(folder, excluded)
	require.NoError(t, err)
	var lines []string
	for i, p := range result.Problems {
		if i > 0 {
			before := result.Problems[i-1]
			assert.False(t, p.Line < before.Line || p.Line == before.Line && p.Column < before.Column, "not in order of place: %v", result.Problems)
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// TestS13_whatTheFolderHas is about one script or source, and what is there in its place.
//
//fault:whole a script is missing, ends its lines with CR LF, is a link out of the folder, or has a name that a shell changes | refused with its place before anything is sent
func TestS13_whatTheFolderHas(t *testing.T) {
	const one = head + "files:\n  - source: %s\n    destination: /srv/app\n"
	const hook = head + "hooks:\n  AfterInstall:\n    - location: %s\n"
	long := strings.Repeat("n", 300)
	for name, c := range map[string]struct {
		appSpec string
		more    map[string]string
		want    string
	}{
		"a source outside":                {fmt.Sprintf(one, "../outside"), nil, "appspec.yml:4:13: source '../outside' leaves the folder"},
		"a source outside by a detour":    {fmt.Sprintf(one, "scripts/../../outside"), nil, "appspec.yml:4:13: source 'scripts/../../outside' leaves the folder"},
		"a source inside by a detour":     {fmt.Sprintf(one, "scripts/../index.html"), nil, ""},
		"a source of the host's own":      {fmt.Sprintf(one, "/etc/hostname"), nil, "appspec.yml:4:13: source '/etc/hostname' does not exist in the folder"},
		"a file as a folder":              {fmt.Sprintf(one, "index.html/"), nil, "appspec.yml:4:13: source 'index.html/' does not exist in the folder"},
		"a name that is too long":         {fmt.Sprintf(one, long), nil, "appspec.yml:4:13: source '" + long[:100] + "…' does not exist in the folder"},
		"a link out of the folder":        {fmt.Sprintf(one, "link"), map[string]string{"link": "-> ../outside"}, "appspec.yml:4:13: warning: source 'link' is a link that leaves the folder: an instance gets the link to '../outside', or the folder that it has there"},
		"a link to nothing":               {fmt.Sprintf(one, "link"), map[string]string{"link": "-> gone"}, "appspec.yml:4:13: warning: source 'link' is a link to 'gone', which does not exist: an instance gets the link"},
		"a link to itself":                {fmt.Sprintf(one, "link"), map[string]string{"link": "-> link"}, "appspec.yml:4:13: warning: source 'link' is a link to 'link', which does not exist: an instance gets the link"},
		"a link inside":                   {fmt.Sprintf(one, "link"), map[string]string{"link": "-> scripts/../index.html"}, ""},
		"a script behind a folder's link": {fmt.Sprintf(hook, "link/start.sh"), map[string]string{"link": "-> scripts"}, ""},
		"a script that is a link":         {fmt.Sprintf(hook, "link"), map[string]string{"link": "-> scripts/start.sh"}, ""},
		"a link to what is not executable": {fmt.Sprintf(hook, "link"), map[string]string{"link": "-> scripts/plain.sh"},
			"appspec.yml:5:17: location 'link' is a link to a file that is not executable: the agent changes only the link; want chmod +x scripts/plain.sh"},
		"a script of the system": {fmt.Sprintf(hook, "link"), map[string]string{"link": "-> /bin/true"},
			"appspec.yml:5:17: warning: location 'link' is a link that leaves the folder: it needs '/bin/true' on each instance"},
		"a script of this host": {fmt.Sprintf(hook, "link"), map[string]string{"link": "-> /builds/start.sh"},
			"appspec.yml:5:17: location 'link' is a link that leaves the folder, to '/builds/start.sh'"},
		"a script outside":           {fmt.Sprintf(hook, "../start.sh"), nil, "appspec.yml:5:17: location '../start.sh' leaves the folder"},
		"a name for the shell":       {fmt.Sprintf(hook, "a$b.sh"), map[string]string{"a$b.sh": "#!/bin/sh\n"}, "appspec.yml:5:17: location 'a$b.sh' has '$', and the agent hands it to a shell as it is"},
		"a name the shell leaves":    {fmt.Sprintf(hook, "a~b#c=d{e,f}.sh"), map[string]string{"a~b#c=d{e,f}.sh": "#!/bin/sh\n"}, ""},
		"a name that is a pattern":   {fmt.Sprintf(hook, "'a[1]*.sh'"), map[string]string{"a[1]*.sh": "#!/bin/sh\n"}, "appspec.yml:5:17: warning: location 'a[1]*.sh' has '[', for which a shell may find another file"},
		"a name for the user's bash": {fmt.Sprintf(hook, "'{a,b}.sh'\n      runas: root"), map[string]string{"{a,b}.sh": "#!/bin/sh\n"}, "appspec.yml:5:17: location '{a,b}.sh' has '{', and the agent hands it to a shell as it is"},
		"CR LF behind #!":            {fmt.Sprintf(hook, "crlf.sh"), map[string]string{"crlf.sh": "#!/bin/sh\r\necho\r\n"}, `appspec.yml:5:17: location 'crlf.sh' has lines that end with CR LF, want LF: Linux looks for the interpreter "/bin/sh\r"`},
		"CR LF behind #!…env":        {fmt.Sprintf(hook, "crlf.sh"), map[string]string{"crlf.sh": "#!/usr/bin/env bash\r\n"}, `appspec.yml:5:17: location 'crlf.sh' has lines that end with CR LF, want LF: Linux looks for the interpreter "/usr/bin/env bash\r"`},
		"CR LF behind #!…perl -w":    {fmt.Sprintf(hook, "crlf.pl"), map[string]string{"crlf.pl": "#!/usr/bin/perl -w\r\n"}, "appspec.yml:5:17: warning: location 'crlf.pl' has lines that end with CR LF, want LF: a shell takes the CR for a part of each word"},
		"CR LF without #!":           {fmt.Sprintf(hook, "crlf.sh"), map[string]string{"crlf.sh": "echo\r\n"}, "appspec.yml:5:17: warning: location 'crlf.sh' has lines that end with CR LF, want LF: a shell takes the CR for a part of each word"},
		"an empty script":            {fmt.Sprintf(hook, "empty"), map[string]string{"empty": ""}, ""},
		"a folder of links in a ring": {fmt.Sprintf(one, "/"), map[string]string{"scripts/up": "-> ..", "scripts/self": "-> ."}, "appspec.yml:4:13: warning: 'scripts/self' is a link to a folder that it is in: the agent copies that 40 times into itself\n" +
			"appspec.yml:4:13: warning: 'scripts/up' is a link to a folder that it is in: the agent copies that 40 times into itself"},
		"a mode for a link to nothing": {fmt.Sprintf(one, "/") + "permissions:\n  - object: /srv/app\n    mode: 755\n", map[string]string{"link": "-> gone"},
			"appspec.yml:7:5: permissions of '/srv/app/link': it is a link to '/srv/app/gone', which files does not install; want it in except"},
		"a mode for a link to a file": {fmt.Sprintf(one, "/") + "permissions:\n  - object: /srv/app\n    mode: 755\n", map[string]string{"link": "-> index.html"}, ""},
		"a mode for all but a link":   {fmt.Sprintf(one, "/") + "permissions:\n  - object: /srv/app\n    mode: 755\n    except: [l*k]\n", map[string]string{"link": "-> gone"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := sample(c.appSpec)
			for name, text := range c.more {
				files[name] = text
			}
			assert.Equal(t, c.want, said(t, write(t, files), nil))
		})
	}
}

// TestS13_linksThatMakeVeryManyFoldersEnd: each of these folders has links to all others, which is millions of paths.
func TestS13_linksThatMakeVeryManyFoldersEnd(t *testing.T) {
	defer func(before int) { maxInstalled = before }(maxInstalled)
	maxInstalled = 500
	files := sample(head + "files:\n  - source: /\n    destination: /srv\n")
	for from := range 10 {
		for to := range 10 {
			files[fmt.Sprintf("%d/to%d", from, to)] = fmt.Sprintf("-> ../%d", to)
		}
	}
	assert.Contains(t, said(t, write(t, files), nil), "the agent makes more than 500 files and folders of it, perhaps through links to folders; what comes after them is not checked")
}

//fault:whole a file that is installed has a name that is not UTF-8 | refused by its name before anything is sent
func TestS13_aNameThatIsNotUTF8IsRefusedWhereItIsInstalled(t *testing.T) {
	folder := write(t, sample(head+"files:\n  - source: scripts\n    destination: /srv\n"))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "caf\xe9"), nil, 0o644))
	assert.Empty(t, said(t, folder, nil))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "scripts/caf\xe9"), nil, 0o644))
	assert.Equal(t, `appspec.yml:4:13: "/srv/caf\xe9" is not UTF-8, want another name: the agent cannot write it down`, said(t, folder, nil))
}

func TestS13_whichFileIsTheAppSpecFile(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		file  string
		want  string
	}{
		"none":               {map[string]string{"index.html": ""}, "appspec.yml", "appspec.yml: no appspec.yml at the root of the folder"},
		"another case":       {map[string]string{"AppSpec.yml": head}, "appspec.yml", "appspec.yml: no appspec.yml at the root of the folder ('AppSpec.yml' is there: rename it)"},
		"the other name":     {map[string]string{"appspec.yaml": head}, "appspec.yaml", "appspec.yaml: got appspec.yaml, want the name appspec.yml: the agent runs no hook without it"},
		"both names":         {map[string]string{"appspec.yaml": "- x", "appspec.yml": head}, "appspec.yml", ""},
		"a folder":           {map[string]string{"appspec.yml/x": ""}, "appspec.yml", "appspec.yml: got something that is no file, want the AppSpec file"},
		"a link":             {map[string]string{"appspec.yml": "-> deploy/x.yml", "deploy/x.yml": head}, "appspec.yml", ""},
		"a link to nothing":  {map[string]string{"appspec.yml": "-> deploy/x.yml"}, "appspec.yml", "appspec.yml: got a link to 'deploy/x.yml', which does not exist"},
		"a link outside":     {map[string]string{"appspec.yml": "-> ../x.yml"}, "appspec.yml", "appspec.yml: got a link to '../x.yml', want a file in the folder: an instance has nothing there"},
		"in the only folder": {map[string]string{"build/appspec.yml": head + "hooks: {AfterInstall: [{location: a.sh}]}\n", "build/a.sh": "#!/bin/sh\n"}, "build/appspec.yml", ""},
		"in one of two":      {map[string]string{"build/appspec.yml": head, "x/": ""}, "appspec.yml", "appspec.yml: no appspec.yml at the root of the folder"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := write(t, c.files)
			result, err := Check(folder, nil)
			require.NoError(t, err)
			assert.Equal(t, c.file, result.File)
			assert.Equal(t, c.want, said(t, folder, nil))
		})
	}
	_, err := Check(filepath.Join(t.TempDir(), "gone"), nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err = Check(file, nil)
	assert.EqualError(t, err, file+" is a file, want a folder")
}

//fault:whole --exclude leaves out what the AppSpec file needs | refused by its name
func TestS13_whatIsExcludedIsMissing(t *testing.T) {
	folder := write(t, sample(head+"files:\n  - source: index.html\n    destination: /srv\nhooks:\n  AfterInstall:\n    - location: scripts/start.sh\n"))
	for excluded, want := range map[string]string{
		"notes.txt":   "",
		"scripts":     "appspec.yml:8:17: location 'scripts/start.sh' is needed, but it is excluded",
		"index.html":  "appspec.yml:4:13: source 'index.html' is needed, but it is excluded",
		"appspec.yml": "appspec.yml: the AppSpec file is needed, but it is excluded",
	} {
		assert.Equal(t, want, said(t, folder, func(path string) bool { return path == excluded }), excluded)
	}
}

// TestS13_aUserThatCannotReachTheScript: the folder's own mode travels as that of "./".
//
//fault:whole runas names a user who cannot reach or run the script | refused with the mode that is in the way
func TestS13_aUserThatCannotReachTheScript(t *testing.T) {
	for name, c := range map[string]struct {
		runas, path string
		mode        os.FileMode
		want        string
	}{
		"the folder, for a user":       {"deploy", ".", 0o700, "appspec.yml:5:17: runas: 'deploy' cannot reach 'scripts/start.sh': the folder '.' has mode 0700, want 0755"},
		"the folder, for root":         {"root", ".", 0o700, ""},
		"the folder, for nobody named": {"", ".", 0o700, ""},
		"a folder inside":              {"deploy", "scripts", 0o750, "appspec.yml:5:17: runas: 'deploy' cannot reach 'scripts/start.sh': the folder 'scripts' has mode 0750, want 0755"},
		"the script":                   {"deploy", "scripts/start.sh", 0o744, "appspec.yml:5:17: runas: 'deploy' cannot run 'scripts/start.sh': it has mode 0744, want 0755"},
		"a script nobody may execute":  {"deploy", "scripts/start.sh", 0o644, ""},
		"a script nobody may read":     {"deploy", "scripts/start.sh", 0o600, "appspec.yml:5:17: runas: 'deploy' cannot run 'scripts/start.sh': it has mode 0600, want 0755"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := write(t, sample(head+"hooks:\n  AfterInstall:\n    - location: scripts/start.sh\n      runas: "+c.runas+"\n"))
			require.NoError(t, os.Chmod(filepath.Join(folder, c.path), c.mode))
			assert.Equal(t, c.want, said(t, folder, nil))
		})
	}
}

// TestS13_theSameFileInEveryForm: indentation, quotes, comments and ends of lines change nothing in what is read, and where.
func TestS13_theSameFileInEveryForm(t *testing.T) {
	folder := write(t, sample(""))
	for _, base := range []string{"", "  "} {
		for _, list := range []string{"", " ", "    "} {
			for _, quote := range []string{"", `"`, "'"} {
				for _, comment := range []string{"", ` # see: "here"`} {
					for _, end := range []string{"\n", "\r\n", "\r"} {
						gap := list
						if gap == "" {
							gap = "  "
						}
						lines := []string{
							"# top", "",
							base + "version: 0.0" + comment,
							base + "os: " + quote + "linux" + quote + comment,
							base + "files:" + comment,
							base + list + "- source: " + quote + "gone one.txt" + quote + comment,
							"",
							base + list + "  destination: /srv",
							base + list + "-" + gap + "destination: /srv",
							base + list + " " + gap + "source:   " + quote + "/gone/two" + quote + comment,
							base + "hooks:" + comment,
							base + "  AfterInstall:" + comment,
							base + "  " + list + "- timeout: 5",
							base + "  " + list + "  " + quote + "location" + quote + ": " + quote + "gone#3.sh" + quote + comment,
						}
						text := strings.Join(lines, end)
						require.NoError(t, os.WriteFile(filepath.Join(folder, "appspec.yml"), []byte(text), 0o644))
						column := func(n int, of string) int { return strings.Index(lines[n-1], of) + 1 }
						assert.Equal(t, fmt.Sprintf("appspec.yml:6:%d: source 'gone one.txt' does not exist in the folder\n"+
							"appspec.yml:10:%d: source '/gone/two' does not exist in the folder\n"+
							"appspec.yml:14:%d: location 'gone#3.sh' does not exist in the folder",
							column(6, quote+"gone"), column(10, quote+"/gone"), column(14, quote+"gone")), said(t, folder, nil), "%q", text)
					}
				}
			}
		}
	}
}

// FuzzAppSpec looks for files that make the check panic, hang, or say something that is not of the one form.
func FuzzAppSpec(f *testing.F) {
	for _, text := range []string{head, "", "---\n...\n", "a: [b, {c: d}]", "<<: [{a: 1}, *b]", "\ufeff" + head, "? a\n: b", "hooks: {AfterInstall: [{location: \"scripts/start.sh\", timeout: 1:30}]}",
		head + "permissions:\n  - object: /\n    acls: [\"d:u:x:7\"]\n    context: {type: t, range: \"s0:c1.c3\"}\n", "Resources: [{a: {Type: AWS::Lambda::Function, Properties: {Name: x}}}]"} {
		f.Add([]byte(text))
	}
	folder := f.TempDir()
	require.NoError(f, os.MkdirAll(filepath.Join(folder, "scripts"), 0o755))
	require.NoError(f, os.WriteFile(filepath.Join(folder, "scripts/start.sh"), []byte("#!/bin/sh\n"), 0o755))
	f.Fuzz(func(t *testing.T, text []byte) {
		// A process of its own for each worker, and one at a time in it.
		require.NoError(t, os.WriteFile(filepath.Join(folder, "appspec.yml"), text, 0o644))
		result, err := Check(folder, nil)
		require.NoError(t, err)
		for i, p := range result.Problems {
			require.True(t, strings.HasPrefix(p.String(), "appspec.yml"), "%s", p)
			require.NotContains(t, p.String(), "\n")
			require.NotContains(t, p.String(), "\x1b")
			require.False(t, p.Line < 0 || p.Line > 0 && p.Column < 1 || p.Line > 2+strings.Count(string(text), "\n")+strings.Count(string(text), "\r")+4*len(text), "%s", p)
			require.False(t, i > 0 && p == result.Problems[i-1], "the same problem twice: %s", p)
		}
	})
}
