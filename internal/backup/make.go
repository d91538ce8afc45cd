//go:build unix

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/plain"
)

// UnfinishedRestore exists from a restore's first change until all of it went well. Its
// first line is the backup's id.
const UnfinishedRestore = "/var/lib/gitlab-codedeploy/restoring"

// unfinishedArchive holds the id of the backup whose archive is in GitLab's folder, from
// before GitLab makes it until it is removed.
const unfinishedArchive = "/var/lib/gitlab-codedeploy/archive"

// Make makes a complete backup of the GitLab on this host, and stores it. GitLab goes on
// working meanwhile. When it fails, what is left has no manifest: it does not count.
func Make(ctx context.Context, m *machine.Machine, s Store) (backups.Manifest, error) {
	b := making{m: m, store: s}
	made, err := b.run(ctx)
	if b.tar != "" {
		// It is where it belongs now, or worth nothing; here it would only fill the disk.
		err = errors.Join(err, m.Remove(b.tar), m.Remove(unfinishedArchive))
	}
	if err != nil {
		return backups.Manifest{}, err
	}
	m.Say("%s is complete: %d bytes in %s", made.ID, made.Bytes(), s)
	return made, nil
}

// making is one backup under way.
type making struct {
	m      *machine.Machine
	store  Store
	folder string // of GitLab's backups
	tar    string // that this run has made
	local  bool   // PostgreSQL is this host's
	// What storages there are, and the wikis and designs on this host's disk that had
	// something in them before GitLab made its archive.
	storages map[string]omnibus.Storage
	others   []string
}

func (b *making) run(ctx context.Context) (made backups.Manifest, err error) {
	if err := finishedRestore(b.m); err != nil {
		return made, err
	}
	if b.folder, err = backupFolder(b.m); err != nil {
		return made, err
	}
	if err := b.forgetUnfinished(); err != nil {
		return made, err
	}
	if err := b.checkServices(ctx); err != nil {
		return made, err
	}
	if err := b.checkRoom(); err != nil {
		return made, err
	}
	if err := b.store.Reach(ctx); err != nil {
		return made, err
	}
	if err := b.findOthers(ctx); err != nil {
		return made, err
	}
	id, err := b.create(ctx)
	if err != nil {
		return made, err
	}
	host, err := b.m.Ask(ctx, machine.Cmd("uname", "-n"))
	if err != nil {
		return made, err
	}
	made = backups.Manifest{ID: id, Host: hostName.ReplaceAllString(host, ""), Created: time.Now().UTC().Truncate(time.Second)}
	if err := b.storeParts(ctx, &made); err != nil {
		return made, err
	}
	// Somebody may have taken a part away again, and what cannot be read is no manifest.
	if err := compareSizes(ctx, b.store, made); err != nil {
		return made, err
	}
	if _, err := backups.ReadManifest([]byte(made.Text()), id); err != nil {
		return made, fmt.Errorf("the manifest that was to be written is wrong: %w", err)
	}
	return made, b.store.Seal(ctx, made)
}

var hostName = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// finishedRestore refuses a database that was restored half: that is no state to go back
// to.
func finishedRestore(m *machine.Machine) error {
	if !m.Exists(UnfinishedRestore) {
		return nil
	}
	text, err := m.ReadFile(UnfinishedRestore)
	id, _, _ := strings.Cut(text, "\n")
	return errors.Join(fmt.Errorf("the restore of %s did not finish: finish it first (host restore), nothing is backed up in between", plain.Line(id, 100)), err)
}

// backupFolder is where GitLab puts its backups.
func backupFolder(m *machine.Machine) (string, error) {
	folder, err := omnibus.GitLab{Machine: m}.BackupFolder()
	if err != nil {
		return "", err
	}
	if info, err := m.Stat(folder); err != nil || !info.IsDir() {
		return "", fmt.Errorf("GitLab's folder of backups, %s, is not there", folder)
	}
	return folder, nil
}

// forgetUnfinished removes what a backup that was killed has left: the archive, and what
// earlier versions of this program wrote beside it. Other archives are not ours.
func (b *making) forgetUnfinished() error {
	left, err := b.m.List(b.folder)
	left = slices.DeleteFunc(left, func(name string) bool { return !strings.HasPrefix(name, "gitlab-codedeploy-backup.") })
	id, unread := b.m.ReadFile(unfinishedArchive)
	err = errors.Join(err, unread)
	if backups.IsID(id) && b.m.Exists(b.archive(id)) {
		left = append(left, filepath.Base(b.archive(id)))
	}
	for _, name := range left {
		b.m.Say("removing %s, left by a backup that did not finish", name)
		err = errors.Join(err, b.m.Remove(filepath.Join(b.folder, name)))
	}
	if id != "" && err == nil {
		err = b.m.Remove(unfinishedArchive)
	}
	return err
}

// archive is the file that GitLab packs a backup into.
func (b *making) archive(id string) string { return filepath.Join(b.folder, id+"_gitlab_backup.tar") }

