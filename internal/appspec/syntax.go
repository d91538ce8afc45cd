package appspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// firstDocument returns the root of the first document, nil when there is none, and where the file goes on after it.
func firstDocument(file []byte) (root *yaml.Node, rest *value, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(file))
	if root, err = next(decoder); err == nil && root != nil {
		second, err := next(decoder)
		switch {
		case second != nil:
			rest = &value{line: second.Line, column: second.Column}
		case err != nil:
			rest = lineAt(file, len(file))
			if ends := ends(file); len(ends) > 0 {
				rest = lineAt(file, ends[0])
			}
		}
		return root, rest, nil
	}
	if err == nil {
		return nil, nil, nil
	}
	// The library looks further ahead than libyaml, past the end of the document. What is wrong there is nothing to the agent.
	for _, end := range ends(file) {
		if root, err := next(yaml.NewDecoder(bytes.NewReader(file[:end]))); err == nil && root != nil {
			return root, lineAt(file, end), nil
		}
	}
	return nil, nil, err
}

// lineAt is the beginning of the line of a byte.
func lineAt(file []byte, offset int) *value {
	return &value{line: 1 + len(lineBreak.FindAll(file[:offset], -1)), column: 1}
}

func next(decoder *yaml.Decoder) (*yaml.Node, error) {
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	return document.Content[0], nil
}

var (
	lineBreak = regexp.MustCompile(`\r\n|\r|\n`)
	line      = regexp.MustCompile(`[^\r\n]*(\r\n|\r|\n|$)`)
	content   = regexp.MustCompile(`^( *)[^\s#]`)
	ending    = regexp.MustCompile(`^(---|\.\.\.)([ \t\r\n]|$)|^%(YAML|TAG)[ \t]`)
)

// ends are the places where the first document may end: a line that says so, or one further left than the first.
func ends(file []byte) (offsets []int) {
	top := -1
	for _, at := range line.FindAllIndex(file, -1) {
		text := file[at[0]:at[1]]
		begin := content.FindSubmatch(text)
		switch {
		case begin == nil:
		case top < 0 && ending.Match(text):
		case top < 0:
			top = len(begin[1])
		case ending.Match(text), len(begin[1]) < top:
			offsets = append(offsets, at[0])
		}
	}
	return offsets
}

// maxSearch bounds the texts in which stops looks for a place; it reads such a text once for each line.
const maxSearch = 16 << 10

var libraryLine = regexp.MustCompile(`line (\d+)`)

// stops finds where the text stops to be YAML: behind the longest beginning that still is. The library names the line where
// the broken list or mapping begins, and no column.
func stops(file []byte, err error) *value {
	at := &value{line: 1, column: 1}
	if len(file) > maxSearch {
		if named := libraryLine.FindStringSubmatch(err.Error()); named != nil {
			at.line, _ = strconv.Atoi(named[1])
		}
		return at
	}
	lines := line.FindAllIndex(file, -1)
	for i := len(lines) - 1; i >= 0; i-- {
		if !parses(file[:lines[i][0]]) {
			continue
		}
		at.line = i + 1
		text := file[lines[i][0]:lines[i][1]]
		at.column = 1 + utf8.RuneCount(text) - utf8.RuneCount(bytes.TrimLeft(text, " "))
		for n := len(text); n > 0 && len(text) <= 1000; n-- {
			if parses(file[:lines[i][0]+n]) && utf8.Valid(text[:n]) {
				at.column = max(at.column, 1+utf8.RuneCount(text[:n]))
				break
			}
		}
		return at
	}
	return at
}

func parses(text []byte) bool {
	_, err := next(yaml.NewDecoder(bytes.NewReader(text)))
	return err == nil
}

var libraryPlace = regexp.MustCompile(`^yaml: (line \d+: )?`)

// explain adds to the library's words what to look for.
func explain(file []byte, at *value, err error) string {
	words := libraryPlace.ReplaceAllString(err.Error(), "")
	text := ""
	if lines := line.FindAll(file, -1); at.line <= len(lines) {
		text = string(lines[at.line-1])
	}
	indent := text[:len(text)-len(strings.TrimLeft(text, " \t-"))]
	switch {
	case strings.Contains(indent, "\t"):
		return words + " (a tab in the indentation; want spaces)"
	case strings.Contains(words, "mapping values"):
		return words + " (want one 'key: value' on a line with a space after the colon, and text with a colon in quotes)"
	case strings.Contains(words, "expected key"), strings.Contains(words, "expected '-'"):
		return words + " (want the keys of one entry, and the dashes of one list, in the same column)"
	case strings.Contains(words, "expected ':'"):
		return words + " (want 'key: value')"
	case strings.Contains(words, "quoted scalar"), strings.Contains(words, "end of stream"):
		return words + " (a quote without an end)"
	case strings.Contains(words, "cannot start any token"), strings.Contains(words, "alphabetic"):
		return words + " (want text that begins with a sign such as * or @ in quotes)"
	default:
		return words
	}
}

// checkJSON refuses what is YAML and no JSON: nobody knows what CodeDeploy makes of that.
func checkJSON(r *report, file []byte) bool {
	err := json.Unmarshal(file, new(any))
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return true
	}
	before := file[:min(int(syntax.Offset), len(file))]
	at := lineAt(file, len(before))
	at.column = max(1, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]))
	r.refuse(at, "not valid JSON: %s", syntax)
	return false
}
