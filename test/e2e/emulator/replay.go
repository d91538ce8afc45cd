package emulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// probe says whether a gap is filled for one resource.
type probe func(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error)

// replay fills a gap for one resource.
type replay func(ctx context.Context, e *Emulator, s *Stack, id string) error

// GapReport compares the list of gaps with what moto did on a deploy. Both
// lists are empty as long as gaps.go is right.
type GapReport struct {
	Closed   []string `json:"closed"`   // listed, but moto has done it by itself, or no stack asks for it
	Unlisted []string `json:"unlisted"` // types that moto ignored and the list does not have
}

// replay brings both deployed stacks to what their templates say.
func (e *Emulator) replay(ctx context.Context, stacks ...*Stack) (GapReport, error) {
	report := GapReport{Closed: []string{}, Unlisted: []string{}}
	ignored := map[string]bool{}
	for _, s := range stacks {
		maps.Copy(ignored, s.ignored())
	}
	for _, g := range Gaps {
		asked, closed := 0, false
		for _, s := range stacks {
			for _, id := range s.ofType(g.Type) {
				if !g.concerns(s.resources[id].Properties) {
					continue
				}
				asked++
				already, err := g.fill(ctx, e, s, id)
				if err != nil {
					return report, fmt.Errorf("%s of %s in %s: %w", g, id, s.Name, err)
				}
				closed = closed || already
			}
		}
		if asked == 0 || closed {
			report.Closed = append(report.Closed, g.String())
		}
		if g.Property == "" {
			delete(ignored, g.Type)
		}
	}
	report.Unlisted = append(report.Unlisted, slices.Sorted(maps.Keys(ignored))...)
	return report, nil
}

// concerns says whether properties have what is left out.
func (g Gap) concerns(properties map[string]any) bool {
	if g.Property == "" {
		return true
	}
	var value any = properties
	for step := range strings.SplitSeq(g.Property, ".") {
		inside, _ := value.(map[string]any)
		next, has := inside[step]
		if !has {
			return false
		}
		value = next
	}
	return true
}

// fill replays a gap for one resource, and says whether there was nothing to do.
func (g Gap) fill(ctx context.Context, e *Emulator, s *Stack, id string) (already bool, err error) {
	if g.Property == "" {
		_, already = s.physical[id]
	}
	if g.filled != nil && !already {
		if already, err = g.filled(ctx, e, s, id); err != nil {
			return false, err
		}
	}
	if already || g.replay == nil {
		return already, nil
	}
	if err := g.replay(ctx, e, s, id); err != nil {
		return false, err
	}
	// Also the proof that the probe can see what it looks for.
	filled, err := g.filled(ctx, e, s, id)
	if err == nil && !filled {
		err = errors.New("the replay had no effect")
	}
	return false, err
}
