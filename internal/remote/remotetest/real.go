//go:build unix

package remotetest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// RealHost runs documents as the agent does, with the real program of the hosts, on a
// folder for the host's files. Of systemd it has what that needs: a unit is a process in
// a session of its own.
type RealHost struct {
	// Dir holds the host's files, a folder bin with its commands, and units.
	Dir string
	// Env is what documents have beside that in their environment.
	Env []string
	t   testing.TB
}

const systemdRun = `#!/bin/sh
[ ! -e "$STATE/broken" ] || { echo "Failed to start transient service unit: Connection timed out" >&2; exit 1; }
unit='' set=''
while :; do
  case $1 in
    --unit) unit=$2 ;;
    --description) ;;
    --setenv) export "$2" ;;
    *) break ;;
  esac
  shift 2
done
setsid sh -c 'echo $$ >"$0"; exec "$@"' "$STATE/units/$unit" "$@" </dev/null >/dev/null 2>&1 &
until [ -s "$STATE/units/$unit" ]; do sleep 0.01; done
`

const systemctl = `#!/bin/sh
grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$(cat "$STATE/units/$3")/status" 2>/dev/null
`

// OnRealHost lets all documents run on such a host, also those that were played. Its units
// end with the test.
func (s *Systems) OnRealHost(t *testing.T) *RealHost {
	t.Helper()
	if os.Geteuid() != 0 {
		require.NotEqual(t, "true", os.Getenv("CI"), "operations are started by root")
		t.Skip("operations are started by root")
	}
	r := &RealHost{Dir: t.TempDir(), t: t}
	for _, folder := range []string{"units", "bin", "run"} {
		require.NoError(t, os.Mkdir(filepath.Join(r.Dir, folder), 0o700))
	}
	r.Stub("systemd-run", strings.TrimPrefix(systemdRun, "#!/bin/sh\n"))
	r.Stub("systemctl", strings.TrimPrefix(systemctl, "#!/bin/sh\n"))
	HostProgram(t) // Before anything is timed.
	t.Cleanup(r.Kill)
	clear(s.plays)
	clear(s.looks)
	s.Script = func(_, text string) (int, string, string) { return r.agent(text) }
	return r
}

// Stub makes a command of the host, in sh.
func (r *RealHost) Stub(name, body string) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(filepath.Join(r.Dir, "bin", name), []byte("#!/bin/sh\n"+body+"\n"), 0o700))
}

// Put writes a file of the host.
func (r *RealHost) Put(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.Dir, name)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(r.t, os.WriteFile(path, []byte(text), 0o644))
}

// PageVariable names the address, such as 127.0.0.1:8080, of a host's own page.
const PageVariable = RootVariable + "_PAGE"

// agent runs a document's text from a file of its own that is gone afterwards.
func (r *RealHost) agent(text string) (int, string, string) {
	file, err := os.CreateTemp(r.Dir, "script-*.sh")
	if !assert.NoError(r.t, err) {
		return 1, "", ""
	}
	defer os.Remove(file.Name())
	assert.NoError(r.t, errors.Join(file.Chmod(0o700), func() error { _, err := file.WriteString(text); return err }(), file.Close()))
	command := exec.Command("sh", "-c", file.Name())
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	command.Env = append([]string{
		"PATH=" + filepath.Join(r.Dir, "bin") + ":" + os.Getenv("PATH"), "STATE=" + r.Dir, RootVariable + "=" + r.Dir,
		"OPERATION_RUNS=" + filepath.Join(r.Dir, "var/lib/gitlab-codedeploy/runs"), "OPERATION_LOCK=" + filepath.Join(r.Dir, "run/gitlab-codedeploy.lock"),
	}, r.Env...)
	if err := command.Run(); err != nil && command.ProcessState == nil {
		r.t.Error(err)
	}
	return command.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// Kill ends all units, as a restart of the host does.
func (r *RealHost) Kill() {
	units, _ := filepath.Glob(filepath.Join(r.Dir, "units", "*"))
	for _, unit := range units {
		text, _ := os.ReadFile(unit)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid > 1 {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
}
