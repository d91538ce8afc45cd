package upgrade_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/packages/packagestest"
	"gitlab-codedeploy/internal/upgrade"
)

const base = "https://packages.example.com/gitlab"

// key is a key in the place of GitLab's, and signedBy what it is known by.
var key, signedBy = packagestest.Key("3D645A26AB9FBD22")

// server is a played host with GitLab, whose packages do what GitLab's do around an upgrade:
// omnibus-gitlab 13.10 to 18.11, config/templates/package-scripts/{preinst,posttrans}.erb and
// files/gitlab-ctl-commands/upgrade.rb.
type server struct {
	*machinetest.Host
	t   *testing.T
	rpm packagestest.RPM

	files      string   // the version of the files, "" for a mixture of two
	schema     string   // whose migrations have run
	visited    []string // each schema that there was
	queued     int
	batched    []string // rows of batched_background_migrations
	lost       int      // jobs of MigrateMergeRequestDiffCommitUsers
	postgresql int
	backups    []upgrade.Backup
	tooEarly   bool // a migration ran before those of the version before were finished
	unchecked  []string
	retried    []string
	packs      int // archives of /etc/gitlab that packages have made

	// What a test may change.
	forEver         bool // migrations never finish
	noMigrate       bool
	page            int
	failReconfigure string
	failPre         string
	failJobs        bool
	failAfter       int // packages that fail after their %pre
	failBackup      error
	removed         string // what check-config finds
	legacy          int
	remaining       func(machinetest.Call) int
	down            string
	backupFolder    string
}

func newServer(t *testing.T, version string) *server {
	s := &server{
		Host: machinetest.New(t), t: t, files: version, schema: version, visited: []string{version}, postgresql: 12, page: http.StatusOK,
		backupFolder: "/var/opt/gitlab/backups",
	}
	s.rpm.Installed = []string{s.pack(version)}
	s.Put("/opt/gitlab/bin/gitlab-ctl", "")
	s.Put("/etc/gitlab/gitlab.rb", "external_url 'https://gitlab.example.com'\n")
	s.Put("/var/opt/gitlab/gitlab-rails/VERSION", version+"\n")
	s.Put("/var/opt/gitlab/postgresql/data/PG_VERSION", "12")
	packagestest.Serve(s.Host, base+"/gitlab-ce/gpgkey/gitlab-gitlab-ce-3D645A26AB9FBD22.pub.gpg", key)
	s.OnPage("http://localhost/users/sign_in", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(s.page) })
	s.play()
	return s
}

func (s *server) pack(version string) string {
	family := "amazon2"
	if v, _ := gitlab.ParseVersion(version); v.Compare(gitlab.Version{Major: 14, Minor: 9}) < 0 {
		family = "el7"
	}
	return "gitlab-ce-" + version + "-ce.0." + family
}

func (s *server) upgrade(to string) upgrade.Upgrade {
	u := upgrade.Upgrade{
		GitLab: omnibus.GitLab{Machine: s.Machine}, RepositoryURL: base, Backups: s,
		Keys: []gitlab.SigningKey{signedBy},
	}
	if to != "" {
		u.To, _ = gitlab.ParseVersion(to)
	}
	return u
}

// run upgrades to a version.
func (s *server) run(to string, change ...func(*upgrade.Upgrade)) (upgrade.Result, error) {
	u := s.upgrade(to)
	for _, c := range change {
		c(&u)
	}
	return u.Run(s.t.Context())
}

// stands asserts that GitLab is still there, for a reason.
func (s *server) stands(version, want string, err error) {
	s.t.Helper()
	require.ErrorContains(s.t, err, want)
	assert.Equal(s.t, []string{s.pack(version)}, s.rpm.Installed)
}

// Newest and Make are the backups of the server.
func (s *server) Newest(context.Context) (upgrade.Backup, bool, error) {
	if len(s.backups) == 0 {
		return upgrade.Backup{}, false, nil
	}
	return s.backups[len(s.backups)-1], true, nil
}

func (s *server) Make(context.Context) (upgrade.Backup, error) {
	s.Step("make a backup")
	if s.failBackup != nil {
		return upgrade.Backup{}, s.failBackup
	}
	b := upgrade.Backup{ID: fmt.Sprintf("%d_2026_11_24_%s", 1700000000+len(s.backups), s.files), Version: s.files, Edition: "ce"}
	s.backups = append(s.backups, b)
	return b, nil
}

var numbers = regexp.MustCompile(`\d+\.\d+\.\d+`)

func versionOf(text string) string { return numbers.FindString(text) }

