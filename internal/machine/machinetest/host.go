// Package machinetest plays a host: what commands answer, and death at any step.
package machinetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine"
)

// Host is a played host with an empty file tree.
type Host struct {
	*machine.Machine
	// Talk is what the program has said to people.
	Talk *bytes.Buffer
	// Free is how much room each disk has, in bytes.
	Free int64
	// Owners are those that the program gave files, as "user:group".
	Owners map[string]string

	t       testing.TB
	mu      sync.Mutex
	plays   []play
	pages   map[string]http.HandlerFunc
	ran     []string
	dieAt   int
	changes int
	dead    bool
}

// Call is a command that is being played.
type Call struct {
	machine.Command
	Ctx   context.Context
	Input string // all of its stdin
}

// Print writes to the command's stdout, and Complain to its stderr.
func (c Call) Print(format string, args ...any)    { fmt.Fprintf(c.Stdout, format, args...) }
func (c Call) Complain(format string, args ...any) { fmt.Fprintf(c.Stderr, format, args...) }

type play struct {
	prefix string
	answer func(Call) int
}

// New returns a host of Amazon Linux 2.
func New(t testing.TB) *Host {
	h := &Host{Talk: &bytes.Buffer{}, Free: 1 << 40, Owners: map[string]string{}, pages: map[string]http.HandlerFunc{}, t: t}
	h.Machine = &machine.Machine{
		Runner: h, Web: h, Root: tree(t), Log: h.Talk, Step: h.step, Architecture: "x86_64", Volatile: true,
		FreeBytes: func(string) (int64, error) { return h.Free, nil },
		Owner: func(path, user, group string) error {
			h.Owners[path] = user + ":" + group
			return nil
		},
	}
	h.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2\"\n")
	h.Answers("getconf GNU_LIBC_VERSION", "glibc 2.26\n")
	return h
}

// Temporary makes a folder for the many small files of a test: in memory, where there is some to
// spare. ext4 looks past each inode that was removed in the last minutes before it has a new one.
// Elsewhere it is below another folder, "" for that of all temporary files.
func Temporary(elsewhere string) (string, error) {
	const memory = "/dev/shm" // shm_overview(7)
	if free, err := (&machine.Machine{}).Free(memory); err == nil && free > 1<<30 {
		if folder, err := os.MkdirTemp(memory, "gitlab-codedeploy-"); err == nil {
			return folder, nil
		}
	}
	return os.MkdirTemp(elsewhere, "gitlab-codedeploy-")
}

func tree(t testing.TB) string {
	root, err := Temporary("")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(root)) })
	return root
}

// AmazonLinux2023 makes it a host of that system.
func (h *Host) AmazonLinux2023() {
	h.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n")
	h.Answers("getconf GNU_LIBC_VERSION", "glibc 2.34\n")
}

// On plays every command that begins with these words. The latest answer to the same
// words counts, and of several the longest. The answer's value is the exit status.
func (h *Host) On(prefix string, answer func(Call) int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.plays = slices.DeleteFunc(h.plays, func(p play) bool { return p.prefix == prefix })
	h.plays = append(h.plays, play{prefix, answer})
}

// Answers plays commands that print a text and end well.
func (h *Host) Answers(prefix, text string) {
	h.On(prefix, func(c Call) int {
		c.Print("%s", text)
		return 0
	})
}

// OnPage plays the web server at an address, such as "http://localhost/-/jwks"; what
// follows a question mark is left out. Nobody answers at one that is not played.
func (h *Host) OnPage(url string, answer http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pages[url] = answer
}

// RoundTrip implements [http.RoundTripper].
func (h *Host) RoundTrip(r *http.Request) (*http.Response, error) {
	address := *r.URL
	address.RawQuery = ""
	h.mu.Lock()
	answer := h.pages[address.String()]
	h.mu.Unlock()
	if answer == nil {
		return nil, fmt.Errorf("dial %s: connection refused", r.URL.Host)
	}
	recorder := httptest.NewRecorder()
	answer(recorder, r)
	return recorder.Result(), nil
}

// Put writes a file of the host, as if it had always been there.
func (h *Host) Put(name, content string) {
	h.t.Helper()
	path := h.Path(name)
	require.NoError(h.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(h.t, os.WriteFile(path, []byte(content), 0o644))
}

// Get returns a file's content, "" if there is none.
func (h *Host) Get(name string) string {
	h.t.Helper()
	text, err := h.ReadFile(name)
	require.NoError(h.t, err)
	return text
}

// Ran are the commands that were run, as typed.
func (h *Host) Ran() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ran)
}

// RanLike are those of them that begin with these words.
func (h *Host) RanLike(prefix string) (found []string) {
	for _, command := range h.Ran() {
		if begins(command, prefix) {
			found = append(found, command)
		}
	}
	return found
}

// Forget forgets which commands were run.
func (h *Host) Forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ran = nil
}

// Run implements [machine.Runner]. A command that is not played fails the test.
func (h *Host) Run(ctx context.Context, c machine.Command) error {
	typed := c.String()
	h.mu.Lock()
	h.ran = append(h.ran, typed)
	var answer func(Call) int
	longest := -1
	for _, p := range h.plays {
		if begins(typed, p.prefix) && len(p.prefix) > longest {
			answer, longest = p.answer, len(p.prefix)
		}
	}
	h.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if answer == nil {
		h.t.Errorf("a command that is not played: %s", typed)
		return fmt.Errorf("%s is not there", c.Args[0])
	}
	call := Call{Command: c, Ctx: ctx}
	if c.Stdin != nil {
		input, err := io.ReadAll(c.Stdin)
		if err != nil {
			return err
		}
		call.Input = string(input)
	}
	if status := answer(call); status != 0 {
		return &machine.ExitError{Command: c, Status: status}
	}
	return ctx.Err()
}

// begins says whether a command begins with words, and not only with letters.
func begins(command, words string) bool {
	rest, is := strings.CutPrefix(command, words)
	return is && (rest == "" || rest[0] == ' ' || strings.HasSuffix(words, " "))
}

// killed is what SIGKILL is here.
type killed struct{ step string }

func (h *Host) step(what string) {
	h.changes++
	if h.dead || h.changes == h.dieAt {
		h.dead = true // what runs in a defer is killed as well
		panic(killed{what})
	}
}

// RunKilledAt runs a program and kills it before its n-th change of the host, counted
// from 1. It tells before which, and false when the program has ended before.
func (h *Host) RunKilledAt(n int, program func() error) (step string, was bool) {
	h.dieAt, h.changes, h.dead = n, 0, false
	defer func() {
		h.dieAt, h.dead = 0, false
		switch p := recover().(type) {
		case nil:
		case killed:
			step, was = p.step, true
		default:
			panic(p)
		}
	}()
	_ = program()
	return "", false
}

// AtEveryStep plays a scenario once for each change that a program makes: prepare makes
// a host, the program is killed before that change, and check is called, which mostly
// runs it again.
func AtEveryStep(t *testing.T, prepare func(*testing.T) (*Host, func() error), check func(*testing.T, *Host, func() error)) {
	t.Helper()
	for n := 1; ; n++ {
		h, program := prepare(t)
		step, was := h.RunKilledAt(n, program)
		if !was {
			require.Greater(t, n, 1, "the program changes nothing")
			return
		}
		t.Run(fmt.Sprintf("killed before %d: %s", n, step), func(t *testing.T) {
			h.t = t
			check(t, h, program)
		})
	}
}
