//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gitlab-codedeploy/internal/backup"
)

// keeping is where backups are kept, by flags.
type keeping struct {
	bucket, region, folder string
	folderFlag             string
}

// add adds the flags. folderFlag is the one for a folder.
func (k *keeping) add(flags *pflag.FlagSet, folderFlag, meaning string) {
	k.folderFlag = folderFlag
	flags.StringVar(&k.bucket, "bucket", "", "bucket of the backups: they are below backups/, and their secrets below secrets/")
	flags.StringVar(&k.region, "region", "", "AWS region of the bucket")
	flags.StringVar(&k.folder, folderFlag, "", meaning)
}

func (k *keeping) check() error {
	switch {
	case k.bucket == "" && k.folder == "":
		return errors.New("missing: --bucket or --" + k.folderFlag)
	case k.bucket != "" && k.folder != "":
		return errors.New("want one of --bucket and --" + k.folderFlag)
	case k.folder != "":
		return matching(k.folderFlag, k.folder, `/[A-Za-z0-9._/-]+`, "the absolute path of a folder")
	}
	return errors.Join(
		matching("bucket", k.bucket, `[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]`, "the name of a bucket"),
		matching("region", k.region, `[a-z]{2}(-[a-z]+)+-[0-9]`, "a region such as ap-northeast-1"))
}

// open returns the store, and the way to AWS for a bucket.
func (k *keeping) open(ctx context.Context, p program) (backup.Store, aws.Config, error) {
	if k.folder != "" {
		return backup.NewFolder(p.machine, k.folder), aws.Config{}, nil
	}
	account, err := p.aws(ctx, k.region)
	if err != nil {
		return nil, account, err
	}
	return backup.NewBucket(p.machine, s3.NewFromConfig(account), k.bucket), account, nil
}

func newBackup(p program) *cobra.Command {
	var k keeping
	var days int
	var environment string
	command := &cobra.Command{
		Use:   "backup --bucket NAME --region REGION | --to-dir FOLDER",
		Short: "Make a complete backup of the GitLab on this host",
		Long: `Makes a complete backup of the GitLab on this host: what gitlab-backup makes, and what it
leaves out (gitlab-secrets.json, gitlab.rb, certificates, encrypted settings, SSH host keys;
before 14.7 also packages and Terraform states). GitLab goes on working meanwhile.

A part that failed fails it, whatever gitlab-backup ends with. The content is checked and
hashed while it is stored, and a manifest is written last: a backup without one does not
count, so there is none that only looks complete. This server, or the old one: any with
GitLab 12.2 or later from its package.

Credentials for AWS are found as always: the instance's role, or on an old server
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.

Prints one line of JSON: {"backup", "version", "edition", "bytes", "store"}.`,
		Example: "  host backup --bucket example-backups --region ap-northeast-1\n  host backup --to-dir /mnt/copy",
	}
	flags := command.Flags()
	k.add(flags, "to-dir", "folder to store it in instead, for a copy by other means; it will hold the secrets")
	flags.IntVar(&days, "keep-days", 0, "afterwards remove backups from the bucket that are older, but never the newest three; 0 keeps all")
	flags.StringVar(&environment, "environment", "", "afterwards count it in CloudWatch for this environment, where an alarm waits for it")
	return p.add(job{
		command: command, exclusive: true,
		check: func() error {
			err := errors.Join(k.check(), matching("environment", environment, `([a-z][a-z0-9-]{0,19})?`, "the name of an environment"))
			if days < 0 || days > 9999 {
				err = errors.Join(err, errors.New("--keep-days: want a number of days up to 9999"))
			}
			if k.folder != "" && (days > 0 || environment != "") {
				err = errors.Join(err, errors.New("--keep-days and --environment go with --bucket"))
			}
			return err
		},
		do: func(ctx context.Context) error {
			store, account, err := k.open(ctx, p)
			if err != nil {
				return err
			}
			made, err := backup.Make(ctx, p.machine, store)
			if err != nil {
				return err
			}
			if days > 0 {
				backup.Prune(ctx, p.machine, s3.NewFromConfig(account), k.bucket, made.ID, days, time.Now())
			}
			if environment != "" {
				backup.Count(ctx, p.machine, cloudwatch.NewFromConfig(account), environment)
			}
			return json.NewEncoder(p.stdout).Encode(struct {
				Backup  string `json:"backup"`
				Version string `json:"version"`
				Edition string `json:"edition"`
				Bytes   int64  `json:"bytes"`
				Store   string `json:"store"`
			}{made.ID, made.Version, made.Edition, made.Bytes(), store.String()})
		},
	})
}
