//go:build unix

package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/reindex"
)

func newReindex(p program) *cobra.Command {
	var a asking
	command := &cobra.Command{
		Use:   "reindex",
		Short: "Rebuild the database's indexes when this host sorts text otherwise than they are sorted",
		Long: `Rebuilds all indexes of GitLab's PostgreSQL, when they are in the order of another C library:
from glibc 2.28 on, text is sorted otherwise than before, so the data of a server of Amazon
Linux 2 (2.26) is wrong on one of Amazon Linux 2023 (2.34) until then. It does nothing when
they are right.

GitLab is away meanwhile, and comes back whatever happens. The largest index needs twice its
size on the data volume. A run that was killed is resumed by the next one.

Prints one line of JSON: {"glibc", "state", "indexes", "bytes"}; state is unneeded, needed
(--check) or rebuilt. Exit status 1 when something cannot be rebuilt: the last line names it.`,
		Example: "  host reindex --check yes",
	}
	a.add(command.Flags(), "only say what would be rebuilt")
	return p.add(job{
		command: command, exclusive: true, onlyLooks: func() bool { return bool(a.check) },
		check: func() error { return p.canAsk(a) },
		do: func(ctx context.Context) (err error) {
			r := reindex.Reindex{
				GitLab:  omnibus.GitLab{Machine: p.machine},
				Confirm: func(question string) error { return p.confirm(a, question) },
			}
			var result reindex.Result
			if a.check {
				result, err = r.Check(ctx)
			} else {
				result, err = r.Do(ctx)
			}
			if err != nil {
				return err
			}
			return json.NewEncoder(p.stdout).Encode(result)
		},
	})
}
