//go:build unix

package backup_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/backup"
	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/machine/machinetest"
)

const (
	id     = "1606734001_2020_11_30_13.10.2"
	target = "/mnt/copy"
)

// toFolder makes a backup in a folder.
func (h *gitlabHost) toFolder(t *testing.T) (backups.Manifest, error) {
	t.Helper()
	require.NoError(t, os.MkdirAll(h.Path(target), 0o755))
	return backup.Make(t.Context(), h.Machine, backup.NewFolder(h.Machine, target))
}

// toBucket makes one in a bucket.
func (h *gitlabHost) toBucket(t *testing.T, c *cloud) (backups.Manifest, error) {
	t.Helper()
	return backup.Make(t.Context(), h.Machine, backup.NewBucket(h.Machine, c.client(), "example-backups"))
}

// nothing asserts that a backup failed, and left nothing in the folder and on the disk.
func (h *gitlabHost) nothing(t *testing.T, err error, reason string) {
	t.Helper()
	require.ErrorContains(t, err, reason)
	for name := range h.Files(target) {
		assert.NotContains(t, name, "manifest.json")
		assert.NotContains(t, name, tarName)
	}
	assert.Empty(t, h.Files(folder), "what is worth nothing does not fill the disk")
}

// neverStarted asserts that it was refused before GitLab did anything.
func (h *gitlabHost) neverStarted(t *testing.T, err error, reason string) {
	t.Helper()
	h.nothing(t, err, reason)
	assert.Empty(t, h.RanLike("env"), "gitlab-backup was not started")
}

func TestS10_aBackupHoldsWhatGitLabMakesAndWhatItLeavesOut(t *testing.T) {
	h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
	made, err := h.toBucket(t, c)
	require.NoError(t, err)
	assert.Equal(t, id, made.ID)
	assert.Equal(t, "13.10.2 ce old.example.com", made.Version+" "+made.Edition+" "+made.Host)
	assert.Equal(t, []string{
		"backups/" + id + "/" + id + tarName, "backups/" + id + "/manifest.json", "backups/" + id + "/shared.tar.gz",
		"secrets/" + id + "/configuration.tar.gz", "secrets/" + id + "/gitlab-secrets.json", "secrets/" + id + "/gitlab.rb",
		"secrets/" + id + "/ssh_host_ed25519_key", "secrets/" + id + "/ssh_host_ed25519_key.pub",
	}, c.keys())

	// Plain JSON, whose hashes are right.
	var manifest struct {
		ID, Version, Edition string
		Parts                []*struct {
			Key, SHA256 string
			Size        int
		}
	}
	text := c.objects["backups/"+id+"/manifest.json"]
	require.NoError(t, json.Unmarshal(text, &manifest))
	assert.Equal(t, id+" 13.10.2 ce", manifest.ID+" "+manifest.Version+" "+manifest.Edition)
	require.Len(t, manifest.Parts, 8)
	for _, part := range manifest.Parts[:7] {
		content := c.objects[part.Key]
		assert.Len(t, content, part.Size, part.Key)
		assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(content)), part.SHA256, part.Key)
	}
	assert.Nil(t, manifest.Parts[7])
	assert.Equal(t, h.Get("/etc/gitlab/gitlab-secrets.json"), string(c.objects["secrets/"+id+"/gitlab-secrets.json"]))
	assert.Equal(t, []string{"packages/", "packages/ab/", "packages/ab/package", "terraform_state/", "terraform_state/cd/", "terraform_state/cd/1.tfstate"},
		names(t, c.objects["backups/"+id+"/shared.tar.gz"]))
	assert.Equal(t, []string{"encrypted_settings/", "encrypted_settings/ldap.yml.enc", "trusted-certs/", "trusted-certs/ca.crt"},
		names(t, c.objects["secrets/"+id+"/configuration.tar.gz"]))

	// The manifest comes last, for operators to read, and nothing stays on the disk.
	assert.Equal(t, "backups/"+id+"/manifest.json", c.order[len(c.order)-1])
	assert.Equal(t, s3types.ServerSideEncryptionAes256, c.put["backups/"+id+"/manifest.json"].ServerSideEncryption)
	assert.Empty(t, c.put["backups/"+id+"/"+id+tarName].ServerSideEncryption, "under the bucket's key")
	assert.Empty(t, h.Files(folder))
	listed, err := backups.List(t.Context(), c.client(), "example-backups", time.Now())
	require.NoError(t, err)
	require.Len(t, listed, 1)
	assert.True(t, listed[0].Complete)
}

