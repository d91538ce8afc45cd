package doctor

import (
	"context"
	"fmt"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/preflight"
)

// beforeDeployOf asks for what a deploy would fail on: internal/preflight.
func beforeDeployOf(side account.Side) func(context.Context, *look) []Finding {
	of := preflight.A
	if side == account.Deploy {
		of = preflight.B
	}
	return func(ctx context.Context, l *look) []Finding {
		report := (&preflight.Preflight{Source: l.Source, Now: l.Now, Clients: map[preflight.Account]*preflight.Clients{of: preflight.NewClients(l.accounts[side].AWS)}}).Run(ctx)
		var found []Finding
		for _, f := range report.Findings {
			place := fmt.Sprintf("%s:%d: %s", plain.Line(f.Place.File, 200), f.Place.Line, f.Place.Path)
			switch {
			case f.Unchecked != "":
				found = append(found, unchecked("%s: could not be checked: %s", place, f.Unchecked))
			case f.Warning:
				found = append(found, ok("%s: warning: got %s, want %s", place, f.Got, f.Want))
			default:
				found = append(found, wrong(f.Remedy, "%s: got %s, want %s", place, f.Got, f.Want))
			}
		}
		if found == nil {
			found = []Finding{ok("%d checks found nothing that a deploy would fail on", report.Checks)}
		}
		return found
	}
}
