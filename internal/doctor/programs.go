package doctor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"gitlab-codedeploy/internal/plain"
)

// programs are those of this machine that commands start.
func programs(ctx context.Context, l *look) []Finding {
	cli := filepath.Join(l.Root, "node_modules", ".bin", "cdk")
	return []Finding{
		l.program(ctx, "Go", "go", []string{"version"}, goVersion(l.Root), "install Go: https://go.dev/doc/install"),
		l.program(ctx, "Git", "git", []string{"--version"}, "2.0", "install Git: https://git-scm.com/downloads"),
		l.program(ctx, "Node.js", beside(cli, "node"), []string{"--version"}, "22.0", "make setup"),
		l.program(ctx, "CDK CLI", cli, []string{"--version"}, pinned(l.Root, "aws-cdk"), "make setup"),
		l.program(ctx, "session-manager-plugin", "session-manager-plugin", []string{"--version"}, "1.2.0",
			"install it; connect and forward need it: https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"),
	}
}

func beside(file, name string) string { return filepath.Join(filepath.Dir(file), name) }

var number = regexp.MustCompile(`[0-9]+(\.[0-9]+)+`)

// program looks whether a program is there, and not older than least.
func (l *look) program(ctx context.Context, name, program string, args []string, least, remedy string) Finding {
	path, err := l.Find(program)
	if err != nil {
		f := wrong(remedy, "%s is not installed", filepath.Base(program))
		f.Check = name
		return f
	}
	text, err := l.Output(ctx, path, args...)
	version := number.FindString(text)
	f := ok("%s", plain.Line(path+" "+version, 200))
	switch {
	case err != nil:
		f = wrong(remedy, "%s does not run: %s", plain.Line(path, 200), plain.Line(err.Error(), 200))
	case version == "":
		f = unchecked("%s tells no version: %s", plain.Line(path, 200), plain.Line(text, 100))
	case older(version, least):
		f = wrong(remedy, "%s is %s, want %s or later", plain.Line(path, 200), version, least)
	}
	f.Check = name
	return f
}

// older compares versions number by number.
func older(version, than string) bool {
	have, want := strings.Split(version, "."), strings.Split(than, ".")
	for i := range want {
		w, _ := strconv.Atoi(want[i])
		h := 0
		if i < len(have) {
			h, _ = strconv.Atoi(have[i])
		}
		if h != w {
			return h < w
		}
	}
	return false
}

// goVersion is what go.mod wants.
func goVersion(root string) string {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if wanted := regexp.MustCompile(`(?m)^go ([0-9.]+)$`).FindSubmatch(text); err == nil && wanted != nil {
		return string(wanted[1])
	}
	return "1.0"
}

// pinned is the version of a tool in package.json.
func pinned(root, tool string) string {
	text, err := os.ReadFile(filepath.Join(root, "package.json"))
	var file struct {
		DevDependencies map[string]string `json:"devDependencies"`
	}
	if err != nil || json.Unmarshal(text, &file) != nil || !number.MatchString(file.DevDependencies[tool]) {
		return "0.0"
	}
	return file.DevDependencies[tool]
}
