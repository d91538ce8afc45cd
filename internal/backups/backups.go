// Package backups knows what a backup of GitLab consists of (manifest.go), and reads which of those in the bucket count:
// parts lie below backups/<id>/ and secrets/<id>/, and a manifest is written last.
package backups

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"gitlab-codedeploy/internal/plain"
)

// Bucket is the part of the client of S3 that is needed.
type Bucket interface {
	s3.ListObjectsV2APIClient
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Backup is one of them. What is not known is nil.
type Backup struct {
	ID       string  `json:"backup"` // GitLab's own
	Version  string  `json:"version"`
	Edition  string  `json:"edition"` // ce or ee
	Bytes    int64   `json:"bytes"`   // all that lies there
	Age      int64   `json:"ageSeconds"`
	Host     *string `json:"host"` // that it was made on
	Complete bool    `json:"complete"`
	Reason   *string `json:"reason"` // why it is not complete
}

// id is GitLab's: the second of its making, the day, and the version. GitLab adds -ee for that edition.
var id = regexp.MustCompile(`^([0-9]{10})_[0-9]{4}_[0-9]{2}_[0-9]{2}_([0-9]+\.[0-9]+\.[0-9]+)(-ee)?$`)

// IsID says whether a text is the id of a backup.
func IsID(text string) bool { return id.MatchString(text) }

// Made is the time in an id.
func Made(text string) (time.Time, bool) {
	parts := id.FindStringSubmatch(text)
	if parts == nil {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(parts[1], 10, 64)
	return time.Unix(seconds, 0), err == nil
}

const (
	manifestName = "/manifest.json"
	// maxManifest bounds a manifest: a real one has some 1,000 bytes.
	maxManifest = 64 << 10
	// reading is how many manifests are read at a time.
	reading = 16
)

// List answers the backups in a bucket, the newest first. It asks for the manifests only: the content of the parts is
// compared when they are restored.
func List(ctx context.Context, bucket Bucket, name string, now time.Time) ([]Backup, error) {
	sizes, err := list(ctx, bucket, name, "backups/", "secrets/")
	if err != nil {
		return nil, err
	}
	backups := []Backup{}
	totals := map[string]int64{}
	for key, size := range sizes {
		totals[idOf(key)] += size
	}
	for found, bytes := range totals {
		parts := id.FindStringSubmatch(found)
		if parts == nil {
			continue // nobody's backup
		}
		made, _ := Made(found)
		b := Backup{ID: found, Version: parts[2], Edition: "ce", Bytes: bytes, Age: max(0, int64(now.Sub(made).Round(time.Second).Seconds()))}
		if parts[3] != "" {
			b.Edition = "ee"
		}
		backups = append(backups, b)
	}
	slices.SortFunc(backups, func(a, b Backup) int { return strings.Compare(b.ID, a.ID) })

	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(reading)
	for i := range backups {
		b := &backups[i]
		key := "backups/" + b.ID + manifestName
		if _, exists := sizes[key]; !exists {
			b.refuse("it has no manifest: it was never completed, or is on its way")
			continue
		}
		asking.Go(func() error {
			text, err := read(ctx, bucket, name, key)
			if err != nil {
				return fmt.Errorf("read %s in %s: %w", key, name, err)
			}
			b.check(text, sizes)
			return nil
		})
	}
	return backups, asking.Wait()
}

// Newest answers the newest backup that has a manifest, and "" when there is none. Who may list the bucket may ask.
func Newest(ctx context.Context, bucket s3.ListObjectsV2APIClient, name string) (string, error) {
	ids, err := IDs(ctx, bucket, name)
	if len(ids) == 0 {
		return "", err
	}
	return ids[0], err
}

// IDs answers all backups that have a manifest, the newest first. Who may list the bucket may ask.
func IDs(ctx context.Context, bucket s3.ListObjectsV2APIClient, name string) ([]string, error) {
	sizes, err := list(ctx, bucket, name, "backups/")
	var ids []string
	for key := range sizes {
		if found, is := strings.CutSuffix(strings.TrimPrefix(key, "backups/"), manifestName); is && IsID(found) {
			ids = append(ids, found)
		}
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	return ids, err
}

// list answers the size of each object below the prefixes, by its key.
func list(ctx context.Context, bucket s3.ListObjectsV2APIClient, name string, prefixes ...string) (map[string]int64, error) {
	found := make([]map[string]int64, len(prefixes))
	asking, ctx := errgroup.WithContext(ctx)
	for i, prefix := range prefixes {
		asking.Go(func() error {
			found[i] = map[string]int64{}
			pages := s3.NewListObjectsV2Paginator(bucket, &s3.ListObjectsV2Input{Bucket: &name, Prefix: &prefix})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return fmt.Errorf("list %s in %s: %w", prefix, name, err)
				}
				for _, object := range page.Contents {
					found[i][aws.ToString(object.Key)] = aws.ToInt64(object.Size)
				}
			}
			return nil
		})
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	for _, more := range found[1:] {
		for key, size := range more {
			found[0][key] = size
		}
	}
	return found[0], nil
}

// idOf is the part of a key that may be a backup's id.
func idOf(key string) string {
	_, rest, _ := strings.Cut(key, "/")
	found, _, _ := strings.Cut(rest, "/")
	return found
}

func read(ctx context.Context, bucket Bucket, name, key string) ([]byte, error) {
	out, err := bucket.GetObject(ctx, &s3.GetObjectInput{Bucket: &name, Key: &key})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(io.LimitReader(out.Body, maxManifest+1))
}

// manifest is what of a [Manifest] has to be right for a list.
type manifest struct {
	ID      string  `json:"id"`
	Version string  `json:"version"`
	Edition string  `json:"edition"`
	Host    string  `json:"host"`
	Parts   []*part `json:"parts"` // null ends the list
}

type part struct {
	Key  string `json:"key"`
	Size *int64 `json:"size"`
}

// check takes a backup's manifest, and says in the backup what is wrong with it or with its parts.
func (b *Backup) check(text []byte, sizes map[string]int64) {
	if _, err := unsealed(text); err != nil {
		b.refuse("its manifest was changed, or is cut off")
		return
	}
	var m manifest
	if err := decode(text, &m); err != nil {
		b.refuse("its manifest makes no sense")
		return
	}
	parts := slices.DeleteFunc(m.Parts, func(p *part) bool { return p == nil })
	if m.ID != b.ID || m.Version != b.Version || m.Edition != b.Edition || len(parts) < 2 || !slices.ContainsFunc(parts, b.has("backups/")) ||
		slices.ContainsFunc(parts, func(p *part) bool { return !b.has("backups/")(p) && !b.has("secrets/")(p) }) {
		b.refuse("its manifest is of another backup")
		return
	}
	host := plain.Line(m.Host, 128)
	b.Host, b.Complete = &host, true
	for _, p := range parts {
		switch size, exists := sizes[p.Key]; {
		case !exists:
			b.refuse(p.Key + " is missing")
			return
		case size != *p.Size:
			b.refuse(fmt.Sprintf("%s has %d bytes, and %d were written", p.Key, size, *p.Size))
			return
		}
	}
}

// has says whether a part is one of the backup below the prefix.
func (b *Backup) has(prefix string) func(*part) bool {
	return func(p *part) bool {
		return p.Size != nil && *p.Size >= 0 && strings.HasPrefix(p.Key, prefix+b.ID+"/")
	}
}

func (b *Backup) refuse(reason string) {
	reason = plain.Line(reason, 300)
	b.Complete, b.Reason = false, &reason
}

// decode takes one JSON value and nothing behind it.
func decode(text []byte, into any) error {
	reader := json.NewDecoder(bytes.NewReader(text))
	if err := reader.Decode(into); err != nil {
		return err
	}
	if _, err := reader.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text behind the object")
	}
	return nil
}
