package operation_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/operation"
)

const id = "20261124T185436-0a1b2c3d"

// host is a host whose systemd knows which units are active.
type host struct {
	*machinetest.Host
	runs   *operation.Runs
	active map[string]bool
}

func newHost(t *testing.T) *host {
	h := &host{Host: machinetest.New(t), active: map[string]bool{}}
	h.runs = &operation.Runs{Machine: h.Machine, Program: "/opt/host", Home: "", Path: "/usr/bin"}
	h.On("systemd-run --unit", func(c machinetest.Call) int {
		h.active[c.Args[2]] = true
		return 0
	})
	h.On("systemctl is-active --quiet", func(c machinetest.Call) int {
		if h.active[c.Args[3]] {
			return 0
		}
		return 3
	})
	return h
}

// head is the first line of the news, and body the rest.
type head struct {
	Run, Operation, Started, State string
	Exit                           *int
	Log, Result                    int64
	More                           bool
}

func (h *host) news(t *testing.T, wanted string, from operation.Place, wait time.Duration) (first head, body string) {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, h.runs.News(t.Context(), &out, wanted, from, wait))
	assert.LessOrEqual(t, out.Len(), 20000, "Systems Manager keeps 24,000 characters")
	line, body, _ := strings.Cut(out.String(), "\n")
	require.NoError(t, json.Unmarshal([]byte(line), &first))
	return first, body
}

func (h *host) start(t *testing.T, run string) {
	t.Helper()
	_, started, err := h.runs.Start(t.Context(), run, "backup", []string{"backup", "--keep-days", "7"})
	require.NoError(t, err)
	require.True(t, started)
}

// supervised plays what a unit runs.
func (h *host) supervised(t *testing.T, run string, does func(machinetest.Call) int) {
	t.Helper()
	h.On("/opt/host backup", does)
	require.NoError(t, h.runs.Supervise(t.Context(), run))
	clear(h.active)
}

func folder(run string) string { return operation.Folder + "/" + run }