// Folders that are links to another disk are followed: they are packed, and count for the
// room that a backup needs.
func TestS10_foldersOnAnotherDiskAreFollowed(t *testing.T) {
	h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
	for _, name := range []string{"packages", "artifacts"} {
		must(os.MkdirAll(h.Path("/mnt"), 0o755))
		must(os.Rename(h.Path(data+"/gitlab-rails/shared/"+name), h.Path("/mnt/"+name)))
		must(os.Symlink(h.Path("/mnt/"+name), h.Path(data+"/gitlab-rails/shared/"+name)))
	}
	h.Put("/mnt/artifacts/large", strings.Repeat("x", 30<<20))
	_, err := h.toBucket(t, c)
	require.NoError(t, err)
	assert.Contains(t, names(t, c.objects["backups/"+id+"/shared.tar.gz"]), "packages/ab/package")
	assert.Contains(t, h.Talk.String(), "room: up to 124 MiB needed in ")
}

// names are the members of a tar in gzip, sorted.
func names(t *testing.T, content []byte) (found []string) {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(content))
	require.NoError(t, err)
	for members := tar.NewReader(plain); ; {
		header, err := members.Next()
		if err == io.EOF {
			slices.Sort(found)
			return found
		}
		require.NoError(t, err)
		found = append(found, header.Name)
	}
}

func TestS10_aBackupInAFolderIsTheSameAndNeedsNoAWS(t *testing.T) {
	h := newGitLab(t, "13.10.2", "ce")
	_, err := h.toFolder(t)
	require.NoError(t, err)
	stored := h.Files(target)
	assert.Len(t, stored, 8)
	for name := range stored {
		info, err := os.Stat(h.Path(filepath.Join(target, name)))
		require.NoError(t, err)
		assert.Zero(t, info.Mode()&0o077, "it holds the secrets: %s", name)
	}
}

func TestS10_fromThatVersionOnGitLabsOwnArchiveHasPackages(t *testing.T) {
	h := newGitLab(t, "14.9.5", "ee")
	made, err := h.toFolder(t)
	require.NoError(t, err)
	assert.Equal(t, "1606734001_2020_11_30_14.9.5-ee 14.9.5 ee", made.ID+" "+made.Version+" "+made.Edition)
	_, has := made.Part(backups.SharedKey(made.ID))
	assert.False(t, has)
}

// The ways in which Gitaly lays bundles out, of which each has a repository's path.
func TestS10_bundlesAreFoundWhereverAVersionPutsThem(t *testing.T) {
	for layout, version := range map[string]string{"": "13.10.2", "pointers": "15.4.6", "manifests": "18.11.13"} {
		t.Run(version, func(t *testing.T) {
			h := newGitLab(t, version, "ce")
			h.layout = layout
			_, err := h.toFolder(t)
			require.NoError(t, err)
			assert.Contains(t, h.Talk.String(), "1 repositories with commits in the database, 0 wikis and designs on the disk, 1 bundles in the archive")
		})
	}
}

// An archive in several parts is one object that S3 has compared as a whole.
func TestS10_anArchiveInSeveralPartsIsComparedAsAWhole(t *testing.T) {
	h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
	h.members = func(members []tarMember) []tarMember {
		return append(members, tarMember{name: "extra", content: bytes.Repeat([]byte("12345678"), 2<<20)})
	}
	_, err := h.toBucket(t, c)
	require.NoError(t, err)
	assert.Len(t, c.uploads["0"], 4)
	assert.Contains(t, c.Names(), "s3:CompleteMultipartUpload")
}

func TestS10_oldBackupsGoTheirManifestsFirstAndNeverTheNewestThree(t *testing.T) {
	h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
	now := time.Unix(1606734001, 0).Add(time.Hour)
	for _, old := range []string{"1500000000_2017_07_14_13.10.2", "1500100000_2017_07_15_13.10.2", "1500200000_2017_07_16_13.10.2"} {
		for _, key := range []string{"backups/" + old + "/x.tar", "secrets/" + old + "/gitlab-secrets.json", "backups/" + old + "/manifest.json"} {
			c.objects[key] = nil
		}
	}
	// One that never got a manifest, and what nobody of ours has made.
	c.objects["backups/1400000000_2014_05_13_13.10.2/x.tar"], c.objects["backups/by-hand/x.tar"] = nil, nil
	made, err := h.toBucket(t, c)
	require.NoError(t, err)
	backup.Prune(t.Context(), h.Machine, c.client(), "example-backups", made.ID, 30, now)
	backup.Count(t.Context(), h.Machine, cloudwatch.NewFromConfig(c.Config("ap-northeast-1")), "staging")

	left := strings.Join(c.keys(), "\n")
	assert.NotContains(t, left, "1500000000")
	assert.NotContains(t, left, "1400000000")
	assert.Equal(t, 3, strings.Count(left, "manifest.json"))
	assert.Contains(t, left, "backups/by-hand/x.tar")
	var deleted []string
	for _, call := range c.Calls() {
		if call.Name() == "s3:DeleteObject" {
			text, _ := json.Marshal(call.Input)
			deleted = append(deleted, string(text))
		}
	}
	require.Len(t, deleted, 4, "nothing is hidden that is not there")
	assert.Contains(t, deleted[0], "1500000000_2017_07_14_13.10.2/manifest.json")
	counted := awstest.Inputs[cloudwatch.PutMetricDataInput](c.Cloud)
	require.Len(t, counted, 1)
	assert.Equal(t, "BackupsCompleted staging", *counted[0].MetricData[0].MetricName+" "+*counted[0].MetricData[0].Dimensions[0].Value)
}

