package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/packages/packagestest"
)

const repositoryURL = "https://packages.example.com/runner"

// blank is a host with nothing on it, and the repositories of its packages.
type blank struct {
	*machinetest.Host
	t       *testing.T
	rpm     packagestest.RPM
	has     []string // versions of gitlab-runner in its repository
	running map[string]bool
	enabled map[string]bool
	says    string // the version that gitlab-runner says; "" is the installed one
	busy    bool   // jobs run on
	mute    bool   // Docker does not answer
	refuse  string // what the package manager says and ends with 1
	nothing bool   // the package manager installs nothing, and ends well
	daemon  string // Docker's settings when it was started
}

func newBlank(t *testing.T, release string) *blank {
	b := &blank{Host: machinetest.New(t), t: t, has: []string{"13.10.0", "13.12.0"}, running: map[string]bool{}, enabled: map[string]bool{}}
	manager := "yum"
	if release == "2023" {
		manager = "dnf"
		b.Put("/etc/dnf/dnf.conf", "[main]\ngpgcheck=True\nbest=True\n")
	}
	b.Put("/etc/os-release", fmt.Sprintf("ID=\"amzn\"\nVERSION_ID=%q\n", release))
	b.Put("/proc/meminfo", "MemTotal:        8388608 kB\n")
	b.rpm.Play(b.Host)
	b.On(manager+" -q", func(c machinetest.Call) int {
		for _, version := range b.has {
			c.Print("gitlab-runner.x86_64   0:%s-1   gitlab-runner-codedeploy\n", version)
		}
		return 0
	})
	b.On(manager+" -y", func(c machinetest.Call) int { return b.install(c, c.Args[3:]...) })
	b.On("dnf -y install docker-25.0.*", func(c machinetest.Call) int { return b.install(c, "docker-25.0.14-1") })
	b.On("amazon-linux-extras install -y docker", func(c machinetest.Call) int { return b.install(c, "docker-25.0.14-1") })
	b.On("systemctl daemon-reload", func(machinetest.Call) int { return 0 })
	b.On("systemctl enable", func(c machinetest.Call) int { b.enabled[c.Args[2]] = true; return 0 })
	b.On("systemctl start", func(c machinetest.Call) int {
		if c.Args[2] == "docker" && !b.running["docker"] {
			b.daemon = b.Get(daemonSettings)
		}
		b.running[c.Args[2]] = true
		return 0
	})
	b.On("systemctl is-active --quiet", func(c machinetest.Call) int {
		if b.running[c.Args[3]] {
			return 0
		}
		return 3
	})
	b.On("systemctl kill --kill-who=main --signal=QUIT gitlab-runner", func(c machinetest.Call) int {
		// Its unit has Restart=always.
		if strings.Contains(b.Get(withoutRestart), "Restart=no") && !b.busy {
			delete(b.running, service)
		}
		return 0
	})
	b.On("docker info", func(c machinetest.Call) int {
		if b.mute {
			c.Complain("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n")
			return 1
		}
		return 0
	})
	b.On("gitlab-runner --version", func(c machinetest.Call) int {
		version := b.says
		for _, p := range b.rpm.Installed {
			if at := strings.TrimPrefix(p, "gitlab-runner-"); at != p && version == "" && at[0] <= '9' {
				version = strings.TrimSuffix(at, "-1")
			}
		}
		// common/version.go of v13.10.0
		c.Print("Version:      %s\nGit revision: 54944146\n", version)
		return 0
	})
	return b
}

// install is the package manager, and what packages replace.
func (b *blank) install(c machinetest.Call, packages ...string) int {
	if b.refuse != "" {
		c.Complain("%s\n", b.refuse)
		return 1
	}
	for _, p := range packages {
		if strings.HasPrefix(p, "-") || p == "install" || b.nothing {
			continue
		}
		name := p[:strings.LastIndex(strings.TrimSuffix(p, "-1"), "-")]
		b.rpm.Installed = append(slices.DeleteFunc(b.rpm.Installed, func(old string) bool { return packagestest.Is(old, name) }), p)
	}
	if b.nothing {
		c.Print("Nothing to do\n")
	}
	return 0
}

