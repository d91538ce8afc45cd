package omnibus_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func newGitLab(t *testing.T) (*machinetest.Host, omnibus.GitLab) {
	h := machinetest.New(t)
	return h, omnibus.GitLab{Machine: h.Machine}
}

func TestTheInstalledVersionIsRead(t *testing.T) {
	h, g := newGitLab(t)
	assert.False(t, g.IsInstalled())
	_, err := g.Installed()
	require.ErrorIs(t, err, omnibus.ErrNone)
	require.ErrorContains(t, err, "/opt/gitlab/version-manifest.txt cannot be read")
	h.Put("/opt/gitlab/bin/gitlab-ctl", "")
	assert.True(t, g.IsInstalled())
	for first, want := range map[string]omnibus.Installed{
		"gitlab-ce 13.10.2\n\nComponent …": {Package: "gitlab-ce", Version: gitlab.Version{Major: 13, Minor: 10, Patch: 2}},
		"gitlab-ee 18.2.1-ee.0\n":          {Package: "gitlab-ee", Version: gitlab.Version{Major: 18, Minor: 2, Patch: 1}},
	} {
		h.Put("/opt/gitlab/version-manifest.txt", first)
		got, err := g.Installed()
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	h.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce\n")
	_, err = g.Installed()
	require.ErrorContains(t, err, `/opt/gitlab/version-manifest.txt names no version: "gitlab-ce"`)
}

func TestOurSettingsAreIncludedByOneLine(t *testing.T) {
	text := omnibus.SettingsText("https://moved.example.com")
	assert.True(t, strings.HasPrefix(text, omnibus.SettingsHeader+"\n"))
	assert.Contains(t, text, "\nexternal_url 'https://moved.example.com'\n")
	assert.NotContains(t, text, "gitlab.example.com")

	const line = "from_file '/etc/gitlab/gitlab-codedeploy.rb'\n"
	for main, want := range map[string]string{
		"":                   "\n" + line,
		"external_url 'a'\n": "external_url 'a'\n\n" + line,
		"external_url 'a'":   "external_url 'a'\n\n" + line,
		"# from_file '/etc/gitlab/gitlab-codedeploy.rb'\n":         "# from_file '/etc/gitlab/gitlab-codedeploy.rb'\n\n" + line,
		"  from_file(\"/etc/gitlab/gitlab-codedeploy.rb\")\na = 1": "  from_file(\"/etc/gitlab/gitlab-codedeploy.rb\")\na = 1",
	} {
		assert.Equal(t, want, omnibus.WithInclude(main))
		assert.True(t, omnibus.Includes(want))
	}
	assert.False(t, omnibus.Follow("nginx['a'] = 1\n"+line+"# a note\n\n"))
	assert.True(t, omnibus.Follow(line+"nginx['a'] = 1\n"))
	assert.False(t, omnibus.Follow(line+"nginx['a'] = 1\n"+line))
}

func TestTheAddressInUseIsTheLastOne(t *testing.T) {
	h, g := newGitLab(t)
	address := func() string {
		got, err := g.Address()
		require.NoError(t, err)
		return got
	}
	assert.Empty(t, address())
	h.Put(omnibus.MainSettings, "# external_url 'https://no.example.com'\nexternal_url 'https://first.example.com'\n external_url(\"https://old.example.com\")\n")
	assert.Equal(t, "https://old.example.com", address())
	h.Put(omnibus.Settings, omnibus.SettingsText("https://new.example.com"))
	assert.Equal(t, "https://new.example.com", address())
}

// On each version's own tables, in a real PostgreSQL with GitLab's limit for a statement.
func TestTheSchemaIsWhatTheVersionHas(t *testing.T) {
	for _, version := range postgrestest.Versions {
		h, g := newGitLab(t)
		postgrestest.New(t, version).Play(h)
		schema, err := g.Schema(t.Context())
		require.NoError(t, err)
		assert.True(t, schema.Has("projects", "runners_token_encrypted"), version)
		assert.True(t, schema.HasTable("web_hook_logs") || version == "18.11" && schema.HasTable("p_ci_builds"), "a partitioned table is one")
		assert.Equal(t, version == "13.10", schema.HasTable("services"), version)
		assert.Equal(t, version < "15", schema.Has("ci_builds", "token"), version)
		assert.False(t, schema.HasTable("web_hook_logs_202611"), "of another schema")
	}
	h, g := newGitLab(t)
	postgrestest.New(t, "").Play(h)
	_, err := g.Schema(t.Context())
	require.EqualError(t, err, "the database has no application_settings, so it is not GitLab's")
	h.On("gitlab-psql", func(c machinetest.Call) int {
		c.Complain("psql: error: could not connect to server\n")
		return 2
	})
	_, err = g.Schema(t.Context())
	require.ErrorIs(t, err, omnibus.ErrDatabase)
	assert.ErrorContains(t, err, "is PostgreSQL up (gitlab-ctl status postgresql)? gitlab-psql ended with 2: psql: error: could not connect to server")
}

func TestStatementsAreOneTransactionWithoutALimitForEach(t *testing.T) {
	h, g := newGitLab(t)
	db := postgrestest.New(t, "14.9")
	db.Play(h)
	rows, err := g.Query(t.Context(), omnibus.Statements{Text: "SHOW statement_timeout; SELECT 1, NULL, 'a b';"})
	require.NoError(t, err)
	assert.Equal(t, omnibus.Rows{{"0"}, {"1", "", "a b"}}, rows)
	assert.Empty(t, h.Talk.String())

	_, err = g.Query(t.Context(), omnibus.Statements{Text: "DELETE FROM ci_builds; SELECT nothing FROM projects;", Changes: true})
	require.EqualError(t, err, `gitlab-psql ended with 3: psql:<stdin>:2: ERROR:  column "nothing" does not exist`)
	assert.Equal(t, "3", db.SQL("SELECT count(*) FROM ci_builds"))
	_, err = g.Query(t.Context(), omnibus.Statements{Text: "DELETE FROM ci_builds;", Changes: true})
	require.NoError(t, err)
	assert.Equal(t, "0", db.SQL("SELECT count(*) FROM ci_builds"))
}

func TestThePageIsAskedForAsTheLoadBalancerAsks(t *testing.T) {
	h, g := newGitLab(t)
	status, ok := g.AnswersSignIn(t.Context(), "https://gitlab.example.com")
	assert.Equal(t, 0, status)
	assert.False(t, ok)
	h.OnPage("http://localhost/users/sign_in", func(w http.ResponseWriter, r *http.Request) {
		// app/controllers/sessions_controller.rb of all versions from 13.10 on
		if r.URL.Query().Get("auto_sign_in") != "false" {
			w.WriteHeader(http.StatusFound)
			return
		}
		assert.Equal(t, "https 443", r.Header.Get("X-Forwarded-Proto")+" "+r.Header.Get("X-Forwarded-Port"))
		fmt.Fprint(w, r.Host)
	})
	for _, address := range []string{"https://gitlab.example.com", "https://gitlab.example.com:8443/gitlab", ""} {
		status, ok = g.AnswersSignIn(t.Context(), address)
		assert.Equal(t, http.StatusOK, status)
		assert.True(t, ok)
	}
}

func TestThePageIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, g := newGitLab(t)
		begin, up := time.Now(), 90*time.Second
		h.OnPage("http://localhost/users/sign_in", func(w http.ResponseWriter, r *http.Request) {
			if time.Since(begin) < up {
				w.WriteHeader(http.StatusBadGateway)
			}
		})
		require.NoError(t, g.WaitForSignIn(t.Context(), "https://gitlab.example.com", 2*time.Minute))
		assert.Equal(t, up, time.Since(begin))
		up = time.Hour
		require.EqualError(t, g.WaitForSignIn(t.Context(), "", time.Minute), "/users/sign_in does not answer with 200; the last answer was HTTP 502")
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		require.ErrorIs(t, g.WaitForSignIn(ctx, "", time.Minute), context.Canceled)
	})
}