func TestS10_whatGoesWrongWithOldOnesIsOnlySaid(t *testing.T) {
	for operation, want := range map[string]string{
		"ListObjectsV2": "warning: cannot list old backups: nothing was removed",
		"DeleteObject":  "warning: 1500000000_2017_07_14_13.10.2 could not be removed",
		"PutMetricData": "warning: CloudWatch did not take the count of this backup",
	} {
		h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
		for _, old := range []string{"1500000000_2017_07_14_13.10.2", "1500100000_2017_07_15_13.10.2", "1500200000_2017_07_16_13.10.2", "1500300000_2017_07_17_13.10.2"} {
			c.objects["backups/"+old+"/manifest.json"] = nil
		}
		c.fail = func(done, _ string) error {
			if done == operation {
				return awstest.Refusal("AccessDenied", "no")
			}
			return nil
		}
		backup.Prune(t.Context(), h.Machine, c.client(), "example-backups", id, 30, time.Unix(1606734001, 0))
		backup.Count(t.Context(), h.Machine, cloudwatch.NewFromConfig(c.Config("ap-northeast-1")), "staging")
		assert.Contains(t, h.Talk.String(), want)
	}
}

// GitLab goes on after most failures and ends with 0. lib/backup.rb has the reasons,
// lib/backup/manager.rb what stands before them: nothing until 15.0.5, "Dumping … failed: "
// from v15.1.0 on, also in v15.4.6; since gitlab-foss 0441cbd4 all of the line is red
// (lib/gitlab/backup_logger.rb).
func TestS10_whatGitLabSaysOfAFailureFailsTheBackup(t *testing.T) {
	const reason = "Failed to create compressed file '/var/opt/gitlab/backups"
	const uploads = reason + "/uploads.tar.gz' when trying to backup the following paths: '/var/opt/gitlab/gitlab-rails/uploads'"
	for name, lines := range map[string][]string{
		"S10 backup | the database cannot be dumped, and gitlab-backup ends with 0 | refused by its log; nothing is stored": {
			"Dumping PostgreSQL database gitlabhq_production ... \x1b[0;31m[FAILED]\x1b[0m\nBackup failed",
			`pg_dump: error: query failed: server closed the connection unexpectedly`,
			"2022-06-22 03:00:07 UTC -- Dumping database failed: " + reason + "/db/database.sql.gz' when trying to backup the main database:\n - host: ''\n - port: ''",
		},
		"S10 backup | a repository fails while a project is called failed-builds | the failure is told, the name is no failure": {
			" * team/app (@hashed/d4/73) ... [FAILED]", // 13.x before gitaly-backup
			"[Failed] backing up team/app (@hashed/d4/73)",
			`time="2021-10-12T14:25:42Z" level=error msg="create failed" command=create error="manager: write bundle: no space left" gl_project_path=team/app`,
			`{"command":"create","error":"manager: write bundle","gl_project_path":"team/app","level":"error","msg":"create failed","pid":4711,"time":"2022-10-03T03:00:06.125Z"}`,
			"2022-06-22 03:00:07 UTC -- gitaly-backup exit status 1",
		},
		"S10 backup | a part breaks off, and GitLab goes on and ends with 0 | refused by what each version says of it; nothing is stored": {
			uploads,
			"2022-06-22 03:00:07 UTC -- \x1b[31mDumping uploads failed: " + uploads + "\x1b[0m",
			"\x1b[31m2024-10-03 03:00:07 +0900 -- Dumping lfs objects failed: " + uploads + "\x1b[0m",
			"2022-06-22 03:00:07 UTC -- \x1b[31mCreating archive 1655866800_2022_06_22_15.4.6_gitlab_backup.tar failed\x1b[0m",
			"creating archive 1606734000_2020_11_30_13.10.2_gitlab_backup.tar failed",
			"2022-06-22 03:00:07 UTC -- \x1b[31mUploading backup to my.s3.bucket failed\x1b[0m",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, line := range lines {
				h := newGitLab(t, "13.10.2", "ce")
				h.says = line + "\n"
				_, err := h.toFolder(t)
				first, _, _ := strings.Cut(strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "", "\x1b[0;31m", "").Replace(line), "\n")
				h.nothing(t, err, "gitlab-backup create ended with 0 and yet it failed: "+strings.TrimSpace(first))
				assert.Empty(t, h.Files(target))
			}
		})
	}
}

