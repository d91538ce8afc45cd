//go:build unix

package backup_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/backup"
	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/packages/packagestest"
	"gitlab-codedeploy/internal/upgrade"
)

// hop is a GitLab 13.10.2 with the package of 13.12.15 in reach, and a bucket.
type hop struct {
	*gitlabHost
	t       *testing.T
	cloud   *cloud
	rpm     packagestest.RPM
	visited []string // versions whose migrations have run
}

const (
	hopFrom, hopTo = "13.10.2", "13.12.15"
	oldPack        = "gitlab-ce-13.10.2-ce.0.el7"
	newPack        = "gitlab-ce-13.12.15-ce.0.el7"
	packagesURL    = "https://packages.example.com/gitlab"
)

var hopKey, hopSigned = packagestest.Key("3D645A26AB9FBD22")

func newHop(t *testing.T) *hop {
	// Ids of backups have ten digits since 2001.
	time.Sleep(time.Until(time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)))
	h := &hop{gitlabHost: newGitLab(t, hopFrom, "ce"), t: t, cloud: newCloud(t), visited: []string{hopFrom}}
	h.since = time.Now().Unix()
	h.rpm.Installed = []string{oldPack}
	h.rpm.Play(h.Host)
	h.Put("/opt/gitlab/bin/gitlab-ctl", "")
	h.Put(data+"/gitlab-rails/VERSION", hopFrom+"\n")
	h.Put(data+"/postgresql/data/PG_VERSION", "12")
	packagestest.Serve(h.Host, packagesURL+"/gitlab-ce/gpgkey/gitlab-gitlab-ce-3D645A26AB9FBD22.pub.gpg", hopKey)
	h.OnPage("http://localhost/users/sign_in", func(http.ResponseWriter, *http.Request) {})
	h.Answers("yum -q", "gitlab-ce.x86_64 13.12.15-ce.0.el7 gitlab-codedeploy\n")
	h.Answers("rpm -V", "")
	h.On("yum -y --enablerepo=gitlab-codedeploy install "+newPack, h.install)
	h.Answers("gitlab-ctl check-config", "")
	h.On("/opt/gitlab/bin/gitlab-ctl reconfigure", h.reconfigure)
	h.On("/opt/gitlab/bin/gitlab-ctl upgrade", h.reconfigure)
	h.On("gitlab-rake db:abort_if_pending_migrations", func(machinetest.Call) int {
		if h.visited[len(h.visited)-1] != h.version {
			return 1
		}
		return 0
	})
	h.Answers("gitlab-rails runner", "gitlab-codedeploy: 0\n")
	h.On("gitlab-psql", func(c machinetest.Call) int {
		switch {
		case strings.Contains(c.Input, "server_version_num"):
			c.Print("120006\n")
		case strings.Contains(c.Input, "SELECT 1;"):
			c.Print("1\n")
		case strings.Contains(c.Input, "pg_attribute"):
			c.Print("%s", schema)
		case strings.Contains(c.Input, "pg_collation"):
			c.Print("database\tgitlabhq_production\tc\ten_US.UTF-8\t\n")
		case strings.Contains(c.Input, "project_repositories"):
			c.Print("%s", h.rows())
		case strings.Contains(c.Input, "background_migration_jobs"), strings.Contains(c.Input, "batched_background_migrations"):
		default:
			c.Complain("ERROR:  not played: %s\n", c.Input)
			return 3
		}
		return 0
	})
	h.On("tar -xOf", func(c machinetest.Call) int {
		out, err := exec.Command(c.Args[0], c.Args[1:]...).Output()
		c.Print("%s", out)
		if err != nil {
			return 2
		}
		return 0
	})
	return h
}

