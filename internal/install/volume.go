//go:build unix

package install

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"gitlab-codedeploy/internal/machine"
)

// ask asks a command for a word; status is -1 for one that did not run.
func (g *GitLab) ask(ctx context.Context, args ...string) (word string, status int, err error) {
	out, err := g.Machine.Ask(ctx, machine.Command{Args: args, Timeout: questionLimit})
	return strings.TrimSpace(out), machine.Status(err), err
}

// is says whether a question that a status answers has a yes.
func (g *GitLab) is(ctx context.Context, args ...string) bool {
	_, status, _ := g.ask(ctx, args...)
	return status == 0
}

func (g *GitLab) do(ctx context.Context, args ...string) error {
	return g.Machine.Do(ctx, machine.Command{Args: args})
}

// mountDataVolume leaves /var/opt/gitlab as a mount of the data volume, or fails: without
// it the data would land on the root volume, unseen.
func (g *GitLab) mountDataVolume(ctx context.Context) error {
	m := g.Machine
	m.Say("waiting for %s", g.DataVolume)
	err := machine.Wait(ctx, volumeWithin, pause, g.DataVolume+" is not attached", func(ctx context.Context) (bool, error) {
		g.device = g.findDevice(ctx)
		return g.device != "", nil
	})
	if err != nil {
		return err
	}
	if !g.is(ctx, "mountpoint", "-q", dataFolder) {
		names, err := m.List(dataFolder)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return fmt.Errorf("%s holds files and is not a mount: move them away first", dataFolder)
		}
		if err := g.formatBlankVolume(ctx); err != nil {
			return err
		}
		if err := g.recordMount(ctx); err != nil {
			return err
		}
		if !m.Exists(dataFolder) {
			if err := m.MakeFolder(dataFolder, 0o755); err != nil {
				return err
			}
		}
		// By device: by its entry in fstab, with nofail, mount would report success for a
		// volume that it does not find.
		if err := g.do(ctx, "mount", "-o", "noatime", g.device, dataFolder); err != nil {
			return fmt.Errorf("cannot mount %s (%s) at %s: %w", g.device, g.DataVolume, dataFolder, err)
		}
		if !g.is(ctx, "mountpoint", "-q", dataFolder) {
			return fmt.Errorf("%s is not mounted, though mount reports success", dataFolder)
		}
	}
	mounted, _, err := g.ask(ctx, "mountpoint", "-d", dataFolder)
	if err != nil {
		return err
	}
	device, _, err := g.ask(ctx, "mountpoint", "-x", g.device)
	if err != nil {
		return err
	}
	if mounted != device {
		return fmt.Errorf("%s is a mount of something else than %s (%s)", dataFolder, g.DataVolume, g.device)
	}
	m.Say("%s (%s) is mounted at %s", g.DataVolume, g.device, dataFolder)
	return nil
}

// findDevice finds the volume's device, or "". The volume's id is the serial number of
// its NVMe device; the attachment's /dev/sdf is only a wish there.
// https://docs.aws.amazon.com/ebs/latest/userguide/identify-nvme-ebs-device.html
func (g *GitLab) findDevice(ctx context.Context) string {
	m := g.Machine
	serial := strings.Replace(g.DataVolume, "-", "", 1)
	link := "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + serial
	for _, name := range []string{link, link + "-ns-1"} {
		if device := m.Resolve(name); device != "" && g.is(ctx, "test", "-b", device) {
			return device
		}
	}
	disks, _ := m.List("/sys/block")
	for _, disk := range disks {
		if !strings.HasPrefix(disk, "nvme") {
			continue
		}
		text, err := m.ReadFile("/sys/block/" + disk + "/device/serial")
		if err == nil && strings.TrimSpace(text) == serial && g.is(ctx, "test", "-b", "/dev/"+disk) {
			return "/dev/" + disk
		}
	}
	return ""
}

// blankBytes of a new EBS volume are looked at: it reads as zeros.
const blankBytes = "4194304"

// formatBlankVolume makes a filesystem only where there is nothing at all: no signature
// for blkid, none for wipefs, zeros at the start.
func (g *GitLab) formatBlankVolume(ctx context.Context) error {
	m := g.Machine
	kind, status, err := g.ask(ctx, "blkid", "-p", "-s", "TYPE", "-o", "value", g.device)
	switch {
	case status == 0 && (kind == "xfs" || kind == "ext4"):
		m.Say("%s holds an %s filesystem, which is kept", g.DataVolume, kind)
		return nil
	case status < 0:
		return err
	case status != 2 || kind != "":
		return fmt.Errorf("%s (%s) holds %q (blkid: status %d) and no filesystem of ours: it is left as it is", g.DataVolume, g.device, cmp.Or(kind, "something"), status)
	}
	signatures, _, err := g.ask(ctx, "wipefs", "--no-act", g.device)
	if err != nil {
		return fmt.Errorf("cannot look for signatures on %s: %w", g.device, err)
	}
	if signatures != "" {
		return fmt.Errorf("%s (%s) is not blank: it is left as it is. %s", g.DataVolume, g.device, strings.ReplaceAll(signatures, "\n", " "))
	}
	if !g.is(ctx, "cmp", "-s", "-n", blankBytes, g.device, "/dev/zero") {
		return fmt.Errorf("%s (%s) has no signature and yet data: it is left as it is", g.DataVolume, g.device)
	}
	m.Say("formatting the blank %s (%s)", g.DataVolume, g.device)
	// Without -f, so that mkfs.xfs looks once more for itself.
	if err := g.do(ctx, "mkfs.xfs", "-q", "-L", "gitlab-data", g.device); err != nil {
		return fmt.Errorf("cannot format %s: %w", g.device, err)
	}
	return nil
}

