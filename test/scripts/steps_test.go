//go:build unix

package scripts

import (
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// steps is a folder with a Makefile whose recipes are steps.
type steps struct {
	*machine
	makefile string
}

func newSteps(t *testing.T) *steps {
	t.Helper()
	s := &steps{machine: newMachine(t)}
	s.copy("", "scripts/steps.sh")
	s.makefile = "STEP := \"" + s.path("scripts/steps.sh") + "\" step\n"
	return s
}

// target adds one whose recipe has these lines.
func (s *steps) target(name string, recipe ...string) {
	s.makefile += name + ":\n\t@" + strings.Join(recipe, "\n\t@") + "\n"
	s.write("Makefile", s.makefile)
}

// make makes targets by scripts/steps.sh run.
func (s *steps) make(env []string, args ...string) ran {
	s.t.Helper()
	return s.run(s.dir, env, append([]string{s.path("scripts/steps.sh"), "run"}, args...)...)
}

// TestS15_Steps is about scripts/steps.sh, which runs the parts of `make check` and `make test`.
func TestS15_Steps(t *testing.T) {
	t.Run("every step runs under its heading, and a failed one is named at the end", func(t *testing.T) {
		s := newSteps(t)
		s.target("lane", "$(STEP) first echo one", "$(STEP) 'the second' sh -c 'echo two; exit 3'", "$(STEP) third echo three")
		got := s.make(nil, "-j1", "lane")
		assert.Equal(t, 1, got.status)
		assert.Regexp(t, `(?s)=== first: ok in .*\none\n.*=== the second: FAILED with 3 in .*\ntwo\n.*=== third: ok in .*\nthree`, got.stdout)
		assert.Regexp(t, `^=== failed after \d+ s: the second$`, last(got.stdout))
	})
	t.Run("when all went well the last line says so", func(t *testing.T) {
		s := newSteps(t)
		s.target("lane", "$(STEP) first true")
		got := s.make(nil, "-j1", "lane")
		assert.Equal(t, 0, got.status)
		assert.Regexp(t, `^=== all well after \d+ s$`, last(got.stdout))
	})
	t.Run("lanes run side by side, and a failure in either counts", func(t *testing.T) {
		// Each waits for the other: one after the other they would wait in vain.
		s := newSteps(t)
		require.NoError(t, syscall.Mkfifo(s.path("pipe"), 0o600))
		s.target("one", "$(STEP) writes sh -c 'echo met >pipe'")
		s.target("two", "$(STEP) reads sh -c 'cat pipe; exit 1'")
		got := s.make(nil, "-j2", "one", "two")
		assert.Equal(t, 1, got.status)
		assert.Contains(t, got.stdout, "\nmet\n")
		assert.Regexp(t, `: reads$`, last(got.stdout))
	})
	t.Run("a target behind the others is made once, by a lane that is done with its own", func(t *testing.T) {
		// "busy" holds its lane until the last of them opens the pipe.
		s := newSteps(t)
		require.NoError(t, syscall.Mkfifo(s.path("pipe"), 0o600))
		s.target("first", "$(STEP) busy cat pipe")
		s.target("second", "$(STEP) quick true")
		s.target("one", "$(STEP) one sh -c 'exit 3'")
		s.target("two", "$(STEP) two sh -c 'echo met >pipe'")
		got := s.make(nil, "-j2", "first", "second", "one", "two")
		assert.Equal(t, 1, got.status)
		assert.Regexp(t, `(?s)=== quick: ok.*=== one: FAILED with 3.*=== two: ok`, got.stdout)
		assert.Len(t, regexp.MustCompile(`(?m)^=== `).FindAllString(got.stdout, -1), 5)
		assert.Regexp(t, `^=== failed after \d+ s: one$`, last(got.stdout))
	})
	t.Run("a step that cannot be run is no success", func(t *testing.T) {
		s := newSteps(t)
		s.stub("mktemp", `case $* in -d) exec /usr/bin/env PATH="${PATH#*:}" mktemp -d ;; *) exit 1 ;; esac`)
		s.target("lane", "$(STEP) first true")
		s.target("other", "$(STEP) second true")
		got := s.make(nil, "-j1", "lane", "other")
		assert.Equal(t, 1, got.status)
		assert.NotContains(t, got.stdout, "=== first")
		assert.Regexp(t, `: make -j1 lane other$`, last(got.stdout))
		// As a target that is not there; what is there is made all the same.
		s.remove("stubs/mktemp")
		got = s.make(nil, "-j1", "nowhere", "lane")
		assert.Equal(t, 1, got.status)
		assert.Contains(t, got.stdout, "=== first: ok")
	})
	t.Run("a step reads nothing from the terminal", func(t *testing.T) {
		s := newSteps(t)
		s.target("lane", "$(STEP) reads cat")
		command := s.command(s.dir, nil, s.path("scripts/steps.sh"), "run", "-j1", "lane")
		command.Stdin = strings.NewReader("typed")
		out, err := command.Output()
		require.NoError(t, err)
		assert.Contains(t, string(out), "=== reads: ok")
		assert.NotContains(t, string(out), "typed")
	})
	t.Run("a step knows nothing of the job slots beside it", func(t *testing.T) {
		s := newSteps(t)
		s.target("lane", `$(STEP) asks sh -c 'echo "flags:$${MAKEFLAGS-none} level:$${MAKELEVEL-none}"'`)
		got := s.make([]string{"MAKEFLAGS=-j --jobserver-auth=98,99"}, "-j2", "lane")
		assert.Equal(t, 0, got.status)
		assert.Contains(t, got.stdout, "flags:none level:none")
	})
	t.Run("outside of a run a step is its command and nothing else", func(t *testing.T) {
		s := newSteps(t)
		s.target("lane", "$(STEP) first sh -c 'echo one; exit 3'")
		got := s.run(s.dir, nil, "make", "lane")
		assert.Equal(t, 2, got.status)
		assert.Equal(t, "one", lines(got.stdout)[0])
	})
	t.Run("a quiet run has headings only, and all of what failed", func(t *testing.T) {
		s := newSteps(t)
		s.target("lane", "$(STEP) first echo one")
		got := s.make([]string{"QUIET="}, "-j1", "lane")
		assert.Equal(t, 0, got.status)
		assert.Regexp(t, `^=== first: ok in [^\n]*\n$`, got.stdout)
		s.target("broken", "$(STEP) second sh -c 'echo two; exit 3'")
		got = s.make([]string{"QUIET="}, "-j1", "lane", "broken")
		assert.Equal(t, 1, got.status)
		assert.NotContains(t, got.stdout, "one")
		assert.Regexp(t, `\ntwo\n=== failed after `, got.stdout)
	})
	t.Run("an interrupt ends all lanes with what they started", func(t *testing.T) {
		s := newSteps(t)
		s.target("a", "$(STEP) a sh -c 'sleep 100 & echo $$! >out.a; wait'")
		s.target("b", "$(STEP) b sh -c 'echo $$$$ >out.b; exec sleep 100'")
		command := s.command(s.dir, nil, s.path("scripts/steps.sh"), "run", "-j2", "a", "b")
		require.NoError(t, command.Start())
		until(t, "both lanes have begun", func() bool {
			return s.exists("out.a") && s.exists("out.b") && s.read("out.a") != "" && s.read("out.b") != ""
		})
		require.NoError(t, command.Process.Signal(syscall.SIGTERM))
		assert.EqualError(t, command.Wait(), "exit status 143")
		for _, name := range []string{"out.a", "out.b"} {
			until(t, "the process of "+name+" ends", func() bool { return isGone(s.read(name)) })
		}
	})
	t.Run("wrong use of steps ends with 2", func(t *testing.T) {
		s := newSteps(t)
		for _, arguments := range []string{"", "run", "step name", "all of it"} {
			assert.Equal(t, 2, s.run(s.dir, nil, append([]string{s.path("scripts/steps.sh")}, strings.Fields(arguments)...)...).status, arguments)
		}
		got := s.run(s.dir, nil, s.path("scripts/steps.sh"), "--help")
		assert.Equal(t, 0, got.status)
		assert.True(t, strings.HasPrefix(got.stdout, "Usage: scripts/steps.sh"))
	})
}
