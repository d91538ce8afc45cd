package bundle

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// node is one entry of a tree.
type node struct {
	name    string
	mode    uint32 // type and rights, as stat has them; 0 is the end of a directory
	size    int64
	device  uint64
	inode   uint64
	names   uint64 // how many names the file has
	changed int64  // time of the last change, in nanoseconds
	target  string // of a link; that of a hard link is a path from the folder
}

func (n *node) kind() uint32 { return n.mode & unix.S_IFMT }

// entries are nodes in the order in which they are packed, each one right behind
// the other: a directory, what is in it, its end. A tree of a million files takes
// 40 MB so, and 200 MB as structures with pointers.
type entries struct{ chunks [][]byte }

// chunkSize is more than a name and a target together.
const chunkSize = 256 << 10

func (e *entries) add(n *node) {
	most := 6*binary.MaxVarintLen64 + len(n.name) + len(n.target)
	if last := len(e.chunks) - 1; last < 0 || cap(e.chunks[last])-len(e.chunks[last]) < most {
		e.chunks = append(e.chunks, make([]byte, 0, max(chunkSize, most)))
	}
	chunk := &e.chunks[len(e.chunks)-1]
	for _, number := range []uint64{uint64(n.mode), uint64(n.size), n.device, n.inode, uint64(n.changed)} {
		*chunk = binary.AppendUvarint(*chunk, number)
	}
	for _, text := range []string{n.name, n.target} {
		*chunk = append(binary.AppendUvarint(*chunk, uint64(len(text))), text...)
	}
}

// cursor reads entries.
type cursor struct {
	chunks [][]byte
	rest   []byte
}

func (e *entries) begin() cursor { return cursor{chunks: e.chunks} }

// next returns false after the last one. How many names it has is not kept.
func (c *cursor) next() (n node, ok bool) {
	if len(c.rest) == 0 {
		if len(c.chunks) == 0 {
			return node{}, false
		}
		c.rest, c.chunks = c.chunks[0], c.chunks[1:]
	}
	n.mode, n.size = uint32(c.number()), int64(c.number())
	n.device, n.inode, n.changed = c.number(), c.number(), int64(c.number())
	n.name, n.target = c.text(), c.text()
	return n, true
}

func (c *cursor) number() uint64 {
	number, length := binary.Uvarint(c.rest)
	c.rest = c.rest[length:]
	return number
}

func (c *cursor) text() string {
	length := c.number()
	text := string(c.rest[:length])
	c.rest = c.rest[length:]
	return text
}
