package install_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/install"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/packages/packagestest"
)

const (
	// The characters are those that Ruby, JSON or a shell would write differently.
	password = `Pa$s"w\o#r` + "`d 1"
	base     = "https://packages.example.com/gitlab"
	volume   = "vol-0123456789abcdef0"
	link     = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"
	pack     = "gitlab-ce-13.10.2-ce.0.el7"
)

// host is a played host on which GitLab gets installed. Its disk is a folder, and a mount
// a link to it.
type host struct {
	*machinetest.Host
	t *testing.T
	// filesystem is the volume's, "" for a blank one.
	filesystem string
	// rpm is what rpm has, reconfigures what GitLab has been configured with, and
	// seed the password that its database began with.
	rpm          packagestest.RPM
	reconfigures int
	seed         string
	signUp       bool
	// What a test may change.
	failReconfigure, hideReconfigure bool
	page                             int
}

func newHost(t *testing.T) *host {
	h := &host{Host: machinetest.New(t), t: t, page: http.StatusOK}
	h.Put("/etc/fstab", "# comment\n/dev/xvda1 / xfs defaults 1 1") // an open last line
	h.Put("/etc/hosts", "")
	h.attach()
	h.Put("/disk/lost+found", "")
	require.NoError(t, os.Remove(h.Path("/disk/lost+found")))
	h.playDisk()
	h.playPackages()
	return h
}

func (h *host) attach() {
	h.Put("/dev/nvme1n1", "")
	require.NoError(h.t, os.MkdirAll(h.Path(filepath.Dir(link)), 0o755))
	require.NoError(h.t, os.Symlink("../../nvme1n1", h.Path(link)))
}

// mounted is what a folder is a mount of, "" for nothing.
func (h *host) mounted(folder string) string {
	to, err := os.Readlink(h.Path(folder))
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(to, h.Root)
}

func (h *host) mount(source, folder string) {
	require.NoError(h.t, os.MkdirAll(filepath.Dir(h.Path(folder)), 0o755))
	require.NoError(h.t, os.RemoveAll(h.Path(folder)))
	require.NoError(h.t, os.Symlink(h.Path(source), h.Path(folder)))
}

// real runs a command on the played host's files.
func (h *host) real(c machinetest.Call) int {
	var args []string
	for _, arg := range c.Args {
		if strings.HasPrefix(arg, "/") {
			arg = h.Path(arg)
		}
		args = append(args, arg)
	}
	command := exec.Command(args[0], args[1:]...)
	out, err := command.Output()
	c.Print("%s", strings.ReplaceAll(string(out), h.Root, ""))
	if err != nil {
		return command.ProcessState.ExitCode()
	}
	return 0
}

func yes(is bool) int {
	if is {
		return 0
	}
	return 1
}

func (h *host) playDisk() {
	h.On("test -b", func(c machinetest.Call) int { return yes(h.Exists(c.Args[2])) })
	h.On("test /etc/gitlab -ef", func(machinetest.Call) int {
		one, _ := os.Stat(h.Path("/etc/gitlab"))
		other, _ := os.Stat(h.Path("/var/opt/gitlab/etc-gitlab"))
		return yes(one != nil && other != nil && os.SameFile(one, other))
	})
	h.On("mountpoint -q", func(c machinetest.Call) int { return yes(h.mounted(c.Args[2]) != "") })
	h.On("mountpoint -d", func(c machinetest.Call) int {
		c.Print("%s\n", map[string]string{"/disk": "259:1"}[h.mounted(c.Args[2])])
		return 0
	})
	h.Answers("mountpoint -x", "259:1\n")
	// util-linux 2.30: 2 is nothing found.
	h.On("blkid -p -s TYPE", func(c machinetest.Call) int {
		if h.filesystem == "" {
			return 2
		}
		c.Print("%s\n", h.filesystem)
		return 0
	})
	h.Answers("blkid -p -s UUID", "5e9e2a5c-0d3f-4c6a-8a55-111111111111\n")
	h.Answers("wipefs --no-act", "")
	h.Answers("cmp -s -n", "")
	h.On("mkfs.xfs -q -L gitlab-data /dev/nvme1n1", func(machinetest.Call) int {
		h.filesystem = "xfs"
		return 0
	})
	h.On("mount -o noatime /dev/nvme1n1", func(c machinetest.Call) int {
		h.mount("/disk", c.Args[4])
		return 0
	})
	h.On("mount --bind", func(c machinetest.Call) int {
		h.mount(c.Args[2], c.Args[3])
		return 0
	})
	h.Answers("systemctl daemon-reload", "")
	h.On("cp -a", h.real)
	h.On("diff -rq", h.real)
}

