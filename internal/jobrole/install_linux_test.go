package jobrole_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/jobrole/jobroletest"
	"gitlab-codedeploy/internal/machine/machinetest"
)

// TestS13_systemdTakesTheUnits lets systemd read them, without starting any. It says
// nothing of units in which it finds nothing wrong.
func TestS13_systemdTakesTheUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "there is no systemd-analyze")
		t.Skip("there is no systemd-analyze")
	}
	folder := t.TempDir()
	r := jobroletest.Role
	r.Program = filepath.Join(folder, "host")
	require.NoError(t, os.WriteFile(r.Program, nil, 0o755))
	h := machinetest.New(t)
	jobroletest.Play(h)
	require.NoError(t, serve(t, h, r))
	args := []string{"verify"}
	for _, unit := range []string{jobroletest.Socket, jobroletest.Service} {
		args = append(args, filepath.Join(folder, unit))
		require.NoError(t, os.WriteFile(filepath.Join(folder, unit), []byte(h.Get("/etc/systemd/system/"+unit)), 0o644))
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Empty(t, string(out))
}
