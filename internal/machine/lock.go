//go:build unix

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// OperationLock is held by whatever changes a host; its first line says who. InstallLock
// is that of installations, which State Manager runs whenever they have changed.
const (
	OperationLock = "/run/gitlab-codedeploy.lock"
	InstallLock   = "/run/gitlab-codedeploy-install.lock"
)

// Held says that somebody else has a lock.
type Held struct{ By string }

func (h Held) Error() string { return h.By + " is under way on this host: nothing was done" }

// Lock is a lock that is held until it is released, or until this program ends. What
// this program starts does not inherit it.
type Lock struct{ file *os.File }

// Release lets others have it.
func (l *Lock) Release() { _ = l.file.Close() }

// Lock takes a lock at once, or fails with Held.
func (m *Machine) Lock(name, who string) (*Lock, error) {
	path := m.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		said, _ := io.ReadAll(io.LimitReader(file, 500))
		holder, _, _ := strings.Cut(string(said), "\n")
		if holder = strings.TrimSuffix(strings.TrimSpace(holder), ","); holder == "" {
			holder = "another operation"
		}
		return nil, Held{holder}
	}
	err = file.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(file, "%s, since %s,\n", who, time.Now().UTC().Format(time.RFC3339))
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return &Lock{file}, nil
}

// LockWithin takes a lock as soon as it is free, or fails with Held at the limit.
func (m *Machine) LockWithin(ctx context.Context, name, who string, limit time.Duration) (lock *Lock, err error) {
	var held error
	err = Wait(ctx, limit, time.Second, name+" is not free", func(context.Context) (bool, error) {
		lock, err = m.Lock(name, who)
		if held = nil; errors.As(err, new(Held)) {
			held = err
			return false, nil
		}
		return true, err
	})
	return lock, errors.Join(err, held)
}
