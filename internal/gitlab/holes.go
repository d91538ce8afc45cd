package gitlab

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Hole lets a stranger take over a GitLab: without a login, and without the
// help of somebody who has one.
type Hole struct {
	CVE string

	// From is the first version that has it.
	From Version

	// Fixed are the versions that closed it, one a minor, ascending.
	Fixed []Version

	// Title says in a few words how; Source is the page that it was taken from.
	Title, Source string
}

//go:embed takeover-holes.tsv
var holesTable string

// Holes returns all that are known, by their CVE's year and number.
func Holes() []Hole { return mustParse(parseHoles(holesTable)) }

// HolesOf returns those that a version has.
func HolesOf(version Version) []Hole {
	return slices.DeleteFunc(Holes(), func(h Hole) bool { return !h.in(version) })
}

// SafeFrom returns the first version from the given one on that has none of
// the known holes: that version itself, or one that closed a hole.
func SafeFrom(version Version) Version {
	for holes := HolesOf(version); len(holes) > 0; holes = HolesOf(version) {
		version = holes[0].FixFor(version)
	}
	return version
}

func (h Hole) in(version Version) bool {
	fix, found := h.fixFor(version)
	return found && h.From.Compare(version) <= 0 && version.Compare(fix) < 0
}

// fixFor returns the fix for a version's minor, or the next one's: minors in
// between got none. There is none for minors that came after the last fix.
func (h Hole) fixFor(version Version) (fix Version, found bool) {
	for _, fix := range h.Fixed {
		if fix.compareMinor(version) >= 0 {
			return fix, true
		}
	}
	return Version{}, false
}

var (
	cveID      = regexp.MustCompile(`^CVE-20[0-9]{2}-[0-9]{4,6}$`)
	holeSource = regexp.MustCompile(`^https://(about\.gitlab\.com|docs\.gitlab\.com|www\.cve\.org)/\S+$`)
)

// FixFor returns the version that closed the hole, for a version that has it.
func (h Hole) FixFor(version Version) Version {
	fix, _ := h.fixFor(version)
	return fix
}

// parseHoles reads the table of holes.
func parseHoles(text string) ([]Hole, error) {
	var holes []Hole
	err := readTable("takeover-holes.tsv", text, 5, func(fields []string) error {
		if !cveID.MatchString(fields[0]) {
			return fmt.Errorf("cve: got %q, want CVE-20YY-N", fields[0])
		}
		if slices.ContainsFunc(holes, func(h Hole) bool { return h.CVE == fields[0] }) {
			return fmt.Errorf("%s stands there twice", fields[0])
		}
		hole := Hole{CVE: fields[0], Title: fields[3], Source: fields[4]}
		var err error
		if hole.From, err = ParseVersion(fields[1]); err != nil {
			return fmt.Errorf("from: %w", err)
		}
		before := hole.From
		for text := range strings.SplitSeq(fields[2], ",") {
			fix, err := ParseVersion(text)
			if err != nil {
				return fmt.Errorf("fixed: %w", err)
			}
			if fix.Compare(before) <= 0 || len(hole.Fixed) > 0 && fix.compareMinor(before) == 0 {
				return fmt.Errorf("fixed: %s does not follow %s", fix, before)
			}
			hole.Fixed = append(hole.Fixed, fix)
			before = fix
		}
		if !holeSource.MatchString(fields[4]) {
			return fmt.Errorf("source: got %q, want a page of GitLab's or the CVE record", fields[4])
		}
		holes = append(holes, hole)
		return nil
	})
	return holes, err
}
