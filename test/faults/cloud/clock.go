package cloud

import (
	"slices"
	"time"
)

// Clock is simulated time with an agenda. Time stands still until somebody
// calls Tick or Next.
type Clock struct {
	// Live makes it the process's own clock, which a test may have faked
	// (testing/synctest): Tick sleeps then, and Next is for what is due.
	Live bool

	now    time.Time
	agenda []entry // by time, then in the order of booking
}

type entry struct {
	at time.Time
	do func()
}

// Now is the simulated time.
func (c *Clock) Now() time.Time {
	if c.Live {
		return time.Now().UTC()
	}
	return c.now
}

// Tick lets a moment pass. What falls due in it happens at the next Next.
func (c *Clock) Tick(d time.Duration) {
	if c.Live {
		time.Sleep(d)
		return
	}
	c.now = c.now.Add(d)
}

// After books something for later.
func (c *Clock) After(d time.Duration, do func()) {
	at := c.Now().Add(d)
	i, _ := slices.BinarySearchFunc(c.agenda, at, func(e entry, at time.Time) int {
		if e.at.After(at) {
			return 1
		}
		return -1 // Equal ones come first, so that they stay in order.
	})
	c.agenda = slices.Insert(c.agenda, i, entry{at, do})
}

// Due returns the time of the next thing on the agenda; false means it is empty.
func (c *Clock) Due() (time.Time, bool) {
	if len(c.agenda) == 0 {
		return time.Time{}, false
	}
	return c.agenda[0].at, true
}

// Next goes on to the next thing on the agenda and does it.
func (c *Clock) Next() {
	next := c.agenda[0]
	c.agenda = c.agenda[1:]
	if wait := next.at.Sub(c.Now()); wait > 0 {
		c.Tick(wait)
	}
	next.do()
}
