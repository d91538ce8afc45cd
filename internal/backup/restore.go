//go:build unix

package backup

import (
	"archive/tar"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/plain"
)

//go:embed sql/server.sql
var serverSQL string

// Restoring is one restore of a backup onto the GitLab of this host.
type Restoring struct {
	Machine *machine.Machine
	Store   Store
	ID      string

	// Confirm asks whether all that this GitLab holds may be overwritten. Its error says
	// that it may not. Required.
	Confirm func(question string) error
	// AcceptLost is the number of repositories that the last restore of this backup could
	// not bring back, and which are to be left out now. 0 accepts none.
	AcceptLost int
	// KeepSignUp leaves it as the backup has it. Otherwise it is switched off.
	KeepSignUp bool

	manifest backups.Manifest
	folder   string // of GitLab's backups
	work     string // what was fetched
	archive  *archive
	lost     []string // repositories that are left out
	marker   string   // of an earlier restore that did not finish
	failed   []string // repositories that could not be restored, by GitLab's log
	said     []string // lines by which it told so
	stopped  bool     // GitLab's services are
	changed  bool     // this GitLab is not what it was
	// elsewhere is how many repositories another host's Gitaly has.
	elsewhere int
}

// How long things may take. A restore on a full disk hangs for ever.
const (
	restoreLimit     = 12 * time.Hour
	reconfigureLimit = time.Hour
	restartLimit     = 15 * time.Minute
	stopLimit        = 5 * time.Minute
)

// Finding is something that was looked at after a restore.
type Finding struct {
	Name  string
	State string // ok, wrong, or look for what may be as it should
	Text  string
}

// Run restores the backup. Before anything is touched it makes sure that the backup is
// of exactly this version and edition, complete and unchanged, that nothing in it would
// land elsewhere, that this server has what it needs, and that there is room. GitLab's
// services come back whatever happens. A run that was killed is repeated by the next one.
func (r *Restoring) Run(ctx context.Context) (findings []Finding, err error) {
	defer func() { err = errors.Join(err, r.cleanUp(ctx)) }()
	if r.folder, err = backupFolder(r.Machine); err != nil {
		return nil, err
	}
	if err := r.readMarker(); err != nil {
		return nil, err
	}
	if r.manifest, err = manifestOf(ctx, r.Store, r.ID); err != nil {
		return nil, err
	}
	if err := r.checkInstalled(); err != nil {
		return nil, err
	}
	if err := compareSizes(ctx, r.Store, r.manifest); err != nil {
		return nil, err
	}
	if err := r.checkRoom(); err != nil {
		return nil, err
	}
	if err := r.Confirm(r.question(ctx)); err != nil {
		return nil, err
	}
	if err := r.fetch(ctx); err != nil {
		return nil, err
	}
	if err := r.checkContent(ctx); err != nil {
		return nil, err
	}

	// From here on this GitLab is changed.
	if err := r.mark(r.lost); err != nil {
		return nil, err
	}
	r.changed = true
	for _, step := range []func(context.Context) error{r.putConfiguration, r.restoreData, r.writeOrder, r.restoreShared, r.restart, r.countRepositories} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.Machine.Remove(UnfinishedRestore); err != nil {
		return nil, err
	}
	r.changed = false
	r.Machine.Say("%s is restored; looking whether all is well", r.ID)
	return r.look(ctx)
}

// readMarker knows what an earlier restore has left undone.
func (r *Restoring) readMarker() error {
	text, err := r.Machine.ReadFile(UnfinishedRestore)
	if err != nil {
		return err
	}
	r.marker = text
	id, rest, _ := strings.Cut(text, "\n")
	if id != "" {
		r.Machine.Say("an earlier restore, of %s, did not finish", plain.Line(id, 100))
	}
	if r.AcceptLost == 0 {
		return nil
	}
	for line := range strings.Lines(rest) {
		if path, is := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "lost "); is {
			r.lost = append(r.lost, path)
		}
	}
	if id != r.ID || len(r.lost) != r.AcceptLost {
		if id != r.ID {
			r.lost = nil
		}
		return fmt.Errorf("--accept-lost %d: the last restore of %s left %d repositories behind, and only these can be accepted: restore it without the flag first", r.AcceptLost, r.ID, len(r.lost))
	}
	r.Machine.Say("restoring without %s", some(r.lost))
	return nil
}

