package upgrade_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/upgrade"
)

// TestMain lets this test's program be GitLab's programs on the played host, and the
// upgrade there.
func TestMain(m *testing.M) {
	switch as := os.Getenv("GITLAB_STAND_IN"); as {
	case "":
		os.Exit(m.Run())
	case "upgrade":
		os.Exit(realUpgrade())
	default:
		os.Exit(standIn(as, os.Args[1:]))
	}
}

const (
	embedded  = "/opt/gitlab/embedded/"
	stateFile = "/var/opt/gitlab/state.json"
)

// state is what the played GitLab's database, and its test, remember.
type state struct {
	Schema    string
	Visited   []string
	Installed []string
	Backups   []upgrade.Backup
	Packed    int // archives of /etc/gitlab that packages have made
	// Kill has the places where everything is killed, once each; Killed those that were.
	Kill, Killed []string
}

func readState() (s state) {
	text, err := os.ReadFile(stateFile)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		panic(err)
	}
	return s
}

func (s state) write() {
	text, _ := json.Marshal(s)
	if err := os.WriteFile(stateFile, text, 0o600); err != nil {
		panic(err)
	}
}

// die kills all that runs on the host, once at each place that the test has named.
func die(place string) {
	s := readState()
	if !slices.Contains(s.Kill, place) || slices.Contains(s.Killed, place) {
		return
	}
	s.Killed = append(s.Killed, place)
	s.write()
	_ = syscall.Kill(-1, syscall.SIGKILL)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func version() string {
	text, _ := os.ReadFile(embedded + "VERSION")
	return strings.TrimSpace(string(text))
}

// mixed says whether files of two versions are there.
func mixed() bool {
	for i := range 5 {
		text, _ := os.ReadFile(embedded + "part-" + strconv.Itoa(i+1))
		if strings.TrimSpace(string(text)) != version() {
			return true
		}
	}
	return false
}

// standIn is one of GitLab's programs, or what is going on in its package.
func standIn(as string, args []string) int {
	if as != "unpacking" && as != "unpacked" && mixed() {
		fmt.Fprintln(os.Stderr, "LoadError: cannot load such file")
		return 1
	}
	all := strings.Join(args, " ")
	switch {
	case as == "unpacking":
		s := readState()
		if slices.Contains(s.Kill, "unpacking "+args[0]) && !slices.Contains(s.Killed, "unpacking "+args[0]) {
			_ = os.WriteFile(embedded+"part-1", []byte(args[0]+"\n"), 0o644) // as rpm has begun to
		}
		die("unpacking " + args[0])
	case as == "unpacked":
		die("unpacked " + args[0])
	case as == "psql" && strings.Contains(all, "SHOW server_version"):
		fmt.Println(" 17.4")
	case as == "psql":
		input, _ := io.ReadAll(os.Stdin)
		switch text := string(input); {
		case strings.Contains(text, "server_version_num"):
			fmt.Println("170004")
		case strings.Contains(text, "SELECT 1;"):
			fmt.Println("1")
		case strings.Contains(text, "pg_collation"):
			fmt.Print("database\tgitlabhq_production\tc\tC\t\n")
		case strings.Contains(text, "FROM b"):
		default:
			fmt.Print("application_settings\tid\nbackground_migration_jobs\tid\nbatched_background_migrations\tid\n")
		}
	case as == "rails":
		fmt.Println("gitlab-codedeploy: 0")
	case as == "rake" && strings.HasPrefix(all, "gitlab:backup:create"):
		return dump()
	case as == "rake" && strings.HasPrefix(all, "gitlab:storage:legacy_"):
		fmt.Println("* Found 0 projects using Legacy Storage\n* Found 0 attachments using Legacy Storage")
	case all == "db:abort_if_pending_migrations":
		if readState().Schema != version() {
			return 1
		}
	case all == "status":
		fmt.Println("run: postgresql: (pid 1) 5s; run: log: (pid 2) 5s")
	case strings.HasPrefix(all, "backup-etc"):
		return pack()
	case strings.HasPrefix(all, "check-config"):
	case all == "reconfigure", all == "upgrade":
		s := readState()
		if s.Schema == "" {
			return 0 // the first package of the host
		}
		if all == "upgrade" {
			s.Installed = append(s.Installed, version())
			s.write()
		}
		die("reconfigure " + version())
		if s = readState(); s.Schema != version() {
			s.Schema, s.Visited = version(), append(s.Visited, version())
			s.write()
		}
		die("migrated " + version())
		_ = os.MkdirAll("/var/opt/gitlab/gitlab-rails", 0o755)
		_ = os.WriteFile("/var/opt/gitlab/gitlab-rails/VERSION", []byte(version()+"\n"), 0o644)
	default:
		fmt.Fprintf(os.Stderr, "%s %s is not played\n", as, all)
		return 64
	}
	return 0
}

// dump makes the database backup of %pre, a real archive.
func dump() int {
	folder, err := os.MkdirTemp("", "dump")
	if err != nil {
		return 1
	}
	defer os.RemoveAll(folder)
	_ = os.WriteFile(folder+"/backup_information.yml", []byte("---\n:gitlab_version: "+version()+"\n:skipped: repositories,uploads,builds,artifacts,lfs,registry,pages\n"), 0o600)
	name := fmt.Sprintf("/var/opt/gitlab/backups/%d_%s_%s_gitlab_backup.tar", time.Now().Unix(), time.Now().UTC().Format("2006_01_02"), version())
	if exec.Command("tar", "-cf", name, "-C", folder, "backup_information.yml").Run() != nil {
		return 1
	}
	return 0
}

// pack is gitlab-ctl backup-etc: files/gitlab-ctl-commands/lib/gitlab_ctl/backup.rb.
func pack() int {
	s := readState()
	s.Packed++
	s.write()
	name := fmt.Sprintf("gitlab_config_%d_2026_11_24.tar", 1700000000+s.Packed)
	fmt.Println("Running configuration backup\nCreating configuration backup archive: " + name)
	if os.MkdirAll("/etc/gitlab/config_backup", 0o700) != nil || os.WriteFile("/etc/gitlab/config_backup/"+name, nil, 0o600) != nil {
		return 1
	}
	fmt.Println("Configuration backup archive complete: /etc/gitlab/config_backup/" + name + "\nKeeping all older configuration backups")
	return 0
}

// realBackups are noted in the state.
type realBackups struct{}

func (realBackups) Newest(context.Context) (b upgrade.Backup, found bool, err error) {
	if all := readState().Backups; len(all) > 0 {
		return all[len(all)-1], true, nil
	}
	return b, false, nil
}

func (realBackups) Make(context.Context) (upgrade.Backup, error) {
	s := readState()
	b := upgrade.Backup{ID: fmt.Sprintf("1700000000_2026_11_24_%s", version()), Version: version(), Edition: "ce"}
	s.Backups = append(s.Backups, b)
	s.write()
	return b, nil
}

// signInPage answers as GitLab's web server, and lets everything else through.
type signInPage struct{}

func (signInPage) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/users/sign_in" {
		return http.DefaultTransport.RoundTrip(r)
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// realUpgrade is the program on the played host.
func realUpgrade() int {
	u := upgrade.Upgrade{
		GitLab:        omnibus.GitLab{Machine: &machine.Machine{Runner: machine.System{}, Root: "/", Log: os.Stderr, Architecture: "x86_64", Web: signInPage{}, FreeBytes: func(string) (int64, error) { return 1 << 40, nil }}},
		RepositoryURL: os.Getenv("REPOSITORY"), Backups: realBackups{},
		Keys: []gitlab.SigningKey{{ID: "3D645A26AB9FBD22", Fingerprints: []string{os.Getenv("FINGERPRINT")}}},
	}
	result, err := u.Run(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	_ = json.NewEncoder(os.Stdout).Encode(result)
	return 0
}

// realHost is the played host.
type realHost struct {
	t             *testing.T
	work          string
	init          int
	url, signedBy string
}

func newRealHost(t *testing.T) *realHost {
	for _, tool := range []string{"unshare", "nsenter", "dnf", "rpm", "rpmbuild", "rpmsign", "createrepo_c", "gpg"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	if err := exec.Command("unshare", "--mount", "--pid", "--fork", "true").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root and the right to make namespaces")
		}
		t.Skip("needs root and the right to make namespaces")
	}
	h := &realHost{t: t, work: t.TempDir()}
	program, err := os.Executable()
	require.NoError(t, err)
	h.run("cp", program, h.work+"/stand-in")
	h.packages()
	listener, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	web := &http.Server{Handler: http.FileServer(http.Dir(h.work + "/www")), ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(listener) }()
	t.Cleanup(func() { _ = web.Close() })
	h.url = fmt.Sprintf("http://localhost:%d/gitlab", listener.Addr().(*net.TCPAddr).Port)
	h.start()
	return h
}

func (h *realHost) run(args ...string) string {
	h.t.Helper()
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(os.Environ(), "GNUPGHOME="+h.work+"/gnupg")
	out, err := command.CombinedOutput()
	require.NoError(h.t, err, "%s: %s", strings.Join(args, " "), out)
	return string(out)
}

// packages makes GitLab's packages of all stops, signed by a key in the place of GitLab's.
func (h *realHost) packages() {
	require.NoError(h.t, os.Mkdir(h.work+"/gnupg", 0o700))
	h.run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "packages@example.com", "rsa2048", "sign", "never")
	key := h.run("gpg", "--batch", "--armor", "--export", "packages@example.com")
	fingerprint, err := gitlab.KeyFingerprint(key)
	require.NoError(h.t, err)
	h.signedBy = fingerprint
	root := h.work + "/www/gitlab/gitlab-ce"
	require.NoError(h.t, os.MkdirAll(root+"/gpgkey", 0o755))
	require.NoError(h.t, os.WriteFile(root+"/gpgkey/gitlab-gitlab-ce-3D645A26AB9FBD22.pub.gpg", []byte(key), 0o644))
	spec, err := filepath.Abs("testdata/gitlab.spec")
	require.NoError(h.t, err)
	versions := []string{"13.10.2"}
	for _, stop := range gitlab.Stops() {
		if stop.Version.Major < 19 {
			versions = append(versions, stop.Version.String())
		}
	}
	var all []string
	for _, v := range versions {
		parsed, _ := gitlab.ParseVersion(v)
		family := "amazon/2"
		if parsed.Compare(gitlab.Version{Major: 14, Minor: 9}) < 0 {
			family = "el/7"
		}
		name := strings.ReplaceAll(family, "/", "")
		folder := root + "/" + family + "/x86_64"
		h.run("rpmbuild", "--quiet", "-bb", "--define", "_topdir "+h.work+"/rpmbuild", "--define", "_rpmdir "+folder, "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.rpm",
			"--define", "__os_install_post %{nil}", "--define", "gitlab_version "+v, "--define", "gitlab_family "+name, "--define", "stand_in "+h.work+"/stand-in", spec)
		all = append(all, folder+"/gitlab-ce-"+v+"-ce.0."+name+".rpm")
	}
	gpg, err := exec.LookPath("gpg")
	require.NoError(h.t, err)
	h.run(append([]string{"rpmsign", "--define", "_gpg_name packages@example.com", "--define", "__gpg " + gpg, "--addsign"}, all...)...)
	for _, family := range []string{"el/7", "amazon/2"} {
		h.run("createrepo_c", "--quiet", root+"/"+family+"/x86_64")
	}
	release, err := filepath.Abs("testdata/system-release.spec")
	require.NoError(h.t, err)
	h.run("rpmbuild", "--quiet", "-bb", "--define", "_topdir "+h.work+"/rpmbuild", "--define", "_rpmdir "+h.work, "--define", "_build_name_fmt %%{NAME}.rpm", release)
}

