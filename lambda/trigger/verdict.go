package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Two ends that no retry can change. Any other error may pass, and keeps its
// message in the queue.
var (
	// ErrRejected marks an artifact that is not deployed until somebody
	// changes something; its Verdict says what.
	ErrRejected = errors.New("rejected")
	// ErrIgnored marks an event that is about no artifact of ours.
	ErrIgnored = errors.New("ignored")
)

// Verdict is an error that ends an upload for good.
type Verdict struct {
	Kind   error  // ErrRejected or ErrIgnored
	Reason string // what to change, in the words of the person who uploads
}

func (v *Verdict) Error() string { return v.Kind.Error() + ": " + v.Reason }

// Unwrap makes errors.Is(err, ErrRejected) work.
func (v *Verdict) Unwrap() error { return v.Kind }

func reject(format string, args ...any) error {
	return &Verdict{Kind: ErrRejected, Reason: fmt.Sprintf(format, args...)}
}

func ignore(format string, args ...any) error {
	return &Verdict{Kind: ErrIgnored, Reason: fmt.Sprintf(format, args...)}
}

// clip bounds text that came from outside to about limit bytes of valid UTF-8.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	end := limit
	for end > 0 && end > limit-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:end], "\uFFFD"), len(s))
}
