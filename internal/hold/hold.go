//go:build unix

// Package hold keeps operations and weekly security updates apart: the lock of
// operations is held by a unit while updates are made, which may restart the host.
//
//	patch manager ── before ──▶ Begin ── systemd-run ──▶ a unit with the lock, for two hours
//	              ── after ───▶ End
package hold

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine"
)

const (
	// held has the name of the unit. A restart of the host ends that, and takes this
	// file along.
	held = "/run/gitlab-codedeploy-security-updates"
	// seconds are longer than updates and restart take. Whatever becomes of these,
	// operations may begin after that.
	seconds = 7200

	who = "security-updates"
)

// Begin lets no operation begin on this host for two hours, or until End or a restart.
// It fails while an operation or an installation is under way: then no update is made.
func Begin(ctx context.Context, m *machine.Machine) error {
	// State Manager runs installations whenever a document has changed.
	installing, err := m.Lock(machine.InstallLock, who)
	switch {
	case errors.As(err, new(machine.Held)):
		return errors.New("an installation is under way on this host: nothing was done")
	case err != nil:
		return err
	}
	installing.Release()
	lock, err := m.Lock(machine.OperationLock, who)
	if err != nil {
		return err // who is under way is told
	}
	defer lock.Release() // twice does no harm
	unit := newUnit(time.Now())
	if err := m.WriteFile(held, unit+"\n", 0o600); err != nil {
		return err
	}
	// The unit takes the lock over. Who comes in between has it, and goes on.
	lock.Release()
	err = m.Do(ctx, machine.Cmd("systemd-run", "--unit", unit, "--description", "gitlab-codedeploy: no operation during security updates",
		"flock", "--nonblock", machine.OperationLock, "sleep", fmt.Sprint(seconds)))
	if err == nil {
		err = taken(ctx, m, unit)
	} else {
		err = fmt.Errorf("systemd-run could not start %s: %w", unit, err)
	}
	if err != nil {
		return errors.Join(err, m.Remove(held))
	}
	if err := takeNewestRelease(m); err != nil {
		return err
	}
	m.Say("no operation begins here for %d s, unless the host restarts before", seconds)
	return nil
}

// taken waits until the unit has the lock. One that did not get it ends.
func taken(ctx context.Context, m *machine.Machine, unit string) error {
	err := machine.Wait(ctx, 10*time.Second, time.Second, "nobody has the lock", func(ctx context.Context) (bool, error) {
		lock, err := m.Lock(machine.OperationLock, who)
		if err == nil {
			lock.Release()
			return false, nil
		}
		return errors.As(err, new(machine.Held)), nil
	})
	if err == nil {
		_, err = m.Ask(ctx, machine.Cmd("systemctl", "is-active", "--quiet", unit))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return errors.New("another operation began at the same moment: nothing was done")
	}
	return nil
}

// End ends what Begin began. Without it, as after a restart or a Begin that failed,
// there is nothing to end.
func End(ctx context.Context, m *machine.Machine) error {
	unit, err := m.ReadFile(held)
	if err != nil {
		return err
	}
	if unit = strings.TrimSpace(unit); unit == "" {
		m.Say("operations are not held")
		return nil
	}
	// It may have ended by itself.
	if _, err := m.Ask(ctx, machine.Cmd("systemctl", "is-active", "--quiet", unit)); err == nil {
		if err := m.Do(ctx, machine.Cmd("systemctl", "stop", unit)); err != nil {
			return fmt.Errorf("cannot stop %s: %w", unit, err)
		}
	}
	if err := m.Remove(held); err != nil {
		return err
	}
	m.Say("operations may begin again")
	return nil
}

// release is where dnf looks for the release of Amazon Linux 2023 to take packages of.
const release = "/etc/dnf/vars/releasever"

// takeNewestRelease: an image of Amazon Linux 2023 is tied to its own release, whose
// packages never change.
// https://docs.aws.amazon.com/linux/al2023/ug/deterministic-upgrades-usage.html
func takeNewestRelease(m *machine.Machine) error {
	if m.AmazonLinux() != "2023" {
		return nil
	}
	chosen, err := m.ReadFile(release)
	switch {
	case err != nil:
		return err
	case chosen != "":
		m.Say("updates come of the release that %s names: %s", release, strings.TrimSpace(chosen))
		return nil
	}
	return m.WriteFile(release, "latest\n", 0o644)
}

// newUnit is a name that no other unit has: one that failed stands in nobody's way.
func newUnit(now time.Time) string {
	var mark [4]byte
	_, _ = rand.Read(mark[:]) // never fails: see crypto/rand
	return fmt.Sprintf("gitlab-codedeploy-security-updates-%s-%x", now.UTC().Format("20060102T150405"), mark)
}
