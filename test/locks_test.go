package test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPythonPackagesAreLockedByHash: who installs them refuses a lock that has a hash for
// some packages only, but may take one without any.
func TestPythonPackagesAreLockedByHash(t *testing.T) {
	installed := regexp.MustCompile(`-r (requirements-[a-z]+)\.lock`).FindAllStringSubmatch(read(t, "Makefile"), -1)
	require.Len(t, installed, 3)
	for _, line := range installed {
		name := line[1]
		locked := map[string]bool{}
		for _, entry := range regexp.MustCompile(`(?m)^[^#\s].*(\n[ \t].*)*`).FindAllString(read(t, name+".lock"), -1) {
			match := regexp.MustCompile(`^([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)`).FindStringSubmatch(entry)
			if assert.NotNil(t, match, "%s.lock: want name==version, got %q", name, entry) {
				assert.Regexp(t, `--hash=sha256:[0-9a-f]{64}`, entry, "%s.lock", name)
				locked[match[1]+"=="+match[2]] = true
			}
		}
		for _, wanted := range regexp.MustCompile(`(?m)^[^#\s].*`).FindAllString(read(t, name+".txt"), -1) {
			wanted = regexp.MustCompile(`\[.*\]`).ReplaceAllString(wanted, "")
			assert.True(t, locked[wanted], "%s.lock has no %s: its first lines say how to write it anew", name, wanted)
		}
		assert.NotContains(t, read(t, name+".lock"), "://", "%s.lock names an index", name)
	}
}
