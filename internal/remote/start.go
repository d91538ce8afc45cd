package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"gitlab-codedeploy/internal/plain"
)

// RunID is the form of a run's id: the time when it was made, by the sender's clock, and what tells it from others. It is that of
// internal/operation.
var RunID = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}-[0-9a-f]{8}$`)

func newRunID(now time.Time) string {
	var mark [4]byte
	_, _ = rand.Read(mark[:]) // never fails: see crypto/rand
	return fmt.Sprintf("%s-%x", now.UTC().Format("20060102T150405"), mark)
}

// Refused is an end of a document itself, before it started anything.
type Refused struct {
	Status int // of the document's script
	text   string
}

func (r Refused) Error() string { return r.text }

// Start starts an operation, and returns the id of its run once the host has begun it. When an answer is lost the
// document is sent again, with the same id: the host begins it once.
func (h Host) Start(ctx context.Context, o Operation) (string, error) {
	for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
		if value := o.Parameters[name]; hostile.MatchString(value) {
			return "", BadParameter{name, value}
		}
	}
	run := newRunID(time.Now())
	parameters := map[string]string{"RunId": run}
	maps.Copy(parameters, o.Parameters)
	h.say("starting %s on the %s (%s) of %s: run %s", o.Name, h.Kind, h.Instance, h.Place, run)
	out, err := h.runOften(ctx, o.Name, parameters)
	var refused notRun
	switch {
	case ctx.Err() != nil:
		return "", told{fmt.Sprintf("run %s may go on, %s", run, h.following(o, run)), ctx.Err()}
	case errors.As(err, &refused):
		return "", fmt.Errorf("%s was not started: %w", o.Name, err)
	case errors.As(err, new(lost)):
		return "", fmt.Errorf("no answer to the start of %s: %w; run %s may go on, %s", o.Name, err, run, h.following(o, run))
	case err != nil: // of a dry run
		return "", err
	case out.status != 0:
		h.log(out.stderr)
		return "", Refused{out.status, fmt.Sprintf("%s was not started on the %s: its document ended with %d", o.Name, h.Kind, out.status)}
	}
	return run, nil
}

// log shows what came from the host.
func (h Host) log(text string) {
	if h.Log != nil {
		_, _ = h.Log.Write([]byte(plain.Text(text)))
	}
}
