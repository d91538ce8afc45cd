package appspec

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// kind is the class that Ruby gives a value.
type kind int

const (
	null kind = iota
	boolean
	integer
	float
	text
	symbol
	list
	mapping
	// refused is a value that the agent does not load. It is reported already, so that nothing else is said about it.
	refused
)

// value is a value of the file as the agent has it in memory, and where it stands.
type value struct {
	kind kind
	// text is what Ruby's to_s makes of it: an integer in decimal digits, whatever the file has.
	text         string
	written      string // as the file has it
	plain        bool   // without quotes, so that YAML may take it for something else
	number       float64
	items        []*value
	entries      []entry
	line, column int
}

type entry struct{ key, value *value }

// falsy is what Ruby takes for false.
func (v *value) falsy() bool {
	return v == nil || v.kind == null || v.kind == boolean && v.text == "false"
}

// missing is Ruby's nil: no key, or a key without a value.
func (v *value) missing() bool { return v == nil || v.kind == null }

// get returns the value of a key; nil when there is none.
func (v *value) get(key string) *value {
	for _, e := range v.entries {
		if e.key.kind == text && e.key.text == key {
			return e.value
		}
	}
	return nil
}

// set adds or replaces an entry, as a Ruby hash does: the place in the order stays.
func (v *value) set(key, to *value) {
	for i, e := range v.entries {
		if e.key.kind == key.kind && e.key.text == key.text {
			v.entries[i] = entry{key, to}
			return
		}
	}
	v.entries = append(v.entries, entry{key, to})
}

// elements are what Ruby's each hands out. A list has its items; an empty mapping has none, as an empty list. The rest is
// not for looping over, and a mapping hands out pairs that no rule of the agent can read.
func (v *value) elements() (items []*value, ok bool) {
	switch {
	case v.kind == list:
		return v.items, true
	case v.kind == mapping && len(v.entries) == 0:
		return nil, true
	default:
		return nil, false
	}
}

// String describes the value for a message.
func (v *value) String() string {
	switch v.kind {
	case null:
		return "nothing"
	case boolean:
		return quote(v.written) + ", which YAML takes for " + v.text
	case integer, float:
		if v.text != v.written {
			return fmt.Sprintf("%s, which YAML takes for the number %s", quote(v.written), v.text)
		}
		return quote(v.written) + ", a number"
	case symbol:
		return quote(v.written) + ", which Ruby takes for a symbol"
	case list:
		return "a list"
	case mapping:
		return "keys with values"
	default:
		return quote(v.text)
	}
}

// inspect is Ruby's to_s of a list or a mapping, roughly: a text that names no user and no file.
func inspect(v *value) string {
	var parts []string
	for _, item := range v.items {
		parts = append(parts, strconv.Quote(item.text))
	}
	for _, e := range v.entries {
		parts = append(parts, strconv.Quote(e.key.text)+"=>"+strconv.Quote(e.value.text))
	}
	if v.kind == list {
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// path is what Ruby's File.join takes for a path: a text, or a list of such.
func (v *value) path() (string, bool) {
	switch v.kind {
	case text:
		return v.text, !strings.Contains(v.text, "\x00")
	case list:
		parts := make([]string, len(v.items))
		for i, item := range v.items {
			part, ok := item.path()
			if !ok {
				return "", false
			}
			parts[i] = part
		}
		return strings.Join(parts, "/"), true
	default:
		return "", false
	}
}

// strip is Ruby's String#strip.
func strip(s string) string { return strings.Trim(s, "\x00\t\n\v\f\r ") }

// floatText is Ruby's Float#to_s.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.ReplaceAll(strconv.FormatFloat(f, 'f', -1, 64), "Inf", "Infinity"), "+")
	}
	if size := math.Abs(f); f == 0 || size >= 1e-4 && size < 1e16 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	digits, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	if !strings.Contains(digits, ".") {
		digits += ".0"
	}
	return digits + "e" + exponent
}
