package plain

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
)

func TestS8_ALogKeepsItsLinesAndTouchesNoTerminal(t *testing.T) {
	for text, want := range map[string]string{
		"version\tok\t15.4.6\n  indented\n": "version\tok\t15.4.6\n  indented\n",
		"\x1b[2J\x1b[31mred\x1b[0m\n":       "red\n",
		"\x1b]0;owned\x07title\n":           "title\n",
		"\u009b31m8 bits\u009d0;x\u009c\n":  "8 bits\n",
		"a piece that ends in \x1b":         "a piece that ends in  ",
		"[31mand goes on":                   "[31mand goes on",
		"10 %\r20 %\r\nend":                 "10 %\n20 %\nend",
		"\x00\x07\x7f\u0085":                "    ",
		"file\u202Egpj.exe":                 "filegpj.exe",
		"バックアップを作成しています… 完了\n":              "バックアップを作成しています… 完了\n",
	} {
		assert.Equal(t, want, Text(text), "%q", text)
	}
}

func FuzzText(f *testing.F) {
	f.Add("\x1b]0;x\x07\x1b[31mred\u009b2J\x9b1m end\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		harmful := func(r rune) bool { return r != '\n' && r != '\t' && unicode.IsControl(r) }
		if got := Text(text); strings.ContainsFunc(got, harmful) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
