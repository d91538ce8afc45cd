//go:build unix

package backup

import (
	"bytes"
	"regexp"
	"strings"
	"sync"

	"gitlab-codedeploy/internal/machine"
)

// failures are the lines by which gitlab-backup tells that a part of a backup failed.
// It goes on after most of them and ends well. Names of projects and files stand in that
// log, so a word alone says nothing.
//
//   - until 15.0.5 a part's error stands at the beginning of a line: "Failed to …", and the
//     database's is "[FAILED]" behind its name (lib/backup/database.rb of v13.10.2);
//   - from 15.1.0 on it is "<time> -- Dumping uploads failed: …", "<time> -- Creating archive …
//     failed" (lib/backup/manager.rb), later in red, without or with a zone in the time;
//   - a repository's is "[Failed]" or, from gitaly-backup on, a line with level=error, as JSON
//     from 14.8.0 on (Gitaly's internal/backup/pipeline.go), and "gitaly-backup exit status 1".
var failures = regexp.MustCompile(
	`\[(FAILED|Failed|ERROR|Error)\]` +
		`|(^|-- )(Failed to |Backup failed|Backup::|rake aborted!|Errno::|gitaly-backup exit status [1-9])` +
		`|(^|-- )pg_dump: (error|fatal|\[)` +
		`|level=(error|fatal)|"level":"(error|fatal)"` +
		`|(^|-- )(Dumping .* failed:|([Cc]reating archive|[Uu]ploading backup|[Uu]npacking backup|deleting tmp directory) .*failed)`)

// maxComplaints is how many lines of a failure are told.
const maxComplaints = 3

// maxLine is how long a line may get before it is heard without its end.
const maxLine = 64 << 10

// listener hears what a command says on both of its outputs, whole lines without
// colours, while it says it.
type listener struct {
	line    func(string)
	partial func(string) // a line that has begun, each time that more of it comes; can be nil

	mu    sync.Mutex // both outputs come by themselves
	begun bytes.Buffer
	last  string // that says something
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun.Write(p)
	for {
		end := bytes.IndexByte(l.begun.Bytes(), '\n') + 1
		if end == 0 {
			if l.begun.Len() < maxLine {
				if l.partial != nil && l.begun.Len() > 0 {
					l.partial(l.begun.String())
				}
				return len(p), nil
			}
			end = l.begun.Len()
		}
		l.tell(string(l.begun.Next(end)))
	}
}

func (l *listener) end() {
	if l.begun.Len() > 0 {
		l.tell(l.begun.String())
		l.begun.Reset()
	}
}

func (l *listener) tell(line string) {
	line = machine.WithoutColours(strings.TrimRight(line, "\r\n"))
	if strings.TrimSpace(line) != "" {
		l.last = line
	}
	l.line(line)
}
