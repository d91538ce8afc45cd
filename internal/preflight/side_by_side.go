package preflight

import (
	"slices"
	"sync"
)

// each makes n parts of a check side by side; the bound is that of their calls.
func each(n int, part func(i int) []Finding) []Finding {
	found := make([][]Finding, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { found[i] = part(i) })
	}
	running.Wait()
	return slices.Concat(found...)
}

// once answers what f does; f runs when the first one asks, and the others wait.
func once[T any](f func() (T, error)) func() (T, error) {
	var (
		start sync.Once
		value T
		err   error
	)
	done := make(chan struct{})
	return func() (T, error) {
		start.Do(func() {
			go func() {
				defer close(done)
				value, err = f()
			}()
		})
		<-done
		return value, err
	}
}
