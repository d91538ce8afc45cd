package preflight

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gitlab-codedeploy/internal/config"
)

// ErrStops means that the deploy must not go on; what was printed says why.
var ErrStops = errors.New("preflight stops the deploy")

// Options are what an operator says.
type Options struct {
	Environment        string
	ProfileA, ProfileB string   // "" leaves the credentials to the SDK's own rules
	Only               string   // "a", "b", or "" for both accounts
	Rest               []string // what is none of these; there may be nothing
}

// Main asks as an operator says, and prints what was found. It reads config/<environment>.yaml of the working directory.
func Main(ctx context.Context, o Options, out io.Writer) error {
	if len(o.Rest) > 0 {
		return fmt.Errorf("unknown argument %s", quote(o.Rest[0]))
	}
	profiles := map[Account]string{A: o.ProfileA, B: o.ProfileB}
	switch o.Only {
	case "":
	case "a":
		delete(profiles, B)
	case "b":
		delete(profiles, A)
	default:
		return fmt.Errorf("--only: got %s, want a or b", quote(o.Only))
	}
	source, err := config.LoadSource("config", o.Environment)
	if err != nil {
		return err
	}
	clients := map[Account]*Clients{}
	for account, profile := range profiles {
		if clients[account], err = NewClients(ctx, source.Config().Region, profile); err != nil {
			return err
		}
	}
	report := (&Preflight{Source: source, Clients: clients}).Run(ctx)
	if err := report.Print(out); err != nil {
		return err
	}
	if report.Stops() || ctx.Err() != nil {
		return ErrStops
	}
	return nil
}
