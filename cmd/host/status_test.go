//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestS8_StatusIsALineAPart(t *testing.T) {
	c := newConsole(t)
	c.Answers("gitlab-ctl status", "")
	c.Answers("gitlab-psql", "")
	c.Answers("df", "")
	status, stdout := c.types("status")
	assert.Zero(t, status, "whatever was found")
	var parts []string
	for line := range strings.Lines(stdout) {
		columns := strings.Split(line, "\t")
		assert.Len(t, columns, 3, line)
		parts = append(parts, columns[0])
	}
	assert.Equal(t, []string{"version", "services", "sign-in", "sign-up", "postgresql", "order", "disk", "migrations", "runners"}, parts)
	assert.Contains(t, c.Talk.String(), "looking at: migrations")
	status, _ = c.types("status", "surplus")
	assert.Equal(t, 2, status)
	c.root = false
	status, _ = c.types("status")
	assert.Equal(t, 1, status)
}
