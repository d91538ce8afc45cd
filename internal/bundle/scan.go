package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// RefusedError names all that cannot travel.
type RefusedError struct {
	Folder   string
	Problems []string // a line each
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s cannot be packed:\n  %s", e.Folder, strings.Join(e.Problems, "\n  "))
}

// maxProblems are told one by one; a folder of sockets would fill a job's log.
const maxProblems = 20

// kinds are those of what cannot travel.
var kinds = map[uint32]string{
	unix.S_IFSOCK: "a socket", unix.S_IFIFO: "a FIFO", unix.S_IFBLK: "a block device", unix.S_IFCHR: "a character device",
}

// Scan walks through a folder once, and returns what of it travels. All that
// cannot travel is in one [RefusedError]: sockets, FIFOs, devices, what may not
// be read, and paths that are too long to be opened.
//
// A symbolic link travels as a link, wherever it leads. Names of one file (hard
// links) travel as such, so that its content does once; when a name of it is
// excluded, the others still do. A sparse file travels with its zeros.
func Scan(folder string, o Options) (*Tree, error) {
	excludes, err := compile(append([]string{".git"}, o.Exclude...))
	if err != nil {
		return nil, err
	}
	if o.Level < 0 || o.Level > 9 {
		return nil, fmt.Errorf("level: got %d, want 1 to 9", o.Level)
	}
	root, err := filepath.Abs(folder)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return nil, fmt.Errorf("there is no folder %q: %w", folder, reason(err))
	}
	t := &Tree{root: root, excludes: excludes, level: o.Level, time: o.Time.Truncate(time.Second)}
	if t.level == 0 {
		t.level = defaultLevel
	}
	if t.time.IsZero() {
		t.time = earliest
	}

	s := &scanner{tree: t, first: map[file]string{}}
	var status unix.Stat_t
	if err := unix.Lstat(root, &status); err != nil {
		return nil, fmt.Errorf("there is no folder %q: %w", folder, err)
	}
	top := newNode(".", &status)
	if top.kind() != unix.S_IFDIR {
		return nil, fmt.Errorf("%q is not a folder", folder)
	}
	t.entries.add(&top)
	// As tar has it: a pattern that matches the folder itself leaves nothing.
	if !excludes.match(".") {
		s.directory(".")
	}
	if len(s.problems) > 0 {
		if more := s.count - len(s.problems); more > 0 {
			s.problems = append(s.problems, fmt.Sprintf("and %d more", more))
		}
		return nil, &RefusedError{folder, s.problems}
	}
	return t, nil
}

// scanner fills a tree.
type scanner struct {
	tree     *Tree
	first    map[file]string // paths of what has several names
	problems []string
	count    int
}

// file is what all names of a file have in common.
type file struct{ device, inode uint64 }

func (s *scanner) refuse(path, format string, args ...any) {
	if s.count++; s.count <= maxProblems {
		s.problems = append(s.problems, fmt.Sprintf("%q ", path)+fmt.Sprintf(format, args...))
	}
}

// directory adds what is in one, and its end. No descriptor stays open, so that a
// deep tree needs no more of them than a flat one.
func (s *scanner) directory(path string) {
	nodes, err := s.list(path)
	if err != nil {
		s.refuse(path, "cannot be read: %s", cannot(err))
	}
	for i := range nodes {
		n, at := &nodes[i], join(path, nodes[i].name)
		if n.kind() == unix.S_IFREG && n.names > 1 {
			id := file{n.device, n.inode}
			if first, there := s.first[id]; there {
				n.target = first
			} else {
				s.first[id] = at
			}
		}
		if n.kind() == unix.S_IFREG && n.target == "" {
			s.tree.size += n.size
			s.tree.files++
		}
		s.tree.entries.add(n)
		if n.kind() == unix.S_IFDIR {
			s.directory(at)
		}
	}
	s.tree.entries.add(&node{})
}

// list returns what travels of a directory.
func (s *scanner) list(path string) ([]node, error) {
	directory, err := os.Open(filepath.Join(s.tree.root, path))
	if err != nil {
		return nil, err
	}
	defer directory.Close()
	names, err := directory.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	nodes := make([]node, 0, len(names))
	for _, name := range names {
		at := join(path, name)
		if s.tree.excludes.match("./" + at) {
			continue
		}
		var status unix.Stat_t
		if err := unix.Fstatat(int(directory.Fd()), name, &status, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			s.refuse(at, "cannot be looked at: %s", cannot(err))
			continue
		}
		if n := newNode(name, &status); s.travels(&n, at, int(directory.Fd())) {
			nodes = append(nodes, n)
		}
	}
	return nodes, nil
}

// travels tells whether an entry does, and completes it.
func (s *scanner) travels(n *node, path string, directory int) bool {
	var err error
	switch n.kind() {
	case unix.S_IFDIR:
	case unix.S_IFLNK:
		n.target, err = readLink(directory, n.name)
	case unix.S_IFREG:
		// Asked only where the mode leaves it open: root may read everything.
		if n.mode&0o444 != 0o444 {
			err = unix.Faccessat(directory, n.name, unix.R_OK, 0)
		}
	default:
		s.refuse(path, "is %s, which no bundle can carry: remove it, or leave it out with --exclude", kinds[n.kind()])
		return false
	}
	if err != nil {
		s.refuse(path, "cannot be read: %s", cannot(err))
	}
	return err == nil
}

func newNode(name string, status *unix.Stat_t) node {
	return node{
		name: name, mode: uint32(status.Mode), size: status.Size,
		device: uint64(status.Dev), inode: uint64(status.Ino), names: uint64(status.Nlink), changed: changeTime(status),
	}
}

func changeTime(status *unix.Stat_t) int64 { return unix.TimespecToNsec(status.Ctim) }

// readLink: a target has as many bytes as a path may have.
func readLink(directory int, name string) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(directory, name, buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}

// cannot says why something cannot be opened.
func cannot(err error) error {
	if errors.Is(err, unix.ENAMETOOLONG) {
		return fmt.Errorf("its path on this machine is longer than the %d bytes that Linux opens, and an instance's would be too", unix.PathMax)
	}
	return reason(err)
}
