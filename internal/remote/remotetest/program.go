package remotetest

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

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
	folder := filepath.Join(root, ".tools", "build", "host-for-tests")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(folder, "host")
	// Other tests may be running it: it is replaced in one step.
	work, err := os.MkdirTemp(folder, "work-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	build := exec.Command("go", "build", "-o", filepath.Join(work, "host"), "-ldflags", "-X main.rootVariable="+RootVariable, "./cmd/host")
	build.Dir, build.Stderr = root, os.Stderr
	if err := build.Run(); err != nil {
		return "", err
	}
	return path, os.Rename(filepath.Join(work, "host"), path)
}
