//go:build unix

// Package scripts tests the shell scripts of this repository, on machines that lack
// something. Registries and packages are played by stubs; the gate itself is a set-up with
// the real ones.
package scripts

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// machine is where a script runs: PATH holds its own commands first, and, of what every
// system has, what it is given.
type machine struct {
	t     *testing.T
	dir   string   // for everything of the test
	stubs string   // its own commands
	env   []string // NAME=value
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	t.Parallel()
	m := &machine{t: t, dir: t.TempDir()}
	m.stubs = filepath.Join(m.dir, "stubs")
	require.NoError(t, os.Mkdir(m.stubs, 0o700))
	m.write("calls", "")
	m.env = []string{"HOME=" + m.dir, "TMPDIR=" + t.TempDir(), "CALLS=" + m.path("calls"), "STUBS=" + m.stubs, "PATH=" + m.stubs + ":" + os.Getenv("PATH")}
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) write(name, text string) {
	m.t.Helper()
	require.NoError(m.t, os.MkdirAll(filepath.Dir(m.path(name)), 0o755))
	require.NoError(m.t, os.WriteFile(m.path(name), []byte(text), 0o755))
}

func (m *machine) read(name string) string {
	m.t.Helper()
	text, err := os.ReadFile(m.path(name))
	require.NoError(m.t, err)
	return string(text)
}

func (m *machine) exists(name string) bool {
	_, err := os.Lstat(m.path(name))
	return err == nil
}

func (m *machine) remove(names ...string) {
	m.t.Helper()
	for _, name := range names {
		require.True(m.t, m.exists(name), name)
		require.NoError(m.t, os.RemoveAll(m.path(name)))
	}
}

// copy copies files of this repository below a folder, with their modes.
func (m *machine) copy(below string, names ...string) {
	m.t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(m.t, err)
		m.write(filepath.Join(below, name), string(text))
	}
}

// stub makes a command that records how it was called, and then runs a text of bash.
func (m *machine) stub(name, body string) {
	m.t.Helper()
	m.write("stubs/"+name, "#!/usr/bin/env bash\nprintf '%s\\n' \""+name+" $*\" >>\"$CALLS\"\n"+body+"\n")
}

// calls are those of stubs so far that begin with one of the words, or all of them.
func (m *machine) calls(beginnings ...string) (found []string) {
	m.t.Helper()
	for line := range strings.Lines(m.read("calls")) {
		line = strings.TrimSuffix(line, "\n")
		if len(beginnings) == 0 || slices.ContainsFunc(beginnings, func(begin string) bool { return strings.HasPrefix(line, begin) }) {
			found = append(found, line)
		}
	}
	return found
}

func (m *machine) forget() { m.write("calls", "") }

// ran is what a program has left.
type ran struct {
	status         int
	stdout, stderr string
}

// lines are those of an output.
func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

func last(text string) string { return lines(text)[len(lines(text))-1] }

// command is a program in a folder, with more for its environment. It leads a process group.
func (m *machine) command(dir string, env []string, args ...string) *exec.Cmd {
	command := exec.Command(args[0], args[1:]...)
	command.Dir, command.Env = dir, append(slices.Clone(m.env), env...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	m.t.Cleanup(func() {
		if command.Process != nil {
			_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		}
	})
	return command
}

// run runs a program to its end.
func (m *machine) run(dir string, env []string, args ...string) ran {
	m.t.Helper()
	command := m.command(dir, env, args...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(m.t, err)
	}
	return ran{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// until waits for something that comes at once, or never.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	assert.Eventually(t, done, 2*time.Minute, 20*time.Millisecond, what)
}

// isGone says whether there is no such process any more. One that nobody has waited for yet
// is gone, too.
func isGone(pid string) bool {
	pid = strings.TrimSpace(pid)
	status, err := os.ReadFile("/proc/" + pid + "/stat")
	if err == nil {
		return strings.Contains(string(status), ") Z ")
	}
	return exec.Command("kill", "-0", pid).Run() != nil
}