// mark says that a restore is under way, and what it has left behind.
func (r *Restoring) mark(lost []string) error {
	text := r.ID + "\n"
	for _, path := range lost {
		text += "lost " + path + "\n"
	}
	return r.Machine.WriteFile(UnfinishedRestore, text, 0o600)
}

func (r *Restoring) checkInstalled() error {
	installed, err := omnibus.GitLab{Machine: r.Machine}.Installed()
	if err != nil {
		return err
	}
	wanted := "gitlab-" + r.manifest.Edition + " " + r.manifest.Version
	if got := installed.Package + " " + installed.Version.String(); got != wanted {
		return fmt.Errorf("%s is of %s, and %s is installed: a backup can only be restored on the version and edition that made it", r.ID, wanted, got)
	}
	return nil
}

// checkRoom: the archive itself, unpacked, and what it becomes.
func (r *Restoring) checkRoom() error {
	tar, _ := r.manifest.Part(backups.TarKey(r.ID))
	times := int64(3)
	if len(r.lost) > 0 {
		times++ // it is written anew
	}
	need := times*tar.Size + 64*mebibyte
	free, err := r.Machine.Free(r.folder)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("too little disk for a restore: %d MiB are needed in %s (three times the archive), %d MiB are free", need/mebibyte, r.folder, free/mebibyte)
	}
	return nil
}

func (r *Restoring) question(ctx context.Context) string {
	tar, _ := r.manifest.Part(backups.TarKey(r.ID))
	here, _ := r.Machine.Ask(ctx, machine.Cmd("uname", "-n"))
	text := fmt.Sprintf("restoring %s (gitlab-%s %s, made by %s at %s, %d MiB) onto %s: its database, its repositories, uploads and other files, and %s/%s are overwritten",
		r.ID, r.manifest.Edition, r.manifest.Version, r.manifest.Host, r.manifest.Created.UTC().Format(time.RFC3339), tar.Size/mebibyte,
		plain.Line(strings.TrimSpace(here), 100), configFolder, secretsFile)
	if !r.KeepSignUp {
		text += ", and sign-up is switched off"
	}
	r.Machine.Say("%s", text)
	return text + ". Overwrite this GitLab?"
}

// workName begins the folder of what was fetched, of any restore.
const workName = "gitlab-codedeploy-restore."

