//go:build unix

package backup

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/migrations"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/plain"
)

// readyLimit is how long GitLab may take until its page answers.
const readyLimit = 15 * time.Minute

// countRepositories looks for each repository that has a bundle in the archive, wikis and
// designs among them. Gitaly of 14.4 to 16.2 says nothing of bundles that it cannot restore.
func (r *Restoring) countRepositories(ctx context.Context) error {
	there, err := repositories(ctx, r.Machine)
	if err != nil {
		return err
	}
	folders, err := storages(r.Machine)
	if err != nil {
		return err
	}
	lost := slices.Clone(r.failed)
	counted := 0
	for _, found := range there {
		if !r.archive.bundles[found.path] || slices.Contains(r.lost, found.path) {
			continue
		}
		folder := folders[found.storage].Folder
		if folder == "" {
			r.elsewhere++
			continue
		}
		if counted++; !alive(r.Machine, folder, found.path) && !slices.Contains(lost, found.path) {
			lost = append(lost, found.path)
		}
	}
	lost = slices.DeleteFunc(lost, func(path string) bool { return slices.Contains(r.lost, path) })
	r.Machine.Say("%d of %d repositories, wikis and designs counted on the disk, %d missing", counted, counted+r.elsewhere, len(lost))
	switch {
	case len(lost) == 0 && (len(r.said) == 0 || len(r.lost) > 0):
		return nil
	case len(r.said) > 0:
		err = fmt.Errorf("gitlab-backup restore ended with 0 and yet it failed: %s", plain.Line(strings.Join(r.said, " "), 3000))
	default:
		err = errors.New("gitlab-backup restore ended with 0, said nothing, and yet repositories are missing")
	}
	return r.leaveBehind(err, lost)
}

var (
	downLine    = regexp.MustCompile(`(?m)^down: ([^:]*):`)
	secretsLine = regexp.MustCompile(`(?m) - ([A-Za-z:]* failures: [1-9][0-9]*)`)
)

// look looks whether all is well after a restore.
func (r *Restoring) look(ctx context.Context) (findings []Finding, err error) {
	g := omnibus.GitLab{Machine: r.Machine}
	find := func(name, state, format string, args ...any) {
		findings = append(findings, Finding{name, state, plain.Line(fmt.Sprintf(format, args...), 500)})
	}
	r.lookAtRepositories(find)

	address, err := g.Address()
	if err != nil {
		return nil, err
	}
	switch err := g.WaitForSignIn(ctx, address, readyLimit); {
	case ctx.Err() != nil:
		return findings, context.Cause(ctx)
	case err != nil:
		find("sign-in", "wrong", "%v", err)
	default:
		find("sign-in", "ok", "the page answers with 200")
	}

	// It fails when a service is down.
	status, _ := r.Machine.Ask(ctx, machine.Command{Args: []string{"gitlab-ctl", "status"}, Timeout: 2 * time.Minute})
	var down []string
	for _, found := range downLine.FindAllStringSubmatch(status, -1) {
		down = append(down, found[1])
	}
	switch {
	case status == "":
		find("services", "wrong", "gitlab-ctl status says nothing")
	case len(down) > 0:
		find("services", "wrong", "down: %s", strings.Join(down, " "))
	default:
		find("services", "ok", "all are up")
	}

	if _, err := g.Query(ctx, omnibus.Statements{Text: "ANALYZE;", Changes: true, Timeout: time.Hour}); err != nil {
		find("statistics", "wrong", "ANALYZE failed: %v", err)
	} else {
		find("statistics", "ok", "ANALYZE is done")
	}

	r.lookAtOrder(ctx, g, find)
	said, err := r.rake(ctx, "gitlab:doctor:secrets")
	var unread []string
	for _, found := range secretsLine.FindAllStringSubmatch(said, -1) {
		unread = append(unread, found[1])
	}
	switch {
	case err != nil:
		find("secrets", "wrong", "gitlab:doctor:secrets failed: %v", err)
	case len(unread) > 0:
		find("secrets", "wrong", "cannot be read: %s", strings.Join(unread, ", "))
	default:
		find("secrets", "ok", "all that is encrypted can be read")
	}

	// Much that it finds is advice.
	said, err = r.rake(ctx, "gitlab:check", "SANITIZE=true")
	if n := strings.Count(said, "Try fixing it"); n > 0 || err != nil {
		find("gitlab:check", "look", "%d things to look at, see the log", n)
	} else {
		find("gitlab:check", "ok", "nothing to fix")
	}
	r.lookAtMigrations(ctx, g, find)
	r.lookAtSignUp(ctx, g, find)
	if ctx.Err() != nil {
		return findings, context.Cause(ctx)
	}

	var bad []string
	for _, f := range findings {
		if f.State == "wrong" {
			bad = append(bad, fmt.Sprintf("%s (%s)", f.Name, f.Text))
		}
	}
	if len(bad) > 0 {
		return findings, fmt.Errorf("%s is restored, but something is wrong: %s", r.ID, strings.Join(bad, " "))
	}
	return findings, nil
}

