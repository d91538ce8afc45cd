// Command mutate flips conditions of the functions and asks whether the tests
// notice: see package mutate.
//
// Exit status: 0 enough are noticed and all others accepted, 1 not so, or it
// failed, 2 wrong use, 130 interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"gitlab-codedeploy/test/mutate"
)

func main() { os.Exit(run()) }

func run() int {
	options := mutate.Options{Progress: os.Stderr}
	flag.StringVar(&options.Only, "only", "", "flip conditions of the files whose path starts with this; tests of all packages run")
	flag.IntVar(&options.Sample, "sample", 100, "how many conditions are flipped, chosen by the seed; 0 flips all")
	flag.Uint64Var(&options.Seed, "seed", 1, "chooses the sample")
	flag.IntVar(&options.Workers, "workers", 0, "how many are played at a time; 0 is one for each processor")
	flag.Parse()
	options.Packages = flag.Args()
	if len(options.Packages) == 0 {
		options.Packages = []string{"./lambda/..."}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	problems, err := report(ctx, options)
	switch {
	case ctx.Err() != nil:
		return 130
	case err != nil:
		problems = append(problems, err.Error())
	}
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, "mutate: "+problem)
	}
	return min(len(problems), 1)
}

func report(ctx context.Context, options mutate.Options) (problems []string, err error) {
	if options.Accepted, err = mutate.Accepted(); err != nil {
		return nil, err
	}
	if options.Root, err = os.Getwd(); err != nil {
		return nil, err
	}
	report, err := mutate.Run(ctx, options)
	if err != nil {
		return nil, err
	}
	return report.Problems(), report.Print(os.Stdout)
}
