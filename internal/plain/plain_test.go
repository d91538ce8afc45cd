package plain

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestS15_NothingOfOthersMovesTheTerminal(t *testing.T) {
	for text, want := range map[string]string{
		"\x1b[2Jcleared":                         "cleared",
		"\x1b[38;5;196mred\x1b[0m":               "red",
		"\u009b2J8 bits":                         "8 bits",
		"\x1b]0;title\x07after":                  "after",
		"\x1b]8;;https://evil.example\x1b\\link": "link",
		"\u009d0;title\u009cafter":               "after",
		"\x1bPq#0;2;0;0;0\x1b\\after":            "after",
		"\x1b]0;no end":                          "0;no end",
		"\x1b[":                                  "",
		"\x1b":                                   "",
		"\x1b\x1b[31m[31mnested":                 "[31mnested",
		"\x1b(0line drawing\x1b(B":               "line drawing",
		"\x1bcreset":                             "reset",
		"bell\x07 \x00nul\x7fdel\u0085nel":       "bell nul del nel",
		"raw \x9b1m bytes \xff":                  "raw \uFFFD1m bytes \uFFFD",
		"two\r\nlines\u2028and\u2029more\ttab":   "two lines and more tab",
		"file\u202Egpj.exe\u202C \u2066x\u2069":  "filegpj.exe x",
		"\uFEFFmark":                             "mark",
		"日本語のデプロイ、한국어, é, e\u0301, 👩\u200d💻, עברית": "日本語のデプロイ、한국어, é, e\u0301, 👩\u200d💻, עברית",
	} {
		assert.Equal(t, want, Line(text, 100), "%q", text)
	}
}

func TestS15_LongTextIsCut(t *testing.T) {
	assert.Equal(t, strings.Repeat("あ", 9)+"…", Line(strings.Repeat("あ", 11), 10))
	assert.Equal(t, strings.Repeat("あ", 10), Line(strings.Repeat("あ", 10), 10))
}

func TestS15_OfALogTheLastLinesAreKept(t *testing.T) {
	assert.Equal(t, []string{"  indented", "three is t…"}, Lines("one\n\n\x1b[31m  indented\x1b[0m \r\nthree\u202E is too long\n", 2, 11))
	assert.Empty(t, Lines("\n\x1b[0m\n", 2, 10))
}

func FuzzLine(f *testing.F) {
	f.Add("\x1b]0;x\x07\x1b[31mred\u009b2J\x9b1m end")
	f.Fuzz(func(t *testing.T, text string) {
		for _, line := range append(Lines(text, 5, 50), Line(text, 50)) {
			if !utf8.ValidString(line) || utf8.RuneCountInString(line) > 50 || strings.ContainsFunc(line, unicode.IsControl) {
				t.Fatalf("%q became %q", text, line)
			}
		}
	})
}

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
