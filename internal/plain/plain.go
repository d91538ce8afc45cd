// Package plain makes text from elsewhere harmless: a state, a log's tail or an
// answer of AWS must not move a terminal's cursor, colour it, or retitle its
// window. Text of every language stays as it was.
package plain

import (
	"regexp"
	"strings"
	"unicode"
)

// sequences are those of ECMA-48 (control sequences, strings with their content,
// other escapes), each in its form of 7 and of 8 bits. A string without an end
// loses its beginning only.
// https://ecma-international.org/publications-and-standards/standards/ecma-48/
var sequences = regexp.MustCompile(
	`(?:\x1b\[|\x{9b})[0-?]*[ -/]*[@-~]` +
		`|(?:\x1b[\]PX^_]|[\x{90}\x{98}\x{9d}-\x{9f}])[^\x07\x1b\x{9c}]*(?:\x07|\x1b\\|\x{9c})` +
		`|\x1b[ -/]*[0-~]`)

// Line returns text as one line of at most limit characters. What was cut ends
// in an ellipsis.
func Line(text string, limit int) string {
	text = strings.Join(strings.Fields(clean(text, false)), " ")
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit-1]) + "…"
	}
	return text
}

// Lines returns the last lines of text, at most count of them and each of at
// most limit characters. Empty ones are left out.
func Lines(text string, count, limit int) []string {
	var lines []string
	for line := range strings.SplitSeq(clean(text, true), "\n") {
		if line = strings.TrimRightFunc(line, unicode.IsSpace); line == "" {
			continue
		}
		if runes := []rune(line); len(runes) > limit {
			line = string(runes[:limit-1]) + "…"
		}
		lines = append(lines, line)
	}
	return lines[max(0, len(lines)-count):]
}

// clean takes out escape sequences, and makes a space of each control character
// that is left; of line breaks, too, unless they are kept.
func clean(text string, keepBreaks bool) string {
	text = sequences.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' && keepBreaks:
			return r
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case reorders(r):
			return -1
		}
		return r
	}, text)
}

// reorders says whether a character makes those around it show in another order,
// so that a reader sees another text than there is.
// https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing
func reorders(r rune) bool {
	return unicode.Is(unicode.Bidi_Control, r) || r == '\uFEFF'
}
