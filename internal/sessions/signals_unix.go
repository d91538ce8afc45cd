//go:build unix

package sessions

import (
	"os"
	"syscall"
)

// typed are the signals of keys: the terminal sends them to the plug-in itself.
var typed = []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTSTP}

// passed are those that somebody sends to this program.
var passed = []os.Signal{syscall.SIGTERM, syscall.SIGHUP}

// exitStatus is a shell's: 128 and the signal that ended the program.
func exitStatus(state *os.ProcessState) int {
	if status, is := state.Sys().(syscall.WaitStatus); is && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}
