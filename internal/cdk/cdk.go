// Package cdk starts the CDK's command line, the one that package-lock.json pins, and
// reads what it has synthesised.
package cdk

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
	"strings"
	"time"

	"gitlab-codedeploy/internal/plain"
)

// Run is one run of the command.
type Run struct {
	Args  []string
	Log   string        // file that gets what it says
	Limit time.Duration // of its time; 0 means none
	Env   []string      // beyond this program's own
	Asks  bool          // it may ask on the terminal
}

// Program is the command, or what stands for it.
type Program interface {
	// Missing names the programs that it needs and that are not installed.
	Missing() []string
	Run(context.Context, Run) error
	// Script runs JavaScript with the libraries that the checkout has; in and out are JSON.
	Script(ctx context.Context, source string, in, out any) error
}

// Failed is a run that ended with another status than 0.
type Failed struct{ Status int }

func (f Failed) Error() string { return fmt.Sprintf("failed with status %d", f.Status) }

// Late is a run that was stopped because its time was up.
type Late struct{ Limit time.Duration }

func (l Late) Error() string { return fmt.Sprintf("not finished after %.0f s", l.Limit.Seconds()) }

// CLI is the command itself.
type CLI struct {
	Root string    // the checkout
	In   *os.File  // where somebody answers what it asks
	Out  io.Writer // what it says, for people
}

func (c CLI) tools() string { return filepath.Join(c.Root, "node_modules", ".bin") }

// environment has the tools of the checkout before the machine's own: the command is a
// script of Node.js, and compiles the app with Go.
func (c CLI) environment() []string {
	return append(os.Environ(), "PATH="+c.tools()+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

func (c CLI) find(name string) (string, error) {
	if program, err := exec.LookPath(filepath.Join(c.tools(), name)); err == nil || name == "cdk" {
		return program, err // no other version will do
	}
	return exec.LookPath(name)
}

// Missing names the programs that a synthesis or a deploy needs and that are not installed.
func (c CLI) Missing() []string {
	return slices.DeleteFunc([]string{"cdk", "go", "node"}, func(name string) bool {
		_, err := c.find(name)
		return err == nil
	})
}

// grace is how long the command may take to end when it is asked to.
const grace = 10 * time.Second

// Run runs the command in the checkout, and tells what it says on Out and in a file. It leads a process group, so that its own
// children end with it, and reads nothing. One that may ask stays in the terminal's group, with its questions on the terminal.
func (c CLI) Run(ctx context.Context, run Run) error {
	program, err := c.find("cdk")
	if err != nil {
		return fmt.Errorf("the CDK's command is missing: %w; make setup-tools installs it", err)
	}
	log, err := os.Create(run.Log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	limited, cancel := context.WithCancel(ctx)
	if run.Limit > 0 {
		limited, cancel = context.WithTimeout(ctx, run.Limit)
	}
	defer cancel()

	cmd := exec.CommandContext(limited, program, run.Args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.Root, append(c.environment(), run.Env...), grace
	// A file and no writer of Go's: Wait would wait for children that outlive the command and keep it open.
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	cmd.Stderr, cmd.Stdout = writer, writer
	if run.Asks {
		cmd.Stdin, cmd.Stdout = c.In, os.Stderr // stdout is for this program's result
	} else {
		leadGroup(cmd)
	}
	cmd.Cancel = func() error { return end(cmd, !run.Asks) }
	err = cmd.Start()
	_ = writer.Close()
	if err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	told := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.MultiWriter(c.Out, log), reader)
		told <- err
	}()
	err = cmd.Wait()
	if !run.Asks {
		_ = end(cmd, true) // what its leader has left
	}
	select {
	case <-told:
	case <-time.After(grace): // whoever holds it open left the group
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return Late{run.Limit}
	case errors.As(err, &exit):
		return Failed{exit.ExitCode()}
	}
	return err
}

// Script runs JavaScript with the libraries of the checkout.
func (c CLI) Script(ctx context.Context, source string, in, out any) error {
	node, err := c.find("node")
	if err != nil {
		return fmt.Errorf("node is missing: %w; make setup-tools installs it", err)
	}
	given, err := json.Marshal(in)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, node, "--eval", source)
	cmd.Dir, cmd.Env, cmd.Stdin = c.Root, c.environment(), bytes.NewReader(given)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	answer, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("node: %w: %s", err, strings.Join(plain.Lines(stderr.String(), 5, 300), " | "))
	}
	return json.Unmarshal(answer, out)
}

// Synthesis is the run that writes the templates of an environment to a folder.
func Synthesis(environment, folder string) []string {
	return []string{"synth", "--quiet", "--context", "env=" + environment, "--output", folder}
}

// Printer stands for the command, and prints what would be run.
type Printer struct {
	Out   io.Writer
	Quote func(words ...string) string
}

// Missing names nothing: nothing is run.
func (Printer) Missing() []string { return nil }

// Script runs nothing.
func (Printer) Script(context.Context, string, any, any) error {
	return errors.New("a dry run compares nothing")
}

// Run prints the run.
func (p Printer) Run(_ context.Context, run Run) error {
	_, err := fmt.Fprintln(p.Out, strings.Join([]string{"cdk", p.Quote(run.Args...)}, " "))
	return err
}