// lib/backup/manager.rb (remove_old) and files.rb of v15.4.6; Gitaly's
// internal/backup/pipeline.go, which gitaly-backup logs as JSON from v14.8.0 on.
func TestS10_whatGitLabSaysOfFilesThatChangeAndOfEmptyRepositoriesIsNoFailure(t *testing.T) {
	h := newGitLab(t, "15.4.6", "ce")
	h.layout = "pointers"
	h.says = `2022-10-03 03:00:05 UTC -- Dumping container registry images ... [DISABLED]
Warning: files vanished during rsync, retrying...
Ignoring tar exit status 1 'Some files differ': tar: ./-/system/failed/upload: file changed as we read it
{"command":"create","gl_project_path":"team/failed-builds","level":"info","msg":"completed create","pid":4711,"relative_path":"@hashed/6b/86.git","storage_name":"default","time":"2022-10-03T03:00:06.125Z"}
{"command":"create","error":"manager: repository empty: repository skipped","gl_project_path":"team/app.wiki","level":"warning","msg":"skipped create","pid":4711,"relative_path":"@hashed/d4/73.wiki.git","storage_name":"default","time":"2022-10-03T03:00:06.131Z"}
2022-10-03 03:00:07 UTC -- Deleting 1600000000_2020_09_13_13.3.5_gitlab_backup.tar failed: Permission denied @ apply2files
`
	_, err := h.toFolder(t)
	require.NoError(t, err)
}

