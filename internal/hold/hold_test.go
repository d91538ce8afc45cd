//go:build unix

package hold

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/machine/machinetest"
)

// host is one whose systemd runs "flock … sleep" units: they have the real lock.
type host struct {
	*machinetest.Host
	units  map[string]*os.File // those that live
	refuse bool                // systemd-run fails
	before func()              // what happens before a unit begins
}

func newHost(t *testing.T) *host {
	h := &host{Host: machinetest.New(t), units: map[string]*os.File{}}
	h.On("systemd-run", func(c machinetest.Call) int {
		if h.refuse {
			c.Complain("Failed to start transient service unit\n")
			return 1
		}
		if h.before != nil {
			h.before()
		}
		assert.Equal(t, "flock --nonblock "+machine.OperationLock+" sleep 7200", strings.Join(c.Args[len(c.Args)-5:], " "))
		file, err := os.OpenFile(h.Path(machine.OperationLock), os.O_RDWR|os.O_CREATE, 0o644)
		require.NoError(t, err)
		if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			file.Close()
			return 0 // systemd-run does not wait for what it has started
		}
		h.units[c.Args[2]] = file
		return 0
	})
	h.On("systemctl is-active --quiet", func(c machinetest.Call) int {
		if h.units[c.Args[3]] == nil {
			return 3
		}
		return 0
	})
	h.On("systemctl stop", func(c machinetest.Call) int { h.end(c.Args[2]); return 0 })
	t.Cleanup(func() {
		for unit := range h.units {
			h.end(unit)
		}
	})
	return h
}

func (h *host) end(unit string) {
	if file := h.units[unit]; file != nil {
		file.Close()
		delete(h.units, unit)
	}
}

func (h *host) begin(t *testing.T) (err error) {
	synctest.Test(t, func(t *testing.T) { err = Begin(t.Context(), h.Machine) })
	return err
}

// operation begins one, as it is told to others.
func (h *host) operation(t *testing.T) error {
	lock, err := h.Lock(machine.OperationLock, "upgrade (run 20261124T185436-0a1b2c3d)")
	if err == nil {
		lock.Release()
	}
	return err
}

func TestS8_OperationsAndSecurityUpdates(t *testing.T) {
	t.Run("S8 any operation | it is started during security updates | it ends at once and names them; afterwards it runs", func(t *testing.T) {
		h := newHost(t)
		require.NoError(t, h.begin(t))
		assert.Contains(t, h.Talk.String(), "no operation begins here for 7200 s")
		err := h.operation(t)
		require.ErrorContains(t, err, "security-updates, since ")
		require.ErrorContains(t, err, "is under way on this host: nothing was done")

		require.NoError(t, End(t.Context(), h.Machine))
		assert.Contains(t, h.Talk.String(), "operations may begin again")
		assert.False(t, h.Exists(held))
		require.NoError(t, h.operation(t))
		require.NoError(t, h.begin(t), "next week")
	})
	t.Run("S8 any operation | security updates come while it, or an installation, is under way | none is made, and it goes on", func(t *testing.T) {
		h := newHost(t)
		lock, err := h.Lock(machine.OperationLock, "upgrade (run 20261124T185436-0a1b2c3d)")
		require.NoError(t, err)
		require.ErrorContains(t, h.begin(t), "upgrade (run 20261124T185436-0a1b2c3d), since ")
		assert.False(t, h.Exists(held))
		require.NoError(t, End(t.Context(), h.Machine))
		assert.Contains(t, h.Talk.String(), "operations are not held")
		require.Error(t, h.operation(t), "it has its lock")
		lock.Release()

		lock, err = h.Lock(machine.InstallLock, "install")
		require.NoError(t, err)
		require.EqualError(t, h.begin(t), "an installation is under way on this host: nothing was done")
		lock.Release()
		require.NoError(t, h.operation(t))
		assert.Empty(t, h.RanLike("systemd-run"))
	})
	t.Run("S8 any operation | it begins at the same moment as security updates | it goes on, and no update is made", func(t *testing.T) {
		h := newHost(t)
		var other *machine.Lock
		h.before = func() {
			var err error
			other, err = h.Lock(machine.OperationLock, "backup (run 1)")
			require.NoError(t, err)
		}
		require.EqualError(t, h.begin(t), "another operation began at the same moment: nothing was done")
		assert.False(t, h.Exists(held))
		require.Error(t, h.operation(t), "the other has its lock")
		other.Release()
	})
	t.Run("the hold ends by itself, and systemd that starts nothing fails it", func(t *testing.T) {
		h := newHost(t)
		require.NoError(t, h.begin(t))
		for unit := range h.units {
			h.end(unit) // two hours later
		}
		require.NoError(t, h.operation(t))
		require.NoError(t, End(t.Context(), h.Machine))
		assert.False(t, h.Exists(held))

		h.refuse = true
		err := h.begin(t)
		require.ErrorContains(t, err, "systemd-run could not start gitlab-codedeploy-security-updates-")
		require.ErrorContains(t, err, "Failed to start transient service unit")
		assert.False(t, h.Exists(held))
		require.NoError(t, h.operation(t))
	})
	t.Run("S8 any operation | the hold was killed at any step | what comes after the updates lets operations begin again", func(t *testing.T) {
		hosts := map[*machinetest.Host]*host{}
		machinetest.AtEveryStep(t, func(t *testing.T) (*machinetest.Host, func() error) {
			h := newHost(t)
			h.Put("/etc/os-release", "ID=amzn\nVERSION_ID=2023\n")
			hosts[h.Host] = h
			return h.Host, func() error { return Begin(context.Background(), h.Machine) }
		}, func(t *testing.T, m *machinetest.Host, _ func() error) {
			h := hosts[m]
			require.NoError(t, End(t.Context(), h.Machine))
			require.NoError(t, h.operation(t))
			require.NoError(t, h.begin(t))
		})
	})
}

func TestS11_UpdatesComeOfTheNewestReleaseUnlessSomebodyHasChosenOne(t *testing.T) {
	h := newHost(t)
	require.NoError(t, h.begin(t))
	assert.False(t, h.Exists(release), "on Amazon Linux 2")

	h = newHost(t)
	h.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n")
	require.NoError(t, h.begin(t))
	assert.Equal(t, "latest\n", h.Get(release))

	h = newHost(t)
	h.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n")
	h.Put(release, "2023.9.20251117\n")
	require.NoError(t, h.begin(t))
	assert.Contains(t, h.Talk.String(), "updates come of the release that /etc/dnf/vars/releasever names: 2023.9.20251117")
	assert.Equal(t, "2023.9.20251117\n", h.Get(release))
}
