//go:build unix

package machine

import (
	"io"
	"os"
	"strings"
	"syscall"
)

// Holder is who holds a lock, "" for nobody. It takes nothing from anybody.
func (m *Machine) Holder(name string) string {
	file, err := os.Open(m.Path(name))
	if err != nil {
		return ""
	}
	defer file.Close()
	if syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return ""
	}
	said, _ := io.ReadAll(io.LimitReader(file, 500))
	holder, _, _ := strings.Cut(string(said), "\n")
	if holder = strings.TrimSuffix(strings.TrimSpace(holder), ","); holder == "" {
		return "another operation"
	}
	return holder
}
