package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// document is a file on its way to a Config.
type document struct {
	file     string
	config   Config
	problems []problem
	// places knows where each value of config stands in the file, by the pointer to it. Pointers instead of paths,
	// so that a check cannot name a key that does not exist.
	places map[any]*place
	// collect takes the limits of each value instead of checking it, for config/schema.json.
	collect func(path string, of limits)
}

type place struct {
	path string
	line int
	// sound means present, of the right type, and no problem found yet.
	sound bool
}

type problem struct {
	line int
	text string
}

func newDocument(file string) *document {
	return &document{file: file, places: map[any]*place{}}
}

// report adds a problem at a path; "" stands for the whole file.
func (d *document) report(line int, path, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if path != "" {
		text = path + ": " + text
	}
	d.problems = append(d.problems, problem{line, fmt.Sprintf("%s:%d: %s", d.file, line, text)})
}

// refuse reports the value behind a pointer into config. The value is not sound any more, which keeps checks that
// build on it quiet.
func (d *document) refuse(value any, got, want string) {
	at := d.places[value]
	at.sound = false
	d.report(at.line, at.path, "got %s, want %s", got, want)
}

// present tells whether the file has the key, with whatever value.
func (d *document) present(value any) bool {
	return d.places[value] != nil
}

// sound tells whether all values behind the pointers can be relied upon.
func (d *document) sound(values ...any) bool {
	for _, value := range values {
		if at := d.places[value]; at == nil || !at.sound {
			return false
		}
	}
	return true
}

// err joins the problems in the order of the file; nil when there are none.
func (d *document) err() error {
	slices.SortStableFunc(d.problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	told := map[string]bool{} // two aliases on one line make one message
	for _, p := range d.problems {
		if !told[p.text] {
			errs = append(errs, errors.New(p.text))
		}
		told[p.text] = true
	}
	return errors.Join(errs...)
}

// quote shows a text from outside on one line and within bounds.
func quote(text string) string {
	const most = 120
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return strconv.Quote(text)
}
