package packages

import (
	"regexp"
	"strings"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
)

// preinstall begins the lines in which GitLab's %pre says why it refuses. dnf indents them.
// omnibus-gitlab: config/templates/package-scripts/preinst.erb
var preinstall = regexp.MustCompile(`^gitlab preinstall: ?(.*)$`)

// maxReason is about what people read of a last line.
const maxReason = 700

// Reason is why a package was not installed, from what the package manager has said: the
// last lines of the package's own check, what failed in its reconfigure, or else the last
// line that names an error.
func Reason(said string) string {
	lines := strings.Split(strings.ReplaceAll(said, "\r", "\n"), "\n")
	if strings.Contains(said, "There was an error running gitlab-ctl reconfigure") {
		return omnibus.ReasonOfReconfigure(said)
	}
	var block []string // the last of such lines
	before, last := "", ""
	apart := true
	for _, line := range lines {
		line = strings.TrimSpace(line)
		found := preinstall.FindStringSubmatch(line)
		switch {
		case failedPre.MatchString(line):
			if len(block) == 0 { // GitLab's check of gitlab.rb says it without that beginning
				return last
			}
		case found == nil && line != "":
			last, apart = line, true
		case found != nil:
			if apart {
				block, apart, before = nil, false, last
			}
			if text := strings.TrimSpace(found[1]); text != "" && !onItsWay.MatchString(text) {
				block = append(block, text)
			}
		}
	}
	if reason := strings.Join(block, " "); reason != "" {
		// The advice to install without a backup is none, and what failed stands before it.
		if failed, advice, is := strings.Cut(reason, " backup failed!"); is && advice != "" {
			reason = failed + " backup failed: " + before
		}
		if len(reason) > maxReason {
			reason = strings.ToValidUTF8(reason[:maxReason], "") + " …"
		}
		return reason
	}
	for i := len(lines) - 1; i >= 0; i-- {
		if line := strings.TrimSpace(lines[i]); errorLine.MatchString(line) {
			return line
		}
	}
	return machine.LastLine(said)
}

var (
	// What %pre says when nothing is wrong.
	onItsWay = regexp.MustCompile(`^(Automatically backing up |Checking |This node does not appear to be running a database|Skipping version check)`)
	// How rpm, yum and dnf say that a package's own check has refused.
	failedPre = regexp.MustCompile(`%pre\S*( scriptlet)? failed|Error in PREIN scriptlet`)
	// yum and rpm say "error:" for what they refuse, dnf "Error:".
	errorLine = regexp.MustCompile(`^(?i:error(:| in | ))|^[Nn]o package .* available|is not signed|Public key for .* is not installed`)
)
