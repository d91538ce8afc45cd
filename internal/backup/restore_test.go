//go:build unix

package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/backup"
	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/machine/machinetest"
)

// old is a backup of an old server, and all that a restore has to bring back.
type old struct {
	id     string
	stored map[string]string // by the path in the folder
	data   map[string]string
}

// dataOf is everything of a GitLab that a backup has to bring back.
func (h *gitlabHost) dataOf(t *testing.T) map[string]string {
	all := map[string]string{"secrets": h.Get("/etc/gitlab/gitlab-secrets.json"), "dump": h.Get(data + "/postgresql/data/dump")}
	for _, below := range []string{"git-data", "gitlab-rails/uploads", "gitlab-rails/shared"} {
		for name, text := range h.Files(data + "/" + below) {
			all[below+"/"+name] = text
		}
	}
	return all
}

func oldServer(t *testing.T, version, edition string, change func(*gitlabHost)) old {
	t.Helper()
	h := newGitLab(t, version, edition)
	h.Put("/etc/gitlab/gitlab-codedeploy.rb", "the old settings")
	if change != nil {
		change(h)
	}
	made, err := h.toFolder(t)
	require.NoError(t, err)
	return old{made.ID, h.Files(target), h.dataOf(t)}
}

// newServer is one to restore on, with the backup in a folder.
func newServer(t *testing.T, o old) *gitlabHost {
	t.Helper()
	h := newGitLab(t, "13.10.2", "ce")
	h.playRestore()
	for _, name := range []string{"/etc/gitlab/gitlab-secrets.json", "/etc/gitlab/gitlab.rb", data + "/postgresql/data/dump", data + "/gitlab-rails/uploads/picture"} {
		h.Put(name, strings.ReplaceAll(h.Get(name), "old", "new"))
	}
	h.Put("/etc/gitlab/gitlab-codedeploy.rb", "the new settings")
	h.Put(data+"/applied-secrets", h.Get("/etc/gitlab/gitlab-secrets.json"))
	must(os.RemoveAll(h.Path(data + "/gitlab-rails/shared/packages")))
	must(os.RemoveAll(h.Path(data + "/gitlab-rails/shared/encrypted_settings")))
	h.repository(app, "new")
	for name, text := range o.stored {
		h.Put(target+"/"+name, text)
	}
	return h
}

// restoring is a restore of it.
func (h *gitlabHost) restoring(id string) *backup.Restoring {
	return &backup.Restoring{Machine: h.Machine, Store: backup.NewFolder(h.Machine, target), ID: id, Confirm: func(string) error { return nil }}
}

func (h *gitlabHost) restoreOf(t *testing.T, id string) ([]backup.Finding, error) {
	t.Helper()
	return h.restoring(id).Run(t.Context())
}

// restored asserts that all of the old server is there, and everything runs.
func (h *gitlabHost) restored(t *testing.T, o old, err error) {
	t.Helper()
	require.NoError(t, err)
	assert.Equal(t, o.data, h.dataOf(t))
	assert.Empty(t, h.restores.violated)
	h.allUp(t)
	assert.Empty(t, h.Files(folder))
	assert.False(t, h.Exists(backup.UnfinishedRestore))
}

func (h *gitlabHost) allUp(t *testing.T) {
	t.Helper()
	assert.NotContains(t, slices.Collect(maps.Values(h.services)), "down")
}

// untouched asserts a refusal before anything was changed or unpacked.
func (h *gitlabHost) untouched(t *testing.T, before map[string]string, err error, reason string) {
	t.Helper()
	require.ErrorContains(t, err, reason)
	assert.Equal(t, before, h.dataOf(t))
	assert.Empty(t, h.RanLike("env"))
	assert.Empty(t, h.RanLike("gitlab-ctl stop"))
	assert.Empty(t, h.RanLike("/opt/gitlab/bin/gitlab-ctl"))
	assert.Empty(t, h.Files(folder))
	assert.False(t, h.Exists(backup.UnfinishedRestore))
}

// seal writes the manifest anew for what is there now, as whoever can write to the bucket
// could.
func (h *gitlabHost) seal(t *testing.T, id string) {
	t.Helper()
	m, err := backups.ReadManifest([]byte(h.Get(target+"/"+backups.ManifestKey(id))), id)
	require.NoError(t, err)
	for i := range m.Parts {
		text := h.Get(target + "/" + m.Parts[i].Key)
		m.Parts[i].Size, m.Parts[i].SHA256 = int64(len(text)), sumOf(text)
	}
	h.Put(target+"/"+backups.ManifestKey(id), m.Text())
}

func rowsOf(findings []backup.Finding) (rows []string) {
	for _, f := range findings {
		rows = append(rows, f.Name+" "+f.State+" "+f.Text)
	}
	return rows
}

