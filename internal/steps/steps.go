// Package steps tells people what a long command is at, and how long it took.
package steps

import (
	"fmt"
	"time"
)

// Steps are the steps of one command, one after the other.
type Steps struct {
	Log func(format string, values ...any)
	Now func() time.Time

	name  string
	began time.Time
}

// Begin says what begins.
func (s *Steps) Begin(format string, values ...any) {
	s.At(format, values...)
	s.Log("%s", s.name)
}

// End says that the step is done.
func (s *Steps) End() { s.Log("%s: done in %s", s.name, s.Took()) }

// Name is what is under way.
func (s *Steps) Name() string { return s.name }

// Took is how long that has taken until now, in seconds.
func (s *Steps) Took() string { return fmt.Sprintf("%.0f s", s.Now().Sub(s.began).Seconds()) }

// At notes without a word what is under way.
func (s *Steps) At(format string, values ...any) {
	s.name, s.began = fmt.Sprintf(format, values...), s.Now()
}
