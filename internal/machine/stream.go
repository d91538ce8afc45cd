//go:build unix

package machine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Changing says that something is about to be changed that is not this host's, such as
// an object in S3.
func (m *Machine) Changing(what string) { m.step(what) }

// Open opens a file to be read as a stream.
func (m *Machine) Open(name string) (*os.File, error) { return os.Open(m.Path(name)) }

// Create is [Machine.WriteFile] for what a function writes.
func (m *Machine) Create(name string, mode fs.FileMode, write func(io.Writer) error) error {
	m.step("write " + name)
	path := m.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone when all went well
	err = write(file)
	err = errors.Join(err, file.Chmod(mode), m.sync(file), file.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(file.Name(), path)
}

// Link gives a file a second name on the same disk.
func (m *Machine) Link(from, to string) error {
	m.step("link " + from + " to " + to)
	return os.Link(m.Path(from), m.Path(to))
}

// OwnLike gives a file the owner and group of another one.
func (m *Machine) OwnLike(name, other string) error {
	m.step("chown --reference=" + other + " " + name)
	if m.Owner != nil {
		return m.Owner(name, "like", other)
	}
	info, err := os.Stat(m.Path(other))
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return os.Chown(m.Path(name), int(owner.Uid), int(owner.Gid))
}

// Touch makes a file one that was written just now.
func (m *Machine) Touch(name string) error {
	m.step("touch " + name)
	now := time.Now()
	return os.Chtimes(m.Path(name), now, now)
}

// Stat says what is known of a file; a link is followed.
func (m *Machine) Stat(name string) (fs.FileInfo, error) { return os.Stat(m.Path(name)) }

// Used is how many bytes of the disk folders take, with all that is in them. A folder may
// be a link to another disk. What comes and goes meanwhile is left out, and a file with
// several names counts once.
func (m *Machine) Used(folders ...string) (bytes int64) {
	type place struct{ device, inode uint64 }
	seen := map[place]bool{}
	for _, folder := range folders {
		root, err := filepath.EvalSymlinks(m.Path(folder))
		if err != nil {
			continue
		}
		_ = filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			info, err := entry.Info()
			if err != nil {
				return nil
			}
			stat := info.Sys().(*syscall.Stat_t)
			if stat.Nlink > 1 && !entry.IsDir() {
				at := place{uint64(stat.Dev), stat.Ino}
				if seen[at] {
					return nil
				}
				seen[at] = true
			}
			bytes += stat.Blocks * 512
			return nil
		})
	}
	return bytes
}
