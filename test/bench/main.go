// Command bench measures this repository's claims, each against a reference in
// the same run, and prints one table of all parts, or of those that it is given:
//
//	trigger   the function, against the same job in Python 3 with boto3, and what
//	          it asks of AWS for one deployment
//	upload    the job's program, against `aws deploy push`
//	backup    a backup of a host, against the script before it
//	ops       the operator's program, against the scripts before it
//	synth     a thousand deployment groups, against one; without the CDK's
//	          validation of the templates, against with it
//	tests     go test ./test
//
// Machines differ and are never quiet, so ours and the reference take turns
// (A B A B …), medians are shown, and a ratio is the median of the pairs' own
// ratios. A missed target is a word in the table; only what broke is an error.
// Linux only: memory is read from /proc. Everything stays on this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"gitlab-codedeploy/test/e2e/emulator"
)

// Options says how much is measured. The zero value measures nothing.
type Options struct {
	Parts []string // that are measured

	Root string // of the repository
	Work string // an empty folder; holds all folders at a time

	// Uncounted is how often each program is run before the runs that count, to fill the
	// caches of the disk, of Python and of compilers.
	Uncounted int

	Pairs int // of processes of the trigger
	Warm  int // invocations of each process after its first

	MemoryEvery time.Duration // how often the memory of an upload and of a backup is looked at

	UploadPairs   int // of uploads
	FolderMB      int // size of the folder that is uploaded, in 10⁶ bytes
	SmallFolderMB int // of a smaller one, and of a huge one, to see whether memory grows
	HugeFolderMB  int

	BackupPairs int // of backups of a host
	BackupMB    int // size of what is backed up, in 10⁶ bytes

	Emulator      string        // folder of one that is up, with neither pushes nor backups
	OperatorPairs int           // of runs of each command of the operator's
	FollowPairs   int           // of operations of a host that are followed
	FollowFor     time.Duration // how long each of these takes

	SynthPairs       int // of synths
	DeploymentGroups int // in the larger of their configurations

	TestRuns int // of go test ./test

	OldScripts bool // whether the scripts of old commits are references, where this clone has them

	GOARCH string // that binaries are measured for
	Script string // what starts the upload, from Root

	// Keep holds what the uploads brought, by key, for whoever wants to look
	// into it. Optional.
	Keep string

	Progress io.Writer
}

func main() {
	options := Options{Uncounted: 1, MemoryEvery: 50 * time.Millisecond, GOARCH: "arm64", Progress: os.Stderr}
	flag.IntVar(&options.Pairs, "pairs", 15, "pairs of the trigger's processes")
	flag.IntVar(&options.Warm, "warm", 100, "invocations of each process after its first")
	flag.IntVar(&options.UploadPairs, "upload-pairs", 3, "pairs of uploads")
	flag.IntVar(&options.FolderMB, "mb", 500, "size of the folder that is uploaded, in 10⁶ bytes")
	flag.IntVar(&options.SmallFolderMB, "small-mb", 100, "size of the folder that shows whether memory grows")
	flag.IntVar(&options.HugeFolderMB, "huge-mb", 5000, "size of the folder that is compared with it")
	flag.IntVar(&options.BackupPairs, "backup-pairs", 3, "pairs of backups of a host")
	flag.IntVar(&options.BackupMB, "backup-mb", 1000, "size of what is backed up, in 10⁶ bytes")
	flag.StringVar(&options.Emulator, "emulator", "", "`folder` of an emulator that is up, for the operator's commands")
	flag.IntVar(&options.OperatorPairs, "operator-pairs", 9, "pairs of runs of each command of the operator's")
	flag.IntVar(&options.FollowPairs, "follow-pairs", 3, "pairs of operations of a host that are followed")
	flag.DurationVar(&options.FollowFor, "follow-for", 20*time.Second, "how long each of these takes")
	flag.IntVar(&options.SynthPairs, "synth-pairs", 5, "pairs of synths")
	flag.IntVar(&options.DeploymentGroups, "groups", 1000, "deployment groups in the larger configuration")
	flag.IntVar(&options.TestRuns, "test-runs", 1, "runs of go test ./test")
	flag.BoolVar(&options.OldScripts, "old-scripts", true, "compare with the scripts of old commits, too")
	flag.StringVar(&options.Script, "script", "scripts/ci/upload-artifact.sh", "what starts the upload, for trying a change out")
	flag.Parse()
	if options.Parts = flag.Args(); len(options.Parts) == 0 {
		options.Parts = partNames()
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, options); err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, options Options) error {
	var err error
	if options.Root, err = os.Getwd(); err != nil {
		return err
	}
	if options.Work, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(options.Work)
	report, err := Measure(ctx, options)
	if err != nil {
		return err
	}
	return report.Print(os.Stdout)
}

// parts are all of them, in the order of the table.
var parts = []struct {
	name       string
	benchmarks []func(context.Context, Options, *Report) error
}{
	{"trigger", []func(context.Context, Options, *Report) error{benchSizes, benchTrigger}},
	{"upload", []func(context.Context, Options, *Report) error{benchProgram, benchUpload}},
	{"backup", []func(context.Context, Options, *Report) error{benchBackup}},
	{"ops", []func(context.Context, Options, *Report) error{benchOperator, benchFollowing}},
	{"synth", []func(context.Context, Options, *Report) error{benchSynth}},
	{"tests", []func(context.Context, Options, *Report) error{benchTests}},
}

func partNames() (names []string) {
	for _, part := range parts {
		names = append(names, part.name)
	}
	return names
}

// Measure runs the benchmarks of some parts. What is asked for wrongly is said before anything
// is measured.
func Measure(ctx context.Context, options Options) (Report, error) {
	report := Report{Machine: machine()}
	if err := checkMachine(options.Root); err != nil {
		return report, err
	}
	for _, part := range options.Parts {
		if !slices.Contains(partNames(), part) {
			return report, fmt.Errorf("part: got %q, want one of %s", part, strings.Join(partNames(), ", "))
		}
	}
	if slices.Contains(options.Parts, "ops") {
		if _, err := emulator.Open(options.Root, options.Emulator); err != nil {
			return report, fmt.Errorf("ops is measured on the emulator in the folder that -emulator names, got %q: %w", options.Emulator, err)
		}
	}
	for _, part := range parts {
		if !slices.Contains(options.Parts, part.name) {
			continue
		}
		for _, benchmark := range part.benchmarks {
			if err := benchmark(ctx, options, &report); err != nil {
				return report, err
			}
		}
	}
	return report, nil
}

func (o Options) logf(format string, args ...any) {
	fmt.Fprintf(o.Progress, "%s bench: %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

// checkMachine names all that is missing at once.
func checkMachine(root string) error {
	if runtime.GOOS != "linux" {
		return errors.New("memory is read from /proc: run it on Linux")
	}
	var missing []string
	for _, file := range []string{"go.mod", python(root), awsCLI(root), cdk(root)} {
		if !filepath.IsAbs(file) {
			file = filepath.Join(root, file)
		}
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, file)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not there: %s; `make bench` installs it, in the root of the repository", strings.Join(missing, ", "))
	}
	return nil
}

func python(root string) string { return filepath.Join(root, ".venv", "bin", "python3") }
func awsCLI(root string) string { return filepath.Join(root, ".venv", "bin", "aws") }
func cdk(root string) string    { return filepath.Join(root, "node_modules", ".bin", "cdk") }

// machine describes where the figures come from.
func machine() string {
	model := "unknown CPU"
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	load, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	return fmt.Sprintf("%s, %d × %s, load %s at the start", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), model, load)
}

func firstLine(file string) string {
	text, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
