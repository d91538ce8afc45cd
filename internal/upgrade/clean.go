//go:build unix

package upgrade

import (
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/backup"
	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/machine"
)

const (
	// configFolder is where each %pre packs /etc/gitlab, with the secrets in it. Operators
	// do so, too, with the same command, the same names and in the same folder.
	// omnibus-gitlab: files/gitlab-ctl-commands/lib/gitlab_ctl/backup.rb
	configFolder = "/etc/gitlab/config_backup"
	// packed has the names there that the packages' own output has told.
	packed = "/var/lib/gitlab-codedeploy/config-backups"
)

var (
	ownDump  = regexp.MustCompile(`^(\d{10}_\d{4}_\d{2}_\d{2}_(\d+\.\d+\.\d+)(-ee)?)_gitlab_backup\.tar$`)
	oldData  = regexp.MustCompile(`^data\.\d+$`)
	ownTar   = `gitlab_config_\d{10}_\d{4}_\d{2}_\d{2}\.tar`
	tarName  = regexp.MustCompile(`^` + ownTar + `$`)
	packLine = regexp.MustCompile(`Creating configuration backup archive: (` + ownTar + `)\s*$`)
)

// skipsAll are the parts that %pre leaves out of its dump in each version: 13.10 names
// these, and later ones more.
// omnibus-gitlab: config/templates/package-scripts/preinst.erb
var skipsAll = []string{"repositories", "uploads", "builds", "artifacts", "lfs", "registry", "pages"}

// hearing notes what a package packs while it is installed, line by line: it may be killed
// in the next moment.
type hearing struct{ u *Upgrade }

func (h hearing) Write(line []byte) (int, error) {
	found := packLine.FindSubmatch(line)
	if found == nil {
		return len(line), nil
	}
	m := h.u.machine()
	text, err := m.ReadFile(packed)
	if err == nil {
		err = m.WriteFile(packed, text+string(found[1])+"\n", 0o600)
	}
	return len(line), err
}

// clean removes what the package and pg-upgrade have left, once a complete backup of before
// is there: the dump that %pre has made of the version that was left, what it has packed of
// /etc/gitlab, and the database as it was before a move.
func (u *Upgrade) clean(ctx context.Context) error {
	if u.hop.backup == noBackup {
		return u.machine().Remove(packed)
	}
	if err := u.removeDumps(ctx); err != nil {
		return err
	}
	if err := u.removeConfigurations(); err != nil {
		return err
	}
	return u.removeOldData()
}

// removeDumps removes the package's dumps, which are known by their content: of the version
// that was left, made after our backup, and with the database alone.
func (u *Upgrade) removeDumps(ctx context.Context) error {
	m := u.machine()
	folder, err := u.GitLab.BackupFolder()
	if err != nil {
		return err
	}
	names, err := m.List(folder)
	if err != nil {
		return err
	}
	ours, _ := backups.Made(u.hop.backup)
	for _, name := range names {
		parts := ownDump.FindStringSubmatch(name)
		if parts == nil || parts[2] != u.hop.from || parts[1] == u.hop.backup {
			continue
		}
		about, err := m.Ask(ctx, machine.Command{Args: []string{"tar", "-xOf", m.Path(filepath.Join(folder, name)), "backup_information.yml"}, Timeout: time.Minute})
		if made, _ := backups.Made(parts[1]); err != nil || made.Before(ours) || !isDatabaseAlone(about) {
			m.Say("note: %s/%s is somebody's own backup: it is kept", folder, name)
			continue
		}
		m.Say("removing the package's own database dump %s: %s has all of it", name, u.hop.backup)
		if err := m.Remove(filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	return nil
}

// isDatabaseAlone says whether a backup has what %pre dumps.
func isDatabaseAlone(information string) bool {
	parts := backup.Skipped(information)
	return !slices.ContainsFunc(skipsAll, func(part string) bool { return !slices.Contains(parts, part) })
}

// removeConfigurations removes those archives of /etc/gitlab that packages have said to
// make. One of a package that was killed before it said so stays.
func (u *Upgrade) removeConfigurations() error {
	m := u.machine()
	text, err := m.ReadFile(packed)
	if err != nil {
		return err
	}
	for name := range strings.Lines(text) {
		name = strings.TrimSpace(name)
		if !tarName.MatchString(name) || !m.Exists(filepath.Join(configFolder, name)) {
			continue
		}
		m.Say("removing the package's own archive of /etc/gitlab, %s: %s has the secrets and settings", name, u.hop.backup)
		if err := m.Remove(filepath.Join(configFolder, name)); err != nil {
			return err
		}
	}
	return m.Remove(packed)
}

// removeOldData removes the database as it was before PostgreSQL moved.
func (u *Upgrade) removeOldData() error {
	m := u.machine()
	names, err := m.List(dataFolder + "/postgresql")
	if err != nil {
		return err
	}
	for _, name := range names {
		if oldData.MatchString(name) && m.Exists(databaseFolder+"/PG_VERSION") {
			m.Say("removing %s/postgresql/%s, the database as it was before PostgreSQL moved: %s has all of it", dataFolder, name, u.hop.backup)
			if err := m.Remove(dataFolder + "/postgresql/" + name); err != nil {
				return err
			}
		}
	}
	return nil
}
