//go:build unix

package postgrestest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// localeName is the locale whose order of text a test may change, as another C library has
// another one. It is this server's alone.
const localeName = "en_US.UTF-8"

// localeFolder is where the server, started with LOCPATH, looks for it.
func localeFolder() string { return filepath.Join(server.folder, "locale") }

// NewSorted makes a database with GitLab's tables of a version, in which text is in the
// order that [Database.Sort] has set last.
func NewSorted(t testing.TB, version, as string) *Database {
	t.Helper()
	require.NoError(t, start())
	d := &Database{Name: fmt.Sprintf("sorted_%d", databases.Add(1)), Limit: time.Minute, t: t}
	d.Sort(as)
	_, err := run("postgres", fmt.Sprintf("CREATE DATABASE %q TEMPLATE template0 LC_COLLATE %q LC_CTYPE %q", d.Name, localeName, localeName))
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = run("postgres", fmt.Sprintf("DROP DATABASE %q WITH (FORCE)", d.Name)) })
	require.NoError(t, load(d.Name, version))
	return d
}

var sorts atomic.Int32

// Sort gives the server the order of text of a language, such as "en_US" or "da_DK", by
// glibc's own sources. Sessions that there are keep theirs.
func (d *Database) Sort(as string) {
	d.t.Helper()
	made := filepath.Join(server.folder, fmt.Sprintf("locale-%d", sorts.Add(1)))
	require.NoError(d.t, os.MkdirAll(made, 0o755))
	// It ends with 1 for a warning.
	out, err := exec.Command("localedef", "--no-archive", "--force", "-i", as, "-f", "UTF-8", filepath.Join(made, localeName)).CombinedOutput()
	require.FileExists(d.t, filepath.Join(made, localeName, "LC_COLLATE"), "Debian's locales is not installed? %v: %s", err, out)
	require.NoError(d.t, os.RemoveAll(localeFolder()))
	require.NoError(d.t, os.Rename(made, localeFolder()))
}