func TestS10_aBackupMeetsFaults(t *testing.T) {
	replace := func(name string, content []byte) func([]tarMember) []tarMember {
		return func(members []tarMember) []tarMember {
			i := slices.IndexFunc(members, func(m tarMember) bool { return m.name == name })
			members[i].content = content
			return members
		}
	}
	without := func(prefix string) func([]tarMember) []tarMember {
		return func(members []tarMember) []tarMember {
			return slices.DeleteFunc(members, func(m tarMember) bool { return strings.HasPrefix(m.name, prefix) })
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*gitlabHost)
		want   string
		early  bool // before GitLab does anything
	}{
		{name: "S10 backup | gitlab-backup ends with 1 | its last line is the reason; nothing is stored",
			change: func(h *gitlabHost) { h.status = 1 }, want: "gitlab-backup create ended with 1: "},
		{name: "S10 backup | the disk fills up while it is made | failed, nothing is stored",
			change: func(h *gitlabHost) { // lib/backup/manager.rb of v13.10.2 aborts then
				h.says = "tar: -: Wrote only 4096 of 10240 bytes\ncreating archive " + id + tarName + " failed\nBackup failed\n"
				h.status, h.archive = 1, func(b []byte) []byte { return b[:10240] }
			}, want: "gitlab-backup create ended with 1: "},
		{name: "S10 backup | the dump is empty and nothing says so | refused, since pg_dump's last line is missing",
			change: func(h *gitlabHost) { h.members = replace("db/database.sql.gz", gzipped(nil)) },
			want:   "db/database.sql.gz in " + id + tarName + " is not complete: the database was not dumped"},
		{name: "S10 backup | the dump breaks off, and a project is called like its last line | refused",
			change: func(h *gitlabHost) { h.dumpEnd = "" }, want: "is not complete: the database was not dumped"},
		{name: "S10 backup | the archive has no database | refused before anything is stored",
			change: func(h *gitlabHost) { h.members = without("db/database") }, want: "holds no database"},
		{name: "S10 backup | the archive has no repositories | refused before anything is stored",
			change: func(h *gitlabHost) { h.members = without("repositories") }, want: "holds no repositories"},
		{name: "S10 backup | the archive has no uploads | refused before anything is stored",
			change: func(h *gitlabHost) { h.members = without("uploads") }, want: "holds no uploads.tar.gz"},
		{name: "S10 backup | the archive has no backup_information.yml | refused before anything is stored",
			change: func(h *gitlabHost) { h.members = without("backup_information") }, want: "holds no backup_information.yml"},
		{name: "S10 backup | the archive is cut off | refused before anything is stored",
			change: func(h *gitlabHost) { h.archive = func(b []byte) []byte { return b[:3000] } }, want: id + tarName},
		{name: "S10 backup | the archive is cut off between two members | refused, since its end is missing",
			change: func(h *gitlabHost) {
				h.archive = func(b []byte) []byte { return bytes.TrimRight(b, "\x00")[:len(bytes.TrimRight(b, "\x00"))/512*512+512] }
			}, want: "it breaks off: the end of the archive is missing"},
		{name: "S10 backup | a bit of the archive is flipped | refused before anything is stored",
			change: func(h *gitlabHost) {
				h.archive = func(b []byte) []byte { b[bytes.Index(b, []byte("uploads.tar.gz"))+600] ^= 1; return b }
			}, want: "uploads.tar.gz in " + id + tarName + " is damaged"},
		{name: "S10 backup | a part broke off, and is a whole file for gzip | refused, since the archive in it is listed to its end",
			change: func(h *gitlabHost) {
				h.members = replace("uploads.tar.gz", gzipped(tarOf(h.files("gitlab-rails/uploads")...)[:4096]))
			}, want: "uploads.tar.gz in " + id + tarName + " is damaged"},
		{name: "S10 backup | the disk of the uploads was not mounted | refused, since the database names files",
			change: func(h *gitlabHost) { h.members = replace("uploads.tar.gz", gzipped(tarOf(tarMember{name: "./"}))) },
			want:   "uploads.tar.gz in " + id + tarName + " holds no file, and the database names 1 on this server's disk"},
		{name: "S10 backup | GitLab is configured to leave out a part | refused, and the part is named",
			change: func(h *gitlabHost) { h.skipped = "registry,lfs" }, want: "leaves out lfs"},
		{name: "S10 backup | a repository has no bundle, and nothing says so | refused, and the repository is named",
			change: func(h *gitlabHost) { h.members = without("repositories/@hashed") }, want: "has no bundle of 1 repositories: " + app},
		{name: "S10 backup | a snippet's repository has no bundle | refused, and the repository is named",
			change: func(h *gitlabHost) {
				h.dumpRows = "COPY public.snippet_repositories (shard_id, snippet_id, disk_path) FROM stdin;\n1\t4\t@snippets/4b/22/777\n\\.\n\n"
				h.rows = func() string { return app + "\tdefault\tt\n@snippets/4b/22/777\tdefault\tt\n" }
				h.repository("@snippets/4b/22/777", "old")
			}, want: "has no bundle of 1 repositories: @snippets/4b/22/777"},
		{name: "S10 backup | a wiki has something on the disk and no bundle, and nothing says so | refused, and the wiki is named",
			change: func(h *gitlabHost) {
				h.rows = func() string {
					return app + "\tdefault\tt\n" + app + ".wiki\tdefault\tf\n" + app + ".design\tdefault\tf\n"
				}
				h.repository(app+".wiki", "old")
			}, want: "has no bundle of 1 repositories: " + app + ".wiki"},
		{name: "S10 backup | the designs of a project have no bundle, and its wiki has one | refused, and the designs are named",
			change: func(h *gitlabHost) {
				h.rows = func() string {
					return app + "\tdefault\tt\n" + app + ".wiki\tdefault\tf\n" + app + ".design\tdefault\tf\n"
				}
				h.repository(app+".wiki", "old")
				h.repository(app+".design", "old")
				h.members = func(members []tarMember) []tarMember { return append(members, bundleOf(app+".wiki")) }
			}, want: "has no bundle of 1 repositories: " + app + ".design"},
		{name: "S10 backup | a bundle has no content | refused, and the bundle is named",
			change: func(h *gitlabHost) { h.members = replace("repositories/"+app+".bundle", nil) }, want: ".bundle in " + id + tarName + " is no bundle of Git"},
		{name: "S10 backup | the archive is of another version than its name says | refused",
			change: func(h *gitlabHost) {
				h.members = replace("backup_information.yml", []byte(":gitlab_version: 13.12.15\n:skipped: \n"))
			}, want: "says it is of GitLab 13.12.15, and its name says otherwise"},
		{name: "S10 backup | gitlab-secrets.json is gone | refused: without it the backup is worth little",
			change: func(h *gitlabHost) { must(os.Remove(h.Path("/etc/gitlab/gitlab-secrets.json"))) }, want: "/etc/gitlab/gitlab-secrets.json is not there"},
		{name: "S10 backup | PostgreSQL or Gitaly is down | refused before gitlab-backup starts", early: true,
			change: func(h *gitlabHost) { h.services["gitaly"] = "down" }, want: "gitaly is not running: gitlab-ctl start gitaly, then try again"},
		{name: "S10 backup | the disk is too small for the archive | refused before gitlab-backup starts, with the numbers", early: true,
			change: func(h *gitlabHost) { h.Free = 40 << 20 }, want: "too little disk for a backup: 64 MiB may be needed in /var/opt/gitlab/backups"},
		{name: "S10 backup | a restore did not finish on this host | refused until it did", early: true,
			change: func(h *gitlabHost) { h.Put(backup.UnfinishedRestore, "1606734000_2020_11_30_13.10.2\n") },
			want:   "the restore of 1606734000_2020_11_30_13.10.2 did not finish"},
		{name: "S10 backup | GitLab's folder of backups is gone | refused before gitlab-backup starts", early: true,
			change: func(h *gitlabHost) { must(os.Remove(h.Path(folder))) }, want: "/var/opt/gitlab/backups, is not there"},
		{name: "S10 backup | the folder for it is not there | refused before gitlab-backup starts", early: true,
			change: func(h *gitlabHost) { must(os.Remove(h.Path(target))); h.Put(target, "a file") }, want: "/mnt/copy is no folder that can be written to"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newGitLab(t, "13.10.2", "ce")
			require.NoError(t, os.MkdirAll(h.Path(target), 0o755))
			tt.change(h)
			_, err := backup.Make(t.Context(), h.Machine, backup.NewFolder(h.Machine, target))
			if tt.early {
				require.ErrorContains(t, err, tt.want)
				assert.Empty(t, h.RanLike("env"), "gitlab-backup was not started")
				return
			}
			h.nothing(t, err, tt.want)
			// The same, in a bucket.
			h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
			tt.change(h)
			_, err = h.toBucket(t, c)
			h.nothing(t, err, tt.want)
			assert.Empty(t, c.keys())
		})
	}
}

