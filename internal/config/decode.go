package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

var (
	configType   = reflect.TypeFor[Config]()
	projectsType = reflect.TypeFor[Projects]()
)

// anyProject is the scalar that stands in the place of a list of projects.
const anyProject = "any"

// field is one key of a mapping.
type field struct {
	key      string
	index    int
	value    string // the default
	optional bool   // may be left out: has a default, or needs none
}

func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		key, option, _ := strings.Cut(tag.Get("yaml"), ",")
		if key == "-" {
			continue
		}
		value, hasDefault := tag.Lookup("default")
		fields = append(fields, field{key, i, value, hasDefault || option == "omitempty"})
	}
	return fields
}

// decode fits the tree to the types of Config. The library's own strict decoding would end at the first mistake.
func (d *document) decode(root ast.Node) {
	d.value(root, reflect.ValueOf(&d.config).Elem(), place{line: 1})
}

// value decodes node, which stands at a place, into a variable, and remembers the place.
func (d *document) value(node ast.Node, into reflect.Value, at place) {
	d.places[into.Addr().Interface()] = &at
	if projects, is := into.Addr().Interface().(*Projects); is {
		at.sound = d.projects(node, projects, at)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(node, into.Elem(), at)
		at.sound = d.sound(into.Interface())
	case reflect.Struct:
		at.sound = d.mapping(node, into, at)
	case reflect.Slice:
		at.sound = d.list(node, into, at)
	default:
		at.sound = setScalar(node, into)
		if !at.sound {
			d.mistyped(node, into.Type(), at)
		}
	}
}

// moved are keys of earlier releases, with what takes their place.
var moved = map[string]string{
	"deploy.artifacts.readerRoles": "the roles of each application at deploy.applications, a list of mappings with the keys name, readerRoles: " +
		"an application's instances read its own artifacts only",
}

// mapping is sound when its keys are: then a key that is absent was left out on purpose.
func (d *document) mapping(node ast.Node, into reflect.Value, at place) bool {
	m, ok := node.(*ast.MappingNode)
	if !ok {
		d.mistyped(node, into.Type(), at)
		return false
	}
	sound := true
	fields := fieldsOf(into.Type())
	meant := map[string]int{} // the keys that are there, also misspelt ones, and the lines
	for _, entry := range m.Values {
		name := entry.Key.GetToken().Value
		here := place{path: child(at.path, name), line: entry.Key.GetToken().Position.Line}
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == name })
		switch {
		case i < 0 && moved[here.path] != "":
			sound = false
			d.report(here.line, here.path, "moved, want %s", moved[here.path])
		case i < 0:
			sound = false
			near := nearest(name, fields)
			if near == "" {
				d.report(here.line, here.path, "unknown key, want one of %s", keys(fields))
				break
			}
			d.report(here.line, here.path, "unknown key, did you mean %s?", near)
			if meant[near] == 0 {
				meant[near] = here.line
			}
		case d.present(into.Field(fields[i].index).Addr().Interface()):
			d.report(here.line, here.path, "got this key again, want it once (first on line %d)", meant[name])
			d.places[into.Field(fields[i].index).Addr().Interface()].sound = false
		default:
			meant[name] = here.line
			d.value(entry.Value, into.Field(fields[i].index), here)
		}
	}
	for _, f := range fields {
		if meant[f.key] == 0 {
			d.absent(f, into.Field(f.index), at)
		}
	}
	return sound
}

// absent fills in the default of a key that the mapping at a place does not have.
func (d *document) absent(f field, into reflect.Value, parent place) {
	path := child(parent.path, f.key)
	switch {
	case f.value != "":
		setText(f.value, into)
		d.places[into.Addr().Interface()] = &place{path, parent.line, true}
	case f.optional && into.Kind() == reflect.Struct && into.Type() != projectsType:
		// A mapping of defaults.
		here := place{path, parent.line, true}
		d.places[into.Addr().Interface()] = &here
		for _, inner := range fieldsOf(into.Type()) {
			d.absent(inner, into.Field(inner.index), here)
		}
	case !f.optional:
		d.report(parent.line, path, "missing, want %s", wantOf(into.Type()))
	}
}

