package test

import (
	"errors"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// keepToOneProcessor keeps what this program becomes next, and all that it starts, to
// one processor. The CDK is another process behind a third one, and of the three one
// works at a time: each of a synthesis's thousands of calls takes half as long where
// nobody has to be woken on another processor.
// https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html
func keepToOneProcessor() error {
	runtime.LockOSThread() // execve(2) leaves nothing of the other threads
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	processor := 0
	for !allowed.IsSet(processor) {
		processor++
	}
	one.Set(processor)
	return unix.SchedSetaffinity(0, &one)
}

// startOnAnyProcessor starts what works on several processors.
func startOnAnyProcessor(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var one, all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &one); err != nil {
		return err
	}
	all.Fill()
	if err := unix.SchedSetaffinity(0, &all); err != nil {
		return err
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &one))
}
