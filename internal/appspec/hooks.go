package appspec

import (
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// events are the lifecycle events of a deployment to servers. The agent refuses others.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html
var events = []string{
	"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop", "DownloadBundle", "BeforeInstall", "Install",
	"AfterInstall", "ApplicationStart", "ValidateService", "BeforeAllowTraffic", "AfterAllowTraffic",
}

var (
	// nextTime are the events for which the agent runs the scripts of the revision before (hook_executor.rb): what is
	// wrong with them fails the deployment after this one.
	nextTime = []string{"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"}
	// never are the events that the agent keeps to itself.
	never = []string{"DownloadBundle", "Install"}
)

// Users whose shell is nologin on every system, and on most.
var (
	noShell          = []string{"nobody", "daemon", "bin"}
	noShellOfService = []string{"www-data", "nginx", "apache", "tomcat"}
)

// eventTime is what CodeDeploy gives all scripts of one event together, in seconds.
const eventTime = 3600

func (s *server) checkHooks(hooks *value) error {
	if hooks.falsy() || hooks.kind == refused {
		return nil
	}
	if hooks.kind != mapping {
		s.refuse(hooks, "hooks: got %s, want lifecycle events such as AfterInstall:, each with a list of scripts", hooks)
		return nil
	}
	for _, e := range hooks.entries {
		// The agent passes over an event without scripts, whatever its name.
		if e.value.falsy() || e.key.kind == refused {
			continue
		}
		if !slices.Contains(events, e.key.text) || e.key.kind != text {
			s.refuse(e.key, "unknown lifecycle event %s, want %s", quote(e.key.text), oneOf(runnable()))
		}
		if err := s.checkEvent(e.key.text, e.key, e.value); err != nil {
			return err
		}
	}
	return nil
}

func runnable() []string {
	return slices.DeleteFunc(slices.Clone(events), func(event string) bool { return slices.Contains(never, event) })
}

func oneOf(words []string) string {
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func (s *server) checkEvent(event string, key, scripts *value) error {
	if scripts.kind == refused {
		return nil
	}
	list, ok := s.elementsOf(scripts, event)
	if !ok {
		s.refuse(scripts, "%s: got %s, want a list of scripts, each beginning with '- location:'", event, scripts)
		return nil
	}
	if slices.Contains(never, event) && len(list) > 0 {
		s.warn(key, "%s: the agent runs no scripts for this event; want %s", event, oneOf(runnable()))
	}
	seconds := 0.0
	for _, script := range list {
		if script.kind == refused {
			continue
		}
		if script.kind != mapping {
			s.refuse(script, "%s: got %s, want a script that begins with '- location:'", event, script)
			continue
		}
		s.known(script, "a script of "+event, "location", "timeout", "runas", "sudo")
		seconds += s.checkTimeout(event, script.get("timeout"))
		if err := s.checkScript(event, script); err != nil {
			return err
		}
	}
	if seconds > eventTime {
		s.warn(key, "%s: the timeouts of its scripts are %.0f seconds together, and CodeDeploy ends the event after %d",
			event, seconds, eventTime)
	}
	return nil
}

var leadingNumber = regexp.MustCompile(`^\s*[-+]?\d+(_\d+)*`)

// checkTimeout reads a time-out as Ruby's to_i does, which takes the digits that a text begins with.
func (s *server) checkTimeout(event string, timeout *value) (seconds float64) {
	if timeout.falsy() || timeout.kind == refused {
		return 0
	}
	switch timeout.kind {
	case integer, float:
		seconds = math.Trunc(timeout.number)
	case text:
		digits := strings.TrimSpace(strings.ReplaceAll(leadingNumber.FindString(timeout.text), "_", ""))
		seconds, _ = strconv.ParseFloat(digits, 64)
	}
	if !(seconds > 0) || timeout.kind == float && math.IsInf(seconds, 0) {
		s.refuse(timeout, "timeout of %s: got %s, want a number of seconds above 0", event, timeout)
		return 0
	}
	if timeout.written != fmt.Sprintf("%.0f", seconds) {
		s.warn(timeout, "timeout of %s: got %s, which is %.0f seconds for the agent; want a plain number of seconds",
			event, quote(timeout.written), seconds)
	}
	return seconds
}

// checkScript looks at a script as hook_executor.rb does before and while it starts it.
func (s *server) checkScript(event string, script *value) error {
	location := script.get("location")
	if location.missing() {
		s.refuse(script, "a script of %s without location", event)
		return nil
	}
	if location.kind == refused {
		return nil
	}
	name := strip(location.text)
	if name == "" {
		s.refuse(location, "location of %s: got nothing, want the path of a script in the folder", event)
		return nil
	}
	if slices.Contains(never, event) {
		return nil
	}
	fails := func(at *value, format string, args ...any) {
		if slices.Contains(nextTime, event) {
			s.warn(at, format+" (CodeDeploy runs it in the deployment after this one, which fails)", args...)
			return
		}
		s.refuse(at, format, args...)
	}
	user := ""
	if runas := script.get("runas"); !runas.missing() && runas.kind != refused {
		// What stands before or behind the name is for su: an option, or what the shell gets.
		user = strip(runas.text)
		if name, _, _ := strings.Cut(strings.TrimPrefix(user, "- "), " "); runas.kind != text && runas.kind != symbol || name != "" && !isName(name) {
			fails(runas, "runas: got %s, want the name of a user", runas)
		} else if slices.Contains(noShell, name) {
			fails(runas, "runas: got %s, want a user with a shell: su runs nothing for this one", runas)
		} else if slices.Contains(noShellOfService, name) {
			s.warn(runas, "runas: got %s, which has no shell on most systems: su runs nothing then", runas)
		}
	}
	if sudo := script.get("sudo"); sudo != nil && !sudo.falsy() && sudo.kind != boolean && sudo.kind != refused {
		s.warn(sudo, "sudo: got %s, want true or false: the agent takes it for true", sudo)
	}
	if (location.kind == integer || location.kind == float) && location.text != location.written {
		s.warn(location, "location: got %s; want it in quotes", location)
	}

	found, err := s.bundle.find(s.slashes(name))
	if err != nil {
		return err
	}
	switch {
	case strings.Contains(name, "\x00"):
		fails(location, "location: got %s, want a path without a NUL", quote(name))
	case found.excluded:
		fails(location, "location %s is needed, but it is excluded", quote(name))
	case found.outside != "" && found.outside != name && systemPath.MatchString(found.outside):
		s.warn(location, "location %s is a link that leaves the folder: it needs %s on each instance", quote(name), quote(found.outside))
	case found.outside != "" && found.outside != name:
		fails(location, "location %s is a link that leaves the folder, to %s", quote(name), quote(found.outside))
	case found.outside != "":
		fails(location, "location %s leaves the folder", quote(name))
	case !found.exists():
		fails(location, "location %s does not exist in the folder", quote(name))
	case !found.info.Mode().IsRegular():
		fails(location, "location %s is not a file", quote(name))
	case s.windows:
	case mangled(name, user) != "":
		fails(location, "location %s has %s, and the agent hands it to a shell as it is", quote(name), mangled(name, user))
	default:
		if found := strings.IndexAny(name, "*?["); found >= 0 {
			s.warn(location, "location %s has %s, for which a shell may find another file", quote(name), quote(name[found:found+1]))
		}
		return s.checkExecutable(fails, location, found, user)
	}
	return nil
}

// systemPath is what an instance has of its own.
var systemPath = regexp.MustCompile(`^/(bin|sbin|usr|lib|lib64|etc|opt)/`)

var (
	// split is where Ruby or the shell ends the name of the command.
	split = regexp.MustCompile("[ \t\n]")
	// changed is what a shell takes out of a word or replaces in it.
	changed = regexp.MustCompile("[<>()&|;'\"`]|\\\\.|\\$[A-Za-z0-9_@*#?$!({-]")
	// braces are for bash, which is what su starts for most users.
	braces = regexp.MustCompile(`\{[^{}]*(,|\.\.)[^{}]*\}`)
)

// mangled says what in the path of a script a shell does not leave as it is; "" for nothing.
func mangled(name, user string) string {
	switch {
	case split.MatchString(name):
		return "a space"
	case user != "" && braces.MatchString(name):
		return "'{'"
	}
	if found := changed.FindString(name); found != "" {
		return quote(found[:1])
	}
	return ""
}

// firstLines is enough of a script to find its interpreter and the ends of its lines.
const firstLines = 64 << 10

// checkExecutable: the agent makes a script executable when nobody may execute it, but does not follow a link to do so.
func (s *server) checkExecutable(fails func(*value, string, ...any), location *value, found spot, user string) error {
	name := quote(strip(location.text))
	mode := found.info.Mode().Perm()
	if mode&0o111 == 0 {
		if found.link != "" {
			fails(location, "location %s is a link to a file that is not executable: the agent changes only the link; want chmod +x %s", name, found.path)
			return nil
		}
		mode |= 0o111
	}
	start, err := s.bundle.start(found.path)
	if err != nil {
		return err
	}
	first, rest, _ := strings.Cut(start, "\n")
	interpreter, isScript := strings.CutPrefix(first, "#!")
	switch {
	case isScript && strings.HasSuffix(interpreter, "\r") && needsPlainEnd(interpreter):
		fails(location, "location %s has lines that end with CR LF, want LF: Linux looks for the interpreter %s", name, quote(strings.TrimSpace(strings.TrimSuffix(interpreter, "\r"))+"\r"))
	case strings.HasSuffix(first, "\r"), strings.Contains(rest, "\r\n"):
		s.warn(location, "location %s has lines that end with CR LF, want LF: a shell takes the CR for a part of each word", name)
	}
	if user == "" || user == "root" || user == "- root" {
		return nil
	}
	for folder := path.Dir(found.path); ; folder = path.Dir(folder) {
		info, err := os.Stat(s.bundle.real(strings.TrimPrefix(folder, ".")))
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			fails(location, "runas: %s cannot reach %s: the folder %s has mode %04o, want %04o",
				quote(user), name, quote(path.Clean("./"+folder)), info.Mode().Perm(), info.Mode().Perm()|0o555)
		}
		if folder == "." {
			break
		}
	}
	if isScript = isScript || !strings.HasPrefix(start, "\x7fELF"); mode&0o001 == 0 || isScript && mode&0o004 == 0 {
		fails(location, "runas: %s cannot run %s: it has mode %04o, want %04o", quote(user), name, found.info.Mode().Perm(), found.info.Mode().Perm()|0o555)
	}
	return nil
}

// needsPlainEnd tells whether Linux, a shell or env fails for a CR at the end of "#!…"; perl and ruby with an option do not.
func needsPlainEnd(interpreter string) bool {
	program, argument, _ := strings.Cut(strings.TrimSpace(strings.TrimSuffix(interpreter, "\r")), " ")
	name := path.Base(program)
	return argument == "" || !(strings.HasPrefix(name, "perl") || strings.HasPrefix(name, "ruby"))
}

// start reads the first part of a file.
func (b *bundle) start(name string) (string, error) {
	f, err := os.Open(b.real(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, firstLines))
	return string(text), err
}
