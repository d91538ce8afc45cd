package mutate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// suite is the tests of one package.
type suite struct {
	importPath string
	dir        string
	deps       map[string]bool // import paths of all that the tests are made of
	took       time.Duration   // without a mutant
}

// listing is what `go list` says of a package, or of its tests.
type listing struct {
	ImportPath string
	ForTest    string
	Name       string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
	Module     *struct{ Path, Dir string }
}

// list finds the packages of patterns with something to flip, and their suites.
func list(ctx context.Context, root string, patterns []string) (packages []listing, suites []*suite, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-test", "-json=ImportPath,ForTest,Name,Dir,GoFiles,Imports,Deps,Module"}, patterns...)...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("go list %s: %w\n%s", strings.Join(patterns, " "), err, &stderr)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listing
		if err := decoder.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, nil, fmt.Errorf("go list: %w", err)
		}
		tested, isTest := strings.CutSuffix(l.ImportPath, ".test")
		switch {
		case isTest && l.Name == "main":
			s := &suite{importPath: tested, dir: l.Dir, deps: map[string]bool{}}
			for _, dep := range l.Deps {
				dep, _, _ = strings.Cut(dep, " ") // "a/b [a/b.test]" is a/b as its tests see it
				s.deps[dep] = true
			}
			suites = append(suites, s)
		case l.ForTest != "":
		case slices.Contains(l.Imports, "testing"): // a package that helps tests
		default:
			packages = append(packages, l)
		}
	}
	return packages, suites, nil
}

// of returns the suites that a package's mutants have to fear, its own first
// and then the quick ones.
func of(suites []*suite, importPath string) []*suite {
	var feared []*suite
	for _, s := range suites {
		if s.deps[importPath] {
			feared = append(feared, s)
		}
	}
	slices.SortStableFunc(feared, func(a, b *suite) int {
		if own := a.importPath == importPath; own != (b.importPath == importPath) {
			if own {
				return -1
			}
			return 1
		}
		return int(a.took - b.took)
	})
	return feared
}

// bench is a folder to build and run tests in.
type bench struct {
	root    string
	dir     string
	overlay string // "" for the sources as they are
}

// newBench makes the folder. Its bin comes first on PATH: a test that builds a
// program gets the mutant into it by that go command, whatever GOFLAGS it sets.
func newBench(root, dir string, m *Mutant) (*bench, error) {
	b := &bench{root: root, dir: dir}
	for _, sub := range []string{"bin", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if m == nil {
		return b, nil
	}
	path := filepath.Join(root, m.File)
	original, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	mutant := filepath.Join(dir, "mutant.go")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
	if err != nil {
		return nil, err
	}
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return nil, err
	}
	b.overlay = filepath.Join(dir, "overlay.json")
	wrapper := fmt.Sprintf("#!/bin/sh\nGOFLAGS=\"$GOFLAGS '-overlay=%s'\" exec '%s' \"$@\"\n", b.overlay, goCommand)
	return b, errors.Join(
		os.WriteFile(mutant, m.Source(original), 0o644),
		os.WriteFile(b.overlay, replace, 0o644),
		os.WriteFile(filepath.Join(dir, "bin", "go"), []byte(wrapper), 0o755),
	)
}

var errDoesNotCompile = errors.New("does not compile")

// build compiles a suite into the bench's folder.
func (b *bench) build(ctx context.Context, s *suite) error {
	args := []string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-o", filepath.Join(b.dir, "tests")}
	if b.overlay != "" {
		args = append(args, "-overlay="+b.overlay)
	}
	out, err := b.run(ctx, b.root, 0, append([]string{"go"}, append(args, s.importPath)...)...)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w\n%s", errDoesNotCompile, err, out)
	}
	return err
}

// errFails and errHangs are what tests notice a mutant by.
var (
	errFails = errors.New("the tests fail")
	errHangs = errors.New("the tests do not end")
)

// play runs the suite that was built last, within limit.
func (b *bench) play(ctx context.Context, s *suite, limit time.Duration) error {
	// A flipped loop may fill the memory of the machine before its time is over.
	const bounded = "ulimit -v 6291456 2>/dev/null; exec \"$@\""
	out, err := b.run(ctx, s.dir, limit, "/bin/sh", "-c", bounded, "sh", filepath.Join(b.dir, "tests"),
		"-test.paniconexit0", "-test.short", "-test.failfast", "-test.count=1", "-test.timeout="+limit.String())
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, errHangs):
		return err
	case bytes.Contains(out, []byte("panic: test timed out after")):
		return fmt.Errorf("%w within %s", errHangs, limit)
	}
	return fmt.Errorf("%w: %w\n%s", errFails, err, out)
}

// run waits for a command and all that it started, and returns the end of its
// output. limit 0 is none.
func (b *bench) run(ctx context.Context, dir string, limit time.Duration, args ...string) ([]byte, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		// The test binary speaks of its time-out itself, if it still can.
		ctx, cancel = context.WithTimeoutCause(ctx, limit+5*time.Second, fmt.Errorf("%w within %s", errHangs, limit))
		defer cancel()
	}
	output := &tail{}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	cmd.Env = append(os.Environ(),
		"PWD="+dir,
		"PATH="+filepath.Join(b.dir, "bin")+string(filepath.ListSeparator)+os.Getenv("PATH"),
		"TMPDIR="+filepath.Join(b.dir, "tmp"),
	)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	group := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = group, 5*time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	err := cmd.Wait()
	_ = group() // what a killed or hanging test has started
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return output.text, err
}

// tail keeps the end of what is written: a flipped loop may write without end.
type tail struct{ text []byte }

const tailSize = 1 << 16

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if len(t.text) > 2*tailSize {
		t.text = append(t.text[:0], t.text[len(t.text)-tailSize:]...)
	}
	return len(p), nil
}

// limit for a suite that took so long without a mutant.
func (s *suite) limit(patience time.Duration) time.Duration {
	return (patience + 5*s.took).Round(time.Second)
}

func benchName(i int) string { return "mutant-" + strconv.Itoa(i) }
