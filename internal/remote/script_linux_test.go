package remote_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/remote"
	"gitlab-codedeploy/internal/remote/remotetest"
)

// realHost is a host that runs the real documents, and one more: an operation that is a script, so that a test can say
// what it does. The real program supervises it.
type realHost struct {
	*remotetest.Systems
	cloud *awstest.Cloud
	host  remote.Host
	real  *remotetest.RealHost
	log   lines
	run   string
}

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startRun begins a run of a script as the program begins one of itself (internal/operation).
const startRun = `#!/bin/sh
run='{{ RunId }}' folder=$HOST_ROOT/var/lib/gitlab-codedeploy/runs/{{ RunId }}
mkdir -p "${folder%/*}"
mkdir "$folder" 2>/dev/null || { echo "run $run was started already"; exit 0; }
: >"$folder/log"; : >"$folder/result"
printf '{"operation":"test","started":"%s","unit":"gitlab-codedeploy-test-%s","command":["bash","SCRIPT","--word","{{ Word }}"]}' \
  "$(date -u +%FT%TZ)" "$run" >"$folder/run.json"
systemd-run --unit "gitlab-codedeploy-test-$run" --description test --setenv "PATH=$PATH" PROGRAM supervise "$run" && exit
echo '{"status":1}' >"$folder/end.json"
echo "systemd-run could not start gitlab-codedeploy-test-$run" >&2
exit 1`

func newRealHost(t *testing.T, body string) *realHost {
	t.Helper()
	cloud := awstest.New(t)
	r := &realHost{cloud: cloud, Systems: remotetest.Play(t, cloud)}
	r.real = r.OnRealHost(t)
	script := filepath.Join(r.real.Dir, "test.sh")
	source := "#!/usr/bin/env bash\nset -Eeuo pipefail\nlog() { printf '%s\\n' \"$*\" >&2; }\nmain() {\n" + body + "\n}\nmain \"$@\"\n"
	require.NoError(t, os.WriteFile(script, []byte(source), 0o600))
	lines := strings.Split(startRun, "\n")
	for i, line := range lines {
		lines[i] = strings.NewReplacer("SCRIPT", script, "PROGRAM", remotetest.HostProgram(t)).Replace(line)
	}
	r.Documents["gitlab-codedeploy-staging-test"] = remotetest.Document{
		Lines:      lines,
		Parameters: map[string]remotetest.Parameter{"RunId": {Pattern: `^[0-9]{8}T[0-9]{6}-[0-9a-f]{8}$`}, "Word": {Pattern: `^[a-z ]+$`}},
	}
	r.host = remote.Host{
		Commands: ssm.NewFromConfig(cloud.Config("ap-northeast-1")), Kind: "server", Instance: remotetest.Server, Environment: "staging",
		Flags: "--env staging", Place: "nowhere", Log: &r.log, Poll: 20 * time.Millisecond, Timeout: time.Minute,
	}
	return r
}

func (r *realHost) touch(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(r.real.Dir, name), nil, 0o600))
}

var operation = remote.Operation{Name: "test", Command: "test", Parameters: map[string]string{"Word": "two words"}}

func (r *realHost) start(t *testing.T) {
	t.Helper()
	run, err := r.host.Start(t.Context(), operation)
	require.NoError(t, err, r.log.String())
	r.run = run
}

