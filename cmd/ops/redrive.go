package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/redrive"
)

// queueURL and functionName are what the stack's outputs have to look like.
const (
	queueURL     = `https?://[A-Za-z0-9.:-]+/[0-9]{12}/[A-Za-z0-9_-]{1,80}`
	functionName = `[A-Za-z0-9_][A-Za-z0-9_-]{0,63}`
)

var seconds = regexp.MustCompile(`^[1-9][0-9]{0,5}$`)

func (p *program) redrive() *cobra.Command {
	var o options
	var timeout string
	command := &cobra.Command{
		Use:   "redrive --env NAME",
		Short: "Move the uploads in the dead-letter queue back to the trigger's queue, and redrive state changes",
		Long: `Moves the uploads in the dead-letter queue back to the trigger's queue, and redrives state
changes.

There they are tried as if they had just come: the newest upload of each group is deployed,
what is older or was deployed meanwhile ends as such. Fix first what kept them from being
deployed, or they come back. SQS does the moving, and goes on with it when this command
ends; started again, it follows a move that is under way:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html

After that the status function works off its own dead letters: events of CodeDeploy that it
failed on. An event that it fails on again stays there.

Prints one JSON object on stdout: {"deadLetterQueue", "queue", "status", "moved", "events"};
status is COMPLETED, or NOTHING when there was nothing to move; events is how many state
changes the status function worked off.

Exit status: 0 done, or nothing to do; 1 the move failed, was cancelled, not confirmed, or
is still going on, or state changes are left; 2 wrong use, configuration or credentials.`,
		Example: "  scripts/ops redrive --env staging --profile deploy",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			if !seconds.MatchString(timeout) {
				return usageError{fmt.Errorf("--timeout: want seconds, got '%s'", timeout)}
			}
			limit, err := strconv.Atoi(timeout)
			if err != nil {
				return usageError{err}
			}
			if !o.yes && !o.dryRun && !p.terminal {
				return usageError{errors.New("there is no terminal to ask on: pass --yes to move without a question")}
			}
			a, err := p.openAccount(ctx, o, account.Deploy)
			if err != nil {
				return err
			}
			r := &redrive.Redrive{
				Queues: sqs.NewFromConfig(a.AWS), Objects: s3Client(a), Functions: lambda.NewFromConfig(a.AWS),
				StatusFunction: func() (string, error) { return a.Output("StatusFunctionName", functionName) },
				Where:          fmt.Sprintf("account %s, %s", a.ID, a.Config.Region),
				Timeout:        time.Duration(limit) * time.Second, Now: p.now, Log: p.log,
				Confirm: func(question string) error { return p.confirm(o, question) },
				Show:    func(line string) { _, _ = fmt.Fprintln(p.stderr, line) },
			}
			if r.Bucket, err = a.ArtifactBucket(); err != nil {
				return err
			}
			if r.DeadLetters, err = a.Output("DeadLetterQueueUrl", queueURL); err != nil {
				return err
			}
			if r.Queue, err = a.Output("QueueUrl", queueURL); err != nil {
				return err
			}
			if r.StateDeadLetters, err = a.Output("StatusDeadLetterQueueUrl", "|"+queueURL); err != nil {
				return err
			}
			result, err := r.Run(ctx)
			switch {
			case err != nil:
				return err
			case o.dryRun:
				return calls.ErrDryRun
			}
			return p.printJSON(result)
		},
	}
	o.forAccount(command, account.Deploy)
	command.Flags().StringVar(&timeout, "timeout", "3600", "longest time to follow the move, in seconds")
	return command
}
