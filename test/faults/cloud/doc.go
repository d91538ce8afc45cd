// Package cloud simulates the part of AWS that an artifact passes through,
// with a clock of its own, so that an hour of a busy deployment group takes no
// time:
//
//	Bucket ── event ──▶ Queue ──▶ (the trigger function)
//	  ▲                              │ HTTP, as the SDK speaks it
//	  │                              ▼
//	(the status function) ◀── Deployments: one active per group
//
// It knows rules, not accidents: faults are for whoever stands between a
// function and [AWS.Serve]. Nothing in it is safe for use by several
// goroutines at once; one caller owns clock and state, which is what makes a
// run repeatable.
package cloud

import (
	"math/rand/v2"
	"time"
)

// AWS is one account in one Region.
type AWS struct {
	Clock       *Clock
	Bucket      *Bucket
	Queue       *Queue
	Deployments *Deployments
}

// New returns an account with one bucket, one queue and no deployment group.
// Identifiers are drawn from random; the clock starts at start.
func New(start time.Time, random *rand.Rand, bucket string) *AWS {
	clock := &Clock{now: start}
	return &AWS{
		Clock:       clock,
		Bucket:      &Bucket{Name: bucket, clock: clock, random: random, versions: map[string][]*Version{}},
		Queue:       &Queue{Visibility: 360 * time.Second, MaxReceives: 1000, clock: clock, random: random},
		Deployments: &Deployments{PageSize: 100, clock: clock, random: random, groups: map[Pair]*Group{}, byID: map[string]*Deployment{}},
	}
}

// word returns n characters of the alphabet.
func word(random *rand.Rand, n int, alphabet string) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = alphabet[random.IntN(len(alphabet))]
	}
	return string(text)
}
