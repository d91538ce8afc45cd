package machinetest

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"
)

// Files are the files below a folder of the host with their content, by their path from
// there: none without such a folder. Links are left out.
func (h *Host) Files(below string) map[string]string {
	h.t.Helper()
	found := map[string]string{}
	root := h.Path(below)
	err := filepath.WalkDir(root, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(at)
		name, _ := filepath.Rel(root, at)
		found[name] = string(content)
		return err
	})
	if !os.IsNotExist(err) {
		require.NoError(h.t, err)
	}
	return found
}
