package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/operation"
	"gitlab-codedeploy/internal/remote/remotetest"
)

// gitlabHost is a host on which the documents run the real program. GitLab's own commands
// say what little they are asked for.
func gitlabHost(t *testing.T, h *screen) *remotetest.RealHost {
	t.Helper()
	host := h.OnRealHost(t)
	host.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce 15.4.6\n")
	host.Put("/opt/gitlab/bin/gitlab-ctl", "")
	host.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2\"\nPRETTY_NAME=\"Amazon Linux 2\"\n")
	host.Stub("gitlab-ctl", `echo "run: nginx: (pid 1) 10s"`)
	host.Stub("gitlab-psql", `echo "psql: could not connect to server" >&2; exit 2`)
	host.Stub("gitlab-rails", `exit 1`)
	return host
}

// TestS8_AnOperationGoesItsWholeWay from the operator's command through the played Systems
// Manager and the real documents to the real program, as a unit that goes on by itself,
// and back.
func TestS8_AnOperationGoesItsWholeWay(t *testing.T) {
	t.Run("and leaves its run on the host", func(t *testing.T) {
		h := newScreen(t)
		host := gitlabHost(t, h)
		require.Error(t, h.run(t, "status", "--env", "staging")) // its database is down
		assert.Regexp(t, `(?m)^version +- +gitlab-ce 15.4.6, Amazon Linux 2`, h.out.String())
		assert.Regexp(t, `(?m)^services +ok +all 1 are up`, h.out.String())

		runs, err := os.ReadDir(filepath.Join(host.Dir, operation.Folder))
		require.NoError(t, err)
		require.Len(t, runs, 1)
		folder := filepath.Join(host.Dir, operation.Folder, runs[0].Name())
		info, err := os.Stat(folder)
		require.NoError(t, err)
		assert.EqualValues(t, 0o700, info.Mode().Perm())
		end, err := os.ReadFile(filepath.Join(folder, "end.json"))
		require.NoError(t, err)
		assert.Contains(t, string(end), `"status":0`)
		record, err := os.ReadFile(filepath.Join(folder, "run.json"))
		require.NoError(t, err)
		assert.Contains(t, string(record), `"unit":"gitlab-codedeploy-status-`+runs[0].Name()+`"`)
		assert.FileExists(t, filepath.Join(host.Dir, "units", "gitlab-codedeploy-status-"+runs[0].Name()))
	})
	t.Run("S8 status | the unit of a real run is killed on the host | the program tells that it was lost", func(t *testing.T) {
		h := newScreen(t)
		host := gitlabHost(t, h)
		host.Stub("gitlab-psql", `kill -9 "-$(cat "$STATE"/units/*)"`)
		require.Error(t, h.run(t, "status", "--env", "staging"))
		assert.Regexp(t, `(?m)^server +unknown +run .* of status ended without a status: it was killed, or the host was restarted`, h.out.String())
	})
	t.Run("S8 configure | the address that is asked for is not the sender's choice | it is GitLab's own, by the document", func(t *testing.T) {
		h := newScreen(t)
		host := gitlabHost(t, h)
		host.Put("/etc/gitlab/gitlab.rb", "# theirs\n")
		require.NoError(t, h.run(t, "configure", "--env", "staging", "--check"), "%s", h.err)
		assert.Contains(t, strings.Join([]string{h.out.String(), h.err.String()}, ""), "external_url 'https://gitlab.example.com'")
		text, err := os.ReadFile(filepath.Join(host.Dir, "etc/gitlab/gitlab.rb"))
		require.NoError(t, err)
		assert.Equal(t, "# theirs\n", string(text), "it only looks")
	})
}