// start makes the host, with GitLab 13.10.2.
func (h *realHost) start() {
	require.NoError(h.t, os.Mkdir(h.work+"/host", 0o755))
	script, err := filepath.Abs("testdata/host.sh")
	require.NoError(h.t, err)
	command := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", script, h.work+"/host", h.work)
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	require.NoError(h.t, command.Start())
	h.t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	require.Eventually(h.t, func() bool {
		_, err := os.Stat(h.work + "/ready")
		return err == nil
	}, 20*time.Second, 20*time.Millisecond, "%s", &said)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", command.Process.Pid))
	require.NoError(h.t, err)
	h.init, err = strconv.Atoi(strings.Fields(string(children))[0])
	require.NoError(h.t, err)
	h.onHost("rpm", "--force-debian", "--install", "--nosignature", h.work+"/system-release.rpm")
	h.set(state{})
	h.onHost("rpm", "--force-debian", "--install", "--nosignature", h.work+"/www/gitlab/gitlab-ce/el/7/x86_64/gitlab-ce-13.10.2-ce.0.el7.rpm")
	h.onHost("sh", "-c", "mkdir -p /var/opt/gitlab/gitlab-rails && echo 13.10.2 >/var/opt/gitlab/gitlab-rails/VERSION")
}

func (h *realHost) set(s state) {
	text, err := json.Marshal(s)
	require.NoError(h.t, err)
	require.NoError(h.t, os.WriteFile(h.work+"/state", text, 0o600))
	h.onHost("cp", h.work+"/state", stateFile)
}

