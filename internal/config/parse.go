package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth bounds the brackets and dashes that are open at one place. The file needs 2; the parser is recursive.
const maxDepth = 16

// refused is YAML that would make a setting hard to find, or its line in a message wrong.
var refused = map[token.Type]string{
	token.AnchorType:      "an anchor (&)",
	token.AliasType:       "an alias (*)",
	token.MergeKeyType:    "a merge key (<<)",
	token.TagType:         "a tag (!)",
	token.DirectiveType:   "a directive (%)",
	token.LiteralType:     "a block of text (|)",
	token.FoldedType:      "a block of text (>)",
	token.MappingKeyType:  "a complex key (?)",
	token.DocumentEndType: "the end of a document (...)",
}

// parse answers the root of the document, or nil and at least one problem.
func (d *document) parse(text []byte) ast.Node {
	switch {
	case len(text) > maxBytes:
		d.report(1, "", "got more than %d KiB, want a smaller file", maxBytes>>10)
		return nil
	case !utf8.Valid(text):
		d.report(1+bytes.Count(validPart(text), []byte("\n")), "", "got bytes that are not UTF-8, want a text file in UTF-8")
		return nil
	}
	// A byte order mark is what some Windows editors add; the lexer takes it for the first key's first letter.
	tokens := lexer.Tokenize(strings.TrimPrefix(string(text), "\uFEFF"))
	if d.refuseTokens(tokens); len(d.problems) > 0 {
		return nil
	}
	// Duplicate keys are allowed here, because the parser would stop at the first; decode.go reports them all.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.reportSyntax(err)
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		d.report(1, "", "got an empty file, want %s", wantOf(configType))
		return nil
	}
	return file.Docs[0].Body
}

func (d *document) refuseTokens(tokens token.Tokens) {
	depth, dashes, dashLine, content := 0, 0, 0, false
	for _, t := range tokens {
		line := t.Position.Line
		switch t.Type {
		case token.CommentType:
			continue
		case token.DocumentHeaderType:
			if content && len(d.problems) == 0 { // after a directive it is the first
				d.report(line, "", "got a second document (---), want one environment in a file")
			}
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType: // "- - - -" nests as deep as it is long
			if line != dashLine {
				dashes, dashLine = 0, line
			}
			dashes++
		default:
			if what := refused[t.Type]; what != "" {
				d.report(line, "", "got %s, want plain keys, lists and values", what)
			}
		}
		content = true
		if depth+dashes > maxDepth {
			d.report(line, "", "got more than %d lists or mappings inside one another, want the keys of this configuration", maxDepth)
			return
		}
	}
}

func (d *document) reportSyntax(err error) {
	var syntax yaml.Error
	if !errors.As(err, &syntax) || syntax.GetToken() == nil {
		d.report(1, "", "not valid YAML: %s", firstLine(err.Error()))
		return
	}
	at := syntax.GetToken().Position
	d.report(at.Line, "", "not valid YAML at column %d: %s", at.Column, firstLine(syntax.GetMessage()))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func validPart(text []byte) []byte {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size <= 1 {
			return text[:i]
		}
		i += size
	}
	return text
}
