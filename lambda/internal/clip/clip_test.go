package clip

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestS14_TextKeepsCharactersWhole(t *testing.T) {
	assert.Equal(t, "abc", Text("abc", 3))
	assert.Equal(t, "ab… (3 bytes)", Text("abc", 2))
	assert.Equal(t, "a… (4 bytes)", Text("aéb", 2))
	assert.Equal(t, "a\uFFFD", Text("a\xff", 9))
	assert.Equal(t, "\uFFFD… (6 bytes)", Text("\xff\xff\xff\xff\xff\xff", 4))
}

func TestS14_LineHasNoBreaks(t *testing.T) {
	assert.Equal(t, "a b c", Line(" a\r\n\tb\u2028c ", 99))
}

func TestS15_OfALogTheEndIsKeptFromTheBeginningOfALineOn(t *testing.T) {
	for _, tt := range []struct {
		text  string
		limit int
		want  string
	}{
		{"one\ntwo\n", 8, "one\ntwo\n"},
		{"one\ntwo\nthree\n", 11, "two\nthree\n"},
		{"one\ntwo\nthree\n", 8, "three\n"},
		{"one line\n", 5, "line\n"},
		{"日本語", 5, "語"},
		{"no line at all", 6, "at all"},
		{"a\xffb", 10, "a\uFFFDb"},
		{strings.Repeat("\x80", 9), 4, ""},
	} {
		assert.Equal(t, tt.want, End(tt.text, tt.limit), "%q", tt.text)
	}
}
