package plain

import "regexp"

// maxWord is the longest name that is shown whole.
const maxWord = 128

var noWord = regexp.MustCompile(`[^A-Za-z0-9_.+=,@/-]`)

// Word makes a name of text, for a person to copy: what no name of ours can have
// becomes a question mark.
func Word(text string) string {
	name := []rune(noWord.ReplaceAllString(text, "?"))
	if len(name) > maxWord {
		name = append(name[:maxWord-1], '…')
	}
	return string(name)
}
