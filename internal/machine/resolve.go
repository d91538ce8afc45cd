package machine

import (
	"path/filepath"
	"strings"
)

// Resolve is what a link of the host leads to, "" if that is not there.
func (m *Machine) Resolve(name string) string {
	path, err := filepath.EvalSymlinks(m.Path(name))
	if err != nil {
		return ""
	}
	root, err := filepath.EvalSymlinks(m.Root)
	if err != nil {
		return ""
	}
	return filepath.Join("/", strings.TrimPrefix(path, root))
}
