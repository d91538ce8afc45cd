// Command emulator runs the product on this machine, without an AWS account.
//
//	emulator demo    one push to its blue/green deployment; prints one JSON line
//	emulator up      the same without the push, left running; prints an export line
//	emulator down    stops what up started
//	emulator job-token --project P --ref R [--unprotected] [--aud A] [--ttl SECONDS]
//	                 prints a token that the emulator's GitLab has signed for a job
//
// EMULATOR_PORT sets the emulated AWS's port; without it, any free one is taken.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"gitlab-codedeploy/test/e2e/childprocess"
	"gitlab-codedeploy/test/e2e/emulator"
)

const usage = `Usage: emulator [--dir DIR] demo | up | down | job-token OPTIONS

  demo    Run one push to its blue/green deployment and stop everything.
  up      Start the emulator, deploy both stacks, leave it running.
  down    Stop what up started.
  job-token --project P --ref R [--unprotected] [--aud A] [--ttl SECONDS]
          Print the token that GitLab would sign for a job: of project P (PATH, ID
          or ID:PATH) and branch R (refs/tags/NAME for a tag). With --aud it is one
          of id_tokens, else CI_JOB_JWT. It is valid for an hour, or --ttl.

  --dir DIR    Folder for all files. Default: .emulator in the module.

EMULATOR_PORT is the port of the emulated AWS; default: a free one.
Exit status: 0 done, 1 failed, 2 wrong use, 128+N stopped by signal N.
`

func init() {
	runtime.LockOSThread() // main stays on the thread that DieWithParent marks
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("emulator", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	dir := flags.String("dir", "", "")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() != 1 && flags.Arg(0) != "job-token" {
		flags.Usage()
		return 2
	}
	options, err := options(*dir)
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		return 2
	}
	verb := flags.Arg(0)
	if verb != "host" { // the host is meant to outlive the program that started it
		childprocess.DieWithParent()
	}

	ctx, stop := interruptible()
	defer stop()
	switch verb {
	case "demo":
		err = demo(ctx, options)
	case "up":
		err = up(ctx, options)
	case "down":
		err = emulator.Down(options)
	case "job-token":
		return jobToken(options.Root, flags.Args()[1:])
	case "host": // internal: what up leaves running
		err = emulator.RunHost(ctx, options)
	default:
		flags.Usage()
		return 2
	}
	var interrupted signalError
	switch {
	case err == nil:
		return 0
	case errors.As(context.Cause(ctx), &interrupted):
		fmt.Fprintf(os.Stderr, "%v: everything that was started is stopped\n", interrupted)
		return 128 + int(interrupted.Signal.(syscall.Signal))
	default:
		emulator.Explain(os.Stderr, err)
		return 1
	}
}

func options(dir string) (emulator.Options, error) {
	root, err := moduleRoot()
	if err != nil {
		return emulator.Options{}, err
	}
	if dir == "" {
		dir = filepath.Join(root, ".emulator")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return emulator.Options{}, err
	}
	port := 0
	if text := os.Getenv("EMULATOR_PORT"); text != "" {
		if port, err = strconv.Atoi(text); err != nil || port < 1 || port > 65535 {
			return emulator.Options{}, fmt.Errorf("EMULATOR_PORT: got %q, want a port from 1 to 65535", text)
		}
	}
	return emulator.Options{Root: root, Dir: dir, Port: port, Progress: os.Stderr}, nil
}

// moduleRoot is the nearest folder above with a go.mod.
func moduleRoot() (string, error) {
	folder, err := os.Getwd()
	for ; err == nil; folder = filepath.Dir(folder) {
		if _, statErr := os.Stat(filepath.Join(folder, "go.mod")); statErr == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			err = errors.New("run it inside the repository: no go.mod here or above")
		}
	}
	return "", err
}

// jobToken prints a token on stdout, and nothing else.
func jobToken(root string, args []string) int {
	flags := flag.NewFlagSet("job-token", flag.ContinueOnError)
	var r emulator.TokenRequest
	flags.StringVar(&r.Project, "project", "", "`PATH`, ID or ID:PATH of the project")
	flags.StringVar(&r.Ref, "ref", "", "`BRANCH`, or refs/tags/NAME")
	flags.BoolVar(&r.Unprotected, "unprotected", false, "the ref is not protected")
	flags.StringVar(&r.Audience, "aud", "", "`AUDIENCE` of a token of id_tokens; without it, a CI_JOB_JWT")
	seconds := flags.Int("ttl", 3600, "valid for `SECONDS`")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	r.TTL = time.Duration(*seconds) * time.Second
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "error: got %q, want options only\n", flags.Arg(0))
		return 2
	}
	token, err := emulator.JobToken(root, r)
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		return 2
	}
	fmt.Println(token)
	return 0
}

func demo(ctx context.Context, o emulator.Options) error {
	deployment, err := emulator.Demo(ctx, o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(deployment)
}

func up(ctx context.Context, o emulator.Options) error {
	export, err := emulator.Up(ctx, o)
	if err != nil {
		return err
	}
	_, err = fmt.Println(export)
	return err
}

// signalError is the reason of a context that a signal ended.
type signalError struct{ os.Signal }

func (s signalError) Error() string { return "stopped by signal: " + s.String() }

func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for s := range signals {
			cancel(signalError{s}) // a second one changes nothing: cleaning up goes on
		}
	}()
	return ctx, func() { cancel(nil) }
}
