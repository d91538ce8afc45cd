package plain

import (
	"strings"
	"unicode"
)

// Text returns a text of several lines, or a piece of one, with its line breaks, tabs and blanks, and without
// anything that controls a terminal. A carriage return ends a line.
func Text(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = sequences.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r == '\r':
			return '\n'
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case reorders(r):
			return -1
		}
		return r
	}, text)
}
