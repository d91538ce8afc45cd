package remotetest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// RootVariable names the folder that holds the files of a host on which HostProgram
// runs.
const RootVariable = "HOST_ROOT"

// HostProgram is the path of the hosts' program, built once a process.
func HostProgram(t testing.TB) string {
	t.Helper()
	host.Do(func() { host.path, host.err = buildHost(projectRoot(t)) })
	require.NoError(t, host.err)
	return host.path
}

var host struct {
	sync.Once
	path string
	err  error
}

func buildHost(root string) (string, error) {
	// The compiler reads what the go command does not know to be the test's: a kept result
	// would outlive a change of the program. See "go help test", on caching.
	for _, folder := range []string{"cmd/host", "internal"} {
		if err := filepath.WalkDir(filepath.Join(root, folder), func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			return "", err
		}
	}
	// The compiler links nothing again when the program is as it should be, and works
	// beside it, so that it replaces it in one step: other tests may be running it. The
	// go command would note os.MkdirAll's look at a folder, whose time changes.
	folder := filepath.Join(root, ".tools")
	for _, name := range []string{"", "build", "host-for-tests", "work"} {
		folder = filepath.Join(folder, name)
		if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	path := filepath.Join(filepath.Dir(folder), "host")
	build := exec.Command("go", "build", "-o", path, "-ldflags", "-s -w -X main.rootVariable="+RootVariable, "./cmd/host")
	build.Dir, build.Stderr = root, os.Stderr
	build.Env = append(build.Environ(), "GOTMPDIR="+folder)
	if err := build.Run(); err != nil {
		return "", err
	}
	// Each build gives it a new time, which the go command would take for a change.
	return path, os.Chtimes(path, time.Unix(0, 0), time.Unix(0, 0))
}
