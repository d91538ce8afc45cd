package gitlab

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Package is a range of versions that GitLab publishes packages of, for hosts
// of one operating system.
type Package struct {
	// Product is "gitlab", for both editions, or "gitlab-runner".
	Product string

	// System is the operating system, "amazon-linux-2" or "amazon-linux-2023".
	System string

	// Repository is whose package the scripts take there, such as "el/7".
	Repository string

	// Architectures are those of the package, as "uname -m" says.
	Architectures []string

	// First is the first version. Last is the last minor, and the zero value as
	// long as there is none: its patch says nothing.
	First, Last Version

	// Source is the page that it was taken from.
	Source string
}

//go:embed packages.tsv
var packagesTable string

// Packages returns all ranges, in the order of the table.
func Packages() []Package { return mustParse(parsePackages(packagesTable)) }

// PackageOf returns the range that has a version, and false when GitLab
// publishes no package for that product, system and architecture.
func PackageOf(product, system, architecture string, version Version) (Package, bool) {
	for _, p := range Packages() {
		if p.Product == product && p.System == system && slices.Contains(p.Architectures, architecture) && p.has(version) {
			return p, true
		}
	}
	return Package{}, false
}

func (p Package) has(version Version) bool {
	return p.First.Compare(version) <= 0 && (p.Last == Version{} || version.compareMinor(p.Last) <= 0)
}

// DescribePackages says in words for which systems and architectures there are
// which versions of a product. Its ranges follow each other without a gap.
func DescribePackages(product string) string {
	var systems []string
	said := map[string][]string{}
	for _, p := range Packages() {
		if p.Product == product && !slices.Contains(systems, p.System) {
			systems = append(systems, p.System)
			said[p.System] = versionsOf(product, p.System)
		}
	}
	var parts []string
	for _, system := range systems {
		parts = append(parts, system+" "+strings.Join(said[system], ", "))
	}
	return strings.Join(parts, "; ")
}

// versionsOf returns "x86_64 from 7.0.0 to 19.2" for each architecture of a
// system.
func versionsOf(product, system string) []string {
	var said []string
	for _, architecture := range architectures {
		var first, last Version
		found := false
		for _, p := range Packages() {
			if p.Product != product || p.System != system || !slices.Contains(p.Architectures, architecture) {
				continue
			}
			if !found {
				first = p.First
			}
			found, last = true, p.Last
		}
		switch {
		case !found:
		case last == Version{}:
			said = append(said, fmt.Sprintf("%s from %s", architecture, first))
		default:
			said = append(said, fmt.Sprintf("%s from %s to %d.%d", architecture, first, last.Major, last.Minor))
		}
	}
	return said
}

// architectures are all that there are.
var architectures = []string{"x86_64", "aarch64"}

var (
	packageProduct = regexp.MustCompile(`^(gitlab|gitlab-runner)$`)
	packageSystem  = regexp.MustCompile(`^amazon-linux-(2|2023)$`)
	packageSource  = regexp.MustCompile(`^https://(gitlab\.com/gitlab-org|docs\.gitlab\.com)/\S+$`)
)

// parsePackages reads the table of packages. The ranges of a product and system
// ascend, and none has versions of the one before it.
func parsePackages(text string) ([]Package, error) {
	var packages []Package
	err := readTable("packages.tsv", text, 7, func(fields []string) error {
		p := Package{Product: fields[0], System: fields[1], Repository: fields[2], Architectures: strings.Split(fields[3], ","), Source: fields[6]}
		for _, check := range []struct {
			name, text, want string
			form             *regexp.Regexp
		}{
			{"product", p.Product, "gitlab or gitlab-runner", packageProduct},
			{"system", p.System, "amazon-linux-2 or amazon-linux-2023", packageSystem},
			{"repository", p.Repository, "el/7, amazon/2 or amazon/2023", packageFamily},
			{"source", p.Source, "a page of GitLab's", packageSource},
		} {
			if !check.form.MatchString(check.text) {
				return fmt.Errorf("%s: got %q, want %s", check.name, check.text, check.want)
			}
		}
		for _, architecture := range p.Architectures {
			if !slices.Contains(architectures, architecture) {
				return fmt.Errorf("architectures: got %q, want %s", architecture, strings.Join(architectures, " or "))
			}
		}
		var err error
		if p.First, err = ParseVersion(fields[4]); err != nil {
			return fmt.Errorf("first: %w", err)
		}
		if fields[5] != "-" {
			if p.Last, err = ParseVersion(fields[5] + ".0"); err != nil {
				return fmt.Errorf("last: got %q, want a minor X.Y, or - for none", fields[5])
			}
			if p.Last.compareMinor(p.First) < 0 {
				return fmt.Errorf("last: %s is before %s", fields[5], p.First)
			}
		}
		if n := len(packages); n > 0 && packages[n-1].Product == p.Product && packages[n-1].System == p.System {
			if before := packages[n-1]; before.Last == (Version{}) || p.First.compareMinor(before.Last) <= 0 {
				return fmt.Errorf("first: %s does not follow the range before it", p.First)
			}
		}
		packages = append(packages, p)
		return nil
	})
	return packages, err
}
