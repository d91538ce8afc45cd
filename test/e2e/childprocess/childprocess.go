// Package childprocess runs the programs the emulator is made of and makes sure
// that none of them is left behind: each has a process group of its own, is
// stopped by its id, and its output goes to a file.
package childprocess

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Command is one program to run.
type Command struct {
	Args []string
	Dir  string
	Env  []string // the whole environment; nothing is inherited
	Log  string   // file that gets stdout and stderr, appended; required
	// ExtraFiles are open in the child as descriptors 3, 4, …
	ExtraFiles []*os.File
	// Detached lets the child outlive this program. Otherwise, on Linux, the
	// kernel ends it when this program dies without having stopped it.
	Detached bool
}

// Process is a running child.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // set before done is closed
}

// Start runs the command and returns at once.
func Start(c Command) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(c.Log), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.ExtraFiles = c.Dir, c.Env, c.ExtraFiles
	// Files, not pipes: Wait must not hang on a grandchild that keeps one open.
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes(c.Detached)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(c.Args[0]), err)
	}
	p := &Process{cmd: cmd, log: c.Log, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the child's process id, and its process group's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the child ended; nil for exit code 0. Call it after Done.
func (p *Process) Err() error { return p.err }

// Stop ends the child and everything it started: politely, and after grace by
// force. It returns when the child is gone; stopping twice is harmless.
func (p *Process) Stop(grace time.Duration) {
	signalGroup(p.PID(), syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
	}
	// Also when the child obeyed: what it started may not have.
	signalGroup(p.PID(), syscall.SIGKILL)
	<-p.done
}

// Run starts the command and waits for its end. When ctx ends first the whole
// process group is stopped. A failure is an *Error.
func Run(ctx context.Context, c Command) error {
	p, err := Start(c)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
		signalGroup(p.PID(), syscall.SIGKILL)
	case <-ctx.Done():
		p.Stop(3 * time.Second)
		return &Error{Command: c, Cause: context.Cause(ctx)}
	}
	if p.Err() != nil {
		return &Error{Command: c, Cause: p.Err()}
	}
	return nil
}

// Error is a command that did not succeed, with the place of its output.
type Error struct {
	Command Command
	Cause   error
}

func (e *Error) Error() string {
	name := filepath.Base(e.Command.Args[0])
	if errors.Is(e.Cause, context.DeadlineExceeded) {
		return name + " took too long and was stopped"
	}
	return fmt.Sprintf("%s failed: %v", name, e.Cause)
}

func (e *Error) Unwrap() error { return e.Cause }

// Tail returns the last lines of a log, without blank ones; empty when there is no log.
func Tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	var kept []string
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) != "" {
			kept = append(kept, strings.TrimRight(line, "\r\n"))
		}
	}
	return strings.Join(kept[max(0, len(kept)-lines):], "\n")
}

func signalGroup(pid int, signal syscall.Signal) {
	// "No such process" is the wished-for state, and there is nobody to tell otherwise.
	_ = syscall.Kill(-pid, signal)
}