// fetch brings all parts here, compares each with the manifest, and looks at what the
// archives would write before they may.
func (r *Restoring) fetch(ctx context.Context) error {
	names, err := r.Machine.List(r.folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, workName) { // of a run that was killed
			if err := r.Machine.Remove(filepath.Join(r.folder, name)); err != nil {
				return err
			}
		}
	}
	r.work = filepath.Join(r.folder, workName+r.ID)
	if err := r.Machine.MakeFolder(r.work, 0o700); err != nil {
		return err
	}
	r.Machine.Say("fetching %s, and checking its content", r.ID)
	for _, part := range r.manifest.Parts {
		if err := r.Store.Fetch(ctx, part.Key, r.at(part.Key), 0o600); err != nil {
			return fmt.Errorf("cannot fetch %s: %w", part.Key, err)
		}
		if err := r.checkPart(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// at is where a part is once it was fetched.
func (r *Restoring) at(key string) string { return filepath.Join(r.work, key) }

// checkPart reads a part once: its hash, and what it holds.
func (r *Restoring) checkPart(ctx context.Context, part backups.Part) error {
	file, err := r.Machine.Open(r.at(part.Key))
	if err != nil {
		return err
	}
	defer file.Close()
	sums := newAdding(ending{ctx, io.Discard})
	var content error
	switch name := filepath.Base(part.Key); {
	case part.Key == backups.TarKey(r.ID):
		r.archive, content = checked(file, sums, name, true)
	case strings.HasSuffix(name, ".tar.gz"):
		content = strict(io.TeeReader(file, sums), name)
	}
	if content != nil && !errors.As(content, new(ContentError)) {
		content = wrong("%s cannot be read: %v", part.Key, content)
	}
	// A hash that differs says more than what is wrong with the content.
	if _, err := io.Copy(sums, file); err != nil {
		return fmt.Errorf("%s cannot be read: %w", part.Key, err)
	}
	if sums.bytes != part.Size || sums.sum() != part.SHA256 {
		return fmt.Errorf("%s is not what the backup was made of: its SHA-256 is %s, and the manifest says %s", part.Key, sums.sum(), part.SHA256)
	}
	if part.Key == backups.SecretKey(r.ID, secretsFile) && part.Size == 0 {
		return fmt.Errorf("the %s of %s is empty", secretsFile, r.ID)
	}
	return content
}

// strict lists an archive of ours, in which there are neither links nor devices.
func strict(from io.Reader, name string) error {
	return unpacked(from, func(r io.Reader) error {
		return eachMember(r, func(header *tar.Header, _ io.Reader) error { return harmless(name, header, false) })
	})
}

// checkContent says whether the backup is what its name says, and whether this server
// has what the database needs. GitLab would only tell afterwards, or not at all.
func (r *Restoring) checkContent(ctx context.Context) error {
	if !strings.HasSuffix(r.ID, "_"+r.archive.info.full) {
		return wrong("%s holds the data of GitLab %s: it was renamed", r.ID, r.archive.info.full)
	}
	if !r.archive.dump.complete {
		return wrong("the database's dump in %s is not complete", r.ID)
	}
	folders, err := storages(r.Machine)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.archive.dump.storages)) {
		if _, there := folders[name]; !there && len(folders) > 0 {
			return fmt.Errorf("%s has %d projects in the storage %q, and this server has the storages %s: add it to gitlab.rb (git_data_dirs, gitaly['configuration'] from 15.10 on), "+
				"gitlab-ctl reconfigure, and restore again", r.ID, r.archive.dump.storages[name], plain.Line(name, 50), strings.Join(slices.Sorted(maps.Keys(folders)), ", "))
		}
	}
	rows, err := omnibus.GitLab{Machine: r.Machine}.Query(ctx, omnibus.Statements{Text: serverSQL})
	if err != nil {
		return fmt.Errorf("GitLab's database does not answer: is PostgreSQL up (gitlab-ctl status postgresql)? %w", err)
	}
	has := map[string]bool{}
	for _, row := range rows {
		has[strings.Join(row, " ")] = true
	}
	for _, role := range slices.Sorted(maps.Keys(r.archive.dump.roles)) {
		if !has["role "+role] {
			return fmt.Errorf("the database of %s gives rights to the role %q, which this server does not have: gitlab-psql -c 'CREATE ROLE %q', and restore again", r.ID, role, role)
		}
	}
	for _, extension := range slices.Sorted(maps.Keys(r.archive.dump.extends)) {
		if !has["extension "+extension] {
			return fmt.Errorf("the database of %s uses the extension %q, which this server's PostgreSQL does not have: install it, and restore again", r.ID, extension)
		}
	}
	return nil
}

// putConfiguration replaces the secrets, and lays aside what was there and what else
// came with the backup.
func (r *Restoring) putConfiguration(ctx context.Context) error {
	m := r.Machine
	before := configFolder + "/before-" + time.Now().UTC().Format("20060102T150405Z")
	from := configFolder + "/from-" + r.ID
	for _, folder := range []string{before, from} {
		if err := m.MakeFolder(folder, 0o700); err != nil {
			return err
		}
	}
	former := map[string]string{}
	for _, name := range []string{secretsFile, "gitlab.rb", "gitlab-codedeploy.rb"} {
		text, err := m.ReadFile(configFolder + "/" + name)
		if err != nil {
			return err
		}
		if former[name] = text; text == "" {
			continue
		}
		if err := m.WriteFile(before+"/"+name, text, 0o600); err != nil {
			return err
		}
	}
	secrets := ""
	for _, part := range r.manifest.Parts {
		name := filepath.Base(part.Key)
		if !strings.HasPrefix(part.Key, "secrets/") {
			continue
		}
		if strings.HasSuffix(name, ".tar.gz") {
			if err := m.Do(ctx, machine.Cmd("tar", "-xzpf", m.Path(r.at(part.Key)), "-C", m.Path(from))); err != nil {
				return err
			}
			continue
		}
		text, err := m.ReadFile(r.at(part.Key))
		if err != nil {
			return err
		}
		if name == secretsFile {
			secrets = text
		} else if err := m.WriteFile(from+"/"+name, text, 0o600); err != nil {
			return err
		}
	}
	if err := m.WriteFile(configFolder+"/"+secretsFile, secrets, 0o600); err != nil {
		return err
	}
	m.Say("%s is the backup's; the former files are in %s", secretsFile, before)
	err := omnibus.GitLab{Machine: m}.Reconfigure(ctx, reconfigureLimit)
	if err == nil {
		return r.putEncrypted(ctx, from, before)
	}
	// GitLab works with the secrets that go with its database.
	if former[secretsFile] != "" {
		if back := m.WriteFile(configFolder+"/"+secretsFile, former[secretsFile], 0o600); back != nil {
			return errors.Join(err, back)
		}
	}
	err = fmt.Errorf("with the secrets of the backup %w; the former ones are back, and no data was touched", err)
	if r.marker != "" { // what an earlier restore has left is what it was
		return errors.Join(err, m.WriteFile(UnfinishedRestore, r.marker, 0o600))
	}
	r.changed = false
	return errors.Join(err, m.Remove(UnfinishedRestore))
}