func (r *Restoring) lookAtRepositories(find func(name, state, format string, args ...any)) {
	missing := r.archive.missing()
	switch {
	case len(r.lost) > 0:
		find("repositories", "look", "restored without %s, as accepted", some(r.lost))
	case len(missing) > 0:
		find("repositories", "look", "the backup has no bundle of %s", some(missing))
	case r.elsewhere > 0:
		find("repositories", "look", "%d are on another host's disk, and were not counted there", r.elsewhere)
	default:
		find("repositories", "ok", "all %d with commits are there", len(r.archive.dump.expected))
	}
}

// lookAtOrder: a PostgreSQL that came here with a volume of another system may have more than
// what was restored.
func (r *Restoring) lookAtOrder(ctx context.Context, g omnibus.GitLab, find func(name, state, format string, args ...any)) {
	switch look, err := collation.LookAt(ctx, g); {
	case err != nil:
		find("order", "look", "whether the indexes are in this host's order is not known: %v", err)
	case look.State != collation.Right:
		find("order", "look", "%s: scripts/ops reindex", look)
	default:
		find("order", "ok", "%s", look)
	}
}

// rake runs a task of GitLab's, whose talk people want to see.
func (r *Restoring) rake(ctx context.Context, words ...string) (string, error) {
	var out strings.Builder
	said := &listener{line: func(line string) {
		fmt.Fprintln(r.Machine.Log, plain.Line(line, 4000))
		out.WriteString(line + "\n")
	}}
	err := r.Machine.Do(ctx, machine.Command{Args: append([]string{"gitlab-rake"}, words...), Stdout: said, Stderr: said, Timeout: 2 * time.Hour})
	said.end()
	return out.String(), err
}

// lookAtMigrations: a backup has no Redis, so jobs of background migrations are gone that
// the database still follows.
func (r *Restoring) lookAtMigrations(ctx context.Context, g omnibus.GitLab, find func(name, state, format string, args ...any)) {
	version, err := gitlab.ParseVersion(r.manifest.Version)
	if err != nil {
		find("migrations", "look", "%v", err)
		return
	}
	left, err := migrations.Find(ctx, g, version)
	switch {
	case err != nil:
		find("migrations", "look", "what is left of background migrations is not known: %v", err)
	case left.Lost() > 0:
		find("migrations", "look", "%s; the old server had not finished %d jobs, and nobody will do them by themselves: see docs/migration.md before an upgrade", left, left.Lost())
	case left.Total() > 0:
		find("migrations", "look", "%s", left)
	default:
		find("migrations", "ok", "none is left")
	}
}

// lookAtSignUp: the database that was restored has its own answer.
func (r *Restoring) lookAtSignUp(ctx context.Context, g omnibus.GitLab, find func(name, state, format string, args ...any)) {
	open, err := g.SignUpIsOpen(ctx)
	switch {
	case err != nil:
		find("sign-up", "look", "whether it is open is not known: %v", err)
	case !open:
		find("sign-up", "ok", "it is closed")
	case r.KeepSignUp:
		find("sign-up", "look", "it is open, as in the backup: anybody who reaches the page can make an account")
	default:
		if err := g.CloseSignUp(ctx); err != nil {
			find("sign-up", "wrong", "it is open, and cannot be closed: %v", err)
			return
		}
		find("sign-up", "ok", "it was open in the backup, and is closed now")
	}
}
