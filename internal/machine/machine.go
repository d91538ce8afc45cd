// Package machine is all that the hosts' program may touch of a host: its commands,
// its files, its disks, its locks. What is above it is plain Go, so that a test plays
// a host in milliseconds (package machinetest), and can kill the program at any step.
//
// Paths are those of the host, such as /etc/gitlab/gitlab.rb, and begin with "/".
package machine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Command is a program with what it is given.
type Command struct {
	// Args are the program and its arguments. Every user of the host can read them: a
	// secret goes through Stdin.
	Args []string
	// Env is added to the environment of this program, as NAME=value.
	Env []string
	// Dir is where it runs; "" is wherever this program runs.
	Dir string
	// Stdin is nothing if it is nil.
	Stdin io.Reader
	// Stdout and Stderr take what it prints. Of what has no taker, Run keeps the end.
	Stdout, Stderr io.Writer
	// Timeout is how long it may take; 0 is as long as the context.
	Timeout time.Duration
}

// Cmd is a command of a program and its arguments.
func Cmd(args ...string) Command { return Command{Args: args} }

// String is the command as a person would type it.
func (c Command) String() string { return strings.Join(c.Args, " ") }

// ExitError is a command that ran, and ended with another status than 0.
type ExitError struct {
	Command Command
	Status  int
	// Tail is the end of what it said: on stderr, or else on stdout.
	Tail string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s ended with %d: %s", e.Command, e.Status, cmp.Or(LastLine(e.Tail), "it said nothing"))
}

// Status is the exit status of a command that ran: 0 without an error, -1 if it
// did not run, or did not end by itself.
func Status(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Status
	}
	return -1
}

// Runner runs a command to its end. An *ExitError, without its Tail, says that it
// ran; any other error that it did not, or was stopped. Stdout and Stderr are set.
type Runner interface {
	Run(context.Context, Command) error
}

// Machine is a host.
type Machine struct {
	Runner Runner
	// Root is where the host's files are: "/", or the folder of a test.
	Root string
	// Log takes what people read of an operation. Required.
	Log io.Writer
	// Secrets are kept out of everything that Logged shows.
	Secrets []string
	// Web carries what Get asks; nil is the network.
	Web http.RoundTripper

	// Step is called before each change of the host, with words for it. Nil does
	// nothing; a test kills the program there.
	Step func(what string)
	// FreeBytes plays the disks of a test; nil asks the system.
	FreeBytes func(path string) (int64, error)
	// Owner plays the changes of owners in a test, whose users are not there; nil asks
	// the system.
	Owner func(path, user, group string) error
	// Volatile says that the files need not survive a power cut, as those of a test.
	Volatile bool
	// Architecture is the processor as "uname -m" says it.
	Architecture string
}

// Path is where a file of the host is for this program.
func (m *Machine) Path(name string) string { return filepath.Join(m.Root, name) }

// Say writes a line for people, with its time.
func (m *Machine) Say(format string, args ...any) {
	fmt.Fprintf(m.Log, "%s %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

// maxKept bounds what is kept of an output that nobody takes: its end.
const maxKept = 1 << 20

// Ask runs a command that changes nothing, and returns what it prints on stdout.
func (m *Machine) Ask(ctx context.Context, c Command) (string, error) {
	var out tail
	c.Stdout = &out
	err := m.run(ctx, c)
	return out.String(), err
}

// Do runs a command that changes the host.
func (m *Machine) Do(ctx context.Context, c Command) error {
	m.step(c.String())
	return m.run(ctx, c)
}

// Tell is Do for a command whose output on stdout is wanted.
func (m *Machine) Tell(ctx context.Context, c Command) (string, error) {
	m.step(c.String())
	return m.Ask(ctx, c)
}

func (m *Machine) run(ctx context.Context, c Command) error {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("%s: no end within %s", c, c.Timeout))
		defer cancel()
	}
	var stdout, stderr tail
	if c.Stdout == nil {
		c.Stdout = &stdout
	}
	if c.Stderr == nil {
		c.Stderr = &stderr
	} else {
		c.Stderr = io.MultiWriter(c.Stderr, &stderr)
	}
	err := m.Runner.Run(ctx, c)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return cause
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		said := cmp.Or(stderr.String(), stdout.String())
		if taken, is := c.Stdout.(*tail); is && said == "" {
			said = taken.String()
		}
		exit.Tail = m.redact(said)
	}
	return err
}

