package operation_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/operation"
)

// buildOf is the path of a build; the higher its number the newer it is.
func buildOf(n int) string { return fmt.Sprintf("%s/%064x/host", operation.Builds, n) }

// builds puts some on the host, a day apart, and lets the newest run.
func (h *host) builds(t *testing.T, n int) {
	for i := range n {
		h.Put(buildOf(i), "a program")
		at := time.Now().Add(time.Duration(i-n) * 24 * time.Hour)
		require.NoError(t, os.Chtimes(h.Path(buildOf(i)), at, at))
	}
	h.runs.Program = buildOf(n - 1)
}

// left are the numbers of those that are there.
func (h *host) left(t *testing.T) (numbers []int) {
	names, err := h.List(operation.Builds)
	require.NoError(t, err)
	for _, name := range names {
		var n int
		if _, err := fmt.Sscanf(name, "%x", &n); err == nil && len(name) == 64 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func TestS8_OldBuildsOfTheHostsProgramGo(t *testing.T) {
	t.Run("the newest three stay, and so does what is no build of this program", func(t *testing.T) {
		h := newHost(t)
		h.builds(t, 6)
		others := []string{
			operation.Builds + "/bin/artifact", operation.Builds + "/" + strings.Repeat("f", 63) + "e/artifact", operation.Builds + "/" + strings.Repeat("e", 64) + "/host.4711",
			operation.Builds + "/README", operation.Builds + "/old/host",
		}
		for _, name := range others {
			h.Put(name, "somebody's")
			at := time.Now().Add(-100 * 24 * time.Hour)
			require.NoError(t, os.Chtimes(h.Path(name), at, at))
		}
		require.NoError(t, h.runs.ForgetBuilds(t.Context()))
		assert.Subset(t, h.left(t), []int{3, 4, 5})
		for _, n := range []int{0, 1, 2} {
			assert.False(t, h.Exists(filepath.Dir(buildOf(n))))
		}
		for _, name := range others {
			assert.True(t, h.Exists(name), name)
		}
		h.Forget()
		require.NoError(t, h.runs.ForgetBuilds(t.Context()))
		assert.Empty(t, h.Ran(), "nothing has to be asked")
	})
	t.Run("S8 any operation | a run of an old build is under way | its build stays until the run has ended", func(t *testing.T) {
		h := newHost(t)
		h.builds(t, 5)
		h.runs.Program = buildOf(0)
		h.start(t, id)
		h.runs.Program = buildOf(4)
		require.NoError(t, h.runs.ForgetBuilds(t.Context()))
		assert.Equal(t, []int{0, 2, 3, 4}, h.left(t), "it is started, and its unit not yet")
		h.On(buildOf(0)+" backup", func(machinetest.Call) int {
			require.NoError(t, h.runs.ForgetBuilds(t.Context()))
			assert.Equal(t, []int{0, 2, 3, 4}, h.left(t))
			return 0
		})
		require.NoError(t, h.runs.Supervise(t.Context(), id))
		clear(h.active)
		require.NoError(t, h.runs.ForgetBuilds(t.Context()))
		assert.Equal(t, []int{2, 3, 4}, h.left(t))
	})
	t.Run("S8 any operation | an old build runs without being a run, by hand or in a document | it stays until its process has ended", func(t *testing.T) {
		h := newHost(t)
		h.builds(t, 5)
		require.NoError(t, os.MkdirAll(h.Path("/proc/4711"), 0o755))
		require.NoError(t, os.MkdirAll(h.Path("/proc/2"), 0o755)) // of the kernel
		require.NoError(t, os.Symlink(buildOf(1), h.Path("/proc/4711/exe")))
		require.NoError(t, h.runs.ForgetBuilds(t.Context()))
		assert.Equal(t, []int{1, 2, 3, 4}, h.left(t))
		require.NoError(t, os.Remove(h.Path("/proc/4711/exe")))
		require.NoError(t, h.runs.ForgetBuilds(t.Context()))
		assert.Equal(t, []int{2, 3, 4}, h.left(t))
	})
	t.Run("S8 any operation | a deploy is taken back, and made again | the build in between and the one before both stay", func(t *testing.T) {
		h := newHost(t)
		h.builds(t, 5)
		h.runs.Program = buildOf(0)
		require.NoError(t, h.runs.ForgetBuilds(t.Context()))
		assert.Equal(t, []int{0, 3, 4}, h.left(t))
		h.Put(buildOf(7), "the next one")
		h.runs.Program = buildOf(7)
		require.NoError(t, h.runs.ForgetBuilds(t.Context()))
		assert.Equal(t, []int{0, 4, 7}, h.left(t))
	})
	t.Run("builds that came within the hour stay: a starter may be about to become one", func(t *testing.T) {
		h := newHost(t)
		h.builds(t, 5)
		for i := range 5 {
			at := time.Now().Add(time.Duration(i-5) * time.Minute)
			require.NoError(t, os.Chtimes(h.Path(buildOf(i)), at, at))
		}
		require.NoError(t, h.runs.ForgetBuilds(t.Context()))
		assert.Len(t, h.left(t), 5)
	})
	t.Run("S8 any operation | what runs on the host cannot be told | every build stays", func(t *testing.T) {
		h := newHost(t)
		h.builds(t, 5)
		h.Put("/proc", "no folder")
		require.Error(t, h.runs.ForgetBuilds(t.Context()))
		assert.Len(t, h.left(t), 5)
	})
}