// A repository that went away meanwhile, and one of which nothing is left on the disk, is
// no fault of the backup.
func TestS10_whatIsNotThereToBeBackedUpIsNotMissing(t *testing.T) {
	bundle := func(members []tarMember) []tarMember {
		return slices.DeleteFunc(members, func(m tarMember) bool { return strings.HasSuffix(m.name, ".bundle") })
	}
	t.Run("S10 backup | a project is deleted while it is made | the backup is complete", func(t *testing.T) {
		h := newGitLab(t, "13.10.2", "ce")
		h.members, h.rows = bundle, func() string { return "" }
		_, err := h.toFolder(t)
		require.NoError(t, err)
	})
	t.Run("S10 backup | a new GitLab has no repository, and its archive no folder for them | the backup is complete", func(t *testing.T) {
		h := newGitLab(t, "18.11.13", "ce")
		h.layout, h.empty = "manifests", true
		h.members = func(members []tarMember) []tarMember {
			return slices.DeleteFunc(members, func(m tarMember) bool { return strings.HasPrefix(m.name, "repositories") })
		}
		_, err := h.toFolder(t)
		require.NoError(t, err)
	})
	t.Run("S10 backup | a wiki is empty, is made or is removed while the archive is, or has its bundle | the backup is complete", func(t *testing.T) {
		h := newGitLab(t, "13.10.2", "ce")
		h.rows = func() string {
			return app + "\tdefault\tt\n" + app + ".wiki\tdefault\tf\n" + app + ".design\tdefault\tf\n" + other + ".wiki\tdefault\tf\n" + other + ".design\tdefault\tf\n"
		}
		h.repository(app+".wiki", "old")
		h.repository(other+".wiki", "old")
		h.repository(app+".design", "old")
		h.Put(repoBase+app+".design.git/packed-refs", "# pack-refs with: peeled fully-peeled sorted\n0123456789012345678901234567890123456789 refs/keep-around/0123\n")
		h.Put(repoBase+app+".design.git/refs/merge-requests/1/head", "0123456789012345678901234567890123456789\n")
		h.members = func(members []tarMember) []tarMember {
			h.repository(other+".design", "old")
			must(os.RemoveAll(h.Path(repoBase + other + ".wiki.git")))
			return append(members, bundleOf(app+".wiki"))
		}
		_, err := h.toFolder(t)
		require.NoError(t, err)
		assert.Contains(t, h.Talk.String(), "1 repositories with commits in the database, 2 wikis and designs on the disk, 2 bundles in the archive")
	})
	t.Run("S10 backup | PostgreSQL is on another host | the backup is complete, and tells that wikis are not counted", func(t *testing.T) {
		h := newGitLab(t, "13.10.2", "ce")
		delete(h.services, "postgresql")
		_, err := h.toFolder(t)
		require.NoError(t, err)
		assert.Contains(t, h.Talk.String(), "PostgreSQL is not on this host: wikis and designs are not counted")
		assert.Empty(t, h.RanLike("gitlab-psql"))
	})
	t.Run("S10 backup | a repository is lost on the disk since long | the backup is complete, and tells of it", func(t *testing.T) {
		h := newGitLab(t, "13.10.2", "ce")
		h.members = bundle
		must(os.RemoveAll(h.Path(repoBase + app + ".git/objects")))
		_, err := h.toFolder(t)
		require.NoError(t, err)
		assert.Contains(t, h.Talk.String(), "warning: nothing is left on the disk of 1 repositories: "+app)
	})
}

