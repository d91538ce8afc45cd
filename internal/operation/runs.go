// Package operation lets what operators start run on by itself, whatever becomes of
// the session or the laptop that started it: as a systemd unit of this program, whose
// record is a folder.
//
//	SSM document ── --detach RUN ──▶ Start ── systemd-run ──▶ Supervise ──▶ the operation
//	                                   └─ /var/lib/gitlab-codedeploy/runs/RUN ◀──┘
//	SSM document ── follow ─────────▶ News ◀── log, result, how it ended
//
// A run's folder, readable by root only:
//
//	run.json   what runs, since when, and its unit
//	begun      made by the unit: it lives
//	log        what the operation says to people
//	result     what it prints for programs, once and at the end
//	end.json   its exit status. Written last: a run without one is under way, or was
//	           lost when its unit is not active
//
// The scripts that this program took the place of have left folders with a file for
// each of these facts. They are still shown.
package operation

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine"
)

// Folder is where the runs are.
const Folder = "/var/lib/gitlab-codedeploy/runs"

// kept is how many runs stay, the newest ones.
const kept = 50

// IDPattern is the form of a run's id, such as 20261124T185436-0a1b2c3d: it sorts by
// time, and cannot be guessed into another one's.
const IDPattern = `[0-9]{8}T[0-9]{6}-[0-9a-f]{8}`

var idForm = regexp.MustCompile(`^` + IDPattern + `$`)

// Nightly is the id of a run that nobody has made one for.
const Nightly = "nightly"

// Runs are the operations of a host.
type Runs struct {
	Machine *machine.Machine
	// Program is the path of this program, and Home and Path are the variables of that
	// name that operations get: Systems Manager's agent sets no HOME.
	Program, Home, Path string
}

// record is run.json.
type record struct {
	Operation string    `json:"operation"`
	Started   time.Time `json:"started"`
	Unit      string    `json:"unit"`
	// Command is what the unit runs. Arguments hold no secret.
	Command []string `json:"command"`
}

// ended is end.json.
type ended struct {
	Status int       `json:"status"`
	Ended  time.Time `json:"ended"`
}

// WrongID is an id that is none.
type WrongID struct{ ID string }

func (w WrongID) Error() string {
	return fmt.Sprintf("--detach: got %q, want the id of a run such as 20261124T185436-0a1b2c3d, or %s", w.ID, Nightly)
}

// Start starts this program with arguments as a unit of its own, and returns the run's
// id. A run that was started before is not started again: started is false.
func (r *Runs) Start(ctx context.Context, id, name string, arguments []string) (run string, started bool, err error) {
	if id == Nightly {
		id = newID(time.Now())
	}
	if !idForm.MatchString(id) {
		return "", false, WrongID{id}
	}
	// The names of units are unique, so that one that failed stands in nobody's way.
	unit := "gitlab-codedeploy-" + name + "-" + id
	claimed, err := r.claim(id, record{
		Operation: name, Started: time.Now().UTC().Truncate(time.Second), Unit: unit,
		Command: append([]string{r.Program}, arguments...),
	})
	if err != nil || !claimed {
		return id, false, err
	}
	if err := r.forget(ctx); err != nil {
		r.Machine.Say("warning: old runs stay: %v", err)
	}
	// systemd 219 has neither --wait nor --pipe: Supervise does what they would.
	err = r.Machine.Do(ctx, machine.Command{Args: []string{
		"systemd-run", "--unit", unit, "--description", "gitlab-codedeploy: " + name,
		"--setenv", "HOME=" + cmp.Or(r.Home, "/root"), "--setenv", "PATH=" + r.Path,
		r.Program, "supervise", id,
	}})
	if err != nil {
		err = fmt.Errorf("start the unit %s: %w", unit, err)
		return id, false, errors.Join(err, r.end(id, 1))
	}
	return id, true, nil
}

func newID(now time.Time) string {
	var mark [4]byte
	_, _ = rand.Read(mark[:]) // never fails: see crypto/rand
	return fmt.Sprintf("%s-%x", now.UTC().Format("20060102T150405"), mark)
}

