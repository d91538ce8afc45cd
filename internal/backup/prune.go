//go:build unix

package backup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/machine"
)

// keptAlways are the newest backups that stay, however old. What else hides one raises an
// alarm (package markers).
const keptAlways = 3

// How a complete backup is told to CloudWatch.
const (
	MetricNamespace = "GitLabCodeDeploy"
	MetricName      = "BackupsCompleted"
	MetricDimension = "Environment"
)

// Prune removes old backups from a bucket, now that there is a new one: those older than
// some days, but never the newest three. What goes wrong with it is no fault of the new
// backup, and is only said.
func Prune(ctx context.Context, m *machine.Machine, client *s3.Client, name, newest string, days int, now time.Time) {
	ids, err := storedIDs(ctx, client, name)
	if err != nil {
		m.Say("warning: cannot list old backups: nothing was removed: %v", err)
		return
	}
	oldest := now.Add(-time.Duration(days) * 24 * time.Hour)
	kept := 0
	for _, id := range ids {
		// The newest three that count, this one among them; never one of the future.
		if made, _ := backups.Made(id); !made.Before(oldest) {
			kept++
			continue
		}
		if kept++; kept <= keptAlways || id == newest {
			continue
		}
		m.Say("removing %s, which is older than %d days", id, days)
		if err := removeBackup(ctx, m, client, name, id); err != nil {
			m.Say("warning: %s could not be removed: %v", id, err)
		}
	}
}

// storedIDs are the ids of all that is there: the complete ones first, then what never
// got a manifest; each the newest first.
func storedIDs(ctx context.Context, client *s3.Client, name string) ([]string, error) {
	ids, err := backups.IDs(ctx, client, name)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, prefix := range []string{"backups/", "secrets/"} {
		pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &name, Prefix: aws.String(prefix), Delimiter: aws.String("/")})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, folder := range page.CommonPrefixes {
				id := strings.TrimSuffix(strings.TrimPrefix(aws.ToString(folder.Prefix), prefix), "/")
				if backups.IsID(id) && !slices.Contains(ids, id) && !slices.Contains(others, id) {
					others = append(others, id)
				}
			}
		}
	}
	slices.Sort(others)
	slices.Reverse(others)
	return append(ids, others...), nil
}

// removeBackup removes the manifest first: half a backup must not count.
func removeBackup(ctx context.Context, m *machine.Machine, client *s3.Client, name, id string) error {
	sizes, err := bucket{m, client, name}.Sizes(ctx, id)
	if err != nil {
		return err
	}
	manifest := backups.ManifestKey(id)
	keys := slices.Sorted(maps.Keys(sizes))
	if i := slices.Index(keys, manifest); i >= 0 {
		keys = slices.Insert(slices.Delete(keys, i, i+1), 0, manifest)
	}
	for _, key := range keys {
		m.Changing("delete " + key)
		if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &name, Key: &key}); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// Count tells CloudWatch of a complete backup. The alarm is about the absence of this, so
// a failure is told by it.
func Count(ctx context.Context, m *machine.Machine, client *cloudwatch.Client, environment string) {
	m.Changing("count the backup")
	_, err := client.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{
		Namespace: aws.String(MetricNamespace),
		MetricData: []cwtypes.MetricDatum{{
			MetricName: aws.String(MetricName), Value: aws.Float64(1), Unit: cwtypes.StandardUnitCount,
			Dimensions: []cwtypes.Dimension{{Name: aws.String(MetricDimension), Value: &environment}},
		}},
	})
	if err != nil {
		m.Say("warning: CloudWatch did not take the count of this backup: its alarm will say that there is none: %v", err)
	}
}