// ReadFile returns what is in a file; "" without an error if it is not there.
func (m *Machine) ReadFile(name string) (string, error) {
	content, err := os.ReadFile(m.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(content), err
}

// Exists says whether there is a file or folder, and not whether it can be read.
func (m *Machine) Exists(name string) bool {
	_, err := os.Lstat(m.Path(name))
	return err == nil
}

// WriteFile replaces a file as a whole: whoever reads it, or comes after a program that
// was killed, finds the old content or the new one. Folders above it are made.
func (m *Machine) WriteFile(name, content string, mode fs.FileMode) error {
	m.step("write " + name)
	path := m.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone when all went well
	_, err = io.WriteString(file, content)
	err = errors.Join(err, file.Chmod(mode), m.sync(file), file.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(file.Name(), path)
}

func (m *Machine) sync(file *os.File) error {
	if m.Volatile {
		return nil
	}
	return file.Sync()
}

// MakeFolder makes a folder and those above it.
func (m *Machine) MakeFolder(name string, mode fs.FileMode) error {
	m.step("make " + name)
	if err := os.MkdirAll(m.Path(name), mode); err != nil {
		return err
	}
	return os.Chmod(m.Path(name), mode) // whatever the umask is
}

// Remove removes a file, or a folder with all that is in it. It may be gone already.
func (m *Machine) Remove(name string) error {
	m.step("remove " + name)
	return os.RemoveAll(m.Path(name))
}

// Rename moves a file, or a folder, within a disk.
func (m *Machine) Rename(from, to string) error {
	m.step("rename " + from + " to " + to)
	return os.Rename(m.Path(from), m.Path(to))
}

// List returns the names in a folder, sorted; none if it is not there.
func (m *Machine) List(name string) ([]string, error) {
	entries, err := os.ReadDir(m.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

// Mode changes a file's mode.
func (m *Machine) Mode(name string, mode fs.FileMode) error {
	m.step(fmt.Sprintf("chmod %o %s", mode, name))
	return os.Chmod(m.Path(name), mode)
}

// System is what /etc/os-release says: ID, such as "amzn" or "debian", and
// VERSION_ID, such as "2" or "2023".
func (m *Machine) System() (id, version string) {
	text, _ := m.ReadFile("/etc/os-release")
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); name {
		case "ID":
			id = value
		case "VERSION_ID":
			version = value
		}
	}
	return id, version
}

// AmazonLinux is the release, "2" or "2023", or "" elsewhere.
func (m *Machine) AmazonLinux() string {
	id, version := m.System()
	if id != "amzn" {
		return ""
	}
	return version
}

// Wait looks every pause until done says yes or fails, and fails with why when the
// limit is over.
func Wait(ctx context.Context, limit, pause time.Duration, why string, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s within %s", why, limit))
	defer cancel()
	for {
		ready, err := done(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case ready || err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

func (m *Machine) step(what string) {
	if m.Step != nil {
		m.Step(what)
	}
}

// LastLine is the last line of a text that says something.
func LastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// tail keeps the end of what is written.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	n, err := t.Buffer.Write(p)
	if over := t.Len() - 2*maxKept; over > 0 {
		kept := slices.Clone(t.Bytes()[t.Len()-maxKept:])
		t.Reset()
		_, _ = t.Buffer.Write(kept)
	}
	return n, err
}
