package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The laptop's plan is the server's, letter by letter.
func TestS8_ThePlanIsThatOfTheServersScript(t *testing.T) {
	for _, args := range []string{"--from 13.10.2", "--from 14.4.0 --to 19.2.9", "--from 15.4.6"} {
		want, err := exec.Command("bash", append([]string{"../../scripts/server/upgrade-gitlab.sh", "--plan"}, strings.Fields(args)...)...).Output()
		require.NoError(t, err)
		h := newOperating(t)
		require.NoError(t, h.run(t, append([]string{"upgrade", "--plan"}, strings.Fields(args)...)...))
		assert.Equal(t, string(want), h.out.String(), args)
	}
}
