package plain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode"
)

// JSON returns a value as JSON of several lines, in which whatever is not
// printable is escaped: the text is exact for programs, and harmless on a terminal.
func JSON(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	var escaped bytes.Buffer
	for _, r := range text.String() {
		switch {
		case r == '\n' || r == ' ' || unicode.IsPrint(r) || unicode.Is(unicode.Zs, r):
			escaped.WriteRune(r)
		case r > 0xffff: // a pair of surrogates
			r -= 0x10000
			fmt.Fprintf(&escaped, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(&escaped, `\u%04x`, r)
		}
	}
	return escaped.Bytes(), nil
}
