package childprocess

import "syscall"

func attributes(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	// Only the child itself gets this signal: it has to be one it can act on.
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// DieWithParent makes the kernel send this program SIGTERM when the program
// that started it (make, go run) is gone, so that its own cleaning up still
// happens. Call it on the main thread: the setting belongs to a thread.
func DieWithParent() {
	_, _, _ = syscall.Syscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0)
}
