package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/upload"
)

// known is what status prints.
type known struct {
	UploadID  text `json:"uploadId"`
	Bucket    text `json:"bucket"`
	Key       text `json:"key"`
	VersionID text `json:"versionId"`
	*outcome
}

func newStatus(p program) *cobra.Command {
	var (
		bucket string
		w      waiting
	)
	command := &cobra.Command{
		Use:   "status ID --bucket BUCKET",
		Short: "Tell how the deployment of an upload goes",
		Long: `Reads the state of an upload, by the id that upload has printed. With --wait, it
waits for the end as upload --wait does; the time-out counts from now.

Prints one line of JSON on stdout, each value null while unknown:

    {"uploadId","bucket","key","versionId","state","deploymentId","reason"}

Exit status 1 means that the deployment failed, or that there is no state.`,
		Example: "  artifact status 4711-90210-1c2d3e4f5a6b --bucket example-artifacts --wait",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("got %d arguments, want the id of one upload", len(args))}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := givenValues(c); err != nil {
				return err
			}
			switch bucket = cmp.Or(bucket, p.getenv("ARTIFACT_BUCKET")); {
			case bucket == "":
				return usageError{errors.New("--bucket or ARTIFACT_BUCKET is required")}
			case !upload.ValidID(args[0]):
				return usageError{fmt.Errorf("id: got '%s', want 1 to 128 of A-Z a-z 0-9 . _ -", plain.Line(args[0], 200))}
			}
			if err := upload.CheckBucket(bucket); err != nil {
				return usageError{err}
			}
			if err := w.complete(p); err != nil {
				return err
			}
			return p.status(c.Context(), args[0], bucket, w)
		},
	}
	command.Flags().SortFlags = false
	command.Flags().StringVar(&bucket, "bucket", "", "artifact `bucket` (ARTIFACT_BUCKET)")
	w.addWait(command.Flags())
	return command
}

// status tells the state of an upload of this or of another job.
func (p program) status(ctx context.Context, id, bucket string, w waiting) error {
	client, region, err := p.s3(ctx)
	if err != nil {
		return err
	}
	wait := p.waitFor(w, client, bucket, region)
	wait.IDs = []string{id}
	ended := error(nil)
	if w.wait {
		ended = wait.Follow(ctx)
	} else {
		ended = wait.Once(ctx)
	}
	return firstOf(ended, p.print(known{
		UploadID: text(id), Bucket: text(bucket), Key: text(plain.Line(wait.State.Key, 1024)), VersionID: text(plain.Line(wait.State.VersionID, 1024)),
		outcome: outcomeOf(wait.State),
	}))
}
