package mutate

import (
	"fmt"
	"io"
	"time"

	"github.com/goccy/go-yaml"
)

// Count returns how many mutants had the outcome.
func (r Report) Count(outcome Outcome) int {
	n := 0
	for _, p := range r.Played {
		if p.Outcome == outcome {
			n++
		}
	}
	return n
}

// Problems says what has to change, and nothing when all is well. Accepted
// mutants are not noticed ones: they count against the target.
func (r Report) Problems() []string {
	var problems []string
	for _, p := range r.Played {
		switch {
		case p.Outcome == Survived && p.Reason == "":
			problems = append(problems, fmt.Sprintf("%s:%d: no test notices %s: write one, or list it in accepted.yaml with the reason", p.File, p.LineNo, p.Flip))
		case p.Outcome != Survived && p.Reason != "":
			problems = append(problems, fmt.Sprintf("%s:%d: %s is accepted, but does not survive: remove it from accepted.yaml", p.File, p.LineNo, p.Flip))
		}
	}
	for _, place := range r.Gone {
		problems = append(problems, fmt.Sprintf("accepted.yaml is about a condition that is not there: %s", place))
	}
	noticed, survived := r.Count(Noticed), r.Count(Survived)
	if 100*noticed < Target*(noticed+survived) {
		problems = append(problems, fmt.Sprintf("got %d of %d mutants noticed, want %d of 100", noticed, noticed+survived, Target))
	}
	return problems
}

// Print writes the survivors and the figures. Survivors that are not accepted
// come as entries of accepted.yaml, without a reason.
func (r Report) Print(to io.Writer) error {
	for _, p := range r.Played {
		if p.Outcome != Survived {
			continue
		}
		fmt.Fprintf(to, "%s:%d  %s  %s\n", p.File, p.LineNo, p.Function, p.Flip)
		if p.Reason != "" {
			fmt.Fprintf(to, "    accepted: %s\n", p.Reason)
			continue
		}
		entry, err := yaml.Marshal([]Acceptance{{Flip: p.Flip}})
		if err != nil {
			return err
		}
		fmt.Fprintf(to, "%s", entry)
	}
	noticed, survived := r.Count(Noticed), r.Count(Survived)
	of := noticed + survived
	_, err := fmt.Fprintf(to, "noticed %d of %d (%.1f %%); %d did not compile; %d conditions in all, seed %d; %s\n",
		noticed, of, 100*float64(noticed)/float64(max(of, 1)), r.Count(Refused), r.All, r.Seed, r.Took.Round(time.Second))
	return err
}
