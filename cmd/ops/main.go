// Command ops is the operator's program. scripts/ops builds it when its sources have changed, and starts it.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"gitlab-codedeploy/internal/cdk"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/sessions"
)

// version is set by the linker: see scripts/ops.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A reader that ends early, such as head, is an error of the write then, and not this program's death.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	root := checkout()
	p := &program{
		stdout: os.Stdout, stderr: os.Stderr, root: root, configs: filepath.Join(root, "config"), now: time.Now, output: outputOf, web: web(),
		cdk:      cdk.CLI{Root: root, In: os.Stdin, Out: os.Stderr},
		terminal: term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())),
		open:     openAWS,
		find:     exec.LookPath, plugin: func(path string) sessions.Plugin { return sessions.Program(path) },
		answer:   func() string { return readLine(ctx, os.Stdin) },
		variable: os.Getenv, secret: takeVariable,
	}
	err := p.command().ExecuteContext(ctx)
	if text := message(ctx, err); text != "" {
		fmt.Fprintln(os.Stderr, plain.Line(text, maxMessage))
	}
	os.Exit(exitStatus(err))
}

// takeVariable reads a variable and removes it from the environment.
func takeVariable(name string) string {
	value := os.Getenv(name)
	_ = os.Unsetenv(name)
	return value
}

// readLine reads a line, or nothing when it is interrupted before somebody types one.
func readLine(ctx context.Context, r io.Reader) string {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(r).ReadString('\n')
		line <- strings.TrimSpace(text)
	}()
	select {
	case text := <-line:
		return text
	case <-ctx.Done():
		return ""
	}
}

// checkout is the folder that the program was built in: bin/ops is below it.
func checkout() string {
	program, err := os.Executable()
	if err != nil {
		return "."
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return "."
	}
	return filepath.Dir(filepath.Dir(program))
}
