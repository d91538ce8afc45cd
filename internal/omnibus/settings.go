package omnibus

import (
	_ "embed"
	"regexp"
	"strings"
)

const (
	// Settings are ours: a file of their own, which gitlab.rb includes. A gitlab.rb that
	// came from another server is then never edited, but for that line.
	Settings = "/etc/gitlab/gitlab-codedeploy.rb"
	// MainSettings are GitLab's own.
	MainSettings = "/etc/gitlab/gitlab.rb"
	// SettingsMode is the mode of ours.
	SettingsMode = 0o600
	// IncludeLine includes ours.
	IncludeLine = "from_file '" + Settings + "'"
	// SettingsHeader is the first line of ours, by which they are known. Installed hosts
	// have it: it never changes.
	SettingsHeader = "# Written by gitlab-codedeploy (install-gitlab.sh)."
	// AddressPattern is what an address may be: it stands between quotes in Ruby.
	AddressPattern = `https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?`
)

//go:embed rb/settings.rb
var settings string

// SettingsText are our settings for an address, which has the form of AddressPattern.
func SettingsText(address string) string {
	return strings.Replace(settings, "https://gitlab.example.com", address, 1)
}

var (
	includes = regexp.MustCompile(`^\s*from_file[ (]+['"]` + regexp.QuoteMeta(Settings) + `['"]`)
	external = regexp.MustCompile(`(?m)^[ \t]*external_url[ (]*['"]([^'"\n]*)['"]`)
	saysNil  = regexp.MustCompile(`^\s*(#|$)`)
)

// Includes says whether a gitlab.rb includes our settings.
func Includes(main string) bool {
	for line := range strings.Lines(main) {
		if includes.MatchString(line) {
			return true
		}
	}
	return false
}

// WithInclude is a gitlab.rb that includes our settings at its end, and is otherwise as it
// was, but for a last line that is open.
func WithInclude(main string) string {
	if Includes(main) {
		return main
	}
	if main != "" && !strings.HasSuffix(main, "\n") {
		main += "\n"
	}
	return main + "\n" + IncludeLine + "\n"
}

// Follow says whether a gitlab.rb has settings after the line that includes ours. They win
// over ours, and 13.10.2 can fail for them: an included file's end takes away what fills
// in names that have no value yet.
func Follow(main string) bool {
	seen, after := false, false
	for line := range strings.Lines(main) {
		switch {
		case includes.MatchString(line):
			seen, after = true, false
		case seen && !saysNil.MatchString(line):
			after = true
		}
	}
	return after
}

// Address is what the settings in force name as the address that users see, "" if they name
// none: the last one wins, and ours come last.
func (g GitLab) Address() (string, error) {
	address := ""
	for _, file := range []string{MainSettings, Settings} {
		text, err := g.Machine.ReadFile(file)
		if err != nil {
			return "", err
		}
		if all := external.FindAllStringSubmatch(text, -1); all != nil && all[len(all)-1][1] != "" {
			address = all[len(all)-1][1]
		}
	}
	return address, nil
}
