package migrations_test

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/migrations"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// The tables as GitLab's db/structure.sql has them in 13.10, 14.0 and 15.4.
const (
	jobsTable = `CREATE TABLE background_migration_jobs (id bigserial PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(),
		updated_at timestamptz NOT NULL DEFAULT now(), status smallint NOT NULL DEFAULT 0, class_name text NOT NULL, arguments jsonb NOT NULL DEFAULT '[]')`
	batchedTable = `CREATE TABLE batched_background_migrations (id bigserial PRIMARY KEY, min_value bigint NOT NULL DEFAULT 1, max_value bigint NOT NULL DEFAULT 1,
		batch_size integer NOT NULL DEFAULT 1, sub_batch_size integer NOT NULL DEFAULT 1, "interval" smallint NOT NULL DEFAULT 120,
		status smallint NOT NULL DEFAULT 0, job_class_name text NOT NULL, batch_class_name text NOT NULL DEFAULT 'x', table_name text NOT NULL,
		column_name text NOT NULL, job_arguments jsonb NOT NULL DEFAULT '"[]"')`
	batched15 = `ALTER TABLE batched_background_migrations ADD gitlab_schema text NOT NULL DEFAULT 'gitlab_main', ADD on_hold_until timestamptz`
)

// database is a real PostgreSQL with GitLab's tables, and a host whose Rails has queued
// jobs.
func database(t *testing.T, queued string, statements ...string) (*postgrestest.Database, *machinetest.Host, omnibus.GitLab) {
	d := postgrestest.New(t, "13.10")
	d.SQL("DROP TABLE IF EXISTS background_migration_jobs, batched_background_migrations")
	for _, statement := range statements {
		d.SQL(statement)
	}
	h := machinetest.New(t)
	d.Play(h)
	h.On("gitlab-rails runner -e production -", func(c machinetest.Call) int {
		assert.Contains(t, c.Input, "Gitlab::BackgroundMigration.remaining")
		c.Print("DEPRECATION WARNING: something of Rails\ngitlab-codedeploy: %s\n", queued)
		return 0
	})
	return d, h, omnibus.GitLab{Machine: h.Machine}
}

func batched(d *postgrestest.Database, status, class, table, arguments string) {
	d.SQL("INSERT INTO batched_background_migrations (status, job_class_name, table_name, column_name, job_arguments) VALUES (" + status + ", '" + class + "', '" + table + "', 'id', '" + arguments + "')")
}

func version(t *testing.T, text string) gitlab.Version {
	v, err := gitlab.ParseVersion(text)
	require.NoError(t, err)
	return v
}

func find(t *testing.T, g omnibus.GitLab, installed string) migrations.Left {
	t.Helper()
	left, err := migrations.Find(t.Context(), g, version(t, installed))
	require.NoError(t, err)
	return left
}