func TestS8_AnOperationRunsOnByItself(t *testing.T) {
	t.Run("log, result and exit status are kept", func(t *testing.T) {
		h := newHost(t)
		h.start(t, id)
		assert.Equal(t, []string{"systemd-run --unit gitlab-codedeploy-backup-" + id + " --description gitlab-codedeploy: backup --setenv HOME=/root --setenv PATH=/usr/bin /opt/host supervise " + id},
			h.RanLike("systemd-run"))
		h.supervised(t, id, func(c machinetest.Call) int {
			assert.Equal(t, "/opt/host backup --keep-days 7 --run "+id, c.String())
			c.Complain("working\n")
			first, body := h.news(t, id, operation.Place{}, 0)
			assert.Equal(t, "running", first.State)
			assert.Nil(t, first.Exit)
			assert.Equal(t, "| working\n", body)
			_, body = h.news(t, id, operation.Place{Log: first.Log}, 0)
			assert.Empty(t, body)
			c.Print("{\"done\": true}\n")
			return 3
		})
		first, body := h.news(t, "backup", operation.Place{}, 0)
		assert.Equal(t, id, first.Run)
		assert.Equal(t, "backup", first.Operation)
		assert.Equal(t, "ended", first.State)
		assert.Equal(t, 3, *first.Exit)
		assert.Equal(t, "| working\n> {\"done\": true}\n", body)
		for path, mode := range map[string]os.FileMode{folder(id): 0o700, folder(id) + "/log": 0o600, folder(id) + "/run.json": 0o600, folder(id) + "/end.json": 0o600} {
			info, err := os.Stat(h.Path(path))
			require.NoError(t, err)
			assert.Equal(t, mode, info.Mode().Perm(), path)
		}
	})
	t.Run("S8 any operation | the command that starts it is sent twice | it runs once", func(t *testing.T) {
		h := newHost(t)
		h.start(t, id)
		run, started, err := h.runs.Start(t.Context(), id, "backup", nil)
		require.NoError(t, err)
		assert.Equal(t, id, run)
		assert.False(t, started)
		assert.Len(t, h.RanLike("systemd-run"), 1)
		names, err := h.List(operation.Folder)
		require.NoError(t, err)
		assert.Equal(t, []string{id}, names)
	})
	t.Run("S8 any operation | its process is killed | it has ended with 137", func(t *testing.T) {
		h := newHost(t)
		h.start(t, id)
		h.supervised(t, id, func(machinetest.Call) int { return 137 })
		first, _ := h.news(t, id, operation.Place{}, 0)
		assert.Equal(t, "ended", first.State)
		assert.Equal(t, 137, *first.Exit)
	})
	t.Run("S8 any operation | all of its unit is killed, or the host restarts | it is lost, and its log is there", func(t *testing.T) {
		h := newHost(t)
		h.start(t, id)
		h.Put(folder(id)+"/begun", "")
		h.Put(folder(id)+"/log", "working\nan open line")
		h.Put(folder(id)+"/result", "half")
		clear(h.active)
		first, body := h.news(t, id, operation.Place{}, 0)
		assert.Equal(t, "lost", first.State)
		assert.Nil(t, first.Exit)
		assert.False(t, first.More)
		assert.Equal(t, "| working\n|+an open line\n", body)
	})
	t.Run("S8 any operation | systemd refuses to start the unit | the document fails with the reason, and so does the run", func(t *testing.T) {
		h := newHost(t)
		h.On("systemd-run --unit", func(c machinetest.Call) int {
			c.Complain("Failed to start transient service unit: Connection timed out\n")
			return 1
		})
		_, _, err := h.runs.Start(t.Context(), id, "backup", nil)
		require.ErrorContains(t, err, "start the unit gitlab-codedeploy-backup-"+id)
		require.ErrorContains(t, err, "Failed to start transient service unit: Connection timed out")
		first, _ := h.news(t, id, operation.Place{}, 0)
		assert.Equal(t, "ended", first.State)
		assert.Equal(t, 1, *first.Exit)
	})
	t.Run("nightly runs get an id of their own", func(t *testing.T) {
		h := newHost(t)
		run, started, err := h.runs.Start(t.Context(), operation.Nightly, "backup", nil)
		require.NoError(t, err)
		assert.True(t, started)
		assert.Regexp(t, "^"+operation.IDPattern+"$", run)
		assert.True(t, h.Exists(folder(run)+"/run.json"))
	})
	t.Run("an id of another form starts nothing", func(t *testing.T) {
		for _, run := range []string{"../../etc", "20261124T185436", "x", "", id + ".new", id + "\n"} {
			h := newHost(t)
			_, _, err := h.runs.Start(t.Context(), run, "backup", nil)
			assert.ErrorAs(t, err, new(operation.WrongID), run)
			assert.Empty(t, h.Ran())
			assert.False(t, h.Exists(operation.Folder))
		}
	})
}

// Killed before any change, the next start of the same run begins it, or finds that it
// was begun: nothing runs twice, and no half of a folder counts as a run.
func TestS8_AStartThatIsKilledIsMadeUpForOrWasEnough(t *testing.T) {
	prepare := func(t *testing.T) (*machinetest.Host, func() error) {
		h := newHost(t)
		return h.Host, func() error {
			_, _, err := h.runs.Start(t.Context(), id, "backup", []string{"backup"})
			return err
		}
	}
	machinetest.AtEveryStep(t, prepare, func(t *testing.T, h *machinetest.Host, again func() error) {
		require.NoError(t, again())
		assert.LessOrEqual(t, len(h.RanLike("systemd-run")), 1)
		runs, err := (&operation.Runs{Machine: h.Machine}).List(t.Context())
		require.NoError(t, err)
		require.Len(t, runs, 1)
		assert.Equal(t, "backup", runs[0].Operation)
	})
}

