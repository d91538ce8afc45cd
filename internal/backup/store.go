//go:build unix

package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"gitlab-codedeploy/internal/backups"
)

// Store is where backups are kept: a bucket, or a folder.
type Store interface {
	// String names the store for people: s3://name, or the folder.
	String() string
	// Reach finds out now, and not after hours, what would refuse a backup.
	Reach(context.Context) error
	// Put streams a part of about expected bytes into the store. It shows there as a
	// whole, or, when write or the store fails, not at all.
	Put(ctx context.Context, key string, expected int64, write func(io.Writer) error) (backups.Part, error)
	// Seal writes a manifest: by it, the backup counts.
	Seal(ctx context.Context, m backups.Manifest) error
	// Sizes are those of all that lies there of a backup, by key.
	Sizes(ctx context.Context, id string) (map[string]int64, error)
	// Text reads a small object.
	Text(ctx context.Context, key string) ([]byte, error)
	// Fetch copies an object to a file of this host.
	Fetch(ctx context.Context, key, name string, mode uint32) error
	// IDs are those of the backups with a manifest, the newest first.
	IDs(context.Context) ([]string, error)
}

// errNotThere is wrapped for an object or a file that is not there.
var errNotThere = errors.New("not there")

// maxManifest bounds what is read of a manifest.
const maxManifest = 64<<10 + 1

// manifestOf reads the manifest of a backup.
func manifestOf(ctx context.Context, s Store, id string) (backups.Manifest, error) {
	text, err := s.Text(ctx, backups.ManifestKey(id))
	if errors.Is(err, errNotThere) {
		return backups.Manifest{}, fmt.Errorf("%s has no manifest in %s: it is not there, or it was never completed", id, s)
	}
	if err != nil {
		return backups.Manifest{}, fmt.Errorf("the manifest of %s cannot be read: %w", id, err)
	}
	m, err := backups.ReadManifest(text, id)
	if err != nil {
		return m, fmt.Errorf("the manifest of %s cannot be trusted: %w", id, err)
	}
	return m, nil
}

// compareSizes fails for a part that is missing in the store, or has another size.
func compareSizes(ctx context.Context, s Store, m backups.Manifest) error {
	sizes, err := s.Sizes(ctx, m.ID)
	if err != nil {
		return fmt.Errorf("the parts of %s cannot be listed: %w", m.ID, err)
	}
	for _, part := range m.Parts {
		switch size, there := sizes[part.Key]; {
		case !there:
			return fmt.Errorf("%s is not complete: %s is missing", m.ID, part.Key)
		case size != part.Size:
			return fmt.Errorf("%s is not complete: %s has %d bytes, and %d were written", m.ID, part.Key, size, part.Size)
		}
	}
	return nil
}

// Newest is the newest backup that is complete, and its age; found is false without
// one. say is told of those that do not count.
func Newest(ctx context.Context, s Store, now time.Time, say func(format string, args ...any)) (m backups.Manifest, age time.Duration, found bool, err error) {
	ids, err := s.IDs(ctx)
	if err != nil {
		return m, 0, false, fmt.Errorf("cannot list the backups in %s: %w", s, err)
	}
	for _, id := range ids {
		m, err := manifestOf(ctx, s, id)
		if err == nil {
			err = compareSizes(ctx, s, m)
		}
		if ctx.Err() != nil {
			return m, 0, false, context.Cause(ctx)
		}
		if err == nil {
			made, _ := backups.Made(id)
			return m, now.Sub(made), true, nil
		}
		say("%s does not count: %v", id, err)
	}
	return backups.Manifest{}, 0, false, nil
}

// adding passes a stream on, and adds it up.
type adding struct {
	to    io.Writer
	bytes int64
	hash  interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func newAdding(to io.Writer) *adding { return &adding{to: to, hash: sha256.New()} }

func (a *adding) Write(p []byte) (int, error) {
	n, err := a.to.Write(p)
	a.bytes += int64(n)
	_, _ = a.hash.Write(p[:n]) // never fails
	return n, err
}

func (a *adding) sum() string { return hex.EncodeToString(a.hash.Sum(nil)) }