func (b *blank) host() Host {
	file, key := packagestest.Key("366915F31B487241")
	packagestest.Serve(b.Host, repositoryURL+"/gitlab-runner/gpgkey/runner-gitlab-runner-366915F31B487241.pub.gpg", file)
	return Host{Machine: b.Machine, RepositoryURL: repositoryURL, Keys: []gitlab.SigningKey{key}}
}

func (b *blank) do(t *testing.T, version string) (done string, err error) {
	v, err := gitlab.ParseVersion(version)
	require.NoError(t, err)
	h := b.host()
	synctest.Test(t, func(t *testing.T) { done, err = h.Install(t.Context(), v) })
	return done, err
}

func TestS11_ABlankHostEndsWithDockerAndExactlyThatRunner(t *testing.T) {
	t.Run("both started now and at boot", func(t *testing.T) {
		b := newBlank(t, "2")
		done, err := b.do(t, "13.10.0")
		require.NoError(t, err, b.Talk)
		assert.Equal(t, "Docker and GitLab Runner 13.10.0 work", done)
		assert.Equal(t, []string{"docker-25.0.14-1", "gitlab-runner-13.10.0-1"}, b.rpm.Installed)
		for _, unit := range []string{"docker", "gitlab-runner", "docker-clean-up.timer"} {
			assert.True(t, b.running[unit] && b.enabled[unit], unit)
		}
		assert.Len(t, b.RanLike("amazon-linux-extras install -y docker"), 1)
		assert.Contains(t, b.Get("/etc/yum.repos.d/gitlab-runner-codedeploy.repo"), "baseurl="+repositoryURL+"/gitlab-runner/el/7/x86_64\nenabled=0\ngpgcheck=1\n")
	})
	t.Run("its home is none of /etc/skel", func(t *testing.T) {
		b := newBlank(t, "2")
		var env []string
		b.On("yum -y", func(c machinetest.Call) int { env = c.Env; return b.install(c, c.Args[3:]...) })
		_, err := b.do(t, "13.10.0")
		require.NoError(t, err)
		assert.Contains(t, env, "GITLAB_RUNNER_DISABLE_SKEL=true")
	})
	t.Run("on Amazon Linux 2023, which has no extras, Docker is 25.0, and GitLab's own packages come from some version on", func(t *testing.T) {
		for version, repository := range map[string]string{"13.10.0": "el/7", "15.4.2": "amazon/2", "17.8.0": "amazon/2023"} {
			b := newBlank(t, "2023")
			b.has = []string{version}
			_, err := b.do(t, version)
			require.NoError(t, err, b.Talk)
			assert.Len(t, b.RanLike("dnf -y install docker-25.0.*"), 1)
			assert.Contains(t, b.Get("/etc/yum.repos.d/gitlab-runner-codedeploy.repo"), "/gitlab-runner/"+repository+"/x86_64\n")
		}
	})
	t.Run("from 17.7 on the helper images have the runner's version, in one step with it", func(t *testing.T) {
		b := newBlank(t, "2")
		b.has = []string{"17.8.0"}
		_, err := b.do(t, "17.8.0")
		require.NoError(t, err)
		assert.Len(t, b.RanLike("yum -y --enablerepo=gitlab-runner-codedeploy install gitlab-runner-17.8.0-1 gitlab-runner-helper-images-17.8.0-1"), 1)
	})
	t.Run("on Amazon Linux 2023 newer Dockers are excluded from every update, once, and what an operator excludes stays", func(t *testing.T) {
		b := newBlank(t, "2023")
		_, err := b.do(t, "13.10.0")
		require.NoError(t, err)
		want := "[main]\nexcludepkgs=docker-2[6-9].*,docker-[3-9][0-9].*\ngpgcheck=True\nbest=True\n"
		assert.Equal(t, want, b.Get(dnfSettings))
		_, err = b.do(t, "13.10.0")
		require.NoError(t, err)
		assert.Equal(t, want, b.Get(dnfSettings))

		b = newBlank(t, "2023")
		b.Put(dnfSettings, "[main]\ngpgcheck=1\nexcludepkgs=kernel*\nbest=0\n")
		_, err = b.do(t, "13.10.0")
		require.NoError(t, err)
		assert.Equal(t, "[main]\ngpgcheck=1\nexcludepkgs=kernel*,docker-2[6-9].*,docker-[3-9][0-9].*\nbest=0\n", b.Get(dnfSettings))

		b = newBlank(t, "2023")
		b.Put(dnfSettings, "# nothing\n")
		_, err = b.do(t, "13.10.0")
		require.ErrorContains(t, err, "cannot exclude Docker after 25.0 in /etc/dnf/dnf.conf: it has no section [main]")
		assert.Empty(t, b.rpm.Installed)
	})
	t.Run("containers' logs are cut, jobs are kept apart and limited, and left-overs are cleared, before Docker starts", func(t *testing.T) {
		for _, release := range []string{"2", "2023"} {
			b := newBlank(t, release)
			_, err := b.do(t, "13.10.0")
			require.NoError(t, err)
			var settings struct {
				Opts  map[string]string       `json:"log-opts"`
				ICC   *bool                   `json:"icc"`
				Slice string                  `json:"cgroup-parent"`
				Pools []struct{ Base string } `json:"default-address-pools"`
			}
			require.NoError(t, json.Unmarshal([]byte(b.daemon), &settings), b.daemon)
			assert.Equal(t, map[string]string{"max-size": "50m", "max-file": "2"}, settings.Opts)
			require.NotNil(t, settings.ICC)
			assert.False(t, *settings.ICC)
			assert.Len(t, settings.Pools, 3)
			assert.Equal(t, map[string]string{"2": "", "2023": "cijobs.slice"}[release], settings.Slice)
			assert.Contains(t, b.Get("/etc/systemd/system/cijobs.slice"), "\nTasksMax=8192\n")
			clean := b.Get("/etc/systemd/system/docker-clean-up.service")
			assert.Contains(t, clean, "\nExecStart=/usr/bin/docker system prune --force")
			assert.NotContains(t, clean, "--volumes")
			assert.Contains(t, b.Get("/etc/systemd/system/docker-clean-up.timer"), "\nOnCalendar=*-*-* 03:20:00\n")
		}
	})
	t.Run("the second run keeps every version and an operator's daemon.json, and reports success", func(t *testing.T) {
		b := newBlank(t, "2")
		_, err := b.do(t, "13.10.0")
		require.NoError(t, err)
		b.Put(daemonSettings, `{"debug": true}`)
		before := append([]string(nil), b.rpm.Installed...)
		done, err := b.do(t, "13.12.0")
		require.NoError(t, err)
		assert.Equal(t, "Docker and GitLab Runner 13.10.0 work", done)
		assert.Contains(t, b.Talk.String(), "gitlab-runner-13.10.0-1 is installed already and keeps its version")
		assert.Equal(t, before, b.rpm.Installed)
		assert.Equal(t, `{"debug": true}`, b.Get(daemonSettings))
	})
	t.Run("a run killed at any step is continued by the next one", func(t *testing.T) {
		hosts := map[*machinetest.Host]*blank{}
		v := gitlab.Version{Major: 13, Minor: 10}
		machinetest.AtEveryStep(t, func(t *testing.T) (*machinetest.Host, func() error) {
			b := newBlank(t, "2023")
			hosts[b.Host] = b
			h := b.host()
			return b.Host, func() error { _, err := h.Install(context.Background(), v); return err }
		}, func(t *testing.T, m *machinetest.Host, _ func() error) {
			b := hosts[m]
			_, err := b.do(t, "13.10.0")
			require.NoError(t, err)
			assert.Equal(t, []string{"docker-25.0.14-1", "gitlab-runner-13.10.0-1"}, b.rpm.Installed)
			for _, unit := range []string{"docker", "gitlab-runner", "docker-clean-up.timer"} {
				assert.True(t, b.running[unit] && b.enabled[unit], unit)
			}
		})
	})
}

