//go:build unix

package machine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// System runs commands on this very host.
type System struct {
	// Root is where the host's files are, in a test; "" is "/". A command that is named by
	// its whole path is looked for there first.
	Root string
}

// Run implements [Runner]. When ctx ends, the command and all that it has started are
// asked to end, and killed ten seconds later: an interrupted operation leaves nothing
// behind that goes on by itself.
func (s System) Run(ctx context.Context, c Command) error {
	command := exec.CommandContext(ctx, s.program(c.Args[0]), c.Args[1:]...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	command.Dir, command.Stdin, command.Stdout, command.Stderr = c.Dir, c.Stdin, c.Stdout, c.Stderr
	if len(c.Env) > 0 {
		command.Env = append(os.Environ(), c.Env...)
	}
	err := command.Run()
	if command.Process != nil && ctx.Err() != nil {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // who ignored the request
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || ctx.Err() != nil {
		return err
	}
	status := exit.ExitCode()
	if how, is := exit.Sys().(syscall.WaitStatus); is && how.Signaled() {
		status = 128 + int(how.Signal()) // as a shell says it
	}
	return &ExitError{Command: c, Status: status}
}

func (s System) program(name string) string {
	if filepath.IsAbs(name) {
		if own := filepath.Join(s.Root, name); s.Root != "" && isFile(own) {
			return own
		}
	}
	return name
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Free is how many bytes can be written to the disk of a file or folder.
func (m *Machine) Free(name string) (int64, error) {
	if m.FreeBytes != nil {
		return m.FreeBytes(name)
	}
	var disk syscall.Statfs_t
	err := syscall.Statfs(m.Path(name), &disk)
	return int64(disk.Bavail) * int64(disk.Bsize), err // their types differ between systems
}
