package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/packages"
)

// Host installs and upgrades the packages of a runner's host.
type Host struct {
	Machine *machine.Machine
	// RepositoryURL is where the repository gitlab-runner is, such as
	// https://packages.gitlab.com/runner.
	RepositoryURL string
	// Keys are those that its packages are signed with; nil are GitLab's own.
	Keys []gitlab.SigningKey
}

const (
	repositoryID = "gitlab-runner-codedeploy"

	// installLimit ends a run before the SSM document's own hour does, so that one that
	// takes too long can still say so.
	installLimit = 55 * time.Minute
	packageLimit = time.Hour
	pause        = 5 * time.Second
)

// withoutSkel: before 14.0 the package copies /etc/skel into the home of its user, where
// shell start-up files make jobs fail.
const withoutSkel = "GITLAB_RUNNER_DISABLE_SKEL=true"

func (h Host) repository() packages.Repository {
	return packages.Repository{Machine: h.Machine, ID: repositoryID, Base: h.RepositoryURL}
}

// pack is the package of a version, and what has to be installed in the same step.
func (h Host) pack(version gitlab.Version) (packages.Package, packages.Installing, error) {
	how := packages.Installing{Env: []string{"HOME=/root", withoutSkel}, Timeout: packageLimit}
	p, err := packages.Runner(h.Machine, version)
	if h.Keys != nil {
		p.Keys = h.Keys
	}
	// From then on the helper images are a package of their own, of which yum would take
	// the newest.
	// https://docs.gitlab.com/runner/install/linux-repository/
	if version.Compare(gitlab.Version{Major: 17, Minor: 7}) >= 0 {
		how.With = []string{"gitlab-runner-helper-images-" + p.Release}
	}
	return p, how, err
}

// Install installs Docker and exactly that version of GitLab Runner, starts both, and
// clears every night what jobs leave behind. What is installed already keeps its version.
// It registers no runner. It returns what there is now, for people.
func (h Host) Install(ctx context.Context, version gitlab.Version) (done string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, installLimit, fmt.Errorf("not done within %s", installLimit))
	defer cancel()
	p, how, err := h.pack(version)
	if err != nil {
		return "", err
	}
	lock, err := h.Machine.LockWithin(ctx, machine.InstallLock, "install-runner", installLimit)
	if err != nil {
		return "", err
	}
	defer lock.Release()
	for _, step := range []func(context.Context) error{
		h.keepDocker,
		h.installDocker,
		func(context.Context) error { return h.writeSettings() },
		func(ctx context.Context) error { return h.start(ctx, "docker", "docker-clean-up.timer") },
		func(ctx context.Context) error { return h.installRunner(ctx, p, how) },
		func(ctx context.Context) error { return h.start(ctx, service) },
		h.dockerAnswers,
		func(ctx context.Context) (err error) { done, err = h.runs(ctx); return err },
	} {
		if err := step(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return "", cause
			}
			return "", err
		}
	}
	done = "Docker and GitLab Runner " + done + " work"
	h.Machine.Say("%s", done)
	return done, nil
}

// docker is the newest Docker that every runner can talk to. Below 14.10 they speak API
// 1.25, and Docker 29.0 to 29.2 ask for 1.44: see docs/adr/0025-operating-systems.md.
// https://docs.docker.com/engine/release-notes/29/
const docker = "25.0"

const (
	dnfSettings = "/etc/dnf/dnf.conf"
	newerDocker = "docker-2[6-9].*,docker-[3-9][0-9].*"
)

var excluding = regexp.MustCompile(`(?m)^(excludepkgs|exclude)[ \t]*=.*$`)

// keepDocker excludes newer ones from every installation and update of this host. Patches
// pass. Amazon Linux 2 has no newer one.
func (h Host) keepDocker(context.Context) error {
	if h.Machine.AmazonLinux() != "2023" {
		return nil
	}
	text, err := h.Machine.ReadFile(dnfSettings)
	if err != nil || strings.Contains(text, newerDocker) {
		return err
	}
	after := text
	if at := excluding.FindStringIndex(text); at != nil {
		after = text[:at[1]] + "," + newerDocker + text[at[1]:]
	} else {
		after = strings.Replace(text, "[main]\n", "[main]\nexcludepkgs="+newerDocker+"\n", 1)
	}
	if after == text {
		return fmt.Errorf("cannot exclude Docker after %s in %s: it has no section [main]", docker, dnfSettings)
	}
	return h.Machine.WriteFile(dnfSettings, after, 0o644)
}

func (h Host) installDocker(ctx context.Context) error {
	found, err := packages.Installed(ctx, h.Machine, "docker")
	if err != nil || len(found) > 0 {
		return err
	}
	h.Machine.Say("installing Docker")
	// On Amazon Linux 2 it is one of the "extras", which yum alone does not see.
	// https://docs.aws.amazon.com/linux/al2/ug/al2-extras.html
	command, words := machine.Cmd("amazon-linux-extras", "install", "-y", "docker"), "amazon-linux-extras could not install docker"
	if h.Machine.AmazonLinux() == "2023" {
		command, words = machine.Cmd("dnf", "-y", "install", "docker-"+docker+".*"), "dnf could not install docker "+docker
	}
	said, err := h.Machine.Talked(ctx, command)
	if err != nil {
		return fmt.Errorf("%s: %s", words, cmp.Or(packages.Reason(said), err.Error()))
	}
	if found, err = packages.Installed(ctx, h.Machine, "docker"); err == nil && len(found) == 0 {
		err = fmt.Errorf("the package docker is not installed, though its installation reports success: %s", packages.Reason(said))
	}
	return err
}