// putEncrypted puts encrypted settings where GitLab looks for them: they go with the
// secrets.
func (r *Restoring) putEncrypted(ctx context.Context, from, before string) error {
	const name = "encrypted_settings"
	m := r.Machine
	if !m.Exists(from + "/" + name) {
		return nil
	}
	if m.Exists(sharedFolder + "/" + name) {
		if err := m.Do(ctx, machine.Cmd("cp", "-a", m.Path(sharedFolder+"/"+name), m.Path(before+"/"))); err != nil {
			return err
		}
	}
	return m.Do(ctx, machine.Cmd("cp", "-a", m.Path(from+"/"+name), m.Path(sharedFolder+"/")))
}

// restoreData lets GitLab restore its own archive.
func (r *Restoring) restoreData(ctx context.Context) error {
	m := r.Machine
	name := filepath.Join(r.folder, r.ID+"_gitlab_backup.tar")
	if err := r.layOut(ctx, name); err != nil {
		return err
	}
	// GitLab unpacks it as its own user.
	if err := m.OwnLike(name, r.folder); err != nil {
		return err
	}
	r.stopped = true
	for _, service := range []string{"puma", "unicorn", "sidekiq"} { // whatever writes
		status := machine.Command{Args: []string{"gitlab-ctl", "status", service}, Timeout: stopLimit}
		if _, err := m.Ask(ctx, status); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue // not each version has each of them
		}
		m.Say("stopping %s", service)
		if err := m.Do(ctx, machine.Command{Args: []string{"gitlab-ctl", "stop", service}, Timeout: stopLimit}); err != nil {
			return fmt.Errorf("%s cannot be stopped: %w", service, err)
		}
	}
	m.Say("gitlab-backup restore: this takes minutes to hours")
	heard := complaints{}
	said := &listener{line: func(line string) {
		fmt.Fprintln(m.Log, plain.Line(line, 4000))
		heard.hear(line)
	}}
	err := m.Do(ctx, machine.Command{
		// Several archives may lie there, so this one is named.
		Args: without("gitlab-backup", "restore", "BACKUP="+r.ID, "force=yes"), Env: []string{"GITLAB_ASSUME_YES=1"},
		Stdout: said, Stderr: said, Timeout: restoreLimit,
	})
	said.end()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.failed, r.said = heard.repositories, heard.lost
	if gone := m.Remove(name); gone != nil {
		return errors.Join(err, gone)
	}
	switch {
	case machine.Status(err) > 0:
		err = fmt.Errorf("gitlab-backup restore ended with %d: %s", machine.Status(err), plain.Line(said.last, 1000))
	case err != nil:
		free, _ := m.Free(r.folder)
		return fmt.Errorf("gitlab-backup restore did not end: %w; is the disk full? %d MiB are free", err, free/mebibyte)
	case len(heard.fatal) > 0:
		err = fmt.Errorf("gitlab-backup restore ended with 0 and yet it failed: %s", plain.Line(strings.Join(heard.fatal, " "), 3000))
	default:
		return nil
	}
	if hint := heard.hint(); hint != "" {
		err = fmt.Errorf("%w; %s", err, hint)
	}
	return r.leaveBehind(err, heard.repositories)
}

