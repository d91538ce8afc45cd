//go:build unix

package status

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/operation"
	"gitlab-codedeploy/internal/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// server is a host whose GitLab is well in all its parts.
type server struct {
	*machinetest.Host
	db *postgrestest.Database
}

func newServer(t *testing.T, version string) *server {
	s := &server{Host: machinetest.New(t)}
	s.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2\"\nPRETTY_NAME=\"Amazon Linux 2\"\n")
	s.installed(version)
	// As runit's sv says it, of gitlab-ctl in all versions.
	s.Answers("gitlab-ctl status", "run: nginx: (pid 1) 10s; run: log: (pid 2) 10s\nrun: puma: (pid 3) 10s; run: log: (pid 4) 10s\n")
	s.Answers("gitlab-rails runner -e production -", "gitlab-codedeploy: 0\n")
	s.OnPage("http://localhost/users/sign_in", func(http.ResponseWriter, *http.Request) {})
	s.Answers("df -P -h / /var/opt/gitlab", "Filesystem Size Used Avail Capacity Mounted on\n/dev/a 30G 10G 20G 34% /\n/dev/b 200G 20G 180G 10% /var/opt/gitlab\n")
	return s
}

func (s *server) installed(version string) {
	s.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce "+version+"\n")
}

// database gives it a database with the tables of a version.
func (s *server) database(t *testing.T, tables string) {
	s.db = postgrestest.New(t, tables)
	s.db.SQL("DROP TABLE IF EXISTS background_migration_jobs, batched_background_migrations")
	s.db.SQL("CREATE TABLE background_migration_jobs (id bigserial PRIMARY KEY, status smallint NOT NULL DEFAULT 0, class_name text NOT NULL)")
	if tables != "13.10" {
		s.db.SQL("CREATE TABLE batched_background_migrations (id bigserial PRIMARY KEY, status smallint NOT NULL, " +
			"job_class_name text NOT NULL, table_name text NOT NULL, column_name text NOT NULL, job_arguments jsonb NOT NULL DEFAULT '[]')")
	}
	s.db.SQL("UPDATE ci_runners SET contacted_at = (now() AT TIME ZONE 'UTC') - interval '1 hour' WHERE id = 1; UPDATE application_settings SET signup_enabled = false")
	s.db.Play(s.Host)
}

// look returns the rows as programs read them.
func (s *server) look(t *testing.T) string {
	t.Helper()
	var rows strings.Builder
	status := Status{GitLab: omnibus.GitLab{Machine: s.Machine}, Runs: &operation.Runs{Machine: s.Machine}, Longest: 4 * time.Minute}
	require.NoError(t, status.Look(t.Context(), func(r Row) { rows.WriteString(r.String() + "\n") }))
	return rows.String()
}

func TestS8_AllIsWell(t *testing.T) {
	for tables, version := range map[string]string{"13.10": "13.10.2", "14.9": "14.9.5", "15.4": "15.4.6", "18.11": "18.11.13"} {
		t.Run(version, func(t *testing.T) {
			s := newServer(t, version)
			s.database(t, tables)
			assert.Equal(t, "version\t-\tgitlab-ce "+version+", Amazon Linux 2\n"+
				"services\tok\tall 2 are up\n"+
				"sign-in\tok\tthe page answers with 200\n"+
				"sign-up\tok\tclosed: accounts are made by administrators\n"+
				"postgresql\tok\tPostgreSQL "+s.db.SQL("SHOW server_version")+" answers\n"+
				"disk\tok\t/: 20G of 30G free\n"+
				"disk\tok\t/var/opt/gitlab: 180G of 200G free\n"+
				"migrations\tok\tno background migration is left\n"+
				"runners\tok\t1 of 2 were in contact within two hours\n", s.look(t))
			assert.Equal(t, version < "15.1", len(s.RanLike("gitlab-rails")) == 1, "Rails is asked as long as it has jobs")
		})
	}
}

func TestS8_WhatIsWrongIsTold(t *testing.T) {
	s := newServer(t, "14.9.5")
	s.database(t, "14.9")
	s.db.SQL("INSERT INTO batched_background_migrations (status, job_class_name, table_name, column_name) VALUES (3, 'Done', 'users', 'id'), (1, 'Backfill', 'projects', 'id'), (4, 'Failed', 'events', 'id'); " +
		"UPDATE ci_runners SET contacted_at = NULL; UPDATE application_settings SET signup_enabled = true")
	said := s.look(t)
	assert.Contains(t, said, "migrations\twrong\tno upgrade until they are finished: 2 batched: Backfill on projects (active), Failed on events (failed)\n")
	assert.Contains(t, said, "runners\twrong\tnone of 2 was in contact within two hours\n")
	assert.Contains(t, said, "sign-up\t-\topen: whoever reaches the page can make an account")
}

func TestS8_AnotherOrderOfTextIsTold(t *testing.T) {
	s := newServer(t, "18.11.13")
	s.database(t, "18.11")
	s.Answers("getconf GNU_LIBC_VERSION", "glibc 2.34\n")
	s.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\nPRETTY_NAME=\"Amazon Linux 2023.11.20260427\"\n")
	s.Put(collation.File, `{"glibc":"2.26"}`)
	said := s.look(t)
	assert.Contains(t, said, "version\t-\tgitlab-ce 18.11.13, Amazon Linux 2023.11.20260427\n")
	assert.NotContains(t, said, "order\t", "text is compared byte by byte in this database")

	s.On("gitlab-psql", func(c machinetest.Call) int {
		if strings.Contains(c.Input, "pg_collation") {
			c.Print("database\tgitlabhq_production\tc\ten_US.UTF-8\t\n")
			return 0
		}
		return s.db.Psql(c)
	})
	assert.Contains(t, s.look(t), "order\twrong\tits indexes are in the order of glibc 2.26, and this host has glibc 2.34: from 2.28 on text is sorted otherwise, "+
		"and GitLab does not find all that is there: scripts/ops reindex rebuilds the indexes\n")
	require.NoError(t, os.Remove(s.Path(collation.File)))
	assert.Contains(t, s.look(t), "order\tunknown\tnothing says in which order its indexes are")
	s.Put(collation.File, `{"glibc":"2.34"}`)
	assert.NotContains(t, s.look(t), "order\t")
}