func TestS8_WhichRunIsMeantAndHowItIs(t *testing.T) {
	t.Run("a run that systemd has not begun is under way for a minute, and lost then", func(t *testing.T) {
		h := newHost(t)
		h.start(t, id)
		clear(h.active)
		first, _ := h.news(t, id, operation.Place{}, 0)
		assert.Equal(t, "running", first.State)
		old := time.Now().Add(-2 * time.Minute)
		require.NoError(t, os.Chtimes(h.Path(folder(id)+"/run.json"), old, old))
		first, _ = h.news(t, id, operation.Place{}, 0)
		assert.Equal(t, "lost", first.State)
	})
	t.Run("an operation's name stands for its newest run, by the host's time", func(t *testing.T) {
		h := newHost(t)
		for i, run := range []string{"20990101T000000-00000001", "20200101T000000-00000002"} {
			h.start(t, run)
			h.supervised(t, run, func(c machinetest.Call) int {
				c.Print("%d\n", i)
				return 0
			})
			at := time.Now().Add(time.Duration(i-10) * time.Second)
			require.NoError(t, os.Chtimes(h.Path(folder(run)+"/run.json"), at, at))
		}
		first, body := h.news(t, "backup", operation.Place{}, 0)
		assert.Equal(t, "20200101T000000-00000002", first.Run)
		assert.Equal(t, "> 1\n", body)
		for _, other := range []string{"restore", "20200101T000000-00000003"} {
			first, body = h.news(t, other, operation.Place{}, 0)
			assert.Equal(t, head{State: "none"}, first)
			assert.Empty(t, body)
		}
	})
	t.Run("a run of the scripts before is shown", func(t *testing.T) {
		h := newHost(t)
		for name, text := range map[string]string{"operation": "restore\n", "started": "2026-11-24T18:54:36Z\n", "log": "2026-11-24T18:54:37Z unpacking\n", "result": "{}\n", "unit": "gitlab-codedeploy-restore-" + id + "\n"} {
			h.Put(folder(id)+"/"+name, text)
		}
		first, _ := h.news(t, "restore", operation.Place{}, 0)
		assert.Equal(t, "lost", first.State)
		h.active["gitlab-codedeploy-restore-"+id] = true
		first, _ = h.news(t, "restore", operation.Place{}, 0)
		assert.Equal(t, "running", first.State)
		h.Put(folder(id)+"/status", "7\n")
		first, body := h.news(t, "restore", operation.Place{}, 0)
		assert.Equal(t, "ended", first.State)
		assert.Equal(t, 7, *first.Exit)
		assert.Equal(t, "2026-11-24T18:54:36Z", first.Started)
		assert.Equal(t, "| 2026-11-24T18:54:37Z unpacking\n> {}\n", body)
	})
	t.Run("the newest 50 runs are kept, and those under way", func(t *testing.T) {
		h := newHost(t)
		name := func(i int) string { return fmt.Sprintf("20260101T000000-%08x", i) }
		for i := 1; i <= 60; i++ {
			h.Put(folder(name(i))+"/operation", "test")
			h.Put(folder(name(i))+"/started", "2026-01-01T00:00:00Z")
			at := time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)
			require.NoError(t, os.Chtimes(h.Path(folder(name(i))+"/started"), at, at))
			if i > 1 {
				h.Put(folder(name(i))+"/status", "0")
			}
		}
		h.Put(folder(name(1))+"/unit", "live") // The oldest one goes on.
		h.active["live"] = true
		h.Put(operation.Folder+"/notes/of-somebody", "")
		killed := h.Path(operation.Folder + "/.20260101T000000-00000000.7")
		require.NoError(t, os.Mkdir(killed, 0o700))
		require.NoError(t, os.Chtimes(killed, time.Time{}, time.Now().Add(-2*time.Hour)))
		h.start(t, id)
		names, err := h.List(operation.Folder)
		require.NoError(t, err)
		assert.Len(t, names, 52)
		assert.True(t, h.Exists(folder(name(1))))
		assert.False(t, h.Exists(folder(name(11))))
		assert.True(t, h.Exists(folder(name(12))))
		assert.True(t, h.Exists(operation.Folder+"/notes"))
	})
}