func TestS11_EachFailingStepFailsTheInstallationWithItsReason(t *testing.T) {
	for name, c := range map[string]struct {
		version string
		prepare func(*blank)
		want    string
	}{
		"a version that is not there": {"13.10.9", func(*blank) {}, "gitlab-runner 13.10.9-1 is not in " + repositoryURL + "/gitlab-runner/el/7/x86_64"},
		"no repository": {"13.10.0", func(b *blank) {
			b.On("yum -q", func(c machinetest.Call) int { c.Complain("Error: Cannot retrieve repository metadata\n"); return 1 })
		}, "cannot list gitlab-runner in " + repositoryURL},
		"Docker does not start": {"13.10.0", func(b *blank) {
			b.On("systemctl start docker", func(machinetest.Call) int { return 1 })
		}, "cannot start docker: see journalctl --unit docker"},
		"the program is another": {"13.10.0", func(b *blank) { b.says = "12.0.0" }, "gitlab-runner says that it is version '12.0.0', and gitlab-runner-13.10.0-1 is installed"},
		"Docker is mute":         {"13.10.0", func(b *blank) { b.mute = true }, "Cannot connect to the Docker daemon"},
		"the service ends at once": {"13.10.0", func(b *blank) {
			b.On("systemctl start gitlab-runner", func(machinetest.Call) int { return 0 })
		}, "the service gitlab-runner is not running"},
		"no Docker":                          {"13.10.0", func(b *blank) { b.refuse = "Topic docker is not found" }, "amazon-linux-extras could not install docker: Topic docker is not found"},
		"Docker's installation does nothing": {"13.10.0", func(b *blank) { b.nothing = true }, "the package docker is not installed, though its installation reports success: Nothing to do"},
		"an unsigned package": {"13.10.0", func(b *blank) {
			b.On("yum -y", func(c machinetest.Call) int {
				c.Complain("Package gitlab-runner-13.10.0-1.x86_64.rpm is not signed\n")
				return 1
			})
		}, "yum could not install gitlab-runner-13.10.0-1: Package gitlab-runner-13.10.0-1.x86_64.rpm is not signed"},
		"another Linux": {"13.10.0", func(b *blank) { b.Put("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n") }, "this is not Amazon Linux 2 or 2023, but debian 12"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlank(t, "2")
			c.prepare(b)
			_, err := b.do(t, c.version)
			require.ErrorContains(t, err, c.want)
		})
	}
	t.Run("without Docker 25.0 in the repository of Amazon Linux 2023", func(t *testing.T) {
		b := newBlank(t, "2023")
		b.On("dnf -y install docker-25.0.*", func(c machinetest.Call) int { c.Complain("Error: Unable to find a match: docker-25.0.*\n"); return 1 })
		_, err := b.do(t, "13.10.0")
		require.ErrorContains(t, err, "dnf could not install docker 25.0: Error: Unable to find a match: docker-25.0.*")
	})
	t.Run("a package key counts by its whole fingerprint", func(t *testing.T) {
		b := newBlank(t, "2")
		h := b.host()
		h.Keys = nil // GitLab's own: what the address has is another one
		synctest.Test(t, func(t *testing.T) {
			_, err := h.Install(t.Context(), gitlab.Version{Major: 13, Minor: 10})
			require.ErrorContains(t, err, "none of the package keys could be had: ")
		})
		assert.Empty(t, b.RanLike("rpm --import"))
		assert.Equal(t, []string{"docker-25.0.14-1"}, b.rpm.Installed)
	})
}

