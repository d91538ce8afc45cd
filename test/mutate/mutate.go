package mutate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Target is how many of 100 mutants have to be noticed.
const Target = 95

// Options says what is flipped, and how many of it.
type Options struct {
	Root     string   // of the module, absolute
	Packages []string // patterns as of `go list`; whose conditions are flipped and whose tests run

	// Only takes the files whose path from the root starts with it; "" takes all.
	Only   string
	Sample int    // of those mutants; 0 means all
	Seed   uint64 // chooses the sample
	// Workers is how many mutants are played at a time; 0 means one for each processor.
	Workers int
	// Patience is how long tests may take in addition to five times what they
	// take without a mutant; 0 means 20 s.
	Patience time.Duration

	Accepted []Acceptance
	Progress io.Writer
}

// Outcome is what became of a mutant.
type Outcome int

// The outcomes.
const (
	Survived Outcome = iota
	Noticed
	Refused // by the compiler
)

// Played is a mutant with its outcome.
type Played struct {
	Mutant
	Outcome Outcome
	Reason  string // why it is accepted, "" when it is not
}

// Report is all that was found out.
type Report struct {
	Played []Played // in the order of the sources
	All    int      // mutants that there are
	Seed   uint64
	Gone   []string // entries of the list that are about nothing any more
	Took   time.Duration
}

// Run plays the mutants. The error is about the run itself.
func Run(ctx context.Context, o Options) (Report, error) {
	began := time.Now()
	o.Patience = cmp.Or(o.Patience, 20*time.Second)
	o.Workers = cmp.Or(o.Workers, runtime.NumCPU())
	mutants, suites, gone, err := prepare(ctx, o)
	if err != nil {
		return Report{}, err
	}
	work, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return Report{}, err
	}
	defer os.RemoveAll(work)
	if err := baseline(ctx, o, work, suites); err != nil {
		return Report{}, err
	}

	report := Report{All: len(mutants), Seed: o.Seed, Gone: gone}
	chosen := Sample(mutants, o.Sample, o.Seed)
	report.Played = make([]Played, len(chosen))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		workers sync.WaitGroup
		next    = make(chan int)
	)
	for range o.Workers {
		workers.Go(func() {
			for i := range next {
				outcome, err := play(ctx, o, filepath.Join(work, benchName(i)), chosen[i], suites)
				if err != nil {
					cancel(err)
					return
				}
				report.Played[i] = Played{Mutant: chosen[i], Outcome: outcome, Reason: reason(o.Accepted, chosen[i].Flip)}
			}
		})
	}
	for i := range chosen {
		o.logf("%d of %d: %s:%d %s", i+1, len(chosen), chosen[i].File, chosen[i].LineNo, chosen[i].Flip)
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	workers.Wait()
	report.Took = time.Since(began)
	return report, context.Cause(ctx)
}

// prepare lists what there is to play, and which accepted mutants are gone.
func prepare(ctx context.Context, o Options) (mutants []Mutant, suites []*suite, gone []string, err error) {
	packages, suites, err := list(ctx, o.Root, o.Packages)
	if err != nil {
		return nil, nil, nil, err
	}
	var folders []string
	for _, pkg := range packages {
		folder, err := filepath.Rel(o.Root, pkg.Dir)
		if err != nil {
			return nil, nil, nil, err
		}
		folders = append(folders, filepath.ToSlash(folder))
		for _, name := range pkg.GoFiles {
			found, err := Find(o.Root, folder, name)
			if err != nil {
				return nil, nil, nil, err
			}
			for i := range found {
				found[i].importPath = pkg.ImportPath
			}
			mutants = append(mutants, found...)
		}
	}
	gone = Gone(o.Root, o.Accepted, mutants, folders)
	mutants = slices.DeleteFunc(mutants, func(m Mutant) bool { return !strings.HasPrefix(m.File, o.Only) })
	if len(mutants) == 0 {
		return nil, nil, nil, fmt.Errorf("%s has no condition in a file %s…", strings.Join(o.Packages, " "), o.Only)
	}
	return mutants, suites, gone, nil
}

// Sample chooses n of the mutants, the same ones for the same seed, and leaves
// them in order.
func Sample(mutants []Mutant, n int, seed uint64) []Mutant {
	if n <= 0 || n >= len(mutants) {
		return mutants
	}
	chosen := rand.New(rand.NewPCG(seed, 0)).Perm(len(mutants))[:n]
	slices.Sort(chosen)
	sample := make([]Mutant, 0, n)
	for _, i := range chosen {
		sample = append(sample, mutants[i])
	}
	return sample
}

// baseline runs the tests as they are: only those that pass can notice anything.
func baseline(ctx context.Context, o Options, work string, suites []*suite) error {
	b, err := newBench(o.Root, filepath.Join(work, "baseline"), nil)
	if err != nil {
		return err
	}
	for _, s := range suites {
		o.logf("without a mutant: %s", s.importPath)
		if err := b.build(ctx, s); err != nil {
			return err
		}
		began := time.Now()
		if err := b.play(ctx, s, 10*time.Minute); err != nil {
			return fmt.Errorf("%s, without a mutant: %w", s.importPath, err)
		}
		s.took = time.Since(began)
	}
	return nil
}

// play runs the tests that depend on the mutant until some notice it.
func play(ctx context.Context, o Options, dir string, m Mutant, suites []*suite) (Outcome, error) {
	b, err := newBench(o.Root, dir, &m)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for _, s := range of(suites, m.importPath) {
		err := b.build(ctx, s)
		if err == nil {
			err = b.play(ctx, s, s.limit(o.Patience))
		}
		switch {
		case err == nil:
		case errors.Is(err, errDoesNotCompile):
			o.logf("%s:%d %s: %v", m.File, m.LineNo, m.Flip, err)
			return Refused, nil
		case errors.Is(err, errFails), errors.Is(err, errHangs):
			return Noticed, nil
		default:
			return 0, err
		}
	}
	return Survived, nil
}

func reason(list []Acceptance, flip Flip) string {
	for _, entry := range list {
		if entry.Flip == flip {
			return entry.Reason
		}
	}
	return ""
}

func (o Options) logf(format string, args ...any) {
	fmt.Fprintf(o.Progress, "%s mutate: %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
}
