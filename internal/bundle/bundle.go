// Package bundle packs a folder in the form that CodeDeploy takes: a tar in gzip
// with the AppSpec file at its root. Nothing of it is ever on the disk.
//
// The same content gives the same bytes, on every machine:
//
//   - entries come in the order of their names, byte by byte, directory by directory;
//   - owner and group are 0 and have no names: they mean nothing on an instance;
//   - the rights of group and others to write are left out. They come from the umask
//     of whoever checked the folder out, and GitLab Runner's is 0000. A stricter umask
//     makes a stricter mode, and that one travels;
//   - every entry has the same time, see [Options.Time];
//   - gzip's blocks are cut at fixed places, however many processors there are.
//
// The format is GNU's, as that of tar itself: names are bytes, of any length, and
// tar 1.26 on an instance reads it, which is what CodeDeploy's agent calls
// (`tar -zxpsf`). https://github.com/aws/aws-codedeploy-agent
package bundle

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/klauspost/pgzip"
	"golang.org/x/sys/unix"
)

const (
	// defaultLevel takes half of the time of gzip's own default for a twentieth
	// more of size.
	defaultLevel = 4
	// blockSize is what one processor compresses at a time. It decides about the
	// bytes: another one makes another bundle of the same folder.
	blockSize = 1 << 20
	// maxProcessors bounds the memory, which is four blocks for each.
	maxProcessors = 8
	readSize      = 256 << 10
)

// earliest is the time of entries where none is given. It is not that of Unix,
// as tar 1.26 calls that one implausibly old, once for each entry.
var earliest = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Options say what of a folder travels. The zero value is all of it, except .git.
type Options struct {
	// Exclude has patterns as GNU tar's --exclude takes them: * and ? match
	// slashes too, and a pattern matches from the beginning of any step of a
	// path on. What is below an excluded directory is excluded. .git always is.
	Exclude []string

	// Level is gzip's, 1 to 9. 0 means 4.
	Level int

	// Time is that of every entry, in whole seconds; zero means 1980-01-01. A
	// file's own time is that of its checkout, so it would make another bundle of
	// each one. With the commit's time the same commit still gives the same
	// bytes, and what compares by time and size (rsync in a hook, the ETag of a
	// web server) sees that a file is another one.
	Time time.Time
}

// Tree is what of a folder travels, as [Scan] has found it.
type Tree struct {
	root     string
	excludes *patterns
	level    int
	time     time.Time

	entries entries
	size    int64
	files   int
}

// ChangedError says that a file is not what it was when the folder was scanned,
// so that a bundle with it would be half of the one and half of the other.
type ChangedError struct {
	Path string // from the folder
	What string
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%q changed while it was packed: %s; pack a folder that nothing writes to", e.Path, e.What)
}

// Size is how many bytes of content travel, before they are compressed.
func (t *Tree) Size() int64 { return t.size }

// Files is how many files travel, directories and links not counted.
func (t *Tree) Files() int { return t.files }

// Excluded tells whether a path from the folder would be left out, be it there or
// not. "/a", "./a" and "a" are the same.
func (t *Tree) Excluded(path string) bool { return t.excludes.exclude(path) }

// Write writes the bundle to w, from one goroutine at a time. progress gets the
// bytes of content that are read so far, and may be nil. It ends soon after ctx
// does, with the cause of that; a Write of w's that is stuck has to be ended by w.
//
// Whatever is not as [Scan] has found it ends it with a [ChangedError].
func (t *Tree) Write(ctx context.Context, w io.Writer, progress func(n int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	out := &gate{out: w}
	compressor, err := pgzip.NewWriterLevel(out, t.level)
	if err != nil {
		return err
	}
	if err := compressor.SetConcurrency(blockSize, min(runtime.GOMAXPROCS(0), maxProcessors)+1); err != nil {
		return err
	}
	compressor.ModTime = time.Unix(0, 0) // none; its zero value is written as some time
	p := &packer{
		tree: t, ctx: ctx, out: out, archive: tar.NewWriter(compressor), progress: progress,
		buffer: make([]byte, readSize),
	}
	err = p.pack()
	if err == nil {
		err = p.archive.Close()
	}
	if err != nil {
		out.shut(err)
	}
	// Closed in any case, as its goroutines end with that alone.
	err = compressor.Close()
	return cmp.Or(out.failed(), err)
}

// gate passes on what is compressed until something has failed, and then takes
// the rest for nobody: pgzip that is told of an error never ends.
type gate struct {
	out io.Writer
	err atomic.Pointer[error]
}

func (g *gate) Write(p []byte) (int, error) {
	if g.failed() == nil {
		if _, err := g.out.Write(p); err != nil {
			g.shut(err)
		}
	}
	return len(p), nil
}

func (g *gate) shut(err error) { g.err.CompareAndSwap(nil, &err) }

func (g *gate) failed() error {
	if err := g.err.Load(); err != nil {
		return *err
	}
	return nil
}

// packer writes one bundle.
type packer struct {
	tree     *Tree
	ctx      context.Context
	out      *gate
	archive  *tar.Writer
	progress func(int64)
	buffer   []byte
	read     int64
}

// ended says why nothing more is to be packed.
func (p *packer) ended() error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	return p.out.failed()
}

