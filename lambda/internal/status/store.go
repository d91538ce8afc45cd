package status

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/object"
)

// Store is the artifact bucket's status objects.
type Store struct {
	Objects object.Client
	Bucket  string
	// Now is the time; nil means time.Now.
	Now func() time.Time
}

// Entry is the status of one object version, as it was last seen in the
// bucket. Nothing has been seen of a new one.
type Entry struct {
	Status // the zero value when there is none

	store *Store
	key   string
	ver   string
	ids   []string // the first is in use
	etag  string   // of the object, "" when there is none
}

// Entry returns the entry of the version versionID of key, without asking S3.
// uploadID may be "".
func (s *Store) Entry(uploadID, key, versionID string) *Entry {
	return &Entry{store: s, key: key, ver: versionID, ids: IDs(uploadID, key, versionID)}
}

// ID is what the object is named after. It may change until the object is
// there: see [IDs].
func (e *Entry) ID() string { return e.ids[0] }

// Load reads what the bucket has.
func (e *Entry) Load(ctx context.Context) error {
	for {
		seen, etag, err := e.store.read(ctx, e.ID())
		switch {
		case errors.Is(err, errNotOurs), err == nil && etag != "" && (seen.VersionID != e.ver || seen.Key != e.key):
			// The id is another version's: used twice, or forged. That
			// version's status is not touched.
			if len(e.ids) == 1 {
				return fmt.Errorf("%s%s%s is about another object", Prefix, e.ID(), suffix)
			}
			e.ids = e.ids[1:]
		case err != nil:
			return err
		default:
			e.Status, e.etag = seen, etag
			return nil
		}
	}
}

// maxTries bounds how often a change is worked out again because somebody
// else was faster. There are two functions, so once is the rule.
const maxTries = 8

// Change replaces the status by what next makes of it. When the bucket's turns
// out to be another one than that of the last look, next is asked again. It
// may be called several times, therefore, and stops the change with an error;
// to leave the object alone it returns what it was given.
func (e *Entry) Change(ctx context.Context, next func(Status) (Status, error)) error {
	for range maxTries {
		changed, err := next(e.Status)
		if err != nil || changed == e.Status {
			return err
		}
		// Here, as the id may have become another one since the last try.
		changed.UploadID, changed.Key, changed.VersionID = e.ID(), e.key, e.ver
		if changed.Deployer == (trust.Deployer{}) { // Only the trigger has seen the token.
			changed.Deployer = e.Deployer
		}
		if changed.Order.Operator == "" && e.Order != (Order{}) {
			changed.Order = e.Order
		}
		if changed.Group == (Group{}) {
			changed.Group = e.Group
		}
		changed.Reason = clip.Line(changed.Reason, maxReason)
		changed.LogTail = clip.End(changed.LogTail, maxLogTail)
		changed.UpdatedAt = e.store.Time()
		etag, err := e.store.write(ctx, changed, e.etag)
		if err == nil {
			e.Status, e.etag = changed, etag
			return nil
		}
		if !errors.Is(err, object.ErrChanged) {
			return err
		}
		if err := e.Load(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("write the status: somebody else was faster %d times", maxTries)
}

// Merge is a Change by what is known now: see [Status.Merge].
func (e *Entry) Merge(ctx context.Context, known Status) error {
	return e.Change(ctx, func(seen Status) (Status, error) { return seen.Merge(known), nil })
}

var errNotOurs = errors.New("no status object")

// read returns an object with its ETag, and neither when there is none.
func (s *Store) read(ctx context.Context, id string) (Status, string, error) {
	text, etag, err := object.Read(ctx, s.Objects, s.Bucket, Prefix+id+suffix, maxObject)
	if err != nil {
		return Status{}, "", fmt.Errorf("read the status: %w", err)
	}
	if etag == "" {
		return Status{}, "", nil
	}
	seen, err := decode(text)
	if err != nil {
		return Status{}, "", fmt.Errorf("%w: %w", errNotOurs, err)
	}
	return seen, etag, nil
}

// write replaces the object that has etag, or makes one when there is none
// (etag is "").
func (s *Store) write(ctx context.Context, status Status, etag string) (string, error) {
	text, err := status.encode()
	if err != nil {
		return "", fmt.Errorf("write the status: %w", err)
	}
	etag, err = object.Write(ctx, s.Objects, s.Bucket, Prefix+status.UploadID+suffix, text, etag)
	if err != nil {
		return "", fmt.Errorf("write the status: %w", err)
	}
	return etag, nil
}

// Time is the time by the store's clock, in UTC and milliseconds.
func (s *Store) Time() time.Time {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	return now().UTC().Truncate(time.Millisecond)
}
