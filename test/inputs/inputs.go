// Package inputs tells the go command what the result of a test depends on.
//
// "go test" keeps a result until a file that the test itself has opened or
// looked at changes. A test that hands the repository to other programs (the
// CDK CLI, a script, the compiler) would keep it although that has changed.
// See "go help test", on caching.
package inputs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Files lists the files of the repository at root, tracked or new, by their
// paths from there; all of them, or those below the given paths.
func Files(root string, paths ...string) ([]string, error) {
	// With a Dir, root itself would be looked at, whose time says nothing.
	cmd := exec.Command("git", append([]string{"-C", root, "ls-files", "-co", "--exclude-standard", "-z", "--"}, paths...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files in %s: %w: %s", root, err, bytes.TrimSpace(stderr.Bytes()))
	}
	var files []string
	for name := range bytes.SplitSeq(bytes.TrimRight(out, "\x00"), []byte{0}) {
		files = append(files, string(name))
	}
	return files, nil
}

// noted are the calls of [Are] that were made, each a list of absolute paths.
var noted sync.Map

// Are makes these files, as Files lists them, inputs of the running test binary. Once
// is enough for all of its tests.
func Are(root string, paths ...string) error {
	absolute, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	call := strings.Join(slices.Concat([]string{absolute}, paths), "\x00")
	if _, known := noted.Load(call); known {
		return nil
	}
	files, err := Files(root, paths...)
	if err != nil {
		return err
	}
	for _, name := range files {
		// The go command notes what is looked at. A file that is gone is a change, too.
		_, _ = os.Stat(filepath.Join(root, name))
	}
	noted.Store(call, true)
	return nil
}