func (h *host) playPackages() {
	h.Answers("yum -q", "Available Packages\ngitlab-ce.x86_64 13.10.2-ce.0.el7 gitlab-codedeploy\ngitlab-ce.x86_64 13.12.15-ce.0.el7 gitlab-codedeploy\n")
	h.OnPage(base+"/gitlab-ce/gpgkey/gitlab-gitlab-ce-3D645A26AB9FBD22.pub.gpg", http.NotFound)
	packagestest.Serve(h.Host, "https://packages.example.com/gpgkey/gitlab/3D645A26AB9FBD22.pub.gpg", key)
	h.rpm.Play(h.Host)
	h.On("yum -y --enablerepo=gitlab-codedeploy install", func(c machinetest.Call) int {
		h.rpm.Installed = append(h.rpm.Installed, c.Args[len(c.Args)-1])
		h.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce 13.10.2\n")
		// omnibus-gitlab 13.10.2, config/templates/package-scripts/posttrans.erb and
		// files/gitlab-ctl-commands/upgrade.rb: without the line, or on a volume that was
		// used before, there is no reconfigure.
		if !strings.Contains(h.Get("/etc/gitlab/gitlab.rb"), "\nexternal_url '") || h.Exists("/var/opt/gitlab/bootstrapped") {
			return 0
		}
		h.Put("/var/opt/gitlab/bootstrapped", "")
		if h.hideReconfigure {
			return 137
		}
		if h.configure(c) != 0 {
			c.Complain("warning: %%posttrans(%s.x86_64) scriptlet failed, exit status 1\n", pack)
		}
		return 0
	})
	h.On("/opt/gitlab/bin/gitlab-ctl reconfigure", h.configure)
	h.On("gitlab-rails runner -e production -", func(c machinetest.Call) int {
		assert.Contains(h.t, c.Input, "signup_enabled = false")
		h.signUp = false
		c.Print("gitlab-codedeploy: closed\n")
		return 0
	})
	h.OnPage("http://localhost/users/sign_in", func(w http.ResponseWriter, _ *http.Request) {
		if h.page == http.StatusOK && h.seed == "" {
			w.WriteHeader(http.StatusFound)
			return
		}
		w.WriteHeader(h.page)
	})
}

// playAmazonLinux2023 has the packages of a version for that system.
func (h *host) playAmazonLinux2023(version string) {
	h.Answers("dnf -q", "gitlab-ce.x86_64 "+version+"-ce.0.amazon2023 x\n")
	h.On("dnf -y --enablerepo=gitlab-codedeploy install gitlab-ce-"+version+"-ce.0.amazon2023", func(c machinetest.Call) int {
		h.rpm.Installed = append(h.rpm.Installed, c.Args[len(c.Args)-1])
		return 0
	})
}

func (h *host) configure(c machinetest.Call) int {
	given := ""
	for _, variable := range c.Env {
		if value, is := strings.CutPrefix(variable, "GITLAB_ROOT_PASSWORD="); is {
			given = value
		}
	}
	if h.failReconfigure {
		c.Complain("There was an error running gitlab-ctl reconfigure:\n\nbash[migrate] (gitlab::database_migrations line 55) had an error: {\"GITLAB_ROOT_PASSWORD\"=>%q}\n", given) // as Ruby's inspect writes it
		return 1
	}
	h.reconfigures++
	if !h.Exists("/var/opt/gitlab/postgresql/data/PG_VERSION") {
		h.Put("/var/opt/gitlab/postgresql/data/PG_VERSION", "12\n")
		h.Put("/etc/gitlab/gitlab-secrets.json", "{}")
		h.seed, h.signUp = given, true
	}
	return 0
}