// What Chef's exception handler writes to stderr, and the end on stdout: omnibus-gitlab
// 13.10.2 to 18.11, files/gitlab-cookbooks/package/libraries/handlers/gitlab.rb.
func TestTheRealReasonOfAFailedReconfigureIsTold(t *testing.T) {
	for name, want := range map[string]string{
		"migration.txt": "bash[migrate gitlab-rails database] (gitlab::database_migrations line 55) had an error:; " +
			"StandardError: An error has occurred, all later migrations canceled:; " +
			`PG::UndefinedColumn: ERROR:  column "trial" does not exist; LINE 1: SELECT trial FROM plans`,
		"roles.txt": "The following invalid roles have been set in 'roles': redis_slave_role",
		"ruby.txt":  "/etc/gitlab/gitlab.rb:3: syntax error, unexpected end-of-input",
	} {
		t.Run(name, func(t *testing.T) {
			said, err := os.ReadFile("testdata/reconfigure-" + name)
			require.NoError(t, err)
			h, g := newGitLab(t)
			h.On("/opt/gitlab/bin/gitlab-ctl reconfigure", func(c machinetest.Call) int {
				assert.Contains(t, c.Env, "HOME=/root")
				c.Print("Running handlers:\n")
				c.Complain("%s", said)
				c.Print("Running handlers complete\nChef Infra Client failed. 8 resources updated in 01 minutes 30 seconds\n")
				return 1
			})
			require.EqualError(t, g.Reconfigure(t.Context(), time.Hour), "gitlab-ctl reconfigure failed: "+want)
			assert.Contains(t, h.Talk.String(), "Running handlers complete", "people see all of it")
		})
	}
	h, g := newGitLab(t)
	h.On("/opt/gitlab/bin/gitlab-ctl reconfigure", func(machinetest.Call) int { return 137 })
	require.EqualError(t, g.Reconfigure(t.Context(), time.Hour), "gitlab-ctl reconfigure failed: it ended with 137 and said nothing")
	long := "There was an error running gitlab-ctl reconfigure:\n\n" + strings.Repeat("日本", 1000) + "\nthe end\n"
	reason := omnibus.ReasonOfReconfigure(long)
	assert.Less(t, len(reason), 800)
	assert.True(t, strings.HasSuffix(reason, "; the end"), reason)
	h.Answers("/opt/gitlab/bin/gitlab-ctl reconfigure", "gitlab Reconfigured!\n")
	require.NoError(t, g.Reconfigure(t.Context(), time.Hour))
}

