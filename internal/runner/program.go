//go:build unix

package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/internal/jobrole"
	"gitlab-codedeploy/internal/machine"
)

// Program is a build of one of this project's programs, as it is published.
type Program struct {
	// Name is the file's name, such as "artifact".
	Name string
	// SHA256 is that of the build, in hex.
	SHA256 string
	// Bucket and Key say where it is.
	Bucket, Key string
}

// Programs are PROGRAMS/<SHA-256>/<name>, and those that jobs get PROGRAMS/bin/<name>.
const Programs = "/opt/gitlab-codedeploy"

const (
	// A new right reaches S3 some seconds after it is given.
	fetchTimeout = 5 * time.Minute
	fetchPause   = 5 * time.Second
	// Another run may be fetching one.
	programLock     = "/run/gitlab-codedeploy-program.lock"
	programLockTime = 10 * time.Minute
	// operationTime is how long an operation that is under way is waited for; what it
	// keeps from being done is done by the next run.
	operationTime = 3 * time.Minute
)

// InstallProgram brings a program into each job of this host: fetches the build of that
// hash when it is not here, checks it, and lets GitLab Runner mount its folder read-only
// into the containers of jobs. It brings them the role's credentials as well. A job that
// runs goes on with what it has begun. Where all of it is done already, nothing is changed.
// who names this run to others.
func InstallProgram(ctx context.Context, m *machine.Machine, client *s3.Client, p Program, role jobrole.Role, who string) error {
	lock, err := m.LockWithin(ctx, programLock, who, programLockTime)
	if err != nil {
		return err
	}
	defer lock.Release()
	if err := fetch(ctx, m, client, p); err != nil {
		return err
	}
	if err := offer(ctx, m, p); err != nil {
		return err
	}
	if err := forgetOthers(m, p); err != nil {
		return err
	}
	// Before jobs are sent there.
	if err := role.Serve(ctx, m); err != nil {
		return err
	}
	if lacks, err := lacking(m, role); err != nil {
		return err
	} else if lacks {
		// Registration and removal of a runner write the same file.
		lock, err := m.LockWithin(ctx, machine.OperationLock, who, operationTime)
		if err != nil {
			return err
		}
		defer lock.Release()
		if err := settle(m, role); err != nil {
			return err
		}
	}
	m.Say("jobs have %s %s", p.Name, p.SHA256)
	return nil
}

// lacking says whether some runner's jobs lack the mount, the role, or what keeps them
// apart. Without a registered runner none does: it will be registered with all of it.
func lacking(m *machine.Machine, role jobrole.Role) (bool, error) {
	config, err := read(m)
	if err != nil || config.before == "" {
		return false, err
	}
	config.warn()
	return config.settle(role)
}

func (p Program) folder() string { return Programs + "/" + p.SHA256 }
func (p Program) path() string   { return p.folder() + "/" + p.Name }

// fetch gets the build, unless it is there and is what it was. What S3 sends has the
// program's name only when its hash is known.
func fetch(ctx context.Context, m *machine.Machine, client *s3.Client, p Program) error {
	if has(m, p) {
		return nil
	}
	m.Say("fetching %s from s3://%s/%s", p.Name, p.Bucket, p.Key)
	if err := folder(m, p.folder()); err != nil {
		return err
	}
	if err := forgetHalf(m, p.folder(), p.Name); err != nil {
		return err
	}
	var refused error
	var wrong wrongHash
	err := machine.Wait(ctx, fetchTimeout, fetchPause, "no answer", func(ctx context.Context) (bool, error) {
		err := m.Create(p.path(), 0o755, func(to io.Writer) error { return download(ctx, client, p, to) })
		if errors.As(err, &wrong) {
			return false, wrong
		}
		if ctx.Err() == nil { // else it was cut off, and says nothing
			refused = err
		}
		return err == nil, nil
	})
	switch {
	case errors.As(err, &wrong):
		return wrong
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && refused != nil:
		err = refused
	}
	if err != nil {
		return fmt.Errorf("cannot fetch %s from s3://%s/%s: %w", p.Name, p.Bucket, p.Key, err)
	}
	return nil
}

// wrongHash says that an object is not the build: trying again would not help.
type wrongHash struct {
	p    Program
	hash string
}

func (w wrongHash) Error() string {
	return fmt.Sprintf("s3://%s/%s has the SHA-256 %s, want %s", w.p.Bucket, w.p.Key, w.hash, w.p.SHA256)
}

func download(ctx context.Context, client *s3.Client, p Program, to io.Writer) error {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &p.Bucket, Key: &p.Key})
	if err != nil {
		return err
	}
	defer out.Body.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(to, sum), out.Body); err != nil {
		return err
	}
	if hash := hex.EncodeToString(sum.Sum(nil)); hash != p.SHA256 {
		return wrongHash{p, hash}
	}
	return nil
}

func has(m *machine.Machine, p Program) bool {
	file, err := m.Open(p.path())
	if err != nil {
		return false
	}
	defer file.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	return err == nil && hex.EncodeToString(sum.Sum(nil)) == p.SHA256
}

// offer puts the program where jobs have their mount. The folder stays the same one, so
// that jobs see the new file, and the old one never is away: a link of the folder would
// be followed once, when a container is made.
func offer(ctx context.Context, m *machine.Machine, p Program) error {
	offered := JobPrograms + "/" + p.Name
	build, err := m.Stat(p.path())
	if err != nil {
		return err
	}
	if now, err := m.Stat(offered); err == nil && os.SameFile(now, build) {
		return nil
	}
	// One for another processor, or a broken one, is no reason to take the old away.
	if _, err := m.Ask(ctx, machine.Command{Args: []string{p.path(), "--help"}, Timeout: time.Minute}); err != nil {
		return fmt.Errorf("%s does not run on this host (%s): %w", p.path(), m.Architecture, err)
	}
	if err := folder(m, JobPrograms); err != nil {
		return err
	}
	if m.Exists(offered + ".new") {
		if err := m.Remove(offered + ".new"); err != nil {
			return err
		}
	}
	if err := m.Link(p.path(), offered+".new"); err != nil {
		return err
	}
	return m.Rename(offered+".new", offered)
}

var buildFolder = regexp.MustCompile(`^[0-9a-f]{64}$`)

// forgetOthers removes the builds of a program but that one. A process that runs one of
// them is not disturbed.
func forgetOthers(m *machine.Machine, p Program) error {
	names, err := m.List(Programs)
	if err != nil {
		return err
	}
	for _, name := range names {
		other := Programs + "/" + name
		if !buildFolder.MatchString(name) || name == p.SHA256 {
			continue
		}
		if err := forgetHalf(m, other, p.Name); err != nil {
			return err
		}
		if m.Exists(other + "/" + p.Name) {
			if err := m.Remove(other + "/" + p.Name); err != nil {
				return err
			}
		}
		if left, err := m.List(other); err != nil {
			return err
		} else if len(left) == 0 {
			if err := m.Remove(other); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetHalf removes what a run that was killed has fetched, of this program and of the
// script before it.
func forgetHalf(m *machine.Machine, folder, name string) error {
	names, err := m.List(folder)
	if err != nil {
		return err
	}
	for _, found := range names {
		if strings.HasPrefix(found, "."+name+".") || found == name+".new" {
			if err := m.Remove(folder + "/" + found); err != nil {
				return err
			}
		}
	}
	return nil
}

// folder makes a folder that others may look into, whatever the umask is.
func folder(m *machine.Machine, name string) error {
	if m.Exists(name) {
		return nil
	}
	return m.MakeFolder(name, 0o755)
}