const daemonSettings = "/etc/docker/daemon.json"

// daemon keeps one talkative job from filling the disk (by default Docker never cuts a
// container's log), keeps apart what is on Docker's common network all the same, and
// has room for a network of each job where Docker's own begin.
// https://docs.docker.com/engine/daemon/
const daemon = `{
  "log-driver": "json-file", "log-opts": {"max-size": "50m", "max-file": "2"},
  "icc": false,
  "default-address-pools": [{"base": "172.17.0.0/16", "size": 24}, {"base": "172.18.0.0/15", "size": 24}, {"base": "172.20.0.0/16", "size": 24}]%s
}
`

// limited puts all containers into a slice of systemd's. Amazon Linux 2023 only: there
// Docker leaves groups of processes to systemd.
const limited = `,
  "cgroup-parent": "cijobs.slice"`

// files are those of the host that are ours alone.
var files = map[string]string{
	"/etc/systemd/system/cijobs.slice": `# Written by gitlab-codedeploy: the containers of CI jobs. The host has room for more processes.
[Unit]
Description=CI jobs

[Slice]
TasksAccounting=yes
TasksMax=8192
`,
	"/etc/systemd/system/docker-clean-up.service": `# Written by gitlab-codedeploy.
[Unit]
Description=Remove what CI jobs left in Docker
Requires=docker.service
After=docker.service

[Service]
Type=oneshot
ExecStart=/usr/bin/docker system prune --force --all --filter until=168h
`,
	// Volumes, the caches of jobs among them, stay.
	"/etc/systemd/system/docker-clean-up.timer": `# Written by gitlab-codedeploy.
[Unit]
Description=Remove what CI jobs left in Docker, every night

[Timer]
OnCalendar=*-*-* 03:20:00
Persistent=true

[Install]
WantedBy=timers.target
`,
}

// writeSettings comes before Docker is started. An operator's daemon.json stays.
func (h Host) writeSettings() error {
	m := h.Machine
	if !m.Exists(daemonSettings) {
		more := ""
		if m.AmazonLinux() == "2023" {
			more = limited
		}
		if err := m.WriteFile(daemonSettings, fmt.Sprintf(daemon, more), 0o644); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := m.WriteFile(name, files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (h Host) installRunner(ctx context.Context, p packages.Package, how packages.Installing) error {
	found, err := packages.Installed(ctx, h.Machine, p.Name)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		h.Machine.Say("%s is installed already and keeps its version", strings.Join(found, " and "))
		return nil
	}
	r := h.repository()
	h.Machine.Say("looking for %s in %s", p, r.Address(p))
	if err := r.Prepare(ctx, p); err != nil {
		return err
	}
	h.Machine.Say("installing %s", strings.Join(append([]string{p.String()}, how.With...), " "))
	_, err = r.Install(ctx, p, how)
	return err
}

// start lets units run now and after each boot. (Systemd 219 has no "enable --now".)
func (h Host) start(ctx context.Context, units ...string) error {
	if err := h.reload(ctx); err != nil {
		return err
	}
	for _, unit := range units {
		for _, verb := range []string{"enable", "start"} {
			if err := h.Machine.Do(ctx, machine.Cmd("systemctl", verb, unit)); err != nil {
				return fmt.Errorf("cannot %s %s: see journalctl --unit %[2]s: %w", verb, unit, err)
			}
		}
	}
	return nil
}

func (h Host) reload(ctx context.Context) error {
	return h.Machine.Do(ctx, machine.Cmd("systemctl", "daemon-reload"))
}

func (h Host) dockerAnswers(ctx context.Context) error {
	var last error
	err := machine.Wait(ctx, 2*time.Minute, pause, "Docker does not answer", func(ctx context.Context) (bool, error) {
		_, err := h.Machine.Ask(ctx, machine.Command{Args: []string{"docker", "info"}, Timeout: 30 * time.Second})
		if ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil && last != nil {
		err = fmt.Errorf("%w: %w", err, last)
	}
	return err
}

var versionLine = regexp.MustCompile(`(?m)^Version: +([0-9]+\.[0-9]+\.[0-9]+)`)

// runs returns the version of the runner that runs, which has to be the package's.
func (h Host) runs(ctx context.Context) (string, error) {
	out, err := h.Machine.Ask(ctx, machine.Command{Args: []string{service, "--version"}, Timeout: question})
	if err != nil {
		return "", fmt.Errorf("gitlab-runner does not run: %w", err)
	}
	version := "nothing"
	if found := versionLine.FindStringSubmatch(out); found != nil {
		version = found[1]
	}
	installed, err := packages.Installed(ctx, h.Machine, service)
	if err != nil {
		return "", err
	}
	if !slices.Contains(installed, service+"-"+version+"-1") {
		return "", fmt.Errorf("gitlab-runner says that it is version '%s', and %s is installed", version, strings.Join(installed, " and "))
	}
	if !h.active(ctx) {
		return "", errors.New("the service gitlab-runner is not running: see journalctl --unit gitlab-runner")
	}
	return version, nil
}

func (h Host) active(ctx context.Context) bool {
	_, err := h.Machine.Ask(ctx, machine.Cmd("systemctl", "is-active", "--quiet", service))
	return err == nil
}