func (h *realHost) get() (s state) {
	require.NoError(h.t, json.Unmarshal([]byte(h.onHost("cat", stateFile)), &s))
	return s
}

// there is a command on the host.
func (h *realHost) there(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(h.init), "--mount", "--pid", "chroot", h.work + "/host/root", "env", "-i", "HOME=/root",
		"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "REPOSITORY=" + h.url, "FINGERPRINT=" + h.signedBy}, args...)...)
}

func (h *realHost) onHost(args ...string) string {
	h.t.Helper()
	out, err := h.there(args...).CombinedOutput()
	require.NoError(h.t, err, "%s: %s", strings.Join(args, " "), out)
	return string(out)
}

// upgrade runs the program there, and says whether it was killed.
func (h *realHost) upgrade() (result upgrade.Result, killed bool, talk string) {
	h.t.Helper()
	command := h.there("GITLAB_STAND_IN=upgrade", h.work+"/stand-in")
	command.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if status, is := command.ProcessState.Sys().(syscall.WaitStatus); is && (status.Signaled() || status.ExitStatus() == 128+int(syscall.SIGKILL)) {
		return result, true, stderr.String()
	}
	require.NoError(h.t, err, "%s", &stderr)
	require.NoError(h.t, json.Unmarshal(stdout.Bytes(), &result), "%s", &stderr)
	return result, false, stderr.String()
}

