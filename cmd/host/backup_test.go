//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestS10_ArgumentsOfABackupAreCheckedBeforeAnythingIsDone(t *testing.T) {
	c := newConsole(t)
	bucket := []string{"--bucket", "example-backups", "--region", "ap-northeast-1"}
	for _, wrong := range []string{
		"--bucket a;id", "--bucket $(id)", "--bucket x' y", "--region tokyo", "--region ", "--keep-days -1", "--keep-days 1;id", "--keep-days ",
		"--keep-days 10000", "--environment Prod;id", "--to-dir relative", "--to-dir /a b", "--to-dir /mnt", "--force 1", "surplus",
	} {
		flag, value, _ := strings.Cut(wrong, " ")
		status, stdout := c.types(append(append([]string{"backup"}, bucket...), flag, value)...)
		assert.Equal(t, 2, status, wrong)
		assert.Empty(t, stdout)
		assert.Contains(t, c.Talk.String(), "error: ", wrong)
	}
	for args, want := range map[string]string{
		"":                                     "missing: --bucket or --to-dir",
		"--bucket example-backups":             "--region: got \"\", want a region",
		"--to-dir /mnt --keep-days 3":          "--keep-days and --environment go with --bucket",
		"--to-dir /mnt --environment staging":  "--keep-days and --environment go with --bucket",
		"--to-dir /mnt --detach everybody":     "want the id of a run such as",
		"--to-dir /mnt --detach ../../nightly": "want the id of a run such as",
	} {
		status, _ := c.types(append([]string{"backup"}, strings.Fields(args)...)...)
		assert.Equal(t, 2, status, args)
		assert.Contains(t, c.Talk.String(), want)
	}
	assert.Empty(t, c.Ran())
	c.root = false
	status, _ := c.types("backup", "--to-dir", "/mnt")
	assert.Equal(t, 1, status)
	assert.Contains(t, c.Talk.String(), "run this as root")
}

func TestS10_ASecondBackupAtTheSameTimeEndsAtOnce(t *testing.T) {
	t.Run("S10 backup | a second one at the same time | it ends at once and names the first", func(t *testing.T) {
		c := newConsole(t)
		lock, err := c.machine.Lock("/run/gitlab-codedeploy.lock", "restore (run 20261124T185436-0a1b2c3d)")
		assert.NoError(t, err)
		defer lock.Release()
		status, stdout := c.types("backup", "--to-dir", "/mnt")
		assert.Equal(t, 1, status)
		assert.Empty(t, stdout)
		assert.Regexp(t, `error: restore \(run 20261124T185436-0a1b2c3d\), since \S+ is under way on this host: nothing was done`, strings.ReplaceAll(c.Talk.String(), "Z, is", "Z is"))
		assert.Empty(t, c.Ran())
	})
}

func TestS10_ArgumentsOfARestoreAreCheckedBeforeAnythingIsDone(t *testing.T) {
	c := newConsole(t)
	good := []string{"restore", "--backup", "1606734000_2020_11_30_13.10.2", "--from-dir", "/mnt/copy", "--yes", "yes"}
	for _, wrong := range []string{
		"--backup x", "--backup 1606734000_2020_11_30_13.10.2';id;'", "--backup ../1606734000_2020_11_30_13.10.2", "--backup ",
		"--from-dir relative", "--from-dir /a;id", "--bucket a", "--force 1", "--accept-lost -1", "--accept-lost x", "--keep-sign-up maybe", "--yes 1", "surplus",
	} {
		flag, value, _ := strings.Cut(wrong, " ")
		status, stdout := c.types(append(append([]string{}, good...), flag, value)...)
		assert.Equal(t, 2, status, wrong)
		assert.Empty(t, stdout)
		assert.Contains(t, c.Talk.String(), "error: ", wrong)
	}
	status, _ := c.types("restore", "--backup", "1606734000_2020_11_30_13.10.2", "--from-dir", "/mnt/copy")
	assert.Equal(t, 2, status, "there is no terminal to ask on")
	assert.Empty(t, c.Ran())
}

func TestS10_ARestoreBesideAnotherOperationEndsAtOnce(t *testing.T) {
	t.Run("S10 restore | another operation is under way | it ends at once and names it", func(t *testing.T) {
		c := newConsole(t)
		lock, err := c.machine.Lock("/run/gitlab-codedeploy.lock", "backup (run 20261124T185436-0a1b2c3d)")
		assert.NoError(t, err)
		defer lock.Release()
		status, _ := c.types("restore", "--backup", "1606734000_2020_11_30_13.10.2", "--from-dir", "/mnt/copy", "--yes", "yes")
		assert.Equal(t, 1, status)
		assert.Contains(t, c.Talk.String(), "error: backup (run 20261124T185436-0a1b2c3d), since ")
		assert.Contains(t, c.Talk.String(), "is under way on this host: nothing was done")
		assert.Empty(t, c.Ran())
	})
}
