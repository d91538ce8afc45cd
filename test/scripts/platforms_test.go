//go:build unix

package scripts

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTheOperatorsProgramCompilesAndVetsEverywhere: a mistake of one system is seen for that
// system, in the program, what it imports and their tests.
func TestTheOperatorsProgramCompilesAndVetsEverywhere(t *testing.T) {
	m := newMachine(t)
	m.copy("", "Makefile", "scripts/steps.sh")
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	require.NoError(t, err)
	m.env = append(m.env, "GOCACHE="+strings.TrimSpace(string(cache)), "GOFLAGS=", "GOTOOLCHAIN=local", "CGO_ENABLED=1")

	m.write("go.mod", "module example\n")
	m.write("cmd/ops/main.go", "package main\n\nimport \"example/own\"\n\nfunc main() { own.Stop() }\n")
	m.write("own/unix.go", "//go:build unix\n\npackage own\n\nimport \"syscall\"\n\nfunc Stop() { _ = syscall.Kill(1, 0) }\n")
	windows := func(body string) {
		m.write("own/own_windows.go", "package own\n\nimport \"syscall\"\n\nfunc Stop() { "+body+" }\n")
	}
	for _, c := range []struct{ body, test, want string }{
		{"_ = syscall.SIGTERM", "", ""},
		{"_ = syscall.SIGUSR1", "", "undefined: syscall.SIGUSR1"},
		{"_ = struct{ A syscall.Signal `json:a` }{}", "", "not compatible with reflect.StructTag.Get"},
		{"_ = syscall.SIGTERM", "package own\n\nimport \"syscall\"\n\nvar _ = syscall.SIGUSR1\n", "undefined: syscall.SIGUSR1"},
	} {
		windows(c.body)
		if c.test != "" {
			m.write("own/own_windows_test.go", c.test)
		}
		got := m.run(m.dir, nil, "scripts/steps.sh", "run", "-j1", "darwin/arm64", "darwin/amd64", "windows/amd64")
		assert.Contains(t, got.stdout, "=== darwin/arm64: ok")
		assert.Contains(t, got.stdout, "=== darwin/amd64: ok")
		if c.want == "" {
			assert.Contains(t, got.stdout, "=== windows/amd64: ok")
			continue
		}
		assert.Contains(t, got.stdout, c.want)
		assert.Regexp(t, `=== failed after \d+ s: windows/amd64$`, strings.TrimSpace(got.stdout))
	}
	assert.Regexp(t, `(?m)^\t@\$\(RUN_STEPS\) .* \$\(PLATFORMS\)$`, m.read("Makefile"), "make test does it")
}