// claim makes the folder of a run with all that it needs in one step, unless there is
// one: then the run was started before.
func (r *Runs) claim(id string, rec record) (bool, error) {
	text, err := json.Marshal(rec)
	if err != nil {
		return false, err
	}
	work := fmt.Sprintf("%s/.%s.%d", Folder, id, os.Getpid())
	err = errors.Join(
		r.Machine.MakeFolder(Folder, 0o700),
		r.Machine.Remove(work),
		r.Machine.MakeFolder(work, 0o700),
		r.Machine.WriteFile(work+"/log", "", 0o600),
		r.Machine.WriteFile(work+"/result", "", 0o600),
		r.Machine.WriteFile(work+"/run.json", string(text)+"\n", 0o600),
	)
	if err != nil {
		return false, fmt.Errorf("make the folder of run %s: %w", id, err)
	}
	// Renaming onto a folder that holds something fails.
	if err = r.Machine.Rename(work, r.folder(id)); err == nil {
		return true, nil
	}
	if r.Machine.Exists(r.folder(id)) {
		return false, r.Machine.Remove(work)
	}
	return false, fmt.Errorf("make the folder of run %s: %w", id, err)
}

// Supervise is the unit: it runs the operation, keeps what that prints, and notes how
// it ended. It is a process of its own, so that an operation that is killed has a
// status, too.
func (r *Runs) Supervise(ctx context.Context, id string) error {
	if !idForm.MatchString(id) {
		return WrongID{id}
	}
	text, err := r.Machine.ReadFile(r.folder(id) + "/run.json")
	if err != nil {
		return err
	}
	var rec record
	if err := json.Unmarshal([]byte(text), &rec); err != nil || len(rec.Command) == 0 {
		return fmt.Errorf("there is no run %s to supervise", id)
	}
	if err := r.Machine.WriteFile(r.folder(id)+"/begun", "", 0o600); err != nil {
		return err
	}
	status := 1
	result, err := os.OpenFile(r.Machine.Path(r.folder(id)+"/result"), os.O_WRONLY|os.O_TRUNC, 0)
	if err == nil {
		defer result.Close()
		var log *os.File
		if log, err = os.OpenFile(r.Machine.Path(r.folder(id)+"/log"), os.O_WRONLY|os.O_APPEND, 0); err == nil {
			defer log.Close()
			status = statusOf(r.Machine.Runner.Run(ctx, machine.Command{
				Args: append(rec.Command, "--run", id), Stdout: result, Stderr: log,
			}))
		}
	}
	return errors.Join(err, r.end(id, status))
}

// statusOf is the exit status of an operation, 1 if it could not be begun.
func statusOf(err error) int {
	if status := machine.Status(err); status >= 0 {
		return status
	}
	return 1
}

