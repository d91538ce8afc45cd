//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestS8_UpgradesThatAreWrongUse(t *testing.T) {
	t.Run("S8 upgrade | asked for what is no stop, or for shell characters | wrong use: nothing is done", func(t *testing.T) {
		c := newConsole(t)
		usual := []string{"upgrade", "--bucket", "example-backups", "--region", "ap-northeast-1", "--repository-url", "https://packages.example.com/gitlab"}
		for _, value := range []string{"15.4", "15.4.6-ee", "15.4.6;id", "$(id)", "`id`", "15.4.6'", "15.4.6\nid", "../15.4.6", "15.4.5", "99.1.1"} {
			status, stdout := c.types(append(usual, "--to", value)...)
			assert.Equal(t, 2, status, value)
			assert.Empty(t, stdout)
			assert.Contains(t, c.Talk.String(), "--to: ")
		}
		for _, wrong := range []string{"--from=x", "--mode=go", "--backup-each-hop=maybe", "--fix-known-jobs=1", "--repository-url=https://x/$(id)", "--repository-url=http://x", "--bucket=", "--region=tokyo", "surplus"} {
			status, _ := c.types(append(usual, wrong)...)
			assert.Equal(t, 2, status, wrong)
		}
		status, _ := c.types("upgrade", "--repository-url", "https://packages.example.com/gitlab")
		assert.Equal(t, 2, status)
		assert.Contains(t, c.Talk.String(), "missing: --bucket or --backups-in")
		assert.Empty(t, c.Ran())
	})
}

func TestS8_ThePlanOfAServerBeginsWithWhatItHas(t *testing.T) {
	c := newConsole(t)
	c.Answers("rpm -q", "gitlab-ce-14.9.5-ce.0.amazon2\npackage gitlab-ee is not installed\n")
	for args, want := range map[string]string{
		"--to 15.4.6":               "14.10.5 15.0.5 15.4.6",
		"--from 14.4.0 --to 15.0.5": "14.9.5 14.10.5 15.0.5",
		"--from 18.8.11":            "18.11.13",
		"--from 15.4.6 --to 15.4.6": "",
	} {
		status, stdout := c.types(append([]string{"upgrade", "--mode", "plan"}, strings.Fields(args)...)...)
		assert.Zero(t, status, c.Talk)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		assert.Equal(t, "version\tpatch\tpackages\tpostgresql\treason\trisks", lines[0])
		var versions []string
		for _, line := range lines[1:] {
			version, _, _ := strings.Cut(line, "\t")
			versions = append(versions, version)
		}
		assert.Equal(t, want, strings.Join(versions, " "), args)
	}
	status, _ := c.types("upgrade", "--mode", "plan", "--from", "12.10.0")
	assert.Equal(t, 1, status)
	assert.Contains(t, c.Talk.String(), "GitLab 12.10.0 is older than 13.8, where this path begins")
}