// pack writes all entries.
func (p *packer) pack() error {
	within := ""
	for c := p.tree.entries.begin(); ; {
		n, ok := c.next()
		if !ok {
			return nil
		}
		if n.mode == 0 {
			within = path.Dir(within)
			continue
		}
		if err := p.ended(); err != nil {
			return err
		}
		at := join(within, n.name)
		if err := p.entry(&n, at); err != nil {
			return err
		}
		if n.kind() == unix.S_IFDIR {
			within = at
		}
	}
}

// entry writes one. path is "." or from the folder.
func (p *packer) entry(n *node, path string) error {
	header := &tar.Header{
		Name: "./" + path, Mode: int64(n.mode & 0o7777 &^ 0o022), ModTime: p.tree.time, Format: tar.FormatGNU,
	}
	switch n.kind() {
	case unix.S_IFDIR:
		header.Typeflag = tar.TypeDir
		if header.Name += "/"; path == "." {
			header.Name = "./"
		}
	case unix.S_IFLNK:
		// The rights of a link are Linux's own choice, and macOS's another.
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, n.target, 0o777
	case unix.S_IFREG:
		if n.target == "" {
			header.Typeflag, header.Size = tar.TypeReg, n.size
			return p.file(n, path, header)
		}
		header.Typeflag, header.Linkname = tar.TypeLink, "./"+n.target
	}
	return p.begin(header, path)
}

func (p *packer) begin(header *tar.Header, path string) error {
	if err := p.archive.WriteHeader(header); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	return nil
}

func (p *packer) file(n *node, path string, header *tar.Header) error {
	// Without waiting for the other end, should there be a FIFO by now.
	file, err := os.OpenFile(filepath.Join(p.tree.root, path), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ELOOP):
		return &ChangedError{path, "it is not there any more"}
	case err != nil:
		return fmt.Errorf("%q cannot be read: %w", path, reason(err))
	}
	defer file.Close()
	if err := unchanged(file, n, path); err != nil {
		return err
	}
	if err := p.begin(header, path); err != nil {
		return err
	}
	for left := n.size; left > 0; {
		if err := p.ended(); err != nil {
			return err
		}
		count, err := file.Read(p.buffer[:min(left, int64(len(p.buffer)))])
		if _, err := p.archive.Write(p.buffer[:count]); err != nil {
			return err
		}
		left -= int64(count)
		p.read += int64(count)
		p.progress(p.read)
		switch {
		case errors.Is(err, io.EOF):
			return &ChangedError{path, fmt.Sprintf("it has %d bytes, and had %d", n.size-left, n.size)}
		case err != nil:
			return fmt.Errorf("%q cannot be read: %w", path, reason(err))
		}
	}
	return unchanged(file, n, path)
}

// unchanged compares an open file with what the scan has found. The time of the
// last change cannot be set back, as that of the last write can.
func unchanged(file *os.File, n *node, path string) error {
	var status unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &status); err != nil {
		return fmt.Errorf("%q cannot be read: %w", path, err)
	}
	switch {
	case uint64(status.Ino) != n.inode || uint64(status.Dev) != n.device || uint32(status.Mode)&unix.S_IFMT != n.kind():
		return &ChangedError{path, "it is another file"}
	case status.Size != n.size:
		return &ChangedError{path, fmt.Sprintf("it has %d bytes, and had %d", status.Size, n.size)}
	case changeTime(&status) != n.changed:
		return &ChangedError{path, "it was written, or its owner, mode or links changed"}
	}
	return nil
}

// reason leaves out what the message says already: the operation, and the path
// on this machine.
func reason(err error) error {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

func join(path, name string) string {
	if path == "." || path == "" {
		return name
	}
	return path + "/" + name
}
