//go:build unix

package main

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/jobrole"
	"gitlab-codedeploy/internal/runner"
)

func newInstallProgram(p program) *cobra.Command {
	var b runner.Program
	role := jobrole.Role{Program: p.runs.Program}
	command := &cobra.Command{
		Use:   "install-program --name PROGRAM --sha256 HEX --bucket NAME --key KEY --region REGION --job-role ARN",
		Short: "Bring one of the project's programs, and a role, into each job of this host",
		Long: `Brings one of the project's programs into each job of this host: fetches the build of that
hash when it is not here, checks it, puts it into ` + runner.JobPrograms + `, and lets
GitLab Runner mount that folder read-only into the containers of jobs. Jobs get the role's
credentials at ` + jobrole.URL + ` (see job-credentials). A job that runs goes on with what
it has begun. Where all of it is done already, nothing is changed.`,
	}
	flags := command.Flags()
	flags.StringVar(&b.Name, "name", "", "the file's name, such as artifact (required)")
	flags.StringVar(&b.SHA256, "sha256", "", "hash of the build that is wanted (required)")
	flags.StringVar(&b.Bucket, "bucket", "", "where it is published (required)")
	flags.StringVar(&b.Key, "key", "", "by which key it is published (required)")
	flags.StringVar(&role.Region, "region", "", "AWS region of the host and the bucket (required)")
	flags.StringVar(&role.ARN, "job-role", "", "the role that jobs hold (required)")
	return p.add(job{
		command: command, // it takes the lock of operations when it has to
		check: func() error {
			return errors.Join(
				matching("name", b.Name, `[a-z][a-z0-9-]{0,30}`, "the name of a program"),
				matching("sha256", b.SHA256, `[0-9a-f]{64}`, "a SHA-256 of 64 hexadecimal digits"),
				matching("bucket", b.Bucket, `[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]`, "the name of a bucket"),
				matching("key", b.Key, `[A-Za-z0-9][A-Za-z0-9._/-]*`, "the key of an object"),
				matching("region", role.Region, `[a-z]{2}(-[a-z]+)+-[0-9]`, "a region such as ap-northeast-1"),
				matching("job-role", role.ARN, jobrole.ARN, "the ARN of a role"))
		},
		do: func(ctx context.Context) error {
			account, err := p.aws(ctx, role.Region)
			if err != nil {
				return err
			}
			return runner.InstallProgram(ctx, p.machine, s3.NewFromConfig(account), b, role, "install-program")
		},
	})
}