// writeOrder: GitLab's dump is SQL, so all indexes were made here, whatever system the old
// server had.
func (r *Restoring) writeOrder(ctx context.Context) error { return collation.Made(ctx, r.Machine) }

// layOut puts the archive where GitLab looks for it: anew each time, since a file of
// that name may be half of one.
func (r *Restoring) layOut(ctx context.Context, name string) error {
	if err := r.Machine.Remove(name); err != nil {
		return err
	}
	if len(r.lost) == 0 {
		if err := r.Machine.Link(r.at(backups.TarKey(r.ID)), name); err == nil {
			return nil
		}
	}
	file, err := r.Machine.Open(r.at(backups.TarKey(r.ID)))
	if err != nil {
		return err
	}
	defer file.Close()
	return r.Machine.Create(name, 0o600, func(w io.Writer) error {
		if len(r.lost) == 0 {
			_, err := io.Copy(ending{ctx, w}, file)
			return err
		}
		return leaveOut(file, ending{ctx, w}, r.lost)
	})
}

// leaveOut copies an archive without some repositories. GitLab makes an empty one in the
// place of each.
func leaveOut(from io.Reader, to io.Writer, lost []string) error {
	out := tar.NewWriter(to)
	err := eachMember(from, func(header *tar.Header, content io.Reader) error {
		if strings.HasPrefix(header.Name, "repositories/") && slices.ContainsFunc(places(header.Name), func(at string) bool { return slices.Contains(lost, at) }) {
			return nil
		}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.Copy(out, content)
		return err
	})
	return errors.Join(err, out.Close())
}

// leaveBehind keeps in mind which repositories a restore that fails has left behind, so
// that the next one can be told to do without them.
func (r *Restoring) leaveBehind(err error, lost []string) error {
	if len(lost) == 0 {
		return err
	}
	lost = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(r.lost), lost...))))
	r.Machine.Say("not restored: %s", strings.Join(lost, " "))
	if marked := r.mark(lost); marked != nil {
		return errors.Join(err, marked)
	}
	return fmt.Errorf("%w; not restored: %s. If they may be lost, restore the backup again with --accept-lost %d", err, some(lost), len(lost))
}

// restoreShared puts back what GitLab's own backup left out before 14.7.
func (r *Restoring) restoreShared(ctx context.Context) error {
	if _, has := r.manifest.Part(backups.SharedKey(r.ID)); !has {
		return nil
	}
	r.Machine.Say("unpacking packages and Terraform states")
	m := r.Machine
	if err := m.Do(ctx, machine.Cmd("tar", "-xzpf", m.Path(r.at(backups.SharedKey(r.ID))), "-C", m.Path(sharedFolder))); err != nil {
		return fmt.Errorf("cannot unpack shared.tar.gz: %w", err)
	}
	return nil
}

func (r *Restoring) restart(ctx context.Context) error {
	r.Machine.Say("gitlab-ctl reconfigure and restart")
	if err := (omnibus.GitLab{Machine: r.Machine}).Reconfigure(ctx, reconfigureLimit); err != nil {
		return fmt.Errorf("after the restore %w", err)
	}
	if err := r.Machine.Logged(ctx, machine.Command{Args: []string{"gitlab-ctl", "restart"}, Timeout: restartLimit}); err != nil {
		return fmt.Errorf("gitlab-ctl restart failed after the restore: %w", err)
	}
	r.stopped = false
	return nil
}

// cleanUp is the way out: whatever happened, what was stopped runs again.
func (r *Restoring) cleanUp(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if r.stopped {
		r.Machine.Say("starting GitLab's services again")
		if err := r.Machine.Logged(ctx, machine.Command{Args: []string{"gitlab-ctl", "start"}, Timeout: restartLimit}); err != nil {
			r.Machine.Say("error: gitlab-ctl start failed: run it by hand: %v", err)
		}
	}
	if r.changed {
		r.Machine.Say("this GitLab holds parts of %s: restore it again, or another backup", r.ID)
	}
	if r.work == "" {
		return nil
	}
	return r.Machine.Remove(r.work)
}