// key is a key in the place of GitLab's, and signedBy what it is known by.
var key, signedBy = packagestest.Key("3D645A26AB9FBD22")

func (h *host) gitlab() install.GitLab {
	return install.GitLab{
		Machine: h.Machine, Version: gitlab.Version{Major: 13, Minor: 10, Patch: 2}, Edition: "ce", RepositoryURL: base,
		Address: "https://gitlab.example.com", DataVolume: volume,
		RootPassword: func(context.Context) (string, error) { return password, nil },
		Keys:         []gitlab.SigningKey{signedBy},
	}
}

func (h *host) install(change ...func(*install.GitLab)) (string, error) {
	g := h.gitlab()
	for _, c := range change {
		c(&g)
	}
	return g.Install(h.t.Context())
}

// failed asserts that an installation failed for a reason, before the package.
func (h *host) failed(want string, change ...func(*install.GitLab)) {
	h.t.Helper()
	_, err := h.install(change...)
	require.ErrorContains(h.t, err, want)
	assert.Empty(h.t, h.rpm.Installed)
}

func TestS5ABlankHostEndsWithGitLabOnItsDataVolumeAndItsSignInPageOpen(t *testing.T) {
	h := newHost(t)
	done, err := h.install()
	require.NoError(t, err)
	assert.Equal(t, pack+" is installed and answers at https://gitlab.example.com", done)
	assert.Equal(t, "xfs", h.filesystem)
	assert.Equal(t, "/disk", h.mounted("/var/opt/gitlab"))
	assert.True(t, h.Exists("/disk/postgresql/data/PG_VERSION"))
	// The package's own reconfigure was right the first time: it found its line in
	// gitlab.rb, and there was nothing to add.
	assert.Equal(t, 1, h.reconfigures)
	assert.Empty(t, h.RanLike("/opt/gitlab/bin/gitlab-ctl"))
	left, err := h.List("/var/lib/gitlab-codedeploy")
	require.NoError(t, err)
	assert.Empty(t, left)

	t.Run("the volume is mounted again after a boot: by UUID, never stopping the boot, and before GitLab", func(t *testing.T) {
		assert.Equal(t, `# comment
/dev/xvda1 / xfs defaults 1 1
UUID=5e9e2a5c-0d3f-4c6a-8a55-111111111111 /var/opt/gitlab xfs defaults,noatime,nofail 0 2
/var/opt/gitlab/etc-gitlab /etc/gitlab none bind,nofail 0 0
`, h.Get("/etc/fstab"))
		assert.Contains(t, h.Get("/etc/systemd/system/gitlab-runsvdir.service.d/data-volume.conf"), "\nRequiresMountsFor=/var/opt/gitlab /etc/gitlab\n")
		assert.Len(t, h.RanLike("systemctl daemon-reload"), 1)
	})
	t.Run("settings are for TLS that ends at the load balancer, in an included file, readable by root only", func(t *testing.T) {
		for _, file := range []string{"/disk/etc-gitlab/gitlab.rb", "/disk/etc-gitlab/gitlab-codedeploy.rb"} {
			info, err := os.Stat(h.Path(file))
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode())
			assert.True(t, strings.HasPrefix(h.Get(file), "# Written by gitlab-codedeploy"))
			assert.Contains(t, h.Get(file), "\nexternal_url 'https://gitlab.example.com'\n")
		}
		assert.True(t, strings.HasSuffix(h.Get("/etc/gitlab/gitlab.rb"), "\nfrom_file '/etc/gitlab/gitlab-codedeploy.rb'\n"))
	})
	t.Run("Gitaly's files in /tmp are kept from the clean-up, for the stops from 14.7 to 14.9", func(t *testing.T) {
		assert.Contains(t, h.Get("/etc/tmpfiles.d/gitlab-codedeploy.conf"), "\nx /tmp/gitaly-*\n")
	})
	t.Run("S6 install-gitlab | sign-up is open by default, whatever gitlab.rb says | it is off before the installation counts as done", func(t *testing.T) {
		assert.False(t, h.signUp)
		assert.Len(t, h.RanLike("gitlab-rails runner"), 1)
	})
	t.Run("the root password reaches GitLab's database and nothing else", func(t *testing.T) {
		assert.Equal(t, password, h.seed)
		assert.NotContains(t, strings.Join(h.Ran(), "\n"), password)
		assert.NotContains(t, h.Talk.String(), password)
		for name, text := range h.Files("/") {
			assert.NotContains(t, text, password, name)
		}
	})
	t.Run("the second run changes nothing at all and reports success, whatever is asked for", func(t *testing.T) {
		before := h.Files("/")
		h.Forget()
		done, err := h.install(func(g *install.GitLab) {
			g.Version, g.DataVolume = gitlab.Version{Major: 13, Minor: 12, Patch: 15}, "vol-00000000000000000"
		})
		require.NoError(t, err)
		assert.Equal(t, pack+" is installed already and stays as it is", done)
		assert.Equal(t, before, h.Files("/"))
		assert.Len(t, h.Ran(), 1, "the question what is installed")
	})
}