func TestRailsAnswersInOneLine(t *testing.T) {
	h, g := newGitLab(t)
	program := omnibus.Ruby{Name: "read it", Text: "puts 'gitlab-codedeploy: yes'\n", Input: map[string]string{"name": "a'b"}, Changes: true}
	h.On("gitlab-rails runner -e production -", func(c machinetest.Call) int {
		assert.Equal(t, program.Text, c.Input)
		assert.Equal(t, `{"name":"a'b"}`, c.Args[len(c.Args)-1])
		c.Print("/opt/gitlab/embedded/lib/ruby/gems: warning: already initialized constant\ngitlab-codedeploy: yes \r\n")
		return 0
	})
	answer, err := g.Rails(t.Context(), program)
	require.NoError(t, err)
	assert.Equal(t, "yes ", answer)
	h.Answers("gitlab-rails runner -e production -", "DEPRECATION WARNING\n")
	_, err = g.Rails(t.Context(), program)
	require.EqualError(t, err, "read it: gitlab-rails runner printed no answer")
	h.On("gitlab-rails runner -e production -", func(c machinetest.Call) int {
		_, _ = io.WriteString(c.Stderr, "warning\nno active administrator\n")
		return 1
	})
	_, err = g.Rails(t.Context(), program)
	require.EqualError(t, err, "read it: gitlab-rails runner ended with 1: no active administrator")
}

func TestSignUpIsReadAndClosed(t *testing.T) {
	for _, version := range postgrestest.Versions {
		h, g := newGitLab(t)
		db := postgrestest.New(t, version)
		db.Play(h)
		open, err := g.SignUpIsOpen(t.Context())
		require.NoError(t, err)
		assert.True(t, open)
		db.SQL("INSERT INTO application_settings (id, signup_enabled) VALUES (2, false)")
		open, err = g.SignUpIsOpen(t.Context())
		require.NoError(t, err)
		assert.False(t, open, "the newest row counts")
		db.SQL("DELETE FROM application_settings")
		open, err = g.SignUpIsOpen(t.Context())
		require.NoError(t, err)
		assert.True(t, open, "GitLab's default")
	}
	h, g := newGitLab(t)
	h.Answers("gitlab-psql", "\n")
	_, err := g.SignUpIsOpen(t.Context())
	require.ErrorContains(t, err, "signup_enabled: got")

	// The Ruby, by a real Ruby.
	for _, settings := range []string{"there", "none"} {
		h.On("gitlab-rails runner -e production -", func(c machinetest.Call) int {
			ruby := exec.Command("ruby", "-r", "./testdata/settings.rb", "-")
			ruby.Stdin, ruby.Env = strings.NewReader(c.Input), append(os.Environ(), "SETTINGS="+settings)
			out, err := ruby.CombinedOutput()
			require.NoError(t, err, "%s", out)
			assert.Equal(t, "saved\ngitlab-codedeploy: closed\n", string(out))
			c.Print("%s", out)
			return 0
		})
		require.NoError(t, g.CloseSignUp(t.Context()))
	}
}