func TestS10_aBackupMeetsFaultsOfS3(t *testing.T) {
	at := func(operation string) func(string, string) error {
		return func(done, _ string) error {
			if done == operation {
				return awstest.Refusal("AccessDenied", "no")
			}
			return nil
		}
	}
	t.Run("S10 backup | the bucket cannot be reached, or refuses | told before gitlab-backup starts", func(t *testing.T) {
		h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
		c.fail = at("ListObjectsV2")
		_, err := h.toBucket(t, c)
		h.neverStarted(t, err, "cannot list backups/ in example-backups: nothing was done")
	})
	t.Run("S10 backup | S3 gets other bytes than were sent, or fewer | no manifest", func(t *testing.T) {
		for _, damage := range []func([]byte) []byte{
			func(b []byte) []byte { return bytes.Repeat([]byte{0}, len(b)) },
			func(b []byte) []byte { return b[:len(b)-1] },
		} {
			h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
			c.damage = func(key string, b []byte) []byte {
				if strings.HasSuffix(key, ".tar") {
					return damage(b)
				}
				return b
			}
			_, err := h.toBucket(t, c)
			h.nothing(t, err, "cannot store backups/"+id+"/"+id+tarName+": aws said: ")
			assert.ErrorContains(t, err, "BadDigest")
			assert.Empty(t, c.keys())
		}
	})
	t.Run("S10 backup | a part is removed from the bucket again | no manifest", func(t *testing.T) {
		h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
		c.fail = func(operation, key string) error {
			if operation == "ListObjectsV2" && strings.HasPrefix(key, "secrets/") {
				delete(c.objects, "secrets/"+id+"/gitlab-secrets.json")
			}
			return nil
		}
		_, err := h.toBucket(t, c)
		h.nothing(t, err, "secrets/"+id+"/gitlab-secrets.json is missing")
		assert.NotContains(t, strings.Join(c.keys(), "\n"), "manifest")
	})
	t.Run("S10 backup | the upload breaks off | nothing of it is left in the bucket, nor on the disk", func(t *testing.T) {
		h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
		h.members = func(members []tarMember) []tarMember {
			return append(members, tarMember{name: "extra", content: make([]byte, 16<<20)})
		}
		c.fail = at("UploadPart")
		_, err := h.toBucket(t, c)
		h.nothing(t, err, "AccessDenied")
		assert.NotContains(t, err.Error(), "runner", "what it means for a job's artifact is no help here")
		assert.Empty(t, c.keys())
		assert.Equal(t, 1, c.aborted)
	})
	t.Run("S10 backup | the manifest cannot be written | failed: the backup does not count", func(t *testing.T) {
		h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
		c.fail = func(operation, key string) error {
			if strings.HasSuffix(key, "manifest.json") && operation == "PutObject" {
				return awstest.Refusal("SlowDown", "later")
			}
			return nil
		}
		_, err := h.toBucket(t, c)
		h.nothing(t, err, "cannot write the manifest: the backup does not count")
	})
}

func TestS10_theCallersVariablesDoNotReachGitLab(t *testing.T) {
	t.Run("S10 backup | SKIP is set by the caller | everything is backed up all the same", func(t *testing.T) {
		h := newGitLab(t, "13.10.2", "ce")
		_, err := h.toFolder(t)
		require.NoError(t, err)
		command := h.RanLike("env")[0]
		for _, name := range []string{"SKIP", "BACKUP", "STRATEGY", "DIRECTORY", "INCREMENTAL", "REPOSITORIES_PATHS"} {
			assert.Contains(t, command, " -u "+name+" ")
		}
		assert.True(t, strings.HasSuffix(command, " gitlab-backup create"))
	})
}

func TestS10_aBackupThatIsStoppedLeavesNothing(t *testing.T) {
	t.Run("S10 backup | SIGTERM while it is stored | nothing is stored, nothing is left on the disk", func(t *testing.T) {
		h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		c.fail = func(operation, _ string) error {
			if operation == "PutObject" {
				cancel(errors.New("stopped by a signal"))
			}
			return nil
		}
		_, err := backup.Make(ctx, h.Machine, backup.NewBucket(h.Machine, c.client(), "example-backups"))
		require.ErrorContains(t, err, "stopped by a signal")
		assert.NotContains(t, strings.Join(c.keys(), "\n"), "manifest")
		assert.Empty(t, h.Files(folder))
	})
}