func TestS10_aRestoreBringsBackAllOfTheOldServerAndKeepsThisHostsSettings(t *testing.T) {
	o := oldServer(t, "13.10.2", "ce", nil)
	h := newServer(t, o)
	findings, err := h.restoreOf(t, o.id)
	h.restored(t, o, err)
	assert.Equal(t, []string{
		"repositories ok all 1 with commits are there", "sign-in ok the page answers with 200", "services ok all are up", "statistics ok ANALYZE is done",
		"order ok the indexes are in the order of this host (glibc 2.26)",
		"secrets ok all that is encrypted can be read", "gitlab:check ok nothing to fix", "migrations ok none is left",
		"sign-up ok it was open in the backup, and is closed now",
	}, rowsOf(findings))
	assert.JSONEq(t, `{"glibc":"2.26"}`, h.Get(collation.File), "the host's that made the indexes, and not the old one's")
	assert.Equal(t, "the new settings", h.Get("/etc/gitlab/gitlab-codedeploy.rb"))
	assert.Contains(t, h.Get("/etc/gitlab/gitlab.rb"), "new.example.com")
	// What was there, and what came along.
	laid := h.Files("/etc/gitlab")
	for name, want := range map[string]string{
		"from-" + o.id + "/gitlab.rb": "old.example.com", "from-" + o.id + "/gitlab-codedeploy.rb": "the old settings",
		"from-" + o.id + "/ssh_host_ed25519_key": "a key of old", "from-" + o.id + "/trusted-certs/ca.crt": "a certificate of old",
	} {
		assert.Contains(t, laid[name], want, name)
		info, err := os.Stat(h.Path("/etc/gitlab/" + name))
		require.NoError(t, err)
		assert.True(t, strings.HasSuffix(name, ".crt") || info.Mode().Perm() == 0o600, name)
	}
	before, err := filepath.Glob(h.Path("/etc/gitlab/before-*/gitlab-secrets.json"))
	require.NoError(t, err)
	require.Len(t, before, 1)
	former, err := os.ReadFile(before[0])
	require.NoError(t, err)
	assert.Contains(t, string(former), "new")
	// Secrets, reconfigure, stop, restore, reconfigure, restart.
	var order []string
	for _, command := range h.Ran() {
		command = strings.TrimPrefix(command, "/opt/gitlab/bin/")
		if strings.HasPrefix(command, "gitlab-ctl reconf") || strings.HasPrefix(command, "gitlab-ctl stop") || strings.HasPrefix(command, "gitlab-ctl restart") {
			order = append(order, command)
		}
		if _, rest, is := strings.Cut(command, " gitlab-backup "); is {
			order = append(order, "gitlab-backup "+rest)
		}
	}
	assert.Equal(t, []string{"gitlab-ctl reconfigure", "gitlab-ctl stop puma", "gitlab-ctl stop sidekiq", "gitlab-backup restore BACKUP=" + o.id + " force=yes",
		"gitlab-ctl reconfigure", "gitlab-ctl restart"}, order)
}

func TestS10_aRestoreFromTheBucketIsTheSame(t *testing.T) {
	o := oldServer(t, "13.10.2", "ce", func(h *gitlabHost) {
		h.members = func(members []tarMember) []tarMember {
			return append(members, tarMember{name: "extra", content: bytes.Repeat([]byte("12345678"), 4<<20)}) // several ranges
		}
	})
	h, c := newServer(t, o), newCloud(t)
	for name, text := range o.stored {
		c.objects[name] = []byte(text)
	}
	r := h.restoring(o.id)
	r.Store = backup.NewBucket(h.Machine, c.client(), "example-backups")
	_, err := r.Run(t.Context())
	h.restored(t, o, err)
}

// What earlier versions of this project have stored: no configuration.tar.gz, and JSON as
// bash wrote it.
func TestS10_aBackupOfTheScriptsIsRestored(t *testing.T) {
	o := oldServer(t, "13.10.2", "ce", func(h *gitlabHost) {
		must(os.RemoveAll(h.Path("/etc/gitlab/trusted-certs")))
		must(os.RemoveAll(h.Path(data + "/gitlab-rails/shared/encrypted_settings")))
	})
	manifest := o.stored[backups.ManifestKey(o.id)]
	assert.Regexp(t, `\A\{\n"format": "gitlab-codedeploy-backup-1",\n"id": "1606734001_2020_11_30_13.10.2",\n"version": "13.10.2",\n"edition": "ce",\n"host": "old.example.com",\n`+
		`"createdAt": "[0-9TZ:-]+",\n"parts": \[\n(\{"key": "(backups|secrets)/[^"/]+/[^"/]+", "size": \d+, "sha256": "[0-9a-f]{64}"\},\n)+null\],\n"sha256": "[0-9a-f]{64}"\n\}\n\z`, manifest)
	assert.NotContains(t, manifest, "configuration")
	h := newServer(t, o)
	_, err := h.restoreOf(t, o.id)
	h.restored(t, o, err)
}

