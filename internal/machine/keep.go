//go:build unix

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Copy makes a file a copy of another one, with its mode and its owner, as a whole.
func (m *Machine) Copy(from, to string) error {
	content, err := os.ReadFile(m.Path(from))
	if err != nil {
		return err
	}
	return m.replace("copy "+from+" to "+to, to, string(content), from)
}

// Rewrite is WriteFile for a file that is there: it keeps its mode and its owner.
func (m *Machine) Rewrite(name, content string) error {
	return m.replace("write "+name, name, content, name)
}

// replace writes a file as a whole, as one whose mode and owner it gets.
func (m *Machine) replace(step, name, content, like string) error {
	m.step(step)
	info, err := os.Stat(m.Path(like))
	if err != nil {
		return err
	}
	owner, is := info.Sys().(*syscall.Stat_t)
	if !is {
		return fmt.Errorf("write %s: the owner of %s is not known", name, like)
	}
	path := m.Path(name)
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone when all went well
	_, err = file.WriteString(content)
	err = errors.Join(err,
		file.Chown(int(owner.Uid), int(owner.Gid)),
		file.Chmod(info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid)),
		file.Sync(), file.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(file.Name(), path)
}
