package gitlab

import (
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Stop is a version that no upgrade leaves out.
type Stop struct {
	Version Version

	// Last says that no later patch of this minor will come.
	Last bool

	// Packages are the distributions whose package may be taken, such as "amazon/2".
	Packages []string

	// PostgreSQL is the oldest major version that it runs on.
	PostgreSQL int

	// Reason and Risks are for people.
	Reason, Risks string
}

//go:embed upgrade-path.tsv
var stopsTable string

// Stops returns all stops, the oldest first.
func Stops() []Stop { return mustParse(parseStops(stopsTable)) }

// mustParse is for the embedded tables, which the tests have parsed.
func mustParse[T any](values []T, err error) []T {
	if err != nil {
		panic(err)
	}
	return values
}

var packageFamily = regexp.MustCompile(`^(el/7|amazon/2|amazon/2023)$`)

// parseStops reads the table of stops. They ascend, one a minor.
func parseStops(text string) ([]Stop, error) {
	var stops []Stop
	err := readTable("upgrade-path.tsv", text, 6, func(fields []string) error {
		version, err := ParseVersion(fields[0])
		if err != nil {
			return err
		}
		if len(stops) > 0 && version.compareMinor(stops[len(stops)-1].Version) <= 0 {
			return fmt.Errorf("%s does not follow %s", version, stops[len(stops)-1].Version)
		}
		if fields[1] != "last" && fields[1] != "known" {
			return fmt.Errorf("patch: got %q, want last or known", fields[1])
		}
		families := strings.Split(fields[2], ",")
		for _, family := range families {
			if !packageFamily.MatchString(family) {
				return fmt.Errorf("packages: got %q, want el/7, amazon/2 or amazon/2023", family)
			}
		}
		postgresql, err := strconv.Atoi(fields[3])
		if err != nil || postgresql < 9 {
			return fmt.Errorf("postgresql: got %q, want a major version", fields[3])
		}
		if len(stops) > 0 && postgresql < stops[len(stops)-1].PostgreSQL {
			return fmt.Errorf("postgresql: %d is less than an earlier stop needs", postgresql)
		}
		stops = append(stops, Stop{version, fields[1] == "last", families, postgresql, fields[4], fields[5]})
		return nil
	})
	return stops, err
}
