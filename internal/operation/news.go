package operation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"
)

const (
	// newsBytes bounds what is shown at once, but for the first line, which has some
	// 250: Systems Manager keeps 24,000 characters.
	newsBytes = 19700
	// longLine is how long a line of the log may get before it is shown without its end.
	longLine = 2000
	// pause is between two looks for something new.
	pause = 500 * time.Millisecond
)

// Place is where somebody who follows a run has come to, in bytes.
type Place struct{ Log, Result int64 }

// head is the first line of the news. Package remote reads it.
type head struct {
	Run       string `json:"run"`
	Operation string `json:"operation"`
	Started   string `json:"started"`
	State     State  `json:"state"`
	Exit      *int   `json:"exit"`
	Log       int64  `json:"log"` // where to go on
	Result    int64  `json:"result"`
	More      bool   `json:"more"` // there is more to read at once
}

// News shows how a run is getting on, as soon as there is something new or the wait is
// over: a line of JSON, lines of its log from a place on, and when all of that is out,
// lines of its result. Each comes after two characters: "| " a line of the log, "> " of
// the result; "|+" and ">+" a piece of one that goes on. What could touch a terminal is
// "?", carriage returns end a line. It changes nothing.
func (r *Runs) News(ctx context.Context, out io.Writer, wanted string, from Place, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	var run Run
	for {
		var err error
		if run, err = r.Find(ctx, wanted); err != nil {
			return err
		}
		if run.State != Running || r.hasNews(run, from.Log) || !time.Now().Before(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
	h := head{State: run.State, Log: from.Log, Result: from.Result}
	if run.State == None {
		return writeNews(out, h, nil)
	}
	h.Run, h.Operation, h.Started = run.ID, run.Operation, run.Started.UTC().Format(time.RFC3339)
	if run.State == Ended {
		h.Exit = &run.Status
	}
	p := pieces{left: newsBytes}
	final := run.State != Running
	// Sizes are taken before reading: what is written meanwhile is for the next time.
	logSize, resultSize := r.size(run, "log"), r.size(run, "result")
	text, err := r.piece(run, "log", from.Log)
	if err != nil {
		return err
	}
	h.Log += p.add('|', text, final)
	switch {
	case !final:
	case h.Log < logSize:
		h.More = true
	case run.State == Ended: // a lost run has no result, whatever it began to print
		if text, err = r.piece(run, "result", from.Result); err != nil {
			return err
		}
		h.Result += p.add('>', text, true)
		h.More = h.Result < resultSize
	}
	return writeNews(out, h, p.shown.Bytes())
}

func writeNews(out io.Writer, h head, shown []byte) error {
	first, err := json.Marshal(h)
	if err == nil {
		_, err = fmt.Fprintf(out, "%s\n%s", first, shown)
	}
	return err
}

func (r *Runs) hasNews(run Run, from int64) bool {
	text, _ := r.piece(run, "log", from)
	return len(text) >= longLine || bytes.IndexByte(text, '\n') >= 0
}

func (r *Runs) size(run Run, name string) int64 {
	info, err := os.Stat(r.Machine.Path(r.folder(run.ID) + "/" + name))
	if err != nil {
		return 0
	}
	return info.Size()
}

// piece reads what is shown at most of a file from a place on, made harmless.
func (r *Runs) piece(run Run, name string, from int64) ([]byte, error) {
	file, err := os.Open(r.Machine.Path(r.folder(run.ID) + "/" + name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.NewSectionReader(file, from, newsBytes))
	return harmless(text), err
}

// harmless replaces what could touch a terminal, C0, C1 and what turns text around,
// byte by byte: places in the file stay right.
func harmless(text []byte) []byte {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == '\r':
			text[i] = '\n'
		case r == '\n', r == '\t':
		case r < ' ', r >= 0x7f && r <= 0x9f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			copy(text[i:i+n], "???")
		}
		i += n
	}
	return text
}

// pieces collects marked lines, as long as there is room.
type pieces struct {
	shown bytes.Buffer
	left  int
}

// add shows lines of a text, and returns how many bytes of it are out. A line that has
// no end yet is left for the next time, unless it is long, or the last one.
func (p *pieces) add(mark byte, text []byte, final bool) (read int64) {
	const around = len("| \n")
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n')
		whole := end >= 0
		line := text
		if whole {
			line = text[:end]
		}
		if whole && len(line)+around <= p.left {
			p.shown.WriteByte(mark)
			p.shown.WriteByte(' ')
			p.shown.Write(line)
			p.shown.WriteByte('\n')
			p.left -= len(line) + around
			read += int64(len(line) + 1)
			text = text[end+1:]
			continue
		}
		// The beginning of a line that has no end, or is longer than all there is room for.
		if whole && read > 0 || !whole && !final && len(line) < longLine {
			break
		}
		cut := min(len(line), p.left-around)
		for cut > 0 && cut < len(line) && !utf8.RuneStart(line[cut]) {
			cut--
		}
		if cut <= 0 {
			break
		}
		p.shown.WriteByte(mark)
		p.shown.WriteByte('+')
		p.shown.Write(line[:cut])
		p.shown.WriteByte('\n')
		p.left -= cut + around
		return read + int64(cut)
	}
	return read
}
