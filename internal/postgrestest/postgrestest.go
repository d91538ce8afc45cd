//go:build unix

// Package postgrestest is a real PostgreSQL for tests of SQL, with GitLab's tables as
// several versions have them. It is Debian's version, empty, on a socket only.
package postgrestest

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine/machinetest"
)

// Versions are those whose tables there are: the part of GitLab's schema that we touch.
var Versions = []string{"13.10", "14.9", "15.4", "18.11"}

//go:embed gitlab/*.sql
var tables embed.FS

// Main is what TestMain of a package does: it stops the server at the end.
func Main(m *testing.M) {
	status := m.Run()
	stop()
	os.Exit(status)
}

// Database is one of its own for a test, made from nothing.
type Database struct {
	Name string
	// Limit is the longest time for one statement of gitlab-psql, which is a minute in
	// Omnibus.
	Limit time.Duration
	t     testing.TB
}

var (
	start  = sync.OnceValue(startServer)
	server struct {
		folder, bin string
		as          *syscall.Credential
	}
	databases atomic.Int32
)

const superuser = "gitlab-psql"

// New makes a database with GitLab's tables of a version, or an empty one for "".
func New(t testing.TB, version string) *Database {
	t.Helper()
	require.NoError(t, start())
	template := "template0"
	if version != "" {
		var err error
		template, err = templateOf(version)
		require.NoError(t, err)
	}
	d := &Database{Name: fmt.Sprintf("test_%d", databases.Add(1)), Limit: time.Minute, t: t}
	_, err := run("postgres", fmt.Sprintf("CREATE DATABASE %q TEMPLATE %q", d.Name, template))
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = run("postgres", fmt.Sprintf("DROP DATABASE %q WITH (FORCE)", d.Name)) })
	return d
}

var (
	loading   sync.Mutex
	templates = map[string]string{}
)

// templateOf loads the tables of a version once.
func templateOf(version string) (string, error) {
	loading.Lock()
	defer loading.Unlock()
	if name := templates[version]; name != "" {
		return name, nil
	}
	name := "gitlab_" + strings.ReplaceAll(version, ".", "_")
	if _, err := run("postgres", fmt.Sprintf("CREATE DATABASE %q TEMPLATE template0", name)); err != nil {
		return "", err
	}
	if err := load(name, version); err != nil {
		return "", err
	}
	templates[version] = name
	return name, nil
}

// load makes GitLab's tables of a version in a database.
func load(name, version string) error {
	text, err := psql("--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "-h", server.folder, "-U", superuser, "-d", name,
		"--file", filepath.Join(server.folder, "gitlab", "gitlab-"+version+".sql")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("the tables of %s: %w: %s", version, err, text)
	}
	return nil
}

// SQL runs statements and returns the rows, a line each, with "|" between columns.
func (d *Database) SQL(statements string) string {
	d.t.Helper()
	out, err := run(d.Name, statements)
	require.NoError(d.t, err)
	return out
}

// Dump is all rows of all tables.
func (d *Database) Dump() string {
	d.t.Helper()
	out, err := command(filepath.Join(server.bin, "pg_dump"), "--data-only", "--no-owner", "-h", server.folder, "-U", superuser, d.Name).Output()
	require.NoError(d.t, err)
	lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool {
		return line == "" || strings.HasPrefix(line, "--") || strings.HasPrefix(line, `\`)
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Play makes it the database of a played host: gitlab-psql is psql on it, with the limit
// for a statement that Omnibus sets.
func (d *Database) Play(h *machinetest.Host) { h.On("gitlab-psql", d.Psql) }

// Psql is what [Database.Play] plays.
func (d *Database) Psql(c machinetest.Call) int {
	// As bin/gitlab-psql of omnibus-gitlab hands it on (config/software/gitlab-psql.rb).
	psql := exec.CommandContext(c.Ctx, filepath.Join(server.bin, "psql"), append([]string{"-h", server.folder, "-U", superuser, "-d", d.Name}, c.Args[1:]...)...)
	psql.Env = append(os.Environ(), fmt.Sprintf("PGOPTIONS=-c statement_timeout=%d", d.Limit.Milliseconds()))
	psql.Stdin, psql.Stdout, psql.Stderr = strings.NewReader(c.Input), c.Stdout, c.Stderr
	if err := psql.Run(); err != nil && psql.ProcessState == nil {
		c.Complain("%v\n", err)
		return 127
	}
	return psql.ProcessState.ExitCode()
}

func run(database, statements string) (string, error) {
	client := psql("--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1",
		"-h", server.folder, "-U", superuser, "-d", database, "--command", statements)
	var errors bytes.Buffer
	client.Stderr = &errors
	out, err := client.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", statements, err, errors.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// psql is the server's own: Debian's on PATH is a program in Perl that looks for it.
func psql(args ...string) *exec.Cmd { return command(filepath.Join(server.bin, "psql"), args...) }

func command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = server.folder
	return c
}

// asServer runs a program of the server as who may run one: never root.
func asServer(name string, args ...string) error {
	c := command(filepath.Join(server.bin, name), args...)
	c.Env = append(os.Environ(), "LOCPATH="+localeFolder())
	c.SysProcAttr = &syscall.SysProcAttr{Credential: server.as}
	text, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, text)
	}
	return nil
}

func startServer() error {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return fmt.Errorf("no initdb below /usr/lib/postgresql: Debian's postgresql is not installed")
	}
	server.bin = filepath.Dir(found[len(found)-1])
	// A socket's path is short, and its user must reach it: not a test's own folder.
	if server.folder, err = machinetest.Temporary("/tmp"); err != nil {
		return err
	}
	if err := os.Chmod(server.folder, 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(server.folder, tables); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		postgres, err := user.Lookup("postgres")
		if err != nil {
			return err
		}
		uid, _ := strconv.ParseUint(postgres.Uid, 10, 32)
		gid, _ := strconv.ParseUint(postgres.Gid, 10, 32)
		server.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(server.folder, int(uid), int(gid)); err != nil {
			return err
		}
	}
	data := filepath.Join(server.folder, "data")
	if err := asServer("initdb", "--pgdata", data, "--username", superuser, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"); err != nil {
		return err
	}
	// Nothing of it has to survive a crash, so that it does not wait for the disk.
	return asServer("pg_ctl", "-D", data, "-l", filepath.Join(server.folder, "log"), "-w", "-t", "60",
		"-o", "-c listen_addresses='' -c unix_socket_directories='"+server.folder+"' -c fsync=off -c full_page_writes=off -c max_connections=40 -c shared_buffers=16MB -c autovacuum=off",
		"start")
}

func stop() {
	if server.folder == "" {
		return
	}
	if _, err := os.Stat(filepath.Join(server.folder, "data", "postmaster.pid")); err == nil {
		_ = asServer("pg_ctl", "-D", filepath.Join(server.folder, "data"), "-m", "immediate", "-w", "-t", "30", "stop")
	}
	_ = os.RemoveAll(server.folder)
}

// Text is the database as GitLab dumps it: lib/backup/database.rb of v13.10.2, and
// gems/gitlab-backup-cli/lib/gitlab/backup/cli/utils/pg_dump.rb of v17.
func (d *Database) Text() string {
	d.t.Helper()
	out, err := command(filepath.Join(server.bin, "pg_dump"), "--clean", "--if-exists", "-h", server.folder, "-U", superuser, d.Name).Output()
	require.NoError(d.t, err)
	return string(out)
}
