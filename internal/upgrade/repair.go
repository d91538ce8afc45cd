//go:build unix

package upgrade

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/packages"
)

const (
	skipBackup     = "/etc/gitlab/skip-auto-backup"
	skipUnmigrated = "/etc/gitlab/skip-unmigrated-data-check"
	skipConfig     = "/etc/gitlab/skip-fail-config-check"
	// ours names those of them that this program has made, until it has removed them.
	ours = "/var/lib/gitlab-codedeploy/skipping"
)

// skipFiles make the package leave out what it should do.
var skipFiles = []string{
	"/etc/gitlab/skip-auto-reconfigure", "/etc/gitlab/skip-auto-migrations", skipBackup, skipUnmigrated, skipConfig, "/etc/gitlab/skip-fips-check",
}

// repairPackages brings rpm's database into order after a package that was killed. What it
// cannot repair it names.
func (u *Upgrade) repairPackages(ctx context.Context) error {
	m := u.machine()
	if err := u.removeSkipFiles(); err != nil {
		return err
	}
	answers := func(args ...string) bool {
		_, err := m.Ask(ctx, machine.Command{Args: append([]string{"rpm"}, args...), Timeout: 2 * time.Minute})
		return err == nil
	}
	// A killed rpm of Amazon Linux 2 leaves locks in its database.
	if !answers("-q", "rpm") && !answers("-qa") {
		if _, err := m.Ask(ctx, machine.Cmd("pgrep", "-x", "yum|rpm|dnf")); err == nil {
			return fmt.Errorf("another yum or rpm is at work: wait for it")
		}
		m.Say("rpm's database does not answer: removing its locks and building it again")
		names, err := m.List("/var/lib/rpm")
		if err != nil {
			return err
		}
		for _, name := range names {
			if strings.HasPrefix(name, "__db.") {
				if err := m.Remove("/var/lib/rpm/" + name); err != nil {
					return err
				}
			}
		}
		if err := m.Do(ctx, machine.Command{Args: []string{"rpm", "--rebuilddb"}, Timeout: 15 * time.Minute}); err != nil {
			return fmt.Errorf("rpm's database is damaged: see rpm --rebuilddb: %w", err)
		}
	}
	found, err := packages.Installed(ctx, m, "gitlab-ce", "gitlab-ee")
	if err != nil || len(found) != 2 {
		return err
	}
	// rpm enters the new package when its files are there, and takes the old one out after
	// that: it was killed in between.
	one, other := installedForm.FindStringSubmatch(found[0]), installedForm.FindStringSubmatch(found[1])
	if one == nil || other == nil || one[1] != other[1] {
		return fmt.Errorf("%s and %s are installed at once: remove one by hand (rpm -e --nodeps --noscripts …)", found[0], found[1])
	}
	a, errA := gitlab.ParseVersion(one[3])
	b, errB := gitlab.ParseVersion(other[3])
	if errA != nil || errB != nil {
		return fmt.Errorf("rpm has %q, and that is not one package of GitLab", strings.Join(found, " "))
	}
	old := found[0]
	if a.Compare(b) > 0 {
		old = found[1]
	}
	m.Say("%s is left by an installation that was killed: taking it out", old)
	if err := m.Logged(ctx, machine.Cmd("rpm", "-e", "--nodeps", "--noscripts", "--notriggers", old)); err != nil {
		return fmt.Errorf("cannot take it out: %w", err)
	}
	return nil
}

// ownFile is a line of rpm -V about a file that is neither settings, documentation nor a ghost.
var ownFile = regexp.MustCompile(`^\S+ +([a-z] +)?/`)

// changedFile is a file of the installed package that is another one's, or gone.
func (u *Upgrade) changedFile(ctx context.Context) string {
	out, _ := u.machine().Ask(ctx, machine.Command{Args: []string{"rpm", "-V", "--nodeps", "--noscripts", "--nofiledigest", u.name}, Timeout: questionLimit})
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		fields := strings.Fields(line)
		if ownFile.MatchString(line) && !(len(fields) == 3 && slices.Contains([]string{"c", "d", "g"}, fields[1])) {
			return line
		}
	}
	return ""
}

// repairFiles resumes a hop whose package was killed while it wrote its files: such a
// mixture answers no question, and all checks for that package had passed. (The old one
// installed again would be a way back, and could be killed, too: rpm then has it twice, and
// takes out none of them.)
//
// The package's own %pre starts GitLab's programs, and refuses when they fail. Its files
// that skip those checks are made for this one installation.
// https://docs.gitlab.com/update/package/
func (u *Upgrade) repairFiles(ctx context.Context) error {
	if u.hop == (hop{}) {
		return nil
	}
	m := u.machine()
	m.Say("an upgrade from %s to %s (backup: %s) did not finish: resuming it", u.hop.from, u.hop.to, u.hop.backup)
	if u.hop.from != u.installed.String() {
		return u.finishPackage(ctx)
	}
	changed := u.changedFile(ctx)
	if changed == "" {
		u.hop = hop{}
		return m.Remove(hopFile)
	}
	to, err := gitlab.ParseVersion(u.hop.to)
	if err != nil {
		return fmt.Errorf("%s: %w", hopFile, err)
	}
	pack, err := u.find(to)
	if err != nil {
		return err
	}
	if err := u.source().Prepare(ctx, pack); err != nil {
		return err
	}
	m.Say("files of GitLab %s are in part those of %s (%s)", u.hop.from, u.hop.to, changed)
	skip := []string{skipBackup}
	if to.Major == 14 || to.Major == 15 || to.Major == 16 && to.Minor <= 4 {
		skip = append(skip, skipUnmigrated)
	}
	if to.Compare(gitlab.Version{Major: 18, Minor: 2}) >= 0 {
		skip = append(skip, skipConfig)
	}
	m.Say("for this installation alone the package's checks, which such a mixture cannot pass, are skipped: %s (the backup of before is %s)", strings.Join(skip, ", "), u.hop.backup)
	if err := m.WriteFile(ours, strings.Join(skip, "\n")+"\n", 0o600); err != nil {
		return err
	}
	for _, file := range skip {
		if err := m.WriteFile(file, "", 0o600); err != nil {
			return err
		}
	}
	err = u.installPackage(ctx, pack)
	if removed := u.removeSkipFiles(); removed != nil {
		return removed
	}
	u.configured = false
	return err
}

// finishPackage does what the package's last scriptlet does, which was perhaps never begun:
// it moves PostgreSQL where the version does, and reconfigures. A failure is looked into by
// the reconfigure that follows then.
// omnibus-gitlab: config/templates/package-scripts/posttrans.erb
func (u *Upgrade) finishPackage(ctx context.Context) error {
	said, err := u.machine().Talked(ctx, machine.Command{Args: []string{"/opt/gitlab/bin/gitlab-ctl", "upgrade"}, Env: []string{"HOME=/root"}})
	if err != nil && machine.Status(err) < 0 {
		return err
	}
	if u.configured = err == nil; err != nil {
		u.machine().Say("gitlab-ctl upgrade failed: %s", packages.Reason(said))
	}
	return nil
}

// removeSkipFiles removes those that this program has made, and none of somebody else.
func (u *Upgrade) removeSkipFiles() error {
	m := u.machine()
	if !m.Exists(ours) {
		return nil
	}
	text, err := m.ReadFile(ours)
	if err != nil {
		return err
	}
	for _, file := range strings.Fields(text) {
		if slices.Contains(skipFiles, file) {
			if err := m.Remove(file); err != nil {
				return err
			}
		}
	}
	return m.Remove(ours)
}