func (s *server) play() {
	s.rpm.Play(s.Host)
	s.On("rpm -V", func(c machinetest.Call) int {
		c.Print("S.5....T.  c /etc/gitlab/x\nmissing   c /etc/y\n")
		if s.files != versionOf(s.rpm.Installed[0]) {
			c.Print("S.5....T.    /opt/gitlab/embedded/service/gitlab-rails/VERSION\n")
			return 1
		}
		return 1
	})
	s.On("yum -q", func(c machinetest.Call) int {
		for _, stop := range gitlab.Stops() {
			c.Print("gitlab-ce.x86_64 %s gitlab-codedeploy\n", strings.TrimPrefix(s.pack(stop.Version.String()), "gitlab-ce-"))
		}
		return 0
	})
	s.On("yum -y --enablerepo=gitlab-codedeploy install", s.yum)
	s.On("gitlab-ctl status", func(c machinetest.Call) int {
		c.Print("%srun: postgresql: (pid 1) 5s; run: log: (pid 2) 5s\n", s.down)
		return 0
	})
	s.On("gitlab-ctl check-config", func(c machinetest.Call) int {
		if s.removed != "" {
			c.Print("%s\n", s.removed)
			return 1
		}
		return 0
	})
	s.On("/opt/gitlab/bin/gitlab-ctl reconfigure", s.reconfigure)
	s.On("/opt/gitlab/bin/gitlab-ctl upgrade", s.post)
	s.On("gitlab-rake db:abort_if_pending_migrations", func(c machinetest.Call) int {
		if s.files == "" || s.schema != s.files {
			c.Complain("You have 3 pending migrations:\n")
			return 1
		}
		return 0
	})
	s.On("gitlab-rake db:migrate", func(machinetest.Call) int {
		s.failReconfigure = ""
		s.migrate()
		return 0
	})
	s.On("gitlab-rake gitlab:storage:legacy_projects", func(c machinetest.Call) int {
		c.Print("* Found %d projects using Legacy Storage\n", s.legacy)
		return 0
	})
	s.On("gitlab-rake gitlab:storage:legacy_attachments", func(c machinetest.Call) int {
		c.Print("* Found %d attachments using Legacy Storage\n", s.legacy)
		return 0
	})
	s.On("gitlab-psql", s.psql)
	s.On("gitlab-rails runner -e production -", func(c machinetest.Call) int {
		switch {
		case strings.Contains(c.Input, "BackgroundMigration.remaining"):
			if s.remaining != nil {
				return s.remaining(c)
			}
			c.Print("gitlab-codedeploy: %d\n", s.queued)
			if s.queued > 0 && !s.forEver {
				s.queued--
			}
		case strings.Contains(c.Input, "retry_failed_jobs!"):
			s.retried = append(s.retried, c.Args[len(c.Args)-1])
			for i := range s.batched {
				fields := strings.Split(s.batched[i], "\t")
				fields[1] = "1"
				s.batched[i] = strings.Join(fields, "\t")
			}
			c.Print("gitlab-codedeploy: 1\n")
		case strings.Contains(c.Input, "BackgroundMigrationJob.pending"):
			s.retried = append(s.retried, c.Args[len(c.Args)-1])
			if s.failJobs {
				c.Complain("3 of 3 jobs failed: MigrateMergeRequestDiffCommitUsers [1, 2]: ActiveRecord::StatementInvalid: PG::DiskFull\n")
				return 1
			}
			s.lost = 0
			c.Print("gitlab-codedeploy: 3\n")
		default:
			s.t.Errorf("a program that is not played: %s", c.Input)
		}
		return 0
	})
	s.On("pgrep", func(machinetest.Call) int { return 1 })
	s.Answers("tar -xOf", ":skipped: repositories,uploads,builds,artifacts,lfs,registry,pages\n")
}

func (s *server) psql(c machinetest.Call) int {
	if s.postgresql == 0 {
		c.Complain("psql: could not connect to server: No such file or directory\n")
		return 2
	}
	switch {
	case strings.Contains(c.Input, "server_version_num"):
		c.Print("%d0004\n", s.postgresql)
	case strings.Contains(c.Input, "FROM batched_background_migrations"):
		for _, row := range s.batched {
			c.Print("%s\n", row)
		}
		if !s.forEver { // finished until the next question
			s.batched = slices.DeleteFunc(s.batched, func(row string) bool { return strings.Split(row, "\t")[1] == "1" })
		}
	case strings.Contains(c.Input, "FROM background_migration_jobs"):
		if s.lost > 0 {
			c.Print("MigrateMergeRequestDiffCommitUsers\t%d\n", s.lost)
		}
	case strings.Contains(c.Input, "SELECT 1;"):
		c.Print("1\n")
	case strings.Contains(c.Input, "pg_collation"):
		c.Print("database\tgitlabhq_production\tc\ten_US.UTF-8\t\n")
	default: // the schema
		c.Print("application_settings\tid\nbackground_migration_jobs\tid\n")
		if v, _ := gitlab.ParseVersion(s.schema); v.Major >= 14 {
			c.Print("batched_background_migrations\tid\n")
		}
	}
	return 0
}

// yum installs a package. yum of Amazon Linux 2 says "Complete!" whatever its %pre says.
func (s *server) yum(c machinetest.Call) int {
	pack := c.Args[len(c.Args)-1]
	to, from := versionOf(pack), versionOf(s.rpm.Installed[0])
	if s.pre(c, from, to) != 0 {
		c.Print("error: %%pre(%s.x86_64) scriptlet failed, exit status 1\nError in PREIN scriptlet in rpm package %[1]s\n\nComplete!\n", pack)
		return 0
	}
	if s.failAfter > 0 {
		s.failAfter--
		c.Print("Error unpacking rpm package %s.x86_64\nerror: unpacking of archive failed: cpio: write\n", pack)
		return 1
	}
	s.Step("rpm: " + to + " half unpacked")
	s.files = ""
	s.Step("rpm: " + to + " nearly unpacked")
	s.files = to
	s.rpm.Installed = append(s.rpm.Installed, pack)
	s.Step("rpm: the old one is still there beside " + to)
	s.rpm.Installed = []string{pack}
	s.Step("rpm: posttrans of " + to)
	if s.post(c) != 0 {
		c.Print("warning: %%posttrans(%s.x86_64) scriptlet failed, exit status 1\n", pack)
	}
	c.Print("Complete!\n")
	return 0
}

