package appspec

import (
	"bytes"
	"encoding/base64"
	"math"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// parse returns the first document of the file; the agent does not read on after it. It returns nil when there is none,
// and then has reported why.
func parse(r *report, file []byte) *value {
	if at, what := unreadable(file); what != "" {
		r.refuse(at, "got %s, want a text file in UTF-8", what)
		return nil
	}
	// libyaml counts a byte order mark as a column, as it would a space: the first key then stands further right than the
	// others, which ends the document before them.
	if marked := lineMark.ReplaceAll(file, []byte("${1} ")); !bytes.Equal(marked, file) {
		r.warn(&value{line: 1, column: 1}, "got a byte order mark, want a file without: it moves the line by a column")
		file = marked
	}
	document, rest, err := firstDocument(file)
	if err != nil {
		at := stops(file, err)
		if alias := unknownAnchor.FindStringSubmatch(err.Error()); alias != nil {
			r.refuse(at, aliasMessage, quote("*"+alias[1]))
			return nil
		}
		r.refuse(at, "not valid YAML: %s", explain(file, at, err))
		return nil
	}
	if document == nil {
		r.refuse(nil, "got an empty file, want version, os, files and hooks")
		return nil
	}
	root := load(r, document)
	if rest != nil && root.kind != refused {
		r.warn(rest, "the document ends here, and the agent reads nothing after it; want one document whose keys all begin in column %d", root.column)
	}
	if root.kind == refused {
		return nil
	}
	return root
}

var (
	lineMark      = regexp.MustCompile("(?m)(^|\r)\uFEFF")
	unknownAnchor = regexp.MustCompile(`unknown anchor '(.*)' referenced`)
)

const aliasMessage = "got the alias %s, want its value written out: the agent follows no aliases"

// unreadable finds the first byte that libyaml's reader refuses (reader.c).
func unreadable(file []byte) (at *value, what string) {
	at = &value{line: 1, column: 1}
	for rest := file; len(rest) > 0; {
		c, size := utf8.DecodeRune(rest)
		switch {
		case c == utf8.RuneError && size <= 1:
			return at, "bytes that are not UTF-8"
		case c == '\t', c == '\n', c == '\r', c == 0x85, c >= ' ' && c <= '~', c >= 0xA0 && c != 0xFFFE && c != 0xFFFF:
		default:
			return at, "the control character " + quote(string(c))
		}
		rest = rest[size:]
		at.column++
		if c == '\n' || c == '\r' && !bytes.HasPrefix(rest, []byte("\n")) {
			at.line, at.column = at.line+1, 1
		}
	}
	return nil, ""
}

// load makes of a node what Psych's safe loader makes of it (to_ruby.rb).
func load(r *report, n *yaml.Node) *value {
	v := &value{line: n.Line, column: n.Column, written: n.Value}
	switch n.Kind {
	case yaml.AliasNode:
		return r.notLoaded(v, aliasMessage, quote("*"+n.Value))
	case yaml.ScalarNode:
		return loadScalar(r, n, v)
	case yaml.SequenceNode:
		v.kind = list
		for _, child := range n.Content {
			v.items = append(v.items, load(r, child))
		}
	default:
		v.kind = mapping
		for i := 0; i+1 < len(n.Content); i += 2 {
			loadEntry(r, v, n.Content[i+1], load(r, n.Content[i]), load(r, n.Content[i+1]))
		}
	}
	if n.Style&yaml.TaggedStyle != 0 && classOf(n.Tag) != "" {
		return r.notLoaded(v, "got the tag %s, want plain keys, lists and values: the agent makes no %s", quote(n.Tag), classOf(n.Tag))
	}
	v.text = inspect(v)
	return v
}

func (r *report) notLoaded(v *value, format string, args ...any) *value {
	r.refuse(v, format, args...)
	v.kind = refused
	return v
}

// loadEntry puts an entry into a mapping. A merge key takes the entries of its value in, over those before it.
func loadEntry(r *report, into *value, node *yaml.Node, key, v *value) {
	merges := key.kind == text && key.text == "<<" && node.Kind != yaml.ScalarNode
	sources := v.items
	if v.kind == mapping {
		sources = []*value{v}
	}
	for _, source := range sources {
		merges = merges && source.kind == mapping
	}
	if !merges {
		if old := into.get(key.text); old != nil && key.kind == text {
			r.warn(key, "%s stands twice here, and the agent takes the last; other agents refuse that", quote(key.text))
		}
		into.set(key, v)
		return
	}
	merged := &value{}
	for i := len(sources) - 1; i >= 0; i-- {
		for _, e := range sources[i].entries {
			merged.set(e.key, e.value)
		}
	}
	for _, e := range merged.entries {
		into.set(e.key, e.value)
	}
}

// A tag that Psych knows makes something else of a value; it passes over all other tags.
var (
	textTag   = regexp.MustCompile(`^(!!str|!str|!ruby/string)$`)
	symbolTag = regexp.MustCompile(`^!ruby/sym(bol)?`)
	classTag  = regexp.MustCompile(`^!(ruby/.*|(?:str|seq|map):.*)$`)
)

// classOf is the class that a tag asks for and that the agent does not load; "" for none.
func classOf(tag string) string {
	switch {
	case tag == "!set", tag == "!!set", tag == "!omap", tag == "!!omap":
		return strings.TrimLeft(tag, "!")
	case classTag.MatchString(tag) && tag != "!ruby/object:Hash":
		return classTag.FindStringSubmatch(tag)[1]
	default:
		return ""
	}
}

func loadScalar(r *report, n *yaml.Node, v *value) *value {
	tag := ""
	if n.Style&yaml.TaggedStyle != 0 {
		tag = n.Tag
	}
	v.kind, v.text = text, n.Value
	quoted := n.Style &^ yaml.TaggedStyle
	switch {
	case tag == "" && quoted != 0, textTag.MatchString(tag):
	case tag == "!binary", tag == "!!binary":
		v.text = fromBase64(n.Value)
	case symbolTag.MatchString(tag):
		v.kind = symbol
	case classOf(tag) != "":
		return r.notLoaded(v, "got the tag %s, want a plain value: the agent makes no %s", quote(tag), classOf(tag))
	default:
		v.plain = quoted == 0
		if reason := v.resolve(n.Value); reason != "" {
			return r.notLoaded(v, "got %s, %s; want it in quotes, as the agent does not load it", quote(n.Value), reason)
		}
		if tag == "!!float" || tag == "!float" {
			return toFloat(r, v)
		}
	}
	return v
}

func toFloat(r *report, v *value) *value {
	switch v.kind {
	case integer, float:
		v.setFloat(v.number)
		return v
	case text:
		if number := (&value{}); number.resolve(strings.TrimSpace(v.text)) == "" && (number.kind == float || number.kind == integer) {
			v.setFloat(number.number)
			return v
		}
	}
	v.number = math.NaN()
	return r.notLoaded(v, "got %s, want a number after the tag !!float", v)
}

// fromBase64 reads as far as it can, as Ruby's unpack does.
func fromBase64(s string) string {
	s = regexp.MustCompile(`[^A-Za-z0-9+/]`).ReplaceAllString(s, "")
	out, _ := base64.RawStdEncoding.DecodeString(s[:len(s)-len(s)%4])
	rest, _ := base64.RawStdEncoding.DecodeString(s[len(s)-len(s)%4:])
	return string(out) + string(rest)
}
