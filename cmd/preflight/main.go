// Command preflight asks both accounts for what a deploy of an environment would fail on (internal/preflight). It is how
// scripts/ops deploy asks:
//
//	go run ./cmd/preflight --env NAME [--profile-a PROFILE] [--profile-b PROFILE] [--only a|b]
//
// An account without a profile has the credentials that the SDK finds by itself. Exit status: 0 nothing stops the deploy;
// 1 something does, and stands on stdout; 2 wrong use or configuration.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"gitlab-codedeploy/internal/preflight"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o preflight.Options
	flag.StringVar(&o.Environment, "env", "", "environment: config/NAME.yaml")
	flag.StringVar(&o.ProfileA, "profile-a", "", "AWS profile of GitLab's account")
	flag.StringVar(&o.ProfileB, "profile-b", "", "AWS profile of the deployment account")
	flag.StringVar(&o.Only, "only", "", "ask one account, a or b")
	flag.Parse()
	o.Rest = flag.Args()
	switch err := preflight.Main(ctx, o, os.Stdout); {
	case errors.Is(err, preflight.ErrStops):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
}