func (r *Runs) end(id string, status int) error {
	text, err := json.Marshal(ended{status, time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	return r.Machine.WriteFile(r.folder(id)+"/end.json", string(text)+"\n", 0o600)
}

func (r *Runs) folder(id string) string { return Folder + "/" + id }

// State is how a run is getting on.
type State string

// The states of a run.
const (
	Running State = "running"
	Ended   State = "ended"
	Lost    State = "lost" // it ended without a status: killed, or the host was restarted
	None    State = "none" // there is no such run
)

// Run is what is known of one.
type Run struct {
	ID        string
	Operation string
	Started   time.Time
	State     State
	Status    int // of an ended run

	unit  string
	begun bool
	made  time.Time // by the host's clock; ids carry that of laptops
}

// List returns all runs, the newest first.
func (r *Runs) List(ctx context.Context) ([]Run, error) {
	names, err := r.Machine.List(Folder)
	if err != nil {
		return nil, err
	}
	var runs []Run
	for _, name := range names {
		if !idForm.MatchString(name) {
			continue
		}
		run, err := r.read(name)
		if err != nil {
			continue // half of a folder, or none of ours
		}
		runs = append(runs, run)
	}
	slices.SortStableFunc(runs, func(a, b Run) int { return cmp.Or(b.made.Compare(a.made), cmp.Compare(b.ID, a.ID)) })
	for i := range runs {
		r.judge(ctx, &runs[i])
	}
	return runs, nil
}

// read reads what the folder of a run says.
func (r *Runs) read(id string) (run Run, err error) {
	run.ID = id
	read := func(name string) string {
		text, failed := r.Machine.ReadFile(r.folder(id) + "/" + name)
		err = errors.Join(err, failed)
		return strings.TrimSpace(text)
	}
	file := "/run.json"
	if text := read("run.json"); text != "" {
		var rec record
		err = errors.Join(err, json.Unmarshal([]byte(text), &rec))
		run.Operation, run.Started, run.unit = rec.Operation, rec.Started, rec.Unit
		run.begun = r.Machine.Exists(r.folder(id) + "/begun")
	} else { // of the scripts
		file = "/started"
		run.Operation, run.unit = read("operation"), read("unit")
		run.begun = run.unit != ""
		started, failed := time.Parse(time.RFC3339, read("started"))
		run.Started, err = started, errors.Join(err, failed)
	}
	if run.Operation == "" {
		return run, fmt.Errorf("run %s has no operation", id)
	}
	info, failed := os.Stat(r.Machine.Path(r.folder(id) + file))
	if failed == nil {
		run.made = info.ModTime()
	}
	return run, errors.Join(err, failed)
}

// judge finds out how a run is getting on. Its end is looked for twice: it may come
// while its unit is asked for.
func (r *Runs) judge(ctx context.Context, run *Run) {
	if r.hasEnded(run) {
		return
	}
	run.State = Running
	// The unit comes after the folder.
	young := !run.begun && time.Since(run.made) < time.Minute
	if young || run.unit != "" && r.isActive(ctx, run.unit) {
		return
	}
	if !r.hasEnded(run) {
		run.State = Lost
	}
}

func (r *Runs) isActive(ctx context.Context, unit string) bool {
	_, err := r.Machine.Ask(ctx, machine.Cmd("systemctl", "is-active", "--quiet", unit))
	return err == nil
}

func (r *Runs) hasEnded(run *Run) bool {
	if text, err := r.Machine.ReadFile(r.folder(run.ID) + "/end.json"); err == nil && text != "" {
		var end ended
		if json.Unmarshal([]byte(text), &end) == nil {
			run.State, run.Status = Ended, end.Status
			return true
		}
	}
	text, err := r.Machine.ReadFile(r.folder(run.ID) + "/status") // of the scripts
	if err != nil || text == "" {
		return false
	}
	status, err := strconv.Atoi(strings.TrimSpace(text))
	run.State, run.Status = Ended, status
	return err == nil
}

// Find returns a run by its id, or the newest of an operation. Its State is None if
// there is none.
func (r *Runs) Find(ctx context.Context, wanted string) (Run, error) {
	runs, err := r.List(ctx)
	for _, run := range runs {
		if run.ID == wanted || run.Operation == wanted {
			return run, err
		}
	}
	return Run{State: None}, err
}

// forget removes all but the newest runs, none that is under way, and what claims that
// were killed have left.
func (r *Runs) forget(ctx context.Context) error {
	runs, err := r.List(ctx)
	for i, run := range runs {
		if i >= kept && run.State != Running {
			err = errors.Join(err, r.Machine.Remove(r.folder(run.ID)))
		}
	}
	names, failed := r.Machine.List(Folder)
	for _, name := range names {
		info, statFailed := os.Stat(r.Machine.Path(Folder + "/" + name))
		if strings.HasPrefix(name, ".") && statFailed == nil && time.Since(info.ModTime()) > time.Hour {
			err = errors.Join(err, r.Machine.Remove(Folder+"/"+name))
		}
	}
	if errors.Is(failed, fs.ErrNotExist) {
		failed = nil
	}
	return errors.Join(err, failed)
}