func TestS8_TheRealDocumentsAreUnderstood(t *testing.T) {
	t.Run("live, past an interrupt, and with every letter", func(t *testing.T) {
		r := newRealHost(t, `log "working on $*"
echo once >>"$STATE/count"
printf 'バックアップ \033]0;owned\007 \302\2332J 10%%\r20%%\n' >&2
until [[ -e $STATE/go ]]; do sleep 0.02; done
for ((i = 1; i <= 1000; i++)); do echo "line $i of the log, which is long enough 日本語" >&2; done
printf '%06000d\n' 7 >&2
printf '{"a": [1, 2]}\n%030000d\n' 7
return 7`)
		r.Fail("SendCommand", remotetest.Fault{LostAnswer: true}, remotetest.Fault{LostAnswer: true})
		r.start(t)
		ctx, interrupt := context.WithCancel(t.Context())
		go func() {
			for !strings.Contains(r.log.String(), "20%") && t.Context().Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
			interrupt()
		}()
		_, err := r.host.Follow(ctx, operation, r.run)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "run "+r.run+" goes on, to follow it: scripts/ops test --env staging --follow "+r.run)
		assert.Contains(t, r.log.String(), "working on --word two words --run "+r.run+"\n")
		assert.Contains(t, r.log.String(), "バックアップ ?]0;owned? ??2J 10%\n20%\n")
		assert.NotContains(t, r.log.String(), "line 1 ")

		r.touch(t, "go")
		r.log.text.Reset()
		ended, err := r.host.Follow(t.Context(), operation, "")
		require.NoError(t, err)
		assert.Equal(t, r.run, ended.Run)
		assert.Equal(t, 7, ended.Status)
		assert.Equal(t, fmt.Sprintf("{\"a\": [1, 2]}\n%030000d\n", 7), ended.Result)
		assert.Equal(t, 1000, strings.Count(r.log.String(), " of the log, which is long enough 日本語\n"))
		assert.Contains(t, r.log.String(), fmt.Sprintf("\n%06000d\n", 7))
		count, err := os.ReadFile(filepath.Join(r.real.Dir, "count"))
		require.NoError(t, err)
		assert.Equal(t, "once\n", string(count), "sent three times, begun once")
		assert.Equal(t, []string{"test", "test", "test"}, remotetest.Sent(r.cloud))
	})
	t.Run("a run that is killed", func(t *testing.T) {
		r := newRealHost(t, `log "first step"; sleep 100`)
		r.start(t)
		go func() {
			for !strings.Contains(r.log.String(), "first step") && t.Context().Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
			r.real.Kill()
		}()
		_, err := r.host.Follow(t.Context(), operation, r.run)
		require.EqualError(t, err, "run "+r.run+" of test ended without a status: it was killed, or the host was restarted. It can be started again")
	})
	t.Run("no such run", func(t *testing.T) {
		r := newRealHost(t, `true`)
		_, err := r.host.Follow(t.Context(), operation, "")
		require.EqualError(t, err, "there is no run of test on the server to follow")
		_, err = r.host.Follow(t.Context(), operation, "20200101T000000-00000000")
		require.EqualError(t, err, "there is no run 20200101T000000-00000000 on the server")
	})
	t.Run("a host where systemd is broken", func(t *testing.T) {
		r := newRealHost(t, `true`)
		r.touch(t, "broken")
		_, err := r.host.Start(t.Context(), operation)
		require.EqualError(t, err, "test was not started on the server: its document ended with 1")
		assert.Contains(t, r.log.String(), "systemd-run could not start gitlab-codedeploy-test-")
		assert.Contains(t, r.log.String(), "Connection timed out\n")
	})
	t.Run("a document of the project, whole", func(t *testing.T) {
		r := newRealHost(t, `true`)
		require.NoError(t, os.WriteFile(filepath.Join(r.real.Dir, "bin", "rpm"), []byte("#!/bin/sh\necho gitlab-ce-14.9.5-ce.0.amazon2\n"), 0o700))
		plan := remote.Operation{Name: "upgrade", Parameters: map[string]string{
			"Mode": "plan", "From": "", "To": "15.4.6",
		}}
		run, err := r.host.Start(t.Context(), plan)
		require.NoError(t, err, r.log.String())
		ended, err := r.host.Follow(t.Context(), plan, run)
		require.NoError(t, err)
		assert.Zero(t, ended.Status, r.log.String())
		var versions []string
		for _, line := range strings.Split(strings.TrimSpace(ended.Result), "\n")[1:] {
			version, _, _ := strings.Cut(line, "\t")
			versions = append(versions, version)
		}
		assert.Equal(t, []string{"14.10.5", "15.0.5", "15.4.6"}, versions, "it starts at what the server has")
	})
}