// checkServices finds out what would break the dump half-way, after an hour.
func (b *making) checkServices(ctx context.Context) error {
	// It fails when any service is down.
	status, err := b.m.Ask(ctx, machine.Command{Args: []string{"gitlab-ctl", "status"}, Timeout: 2 * time.Minute})
	if err != nil && machine.Status(err) < 0 {
		return err
	}
	up := 0
	for _, service := range []string{"postgresql", "gitaly"} {
		found := regexp.MustCompile(`(?m)^([a-z]+): ` + service + `:`).FindStringSubmatch(status)
		switch {
		case found == nil: // an external one is not listed
		case found[1] == "run":
			up++
			b.local = b.local || service == "postgresql"
		default:
			return fmt.Errorf("%s is not running: gitlab-ctl start %s, then try again", service, service)
		}
	}
	if up == 0 {
		return fmt.Errorf("gitlab-ctl status names neither postgresql nor gitaly: %s", plain.Line(machine.LastLine(status), 200))
	}
	return nil
}

const mebibyte = 1 << 20

// checkRoom: GitLab copies everything once and then packs the copies, so both are on the
// disk for a while. The database shrinks to a fraction.
func (b *making) checkRoom() error {
	var places []string
	for _, place := range []string{"git-data/repositories", "gitlab-rails/uploads", "gitlab-ci/builds", "gitlab-rails/shared/artifacts",
		"gitlab-rails/shared/lfs-objects", "gitlab-rails/shared/pages", "gitlab-rails/shared/packages",
		"gitlab-rails/shared/terraform_state", "gitlab-rails/shared/registry"} {
		places = append(places, dataFolder+"/"+place)
	}
	need := 2*b.m.Used(places...) + b.m.Used(dataFolder+"/postgresql/data") + 64*mebibyte
	free, err := b.m.Free(b.folder)
	if err != nil {
		return err
	}
	b.m.Say("room: up to %d MiB needed in %s, %d MiB free", need/mebibyte, b.folder, free/mebibyte)
	if free < need {
		return fmt.Errorf("too little disk for a backup: %d MiB may be needed in %s (twice the files, once the database), %d MiB are free",
			need/mebibyte, b.folder, free/mebibyte)
	}
	return nil
}

// ignored are the variables of the caller that would leave parts out, or name the file.
// https://docs.gitlab.com/administration/backup_restore/backup_gitlab/
var ignored = []string{"SKIP", "BACKUP", "STRATEGY", "DIRECTORY", "CRON", "INCREMENTAL", "PREVIOUS_BACKUP", "COMPRESS_CMD",
	"REPOSITORIES_STORAGES", "REPOSITORIES_PATHS", "SKIP_REPOSITORIES_PATHS", "REPOSITORIES_SERVER_SIDE"}

// without is a command that the caller's variables do not reach.
func without(args ...string) []string {
	command := []string{"env"}
	for _, name := range ignored {
		command = append(command, "-u", name)
	}
	return append(command, args...)
}

var archiveLine = regexp.MustCompile(`Creating backup archive: ([^ ]*)_gitlab_backup\.tar `)

// create lets GitLab make its archive, and returns the backup's id.
func (b *making) create(ctx context.Context) (id string, err error) {
	b.m.Say("gitlab-backup create: this takes minutes to hours")
	var complaints []string
	var noted error
	named := func(text string) {
		if found := archiveLine.FindStringSubmatch(text); found != nil && found[1] != id {
			if id = found[1]; backups.IsID(id) {
				noted = b.m.WriteFile(unfinishedArchive, id, 0o600)
			}
		}
	}
	// GitLab 13 ends the line that names the archive once the archive is there.
	said := &listener{partial: named, line: func(line string) {
		fmt.Fprintln(b.m.Log, plain.Line(line, 4000))
		if len(complaints) < maxComplaints && failures.MatchString(line) {
			complaints = append(complaints, line)
		}
		named(line + " ")
	}}
	err = b.m.Do(ctx, machine.Command{Args: without("gitlab-backup", "create"), Stdout: said, Stderr: said})
	said.end()
	if backups.IsID(id) && b.m.Exists(b.archive(id)) {
		b.tar = b.archive(id)
	}
	switch {
	case machine.Status(err) > 0:
		return "", fmt.Errorf("gitlab-backup create ended with %d: %s", machine.Status(err), plain.Line(said.last, 1000))
	case err != nil || noted != nil:
		return "", errors.Join(err, noted)
	case len(complaints) > 0:
		return "", fmt.Errorf("gitlab-backup create ended with 0 and yet it failed: %s", plain.Line(strings.Join(complaints, " "), 3000))
	case !backups.IsID(id):
		return "", fmt.Errorf("gitlab-backup create says no name of an archive that could be one: %q", id)
	case b.tar == "":
		return "", fmt.Errorf("gitlab-backup create names %s_gitlab_backup.tar, and it is not in %s", id, b.folder)
	}
	return id, nil
}

