package gitlab

import (
	"errors"
	"fmt"
	"strings"
)

// first is the oldest version that the table leads from: GitLab's stops before 13.12 are not in it, and the last of them is 13.8.
var first = Version{13, 8, 0}

// ErrNoStop says that an upgrade would end between two stops.
var ErrNoStop = errors.New("no stop")

// Path returns the stops from after one version up to another, which has to be a stop.
func Path(from, to Version) ([]Stop, error) {
	var path []Stop
	var names []string
	known := false
	for _, stop := range Stops() {
		names = append(names, stop.Version.String())
		known = known || stop.Version == to
		if stop.Version.Compare(from) > 0 && stop.Version.Compare(to) <= 0 {
			path = append(path, stop)
		}
	}
	switch {
	case !known:
		return nil, fmt.Errorf("%w: got %s; the stops are %s", ErrNoStop, to, strings.Join(names, " "))
	case from.Compare(first) < 0:
		return nil, fmt.Errorf("GitLab %s is older than 13.8, where this path begins", from)
	case from.Compare(to) > 0:
		return nil, fmt.Errorf("GitLab %s is newer than %s: there is no way back but a restore", from, to)
	}
	return path, nil
}
