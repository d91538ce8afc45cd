package clip

import (
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
