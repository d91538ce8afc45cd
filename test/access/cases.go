package access

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/goccy/go-yaml"
)

// Subject is a part of the table.
type Subject struct {
	Subject string
	Cases   []Case
}

// Case is one request, and what has to come of it.
type Case struct {
	Who, Does, On, From string
	With                map[string]string
	Is, Why             string
}

func (c Case) String() string {
	with := ""
	for _, key := range slices.Sorted(maps.Keys(c.With)) {
		with += fmt.Sprintf(" (%s %s)", key, c.With[key])
	}
	return fmt.Sprintf("%s, %s on %s%s from %s", c.Who, c.Does, c.On, with, c.From)
}

// Outcomes are the words of the table for the simulator's.
var Outcomes = map[string]string{"Allowed": "allowed", "ImplicitlyDenied": "refused", "ExplicitlyDenied": "denied"}

// ReadCases reads the table, strictly.
func ReadCases(path string) ([]Subject, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var subjects []Subject
	if err := yaml.UnmarshalWithOptions(raw, &subjects, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	told := map[string]bool{}
	for _, s := range subjects {
		for _, c := range s.Cases {
			switch {
			case c.Is != "allowed" && c.Is != "refused" && c.Is != "denied":
				return nil, fmt.Errorf("%s: %s: got %q, want allowed, refused or denied", path, c, c.Is)
			case c.Why == "":
				return nil, fmt.Errorf("%s: %s: no reason", path, c)
			case told[c.String()]:
				return nil, fmt.Errorf("%s: %s: a second time", path, c)
			}
			told[c.String()] = true
		}
	}
	return subjects, nil
}