// What the templates of omnibus-gitlab write: gitlab.yml.erb and gitaly-config.toml.erb.
func TestWhereGitLabKeepsThings(t *testing.T) {
	const rails, gitaly = "/var/opt/gitlab/gitlab-rails/etc/gitlab.yml", "/var/opt/gitlab/gitaly/config.toml"
	h, g := newGitLab(t)
	folder, err := g.BackupFolder()
	require.NoError(t, err)
	assert.Equal(t, "/var/opt/gitlab/backups", folder)
	h.Put(rails, "production: &base\n  backup:\n    path: \"/mnt/my backups\"   # Relative paths are relative to Rails.root\n  extra:\n    path: no\n"+
		"development:\n  <<: *base\ntest:\n  <<: *base\n  backup:\n    path: tmp/tests\n")
	folder, err = g.BackupFolder()
	require.NoError(t, err)
	assert.Equal(t, "/mnt/my backups", folder)
	h.Put(rails, "production:\n  backup:\n    path:\n")
	folder, err = g.BackupFolder()
	require.NoError(t, err)
	assert.Equal(t, "/var/opt/gitlab/backups", folder)

	const old = "socket_path = '/x'\n\n[[storage]]\nname = 'default'\npath = '/var/opt/gitlab/git-data/repositories'\n[[storage]]\nname = 'nfs'\npath = '/mnt/nfs/repositories'\n\n[logging]\nlevel = 'info'\n"
	const later = "bin_dir = \"/opt/gitlab/embedded/bin\"\n[[storage]]\nname = \"default\"\npath = \"/var/opt/gitlab/git-data/repositories\"\n\n[[storage]]\nname = \"nfs\"\npath = \"/mnt/nfs/repositories\"\n"
	storages := func(address string) map[string]omnibus.Storage {
		if address != "" {
			h.Put(rails, `production:
  repositories:
    storages: {"default":{"path":"/var/opt/gitlab/git-data/repositories","gitaly_address":"unix:/var/opt/gitlab/gitaly/gitaly.socket"},"nfs":{"gitaly_address":"`+address+`"}}
`)
		}
		found, err := g.Storages()
		require.NoError(t, err)
		return found
	}
	for _, text := range []string{old, later} { // until 15.9, and from 15.10 on
		h.Put(gitaly, text)
		assert.Equal(t, map[string]omnibus.Storage{"default": {Folder: "/var/opt/gitlab/git-data/repositories"}, "nfs": {Folder: "/mnt/nfs/repositories"}}, storages(""), "Rails says nothing")
		for address, here := range map[string]bool{
			"unix:/var/opt/gitlab/gitaly/gitaly.socket": true, "tcp://localhost:8075": true, "tcp://127.0.0.1:8075": true, "tls://[::1]:9999": true, "tcp://0.0.0.0:8075": true,
			"tcp://gitaly.internal:8075": false, "tls://10.0.0.7:9999": false, "dns:gitaly.internal:8075": false, "tcp://%zz": false,
		} {
			folder := ""
			if here {
				folder = "/mnt/nfs/repositories"
			}
			found := storages(address)
			assert.Equal(t, omnibus.Storage{Address: address, Folder: folder}, found["nfs"])
			assert.Equal(t, "/var/opt/gitlab/git-data/repositories", found["default"].Folder)
		}
		require.NoError(t, os.Remove(h.Path(rails)))
	}
	// Praefect, whose Gitaly has other names.
	h.Put(gitaly, "[[storage]]\nname = 'gitaly-1'\npath = '/x'\n")
	assert.Equal(t, map[string]omnibus.Storage{"default": {Address: "unix:/var/opt/gitlab/gitaly/gitaly.socket"}, "nfs": {Address: "tcp://localhost:2305"}}, storages("tcp://localhost:2305"))
	h.Put(gitaly, "[[storage]\n")
	_, err = g.Storages()
	require.ErrorContains(t, err, gitaly+" is not TOML")
	h.Put(rails, "production: [\n")
	_, err = g.BackupFolder()
	require.ErrorContains(t, err, rails+" is not YAML")
}