func TestS8_WhatIsLeftOfBackgroundMigrations(t *testing.T) {
	t.Run("13.10 without the batched table: Sidekiq's are counted, and the followed jobs", func(t *testing.T) {
		d, _, g := database(t, "0", jobsTable)
		left := find(t, g, "13.10.2")
		assert.Zero(t, left.Total())
		assert.Equal(t, "none", left.String())
		_, _, five := database(t, "5", jobsTable)
		left = find(t, five, "13.10.2")
		assert.Equal(t, 5, left.Total())
		assert.Equal(t, "5 jobs in Sidekiq", left.String())
		d.SQL(`INSERT INTO background_migration_jobs (status, class_name) VALUES (0, '::Gitlab::BackgroundMigration::PopulateNamespaces'), (0, 'PopulateNamespaces'), (1, 'Done')`)
		left = find(t, g, "13.10.2")
		assert.Equal(t, map[string]int{"PopulateNamespaces": 2}, left.Jobs)
	})
	t.Run("S8 upgrade | the server was restored from a backup, which has no Redis | followed jobs that nobody will do any more are seen, although Sidekiq has none", func(t *testing.T) {
		d, _, g := database(t, "0", jobsTable)
		d.SQL(`INSERT INTO background_migration_jobs (status, class_name) VALUES (0, 'PopulateNamespaces'), (0, 'PopulateNamespaces'), (0, 'Other')`)
		left := find(t, g, "13.12.15")
		assert.Equal(t, 3, left.Total())
		assert.Equal(t, 3, left.Lost())
		assert.Equal(t, "3 jobs pending that Sidekiq does not have", left.String())
	})
	t.Run("14.9: batched ones count unless finished or finalized, whatever else they are, and those of Sidekiq's table that have to be", func(t *testing.T) {
		d, _, g := database(t, "0", jobsTable, batchedTable)
		batched(d, "3", "Done", "users", "[]")
		batched(d, "6", "Finalized", "users", "[]")
		assert.Zero(t, find(t, g, "14.9.5").Total())
		for _, status := range []string{"0", "1", "2", "4", "5"} {
			batched(d, status, "Class"+status, "public.events", `["a", "b"]`)
		}
		d.SQL(`INSERT INTO background_migration_jobs (status, class_name) VALUES (0, 'MigrateMergeRequestDiffCommitUsers'),
			(1, 'MigrateMergeRequestDiffCommitUsers'), (0, 'Other'), (0, 'StealMigrateMergeRequestDiffCommitUsers'), (0, 'PopulateTopicsNonPrivateProjectsCount')`)
		left := find(t, g, "14.9.5")
		assert.Equal(t, 6, left.Total())
		assert.Len(t, left.With(migrations.Failed), 1)
		assert.Equal(t, migrations.Batched{ID: 7, Status: 5, Class: "Class5", Table: "public.events", Column: "id", Arguments: `["a", "b"]`}, left.With(migrations.Finalizing)[0])
		assert.Equal(t, map[string]int{migrations.DiffCommits: 1}, left.Jobs)
		assert.Equal(t, "5 batched: Class0 on public.events (paused), Class1 on public.events (active), Class2 on public.events (status 2), 2 more; "+
			"1 jobs pending that Sidekiq does not have", left.String())
	})
	t.Run("15.4: Rails is not asked, and its extra columns do not matter", func(t *testing.T) {
		d, h, g := database(t, "not a number", jobsTable, batchedTable, batched15)
		batched(d, "1", "Backfill", "projects", `[null, "up"]`)
		d.SQL("INSERT INTO batched_background_migrations (status, job_class_name, table_name, column_name) VALUES (1, 'Plain', 'users', 'id')")
		left := find(t, g, "15.4.6")
		assert.Equal(t, 2, left.Total())
		assert.Equal(t, "[]", left.Batched[1].Arguments)
		assert.Empty(t, h.RanLike("gitlab-rails"))
	})
}

func TestS8_WhatIsNotKnownIsNotFinished(t *testing.T) {
	for name, tt := range map[string]struct {
		installed, queued string
		statements        []string
		want              string
	}{
		"no table in 14.x":              {"14.0.12", "0", []string{jobsTable}, "the database has no table batched_background_migrations, and GitLab 14.0.12 has one"},
		"another table of that name":    {"14.0.12", "0", []string{jobsTable, "CREATE TABLE batched_background_migrations (id int)"}, `column "status" does not exist`},
		"Rails answers no number":       {"13.10.2", "nil", []string{jobsTable}, `Gitlab::BackgroundMigration.remaining: got "nil", want a number`},
		"Rails answers a number below":  {"13.10.2", "-1", []string{jobsTable}, "want a number"},
		"a class that is no class":      {"14.9.5", "0", []string{batchedTable, "INSERT INTO batched_background_migrations (status, job_class_name, table_name, column_name) VALUES (4, 'A; rm -rf /', 't', 'c')"}, "is no row of it"},
		"arguments over several lines":  {"14.9.5", "0", []string{batchedTable, "ALTER TABLE batched_background_migrations ALTER job_arguments TYPE text", "INSERT INTO batched_background_migrations (status, job_class_name, table_name, column_name, job_arguments) VALUES (4, 'A', 't', 'c', E'[\n]')"}, "is no row of it"},
		"a class of a job that is none": {"13.10.2", "0", []string{jobsTable, "INSERT INTO background_migration_jobs (status, class_name) VALUES (0, 'a b')"}, "is no row of the question"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, g := database(t, tt.queued, tt.statements...)
			_, err := migrations.Find(t.Context(), g, version(t, tt.installed))
			require.ErrorContains(t, err, tt.want)
		})
	}
	t.Run("a database that is down", func(t *testing.T) {
		_, h, g := database(t, "0")
		h.On("gitlab-psql", func(c machinetest.Call) int {
			c.Complain("psql: could not connect to server: No such file or directory\n")
			return 2
		})
		_, err := migrations.Find(t.Context(), g, version(t, "13.10.2"))
		require.ErrorIs(t, err, omnibus.ErrDatabase)
	})
}

// What runs right now, and what is to be tried again, is in neither of the queues that
// GitLab counts, and nobody has lost it.
func TestJobsThatRunAreNotLost(t *testing.T) {
	program, err := os.ReadFile("rb/queued.rb")
	require.NoError(t, err)
	command := exec.Command("ruby", "-I", "testdata", "-")
	command.Stdin = bytes.NewReader(program)
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "gitlab-codedeploy: 7\n", string(out))
}
