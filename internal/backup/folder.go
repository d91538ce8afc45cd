//go:build unix

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/machine"
)

// folder is a store for a host without a way to S3: the same keys, as files.
type folder struct {
	m    *machine.Machine
	path string
}

// NewFolder is a store in a folder of the host. It will hold the secrets.
func NewFolder(m *machine.Machine, path string) Store { return folder{m, path} }

func (f folder) String() string { return f.path }

func (f folder) at(key string) string { return filepath.Join(f.path, key) }

func (f folder) Reach(context.Context) error {
	info, err := f.m.Stat(f.path)
	if err != nil || !info.IsDir() || unix.Access(f.m.Path(f.path), unix.W_OK) != nil {
		return fmt.Errorf("%s is no folder that can be written to", f.path)
	}
	return nil
}

func (f folder) Put(ctx context.Context, key string, _ int64, write func(io.Writer) error) (backups.Part, error) {
	if err := f.m.MakeFolder(filepath.Dir(f.at(key)), 0o700); err != nil {
		return backups.Part{}, err
	}
	var sums *adding
	err := f.m.Create(f.at(key), 0o600, func(w io.Writer) error {
		sums = newAdding(ending{ctx, w})
		return write(sums)
	})
	if err != nil {
		return backups.Part{}, err
	}
	part := backups.Part{Key: key, Size: sums.bytes, SHA256: sums.sum()}
	// What is on the disk may be a share, or a stick that is about to break.
	return part, f.compare(ctx, part)
}

// compare reads a part again where it was stored.
func (f folder) compare(ctx context.Context, part backups.Part) error {
	file, err := f.m.Open(f.at(part.Key))
	if err != nil {
		return fmt.Errorf("%s cannot be read again: %w", f.at(part.Key), err)
	}
	defer file.Close()
	sums := newAdding(ending{ctx, io.Discard})
	if _, err := io.Copy(sums, file); err != nil {
		return fmt.Errorf("%s cannot be read again: %w", f.at(part.Key), err)
	}
	if sums.bytes != part.Size || sums.sum() != part.SHA256 {
		return fmt.Errorf("%s is not what was written", f.at(part.Key))
	}
	return nil
}

func (f folder) Seal(_ context.Context, m backups.Manifest) error {
	return f.m.WriteFile(f.at(backups.ManifestKey(m.ID)), m.Text(), 0o600)
}

func (f folder) Sizes(_ context.Context, id string) (map[string]int64, error) {
	sizes := map[string]int64{}
	for _, prefix := range []string{"backups", "secrets"} {
		names, err := f.m.List(f.at(prefix + "/" + id))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			key := prefix + "/" + id + "/" + name
			if info, err := f.m.Stat(f.at(key)); err == nil && info.Mode().IsRegular() {
				sizes[key] = info.Size()
			}
		}
	}
	return sizes, nil
}

func (f folder) Text(_ context.Context, key string) ([]byte, error) {
	file, err := f.m.Open(f.at(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotThere
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxManifest))
}

func (f folder) Fetch(ctx context.Context, key, name string, mode uint32) error {
	from, err := f.m.Open(f.at(key))
	if err != nil {
		return err
	}
	defer from.Close()
	return f.m.Create(name, os.FileMode(mode), func(w io.Writer) error {
		_, err := io.Copy(ending{ctx, w}, from)
		return err
	})
}

func (f folder) IDs(context.Context) ([]string, error) {
	names, err := f.m.List(f.at("backups"))
	names = slices.DeleteFunc(names, func(id string) bool {
		return !backups.IsID(id) || !f.m.Exists(f.at(backups.ManifestKey(id)))
	})
	slices.Reverse(names)
	return names, err
}

// ending is a stream that ends with its context.
type ending struct {
	ctx context.Context
	to  io.Writer
}

func (e ending) Write(p []byte) (int, error) {
	if e.ctx.Err() != nil {
		return 0, context.Cause(e.ctx)
	}
	return e.to.Write(p)
}