// post is "gitlab-ctl upgrade", which %posttrans is.
func (s *server) post(c machinetest.Call) int {
	to := s.files
	if s.Exists("/etc/gitlab/skip-auto-reconfigure") {
		return 0
	}
	moves := map[string]int{"15.11": 13, "16.11": 14, "17.11": 16, "18.11": 17}
	s.Step("PostgreSQL for " + to)
	if now := moves[to[:strings.LastIndex(to, ".")]]; now > s.postgresql && !s.Exists("/etc/gitlab/disable-postgresql-upgrade") {
		s.Put(fmt.Sprintf("/var/opt/gitlab/postgresql/data.%d/PG_VERSION", s.postgresql), "old")
		s.postgresql = now
	}
	return s.reconfigure(c)
}

func (s *server) pre(c machinetest.Call, from, to string) int {
	if s.failPre != "" {
		c.Print("gitlab preinstall: %s\n", s.failPre)
		return 1
	}
	if s.postgresql == 0 {
		s.unchecked = append(s.unchecked, to)
	}
	v, _ := gitlab.ParseVersion(to)
	if v.Compare(gitlab.Version{Major: 14}) >= 0 && v.Compare(gitlab.Version{Major: 16, Minor: 5}) < 0 && !s.Exists("/etc/gitlab/skip-unmigrated-data-check") && s.files == "" {
		c.Print("gitlab preinstall: Checking for unmigrated data on legacy storage\ngitlab preinstall: \ngitlab preinstall: Upgrade failed. Could not check for unmigrated data on legacy storage.\n")
		return 1
	}
	if s.Exists("/etc/gitlab/skip-auto-backup") {
		s.unchecked = append(s.unchecked, to)
		return 0
	}
	c.Print("gitlab preinstall: Automatically backing up only the GitLab SQL database (excluding everything else!)\n")
	if s.files == "" {
		c.Print("LoadError: cannot load such file\ngitlab preinstall: \ngitlab preinstall: Database backup failed! If you want to skip this backup, run the following command and try again:\ngitlab preinstall: \ngitlab preinstall:  sudo touch /etc/gitlab/skip-auto-backup\ngitlab preinstall: \n")
		return 1
	}
	// lib/backup/manager.rb; files/gitlab-ctl-commands/lib/gitlab_ctl/backup.rb of omnibus-gitlab.
	name := "1700009999_2026_11_24_" + from + "_gitlab_backup.tar"
	c.Print("2026-11-24 03:00:07 UTC -- Creating backup archive: %s ... \n", name)
	s.Put(s.backupFolder+"/"+name, "the package's own")
	s.packs++
	name = fmt.Sprintf("gitlab_config_%d_2026_11_24.tar", 1700010000+s.packs)
	c.Print("gitlab preinstall: Automatically backing up /etc/gitlab\nRunning configuration backup\nCreating configuration backup archive: %s\n", name)
	s.Put("/etc/gitlab/config_backup/"+name, "the package's own")
	c.Print("Configuration backup archive complete: /etc/gitlab/config_backup/%s\nKeeping all older configuration backups\n", name)
	return 0
}

func (s *server) reconfigure(c machinetest.Call) int {
	s.Step("reconfigure of " + s.files)
	if s.failReconfigure != "" {
		c.Complain("There was an error running gitlab-ctl reconfigure:\n\n%s\n", s.failReconfigure)
		return 1
	}
	if !s.noMigrate && !s.migrate() {
		c.Complain("There was an error running gitlab-ctl reconfigure:\n\nExpected batched background migration for the given configuration to be marked as 'finished'\n")
		return 1
	}
	s.Step("the schema of " + s.files + " is there")
	s.Put("/var/opt/gitlab/gitlab-rails/VERSION", s.files+"\n")
	return 0
}

func (s *server) migrate() bool {
	if s.schema == s.files {
		return true
	}
	if len(s.batched) > 0 || s.queued > 0 {
		s.tooEarly = true
		return false
	}
	s.visited, s.schema = append(s.visited, s.files), s.files
	v, _ := gitlab.ParseVersion(s.files)
	if v.Compare(gitlab.Version{Major: 15, Minor: 1}) < 0 {
		s.queued = 2
	}
	if v.Major >= 14 {
		s.batched = []string{"1\t1\tBackfill\tprojects\tid\t[]"}
	}
	return true
}

// allStops asserts a whole upgrade: nothing skipped, nothing twice, and a backup of each
// version before it was left.
func (s *server) allStops(from string, stops []string) {
	s.t.Helper()
	assert.Equal(s.t, append([]string{from}, stops...), s.visited)
	assert.False(s.t, s.tooEarly)
	journal := s.Get("/var/lib/gitlab-codedeploy/upgrades")
	for _, to := range stops {
		assert.True(s.t, slices.ContainsFunc(s.backups, func(b upgrade.Backup) bool { return b.Version == from }), "a backup of %s", from)
		assert.Regexp(s.t, fmt.Sprintf(`(?m)^\S+ %s %s \d+_2026_11_24_%s$`, regexp.QuoteMeta(from), regexp.QuoteMeta(to), regexp.QuoteMeta(from)), journal)
		from = to
	}
	assert.Equal(s.t, len(stops), strings.Count(journal, "\n"), journal)
	for _, file := range []string{"/var/lib/gitlab-codedeploy/upgrading", "/var/lib/gitlab-codedeploy/skipping", "/etc/gitlab/skip-auto-backup", "/etc/gitlab/skip-unmigrated-data-check", "/etc/gitlab/skip-fail-config-check"} {
		assert.False(s.t, s.Exists(file), file)
	}
}

