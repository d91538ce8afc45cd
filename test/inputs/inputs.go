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

// Are makes these files, as Files lists them, inputs of the running test.
func Are(root string, paths ...string) error {
	files, err := Files(root, paths...)
	for _, name := range files {
		// The go command notes what is looked at. A file that is gone is a change, too.
		_, _ = os.Stat(filepath.Join(root, name))
	}
	return err
}
