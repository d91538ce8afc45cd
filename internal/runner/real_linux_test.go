package runner

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
)

// TestS11_S8_TheRealPackageManagerInstallsAndUpgradesARunner runs both on a stand-in of
// Amazon Linux 2023, with real dnf and rpm, and packages with signatures. systemctl is
// played, and dnf is this machine's.
func TestS11_S8_TheRealPackageManagerInstallsAndUpgradesARunner(t *testing.T) {
	for _, tool := range []string{"unshare", "dnf", "rpm", "rpmbuild", "rpmsign", "createrepo_c", "gpg"} {
		if _, err := exec.LookPath(tool); err != nil {
			lacks(t, tool)
		}
	}
	if os.Geteuid() != 0 || exec.Command("unshare", "--mount", "true").Run() != nil {
		lacks(t, "root, with the right to make namespaces")
	}
	const inside = "GITLAB_CODEDEPLOY_INSIDE"
	if os.Getenv(inside) == "" {
		// Mounts of a namespace are gone with it, whatever becomes of the test.
		command := exec.Command("unshare", "--mount", "--propagation", "private", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		command.Env = append(os.Environ(), inside+"=yes")
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), "--- PASS: "+t.Name())
		return
	}

	site := t.TempDir()
	key := newSite(t, site)
	server := httptest.NewServer(http.FileServer(http.Dir(site)))
	defer server.Close()
	root := newRoot(t, server.URL)
	var talk strings.Builder
	h := Host{
		Machine:       &machine.Machine{Runner: chroot(root), Root: root, Log: &talk, Architecture: "x86_64"},
		RepositoryURL: server.URL + "/runner", Keys: []gitlab.SigningKey{key},
	}
	asked := func(args ...string) string {
		out, err := h.Machine.Ask(t.Context(), machine.Cmd(args...))
		require.NoError(t, err)
		return out
	}

	// An unsigned package is none.
	require.NoError(t, os.Rename(filepath.Join(site, "runner/gitlab-runner"), filepath.Join(site, "runner/signed")))
	require.NoError(t, os.Rename(filepath.Join(site, "unsigned/gitlab-runner"), filepath.Join(site, "runner/gitlab-runner")))
	_, err := h.Install(t.Context(), gitlab.Version{Major: 17, Minor: 8})
	require.ErrorContains(t, err, "dnf could not install gitlab-runner-17.8.0-1: ")
	require.NoError(t, os.Rename(filepath.Join(site, "runner/gitlab-runner"), filepath.Join(site, "unsigned/gitlab-runner")))
	require.NoError(t, os.Rename(filepath.Join(site, "runner/signed"), filepath.Join(site, "runner/gitlab-runner")))
	asked("dnf", "clean", "all")

	done, err := h.Install(t.Context(), gitlab.Version{Major: 17, Minor: 8})
	require.NoError(t, err, talk.String())
	assert.Equal(t, "Docker and GitLab Runner 17.8.0 work", done)
	assert.Equal(t, "docker-25.0.6-1.noarch\ngitlab-runner-17.8.0-1.noarch\ngitlab-runner-helper-images-17.8.0-1.noarch\n",
		asked("rpm", "-q", "docker", "gitlab-runner", "gitlab-runner-helper-images"), "and no newer ones, which are there")
	text, err := h.Machine.ReadFile("/var/tmp/gitlab-runner-installed")
	require.NoError(t, err)
	assert.Equal(t, "skel disabled: true\n", text)

	// Whatever is updated, Docker and the runner stay.
	require.NoError(t, h.Machine.Do(t.Context(), machine.Cmd("dnf", "-y", "update")))
	assert.Equal(t, "docker-25.0.6-1.noarch\ngitlab-runner-17.8.0-1.noarch\n", asked("rpm", "-q", "docker", "gitlab-runner"))

	from, to, err := h.Upgrade(t.Context(), "17.8", time.Minute)
	require.NoError(t, err, talk.String())
	assert.Equal(t, []string{"17.8.0", "17.8.1"}, []string{from, to})
	assert.Equal(t, "gitlab-runner-17.8.1-1.noarch\ngitlab-runner-helper-images-17.8.1-1.noarch\n", asked("rpm", "-q", "gitlab-runner", "gitlab-runner-helper-images"))
}

// lacks skips the test, but for CI, which has all of it.
func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("this test needs %s", what)
	}
	t.Skipf("needs %s", what)
}

// run runs a command of this machine.
func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%s: %s", args, out)
	return string(out)
}

// newSite makes the repositories of packages below a folder, and returns the key that
// they are signed with.
func newSite(t *testing.T, site string) gitlab.SigningKey {
	t.Helper()
	home := filepath.Join(t.TempDir(), "gnupg")
	require.NoError(t, os.Mkdir(home, 0o700))
	t.Setenv("GNUPGHOME", home)
	run(t, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "packages@example.com", "rsa2048", "sign", "never")
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--kill", "all").Run() })
	fingerprint := ""
	for line := range strings.Lines(run(t, "gpg", "--batch", "--with-colons", "--list-keys", "packages@example.com")) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" && fingerprint == "" {
			fingerprint = fields[9]
		}
	}
	key := gitlab.SigningKey{ID: "49F16C5CC3A0F81F", Fingerprints: []string{fingerprint}}
	file := filepath.Join(site, "gpgkey/runner/"+key.ID+".pub.gpg") // the new address
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(run(t, "gpg", "--batch", "--armor", "--export", "packages@example.com")), 0o644))

	const folder = "/gitlab-runner/amazon/2023/x86_64"
	for _, version := range []string{"17.8.0", "17.8.1", "17.9.0"} {
		build(t, "gitlab-runner", version, "Requires: gitlab-runner-helper-images = "+version+"\n", site+"/runner"+folder, true)
		build(t, "gitlab-runner-helper-images", version, "", site+"/runner"+folder, true)
	}
	build(t, "gitlab-runner", "17.8.0", "", site+"/unsigned"+folder, false)
	build(t, "gitlab-runner-helper-images", "17.8.0", "", site+"/unsigned"+folder, false)
	for _, version := range []string{"24.0.5", "25.0.6", "29.1.0", "30.0.1"} {
		build(t, "docker", version, "", site+"/amazon", false)
	}
	build(t, "system-release", "2", "", site+"/base", false)
	for _, repository := range []string{"runner" + folder, "unsigned" + folder, "amazon", "base"} {
		run(t, "createrepo_c", "--quiet", filepath.Join(site, repository))
	}
	return key
}