var first = strings.Fields("13.12.15 14.0.12 14.3.6 14.9.5 14.10.5 15.0.5 15.4.6")

func TestS8_From13To15ByEveryStopEachFromItsDistributionsRepositoryWithABackupBeforeEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, "13.10.2")
		result, err := s.run("15.4.6")
		require.NoError(t, err, s.Talk)
		assert.Equal(t, upgrade.Result{From: "13.10.2", To: "15.4.6", Edition: "ce"}, result)
		s.allStops("13.10.2", first)
		assert.Len(t, s.backups, 7)
		assert.Empty(t, s.RanLike("/opt/gitlab/bin/gitlab-ctl"), "the packages' own reconfigures were right")
		assert.Contains(t, s.Talk.String(), "waiting for migrations: 1 batched: Backfill on projects (active)")
		for _, folder := range []string{"/var/opt/gitlab/backups", "/etc/gitlab/config_backup"} {
			names, err := s.List(folder)
			require.NoError(t, err)
			assert.Empty(t, names, "what the packages have made for themselves is gone")
		}
		assert.Equal(t, 7, s.packs)

		s.Forget()
		result, err = s.run("15.4.6")
		require.NoError(t, err)
		assert.Equal(t, upgrade.Result{From: "15.4.6", To: "15.4.6", Edition: "ce"}, result)
		assert.Empty(t, s.RanLike("yum"))
	})
}

func TestS8_WithoutALastStopItGoesToTheFirstVersionWithoutAKnownHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, "13.10.2")
		result, err := s.run("")
		require.NoError(t, err, s.Talk)
		assert.Equal(t, "18.11.13", result.To)
		assert.Empty(t, gitlab.HolesOf(gitlab.Version{Major: 18, Minor: 11, Patch: 13}))
		stops := first
		for _, stop := range gitlab.Stops() {
			if v := stop.Version; v.Compare(gitlab.Version{Major: 15, Minor: 5}) > 0 && v.Major < 19 {
				stops = append(slices.Clone(stops), v.String())
			}
		}
		s.allStops("13.10.2", stops)
		assert.Equal(t, 17, s.postgresql)
		names, err := s.List("/var/opt/gitlab/postgresql")
		require.NoError(t, err)
		assert.Equal(t, []string{"data"}, names, "what pg-upgrade leaves is gone")
	})
}

func TestS8_UpgradesThatWereKilled(t *testing.T) {
	for _, way := range []struct{ name, from, to string }{
		{"S8 upgrade | killed before every change, and in the middle of every package, from 13.10.2 to 15.4.6, and started again | it ends at 15.4.6, each stop once, no hop without its backup", "13.10.2", "15.4.6"},
		{"S8 upgrade | killed in the hops that move PostgreSQL, and check less | it ends at the last stop", "16.7.10", "17.11.7"},
	} {
		t.Run(way.name, func(t *testing.T) {
			var stops []string
			for _, stop := range gitlab.Stops() {
				from, _ := gitlab.ParseVersion(way.from)
				to, _ := gitlab.ParseVersion(way.to)
				if stop.Version.Compare(from) > 0 && stop.Version.Compare(to) <= 0 {
					stops = append(stops, stop.Version.String())
				}
			}
			for n := 1; ; n++ {
				was := false
				synctest.Test(t, func(t *testing.T) {
					s := newServer(t, way.from)
					if way.from == "16.7.10" {
						s.postgresql = 13
					}
					var step string
					step, was = s.RunKilledAt(n, func() error {
						_, err := s.run(way.to)
						return err
					})
					if !was {
						require.Greater(t, n, 60)
					}
					_, err := s.run(way.to)
					require.NoError(t, err, "killed before %d: %s\n%s", n, step, s.Talk)
					s.allStops(way.from, stops)
					if len(s.unchecked) > 0 {
						assert.Contains(t, s.Talk.String(), "for this installation alone the package's checks, which such a mixture cannot pass, are skipped")
					}
				})
				if !was {
					return
				}
			}
		})
	}
	t.Run("S8 upgrade | killed again and again, at another step each time | it ends at the last stop all the same", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, "13.10.2")
			runs := 0
			for was := true; was; runs++ {
				require.Less(t, runs, 400)
				_, was = s.RunKilledAt(7+runs%23, func() error {
					_, err := s.run("15.4.6")
					require.NoError(t, err)
					return err
				})
			}
			assert.Greater(t, runs, 5)
			s.allStops("13.10.2", first)
		})
	})
}