// With real dnf and rpm, and packages whose scriptlets start GitLab's programs as GitLab's do.
func TestS8_RealPackagesFrom13To18(t *testing.T) {
	h := newRealHost(t)
	// Below 14.9 a package of el/7; with every check in %pre, with fewer, and with the last.
	kill := []string{
		"unpacking 13.12.15", "unpacked 14.0.12", "reconfigure 14.3.6", "unpacking 14.9.5", "migrated 14.10.5", "unpacking 16.3.9", "unpacked 17.3.7", "unpacking 18.5.7",
	}
	h.set(state{Schema: "13.10.2", Visited: []string{"13.10.2"}, Kill: kill})
	var result upgrade.Result
	talk := ""
	for runs, killed := 0, true; killed; runs++ {
		require.LessOrEqual(t, runs, len(kill), talk)
		var said string
		result, killed, said = h.upgrade()
		talk += said
	}
	assert.Equal(t, upgrade.Result{From: "18.2.8", To: "18.11.13", Edition: "ce"}, result)
	s := h.get()
	assert.ElementsMatch(t, kill, s.Killed, "each of them was met")
	want := []string{"13.10.2"}
	for _, stop := range gitlab.Stops() {
		if stop.Version.Major < 19 {
			want = append(want, stop.Version.String())
		}
	}
	assert.Equal(t, want, s.Visited, "each stop, and each once")
	assert.Contains(t, h.onHost("rpm", "-q", "gitlab-ce"), "gitlab-ce-18.11.13-ce.0.amazon2")
	assert.Contains(t, talk, "for this installation alone the package's checks, which such a mixture cannot pass, are skipped: /etc/gitlab/skip-auto-backup, /etc/gitlab/skip-unmigrated-data-check")
	assert.Equal(t, "config_backup\ngitlab.rb\n", h.onHost("ls", "/etc/gitlab"), "no file that skips anything is left")
	// What a package that was killed in its %pre has packed was told to nobody.
	silent := 0
	for _, place := range kill {
		if strings.HasPrefix(place, "unpacking") {
			silent++
		}
	}
	assert.Greater(t, s.Packed, silent+len(want)/2)
	assert.LessOrEqual(t, len(strings.Fields(h.onHost("ls", "/etc/gitlab/config_backup"))), silent, "what the packages have packed is gone, as far as they have said so")
	assert.Empty(t, h.onHost("ls", "/var/opt/gitlab/backups"), "the packages' own dumps are gone")
	assert.Equal(t, len(want)-1, strings.Count(h.onHost("cat", "/var/lib/gitlab-codedeploy/upgrades"), "\n"))
	assert.Contains(t, h.onHost("cat", "/etc/yum.repos.d/gitlab-codedeploy.repo"), "enabled=0")
}
