package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/upload"
)

// maxMessage is far above what errors have. What is in them may come from others.
const maxMessage = 5000

// program is what the commands depend on.
type program struct {
	getenv   func(string) string
	stdout   io.Writer // the result, one line
	stderr   io.Writer // talk
	terminal bool      // stderr is one
	aws      func(context.Context) (aws.Config, error)
}

// run runs a command line and returns the exit status.
func (p program) run(ctx context.Context, args []string) int {
	root := newRoot(p)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		p.log("error: %s", plain.Line(err.Error(), maxMessage))
	}
	return exitStatus(ctx, err)
}

func newRoot(p program) *cobra.Command {
	root := &cobra.Command{
		Use:   "artifact",
		Short: "Upload what CodeDeploy is to deploy",
		Long: `Packs a folder as a CodeDeploy bundle and puts it into the artifact bucket,
which starts a blue/green deployment; with --wait, tells how that ends.

The result is one line of JSON on stdout; talk and progress go to stderr.

Exit status:

    0  done; with --wait, Succeeded or Superseded, or with --until traffic the new instances have the traffic
    1  S3 refused, or the transfer failed, and what was begun is taken back; with --wait also Failed, Stopped,
       Rejected, or the state may not be read
    2  wrong use or wrong content; nothing was sent
    3  no end within the time-out

Whatever ends the wait, a deployment that was started goes on.`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command: %s, want upload, check or status", args[0])}
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("got no command, want upload, check or status")}
		},
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newUpload(p), newCheck(p), newStatus(p))
	return root
}

// usageError is wrong use: nothing was sent.
type usageError struct{ error }

func (e usageError) Error() string { return e.error.Error() + " (see --help)" }
func (e usageError) Unwrap() error { return e.error }

// contentError is a folder that cannot be deployed: nothing was sent.
type contentError struct{ error }

func (e contentError) Error() string { return e.error.Error() + "; nothing was uploaded" }
func (e contentError) Unwrap() error { return e.error }

// interruption is a signal that ended the program.
type interruption struct{ signal syscall.Signal }

func (i interruption) Error() string { return "interrupted by a signal: " + i.signal.String() }

// exitStatus is the only place that knows the statuses. A signal's is what a
// shell tells of a program that it ended.
func exitStatus(ctx context.Context, err error) int {
	var (
		interrupted interruption
		usage       usageError
		content     contentError
		timeout     *upload.TimeoutError
	)
	switch {
	case err == nil:
		return 0
	case errors.As(context.Cause(ctx), &interrupted):
		return 128 + int(interrupted.signal)
	case errors.As(err, &usage), errors.As(err, &content):
		return 2
	case errors.As(err, &timeout):
		return 3
	}
	return 1
}

// log writes a line for people.
func (p program) log(format string, args ...any) {
	fmt.Fprintf(p.stderr, "%s %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

// s3 returns a client by the environment's credentials, as the AWS CLI has them.
func (p program) s3(ctx context.Context) (client *s3.Client, region string, err error) {
	config, err := p.aws(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("the environment's settings for AWS: %w", err)
	}
	return s3.NewFromConfig(config, func(o *s3.Options) {
		// The usual address puts the bucket's name in front of the host, and that
		// name does not resolve for every endpoint of one's own.
		o.UsePathStyle = o.BaseEndpoint != nil
		o.DisableLogOutputChecksumValidationSkipped = true // An object without a checksum is none of the job's worries.
	}), config.Region, nil
}

// noArguments refuses what is no flag.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown argument: %s", args[0])}
	}
	return nil
}
