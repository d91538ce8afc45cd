package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/deployments"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/table"
)

func inDeploy(calls ...string) map[account.Side][]string {
	return map[account.Side][]string{account.Deploy: calls}
}

func (p *program) deployments() *cobra.Command {
	var o options
	var q deployments.Query
	var last string
	command := &cobra.Command{
		Use:   "deployments --env NAME",
		Short: "List the last deployments of each application, the newest first",
		Long: `Lists the last deployments of each application, the newest first: who deployed what,
when, how it ended, and why.

Deployments and their ends come from CodeDeploy; uploads that got none (Waiting, Rejected,
Superseded), and why, from the objects in the artifact bucket that the jobs wait for. Where
both know a deployment, the one that is further on is shown. It changes nothing.

It looks at the newest 100 deployments and the newest 100 upload states, and says so on
stderr when there are more; --application with --deployment-group looks at the newest 100
deployments of that group. AGE counts from the start of the deployment, else from the last
change of the upload's state. An upload state that makes no sense is "unreadable".

FROM is whose upload it was, as GitLab has signed it, with the commit that the job named;
or who ordered a rollback or a promotion, as AWS names him.

JSON: [{"application", "deploymentGroup", "state", "uploadId", "deploymentId", "key",
"versionId", "reason", "project", "ref", "user", "pipelineUrl", "commit", "order",
"operator", "since", "endedAt", "ageSeconds"}, …]; unknown is null.`,
		Example: `  scripts/ops deployments --env staging --profile deploy
  scripts/ops deployments --env staging --application web --deployment-group blue --last 20 --json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			var err error
			if q.Last, err = strconv.Atoi(last); err != nil || q.Last < 1 || q.Last > 100 {
				return usageError{fmt.Errorf("--last: want a number from 1 to 100, got '%s'", last)}
			}
			if err := errors.Join(wantName("--application", q.Application), wantName("--deployment-group", q.DeploymentGroup)); err != nil {
				return usageError{err}
			}
			a, err := p.openAccount(ctx, o, account.Deploy)
			if err != nil {
				return err
			}
			bucket, err := a.ArtifactBucket()
			if err != nil {
				return err
			}
			reader := &deployments.Reader{
				Objects: s3Client(a), CodeDeploy: codedeploy.NewFromConfig(a.AWS), Bucket: bucket,
				Where: fmt.Sprintf("account %s, %s", a.ID, a.Config.Region), Now: p.now, Log: p.log,
			}
			rows, err := reader.Read(ctx, q)
			switch {
			case err != nil:
				return err
			case o.dryRun:
				return calls.ErrDryRun
			case o.json:
				return p.printJSON(rows)
			}
			return readEnough(printDeployments(p.stdout, rows))
		},
	}
	o.forAccount(command, account.Deploy)
	o.withJSON(command)
	command.Flags().StringVar(&q.Application, "application", "", "only this application")
	command.Flags().StringVar(&q.DeploymentGroup, "deployment-group", "", "only this deployment group")
	command.Flags().StringVar(&last, "last", "5", "rows for each application, 1 to 100")
	return command
}

// s3Client reaches buckets on the emulator, too: <bucket>.localhost does not resolve everywhere.
func s3Client(a *account.Account) *s3.Client {
	return s3.NewFromConfig(a.AWS, func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil
		o.DisableLogOutputChecksumValidationSkipped = true // An object without a checksum is none of the operator's worries.
	})
}

var names = regexp.MustCompile(`^[A-Za-z0-9._+=,@-]{0,100}$`)

// wantName keeps to the names that the configuration takes; "" is none.
func wantName(flag, name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%s: want up to 100 letters, digits and . _ + = , @ -, got '%s'", flag, name)
	}
	return nil
}

// printJSON prints a result for programs.
func (p *program) printJSON(result any) error {
	text, err := plain.JSON(result)
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(text)
	return readEnough(err)
}

// readEnough takes it for no mistake when a reader of the result has seen enough, such as head.
func readEnough(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

const (
	// maxReason bounds a reason in the table.
	maxReason = 1000
	// shortestReason is what is left of one on the narrowest terminal.
	shortestReason = 20
)

func printDeployments(w io.Writer, rows []deployments.Row) error {
	head := []string{"APPLICATION", "GROUP", "STATE", "AGE", "UPLOAD", "DEPLOYMENT", "VERSION"}
	known := false
	for _, r := range rows {
		known = known || r.Who() != ""
	}
	if known {
		head = append(head, "FROM")
	}
	word := func(name *string) string {
		if name == nil {
			return "-"
		}
		return plain.Word(*name)
	}
	t := table.Table{Head: append(head, "REASON"), Width: 4 * maxReason}
	used := make([]int, len(head))
	for i, name := range head {
		used[i] = len(name)
	}
	for _, r := range rows {
		cells := []string{word(r.Application), word(r.DeploymentGroup), word(&r.State), r.Age(), word(r.UploadID), word(r.DeploymentID), word(r.VersionID)}
		if known {
			who := plain.Line(r.Who(), 300)
			if who == "" {
				who = "-"
			}
			cells = append(cells, who)
		}
		for i, cell := range cells {
			used[i] = max(used[i], text.StringWidth(cell))
		}
		reason := "-"
		if r.Reason != nil {
			reason = plain.Line(*r.Reason, maxReason)
		}
		t.Rows = append(t.Rows, append(cells, reason))
	}
	// The names are for copying: only the reason is cut, and never to nothing.
	if width := columns(w); width > 0 {
		left := width
		for _, n := range used {
			left -= n + 2
		}
		for _, row := range t.Rows {
			row[len(head)] = text.Snip(row[len(head)], max(left, shortestReason), "…")
		}
	}
	return t.Print(w)
}

// columns is the width of a terminal, 0 if it is none.
func columns(w io.Writer) int {
	switch w := w.(type) {
	case interface{ Columns() int }:
		return w.Columns()
	case *os.File:
		if width, _, err := term.GetSize(int(w.Fd())); err == nil {
			return width
		}
	}
	return 0
}