// complete is the newest backup in the bucket that is complete and of a version, read and
// compared as a restore would: "" for none.
func (h *hop) complete(version string) string {
	listed, err := backups.List(h.t.Context(), h.cloud.client(), "example-backups", time.Now())
	require.NoError(h.t, err)
	for _, b := range listed {
		if !b.Complete || !strings.HasSuffix(b.ID, "_"+version) {
			continue
		}
		m, err := backups.ReadManifest(h.cloud.objects[backups.ManifestKey(b.ID)], b.ID)
		require.NoError(h.t, err)
		for _, part := range m.Parts {
			assert.Equal(h.t, part.SHA256, sumOf(string(h.cloud.objects[part.Key])), part.Key)
		}
		tar := h.cloud.objects[backups.TarKey(b.ID)]
		assert.Contains(h.t, string(tar), "PACK of old")
		assert.Contains(h.t, string(tar), "repositories/"+app+".bundle")
		assert.Contains(h.t, string(h.cloud.objects[backups.SecretKey(b.ID, "gitlab-secrets.json")]), "old")
		return b.ID
	}
	return ""
}

// install is yum, and GitLab's package: omnibus-gitlab 13.12.15,
// config/templates/package-scripts/{preinst,posttrans}.erb.
func (h *hop) install(c machinetest.Call) int {
	assert.NotEmpty(h.t, h.complete(hopFrom), "the package changes something, and there is no complete backup of before")
	assert.NotEmpty(h.t, h.Get("/var/lib/gitlab-codedeploy/upgrading"))
	now := time.Now()
	name := fmt.Sprintf("%d_%s_%s%s", now.Unix()+100, now.UTC().Format("2006_01_02"), hopFrom, tarName)
	c.Print("gitlab preinstall: Automatically backing up only the GitLab SQL database (excluding everything else!)\nCreating backup archive: %s ... done\n", name)
	h.Put(folder+"/"+name, string(tarOf(tarMember{name: "db/"}, tarMember{name: "db/database.sql.gz", content: gzipped(nil)},
		tarMember{name: "backup_information.yml", content: []byte("---\n:gitlab_version: 13.10.2\n:skipped: repositories,uploads,builds,artifacts,lfs,registry,pages\n")})))
	h.Step("rpm: " + hopTo + " is unpacked")
	h.rpm.Installed, h.version = []string{newPack}, hopTo
	h.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce "+hopTo+"\n")
	h.Step("rpm: posttrans of " + hopTo)
	return h.reconfigure(c)
}

func (h *hop) reconfigure(machinetest.Call) int {
	h.Step("reconfigure of " + h.version)
	if h.visited[len(h.visited)-1] != h.version {
		h.visited = append(h.visited, h.version)
	}
	h.Put(data+"/gitlab-rails/VERSION", h.version+"\n")
	return 0
}

func (h *hop) run() error {
	to, err := gitlab.ParseVersion(hopTo)
	require.NoError(h.t, err)
	u := upgrade.Upgrade{
		GitLab: omnibus.GitLab{Machine: h.Machine}, RepositoryURL: packagesURL, To: to, Keys: []gitlab.SigningKey{hopSigned},
		Backups: upgrade.BackupsIn(h.Machine, backup.NewBucket(h.Machine, h.cloud.client(), "example-backups")),
	}
	_, err = u.Run(h.t.Context())
	return err
}

// everything is all of GitLab on the host, and what is noted of an upgrade.
func (h *hop) everything() map[string]string {
	all := map[string]string{"rpm": strings.Join(h.rpm.Installed, " ")}
	for _, below := range []string{"/opt/gitlab", "/etc/gitlab", data, "/var/lib/gitlab-codedeploy"} {
		for name, text := range h.Files(below) {
			all[below+"/"+name] = text
		}
	}
	return all
}

// done asserts that the hop was made, once.
func (h *hop) done() {
	h.t.Helper()
	assert.Equal(h.t, []string{hopFrom, hopTo}, h.visited)
	assert.Equal(h.t, []string{newPack}, h.rpm.Installed)
	id := h.complete(hopFrom)
	assert.Contains(h.t, h.Get("/var/lib/gitlab-codedeploy/upgrades"), " "+hopFrom+" "+hopTo+" "+id+"\n")
	names, err := h.List(folder)
	require.NoError(h.t, err)
	assert.Empty(h.t, names, "neither our archive nor the package's dump is left")
	assert.False(h.t, h.Exists("/var/lib/gitlab-codedeploy/upgrading"))
}

