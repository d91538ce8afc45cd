package remote

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	testRun = "20261124T185436-0a1b2c3d"
	head    = `{"run":"` + testRun + `","operation":"backup","started":"2026-11-24T18:54:36Z","state":"running","exit":null,"log":40,"result":0,"more":false}` + "\n"
)

func TestS8_NewsAreLinesAndPiecesOfThem(t *testing.T) {
	n, err := readNews(head+"| one\n| \n|+two, which is lo\n|+ng\n| er\n> a\n>+{\"b\"\n|\n", place{run: testRun})
	require.NoError(t, err)
	assert.Equal(t, "one\n\ntwo, which is longer\n\n", n.log)
	assert.Equal(t, "a\n{\"b\"", n.result)
}

func TestS8_WhatIsNoNewsIsRefusedAsAWhole(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(head, old, new, 1) }
	at := place{run: testRun, log: 30}
	for name, text := range map[string]string{
		"nothing":               "",
		"a page":                "<html>\n",
		"not JSON's end":        with(`}`, ""),
		"no place":              with(`"log":40,`, ""),
		"no more":               with(`,"more":false`, ""),
		"a fraction":            with(`"log":40`, `"log":40.5`),
		"back":                  with(`"log":40`, `"log":20`),
		"another run":           with(testRun, "20261124T185436-00000000"),
		"no run":                with(testRun, ""),
		"a run with letters":    with(testRun, "../../etc/passwd"),
		"a time with letters":   with("2026-11-24T18:54:36Z", `\u001b[2J`),
		"an unknown state":      with("running", "walking"),
		"no state":              with(`"state":"running",`, ""),
		"an end without status": with("running", "ended"),
		"a status above 255":    strings.Replace(with("running", "ended"), "null", "256", 1),
		"a status below 0":      strings.Replace(with("running", "ended"), "null", "-1", 1),
		"a status of no end":    with("null", "0"),
		"none with a run":       with("running", "none"),
		"a line without a mark": head + "| one\ntwo\n",
		"another mark":          head + "# one\n",
		"a mark without space":  head + "|one\n",
	} {
		t.Run(name, func(t *testing.T) {
			n, err := readNews(text, at)
			require.Error(t, err)
			assert.Equal(t, news{}, n)
		})
	}
	for name, text := range map[string]string{
		"running": head,
		"ended":   strings.Replace(with("running", "ended"), "null", "255", 1),
		"lost":    with("running", "lost"),
		"none":    `{"run":"","operation":"","started":"","state":"none","exit":null,"log":0,"result":0,"more":false}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readNews(text, at)
			require.NoError(t, err)
		})
	}
}

func FuzzNews(f *testing.F) {
	f.Add(head + "| one\n|+two\n> three\n")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := readNews(text, place{run: testRun})
		if err != nil {
			return
		}
		if len(n.log)+len(n.result) > len(text)+1 || utf8.ValidString(text) && !utf8.ValidString(n.log+n.result) {
			t.Fatalf("%q became %q and %q", text, n.log, n.result)
		}
	})
}
