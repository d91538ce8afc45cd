// Package markers decides which delete markers in the backup bucket the nightly
// pruning did not set.
//
// The server may hide backups, because it prunes them, and so may whoever takes
// it over. Pruning hides what is older than it is to be kept, and never one of
// the newest three; whatever else is hidden is told. The id of a backup begins with the
// second of its making, so a key says how old it is: nothing that the server
// could have changed is asked.
package markers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/metric"
)

// Lister is the part of the S3 client that Judge needs.
type Lister interface {
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
}

// Judge counts the delete markers that pruning did not set.
type Judge struct {
	Bucket   string // of backups
	KeepDays int    // how long a backup is kept
	Objects  Lister
	Metrics  *metric.Writer
	Log      *slog.Logger
}

// keptAlways is how many complete backups pruning leaves, however old they are:
// that of package backup.
const keptAlways = 3

// Unexpected is the metric of markers that pruning did not set.
const Unexpected = "UnexpectedDeleteMarkers"

// id is that of package backups.
const id = `([0-9]{10})_[0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]+\.[0-9]+\.[0-9]+(?:-ee)?`

var (
	partOfBackup = regexp.MustCompile(`^(?:backups|secrets)/` + id + `/[^/]+$`)
	manifest     = regexp.MustCompile(`^backups/` + id + `/manifest\.json$`)
)

// Handle works on one event of EventBridge's. An error means that nobody knows
// yet whether the marker was expected.
func (j *Judge) Handle(ctx context.Context, raw json.RawMessage) error {
	marker, err := j.decode(raw)
	if err != nil {
		j.Log.ErrorContext(ctx, "no event of a delete marker", "err", err.Error())
		return err
	}
	log := j.Log.With("key", clip.Line(marker.key, 1024), "versionId", clip.Line(marker.versionID, 100),
		"requester", clip.Line(marker.requester, 100), "from", clip.Line(marker.from, 100))
	reason := tooYoung(marker.key, marker.at, j.KeepDays)
	if reason == "" {
		left, err := j.complete(ctx)
		if err != nil {
			log.WarnContext(ctx, "retried later", "err", clip.Text(err.Error(), 1000))
			return err
		}
		if left < keptAlways {
			reason = fmt.Sprintf("%d complete backups are left, and pruning leaves %d", left, keptAlways)
		}
	}
	if reason == "" {
		log.InfoContext(ctx, "pruned")
		return nil
	}
	log.ErrorContext(ctx, "hidden, and not by pruning", "reason", reason)
	j.Metrics.Write([]metric.Value{{Name: Unexpected, Unit: metric.Count, Value: 1}}, map[string]string{"key": marker.key})
	return nil
}

// tooYoung says why pruning cannot have hidden a key at that time, or "".
func tooYoung(key string, at time.Time, keepDays int) string {
	match := partOfBackup.FindStringSubmatch(key)
	if match == nil {
		return "the key is no part of a backup"
	}
	second, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil {
		return "the key has no time" // ten digits always fit
	}
	if age := at.Sub(time.Unix(second, 0)); age <= time.Duration(keepDays)*24*time.Hour {
		return fmt.Sprintf("the backup is %s old, and is kept for %d days", age.Round(time.Minute), keepDays)
	}
	return ""
}

// complete counts the backups that have a manifest.
func (j *Judge) complete(ctx context.Context) (int, error) {
	pages := s3.NewListObjectsV2Paginator(j.Objects, &s3.ListObjectsV2Input{Bucket: &j.Bucket, Prefix: aws.String("backups/")})
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, fmt.Errorf("list the backups: %w", err)
		}
		for _, object := range page.Contents {
			if manifest.MatchString(aws.ToString(object.Key)) {
				n++
			}
		}
	}
	return n, nil
}

// marker is what an event says.
type marker struct {
	key, versionID, requester, from string
	at                              time.Time
}

// decode reads one event, whose keys are not encoded.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
func (j *Judge) decode(raw json.RawMessage) (marker, error) {
	var event struct {
		Source     string    `json:"source"`
		DetailType string    `json:"detail-type"`
		Time       time.Time `json:"time"`
		Detail     struct {
			Bucket struct {
				Name string `json:"name"`
			} `json:"bucket"`
			Object struct {
				Key       string `json:"key"`
				VersionID string `json:"version-id"`
			} `json:"object"`
			Requester    string `json:"requester"`
			From         string `json:"source-ip-address"`
			DeletionType string `json:"deletion-type"`
		} `json:"detail"`
	}
	if err := json.Unmarshal(raw, &event); err != nil {
		return marker{}, fmt.Errorf("no event: %s", clip.Line(err.Error(), 200))
	}
	detail := event.Detail
	switch {
	case event.Source != "aws.s3" || event.DetailType != "Object Deleted" || detail.DeletionType != "Delete Marker Created":
		return marker{}, fmt.Errorf("event %q (%q) of %q is no delete marker's",
			clip.Line(event.DetailType, 100), clip.Line(detail.DeletionType, 100), clip.Line(event.Source, 100))
	case detail.Bucket.Name != j.Bucket:
		return marker{}, fmt.Errorf("the event is of the bucket %q, want %q", clip.Line(detail.Bucket.Name, 100), j.Bucket)
	case detail.Object.Key == "" || event.Time.IsZero():
		return marker{}, errors.New("the event has no key or no time")
	}
	return marker{detail.Object.Key, detail.Object.VersionID, detail.Requester, detail.From, event.Time}, nil
}
