// Package clip bounds text that came from outside.
package clip

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Text returns s as valid UTF-8, cut to about limit bytes. What was cut says
// how long it was.
func Text(s string, limit int) string {
	if len(s) <= limit {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	end := limit
	for end > 0 && end > limit-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:end], "\uFFFD"), len(s))
}

// End returns the end of s as valid UTF-8, at most limit bytes of it, from the
// beginning of a line on if it has any.
func End(s string, limit int) string {
	if len(s) > limit {
		s = s[len(s)-limit:]
		if _, lines, found := strings.Cut(s, "\n"); found && lines != "" {
			s = lines
		}
		for len(s) > 0 && !utf8.RuneStart(s[0]) {
			s = s[1:]
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Line is Text on one line: each run of blanks becomes one space.
func Line(s string, limit int) string {
	return strings.Join(strings.Fields(Text(s, limit)), " ")
}
