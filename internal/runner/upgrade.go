package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/packages"
)

// withoutRestart lets the service end: its unit restarts it, and systemd 219 has no
// switch for one time. A restart of the host takes the file along.
const withoutRestart = "/run/systemd/system/gitlab-runner.service.d/upgrade.conf"

// Upgrade brings GitLab Runner to a version, such as 15.4.2, or to the newest patch of
// 15.4. It takes no new jobs first and lets the running ones end, for as long as jobs. A
// run that died is continued by the next one; an older version is never installed over a
// newer one.
func (h Host) Upgrade(ctx context.Context, wanted string, jobs time.Duration) (from, to string, err error) {
	version, err := h.version(ctx, wanted)
	if err != nil {
		return "", "", err
	}
	found, err := h.found(ctx)
	if err != nil {
		return "", "", err
	}
	h.Machine.Say("GitLab Runner is %s", found)
	switch order := version.Compare(found); {
	case order < 0:
		return "", "", fmt.Errorf("GitLab Runner %s is newer than %s: there is no way back", found, version)
	case order > 0:
		if err := h.exchange(ctx, version, jobs); err != nil {
			return "", "", err
		}
	}
	if err := h.takeJobs(ctx); err != nil {
		return "", "", err
	}
	runs, err := h.runs(ctx)
	if err != nil {
		return "", "", err
	}
	if runs != version.String() {
		return "", "", fmt.Errorf("gitlab-runner says that it is version '%s', and %s was installed", runs, version)
	}
	h.Machine.Say("GitLab Runner %s runs", runs)
	return found.String(), runs, nil
}

// version is the one that is wanted, of a minor the newest patch.
func (h Host) version(ctx context.Context, wanted string) (gitlab.Version, error) {
	if strings.Count(wanted, ".") == 2 {
		return gitlab.ParseVersion(wanted)
	}
	newest, err := gitlab.ParseVersion(wanted + ".0")
	if err != nil {
		return newest, err
	}
	p, _, err := h.pack(newest)
	if err != nil {
		return newest, err
	}
	releases, err := h.repository().Releases(ctx, p)
	if err != nil {
		return newest, err
	}
	some := false
	for _, release := range releases {
		text, number, _ := strings.Cut(release, "-")
		found, err := gitlab.ParseVersion(text)
		if err == nil && number == "1" && strings.HasPrefix(text, wanted+".") && found.Compare(newest) >= 0 {
			newest, some = found, true
		}
	}
	if !some {
		return newest, fmt.Errorf("there is no gitlab-runner %s in %s", wanted, h.repository().Address(p))
	}
	return newest, nil
}

// found is the newest that rpm has. A killed upgrade leaves two: the older one goes.
func (h Host) found(ctx context.Context) (newest gitlab.Version, err error) {
	installed, err := packages.Installed(ctx, h.Machine, service)
	if err != nil {
		return newest, err
	}
	var all []gitlab.Version
	for _, name := range installed {
		text, _ := strings.CutSuffix(strings.TrimPrefix(name, service+"-"), "-1")
		version, err := gitlab.ParseVersion(text)
		if err != nil {
			return newest, fmt.Errorf("%s is installed, which is not GitLab's: %w", name, err)
		}
		all = append(all, version)
		if version.Compare(newest) > 0 {
			newest = version
		}
	}
	if len(all) == 0 {
		return newest, errors.New("GitLab Runner is not installed")
	}
	for _, version := range all {
		if version.Compare(newest) == 0 {
			continue
		}
		h.Machine.Say("an installation was killed: taking out %s", version)
		if said, err := h.Machine.Talked(ctx, machine.Cmd("rpm", "-e", "--nodeps", "--noscripts", fmt.Sprintf("%s-%s-1", service, version))); err != nil {
			return newest, fmt.Errorf("cannot take %s out: %s", version, packages.Reason(said))
		}
	}
	return newest, nil
}

// exchange installs a version. It looks for the package before any job is kept waiting.
func (h Host) exchange(ctx context.Context, version gitlab.Version, jobs time.Duration) error {
	p, how, err := h.pack(version)
	if err != nil {
		return err
	}
	r := h.repository()
	if err := r.Prepare(ctx, p); err != nil {
		return err
	}
	if err := h.finishJobs(ctx, jobs); err != nil {
		return err
	}
	h.Machine.Say("installing %s", strings.Join(append([]string{p.String()}, how.With...), " "))
	if _, err := r.Install(ctx, p, how); err != nil {
		return errors.Join(err, h.takeJobs(context.WithoutCancel(ctx)))
	}
	return nil
}

// finishJobs asks the runner to take no more jobs and waits for its end: on SIGQUIT it
// lets the running ones finish.
// https://docs.gitlab.com/runner/commands/#signals
func (h Host) finishJobs(ctx context.Context, limit time.Duration) error {
	if !h.active(ctx) {
		return nil
	}
	if err := h.Machine.WriteFile(withoutRestart, "[Service]\nRestart=no\n", 0o644); err != nil {
		return err
	}
	err := h.reload(ctx)
	if err == nil {
		h.Machine.Say("waiting for running jobs, %d s at most", int(limit.Seconds()))
		if err = h.Machine.Do(ctx, machine.Cmd("systemctl", "kill", "--kill-who=main", "--signal=QUIT", service)); err != nil {
			err = fmt.Errorf("cannot reach gitlab-runner: %w", err)
		}
	}
	if err == nil && h.active(ctx) {
		err = machine.Wait(ctx, limit, pause, "jobs are running", func(ctx context.Context) (bool, error) { return !h.active(ctx), nil })
		if err != nil && ctx.Err() == nil {
			// It ends when its jobs have, and comes back then.
			err = fmt.Errorf("jobs are still running after %d s: the runner keeps its version, and takes jobs again when these have ended", int(limit.Seconds()))
		}
	}
	if err != nil {
		return errors.Join(err, h.mayRestart(context.WithoutCancel(ctx)))
	}
	return nil
}

func (h Host) mayRestart(ctx context.Context) error {
	return errors.Join(h.Machine.Remove(withoutRestart), h.reload(ctx))
}

func (h Host) takeJobs(ctx context.Context) error {
	if err := h.mayRestart(ctx); err != nil {
		return err
	}
	if err := h.Machine.Do(ctx, machine.Cmd("systemctl", "start", service)); err != nil {
		return fmt.Errorf("cannot start gitlab-runner: see journalctl --unit gitlab-runner: %w", err)
	}
	return nil
}