// projects takes a list, or the one word that stands for every project.
func (d *document) projects(node ast.Node, into *Projects, at place) bool {
	if word, ok := node.(*ast.StringNode); ok && word.Value == anyProject {
		into.Any = true
		return true
	}
	return d.list(node, reflect.ValueOf(&into.List).Elem(), at)
}

func (d *document) list(node ast.Node, into reflect.Value, at place) bool {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		d.mistyped(node, into.Type(), at)
		return false
	}
	// At its full length at once: places points into it.
	into.Set(reflect.MakeSlice(into.Type(), len(sequence.Values), len(sequence.Values)))
	for i, element := range sequence.Values {
		line := at.line
		if t := element.GetToken(); t != nil && t.Position != nil {
			line = t.Position.Line
		}
		d.value(element, into.Index(i), place{path: fmt.Sprintf("%s[%d]", at.path, i), line: line})
	}
	return true
}

// setScalar takes a value only in the spelling that everybody reads the same way: 030 is 24 to YAML, and the account
// id 012345678901 is a number that has lost its zero.
func setScalar(node ast.Node, into reflect.Value) bool {
	switch node := node.(type) {
	case *ast.StringNode:
		return into.Kind() == reflect.String && setText(node.Value, into)
	case *ast.IntegerNode:
		return into.Kind() == reflect.Int && setText(node.Token.Value, into)
	case *ast.BoolNode:
		return into.Kind() == reflect.Bool && setText(node.Token.Value, into)
	}
	return false
}

func setText(text string, into reflect.Value) bool {
	switch into.Kind() {
	case reflect.String:
		into.SetString(text)
		return true
	case reflect.Int:
		n, err := strconv.Atoi(text)
		into.SetInt(int64(n))
		return err == nil && strconv.Itoa(n) == text
	case reflect.Bool:
		into.SetBool(text == "true")
		return text == "true" || text == "false"
	}
	panic("config: no decoding for " + into.Type().String())
}

func (d *document) mistyped(node ast.Node, t reflect.Type, at place) {
	want := wantOf(t)
	if number(node) && t.Kind() == reflect.String {
		want += ": write " + quote(node.GetToken().Value)
	}
	d.report(at.line, at.path, "got %s, want %s", gotOf(node), want)
}

func number(node ast.Node) bool {
	switch node.Type() {
	case ast.IntegerType, ast.FloatType, ast.InfinityType, ast.NanType:
		return true
	}
	return false
}

func gotOf(node ast.Node) string {
	switch node := node.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.StringNode:
		return quote(node.Value) + " (a string)"
	case *ast.BoolNode:
		return node.Token.Value + " (a boolean)"
	}
	if number(node) {
		return node.GetToken().Value + " (a number)"
	}
	return "something else"
}

func wantOf(t reflect.Type) string {
	if t == projectsType || t == reflect.TypeFor[[]Project]() {
		return "a list of mappings with the keys " + keys(fieldsOf(reflect.TypeFor[Project]())) + ", or " + anyProject
	}
	switch t.Kind() {
	case reflect.Pointer:
		return wantOf(t.Elem())
	case reflect.Struct:
		return "a mapping with the keys " + keys(fieldsOf(t))
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return "a list of mappings with the keys " + keys(fieldsOf(t.Elem()))
		}
		return "a list of strings"
	case reflect.Int:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	}
	return "a string"
}

func keys(fields []field) string {
	var names []string
	for _, f := range fields {
		names = append(names, f.key)
	}
	return strings.Join(names, ", ")
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func child(path, key string) string {
	if !plainKey.MatchString(key) {
		key = quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// nearest is the key that a misspelt one was most likely meant to be: it differs in a third of its letters at most.
// "" when there is none.
func nearest(name string, fields []field) string {
	best, distance := "", len(name)
	for _, f := range fields {
		if n := edits(strings.ToLower(name), strings.ToLower(f.key)); n < distance && n <= len(f.key)/3 {
			best, distance = f.key, n
		}
	}
	return best
}

// edits counts the letters to insert, delete or replace to make b of a (Levenshtein's distance).
func edits(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
