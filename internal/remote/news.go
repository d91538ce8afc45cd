package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// news are what the hosts' program prints (internal/operation): a line of JSON, then lines of the run's log and result.
type news struct {
	Run     string `json:"run"`
	Started string `json:"started"`
	// State is running, ended, lost (it ended without a status) or none (there is no such run).
	State string `json:"state"`
	Exit  *int   `json:"exit"` // of an ended run
	// Log and Result are where to go on, in bytes; More says that there is more to read at once.
	Log    *int64 `json:"log"`
	Result *int64 `json:"result"`
	More   *bool  `json:"more"`

	log, result string
}

var started = regexp.MustCompile(`^[0-9TZ:-]{0,30}$`)

// readNews reads them. What does not fit the place that was asked for is no answer to that: nothing of it is shown.
func readNews(text string, at place) (news, error) {
	head, rest, _ := strings.Cut(text, "\n")
	var n news
	if err := json.Unmarshal([]byte(head), &n); err != nil {
		return news{}, errors.New("the first line is not that of the hosts' program")
	}
	switch {
	case n.Log == nil || n.Result == nil || n.More == nil:
		return news{}, errors.New("the first line is not whole")
	case n.State == "none":
		if n.Run != "" {
			return news{}, errors.New("there is a run, and there is none")
		}
	case !RunID.MatchString(n.Run) || !started.MatchString(n.Started):
		return news{}, errors.New("the run has no id or time")
	case at.run != "" && n.Run != at.run:
		return news{}, fmt.Errorf("it is about run %s", n.Run)
	case *n.Log < at.log || *n.Result < at.result:
		return news{}, errors.New("it goes back")
	case n.State == "ended":
		if n.Exit == nil || *n.Exit < 0 || *n.Exit > 255 {
			return news{}, errors.New("it has ended without a status")
		}
	case n.State != "running" && n.State != "lost" || n.Exit != nil:
		return news{}, errors.New("its state is unknown")
	}
	var log, result strings.Builder
	for line := range strings.Lines(rest) {
		line = strings.TrimSuffix(line, "\n")
		// Blanks at the end of an output may get lost on the way.
		line += strings.Repeat(" ", max(0, 2-len(line)))
		piece := line[2:] + "\n"
		switch line[:2] {
		case "| ":
			log.WriteString(piece)
		case "|+":
			log.WriteString(line[2:])
		case "> ":
			result.WriteString(piece)
		case ">+":
			result.WriteString(line[2:])
		default:
			return news{}, errors.New("a line has no mark")
		}
	}
	n.log, n.result = log.String(), result.String()
	return n, nil
}