func TestS5SecretsAndSettingsAreOnTheDataVolumeAndNoneStayOnTheHostsOwn(t *testing.T) {
	h := newHost(t)
	h.Put("/etc/gitlab/trusted-certs/ca.crt", "mine")
	require.NoError(t, os.Chmod(h.Path("/etc/gitlab/trusted-certs/ca.crt"), 0o640))
	_, err := h.install()
	require.NoError(t, err)
	assert.Equal(t, "mine", h.Get("/disk/etc-gitlab/trusted-certs/ca.crt"))
	info, err := os.Stat(h.Path("/etc/gitlab/trusted-certs/ca.crt"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode())
	assert.True(t, h.Exists("/disk/etc-gitlab/gitlab-secrets.json"))
	assert.Equal(t, "/var/opt/gitlab/etc-gitlab", h.mounted("/etc/gitlab"))
}

func TestS5_InstallationsThatWereKilled(t *testing.T) {
	machinetest.AtEveryStep(t, func(t *testing.T) (*machinetest.Host, func() error) {
		h := newHost(t)

		run := func() error {
			_, err := h.install()
			return err
		}
		played[h.Host] = h
		return h.Host, run
	}, func(t *testing.T, played1 *machinetest.Host, run func() error) {
		h := played[played1]
		h.t = t
		require.NoError(t, run())
		assert.Equal(t, []string{pack}, h.rpm.Installed)
		assert.Equal(t, password, h.seed)
		assert.False(t, h.signUp)
		table := h.Get("/etc/fstab")
		assert.Equal(t, 1, strings.Count(table, " /var/opt/gitlab "), table)
		assert.Equal(t, 1, strings.Count(table, " /etc/gitlab "), table)
		left, err := h.List("/var/lib/gitlab-codedeploy")
		require.NoError(t, err)
		assert.Empty(t, left)
	})
}

var played = map[*machinetest.Host]*host{}

func TestS5_InstallFaults(t *testing.T) {
	version := func(v string) func(*install.GitLab) {
		return func(g *install.GitLab) { g.Version, _ = gitlab.ParseVersion(v) }
	}
	t.Run("S5 install-gitlab | it is killed during the package's first reconfigure | the next run resumes it, with the root password, and takes no other version", func(t *testing.T) {
		h := newHost(t)
		h.hideReconfigure = true
		_, err := h.install()
		require.Error(t, err)
		assert.Equal(t, []string{pack}, h.rpm.Installed)
		assert.Empty(t, h.seed)
		h.hideReconfigure = false
		_, err = h.install(version("13.12.15"))
		require.ErrorContains(t, err, pack+" is installed, by a run that did not finish, and gitlab-ce-13.12.15-ce.0.el7 is asked for")
		_, err = h.install()
		require.NoError(t, err)
		assert.Equal(t, password, h.seed)
		assert.Contains(t, h.Talk.String(), "an earlier run did not finish")
	})
	t.Run("S5 install-gitlab | the first reconfigure fails and prints its environment | the real reason is told, without the root password, and the next run resumes", func(t *testing.T) {
		h := newHost(t)
		h.failReconfigure = true
		_, err := h.install()
		require.ErrorContains(t, err, "gitlab-ctl reconfigure failed: bash[migrate] (gitlab::database_migrations line 55) had an error")
		log := h.Get("/var/log/gitlab-codedeploy-install.log")
		for _, text := range []string{err.Error(), h.Talk.String(), log} {
			assert.NotContains(t, text, `Pa$s`)
		}
		assert.Contains(t, log, `"GITLAB_ROOT_PASSWORD"=>"********"`)
		info, err := os.Stat(h.Path("/var/log/gitlab-codedeploy-install.log"))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode())
		h.failReconfigure = false
		_, err = h.install()
		require.NoError(t, err)
	})
	t.Run("S5 install-gitlab | a GitLab that somebody else installed is there, another edition or one without a package | it is left alone", func(t *testing.T) {
		h := newHost(t)
		h.Put("/opt/gitlab/version-manifest.txt", "gitlab-ee 12.4.0\n")
		before := h.Files("/")
		done, err := h.install()
		require.NoError(t, err)
		assert.Equal(t, "gitlab-ee 12.4.0 in /opt/gitlab, without its package, is installed already and stays as it is", done)
		h.rpm.Installed = []string{"gitlab-ee-13.10.2-ee.0.el7"}
		done, err = h.install()
		require.NoError(t, err)
		assert.Contains(t, done, "gitlab-ee-13.10.2-ee.0.el7 is installed already")
		assert.Equal(t, before, h.Files("/"))
	})
	t.Run("S5 install-gitlab | two run at once | the second waits, and leaves what the first installed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			lock, err := h.Lock(machine.InstallLock, "install-gitlab")
			require.NoError(t, err)
			time.AfterFunc(time.Minute, func() {
				h.rpm.Installed = []string{pack}
				lock.Release()
			})
			done, err := h.install()
			require.NoError(t, err)
			assert.Contains(t, done, "is installed already")
			assert.Empty(t, h.RanLike("yum"))
		})
	})
	t.Run("S5 install-gitlab | the root password cannot be read | nothing is installed and nothing is written", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			before := h.Files("/")
			h.failed("AccessDeniedException", func(g *install.GitLab) {
				g.RootPassword = func(context.Context) (string, error) { return "", errors.New("AccessDeniedException") }
			})
			after := h.Files("/")
			delete(after, strings.TrimPrefix(machine.InstallLock, "/"))
			assert.Equal(t, before, after)
			asked := 0
			_, err := h.install(func(g *install.GitLab) {
				g.RootPassword = func(context.Context) (string, error) {
					if asked++; asked < 3 {
						return "", errors.New("a role takes a moment")
					}
					return password, nil
				}
			})
			require.NoError(t, err)
		})
	})
	for _, secret := range []string{"", "short", "None", `{"username":"root","password":"long enough"}`, "two lines\nof it"} {
		t.Run("a secret that is no password is refused: "+secret, func(t *testing.T) {
			newHost(t).failed("the secret is no password: want one line of at least 8 characters", func(g *install.GitLab) {
				g.RootPassword = func(context.Context) (string, error) { return secret, nil }
			})
		})
	}
	t.Run("S5 install-gitlab | the volume is attached late, or never | it is waited for, or a failure before the package", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			require.NoError(t, os.RemoveAll(h.Path("/dev")))
			h.failed(volume + " is not attached within 5m0s")
			time.AfterFunc(4*time.Minute, h.attach)
			_, err := h.install()
			require.NoError(t, err)
		})
	})
	t.Run("the volume is also found by its serial number alone", func(t *testing.T) {
		h := newHost(t)
		require.NoError(t, os.RemoveAll(h.Path("/dev/disk")))
		h.Put("/sys/block/nvme0n1/device/serial", "vol0fffffffffffffff0  ")
		h.Put("/sys/block/nvme1n1/device/serial", "vol0123456789abcdef0 \n")
		_, err := h.install()
		require.NoError(t, err)
		assert.Contains(t, h.Talk.String(), volume+" (/dev/nvme1n1) is mounted at /var/opt/gitlab")
	})
	t.Run("S5 install-gitlab | the volume holds anything that is no filesystem of ours | it is never formatted", func(t *testing.T) {
		for _, change := range []func(*host){
			func(h *host) { h.filesystem = "swap" },
			func(h *host) { h.On("blkid -p -s TYPE", func(machinetest.Call) int { return 8 }) }, // ambivalent
			func(h *host) { h.On("blkid -p -s TYPE", func(machinetest.Call) int { return 0 }) }, // a partition table
			func(h *host) { h.Answers("wipefs --no-act", "offset type\n0x1fe dos\n") },
			func(h *host) { h.On("cmp -s -n", func(machinetest.Call) int { return 1 }) },
		} {
			h := newHost(t)
			change(h)
			h.failed("it is left as it is")
			assert.Empty(t, h.RanLike("mkfs.xfs"))
			assert.Empty(t, h.mounted("/var/opt/gitlab"))
		}
	})
	t.Run("S5 install-gitlab | /var/opt/gitlab holds data that is on no volume, or another volume | it stops, and touches neither", func(t *testing.T) {
		h := newHost(t)
		h.Put("/var/opt/gitlab/git-data/x", "")
		h.failed("/var/opt/gitlab holds files and is not a mount")
		assert.Empty(t, h.filesystem)
		h = newHost(t)
		require.NoError(t, os.MkdirAll(h.Path("/other"), 0o755))
		h.mount("/other", "/var/opt/gitlab")
		h.failed("/var/opt/gitlab is a mount of something else than " + volume)
		h = newHost(t)
		h.On("mount -o noatime /dev/nvme1n1", func(machinetest.Call) int { return 32 })
		h.failed("cannot mount /dev/nvme1n1 (" + volume + ") at /var/opt/gitlab")
		h = newHost(t)
		h.Answers("mount -o noatime /dev/nvme1n1", "")
		h.failed("/var/opt/gitlab is not mounted, though mount reports success")
		h = newHost(t)
		h.Put("/etc/fstab", "LABEL=old /var/opt/gitlab ext4 defaults 0 2\n")
		h.failed("/etc/fstab mounts LABEL=old at /var/opt/gitlab")
	})
	t.Run("S5 install-gitlab | settings on the host differ from the volume's, or something else is mounted there | it stops, and neither is touched", func(t *testing.T) {
		h := newHost(t)
		h.filesystem = "xfs"
		h.Put("/disk/etc-gitlab/gitlab-secrets.json", "old")
		h.Put("/etc/gitlab/gitlab-secrets.json", "new")
		h.failed("/etc/gitlab and /var/opt/gitlab/etc-gitlab (" + volume + ") hold different settings")
		assert.Equal(t, "new", h.Get("/etc/gitlab/gitlab-secrets.json"))
		assert.Equal(t, "old", h.Get("/disk/etc-gitlab/gitlab-secrets.json"))
		h = newHost(t)
		require.NoError(t, os.MkdirAll(h.Path("/other"), 0o755))
		h.mount("/other", "/etc/gitlab")
		h.failed("/etc/gitlab is a mount of something else than /var/opt/gitlab/etc-gitlab")
	})
	t.Run("S10 install-gitlab | the volume has an earlier server's data | it needs its secrets and its version; then its password, settings and sign-up stay", func(t *testing.T) {
		h := newHost(t)
		h.filesystem, h.seed, h.signUp = "ext4", "a seed", true
		h.Put("/disk/postgresql/data/PG_VERSION", "12")
		h.Put("/disk/bootstrapped", "")
		h.Put("/disk/gitlab-workhorse/VERSION", "gitlab-workhorse v13.12.15")
		h.failed("holds the data of an earlier server and not its secrets: put its gitlab-secrets.json into /etc/gitlab")
		h.Put("/etc/gitlab/gitlab-secrets.json", "{}")
		h.failed("holds the data of GitLab 13.12.15, and 13.10.2 is asked for")
		_, err := h.install(version("13.12.15"))
		require.NoError(t, err)
		assert.Contains(t, h.Talk.String(), "holds an ext4 filesystem, which is kept")
		assert.Equal(t, 1, h.reconfigures, "the package skips its own on such a volume")
		assert.Equal(t, "a seed", h.seed)
		assert.True(t, h.signUp)
		assert.Empty(t, h.RanLike("mkfs.xfs"))
	})
	t.Run("S10 install-gitlab | the volume's database is in the order of another system's C library | refused before anything is installed, and the volume stays as it was", func(t *testing.T) {
		for name, tt := range map[string]struct{ record, says string }{
			"a server of before there was a record": {"", "nothing says in which order its indexes are, and servers were on Amazon Linux 2 (glibc 2.26) before that was written down, and this host has glibc 2.34"},
			"a server of Amazon Linux 2":            {`{"glibc":"2.26"}`, "its indexes are in the order of glibc 2.26, and this host has glibc 2.34"},
			"a rebuild that did not finish":         {`{"glibc":"2.26","rebuilding":"2.34"}`, "a rebuild of its indexes in the order of glibc 2.34 did not finish"},
			"a record that cannot be read":          {`{`, collation.File + " cannot be read"},
			"a server of Amazon Linux 2023":         {`{"glibc":"2.34"}`, ""},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // what is not refused waits for a page, in played time
					h := newHost(t)
					h.AmazonLinux2023()
					h.filesystem, h.seed = "xfs", "a seed"
					h.Put("/disk/postgresql/data/PG_VERSION", "16")
					h.Put("/disk/bootstrapped", "")
					h.Put("/disk/gitlab-workhorse/VERSION", "gitlab-workhorse v18.11.13")
					h.Put("/disk/etc-gitlab/gitlab-secrets.json", "{}")
					if tt.record != "" {
						h.Put("/disk/gitlab-codedeploy-order.json", tt.record)
					}
					before := h.Files("/disk")
					h.playAmazonLinux2023("18.11.13")
					_, err := h.install(version("18.11.13"))
					if tt.says == "" {
						require.NoError(t, err)
						assert.Equal(t, "a seed", h.seed)
						return
					}
					require.ErrorContains(t, err, tt.says)
					assert.Empty(t, h.rpm.Installed)
					assert.Equal(t, before, h.Files("/disk"))
				})
			})
		}
	})
	t.Run("S10 install-gitlab | a volume of Amazon Linux 2023 comes to a server of Amazon Linux 2 | refused, as the other way round", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			h.filesystem = "xfs"
			h.Put("/disk/postgresql/data/PG_VERSION", "16")
			h.Put("/disk/etc-gitlab/gitlab-secrets.json", "{}")
			h.Put("/disk/gitlab-codedeploy-order.json", `{"glibc":"2.34"}`)
			h.failed("its indexes are in the order of glibc 2.34, and this host has glibc 2.26, where text is sorted otherwise")
		})
	})
	t.Run("S10 install-gitlab | a gitlab.rb from another server is there | it is kept when it includes ours, and else stops the run", func(t *testing.T) {
		h := newHost(t)
		h.Put("/etc/gitlab/gitlab.rb", "external_url 'https://old.example.com'\n")
		h.failed("/etc/gitlab/gitlab.rb is not ours and does not include our settings: add the line from_file '/etc/gitlab/gitlab-codedeploy.rb' at its end")
		const main = "\nexternal_url 'https://old.example.com'\nfrom_file '/etc/gitlab/gitlab-codedeploy.rb'\n"
		h.Put("/etc/gitlab/gitlab.rb", main)
		_, err := h.install()
		require.NoError(t, err)
		assert.Equal(t, main, h.Get("/etc/gitlab/gitlab.rb"))
	})
	t.Run("S5 install-gitlab | the repository does not have the version, or does not answer | it is named, and the volume stays blank", func(t *testing.T) {
		h := newHost(t)
		h.failed("gitlab-ce 13.10.9-ce.0.el7 is not in "+base+"/gitlab-ce/el/7/x86_64", version("13.10.9"))
		assert.Empty(t, h.filesystem)
		h.On("yum -q", func(machinetest.Call) int { return 1 })
		h.failed("cannot list gitlab-ce in " + base)
	})
	t.Run("S5 install-gitlab | the package's key is not GitLab's | nothing is installed", func(t *testing.T) {
		newHost(t).failed("none of the package keys could be had", func(g *install.GitLab) { g.Keys = nil })
	})
	t.Run("S5 install-gitlab | the package manager only claims success | it is found out", func(t *testing.T) {
		h := newHost(t)
		h.Answers("yum -y --enablerepo=gitlab-codedeploy install", "Complete!\n")
		h.failed("yum reports success, and " + pack + " is not installed")
	})
	t.Run("S6 install-gitlab | the sign-in page never answers with 200 | what it answered is told, and the next run picks it up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			h.page = http.StatusBadGateway
			_, err := h.install()
			require.ErrorContains(t, err, "/users/sign_in does not answer with 200; the last answer was HTTP 502")
			h.page = http.StatusFound
			_, err = h.install()
			require.ErrorContains(t, err, "/users/sign_in redirects (HTTP 302), as it does while root has no password")
			h.page = http.StatusOK
			_, err = h.install()
			require.NoError(t, err)
		})
	})
	t.Run("another Linux and an architecture without packages are refused", func(t *testing.T) {
		h := newHost(t)
		h.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n")
		h.failed("there is no package of GitLab 13.10.2 for Amazon Linux 2023 on x86_64")
		h.Put("/etc/os-release", "ID=debian\nVERSION_ID=12\n")
		h.failed("this is not Amazon Linux 2 or 2023, but debian 12")
		h = newHost(t)
		h.Architecture = "aarch64"
		h.failed("there is no package of GitLab 13.10.2 for Amazon Linux 2 on aarch64")
		assert.Empty(t, h.Ran())
	})
	t.Run("each distribution, processor and edition has its own package", func(t *testing.T) {
		h := newHost(t)
		h.AmazonLinux2023()
		h.Answers("dnf -q", "gitlab-ee.aarch64 18.11.13-ee.0.amazon2023 x\n")
		h.Architecture = "aarch64"
		install18 := func(c machinetest.Call) int {
			h.rpm.Installed = append(h.rpm.Installed, c.Args[len(c.Args)-1])
			return h.configure(c)
		}
		h.On("dnf -y --enablerepo=gitlab-codedeploy install gitlab-ee-18.11.13-ee.0.amazon2023", install18)
		h.OnPage(base+"/gitlab-ee/gpgkey/gitlab-gitlab-ee-3D645A26AB9FBD22.pub.gpg", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, key) })
		_, err := h.install(version("18.11.13"), func(g *install.GitLab) { g.Edition = "ee"; g.RepositoryURL = base + "/" })
		require.NoError(t, err)
		assert.Equal(t, []string{"gitlab-ee-18.11.13-ee.0.amazon2023"}, h.rpm.Installed)
		assert.Contains(t, h.Get("/etc/yum.repos.d/gitlab-codedeploy.repo"), "\nbaseurl="+base+"/gitlab-ee/amazon/2023/aarch64\n")
		assert.JSONEq(t, `{"glibc":"2.34"}`, h.Get(collation.File), "what its indexes will be in the order of")
	})
}