// Killed before any change, in a folder and in a bucket: never a backup that looks
// complete, and the next run makes one.
func TestS10_aBackupThatIsKilledNeverLooksComplete(t *testing.T) {
	t.Run("S10 backup | SIGKILL at any step | never a backup that looks complete, and the next run makes one", func(t *testing.T) {
		var h *gitlabHost
		prepare := func(t *testing.T) (*machinetest.Host, func() error) {
			h = newGitLab(t, "13.10.2", "ce")
			h.Put(folder+"/gitlab-codedeploy-backup.Ab12/output", "left by a script")
			return h.Host, func() error {
				_, err := h.toFolder(t)
				return err
			}
		}
		machinetest.AtEveryStep(t, prepare, func(t *testing.T, host *machinetest.Host, again func() error) {
			complete := func() (n int) {
				for name := range host.Files(target) {
					if strings.HasSuffix(name, "/manifest.json") {
						n++
					}
				}
				return n
			}
			before := complete() // with the manifest there, only GitLab's own archive was left
			require.NoError(t, again())
			assert.Equal(t, before+1, complete())
			assert.Empty(t, host.Files(folder), "neither the archive of the one that was killed nor its own")
		})
	})
	t.Run("S10 backup | SIGKILL while GitLab packs its archive | the next backup removes the half, and no archive of others", func(t *testing.T) {
		h := newGitLab(t, "13.10.2", "ce")
		h.Put(folder+"/1400000000_2014_05_13_13.10.2"+tarName, "by hand")
		half := fmt.Sprintf("%s/%d_2020_11_30_13.10.2%s", folder, h.since+1, tarName)
		h.archive = func(text []byte) []byte {
			h.Put(half, string(text[:len(text)/2]))
			h.Die("packing")
			return nil
		}
		_, was := h.RunKilledAt(0, func() error { _, err := h.toFolder(t); return err })
		require.True(t, was)
		require.True(t, h.Exists(half))
		h.archive = nil
		_, err := h.toFolder(t)
		require.NoError(t, err)
		assert.Equal(t, []string{"1400000000_2014_05_13_13.10.2" + tarName}, slices.Collect(maps.Keys(h.Files(folder))))
	})
	t.Run("S10 backup | SIGKILL during the upload | never a backup that looks complete, and the next run makes one", func(t *testing.T) {
		var c *cloud
		prepare := func(t *testing.T) (*machinetest.Host, func() error) {
			h := newGitLab(t, "13.10.2", "ce")
			c = newCloud(t)
			return h.Host, func() error {
				_, err := h.toBucket(t, c)
				return err
			}
		}
		machinetest.AtEveryStep(t, prepare, func(t *testing.T, _ *machinetest.Host, again func() error) {
			listed, err := backups.List(t.Context(), c.client(), "example-backups", time.Now())
			require.NoError(t, err)
			for _, b := range listed {
				if b.Complete {
					assert.Len(t, c.keys(), 8, "all of it is there")
				}
			}
			require.NoError(t, again())
			listed, err = backups.List(t.Context(), c.client(), "example-backups", time.Now())
			require.NoError(t, err)
			assert.True(t, listed[0].Complete)
		})
	})
}

func TestS10_theNewestBackupIsTheNewestThatIsComplete(t *testing.T) {
	h, c := newGitLab(t, "13.10.2", "ce"), newCloud(t)
	store := backup.NewBucket(h.Machine, c.client(), "example-backups")
	say := func(format string, args ...any) { h.Say(format, args...) }
	_, _, found, err := backup.Newest(t.Context(), store, time.Now(), say)
	require.NoError(t, err)
	assert.False(t, found)
	made, err := h.toBucket(t, c)
	require.NoError(t, err)
	// One that looks newer, and has lost a part.
	newer := made
	newer.ID = "1999999999_2033_05_18_13.10.2"
	newer.Parts = nil
	for _, part := range made.Parts {
		part.Key = strings.ReplaceAll(part.Key, id, newer.ID)
		newer.Parts = append(newer.Parts, part)
	}
	c.objects["backups/"+newer.ID+"/manifest.json"] = []byte(newer.Text())
	m, age, found, err := backup.Newest(t.Context(), store, time.Unix(1606734001+600, 0), say)
	require.NoError(t, err)
	assert.True(t, found)
	assert.Equal(t, made, m)
	assert.Equal(t, 10*time.Minute, age)
	assert.Contains(t, h.Talk.String(), newer.ID+" does not count: "+newer.ID+" is not complete: backups/"+newer.ID+"/")
}
