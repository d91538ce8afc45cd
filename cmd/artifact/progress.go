package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	// quietBytes is how much is packed without a word.
	quietBytes = 10_000_000
	// silence is how long a job's log is left without a line.
	silence = 30 * time.Second
)

// progress tells how far the packing is, which is as far as the sending less a
// few parts. A terminal gets a bar; a job's log gets a line every tenth of the
// way, and every 30 seconds.
type progress struct {
	p     program
	total int64
	bar   *progressbar.ProgressBar // nil in a log
	done  chan struct{}

	mu   sync.Mutex
	n    int64
	told int64 // tenths
	at   time.Time
}

func newProgress(p program, total int64) *progress {
	g := &progress{p: p, total: total, done: make(chan struct{}), at: time.Now()}
	if p.terminal {
		g.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.stderr), progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
		return g
	}
	go g.breakSilence()
	return g
}

// set notes that n bytes are packed by now.
func (g *progress) set(n int64) {
	if g.bar != nil {
		_ = g.bar.Set64(n)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n = n
	if g.total < quietBytes {
		return
	}
	if tenths := 10 * g.n / g.total; tenths > g.told && tenths < 10 {
		g.told = tenths
		g.tell()
	}
}

// breakSilence shows that an upload that stands still goes on all the same.
func (g *progress) breakSilence() {
	ticker := time.NewTicker(silence / 10)
	defer ticker.Stop()
	for {
		select {
		case <-g.done:
			return
		case <-ticker.C:
			g.mu.Lock()
			if time.Since(g.at) >= silence {
				g.tell()
			}
			g.mu.Unlock()
		}
	}
}

func (g *progress) tell() {
	g.at = time.Now()
	g.p.log("packed %s of %s", megabytes(g.n), megabytes(g.total))
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

// end takes the bar away.
func (g *progress) end() {
	if g.bar != nil {
		_ = g.bar.Finish()
		return
	}
	close(g.done)
}
