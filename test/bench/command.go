package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// command is a program that runs to its end.
type command struct {
	args []string
	dir  string
	env  []string // the whole environment
	// memory: look at it so often, which takes a processor a tenth of its time and more
	// at 50 ms. 0 is never.
	memory time.Duration
	// status is what it ends with, and says a part of what it prints. Without
	// them: 0, and anything.
	status int
	says   string
}

// usage is what a command took, with all the processes that it started.
type usage struct {
	wall time.Duration
	cpu  time.Duration // as the kernel adds it up for processes waited for
	peak float64       // bytes, where the memory is watched: see watchMemory
}

// commandLimit is far more than any command here needs.
const commandLimit = 15 * time.Minute

// run waits for the command's end.
func (c command) run(ctx context.Context) (usage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandLimit, fmt.Errorf("no end after %s", commandLimit))
	defer cancel()
	var output bytes.Buffer
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second // for what a command leaves behind, and its hold on the output
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return usage{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop, peak := make(chan struct{}), make(chan float64, 1)
	if c.memory > 0 {
		go func() { peak <- watchMemory(cmd.Process.Pid, c.memory, stop) }()
	} else {
		peak <- 0
	}

	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		// Politely: the upload script ends its own processes then.
		killGroup(cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
		}
		killGroup(cmd.Process.Pid, syscall.SIGKILL)
		err = context.Cause(ctx)
	}
	u := usage{wall: time.Since(began)}
	close(stop)
	u.peak = <-peak
	if state := cmd.ProcessState; c.status != 0 && state != nil && ctx.Err() == nil && state.Exited() {
		err = nil
		if state.ExitCode() != c.status {
			err = fmt.Errorf("exit status %d, want %d", state.ExitCode(), c.status)
		}
	}
	text := output.Bytes()
	if err == nil && !bytes.Contains(text, []byte(c.says)) {
		err = fmt.Errorf("did not do its work: want %q in what it prints", c.says)
	}
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", filepath.Base(c.args[0]), err, text[max(0, len(text)-2000):])
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return u, nil
}

// watchMemory returns the highest sum that it saw of the memory of a process
// and all below it, until stop is closed. A page that several of them share
// counts once (proportional set size); files that are cached do not count.
func watchMemory(root int, every time.Duration, stop <-chan struct{}) float64 {
	var peak float64
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		sum := 0.0
		for _, pid := range tree(root) {
			kib, err := procField(pid, "smaps_rollup", "Pss:")
			if err == nil { // else it has ended
				sum += kib * 1024
			}
		}
		peak = max(peak, sum)
		select {
		case <-stop:
			return peak
		case <-ticker.C:
		}
	}
}

// tree lists a process and all its descendants.
func tree(root int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// After the name, which may hold anything but ends with the last
		// bracket: state, parent, …
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		pid, err1 := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if len(fields) < 2 || err1 != nil {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}