// build makes a package with the rest of its spec from testdata.
func build(t *testing.T, name, version, more, folder string, sign bool) {
	t.Helper()
	file := strings.TrimPrefix(name, "gitlab-runner-")
	text, err := os.ReadFile("testdata/" + strings.TrimPrefix(file, "gitlab-") + ".spec")
	require.NoError(t, err)
	top := t.TempDir()
	spec := filepath.Join(top, name+".spec")
	require.NoError(t, os.WriteFile(spec, fmt.Appendf(nil, "Name: %s\nVersion: %s\nRelease: 1\nSummary: stand-in\nLicense: MIT\nBuildArch: noarch\nAutoReqProv: no\n%s%s", name, version, more, text), 0o644))
	require.NoError(t, os.MkdirAll(folder, 0o755))
	run(t, "rpmbuild", "--quiet", "-bb", "--define", "_topdir "+top, "--define", "_rpmdir "+folder,
		"--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.rpm", "--define", "__os_install_post %{nil}", spec)
	if sign {
		run(t, "rpmsign", "--define", "_gpg_name packages@example.com", "--define", "__gpg /usr/bin/gpg", "--addsign", fmt.Sprintf("%s/%s-%s-1.rpm", folder, name, version))
	}
}

// newRoot makes the host's files: this machine's, and what is written over them.
func newRoot(t *testing.T, site string) string {
	t.Helper()
	// Below a folder of this machine that nobody cleans up: what is mounted here is gone
	// with the namespace, and a test's own folder would be emptied through its mounts.
	const over = "/mnt"
	mount := func(source, target, kind string, flags uintptr, data string) {
		require.NoError(t, syscall.Mount(source, target, kind, flags, data), target)
	}
	mount("tmpfs", over, "tmpfs", 0, "mode=755")
	const root = over + "/root"
	for _, folder := range []string{"/upper", "/work", "/root"} {
		require.NoError(t, os.Mkdir(over+folder, 0o755))
	}
	mount("overlay", root, "overlay", 0, "lowerdir=/,upperdir="+over+"/upper,workdir="+over+"/work")
	mount("proc", root+"/proc", "proc", 0, "")
	mount("tmpfs", root+"/run", "tmpfs", 0, "mode=755")
	mount("tmpfs", root+"/dev", "tmpfs", 0, "mode=755")
	for node, minor := range map[string]int{"null": 3, "zero": 5, "random": 8, "urandom": 9} {
		require.NoError(t, syscall.Mknod(root+"/dev/"+node, syscall.S_IFCHR|0o666, 1<<8|minor))
	}
	for _, gone := range []string{"/etc/yum.repos.d", "/root/.rpmdb", "/var/lib/rpm", "/etc/os-release", "/var/cache/dnf", "/etc/dnf", "/etc/docker"} {
		require.NoError(t, os.RemoveAll(root+gone))
	}
	for file, text := range map[string]string{
		"/etc/os-release":              "ID=\"amzn\"\nVERSION_ID=\"2023\"\n",
		"/etc/dnf/dnf.conf":            "[main]\ngpgcheck=1\n",
		"/etc/yum.repos.d/amazon.repo": fmt.Sprintf("[amazon]\nname=amazon\nbaseurl=%s/amazon\ngpgcheck=0\nenabled=1\n[base]\nname=base\nbaseurl=%[1]s/base\ngpgcheck=0\nenabled=1\n", site),
		"/opt/played/systemctl": `#!/bin/sh
case $1 in
  start) : >"/run/started-$2" ;;
  kill) rm -f /run/started-gitlab-runner ;;
  is-active) [ -e "/run/started-$3" ] ;;
esac
`,
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(root+file), 0o755))
		require.NoError(t, os.WriteFile(root+file, []byte(text), 0o755))
	}
	command := machine.Cmd("dnf", "-y", "install", "system-release")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	require.NoError(t, chroot(root).Run(t.Context(), command))
	return root
}

// chroot runs commands there.
type chroot string

func (c chroot) Run(ctx context.Context, what machine.Command) error {
	command := exec.CommandContext(ctx, "/usr/bin/env", append(append([]string{"-i", "PATH=/opt/played:/usr/sbin:/usr/bin:/sbin:/bin"}, what.Env...), what.Args...)...)
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: string(c)}
	command.Dir, command.Stdin, command.Stdout, command.Stderr = "/", what.Stdin, what.Stdout, what.Stderr
	for i, arg := range command.Args {
		command.Args[i] = strings.TrimPrefix(arg, string(c)) // files of the host, as its programs name them
	}
	if err := command.Run(); err != nil && ctx.Err() == nil && command.ProcessState != nil {
		return &machine.ExitError{Command: what, Status: command.ProcessState.ExitCode()}
	} else if err != nil {
		return err
	}
	return nil
}
