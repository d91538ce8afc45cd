package gitlab

import (
	"strconv"
	"strings"
)

// Plan is a path as people and programs read it: a line a stop, divided by tabs, below their
// names.
func Plan(path []Stop) string {
	lines := []string{"version\tpatch\tpackages\tpostgresql\treason\trisks"}
	for _, stop := range path {
		patch := "known"
		if stop.Last {
			patch = "last"
		}
		lines = append(lines, strings.Join([]string{
			stop.Version.String(), patch, strings.Join(stop.Packages, ","), strconv.Itoa(stop.PostgreSQL), stop.Reason, stop.Risks,
		}, "\t"))
	}
	return strings.Join(lines, "\n") + "\n"
}
