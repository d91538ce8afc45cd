package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestS13_AJobsLogGetsALineEveryTenthAndEveryThirtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		g := newProgress(program{stderr: &out}, 500_000_000)
		lines := func() int { synctest.Wait(); return strings.Count(out.String(), "\n") }
		for n := range int64(49) { // up to 9.8 %
			g.set(n * 1_000_000)
		}
		assert.Equal(t, 0, lines())
		g.set(50_000_000)
		assert.Equal(t, 1, lines())
		assert.Contains(t, out.String(), " packed 50 MB of 500 MB\n")
		time.Sleep(29 * time.Second)
		assert.Equal(t, 1, lines())
		time.Sleep(4 * time.Second)
		assert.Equal(t, 2, lines(), "nothing moves")
		time.Sleep(60 * time.Second)
		assert.Equal(t, 4, lines())
		g.set(400_000_000)
		assert.Equal(t, 5, lines())
		g.set(500_000_000)
		assert.Equal(t, 5, lines(), "that it is uploaded is told by another line")
		g.end()
		time.Sleep(time.Hour)
		assert.Equal(t, 5, lines())
	})
}

func TestS13_ASmallFolderIsPackedWithoutAWord(t *testing.T) {
	var out bytes.Buffer
	g := newProgress(program{stderr: &out}, quietBytes-1)
	g.set(quietBytes / 2)
	g.end()
	empty := newProgress(program{stderr: &out}, 0)
	empty.set(0)
	empty.end()
	assert.Empty(t, out.String())
}

func TestS13_ATerminalGetsABarThatGoesAway(t *testing.T) {
	var out bytes.Buffer
	g := newProgress(program{stderr: &out, terminal: true}, 500_000_000)
	g.set(100_000_000)
	time.Sleep(110 * time.Millisecond)
	g.set(250_000_000)
	assert.Contains(t, out.String(), "50%")
	g.end()
	assert.True(t, strings.HasSuffix(strings.TrimRight(out.String(), " "), "\r"), "%q", out.String())
}
