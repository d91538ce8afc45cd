package main

import (
	"errors"
	"fmt"
)

// The ends that no retry can change. Any other error may pass, and keeps its
// message in the queue.
var (
	// ErrRejected marks an artifact that is not deployed until somebody
	// changes something; its Verdict says what.
	ErrRejected = errors.New("rejected")
	// ErrSuperseded marks an artifact that a newer one has overtaken.
	ErrSuperseded = errors.New("superseded")
	// ErrRepeated marks an event about an artifact that had its deployment,
	// or its end, before.
	ErrRepeated = errors.New("repeated")
	// ErrIgnored marks an event that is about no artifact of ours.
	ErrIgnored = errors.New("ignored")
)

// ErrWaiting marks an error that is no fault: it is not the artifact's turn yet.
var ErrWaiting = errors.New("waiting")

// Verdict is an error that ends an upload for good.
type Verdict struct {
	Kind   error  // one of the above, but for ErrWaiting
	Reason string // what to change, in the words of the person who uploads
}

func (v *Verdict) Error() string { return v.Kind.Error() + ": " + v.Reason }

// Unwrap makes errors.Is(err, ErrRejected) work.
func (v *Verdict) Unwrap() error { return v.Kind }

func reject(format string, args ...any) error {
	return &Verdict{Kind: ErrRejected, Reason: fmt.Sprintf(format, args...)}
}

func supersede(format string, args ...any) error {
	return &Verdict{Kind: ErrSuperseded, Reason: fmt.Sprintf(format, args...)}
}

func repeated(format string, args ...any) error {
	return &Verdict{Kind: ErrRepeated, Reason: fmt.Sprintf(format, args...)}
}

func ignore(format string, args ...any) error {
	return &Verdict{Kind: ErrIgnored, Reason: fmt.Sprintf(format, args...)}
}

// verdictOf returns the verdict in err, or nil.
func verdictOf(err error) *Verdict {
	var v *Verdict
	errors.As(err, &v)
	return v
}