func TestS8_APartDoesNotHideTheOthers(t *testing.T) {
	t.Run("S8 status | a part of GitLab is broken, hangs or talks rubbish | that part says so, and the others are told", func(t *testing.T) {
		s := newServer(t, "14.9.5")
		s.On("gitlab-ctl status", func(c machinetest.Call) int {
			c.Print("run: nginx: (pid 1) 10s\ndown: puma: 3s, normally up; run: log: (pid 4) 10s\n")
			return 3
		})
		refused := func(c machinetest.Call) int {
			c.Complain("psql: could not connect to server\n")
			return 2
		}
		s.On("gitlab-psql", refused)
		s.OnPage("http://localhost/users/sign_in", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		s.Answers("df -P -h / /var/opt/gitlab", "Filesystem Size Used Avail Capacity Mounted on\n/dev/a 30G 29G 1G 97% /\n/dev/a 30G 29G 1G 97% /\n")
		said := s.look(t)
		assert.Contains(t, said, "services\twrong\tdown: puma; 1 are up\n")
		assert.Contains(t, said, "sign-in\twrong\tthe page does not answer with 200; the answer was HTTP 502\n")
		assert.Equal(t, 1, strings.Count(said, "disk\twrong\t/ is 97% full: 1G of 30G free\n"))
		for _, part := range []string{"migrations", "sign-up", "postgresql", "order", "runners"} {
			assert.Regexp(t, "(?m)^"+part+"\tunknown\t.*gitlab-psql ended with 2: psql: could not connect to server$", said)
		}

		s.database(t, "14.9")
		s.Answers("gitlab-rails runner -e production -", "a deprecation\ngitlab-codedeploy: none\n")
		assert.Contains(t, s.look(t), "migrations\tunknown\tGitlab::BackgroundMigration.remaining: got \"none\", want a number\n")

		require.NoError(t, os.RemoveAll(s.Path("/opt/gitlab")))
		s.On("gitlab-ctl status", func(c machinetest.Call) int {
			c.Complain("sh: gitlab-ctl: not found\n")
			return 127
		})
		said = s.look(t)
		assert.Contains(t, said, "version\twrong\tGitLab is not installed: ")
		assert.Contains(t, said, "services\tunknown\tgitlab-ctl status names none: sh: gitlab-ctl: not found\n")
		assert.Contains(t, said, "migrations\tunknown\tGitLab's version is not known\n")
	})
}

func TestS8_APartHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, "13.10.2")
		s.Answers("gitlab-psql", "application_settings\tid\n")
		s.On("gitlab-rails runner -e production -", func(c machinetest.Call) int {
			<-c.Ctx.Done() // Rails hangs
			return 1
		})
		begun := time.Now()
		assert.Contains(t, s.look(t), "migrations\tunknown\tcount the background migrations in Sidekiq: it takes longer than 4m0s\n")
		assert.Equal(t, 4*time.Minute, time.Since(begun))
	})
}

func TestS8_TheOperationThatHoldsTheLockAndTheLastOnesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, "15.4.6")
		s.On("gitlab-psql", func(machinetest.Call) int { return 2 })
		s.On("systemctl is-active --quiet", func(machinetest.Call) int { return 3 })
		run := func(id, name string, files ...string) {
			folder := operation.Folder + "/" + id
			s.Put(folder+"/run.json", `{"operation": "`+name+`", "started": "2026-11-24T18:54:36Z", "unit": "u", "command": ["x"]}`)
			for i := 0; i < len(files); i += 2 {
				s.Put(folder+"/"+files[i], files[i+1])
			}
		}
		run("20261124T185436-00000001", "upgrade", "begun", "", "end.json", `{"status": 1}`)
		run("20261124T185436-00000002", "backup", "begun", "")
		run("20261124T185436-00000003", "status", "begun", "")
		// One of the scripts that this program took the place of.
		old := operation.Folder + "/20261124T185436-00000004"
		s.Put(old+"/operation", "restore\n")
		s.Put(old+"/started", "2026-11-24T18:54:36Z\n")
		s.Put(old+"/status", "0\n")
		lock, err := s.Lock(machine.OperationLock, "backup (run 20261124T190000-00000001)")
		require.NoError(t, err)
		said := s.look(t)
		assert.Contains(t, said, "operation\t-\tunder way: backup (run 20261124T190000-00000001), since ")
		assert.Contains(t, said, "operation\t-\tupgrade ended with 1, started 2026-11-24T18:54:36Z (run 20261124T185436-00000001)\n")
		assert.Contains(t, said, "operation\t-\tbackup was lost, started 2026-11-24T18:54:36Z (run 20261124T185436-00000002)\n")
		assert.Contains(t, said, "operation\t-\trestore ended with 0, started 2026-11-24T18:54:36Z (run 20261124T185436-00000004)\n")
		assert.NotContains(t, said, "00000003", "a look is no news")
		lock.Release()
		assert.NotContains(t, s.look(t), "under way: ")
	})
}
