package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/plain"
)

const (
	// hostWaits is how long the host looks for news before it answers that there are none, in seconds.
	hostWaits = 8
	// maxResult bounds what a host can make us keep, in bytes.
	maxResult = 16 << 20
	// maxMute is how many answers in a row may be empty before anything was heard: an emulator takes each document, and runs none.
	maxMute = 3
)

var errMute = errors.New("it prints nothing")

// Follow shows the log of a run until that ends. Without a run it is the newest one of the operation on the host, such as the
// backup of the night.
func (h Host) Follow(ctx context.Context, o Operation, run string) (Ended, error) {
	limit := cmp.Or(h.Timeout, 24*time.Hour)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrTimedOut)
	defer cancel()
	patience := cmp.Or(h.Patience, 15*time.Minute)
	heard, said := time.Now(), ""
	answered, mute := false, 0
	var result strings.Builder
	at := place{run: run}
	for {
		found, err := h.news(ctx, o, at)
		switch {
		case errors.Is(context.Cause(ctx), ErrTimedOut):
			return Ended{}, told{fmt.Sprintf("not finished after %.0f s (--timeout); %s", limit.Seconds(), h.mayGoOn(o, at.run)), ErrTimedOut}
		case ctx.Err() != nil:
			return Ended{}, told{h.goesOn(o, at.run), ctx.Err()}
		case errors.Is(err, calls.ErrDryRun):
			return Ended{}, err
		case isFinal(err):
			return Ended{}, fmt.Errorf("%w; %s", err, h.mayGoOn(o, at.run))
		case errors.Is(err, errMute) && !answered && mute == maxMute-1:
			return Ended{}, fmt.Errorf("the %s took %d documents and printed nothing: an emulator runs none; %s", h.Kind, maxMute, h.mayGoOn(o, at.run))
		case err != nil:
			if mute++; !errors.Is(err, errMute) { // in a row
				mute = 0
			}
			if text := plain.Line(err.Error(), 500); text != said {
				h.say("no news from the %s: %s; the operation goes on, trying again", h.Kind, text)
				said = text
			}
			if time.Since(heard) >= patience {
				return Ended{}, fmt.Errorf("nothing heard for %.0f s; %s", patience.Seconds(), h.mayGoOn(o, at.run))
			}
			_ = sleep(ctx, h.poll()) // its end is seen above
			continue
		}
		if said != "" {
			h.say("the %s answers again", h.Kind)
		}
		heard, said, answered = time.Now(), "", true
		if at.run == "" && found.Run != "" {
			h.say("following run %s, started at %s", found.Run, plain.Line(found.Started, 40))
		}
		at = place{cmp.Or(found.Run, at.run), *found.Log, *found.Result}
		h.log(found.log)
		result.WriteString(found.result)
		switch {
		case found.State == "none" && run != "":
			return Ended{}, fmt.Errorf("there is no run %s on the %s", run, h.Kind)
		case found.State == "none":
			return Ended{}, fmt.Errorf("there is no run of %s on the %s to follow", o.Name, h.Kind)
		case result.Len() > maxResult:
			return Ended{}, fmt.Errorf("the result of run %s is longer than %d bytes, and the %s has it", at.run, maxResult, h.Kind)
		case *found.More:
		case found.State == "lost":
			return Ended{}, fmt.Errorf("run %s of %s ended without a status: it was killed, or the host was restarted. It can be started again", at.run, o.Name)
		case found.State == "ended":
			return Ended{at.run, *found.Exit, result.String()}, nil
		}
	}
}

// place is where following has come to: bytes of the run's log and result.
type place struct {
	run         string
	log, result int64
}

// news asks the host what came after a place.
func (h Host) news(ctx context.Context, o Operation, at place) (news, error) {
	out, err := h.run(ctx, "follow", map[string]string{
		"Run": cmp.Or(at.run, o.Name), "Wait": strconv.Itoa(hostWaits),
		"LogFrom": strconv.FormatInt(at.log, 10), "ResultFrom": strconv.FormatInt(at.result, 10),
	})
	switch {
	case err != nil:
		return news{}, err
	case out.status == 0 && out.stdout == "":
		return news{}, errMute
	case out.status != 0:
		return news{}, fmt.Errorf("looking for news ended with %d: %s", out.status, lastWords(out.stderr))
	}
	found, err := readNews(out.stdout, at)
	if err != nil {
		return news{}, fmt.Errorf("its answer makes no sense: %w", err)
	}
	return found, nil
}

// isFinal says whether nobody will hear anything by asking again: nobody may ask, or there is nothing to ask by.
func isFinal(err error) bool {
	code := refusal(err)
	return err != nil && (strings.HasPrefix(code, "AccessDenied") || code == "InvalidDocument")
}

// mayGoOn and goesOn say what becomes of the run when this command ends.
func (h Host) mayGoOn(o Operation, run string) string {
	if run == "" {
		return fmt.Sprintf("whether %s runs is not known", o.Name)
	}
	return fmt.Sprintf("run %s may go on, %s", run, h.following(o, run))
}

func (h Host) goesOn(o Operation, run string) string {
	if run == "" {
		return "nothing was started"
	}
	return fmt.Sprintf("run %s goes on, %s", run, h.following(o, run))
}
