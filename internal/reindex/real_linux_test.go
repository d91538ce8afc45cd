package reindex_test

import (
	"net/http"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/postgrestest"
	"gitlab-codedeploy/internal/reindex"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// TestS8_ReindexOnARealDatabase has a real PostgreSQL, and two orders of text: names that
// begin with "aa" come after "z" in Danish. Its glibc is one, so what PostgreSQL has written
// down is set by hand to the one of Amazon Linux 2.
func TestS8_ReindexOnARealDatabase(t *testing.T) {
	d := postgrestest.NewSorted(t, "18.11", "da_DK")
	d.SQL(`CREATE TABLE names (id bigserial PRIMARY KEY, name text NOT NULL);
		INSERT INTO names (name) SELECT chr(97 + i % 26) || chr(97 + (i / 26) % 26) || i FROM generate_series(0, 9999) i;
		CREATE UNIQUE INDEX "Names By ""Name""" ON names (name);
		CREATE COLLATION "Old One" (provider = libc, locale = 'en_US.UTF-8');
		CREATE TABLE parted (id bigint, name text COLLATE "Old One") PARTITION BY LIST (id);
		CREATE TABLE gitlab_partitions_dynamic.parted_1 PARTITION OF parted FOR VALUES IN (1);
		CREATE INDEX parted_by_name ON parted (name);
		INSERT INTO parted VALUES (1, 'aa'), (1, 'zz');
		UPDATE pg_database SET datcollversion = '2.26' WHERE datname = current_database();
		UPDATE pg_collation SET collversion = '2.26' WHERE collname = 'Old One';`)
	found := func() string {
		return d.SQL("SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count((SELECT id FROM names WHERE name = wanted LIMIT 1)) FROM " +
			"(SELECT chr(97 + i % 26) || chr(97 + (i / 26) % 26) || i FROM generate_series(0, 9999) i) w(wanted)")
	}
	require.Equal(t, "10000", found())
	d.Sort("en_US")
	require.NotEqual(t, "10000", found(), "an index in another order loses rows: else this test shows nothing")
	d.SQL("INSERT INTO names (name) VALUES ('aa0')") // it is there, and the unique index does not see it

	h := machinetest.New(t)
	h.AmazonLinux2023()
	version, err := exec.Command("getconf", "GNU_LIBC_VERSION").Output()
	require.NoError(t, err)
	here, err := collation.ParseGlibc(string(version))
	require.NoError(t, err)
	h.Answers("getconf GNU_LIBC_VERSION", string(version))
	h.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce 18.11.13\n")
	h.Put("/etc/gitlab/gitlab-codedeploy.rb", "external_url 'https://gitlab.example.com'\n")
	h.Answers("gitlab-ctl", "")
	h.OnPage("http://localhost/users/sign_in", func(http.ResponseWriter, *http.Request) {})
	d.Play(h)
	r := reindex.Reindex{GitLab: omnibus.GitLab{Machine: h.Machine}, Confirm: func(string) error { return nil }}

	look, err := collation.LookAt(t.Context(), r.GitLab)
	require.NoError(t, err)
	assert.Equal(t, collation.Other, look.State)
	assert.Contains(t, look.Databases, d.Name)
	assert.Contains(t, look.String(), "PostgreSQL says that it was made with glibc 2.26")

	_, err = r.Do(t.Context())
	require.ErrorContains(t, err, `1 indexes cannot be rebuilt, because rows are there twice that may be there once: psql:<stdin>:`)
	require.ErrorContains(t, err, `ERROR:  could not create unique index "Names By "Name""; all others are`)
	assert.Equal(t, "2.26", d.SQL("SELECT datcollversion FROM pg_database WHERE datname = current_database()"))

	d.SQL("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; DELETE FROM names WHERE name = 'aa0' AND id > 10000")
	result, err := r.Do(t.Context())
	require.NoError(t, err, h.Talk)
	assert.Equal(t, "rebuilt", result.State)
	assert.Equal(t, "10000", found())
	assert.Equal(t, here.String(), d.SQL("SELECT datcollversion FROM pg_database WHERE datname = current_database()"))
	assert.Equal(t, here.String(), d.SQL("SELECT collversion FROM pg_collation WHERE collname = 'Old One'"))
	assert.Equal(t, "0", d.SQL("SELECT count(*) FROM pg_index WHERE NOT indisvalid"))

	result, err = r.Do(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "unneeded", result.State)
}
