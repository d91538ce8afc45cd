package bundle

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// patterns are what GNU tar takes as --exclude, in the locale C, where each byte
// is a character.
// https://www.gnu.org/software/tar/manual/html_node/exclude.html
type patterns struct {
	plain []string // without wildcards: most of them, and found the fastest
	wild  *regexp.Regexp
}

// compile makes one regular expression of all wildcards. It takes linear time,
// where a matcher that goes back may take for ever on "*a*a*a*a*".
func compile(globs []string) (*patterns, error) {
	p := &patterns{}
	var wild []string
	for _, glob := range globs {
		if !strings.ContainsAny(glob, `*?[\`) {
			p.plain = append(p.plain, glob)
		} else if expression, ok := translate(glob); ok {
			wild = append(wild, expression)
		}
	}
	if len(wild) == 0 {
		return p, nil
	}
	// Unanchored: from the beginning of any step on, and to the end of any.
	var err error
	if p.wild, err = regexp.Compile(`(?s)(?:^|/)(?:` + strings.Join(wild, "|") + `)(?:/|$)`); err != nil {
		return nil, fmt.Errorf("exclude: got %q, which is too much: %w", globs, err)
	}
	return p, nil
}

// match tells whether a name in the archive, such as "./a/b", is excluded, by
// itself or by something that it is in.
func (p *patterns) match(name string) bool {
	for _, text := range p.plain {
		if hasSteps(name, text) {
			return true
		}
	}
	return p.wild != nil && p.wild.MatchString(characters(name))
}

// hasSteps tells whether some steps of a path, one behind the other, are those.
func hasSteps(name, steps string) bool {
	if steps == "" {
		return false
	}
	for at := 0; ; at++ {
		found := strings.Index(name[at:], steps)
		if found < 0 {
			return false
		}
		at += found
		end := at + len(steps)
		if (at == 0 || name[at-1] == '/') && (end == len(name) || name[end] == '/') {
			return true
		}
	}
}

// exclude tells the same of a path from the folder.
func (p *patterns) exclude(name string) bool {
	if name = path.Clean("/" + name); name == "/" {
		return p.match(".")
	}
	return p.match("." + name)
}

// characters makes one of each byte, so that names of any encoding match as bytes.
func characters(text string) string {
	for i := range len(text) {
		if text[i] >= 0x80 {
			runes := make([]rune, len(text))
			for i := range len(text) {
				runes[i] = rune(text[i])
			}
			return string(runes)
		}
	}
	return text
}

// translate makes a regular expression of a pattern; ok is false for one that
// matches nothing.
// https://pubs.opengroup.org/onlinepubs/9699919799/utilities/V3_chap02.html#tag_18_13
func translate(glob string) (expression string, ok bool) {
	var out strings.Builder
	wild := strings.ContainsAny(glob, "*?[")
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			out.WriteString(".*")
		case '?':
			out.WriteString(".")
		case '[':
			set, length, found := bracket(glob[i:])
			if length == 0 { // without an end it stands for itself
				out.WriteString(`\[`)
				continue
			}
			if !found {
				return "", false
			}
			out.WriteString(set)
			i += length - 1
		case '\\':
			if i++; i < len(glob) {
				out.WriteString(literal(glob[i]))
			} else if wild {
				return "", false
			} else {
				out.WriteString(`\\`)
			}
		default:
			out.WriteString(literal(c))
		}
	}
	return out.String(), true
}

func literal(c byte) string { return regexp.QuoteMeta(string(rune(c))) }

var classes = map[string]func(c byte) bool{
	"alnum":  func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"alpha":  isAlpha,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 0x7f },
	"digit":  isDigit,
	"graph":  func(c byte) bool { return c > ' ' && c < 0x7f },
	"lower":  func(c byte) bool { return c >= 'a' && c <= 'z' },
	"print":  func(c byte) bool { return c >= ' ' && c < 0x7f },
	"punct":  func(c byte) bool { return c > ' ' && c < 0x7f && !isAlpha(c) && !isDigit(c) },
	"space":  func(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' },
	"upper":  func(c byte) bool { return c >= 'A' && c <= 'Z' },
	"xdigit": func(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' },
}

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// bracket reads the expression in brackets that glob begins with. length is 0 where
// it has no end; found is false where it has no member.
func bracket(glob string) (expression string, length int, found bool) {
	i, negated := 1, false
	if i < len(glob) && (glob[i] == '!' || glob[i] == '^') {
		i, negated = i+1, true
	}
	var set [256]bool
	for first := true; ; first = false {
		if i >= len(glob) {
			return "", 0, false
		}
		if glob[i] == ']' && !first {
			break
		}
		if kind, name, size := symbol(glob[i:]); kind == ':' {
			in, known := classes[name]
			if !known {
				return "", len(glob), false
			}
			for c := range 256 {
				set[c] = set[c] || in(byte(c))
			}
			i += size
			continue
		}
		low, size := member(glob[i:])
		if size == 0 {
			return "", 0, false
		}
		i += size
		high := low
		if i+1 < len(glob) && glob[i] == '-' && glob[i+1] != ']' {
			if high, size = member(glob[i+1:]); size == 0 {
				return "", 0, false
			}
			i += 1 + size
		}
		for c := int(low); c <= int(high); c++ {
			set[c] = true
		}
	}
	var out strings.Builder
	for c := range 256 {
		if set[c] != negated {
			fmt.Fprintf(&out, `\x{%x}`, c)
		}
	}
	return "[" + out.String() + "]", i + 1, out.Len() > 0
}

// member reads one character of a bracket expression; size is 0 at its end.
func member(glob string) (c byte, size int) {
	if glob == "" {
		return 0, 0
	}
	if kind, name, size := symbol(glob); kind != 0 && kind != ':' && len(name) == 1 {
		return name[0], size
	}
	if glob[0] == '\\' {
		if len(glob) < 2 {
			return 0, 0
		}
		return glob[1], 2
	}
	return glob[0], 1
}

// symbol reads [:name:], [=name=] or [.name.]; kind is 0 where there is none.
func symbol(glob string) (kind byte, name string, size int) {
	if len(glob) < 2 || glob[0] != '[' || !strings.ContainsRune(":=.", rune(glob[1])) {
		return 0, "", 0
	}
	name, _, found := strings.Cut(glob[2:], glob[1:2]+"]")
	if !found {
		return 0, "", 0
	}
	return glob[1], name, len(name) + 4
}
