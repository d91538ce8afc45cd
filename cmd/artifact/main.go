// Command artifact is the program of CI jobs: it packs a folder, puts it into the
// artifact bucket, which starts a blue/green deployment, and tells how that ends.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	// For an image without certificates of its own, such as busybox.
	_ "golang.org/x/crypto/x509roots/fallback"
	"golang.org/x/term"
)

// version is set by the linker: see the Makefile.
var version = "devel"

func main() {
	// Who reads the log may go before the upload is done or taken back.
	signal.Ignore(syscall.SIGPIPE)
	// The transfer manager logs by itself what its error says, too.
	log.SetOutput(io.Discard)
	// What lives is the buffers of the upload. As much garbage again, which is Go's
	// default, would be half of the program's memory.
	debug.SetGCPercent(10)
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		cancel(interruption{(<-signals).(syscall.Signal)})
		signal.Stop(signals) // A second one ends the program at once.
	}()
	os.Exit(program{
		getenv: os.Getenv, stdout: os.Stdout, stderr: os.Stderr, terminal: term.IsTerminal(int(os.Stderr.Fd())),
		aws: func(ctx context.Context) (aws.Config, error) { return config.LoadDefaultConfig(ctx) },
	}.run(ctx, os.Args[1:]))
}