func TestS8_WhatStopsAnUpgrade(t *testing.T) {
	in := func(name string, test func(*testing.T)) { t.Run(name, func(t *testing.T) { synctest.Test(t, test) }) }
	failed := "9\t4\tCopyColumn\tevents\tid\t[[\"id\"], [\"id_convert_to_bigint\"]]"
	fix := func(u *upgrade.Upgrade) { u.Fix = true }

	in("S8 upgrade | migrations that never end | it waits for its time, then stops before the hop and says what is left", func(t *testing.T) {
		s := newServer(t, "13.10.2")
		s.queued, s.forEver = 7, true
		begin := time.Now()
		_, err := s.run("15.4.6")
		s.stands("13.10.2", "the migrations of 13.10.2 are not finished; start the upgrade again to go on waiting within 24h0m0s", err)
		assert.GreaterOrEqual(t, time.Since(begin), 24*time.Hour)
		assert.Contains(t, s.Talk.String(), "waiting for migrations: 7 jobs in Sidekiq")
	})
	in("S8 upgrade | asking for migrations crashes, prints rubbish, or prints nothing | that is not finished: it stops before the hop", func(t *testing.T) {
		for _, answer := range []string{"", "gitlab-codedeploy: nil\n", "gitlab-codedeploy: -1\n", "DEPRECATION WARNING\n0\n", "gitlab-codedeploy: 0 0\n", "crash"} {
			s := newServer(t, "13.10.2")
			s.remaining = func(c machinetest.Call) int {
				if answer == "crash" {
					c.Complain("boom\n")
					return 139
				}
				c.Print("%s", answer)
				return 0
			}
			_, err := s.run("15.4.6")
			s.stands("13.10.2", "whether the migrations of 13.10.2 are finished cannot be told", err)
			_, err = s.upgrade("15.4.6").Preflight(t.Context())
			require.Error(t, err)
			assert.Contains(t, s.Talk.String(), "in the way: whether the migrations of 13.10.2 are finished cannot be told")
		}
	})
	in("S8 upgrade | a batched migration failed | it stops, names it and the remedy; --fix-known-jobs retries it on each version of the path, and goes on", func(t *testing.T) {
		for _, version := range []string{"14.0.12", "14.3.6", "15.0.5", "17.5.5"} {
			stop := func() string {
				for _, s := range gitlab.Stops() {
					if v, _ := gitlab.ParseVersion(version); s.Version.Compare(v) > 0 {
						return s.Version.String()
					}
				}
				return ""
			}()
			s := newServer(t, version)
			s.postgresql = 16
			s.batched = []string{failed}
			_, err := s.run(stop)
			s.stands(version, "CopyColumn on events (failed) failed: Admin Area, Monitoring, Background Migrations, Retry. Or start again with --fix-known-jobs", err)
			assert.Empty(t, s.retried)
			_, err = s.run(stop, fix)
			require.NoError(t, err, s.Talk)
			assert.Equal(t, []string{`{"id":9}`}, s.retried)
		}
	})
	in("S8 upgrade | a batched migration is paused, or a killed task has left it finalizing | both are told apart from waiting, with what to do", func(t *testing.T) {
		s := newServer(t, "14.9.5")
		s.batched = []string{strings.Replace(failed, "\t4\t", "\t0\t", 1)}
		_, err := s.run("14.10.5")
		s.stands("14.9.5", "CopyColumn on events (paused) was paused by somebody: Admin Area, Monitoring, Background Migrations, Resume", err)
		s.batched = []string{strings.Replace(failed, "\t4\t", "\t5\t", 1)}
		begin := time.Now()
		_, err = s.run("14.10.5")
		s.stands("14.9.5", "CopyColumn on events (finalizing) was left behind by a task that was killed", err)
		assert.GreaterOrEqual(t, time.Since(begin), 10*time.Minute, "a task may be at it")
		s.On("pgrep", func(machinetest.Call) int { return 0 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = s.upgrade("14.10.5").Run(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "while a task is at it, it is waited for")
		s.On("pgrep", func(machinetest.Call) int { return 1 })
		_, err = s.run("14.10.5", fix)
		require.NoError(t, err)
		assert.Equal(t, []string{`{"id":9}`}, s.retried)
	})
	in("S8 upgrade | jobs of MigrateMergeRequestDiffCommitUsers are left at 14.3, and Sidekiq has lost them | 14.9 is not begun; --fix-known-jobs runs them", func(t *testing.T) {
		s := newServer(t, "14.3.6")
		s.lost = 3
		_, err := s.run("14.9.5")
		s.stands("14.3.6", "3 jobs pending that Sidekiq does not have", err)
		s.failJobs = true
		begin := time.Now()
		_, err = s.run("14.9.5", fix)
		s.stands("14.3.6", "the documented remedies included: 3 jobs pending that Sidekiq does not have", err)
		assert.Less(t, time.Since(begin), time.Hour, "nobody else will run them")
		assert.Contains(t, s.Talk.String(), "that failed: run the lost jobs: gitlab-rails runner ended with 1: 3 of 3 jobs failed")
		s.failJobs, s.retried = false, nil
		_, err = s.run("14.9.5", fix)
		require.NoError(t, err)
		assert.Equal(t, []string{`{"classes":["MigrateMergeRequestDiffCommitUsers"]}`}, s.retried)
	})
	in("S8 upgrade | settings, legacy storage, PostgreSQL, disk or a skip-file are in the way | all of them are named at once, by preflight and by the run", func(t *testing.T) {
		s := newServer(t, "13.12.15")
		s.removed, s.legacy, s.postgresql, s.Free = "Removed configurations found in gitlab.rb:", 4, 11, 1<<20
		s.Put("/etc/gitlab/skip-auto-reconfigure", "")
		s.Put("/etc/gitlab/disable-postgresql-upgrade", "")
		s.Put("/etc/gitlab/gitlab.rb", "unicorn['worker_processes'] = 3\n repmgr['enable'] = true\n# grafana['enable'] = true\npostgresql['version'] = 11\n")
		reasons := []string{
			"rm /etc/gitlab/skip-auto-reconfigure", "PostgreSQL is 11, and GitLab 14.0.12 needs 12, and /etc/gitlab/disable-postgresql-upgrade opted out of it",
			"postgresql['version'] = 11 in /etc/gitlab/gitlab.rb pins it by hand", "gitlab-ctl check-config --version=14.0.12", "4 projects are in legacy storage",
			"4 attachments are in legacy storage", "unicorn settings, which 14.0 refuses", "repmgr settings, which 14.0 refuses", "/opt has 1 MiB free, and a package needs 6144",
			"/var/opt/gitlab has 1 MiB free, and the package's own database backup needs",
		}
		_, err := s.run("14.0.12")
		for _, reason := range reasons {
			s.stands("13.12.15", reason, err)
		}
		assert.NotContains(t, err.Error(), "grafana")
		before := s.Files("/")
		s.Talk.Reset()
		_, err = s.upgrade("14.0.12").Preflight(t.Context())
		require.ErrorContains(t, err, "preflight found something in the way of GitLab 14.0.12: see above; nothing was changed")
		for _, reason := range reasons {
			assert.Contains(t, s.Talk.String(), "in the way: ")
			assert.Contains(t, s.Talk.String(), reason)
		}
		assert.Equal(t, before, s.Files("/"))
		assert.Empty(t, s.backups)
	})
	in("S8 upgrade | a setting that the check of the version before does not know is removed by the next | it is named before the package", func(t *testing.T) {
		for _, tt := range []struct{ from, to, line, want string }{
			{"15.0.5", "15.4.6", "gitaly['ruby_rugged_git_config_search_path'] = '/x'", "which 15.1 refuses"},
			{"15.4.6", "15.11.13", "gitlab_rails['enable_jemalloc'] = true", "which 15.5 refuses"},
			{"15.11.13", "16.3.9", "grafana['enable'] = true", "which 16.3 refuses"},
			{"18.11.13", "19.2.9", "mattermost_external_url 'https://m.example.com'", "which 19.0 refuses"},
		} {
			s := newServer(t, tt.from)
			s.postgresql = 17
			s.Put("/etc/gitlab/gitlab.rb", tt.line+"\n")
			_, err := s.run(tt.to)
			s.stands(tt.from, tt.want, err)
			s.Put("/etc/gitlab/gitlab.rb", "# "+tt.line+"\n")
			_, err = s.run(tt.to)
			require.NoError(t, err)
		}
	})
	in("S8 upgrade | a hop moves PostgreSQL, and the data volume has no room for its copy | it is named before the package, with both figures", func(t *testing.T) {
		s := newServer(t, "15.4.6")
		s.Put("/var/opt/gitlab/postgresql/data/base/1", strings.Repeat("x", 8<<20))
		s.FreeBytes = func(path string) (int64, error) {
			if path == "/var/opt/gitlab" {
				return 1030 << 20, nil // enough for the dump, and not for the copy
			}
			return 1 << 40, nil
		}
		_, err := s.run("15.11.13")
		s.stands("15.4.6", "/var/opt/gitlab has 1030 MiB free, and the package's own database backup and the move from PostgreSQL 12 to 13 need 1036", err)
		s.Put("/etc/gitlab/disable-postgresql-upgrade", "")
		_, err = s.run("15.11.13")
		require.NoError(t, err)
	})
	in("S8 upgrade | the database is down | it stops, for the package would skip its checks", func(t *testing.T) {
		s := newServer(t, "13.10.2")
		s.postgresql, s.down = 0, "down: postgresql: 1s, normally up\n"
		_, err := s.run("15.4.6")
		s.stands("13.10.2", "services are down: down: postgresql", err)
		assert.Empty(t, s.unchecked)
	})
	in("S8 upgrade | the package is not in the repository | nothing is installed, and no backup was made for nothing", func(t *testing.T) {
		s := newServer(t, "13.10.2")
		s.On("yum -q", func(machinetest.Call) int { return 1 })
		_, err := s.run("15.4.6")
		s.stands("13.10.2", "cannot list gitlab-ce in "+base, err)
		assert.Empty(t, s.backups)
	})
	in("S8 upgrade | the backup fails | the hop is not begun; without backups only when that is said", func(t *testing.T) {
		s := newServer(t, "13.12.15")
		s.failBackup = errors.New("the bucket refuses")
		_, err := s.run("14.0.12")
		s.stands("13.12.15", "the backup of before failed: the bucket refuses", err)
		_, err = s.run("14.0.12", func(u *upgrade.Upgrade) { u.Backups = nil })
		require.NoError(t, err)
		assert.Contains(t, s.Talk.String(), "WARNING: no backup before this hop")
		names, _ := s.List("/var/opt/gitlab/backups")
		assert.Len(t, names, 1, "without ours, the package's own dump stays")
		names, _ = s.List("/etc/gitlab/config_backup")
		assert.Len(t, names, 1, "and its archive of the settings")
	})
	in("S8 upgrade | the newest backup is too old, or of another version | a new one is made", func(t *testing.T) {
		for _, b := range []upgrade.Backup{
			{ID: "1", Version: "13.12.15", Edition: "ce", Age: 61 * time.Minute}, {ID: "1", Version: "13.10.2", Edition: "ce"},
			{ID: "1", Version: "13.12.15", Edition: "ee"}, {ID: "1", Version: "13.12.15", Edition: "ce", Age: -time.Minute},
		} {
			s := newServer(t, "13.12.15")
			s.backups = []upgrade.Backup{b}
			_, err := s.run("14.0.12")
			require.NoError(t, err)
			assert.Len(t, s.backups, 2)
		}
		s := newServer(t, "13.12.15")
		s.backups = []upgrade.Backup{{ID: "1700000000_2026_11_24_13.12.15", Version: "13.12.15", Edition: "ce", Age: time.Minute}}
		_, err := s.run("14.0.12")
		require.NoError(t, err)
		assert.Len(t, s.backups, 1)
	})
	in("S8 upgrade | the package's own check refuses it, and yum says Complete | the reason is told, the old version stays and runs, and the next run goes on with the same backup", func(t *testing.T) {
		s := newServer(t, "13.12.15")
		s.failPre = "Your version of PostgreSQL is no longer supported."
		_, err := s.run("14.0.12")
		s.stands("13.12.15", "yum reports success, and gitlab-ce-14.0.12-ce.0.el7 is not installed: Your version of PostgreSQL is no longer supported.", err)
		assert.Equal(t, "13.12.15", s.files)
		s.failPre = ""
		_, err = s.run("14.0.12")
		require.NoError(t, err)
		assert.Equal(t, []string{"13.12.15", "14.0.12"}, s.visited)
		assert.Len(t, s.backups, 1)
	})
	in("S8 upgrade | the package is not signed | the manager refuses it, the old version stays and runs, and the next run goes on with the same backup", func(t *testing.T) {
		s := newServer(t, "13.12.15")
		s.On("yum -y --enablerepo=gitlab-codedeploy install", func(c machinetest.Call) int {
			c.Complain("Package gitlab-ce-14.0.12-ce.0.el7.x86_64.rpm is not signed\n")
			return 1
		})
		_, err := s.run("14.0.12")
		s.stands("13.12.15", "yum could not install gitlab-ce-14.0.12-ce.0.el7: Package gitlab-ce-14.0.12-ce.0.el7.x86_64.rpm is not signed. Start the upgrade again when that is fixed", err)
		assert.Contains(t, s.Get("/etc/yum.repos.d/gitlab-codedeploy.repo"), "\ngpgcheck=1\n")
		assert.Equal(t, "13.12.15", s.files)
		s.On("yum -y --enablerepo=gitlab-codedeploy install", s.yum)
		_, err = s.run("14.0.12")
		require.NoError(t, err)
		assert.Len(t, s.backups, 1)
	})
	in("S8 upgrade | reconfigure fails, or passes Chef's hour | it stops there with the real reason, and the next run goes on; the hour is helped", func(t *testing.T) {
		s := newServer(t, "13.12.15")
		s.failReconfigure = "bash[migrate gitlab-rails database] had an error: PG::UndefinedColumn"
		_, err := s.run("14.0.12")
		s.stands("14.0.12", "GitLab 14.0.12: gitlab-ctl reconfigure failed: bash[migrate gitlab-rails database] had an error: PG::UndefinedColumn", err)
		assert.Empty(t, s.Get("/var/lib/gitlab-codedeploy/upgrades"))
		s.failReconfigure = "Mixlib::ShellOut::CommandTimeout: Command timed out after 3600s:"
		_, err = s.run("14.0.12")
		require.NoError(t, err)
		assert.Contains(t, s.Talk.String(), "longer than Chef's hour")
		assert.Equal(t, []string{"13.12.15", "14.0.12"}, s.visited)
		assert.Len(t, s.backups, 1)
	})
	in("S8 upgrade | auto_migrate is off, so that reconfigure ends well without migrating | the stop is not reached, and the setting is named", func(t *testing.T) {
		s := newServer(t, "13.12.15")
		s.noMigrate = true
		s.Put("/etc/gitlab/gitlab.rb", "gitlab_rails['auto_migrate'] = false\n")
		_, err := s.run("14.0.12")
		s.stands("14.0.12", "schema migrations of 14.0.12 are pending after its reconfigure, for gitlab_rails['auto_migrate'] = false stands in /etc/gitlab/gitlab.rb", err)
		assert.True(t, s.Exists("/var/lib/gitlab-codedeploy/upgrading"))
		s.migrate()
		_, err = s.run("14.0.12")
		require.NoError(t, err)
	})
	in("S8 upgrade | GitLab never gets ready | it says so, and does not go on to the next stop", func(t *testing.T) {
		s := newServer(t, "13.12.15")
		s.page = http.StatusBadGateway
		_, err := s.run("14.0.12")
		s.stands("13.12.15", "GitLab 13.12.15 does not get ready: the sign-in page answers with HTTP 502", err)
	})
	in("S8 upgrade | rpm's database has locks of a killed rpm, or a package twice of two editions | the locks go and it is built again; the other is named", func(t *testing.T) {
		s := newServer(t, "13.12.15")
		broken := true
		s.Put("/var/lib/rpm/__db.001", "")
		s.Put("/var/lib/rpm/Packages", "")
		s.On("rpm -q rpm", func(machinetest.Call) int { return yes(!broken) })
		s.On("rpm -qa", func(machinetest.Call) int { return yes(!broken) })
		s.On("rpm --rebuilddb", func(machinetest.Call) int {
			broken = false
			return 0
		})
		_, err := s.run("14.0.12")
		require.NoError(t, err)
		names, _ := s.List("/var/lib/rpm")
		assert.Equal(t, []string{"Packages"}, names)
		s.rpm.Installed = []string{"gitlab-ce-14.0.12-ce.0.el7", "gitlab-ee-14.0.12-ee.0.el7"}
		_, err = s.run("14.3.6")
		require.ErrorContains(t, err, "are installed at once: remove one by hand")
	})
	in("S8 upgrade | GitLab's backups are in another folder, on a disk of their own | room is looked for there, and the package's dump is removed there", func(t *testing.T) {
		s := newServer(t, "15.4.6")
		s.backupFolder = "/mnt/backups"
		s.Put("/var/opt/gitlab/gitlab-rails/etc/gitlab.yml", "production:\n  backup:\n    path: \"/mnt/backups\"\n")
		s.Put("/var/opt/gitlab/backups/1700009998_2026_11_24_15.4.6_gitlab_backup.tar", "not GitLab's folder any more")
		s.Put("/var/opt/gitlab/postgresql/data/base/1", strings.Repeat("x", 8<<20))
		full := map[string]int64{"/mnt/backups": 1000 << 20}
		s.FreeBytes = func(path string) (int64, error) { return cmp.Or(full[path], 1<<40), nil }
		_, err := s.run("15.11.13")
		s.stands("15.4.6", "/mnt/backups has 1000 MiB free, and the package's own database backup needs 1028", err)
		full = map[string]int64{"/var/opt/gitlab": 4 << 20}
		_, err = s.run("15.11.13")
		s.stands("15.4.6", "/var/opt/gitlab has 4 MiB free, and the move from PostgreSQL 12 to 13 needs 8", err)
		full = nil
		_, err = s.run("15.11.13")
		require.NoError(t, err, s.Talk)
		names, err := s.List("/mnt/backups")
		require.NoError(t, err)
		assert.Empty(t, names)
		names, err = s.List("/var/opt/gitlab/backups")
		require.NoError(t, err)
		assert.Len(t, names, 1)
	})
	in("S8 upgrade | operators' own backups lie where the package puts its own, some of the database alone | they are kept", func(t *testing.T) {
		s := newServer(t, "13.12.15")
		s.backups = []upgrade.Backup{{ID: "1700000000_2026_11_24_13.12.15", Version: "13.12.15", Edition: "ce", Age: time.Minute}}
		kept := map[string]string{
			"/var/opt/gitlab/backups/1700000001_2026_11_24_13.12.15_gitlab_backup.tar": ":skipped: \n",                                                              // all of it
			"/var/opt/gitlab/backups/1700000002_2026_11_24_13.12.15_gitlab_backup.tar": ":skipped: repositories\n",                                                  // without repositories
			"/var/opt/gitlab/backups/1700000003_2026_11_24_13.12.15_gitlab_backup.tar": "tar",                                                                       // no tar
			"/var/opt/gitlab/backups/1699999999_2026_11_24_13.12.15_gitlab_backup.tar": ":skipped: repositories,uploads,builds,artifacts,lfs,registry,pages\n",      // from before
			"/var/opt/gitlab/backups/1700000004_2026_11_24_13.12.14_gitlab_backup.tar": ":skipped: repositories,uploads,builds,artifacts,lfs,registry,pages\n",      // of another version
			"/var/opt/gitlab/backups/by-hand.tar":                                      "", "/etc/gitlab/config_backup/gitlab_config_1700010000_2026_11_24.tar": "", // a cron job's
		}
		for name, about := range kept {
			s.Put(name, "mine")
			s.On("tar -xOf "+s.Path(name), func(c machinetest.Call) int {
				c.Print("%s", about)
				return yes(about != "tar")
			})
		}
		_, err := s.run("14.0.12")
		require.NoError(t, err)
		for name := range kept {
			assert.Equal(t, "mine", s.Get(name), name)
		}
		for folder, n := range map[string]int{"/var/opt/gitlab/backups": 6, "/etc/gitlab/config_backup": 1} {
			names, err := s.List(folder)
			require.NoError(t, err)
			assert.Len(t, names, n, "the package's own is gone")
		}
	})
	in("S8 upgrade | the package fails after it has made its backups, and again | they stay until a hop is done, then all of them go", func(t *testing.T) {
		s := newServer(t, "13.12.15")
		s.failAfter = 2
		for range 2 {
			_, err := s.run("14.0.12")
			s.stands("13.12.15", "unpacking of archive failed", err)
		}
		names, err := s.List("/etc/gitlab/config_backup")
		require.NoError(t, err)
		assert.Len(t, names, 2)
		_, err = s.run("14.0.12")
		require.NoError(t, err)
		for _, folder := range []string{"/var/opt/gitlab/backups", "/etc/gitlab/config_backup"} {
			names, err := s.List(folder)
			require.NoError(t, err)
			assert.Empty(t, names)
		}
		assert.False(t, s.Exists("/var/lib/gitlab-codedeploy/config-backups"))
	})
	in("S8 upgrade | asked for an older version, or from another one | refused: nothing is done", func(t *testing.T) {
		s := newServer(t, "15.0.5")
		_, err := s.run("14.10.5")
		s.stands("15.0.5", "GitLab 15.0.5 is newer than 14.10.5: there is no way back but a restore", err)
		_, err = s.run("15.4.6", func(u *upgrade.Upgrade) { u.From = gitlab.Version{Major: 15, Minor: 4, Patch: 6} })
		s.stands("15.0.5", "GitLab 15.0.5 is installed, and --from says 15.4.6", err)
		_, err = s.run("15.4.5")
		require.ErrorIs(t, err, gitlab.ErrNoStop)
	})
	in("preflight on a GitLab that is ready says so and changes nothing", func(t *testing.T) {
		s := newServer(t, "13.10.2")
		before := s.Files("/")
		look, err := s.upgrade("").Preflight(t.Context())
		require.NoError(t, err, s.Talk)
		assert.Equal(t, upgrade.Look{From: "13.10.2", Next: "13.12.15", To: "18.11.13", Ready: true}, look)
		assert.Equal(t, before, s.Files("/"))
	})
}

func yes(is bool) int {
	if is {
		return 0
	}
	return 1
}
