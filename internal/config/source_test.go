package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSource_KnowsWhereAValueStands(t *testing.T) {
	dir := t.TempDir()
	text := strings.Replace(base, "    prefix: releases/\n", "", 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "staging.yaml"), []byte(text), 0o600))
	source, err := LoadSource(dir, "staging")
	require.NoError(t, err)
	loaded, err := Load(dir, "staging")
	require.NoError(t, err)
	assert.Equal(t, loaded, *source.Config())

	c := source.Config()
	file := filepath.Join(dir, "staging.yaml")
	assert.Equal(t, Place{file, 2, "region"}, source.Place(&c.Region))
	zone := source.Place(&c.GitLab.Network.Zones[1])
	assert.Equal(t, "gitlab.network.zones[1]", zone.Path)
	assert.Contains(t, lineOf(t, text, zone.Line), "zones:")
	// A default stands where its key would.
	prefix := source.Place(&c.Deploy.Artifacts.Prefix)
	assert.Equal(t, "deploy.artifacts.prefix", prefix.Path)
	assert.Contains(t, lineOf(t, text, prefix.Line), "artifacts:")
	assert.Equal(t, file+":2: region", source.Place(&c.Region).String())

	assert.Panics(t, func() { source.Place(&loaded.Region) }, "a copy's value has no place")
}

func TestSource_RefusesWhatLoadRefuses(t *testing.T) {
	_, err := LoadSource(t.TempDir(), "staging")
	assert.ErrorContains(t, err, `environment: got "staging"`)
}

func lineOf(t *testing.T, text string, number int) string {
	t.Helper()
	lines := strings.Split(text, "\n")
	require.Less(t, number, len(lines))
	return lines[number-1]
}
