package mutate

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
)

// Acceptance is a mutant that no test has to notice, and why.
type Acceptance struct {
	Flip   `yaml:",inline"`
	Reason string `yaml:"reason"`
}

//go:embed accepted.yaml
var accepted []byte

// Accepted is the list of this repository.
func Accepted() ([]Acceptance, error) {
	list, err := parseAccepted(accepted)
	if err != nil {
		return nil, fmt.Errorf("test/mutate/accepted.yaml: %w", err)
	}
	return list, nil
}

func parseAccepted(text []byte) ([]Acceptance, error) {
	var list []Acceptance
	if err := yaml.UnmarshalWithOptions(text, &list, yaml.Strict()); err != nil {
		return nil, err
	}
	seen := map[Flip]bool{}
	for i := range list {
		entry := &list[i]
		entry.Reason = words(entry.Reason)
		if entry.Reason == "" {
			return nil, fmt.Errorf("%s has no reason", entry.place())
		}
		if seen[entry.Flip] {
			return nil, fmt.Errorf("%s is there twice", entry.place())
		}
		seen[entry.Flip] = true
	}
	return list, nil
}

func (a Acceptance) place() string {
	return fmt.Sprintf("%s, %s: %s (line %q)", a.Package, a.Function, a.Flip, a.Line)
}

// Gone names the entries that are about no mutant of the packages that were
// looked through, or about a package that is no more.
func Gone(root string, list []Acceptance, mutants []Mutant, packages []string) []string {
	there, looked := map[Flip]bool{}, map[string]bool{}
	for _, m := range mutants {
		there[m.Flip] = true
	}
	for _, pkg := range packages {
		looked[pkg] = true
	}
	var gone []string
	for _, entry := range list {
		_, err := os.Stat(filepath.Join(root, entry.Package))
		if !there[entry.Flip] && (looked[entry.Package] || errors.Is(err, fs.ErrNotExist)) {
			gone = append(gone, entry.place())
		}
	}
	return gone
}

const pageHeader = `# Conditions that no test has to notice

` + "`make mutate`" + ` flips the conditions of the functions one at a time, and at least 95 of 100 have to be noticed by the
tests in ` + "`lambda/`" + `. What may survive stands in [test/mutate/accepted.yaml](../test/mutate/accepted.yaml) with its reason, from
which this page is made: ` + "`go test ./test -run Golden -update`" + `.

| function | condition | flipped | why no test notices |
|---|---|---|---|
`

// Page is docs/mutants.md.
func Page(list []Acceptance) string {
	cell := func(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
	var page strings.Builder
	page.WriteString(pageHeader)
	for _, entry := range list {
		fmt.Fprintf(&page, "| `%s` %s | `%s` | `%s` | %s |\n", entry.Package, entry.Function, cell(entry.Original), cell(entry.Mutant), cell(entry.Reason))
	}
	return page.String()
}