func TestS10_withoutConsentNothingIsDone(t *testing.T) {
	o := oldServer(t, "13.10.2", "ce", nil)
	h := newServer(t, o)
	before := h.dataOf(t)
	r := h.restoring(o.id)
	asked := ""
	r.Confirm = func(question string) error {
		asked = question
		return errors.New("not confirmed")
	}
	_, err := r.Run(t.Context())
	h.untouched(t, before, err, "not confirmed")
	assert.Regexp(t, `^restoring `+o.id+` \(gitlab-ce 13\.10\.2, made by old\.example\.com at \S+, 0 MiB\) onto old\.example\.com: its database, its repositories, .* are overwritten, and sign-up is switched off\. Overwrite this GitLab\?$`, asked)
}

func TestS10_aRestoreIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	const of = "1606734001_2020_11_30_13.10.2"
	tarKey, manifestKey := target+"/"+backups.TarKey(of), target+"/"+backups.ManifestKey(of)
	secretsKey := target + "/" + backups.SecretKey(of, "gitlab-secrets.json")
	edit := func(name string, change func(string) string) func(*gitlabHost) {
		return func(h *gitlabHost) { h.Put(name, change(h.Get(name))) }
	}
	// sealed lets the manifest match its own hash again.
	sealed := func(change func(string) string) func(*gitlabHost) {
		return edit(manifestKey, func(text string) string {
			head := change(text[:strings.LastIndex(text, `"sha256"`)])
			return head + fmt.Sprintf("\"sha256\": \"%s\"\n}\n", sumOf(head))
		})
	}
	replace := func(from, to string) func(string) string {
		return func(text string) string { return strings.Replace(text, from, to, 1) }
	}
	all := func(from, to string) func(string) string {
		return func(text string) string { return strings.ReplaceAll(text, from, to) }
	}
	for _, tt := range []struct {
		name   string
		change func(*gitlabHost)
		want   string
	}{
		{"S10 restore | another version is installed | refused with both names; nothing was changed",
			func(h *gitlabHost) { h.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce 13.10.3\n") }, of + " is of gitlab-ce 13.10.2, and gitlab-ce 13.10.3 is installed"},
		{"S10 restore | another edition is installed | refused with both names; nothing was changed",
			func(h *gitlabHost) { h.Put("/opt/gitlab/version-manifest.txt", "gitlab-ee 13.10.2\n") }, of + " is of gitlab-ce 13.10.2, and gitlab-ee 13.10.2 is installed"},
		{"S10 restore | there is no manifest | refused: the backup was never completed",
			func(h *gitlabHost) { must(os.Remove(h.Path(manifestKey))) }, of + " has no manifest in " + target},
		{"S10 restore | a letter of the manifest was changed | refused", edit(manifestKey, replace(`"edition": "ce"`, `"edition": "ee"`)), "it does not match its own SHA-256"},
		{"S10 restore | the manifest's end is missing | refused", edit(manifestKey, func(s string) string { return s[:len(s)-2] }), "it does not match its own SHA-256"},
		{"S10 restore | the manifest is empty | refused", edit(manifestKey, func(string) string { return "" }), "it does not match its own SHA-256"},
		{"S10 restore | the manifest is another backup's | refused", sealed(all(of, "1606734000_2020_11_30_13.10.2")), "it is of another backup"},
		{"S10 restore | the manifest names another edition than its id | refused", sealed(all(`"edition": "ce"`, `"edition": "ee"`)), "it is not of the form that it should have"},
		{"S10 restore | the manifest names a part twice | refused", sealed(func(s string) string {
			line := s[strings.Index(s, `{"key": "secrets`):]
			line = line[:strings.Index(line, "\n")+1]
			return strings.Replace(s, line, line+line, 1)
		}), "it is not of the form that it should have"},
		{"S10 restore | the manifest names no secrets | refused", sealed(func(s string) string {
			line := s[strings.Index(s, `{"key": "secrets/`+of+`/gitlab-secrets.json`):]
			return strings.Replace(s, line[:strings.Index(line, "\n")+1], "", 1)
		}), "it names no tar or no secrets"},
		{"S10 restore | a manifest that names places outside of the backup | refused, whatever its hash",
			sealed(replace("backups/"+of+"/shared.tar.gz", "backups/"+of+"/../../../etc/passwd")), "it is not of the form that it should have"},
		{"S10 restore | a part is missing | refused before anything is fetched",
			func(h *gitlabHost) { must(os.Remove(h.Path(secretsKey))) }, "secrets/" + of + "/gitlab-secrets.json is missing"},
		{"S10 restore | a part is shorter | refused before anything is fetched", edit(tarKey, func(s string) string { return s[:5000] }), "has 5000 bytes, and "},
		{"S10 restore | one bit of the archive is flipped | refused by its hash", edit(tarKey, func(s string) string { return s[:4000] + "X" + s[4001:] }), "is not what the backup was made of"},
		{"S10 restore | the secrets are those of another server | refused by their hash", edit(secretsKey, all("o", "x")),
			"secrets/" + of + "/gitlab-secrets.json is not what the backup was made of"},
		{"S10 restore | less room than three times the archive | refused with the numbers", func(h *gitlabHost) { h.Free = 64 << 20 }, "too little disk for a restore: "},
		{"S10 restore | the database uses an extension that this server does not have | refused, and it is named",
			func(h *gitlabHost) { h.restores.roles = "role\tgitlab\n" }, `uses the extension "pg_trgm", which this server's PostgreSQL does not have`},
		{"S10 restore | the database gives rights to a role that this server does not have | refused, with the command that makes it",
			func(h *gitlabHost) { h.restores.roles = "extension\tpg_trgm\n" }, `the role "gitlab", which this server does not have: gitlab-psql -c 'CREATE ROLE "gitlab"'`},
		{"S10 restore | the backup's repositories are in a storage that this server does not have | refused, with both names",
			edit(data+"/gitlab-rails/etc/gitlab.yml", replace(`"default"`, `"nfs2"`)), `has 2 projects in the storage "default", and this server has the storages nfs2`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := oldServer(t, "13.10.2", "ce", nil)
			require.Equal(t, of, o.id)
			h := newServer(t, o)
			tt.change(h)
			before := h.dataOf(t)
			_, err := h.restoreOf(t, o.id)
			h.untouched(t, before, err, tt.want)
		})
	}
}