func (b *blank) upgrade(t *testing.T, version string, jobs time.Duration) (from, to string, err error) {
	h := b.host()
	synctest.Test(t, func(t *testing.T) { from, to, err = h.Upgrade(t.Context(), version, jobs) })
	return from, to, err
}

func newInstalled(t *testing.T) *blank {
	b := newBlank(t, "2")
	b.has = []string{"13.10.0", "15.4.0", "15.4.2", "15.4.10", "15.5.0"}
	b.rpm.Installed = []string{"docker-25.0.14-1", "gitlab-runner-13.10.0-1"}
	b.running["docker"], b.running[service] = true, true
	return b
}

func TestS8_TheRunnerComesToAVersion(t *testing.T) {
	t.Run("a minor's newest patch when its jobs have ended, and once more nothing is done", func(t *testing.T) {
		b := newInstalled(t)
		from, to, err := b.upgrade(t, "15.4", 2*time.Hour)
		require.NoError(t, err, b.Talk)
		assert.Equal(t, []string{"13.10.0", "15.4.10"}, []string{from, to})
		assert.Contains(t, b.rpm.Installed, "gitlab-runner-15.4.10-1")
		assert.True(t, b.running[service])
		assert.False(t, b.Exists(withoutRestart))
		var order []string
		for _, command := range b.Ran() {
			if strings.HasPrefix(command, "systemctl kill") || strings.HasPrefix(command, "yum -y") {
				order = append(order, strings.Fields(command)[0])
			}
		}
		assert.Equal(t, []string{"systemctl", "yum"}, order, "first the jobs, then the package")
		b.Forget()
		from, to, err = b.upgrade(t, "15.4.10", 2*time.Hour)
		require.NoError(t, err)
		assert.Equal(t, []string{"15.4.10", "15.4.10"}, []string{from, to})
		assert.Empty(t, append(b.RanLike("systemctl kill"), b.RanLike("yum -y")...))
	})
	t.Run("S8 upgrade-runner | jobs run for longer than the wait | the runner keeps its version and comes back after them", func(t *testing.T) {
		for _, wait := range []time.Duration{0, time.Second, time.Hour} {
			b := newInstalled(t)
			b.busy = true
			_, _, err := b.upgrade(t, "15.4.2", wait)
			require.ErrorContains(t, err, fmt.Sprintf("jobs are still running after %d s: the runner keeps its version", int(wait.Seconds())))
			assert.Contains(t, b.rpm.Installed, "gitlab-runner-13.10.0-1")
			assert.False(t, b.Exists(withoutRestart), "its unit restarts it")
		}
	})
	t.Run("S8 upgrade-runner | jobs end while it waits | it goes on then", func(t *testing.T) {
		b := newInstalled(t)
		b.busy = true
		h := b.host()
		synctest.Test(t, func(t *testing.T) {
			time.AfterFunc(time.Hour, func() { delete(b.running, service) })
			_, to, err := h.Upgrade(t.Context(), "15.4.2", 2*time.Hour)
			require.NoError(t, err)
			assert.Equal(t, "15.4.2", to)
		})
	})
	t.Run("S8 upgrade-runner | a version that is not there, an older one, shell characters | nothing is done, and no job is kept waiting", func(t *testing.T) {
		for version, want := range map[string]string{
			"15.9": "there is no gitlab-runner 15.9 in " + repositoryURL, "15.4.9": "gitlab-runner 15.4.9-1 is not in ",
			"13.9.0": "GitLab Runner 13.10.0 is newer than 13.9.0: there is no way back", "15.4;id": "want an exact version",
		} {
			b := newInstalled(t)
			_, _, err := b.upgrade(t, version, time.Hour)
			require.ErrorContains(t, err, want)
			assert.Contains(t, b.rpm.Installed, "gitlab-runner-13.10.0-1")
			assert.Empty(t, b.RanLike("systemctl kill"))
		}
	})
	t.Run("S8 upgrade-runner | killed with the new package beside the old one | the next run takes the old one out and ends well", func(t *testing.T) {
		b := newInstalled(t)
		b.rpm.Installed = append(b.rpm.Installed, "gitlab-runner-15.4.2-1")
		delete(b.running, service)
		_, to, err := b.upgrade(t, "15.4.2", time.Hour)
		require.NoError(t, err, b.Talk)
		assert.Equal(t, "15.4.2", to)
		assert.NotContains(t, b.rpm.Installed, "gitlab-runner-13.10.0-1")
		assert.True(t, b.running[service])
	})
	t.Run("S8 upgrade-runner | the package cannot be installed | the runner takes jobs again, with the version it has", func(t *testing.T) {
		b := newInstalled(t)
		b.refuse = "Error: GPG check FAILED"
		_, _, err := b.upgrade(t, "15.4.2", time.Hour)
		require.ErrorContains(t, err, "yum could not install gitlab-runner-15.4.2-1: Error: GPG check FAILED")
		assert.True(t, b.running[service])
		assert.False(t, b.Exists(withoutRestart))
	})
	t.Run("S8 upgrade-runner | killed at any step | the next run ends well", func(t *testing.T) {
		hosts := map[*machinetest.Host]*blank{}
		machinetest.AtEveryStep(t, func(t *testing.T) (*machinetest.Host, func() error) {
			b := newInstalled(t)
			hosts[b.Host] = b
			h := b.host()
			return b.Host, func() error { _, _, err := h.Upgrade(context.Background(), "15.4", time.Hour); return err }
		}, func(t *testing.T, m *machinetest.Host, _ func() error) {
			b := hosts[m]
			_, to, err := b.upgrade(t, "15.4", time.Hour)
			require.NoError(t, err, b.Talk)
			assert.Equal(t, "15.4.10", to)
			assert.True(t, b.running[service])
			assert.False(t, b.Exists(withoutRestart))
		})
	})
}