const fstab = "/etc/fstab"

// recordMount adds the volume to /etc/fstab, by UUID, for device names change between
// boots, and with nofail, for without the volume Session Manager must still reach the host.
func (g *GitLab) recordMount(ctx context.Context) error {
	uuid, _, err := g.ask(ctx, "blkid", "-p", "-s", "UUID", "-o", "value", g.device)
	if err != nil {
		return err
	}
	kind, _, err := g.ask(ctx, "blkid", "-p", "-s", "TYPE", "-o", "value", g.device)
	if err != nil {
		return err
	}
	table, err := g.Machine.ReadFile(fstab)
	if err != nil {
		return err
	}
	recorded := ""
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 1 && !strings.HasPrefix(fields[0], "#") && fields[1] == dataFolder {
			recorded = fields[0]
		}
	}
	switch recorded {
	case "UUID=" + uuid:
	case "":
		if err := g.addToFstab(fmt.Sprintf("UUID=%s %s %s defaults,noatime,nofail 0 2", uuid, dataFolder, kind)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s mounts %s at %s, and not %s (UUID=%s)", fstab, recorded, dataFolder, g.DataVolume, uuid)
	}
	// With nofail the host boots without the volume; GitLab must not.
	err = g.Machine.WriteFile("/etc/systemd/system/gitlab-runsvdir.service.d/data-volume.conf", fmt.Sprintf(
		"# Written by gitlab-codedeploy: GitLab starts only when its data is mounted.\n[Unit]\nRequiresMountsFor=%s %s\n", dataFolder, configFolder), 0o644)
	if err != nil {
		return err
	}
	return g.do(ctx, "systemctl", "daemon-reload")
}

// addToFstab adds a line that is not there yet, and ends a last line that is open.
func (g *GitLab) addToFstab(line string) error {
	table, err := g.Machine.ReadFile(fstab)
	if err != nil {
		return err
	}
	if table != "" && !strings.HasSuffix(table, "\n") {
		table += "\n"
	}
	if strings.Contains("\n"+table, "\n"+line+"\n") {
		return nil
	}
	return g.Machine.WriteFile(fstab, table+line+"\n", 0o644)
}

// mountSettings makes /etc/gitlab a folder of the data volume, by a bind mount: a new
// server finds the secrets that fit the database. What was in /etc/gitlab before moves there.
func (g *GitLab) mountSettings(ctx context.Context) error {
	if !g.is(ctx, "mountpoint", "-q", configFolder) {
		if !g.Machine.Exists(configFolder) {
			if err := g.Machine.MakeFolder(configFolder, 0o755); err != nil {
				return err
			}
		}
		if err := g.moveSettings(ctx); err != nil {
			return err
		}
		// systemd mounts it after the volume that it is on.
		// https://www.freedesktop.org/software/systemd/man/systemd.mount.html#Implicit%20Dependencies
		if err := g.addToFstab(keptConfig + " " + configFolder + " none bind,nofail 0 0"); err != nil {
			return err
		}
		if err := g.do(ctx, "mount", "--bind", keptConfig, configFolder); err != nil {
			return fmt.Errorf("cannot mount %s at %s: %w", keptConfig, configFolder, err)
		}
	}
	if !g.is(ctx, "test", configFolder, "-ef", keptConfig) {
		return fmt.Errorf("%s is a mount of something else than %s", configFolder, keptConfig)
	}
	return nil
}

// moveSettings copies first, and lets nothing win over what differs from it.
func (g *GitLab) moveSettings(ctx context.Context) error {
	m := g.Machine
	if !m.Exists(keptConfig) {
		if err := m.Remove(keptConfig + ".new"); err != nil {
			return err
		}
		if err := g.do(ctx, "cp", "-a", configFolder, keptConfig+".new"); err != nil {
			return err
		}
		if err := m.Rename(keptConfig+".new", keptConfig); err != nil {
			return err
		}
	}
	out, status, err := g.ask(ctx, "diff", "-rq", configFolder, keptConfig)
	if status != 0 && status != 1 {
		return fmt.Errorf("cannot compare %s with %s: %w", configFolder, keptConfig, err)
	}
	var differences []string
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "Only in "+keptConfig) {
			differences = append(differences, line)
		}
	}
	if len(differences) > 0 {
		return fmt.Errorf("%s and %s (%s) hold different settings: keep the right ones in one of the two, and empty the other: %s",
			configFolder, keptConfig, g.DataVolume, strings.Join(differences, "; "))
	}
	names, err := m.List(configFolder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.Remove(configFolder + "/" + name); err != nil {
			return err
		}
	}
	return nil
}
