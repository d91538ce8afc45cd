package childprocess

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Record is what a pid file holds. The start time tells the process from a
// later one that was given the same id.
type Record struct {
	PID     int    `json:"pid"`
	Started string `json:"started"`
	Command string `json:"command"` // for people
}

// Record describes the running child for a pid file.
func (p *Process) Record() (Record, error) {
	started, err := startTime(p.PID())
	if err != nil {
		return Record{}, err
	}
	return Record{PID: p.PID(), Started: started, Command: strings.Join(p.cmd.Args, " ")}, nil
}

// Write puts the record into a pid file.
func (r Record) Write(path string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// ReadRecord reads a pid file. Without the file, or with one that a crash left
// half written, there is no record (false).
func ReadRecord(path string) (Record, bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, err
	}
	var r Record
	if json.Unmarshal(text, &r) != nil || r.PID <= 1 {
		return Record{}, false, nil
	}
	return r, true, nil
}

// Alive says whether the recorded process, and not another one with its id, runs.
func (r Record) Alive() bool {
	started, err := startTime(r.PID)
	return err == nil && started == r.Started
}

// Stop ends the recorded process and its group, by force after grace. A
// process that is gone, or is not the recorded one, is left alone.
func (r Record) Stop(grace time.Duration) error {
	if !r.Alive() {
		return nil
	}
	signalGroup(r.PID, syscall.SIGTERM)
	if r.waitGone(grace) {
		return nil
	}
	signalGroup(r.PID, syscall.SIGKILL)
	if r.waitGone(5 * time.Second) {
		return nil
	}
	return fmt.Errorf("process %d (%s) does not end", r.PID, r.Command)
}

func (r Record) waitGone(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if !r.Alive() {
			return true
		}
	}
	return !r.Alive()
}

// startTime is the moment a process started, in the words of this system: clock
// ticks since boot where /proc exists (proc(5), field 22), else ps's "lstart".
func startTime(pid int) (string, error) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return startTimeFromPS(pid)
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	// The command name, field 2, may hold spaces and brackets: count from its end.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("process %d: cannot read its start time", pid)
	}
	if fields[0] == "Z" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return fields[19], nil
}

func startTimeFromPS(pid int) (string, error) {
	cmd := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid))
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	out, err := cmd.Output()
	if started := strings.TrimSpace(string(out)); err == nil && started != "" {
		return started, nil
	}
	return "", fmt.Errorf("process %d has ended", pid)
}
