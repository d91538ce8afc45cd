package group

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/object"
)

// Prefix is that of records' keys.
const Prefix = order.RecordPrefix

// maxRecord bounds what is read. A full record has about a quarter of it.
const maxRecord = 1 << 20

// ErrChanged says that somebody else has written the record since the last look.
var ErrChanged = object.ErrChanged

// Store is the artifact bucket's records.
type Store struct {
	Objects object.Client
	Bucket  string
	// Now is the time; nil means time.Now.
	Now func() time.Time
}

// Entry is the record of one group, as it was last seen in the bucket.
type Entry struct {
	Record // has nothing but names when there is none

	store *Store
	key   string
	etag  string // "" when there is none
}

// Key is that of a group's record. Names may come from outside: escaped, they
// are two segments whatever they hold.
func Key(pair allowlist.Pair) string {
	return order.RecordKey(pair.Application, pair.DeploymentGroup)
}

// Load reads the record of a group.
func (s *Store) Load(ctx context.Context, pair allowlist.Pair) (*Entry, error) {
	e := &Entry{store: s, key: Key(pair)}
	e.Application, e.DeploymentGroup = pair.Application, pair.DeploymentGroup
	return e, e.load(ctx)
}

// LoadKey reads the record that has a key.
func (s *Store) LoadKey(ctx context.Context, key string) (*Entry, error) {
	e := &Entry{store: s, key: key}
	return e, e.load(ctx)
}

func (e *Entry) load(ctx context.Context) error {
	text, etag, err := object.Read(ctx, e.store.Objects, e.store.Bucket, e.key, maxRecord)
	if err != nil {
		return fmt.Errorf("read the group's record: %w", err)
	}
	names := Record{Application: e.Application, DeploymentGroup: e.DeploymentGroup}
	if etag == "" {
		e.Record, e.etag = names, ""
		return nil
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil || r.Application == "" {
		// Nobody else writes here, so an operator has to look.
		return fmt.Errorf("read the group's record: s3 object %s is no record: %v", e.key, clip.Line(fmt.Sprint(err), 200))
	}
	e.Record, e.etag = r, etag
	return nil
}

// Exists says whether the bucket has a record.
func (e *Entry) Exists() bool { return e.etag != "" }

// ETag changes with the record.
func (e *Entry) ETag() string { return e.etag }

// Pair names the group.
func (e *Entry) Pair() allowlist.Pair {
	return allowlist.Pair{Application: e.Application, DeploymentGroup: e.DeploymentGroup}
}

// Put replaces the record by what next makes of it, if nobody else has replaced
// it meanwhile; else it returns ErrChanged, and e is what the bucket has. A next
// that changes nothing costs no call.
func (e *Entry) Put(ctx context.Context, next func(*Record)) error {
	changed, err := e.Copy()
	if err != nil {
		return err
	}
	next(&changed)
	before, after := encode(e.Record), encode(changed)
	if bytes.Equal(before, after) {
		return nil
	}
	changed.UpdatedAt = e.store.Time()
	after = encode(changed)
	etag, err := object.Write(ctx, e.store.Objects, e.store.Bucket, e.key, after, e.etag)
	if err == nil {
		e.Record, e.etag = changed, etag
		return nil
	}
	if !errors.Is(err, ErrChanged) {
		return fmt.Errorf("write the group's record: %w", err)
	}
	if loadErr := e.load(ctx); loadErr != nil {
		return loadErr
	}
	if bytes.Equal(encode(e.Record), after) {
		return nil // It was our own write, whose answer got lost.
	}
	return fmt.Errorf("write the group's record: %w", err)
}

// maxTries bounds how often a change is worked out again.
const maxTries = 10

// Change is a Put that is worked out again as long as somebody else is faster.
func (e *Entry) Change(ctx context.Context, next func(*Record)) error {
	for range maxTries {
		if err := e.Put(ctx, next); !errors.Is(err, ErrChanged) {
			return err
		}
	}
	return fmt.Errorf("write the group's record: somebody else was faster %d times", maxTries)
}

// Copy returns a record that shares nothing with e's. Whoever changed a shared
// one in place would change what Put compares with, and nothing would be written.
func (e *Entry) Copy() (r Record, err error) {
	err = json.Unmarshal(encode(e.Record), &r)
	return r, err
}

func encode(r Record) []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // It has strings and times only.
	}
	return text
}

// Time is the time by the store's clock, in UTC and milliseconds.
func (s *Store) Time() time.Time {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	return now().UTC().Truncate(time.Millisecond)
}
