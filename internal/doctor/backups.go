package doctor

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/backups"
)

// oldestBackup is what the alarm BackupMissing allows: a night, and two hours for its making.
const oldestBackup = 26 * time.Hour

// backupAge is that of the newest complete backup.
func backupAge(ctx context.Context, l *look) []Finding {
	bucket, missing := l.output(account.GitLab, "BackupBucketName", `[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]`)
	if missing != nil {
		return missing
	}
	list, err := backups.List(ctx, s3.NewFromConfig(l.accounts[account.GitLab].AWS, pathStyle), bucket, l.Now())
	if err != nil {
		return []Finding{refused("s3:ListBucket and s3:GetObject of the manifests", err)}
	}
	remedy := "scripts/ops backup --env " + l.config.Environment + " makes one; --follow shows why the last one failed"
	for _, b := range list { // the newest first
		if !b.Complete {
			continue
		}
		age := (time.Duration(b.Age) * time.Second).Round(time.Minute)
		if age > oldestBackup {
			return []Finding{wrong(remedy, "the newest complete one, %s, is %s old, want %s at most", b.ID, age, oldestBackup)}
		}
		return []Finding{ok("%s is complete, %s old", b.ID, age)}
	}
	return []Finding{wrong(remedy, "none of %d is complete", len(list))}
}