// storeParts stores everything but the manifest.
func (b *making) storeParts(ctx context.Context, made *backups.Manifest) error {
	if text, err := b.m.ReadFile(configFolder + "/" + secretsFile); err != nil || strings.TrimSpace(text) == "" {
		return errors.Join(fmt.Errorf("%s/%s is not there: without it nothing that is encrypted could be read again", configFolder, secretsFile), err)
	}
	file, err := b.m.Open(b.tar)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	b.m.Say("checking %s and storing it in %s", filepath.Base(b.tar), b.store)
	var found *archive
	part, err := b.store.Put(ctx, backups.TarKey(made.ID), info.Size(), func(w io.Writer) error {
		var err error
		if found, err = checked(file, w, filepath.Base(b.tar), false); err != nil {
			return err
		}
		return b.check(ctx, made.ID, found)
	})
	if err != nil {
		return err
	}
	made.Version, made.Edition = found.info.version, found.info.edition
	rest, err := putLeftOut(ctx, b.m, b.store, made.ID, made.Version)
	if err != nil {
		return err
	}
	made.Parts = append([]backups.Part{part}, rest...)
	slices.SortFunc(made.Parts, func(a, b backups.Part) int { return strings.Compare(a.Key, b.Key) })
	return nil
}

// check says whether an archive has all that it has to have.
func (b *making) check(ctx context.Context, id string, a *archive) error {
	if !strings.HasSuffix(id, "_"+a.info.full) {
		return wrong("%s says it is of GitLab %s, and its name says otherwise", a.name, a.info.full)
	}
	if err := a.checkParts(); err != nil {
		return err
	}
	return b.checkRepositories(ctx, a)
}

// always are the parts that no backup may lack.
var always = []string{"uploads", "artifacts", "lfs"}

// checkParts says whether each part is there, and has something where the database names
// files on this server's disk: a share that was not mounted leaves an empty part.
func (a *archive) checkParts() error {
	parts := always
	if v, err := gitlab.ParseVersion(a.info.version); err == nil && v.Compare(withPackages) >= 0 {
		parts = append(slices.Clone(always), "packages", "terraform_state")
	}
	for _, part := range append([]string{"db", "repositories"}, parts...) {
		if slices.Contains(a.info.skipped, part) {
			return wrong("%s leaves out %s", a.name, part)
		}
	}
	// From 15.0 on there is no folder without a repository in it, as in a new GitLab.
	// https://gitlab.com/gitlab-org/gitlab/-/blob/master/lib/backup/tasks/repositories.rb (destination_optional)
	if !a.members["repositories"] && len(a.dump.expected) > 0 {
		return wrong("%s holds no repositories", a.name)
	}
	for _, part := range parts {
		switch named := a.dump.local[part]; {
		case !a.members[part+".tar.gz"]:
			return wrong("%s holds no %s.tar.gz", a.name, part)
		case named > 0 && a.files[part] == 0:
			return wrong("%s.tar.gz in %s holds no file, and the database names %d on this server's disk: is the disk mounted?", part, a.name, named)
		}
	}
	return nil
}

// findOthers finds wikis and designs that have to be in the archive. No database says so,
// and what is made while GitLab makes its archive need not be in it.
func (b *making) findOthers(ctx context.Context) (err error) {
	if b.storages, err = storages(b.m); err != nil {
		return err
	}
	if !b.local {
		b.m.Say("note: PostgreSQL is not on this host: wikis and designs are not counted")
		return nil
	}
	all, err := repositories(ctx, b.m)
	if err != nil {
		return err
	}
	for _, r := range all {
		if folder := b.storages[r.storage].Folder; folder != "" && !r.committed && hasBranches(b.m, folder, r.path) {
			b.others = append(b.others, r.path)
		}
	}
	return nil
}

// checkRepositories looks for a bundle of each repository that has commits by the
// database of the same backup, or had some on the disk before. One that went away meanwhile,
// and one that has nothing on the disk either, is no fault of the backup.
func (b *making) checkRepositories(ctx context.Context, a *archive) error {
	missing := a.missing()
	for _, path := range b.others {
		if !a.bundles[path] {
			missing = append(missing, path)
		}
	}
	b.m.Say("%d repositories with commits in the database, %d wikis and designs on the disk, %d bundles in the archive", len(a.dump.expected), len(b.others), a.bundled)
	if len(missing) == 0 {
		return nil
	}
	if !b.local {
		return wrong("%s has no bundle of %s", a.name, some(missing))
	}
	still, err := repositories(ctx, b.m)
	if err != nil {
		return err
	}
	var lost, gone []string
	for _, r := range still {
		if !slices.Contains(missing, r.path) {
			continue
		}
		if folder := b.storages[r.storage].Folder; folder == "" || alive(b.m, folder, r.path) {
			lost = append(lost, r.path)
		} else {
			gone = append(gone, r.path)
		}
	}
	if len(gone) > 0 {
		b.m.Say("warning: nothing is left on the disk of %s, which have commits by the database: no backup can have them", some(gone))
	}
	if len(lost) > 0 {
		return wrong("%s has no bundle of %s", a.name, some(lost))
	}
	return nil
}

// some names repositories, and how many there are.
func some(paths []string) string {
	const named = 3
	text := fmt.Sprintf("%d repositories: %s", len(paths), strings.Join(paths[:min(named, len(paths))], ", "))
	if len(paths) > named {
		text += ", …"
	}
	return plain.Line(text, 1000)
}