func TestS10_anArchiveThatWouldWriteElsewhereIsRefused(t *testing.T) {
	file := func(name string) tarMember { return tarMember{name: name, content: []byte("x")} }
	link := func(kind byte, to string) tarMember {
		return tarMember{name: "extra", header: tar.Header{Typeflag: kind, Linkname: to}}
	}
	for _, tt := range []struct {
		name   string
		member tarMember
		want   string
	}{
		{"S10 restore | the archive has a member with ../ | refused before anything is unpacked", file("../../../../etc/cron.d/evil"), `holds "../../../../etc/cron.d/evil", which would land outside of its folder`},
		{"S10 restore | the archive has a member from the root | refused before anything is unpacked", file("/etc/cron.d/evil"), `holds "/etc/cron.d/evil"`},
		{"S10 restore | the archive has a member that is .. | refused before anything is unpacked", file("repositories/.."), `holds "repositories/.."`},
		{"S10 restore | the archive has a symlink | refused before anything is unpacked", link(tar.TypeSymlink, "/etc/cron.d"), `holds a link or a device: "extra"`},
		{"S10 restore | the archive has a hard link | refused before anything is unpacked", link(tar.TypeLink, "db/database.sql.gz"), `holds a link or a device: "extra"`},
		{"S10 restore | the archive has a device | refused before anything is unpacked", link(tar.TypeBlock, ""), `holds a link or a device: "extra"`},
		{"S10 restore | an archive inside the archive has ../ | refused before anything is unpacked",
			tarMember{name: "pages2.tar.gz", content: gzipped(tarOf(file("../../../etc/cron.d/evil")))}, `pages2.tar.gz holds "../../../etc/cron.d/evil"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := oldServer(t, "13.10.2", "ce", func(h *gitlabHost) {
				h.members = func(members []tarMember) []tarMember { return append(members, tt.member) }
			})
			h := newServer(t, o)
			before := h.dataOf(t)
			_, err := h.restoreOf(t, o.id)
			h.untouched(t, before, err, tt.want)
		})
	}
	t.Run("S10 restore | packages that came along hold a link | refused before anything is unpacked", func(t *testing.T) {
		o := oldServer(t, "13.10.2", "ce", nil)
		h := newServer(t, o)
		h.Put(target+"/"+backups.SharedKey(o.id), string(gzipped(tarOf(tarMember{name: "packages", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/etc"}}))))
		h.seal(t, o.id)
		before := h.dataOf(t)
		_, err := h.restoreOf(t, o.id)
		h.untouched(t, before, err, "shared.tar.gz holds a link or a device")
	})
	t.Run("S10 restore | a backup of another version under this one's name | refused by what is in it, before it is unpacked", func(t *testing.T) {
		o := oldServer(t, "13.10.2", "ce", nil)
		h := newServer(t, o)
		members := []tarMember{}
		eachMemberOf(t, o.stored[backups.TarKey(o.id)], func(m tarMember) {
			if m.name == "backup_information.yml" {
				m.content = []byte(":gitlab_version: 13.12.15\n:skipped: \n")
			}
			members = append(members, m)
		})
		h.Put(target+"/"+backups.TarKey(o.id), string(tarOf(members...)))
		h.seal(t, o.id)
		before := h.dataOf(t)
		_, err := h.restoreOf(t, o.id)
		h.untouched(t, before, err, o.id+" holds the data of GitLab 13.12.15: it was renamed")
	})
}

func TestS10_aRestoreMeetsFaults(t *testing.T) {
	o := oldServer(t, "13.10.2", "ce", nil)
	t.Run("S10 restore | reconfigure fails with the backup's secrets | the former ones are back, no data was touched", func(t *testing.T) {
		h := newServer(t, o)
		before := h.dataOf(t)
		h.restores.broken = "reconfigure"
		_, err := h.restoreOf(t, o.id)
		require.ErrorContains(t, err, "the secrets are no JSON; the former ones are back, and no data was touched")
		assert.Equal(t, before, h.dataOf(t))
		assert.False(t, h.Exists(backup.UnfinishedRestore))
		assert.NotContains(t, h.Talk.String(), "holds parts of")
	})
	t.Run("S10 restore | reconfigure fails where an earlier restore died half-way | this server still makes no backup", func(t *testing.T) {
		h := newServer(t, o)
		h.Put(backup.UnfinishedRestore, "1606734000_2020_11_30_13.10.2\n")
		h.restores.broken = "reconfigure"
		_, err := h.restoreOf(t, o.id)
		require.Error(t, err)
		assert.Equal(t, "1606734000_2020_11_30_13.10.2\n", h.Get(backup.UnfinishedRestore))
	})
	t.Run("S10 restore | gitlab-backup fails half-way | services run again, it says what this GitLab is, and a second run succeeds", func(t *testing.T) {
		h := newServer(t, o)
		h.restores.status = 1
		_, err := h.restoreOf(t, o.id)
		require.ErrorContains(t, err, "gitlab-backup restore ended with 1: rake aborted!")
		assert.Contains(t, h.Talk.String(), "this GitLab holds parts of "+o.id+": restore it again, or another backup")
		h.allUp(t)
		// Nobody takes this for a state worth keeping.
		_, err = h.toFolder(t)
		require.ErrorContains(t, err, "the restore of "+o.id+" did not finish")
		h.restores.status = 0
		_, err = h.restoreOf(t, o.id)
		h.restored(t, o, err)
	})
	t.Run("S10 restore | psql says errors and gitlab-backup ends with 0 | failed; what GitLab itself ignores is ignored", func(t *testing.T) {
		h := newServer(t, o)
		h.restores.says = "ERROR:  out of memory\n"
		_, err := h.restoreOf(t, o.id)
		require.ErrorContains(t, err, "ended with 0 and yet it failed: ERROR: out of memory")
		h.allUp(t)
	})
	t.Run("S10 restore | the first error of psql stands behind GitLab's own words | failed", func(t *testing.T) {
		// lib/backup/database.rb of v13.10.2 prints them without a line end.
		h := newServer(t, o)
		h.restores.says = `Restoring PostgreSQL database gitlabhq_production ... ERROR:  permission denied to create extension "pg_stat_statements"` + "\n"
		_, err := h.restoreOf(t, o.id)
		require.ErrorContains(t, err, "ended with 0 and yet it failed: Restoring PostgreSQL database gitlabhq_production ... ERROR: permission denied")
		assert.ErrorContains(t, err, "an extension is missing on this server: gitlab-psql -c 'CREATE EXTENSION")
		h.allUp(t)
	})
	t.Run("S10 restore | something that no dump drops is not there | failed, and what is missing is named", func(t *testing.T) {
		for line, hint := range map[string]string{
			`ERROR:  role "gitlab-owner" does not exist`:                                          "the role is missing on this server",
			`ERROR:  operator class "public.gin_trgm_ops" does not exist for access method "gin"`: "an extension is missing on this server",
			`ERROR:  collation "pg_catalog.ja_JP" for encoding "UTF8" does not exist`:             "ended with 0 and yet it failed",
		} {
			h := newServer(t, o)
			h.restores.says = line + "\n"
			_, err := h.restoreOf(t, o.id)
			require.ErrorContains(t, err, hint)
		}
	})
	t.Run("S10 restore | gitlab-backup hangs, as it does on a full disk | ended after its time, services run again", func(t *testing.T) {
		h := newServer(t, o)
		h.restores.hangs = true
		synctest.Test(t, func(t *testing.T) {
			_, err := h.restoreOf(t, o.id)
			require.ErrorContains(t, err, "gitlab-backup restore did not end: ")
			assert.ErrorContains(t, err, "no end within 12h0m0s; is the disk full? 1048576 MiB are free")
		})
		h.allUp(t)
	})
	t.Run("S10 restore | SIGTERM while gitlab-backup runs | services run again", func(t *testing.T) {
		h := newServer(t, o)
		ctx, stop := context.WithCancelCause(t.Context())
		h.restores.hangs, h.restores.during = true, func() { stop(errors.New("stopped by a signal: terminated")) }
		_, err := h.restoring(o.id).Run(ctx)
		require.ErrorContains(t, err, "stopped by a signal: terminated")
		assert.Contains(t, h.Talk.String(), "this GitLab holds parts of "+o.id)
		h.allUp(t)
		assert.True(t, h.Exists(backup.UnfinishedRestore))
	})
	t.Run("S10 restore | afterwards the page does not answer | told, and failed; the restore itself is good", func(t *testing.T) {
		h := newServer(t, o)
		h.restores.broken = "page"
		synctest.Test(t, func(t *testing.T) {
			findings, err := h.restoreOf(t, o.id)
			require.ErrorContains(t, err, o.id+" is restored, but something is wrong: sign-in (/users/sign_in does not answer with 200; the last answer was HTTP 502)")
			assert.Contains(t, strings.Join(rowsOf(findings), "\n"), "sign-in wrong ")
		})
		assert.False(t, h.Exists(backup.UnfinishedRestore), "it stops no backup")
	})
	t.Run("S10 restore | afterwards ANALYZE fails and advice is given | each is told, the first fails", func(t *testing.T) {
		for broken, want := range map[string]string{"analyze": "statistics wrong ANALYZE failed: ", "check": "gitlab:check look 1 things to look at, see the log"} {
			h := newServer(t, o)
			h.restores.broken = broken
			findings, err := h.restoreOf(t, o.id)
			assert.Contains(t, strings.Join(rowsOf(findings), "\n"), want)
			assert.Equal(t, broken == "analyze", err != nil)
		}
	})
	t.Run("S10 restore | the old server had not finished its background migrations, and Redis is empty | told, with what to do", func(t *testing.T) {
		h := newServer(t, o)
		h.restores.left = "MigrateU2fWebauthn\t3\n"
		findings, err := h.restoreOf(t, o.id)
		require.NoError(t, err)
		assert.Regexp(t, `migrations look .*the old server had not finished 3 jobs, and nobody will do them by themselves`, strings.Join(rowsOf(findings), "\n"))
	})
	t.Run("S10 restore | the backup is of a server of Amazon Linux 2, and this one is 2023 | restored, and all indexes are in this host's order", func(t *testing.T) {
		o := oldServer(t, "18.11.13", "ce", nil)
		h := newServer(t, o)
		h.AmazonLinux2023()
		h.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce 18.11.13\n")
		h.Put(collation.File, `{"glibc":"2.26"}`) // whatever was here before
		findings, err := h.restoreOf(t, o.id)
		require.NoError(t, err)
		assert.Contains(t, rowsOf(findings), "order ok the indexes are in the order of this host (glibc 2.34)")
		assert.JSONEq(t, `{"glibc":"2.34"}`, h.Get(collation.File))
		// A PostgreSQL that came here with a volume of the old server has more than GitLab's tables.
		h.restores.sorted = "2.26"
		findings, err = h.restoreOf(t, o.id)
		require.NoError(t, err)
		assert.Contains(t, rowsOf(findings), "order look PostgreSQL says that it was made with glibc 2.26, and this host has glibc 2.34: from 2.28 on text is sorted otherwise: scripts/ops reindex")
	})
	t.Run("S10 restore | sign-up is open in the backup, and is to be kept | told", func(t *testing.T) {
		h := newServer(t, o)
		r := h.restoring(o.id)
		r.KeepSignUp = true
		findings, err := r.Run(t.Context())
		require.NoError(t, err)
		assert.Contains(t, rowsOf(findings), "sign-up look it is open, as in the backup: anybody who reaches the page can make an account")
	})
}

// lib/backup/repository.rb of v13.10.2; gitaly-backup's log is text until Gitaly v14.7.7
// and then JSON (cmd/gitaly-backup/main.go, internal/backup/pipeline.go);
// lib/backup/targets/repositories.rb says the last line since gitlab-foss ba0f3164, and goes on.
func TestS10_repositoriesThatAreLostFailARestore(t *testing.T) {
	o := oldServer(t, "13.10.2", "ce", nil)
	t.Run("S10 restore | repositories are lost and gitlab-backup ends with 0 | failed by what each version says of it; services run again, and it says what this GitLab is", func(t *testing.T) {
		for _, line := range []string{
			"[Failed] restoring team/app (" + app + ")\nError 14:Connect Failed",
			`time="2021-10-12T14:25:42Z" level=error msg="restore failed" command=restore error="manager: remove repository: rpc error: code = NotFound desc = no such repository" gl_project_path=team/app relative_path=` + app + `.git storage_name=default`,
			`{"command":"restore","error":"manager: create repository: rpc error: code = Internal desc = creating repository","gl_project_path":"team/app","level":"error","msg":"restore failed","pid":4711,"relative_path":"` + app + `.git","storage_name":"default","time":"2022-10-03T03:00:06.125Z"}`,
			"\x1b[31m2025-10-07 21:58:02 UTC -- gitaly-backup exit status 1\x1b[0m",
			"", // Gitaly 14.4.0 to 16.2.8 says nothing
		} {
			h := newServer(t, o)
			h.restores.says, h.restores.lose = line+"\n", []string{app}
			_, err := h.restoreOf(t, o.id)
			first, _, _ := strings.Cut(strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "").Replace(line), "\n")
			require.ErrorContains(t, err, "gitlab-backup restore ended with 0")
			assert.ErrorContains(t, err, first)
			assert.ErrorContains(t, err, "not restored: 1 repositories: "+app+". If they may be lost, restore the backup again with --accept-lost 1")
			assert.Contains(t, h.Talk.String(), "this GitLab holds parts of "+o.id+": restore it again")
			h.allUp(t)
			assert.Equal(t, o.id+"\nlost "+app+"\n", h.Get(backup.UnfinishedRestore))
			h.restores.says, h.restores.lose = "", nil
			_, err = h.restoreOf(t, o.id)
			h.restored(t, o, err)
		}
	})
	t.Run("S10 restore | gitaly-backup gives up altogether | failed", func(t *testing.T) {
		h := newServer(t, o)
		h.restores.says = `{"level":"fatal","msg":"restore: resolve locator: unknown layout","pid":4711,"time":"2022-10-03T03:00:06.125Z"}` + "\n"
		_, err := h.restoreOf(t, o.id)
		require.ErrorContains(t, err, "unknown layout")
	})
	t.Run("S10 restore | one repository cannot be restored whatever is done | accepted by its number, the rest is restored without it, and backups are made again", func(t *testing.T) {
		h := newServer(t, o)
		accept := func(n int) ([]backup.Finding, error) {
			r := h.restoring(o.id)
			r.AcceptLost = n
			return r.Run(t.Context())
		}
		_, err := accept(1)
		require.ErrorContains(t, err, "the last restore of "+o.id+" left 0 repositories behind, and only these can be accepted")
		// 14.0 to 15.0 end there, before uploads and the rest.
		h.restores.says, h.restores.status = `time="2021-10-12T14:25:42Z" level=error msg="restore failed" relative_path=`+app+".git\n", 1
		_, err = h.restoreOf(t, o.id)
		require.ErrorContains(t, err, "--accept-lost 1")
		_, err = accept(2)
		require.ErrorContains(t, err, "left 1 repositories behind")
		h.restores.says, h.restores.status = "", 0
		h.restores.during = func() {
			content, err := os.ReadFile(h.Path(folder + "/" + o.id + tarName))
			must(err)
			assert.NotContains(t, string(content), app)
			assert.Contains(t, string(content), "backup_information.yml")
		}
		findings, err := accept(1)
		require.NoError(t, err)
		assert.Contains(t, rowsOf(findings), "repositories look restored without 1 repositories: "+app+", as accepted")
		assert.False(t, h.Exists(backup.UnfinishedRestore))
		assert.False(t, h.Exists(repoBase+app+".git"))
		assert.Equal(t, o.data["gitlab-rails/uploads/picture"], h.Get(data+"/gitlab-rails/uploads/picture"))
	})
}

// No table says in which wikis there is something: those that the backup has are counted.
func TestS10_wikisAndDesignsAreCountedAfterARestore(t *testing.T) {
	with := func(h *gitlabHost) {
		for _, path := range []string{app + ".wiki", app + ".design"} {
			h.repository(path, "old")
		}
		h.rows = func() string {
			return app + "\tdefault\tt\n" + app + ".wiki\tdefault\tf\n" + app + ".design\tdefault\tf\n" + other + ".wiki\tdefault\tf\n"
		}
		h.members = func(members []tarMember) []tarMember {
			return append(members, bundleOf(app+".wiki"), bundleOf(app+".design"))
		}
	}
	o := oldServer(t, "13.10.2", "ce", with)
	t.Run("S10 restore | a wiki's repository comes back empty, and nothing says so | failed, and it is named; services run again", func(t *testing.T) {
		for _, lost := range []string{app + ".wiki", app + ".design"} {
			h := newServer(t, o)
			with(h)
			h.restores.lose = []string{lost}
			_, err := h.restoreOf(t, o.id)
			require.ErrorContains(t, err, "said nothing, and yet repositories are missing; not restored: 1 repositories: "+lost+". If they may be lost")
			h.allUp(t)
			h.restores.lose = nil
			_, err = h.restoreOf(t, o.id)
			h.restored(t, o, err)
			assert.Contains(t, h.Talk.String(), "3 of 3 repositories, wikis and designs counted on the disk, 0 missing")
		}
	})
}

// Rails' settings say where Gitaly is. What an earlier Gitaly of this host has left, its
// settings and its folder, says nothing.
func TestS10_repositoriesOnAnotherHostAreNotLost(t *testing.T) {
	t.Run("S10 restore | Gitaly is on another host | its repositories are not looked for on this disk, which is told, and none counts as lost", func(t *testing.T) {
		o := oldServer(t, "13.10.2", "ce", nil)
		h := newServer(t, o)
		h.storages("tcp://gitaly.internal:8075")
		delete(h.services, "gitaly")
		h.restores.lose = []string{app} // nothing comes to this disk
		findings, err := h.restoreOf(t, o.id)
		require.NoError(t, err)
		assert.Contains(t, rowsOf(findings), "repositories look 1 are on another host's disk, and were not counted there")
		assert.Contains(t, h.Talk.String(), "the repositories of the storage default are not on this host, but at tcp://gitaly.internal:8075: they are not looked for on its disk")
	})
	t.Run("S10 restore | one of two storages is on another host | this server has both, and counts its own", func(t *testing.T) {
		o := oldServer(t, "13.10.2", "ce", func(h *gitlabHost) {
			h.dumpRows = "COPY public.projects (id, name, repository_storage, pending_delete) FROM stdin;\n9\tb\tnfs2\tf\n\\.\n\n"
		})
		h := newServer(t, o)
		yml := data + "/gitlab-rails/etc/gitlab.yml"
		h.Put(yml, strings.Replace(h.Get(yml), `{"default":`, `{"nfs2":{"gitaly_address":"tls://gitaly.internal:9999"},"default":`, 1))
		_, err := h.restoreOf(t, o.id)
		h.restored(t, o, err)
		h.restores.lose = []string{app}
		_, err = h.restoreOf(t, o.id)
		require.ErrorContains(t, err, "not restored: 1 repositories: "+app)
	})
	t.Run("S10 backup | Gitaly is on another host | the backup is complete; a bundle that is missing fails it all the same", func(t *testing.T) {
		h := newGitLab(t, "13.10.2", "ce")
		h.storages("tcp://gitaly.internal:8075")
		delete(h.services, "gitaly")
		must(os.RemoveAll(h.Path(repoBase + app + ".git/objects"))) // left by a Gitaly that was here once
		h.rows = func() string { return app + "\tdefault\tt\n" + app + ".wiki\tdefault\tf\n" }
		h.repository(app+".wiki", "long ago")
		_, err := h.toFolder(t)
		require.NoError(t, err)
		assert.Contains(t, h.Talk.String(), "the repositories of the storage default are not on this host")
		h.members = func(members []tarMember) []tarMember {
			return slices.DeleteFunc(members, func(m tarMember) bool { return strings.HasSuffix(m.name, ".bundle") })
		}
		_, err = h.toFolder(t)
		require.ErrorContains(t, err, "has no bundle of 1 repositories: "+app)
	})
}

// 18.4.1 says these; lib/backup/targets/database.rb ignores them, in 18.1 and later the one
// on SET ROLE, too. Gitaly's internal/backup/pipeline.go on an empty wiki.
func TestS10_whatPsqlSaysOfTheSuperusersThingsIsNoFailure(t *testing.T) {
	o := oldServer(t, "13.10.2", "ce", nil)
	h := newServer(t, o)
	h.restores.says = `Restoring PostgreSQL database gitlabhq_production ... ERROR:  must be owner of extension pg_trgm
ERROR:  must be owner of extension amcheck
ERROR:  must be able to SET ROLE "gitlab-psql"
2025-10-07 21:55:01 +0330 -- ------ BEGIN ERRORS -----
2025-10-07 21:55:01 +0330 -- ERROR:  must be able to SET ROLE "gitlab-psql"
2025-10-07 21:55:01 +0330 -- ------ END ERRORS -------
ERROR:  trigger "trigger_d83b7dc5a37d" for relation "public.geo_event_log" does not exist
ERROR:  constraint "fk_rails_1" of relation "public.a" does not exist
ERROR:  schema "gitlab_partitions_dynamic" already exists
{"command":"restore","gl_project_path":"team/app.wiki","level":"warning","msg":"skipped restore","pid":4711,"relative_path":"@hashed/d4/73.wiki.git","storage_name":"default","time":"2025-10-07T18:26:06.131Z"}
`
	_, err := h.restoreOf(t, o.id)
	h.restored(t, o, err)
}

// Killed before any change: the second run brings everything back, services up.
func TestS10_aRestoreThatIsKilledIsRepeated(t *testing.T) {
	o := oldServer(t, "13.10.2", "ce", nil)
	t.Run("S10 restore | SIGKILL at any step | the second run brings everything back, services up", func(t *testing.T) {
		var h *gitlabHost
		prepare := func(t *testing.T) (*machinetest.Host, func() error) {
			h = newServer(t, o)
			return h.Host, func() error {
				_, err := h.restoreOf(t, o.id)
				return err
			}
		}
		machinetest.AtEveryStep(t, prepare, func(t *testing.T, _ *machinetest.Host, again func() error) {
			h.restored(t, o, again())
		})
	})
	t.Run("S10 restore | SIGKILL at any step of one that leaves repositories out | the second run ends it, and nothing else is lost", func(t *testing.T) {
		var h *gitlabHost
		prepare := func(t *testing.T) (*machinetest.Host, func() error) {
			h = newServer(t, o)
			h.Put(backup.UnfinishedRestore, o.id+"\nlost "+app+"\n")
			return h.Host, func() error {
				r := h.restoring(o.id)
				r.AcceptLost = 1
				_, err := r.Run(t.Context())
				return err
			}
		}
		machinetest.AtEveryStep(t, prepare, func(t *testing.T, _ *machinetest.Host, again func() error) {
			if !h.Exists(backup.UnfinishedRestore) {
				return // all that was left was to look
			}
			require.NoError(t, again())
			assert.False(t, h.Exists(backup.UnfinishedRestore))
			h.allUp(t)
		})
	})
}

func sumOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// eachMemberOf takes an archive apart.
func eachMemberOf(t *testing.T, text string, f func(tarMember)) {
	t.Helper()
	for members := tar.NewReader(strings.NewReader(text)); ; {
		header, err := members.Next()
		if err != nil {
			return
		}
		var content bytes.Buffer
		_, err = content.ReadFrom(members)
		require.NoError(t, err)
		f(tarMember{name: header.Name, content: content.Bytes()})
	}
}