func TestS8_aHopWithItsBackup(t *testing.T) {
	in := func(name string, test func(*testing.T)) { t.Run(name, func(t *testing.T) { synctest.Test(t, test) }) }
	in("S8 upgrade | a hop from 13.10.2 to 13.12.15, with a backup into the bucket | the backup is complete before the package changes anything", func(t *testing.T) {
		h := newHop(t)
		before := h.dataOf(t)
		require.NoError(t, h.run(), h.Talk)
		h.done()
		assert.Equal(t, before, h.dataOf(t))
		assert.Len(t, h.RanLike("env"), 1, "one backup")
		// Within the hour the next run needs no other.
		h.Forget()
		require.NoError(t, h.run())
		assert.Empty(t, h.RanLike("env"))
		assert.Empty(t, h.RanLike("yum"))
	})
	for _, tt := range []struct {
		name   string
		broken func(*hop)
		want   string
	}{
		{"S8 upgrade | the backup's dump breaks off, and GitLab says nothing | the hop is not begun, nothing is changed, and the next run makes both",
			func(h *hop) { h.dumpEnd = "" }, "is not complete: the database was not dumped"},
		{"S8 upgrade | a part of the backup fails, and gitlab-backup ends with 0 | the hop is not begun, nothing is changed, and the next run makes both",
			func(h *hop) { h.says = "Failed to create compressed file '/var/opt/gitlab/backups/uploads.tar.gz'\n" }, "gitlab-backup create ended with 0 and yet it failed: Failed to create"},
		{"S8 upgrade | a repository is missing in the backup | the hop is not begun, nothing is changed, and the next run makes both",
			func(h *hop) {
				h.members = func(members []tarMember) []tarMember {
					return slices.DeleteFunc(members, func(m tarMember) bool { return strings.HasSuffix(m.name, ".bundle") })
				}
			}, "has no bundle of 1 repositories: " + app},
		{"S8 upgrade | the backup is cut off on its way to the bucket | the hop is not begun, nothing is changed, and the next run makes both",
			func(h *hop) {
				h.cloud.damage = func(key string, b []byte) []byte {
					if strings.HasSuffix(key, ".tar") {
						return bytes.Clone(b[:len(b)-1])
					}
					return b
				}
			}, "cannot store backups/"},
		{"S8 upgrade | the bucket takes all of the backup but its manifest | the hop is not begun, nothing is changed, and the next run makes both",
			func(h *hop) {
				h.cloud.fail = func(operation, key string) error {
					if operation == "PutObject" && strings.HasSuffix(key, "manifest.json") {
						return awstest.Refusal("SlowDown", "later")
					}
					return nil
				}
			}, "cannot write the manifest: the backup does not count"},
	} {
		in(tt.name, func(t *testing.T) {
			h := newHop(t)
			h.Put("/opt/gitlab/embedded/service/gitlab-rails/VERSION", hopFrom)
			whole := *h.gitlabHost
			before := h.everything()
			tt.broken(h)
			err := h.run()
			require.ErrorContains(t, err, "the backup of before failed: ")
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, before, h.everything())
			assert.Empty(t, h.RanLike("yum -y"))
			assert.Empty(t, h.complete(hopFrom))

			h.dumpEnd, h.says, h.members, h.cloud.damage = whole.dumpEnd, whole.says, whole.members, nil
			h.cloud.fail = func(string, string) error { return nil }
			require.NoError(t, h.run(), h.Talk)
			h.done()
		})
	}
	t.Run("S8 upgrade | killed at any step of a hop with its backup | never a package without a complete backup of before, and the next run ends the hop", func(t *testing.T) {
		for n := 1; ; n++ {
			was := false
			synctest.Test(t, func(t *testing.T) {
				h := newHop(t)
				var step string
				step, was = h.RunKilledAt(n, h.run)
				require.NoError(t, h.run(), "killed before %d: %s\n%s", n, step, h.Talk)
				h.done()
			})
			if !was {
				require.Greater(t, n, 15)
				return
			}
		}
	})
}
