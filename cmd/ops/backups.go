package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/table"
)

func (p *program) backups() *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:   "backups --env NAME",
		Short: "List the backups in the bucket, and say which of them are complete",
		Long: `A backup is complete when its manifest is sound and each part that it names is there in
its size. What has no manifest was never finished, or is on its way. The parts' content
is compared when they are restored. It changes nothing.

JSON: [{"backup", "version", "edition", "bytes", "ageSeconds", "host", "complete",
"reason"}, …], the newest first; unknown is null.
Exit status 0: listed, also when there are none.`,
		Example: "  scripts/ops backups --env staging --profile gitlab",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			a, err := p.openAccount(ctx, o, account.GitLab)
			if err != nil {
				return err
			}
			bucket, err := a.BackupBucket()
			if err != nil {
				return err
			}
			list, err := backups.List(ctx, s3Client(a), bucket, p.now())
			switch {
			case err != nil:
				return err
			case o.json:
				return p.printJSON(list)
			case len(list) == 0:
				p.log("there is no backup in %s", bucket)
				return nil
			}
			return printBackups(p, list)
		},
	}
	o.forAccount(command, account.GitLab)
	o.withJSON(command)
	return command
}

func printBackups(p *program, list []backups.Backup) error {
	t := table.Table{Head: []string{"BACKUP", "GITLAB", "SIZE", "AGE", "COMPLETE"}, Width: longCell}
	for _, b := range list {
		complete := "yes"
		if b.Reason != nil {
			complete = "no: " + *b.Reason
		}
		t.Rows = append(t.Rows, []string{b.ID, b.Version + " " + b.Edition, size(b.Bytes), age(b.Age), complete})
	}
	return t.Print(p.stdout)
}

// size is a number of bytes for people.
func size(bytes int64) string {
	switch {
	case bytes < 1e6:
		return fmt.Sprintf("%d kB", (bytes+999)/1000)
	case bytes < 1e9:
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(bytes)/1e9)
}

// age is a number of seconds for people.
func age(seconds int64) string {
	const minute, hour, day = 60, 3600, 86400
	rounded := func(unit int64) int64 { return (seconds + unit/2) / unit }
	switch {
	case seconds < 2*hour:
		return fmt.Sprintf("%d min", rounded(minute))
	case seconds < 2*day:
		return fmt.Sprintf("%d h", rounded(hour))
	}
	return fmt.Sprintf("%d days", rounded(day))
}
