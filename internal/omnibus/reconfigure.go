package omnibus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine"
)

// Reconfigure brings GitLab to its settings. Its error tells the real reason of a failure,
// whose last line says nothing. env is added to its environment.
func (g GitLab) Reconfigure(ctx context.Context, limit time.Duration, env ...string) error {
	err := g.Machine.Logged(ctx, machine.Command{
		// The agent starts programs without HOME, and Chef wants one.
		Args: []string{control, "reconfigure"}, Env: append([]string{"HOME=/root"}, env...), Timeout: limit,
	})
	var exit *machine.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("gitlab-ctl reconfigure failed: %s", cmp.Or(ReasonOfReconfigure(exit.Tail), fmt.Sprintf("it ended with %d and said nothing", exit.Status)))
	}
	return err
}

// maxReason is about what people read of a last line.
const maxReason = 700

var (
	// What Chef's handler writes before the exception, on stderr, in all versions.
	// omnibus-gitlab: files/gitlab-cookbooks/package/libraries/handlers/gitlab.rb
	errorOfReconfigure = regexp.MustCompile(`There was an error running gitlab-ctl reconfigure:?`)
	// What a resource was, in front of why it failed; and how a command's output is told.
	failedCommand = regexp.MustCompile(`Mixlib::ShellOut::ShellCommandFailed: |Expected process to exit with \[0\], but received '\d+'`)
	outputBegins  = regexp.MustCompile(`^---- Begin output of `)
	outputEnds    = regexp.MustCompile(`^---- End output of `)
	outputName    = regexp.MustCompile(`^(STDOUT|STDERR): ?`)
	// Lines that tell no reason: a backtrace, what stands around it, a banner.
	noReason = regexp.MustCompile(`^(/opt/gitlab/\S+:\d+:in |\S+:\d+:in [` + "`" + `']|Tasks: TOP|\(See full trace|Caused by:$|rake aborted!$|==? |-- |[[:punct:]\s]*$)`)
)

// ReasonOfReconfigure reads why a reconfigure failed from what it said: what stands after
// "There was an error running gitlab-ctl reconfigure:", without the traces of where. It is
// the last line without such words, "" for nothing.
func ReasonOfReconfigure(said string) string {
	at := errorOfReconfigure.FindAllStringIndex(said, -1)
	if at == nil {
		return machine.LastLine(said)
	}
	var reason []string
	inOutput := false
	for line := range strings.Lines(said[at[len(at)-1][1]:]) {
		line = strings.TrimSpace(line)
		if outputEnds.MatchString(line) {
			break
		}
		if outputBegins.MatchString(line) {
			inOutput = true
			continue
		}
		if inOutput {
			line = outputName.ReplaceAllString(line, "")
		}
		line = strings.TrimSpace(failedCommand.ReplaceAllString(line, ""))
		if noReason.MatchString(line) || strings.HasPrefix(line, "Running handlers") {
			continue
		}
		reason = append(reason, line)
	}
	text := strings.Join(reason, "; ")
	if len(text) <= maxReason {
		return cmp.Or(text, machine.LastLine(said))
	}
	// The resource comes first, and the error of what it ran at the end.
	return strings.ToValidUTF8(text[:maxReason/2]+" … "+text[len(text)-maxReason/2:], "")
}
