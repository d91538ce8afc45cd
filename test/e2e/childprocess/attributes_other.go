//go:build unix && !linux

package childprocess

import "syscall"

func attributes(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true}
}

// DieWithParent does nothing here: only Linux can tie a process to its parent.
func DieWithParent() {}
