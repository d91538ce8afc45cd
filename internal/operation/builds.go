package operation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

const (
	// Builds has a folder for each build of this program, whose name is its SHA-256. The
	// documents' starters put them there, and fetch one again that is not.
	Builds = "/opt/gitlab-codedeploy"
	// program is the file's name there.
	program = "host"
	// keptBuilds are the newest ones, which stay: the one that runs, and those of the last
	// deploys, whose documents somebody may just be starting.
	keptBuilds = 3
	// youngBuild is not looked at: a starter may be about to become it.
	youngBuild = time.Hour
)

var buildName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ForgetBuilds removes old builds of this program: neither this one, nor those that a run
// under way, or any other process, is of. Call it while no other operation begins.
func (r *Runs) ForgetBuilds(ctx context.Context) error {
	builds, err := r.builds()
	if err != nil || len(builds) <= keptBuilds {
		return err
	}
	// An older build runs again after a deploy was taken back: it is the newest in use.
	this := filepath.Base(filepath.Dir(r.Program))
	if at := slices.IndexFunc(builds, func(b build) bool { return b.name == this }); at > 0 {
		if err := r.Machine.Touch(filepath.Join(Builds, this, program)); err != nil {
			return err
		}
		builds = slices.Insert(slices.Delete(builds, at, at+1), 0, build{this, time.Now()})
	}
	inUse, err := r.buildsInUse(ctx)
	if err != nil {
		return err
	}
	for _, b := range builds[keptBuilds:] {
		if inUse[b.name] || time.Since(b.since) < youngBuild {
			continue
		}
		r.Machine.Say("removing a build of this program that is not used any more: %s", b.name[:12])
		err = errors.Join(err, r.Machine.Remove(filepath.Join(Builds, b.name)))
	}
	return err
}

// build is the folder of one, and when it came.
type build struct {
	name  string
	since time.Time
}

// builds are all of them, the newest first. Folders of other programs are none.
func (r *Runs) builds() (found []build, err error) {
	names, err := r.Machine.List(Builds)
	for _, name := range names {
		info, err := r.Machine.Stat(filepath.Join(Builds, name, program))
		if buildName.MatchString(name) && err == nil && info.Mode().IsRegular() {
			found = append(found, build{name, info.ModTime()})
		}
	}
	slices.SortFunc(found, func(a, b build) int { return b.since.Compare(a.since) })
	return found, err
}

// buildsInUse are those of this process, of runs under way, and of all other processes.
func (r *Runs) buildsInUse(ctx context.Context) (map[string]bool, error) {
	found := map[string]bool{}
	use := func(path string) { found[filepath.Base(filepath.Dir(path))] = true }
	use(r.Program)
	runs, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		if run.State != Running {
			continue
		}
		text, err := r.Machine.ReadFile(r.folder(run.ID) + "/run.json")
		var rec record
		if err == nil && text != "" {
			err = json.Unmarshal([]byte(text), &rec)
		}
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", run.ID, err)
		}
		if len(rec.Command) > 0 {
			use(rec.Command[0])
		}
	}
	// By hand, or by a document that waits for it, there is no run.
	processes, err := r.Machine.List("/proc")
	if err != nil {
		return nil, err
	}
	for _, process := range processes {
		// What has ended meanwhile, and a thread of the kernel, have none.
		if at, err := os.Readlink(r.Machine.Path("/proc/" + process + "/exe")); err == nil {
			use(at)
		}
	}
	return found, nil
}