func TestS8_WhatIsFollowed(t *testing.T) {
	write := func(t *testing.T, log, result string) *host {
		h := newHost(t)
		h.start(t, id)
		h.Put(folder(id)+"/begun", "")
		h.Put(folder(id)+"/log", log)
		h.Put(folder(id)+"/result", result)
		return h
	}
	end := func(h *host) { h.Put(folder(id)+"/end.json", `{"status":0}`) }

	t.Run("is the whole log and result, byte by byte, whatever its lines are, in pieces that Systems Manager keeps", func(t *testing.T) {
		random := rand.New(rand.NewPCG(4, 4))
		text := func(size int) string {
			var out strings.Builder
			for out.Len() < size {
				words := []string{"\n", "\n\n\n", strings.Repeat("x", random.IntN(300)), strings.Repeat("パス", random.IntN(40)), strings.Repeat("long パ", 4000), "|+> {}"}
				out.WriteString(words[random.IntN(len(words))] + []string{"", "\n"}[random.IntN(2)])
			}
			return out.String()
		}
		log, result := text(150_000), text(90_000)
		h := write(t, log, result)
		end(h)
		got := map[byte]string{}
		place, pieces := operation.Place{}, 0
		for more := true; more; pieces++ {
			require.Less(t, pieces, 30)
			first, body := h.news(t, id, place, 0)
			for line := range strings.Lines(body) {
				line = strings.TrimSuffix(line, "\n")
				require.True(t, len(line) >= 2 && strings.ToValidUTF8(line, "") == line, "no character is cut in two: %q", line)
				got[line[0]] += line[2:]
				if line[1] == ' ' {
					got[line[0]] += "\n"
				}
			}
			place, more = operation.Place{Log: first.Log, Result: first.Result}, first.More
		}
		assert.Equal(t, log, got['|'])
		assert.Equal(t, result, got['>'])
	})
	t.Run("has no control characters that could reach the operator's terminal", func(t *testing.T) {
		h := write(t, "a\tb \x1b[31mred\x1b[0m \a\x7f\x00 \u009b31m \u202e\u2066 50%\r100%\n", "")
		end(h)
		_, body := h.news(t, id, operation.Place{}, 0)
		assert.Equal(t, "| a\tb ?[31mred?[0m ??? ??31m ?????? 50%\n| 100%\n", body)
	})
	t.Run("a line is shown when it is ended, a long one before", func(t *testing.T) {
		h := write(t, "half a line", "")
		first, body := h.news(t, id, operation.Place{}, 0)
		assert.Empty(t, body)
		assert.Zero(t, first.Log)
		h.Put(folder(id)+"/log", "half a line"+strings.Repeat(" ", 3000))
		first, body = h.news(t, id, operation.Place{}, 0)
		assert.True(t, strings.HasPrefix(body, "|+half a line "))
		assert.EqualValues(t, 3011, first.Log)
	})
	t.Run("it is told as soon as there is something new, or when the wait is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := write(t, "", "")
			begin := time.Now()
			first, body := h.news(t, id, operation.Place{}, 8*time.Second)
			assert.Equal(t, "running", first.State)
			assert.Empty(t, body)
			assert.Equal(t, 8*time.Second, time.Since(begin))
			go func() {
				time.Sleep(3 * time.Second)
				h.Put(folder(id)+"/log", "news\n")
			}()
			begin = time.Now()
			_, body = h.news(t, id, operation.Place{}, 8*time.Second)
			assert.Equal(t, "| news\n", body)
			assert.Less(t, time.Since(begin), 4*time.Second)
		})
	})
}

func TestS8_OneOperationAtATimeChangesTheHost(t *testing.T) {
	t.Run("S8 any operation | a second one that changes the host is started meanwhile | it ends at once with 1 and names the first", func(t *testing.T) {
		h := newHost(t)
		lock, err := h.Lock(machine.OperationLock, "backup (run "+id+")")
		require.NoError(t, err)
		_, err = h.Lock(machine.OperationLock, "restore (by hand)")
		require.ErrorAs(t, err, new(machine.Held))
		assert.Regexp(t, `^backup \(run `+id+`\), since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ is under way on this host: nothing was done$`, err.Error())
		lock.Release()
		lock, err = h.Lock(machine.OperationLock, "restore (by hand)")
		require.NoError(t, err)
		lock.Release()
	})
}
