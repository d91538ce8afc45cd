//go:build unix

package backup

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
)

// dump is what a database's dump says of the rest of a backup, and of the server that it
// can be restored on. It is read while it passes by.
type dump struct {
	complete bool // pg_dump has come to its end

	expected map[string]bool   // repositories that have commits, by their path on the disk
	storages map[string]int    // projects by the storage that they are in
	local    map[string]int    // files that the database names on the disk, by archive
	roles    map[string]bool   // that own something, or have rights
	extends  map[string]bool   // extensions
	commits  map[string]bool   // projects with commits, by id
	paths    map[string]string // paths on the disk, by id of the project
	doomed   map[string]bool   // projects that are being deleted, by id
}

func newDump() *dump {
	return &dump{
		expected: map[string]bool{}, storages: map[string]int{}, local: map[string]int{}, roles: map[string]bool{}, extends: map[string]bool{},
		commits: map[string]bool{}, paths: map[string]string{}, doomed: map[string]bool{},
	}
}

// files are the tables whose rows are files, the column that says where one is, and the
// archive that has those on the disk: 1, and nothing in old rows, is this server's.
// https://gitlab.com/gitlab-org/gitlab/-/blob/master/app/uploaders/object_storage.rb
var files = map[string]struct{ column, archive string }{
	"uploads":                  {"store", "uploads"},
	"lfs_objects":              {"file_store", "lfs"},
	"ci_job_artifacts":         {"file_store", "artifacts"},
	"packages_package_files":   {"file_store", "packages"},
	"terraform_state_versions": {"file_store", "terraform_state"},
}

var (
	copyLine      = regexp.MustCompile(`^COPY (?:[a-z_]+\.)?"?([a-z0-9_]+)"? \((.*)\) FROM stdin;$`)
	ownerLine     = regexp.MustCompile(`^(?:ALTER .* OWNER TO|GRANT .* TO|REVOKE .* FROM) "?([A-Za-z0-9_-]+)"?;$`)
	extensionLine = regexp.MustCompile(`^CREATE EXTENSION (?:IF NOT EXISTS )?"?([a-z0-9_-]+)"?`)
)

// dumpEnd are pg_dump's last words. What follows are comments, and since its security
// release of August 2025 a line \unrestrict.
const dumpEnd = "-- PostgreSQL database dump complete"

// maxDumpLine is what is kept of a line. Longer ones are data of no interest here.
const maxDumpLine = 1 << 20

// read takes a dump as pg_dump writes it as text.
func (d *dump) read(r io.Reader) error {
	lines := bufio.NewReaderSize(r, maxDumpLine)
	var row func(columns []string)
	data := false
	d.complete = false
	for {
		line, err := lines.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for rest := err; errors.Is(rest, bufio.ErrBufferFull); {
			_, rest = lines.ReadSlice('\n')
			err = rest
		}
		if len(line) > 0 {
			line = bytes.TrimSuffix(line, []byte("\n"))
			switch {
			case data && len(line) == 2 && string(line) == `\.`:
				data, row = false, nil
			case data:
				if row != nil && !long {
					row(strings.Split(string(line), "\t"))
				}
			case !long:
				data, row = d.statement(line)
			}
		}
		switch {
		case err == io.EOF:
			d.join()
			return nil
		case err != nil:
			return err
		}
	}
}

// statement looks at a line outside of data. It says whether data follow, and what
// takes their rows.
func (d *dump) statement(line []byte) (data bool, row func([]string)) {
	switch {
	case bytes.HasPrefix(line, []byte("COPY ")):
		found := copyLine.FindSubmatch(line)
		if found == nil {
			return false, nil
		}
		return true, d.table(string(found[1]), strings.Split(strings.ReplaceAll(string(found[2]), `"`, ""), ", "))
	case string(line) == dumpEnd:
		d.complete = true
	case bytes.HasPrefix(line, []byte("CREATE EXTENSION ")):
		if found := extensionLine.FindSubmatch(line); found != nil {
			d.extends[string(found[1])] = true
		}
	case bytes.HasSuffix(line, []byte(";")):
		if found := ownerLine.FindSubmatch(line); found != nil && !strings.EqualFold(string(found[1]), "PUBLIC") {
			d.roles[string(found[1])] = true
		}
	}
	return false, nil
}

// table returns what takes the rows of a table, or nil.
func (d *dump) table(name string, columns []string) func([]string) {
	column := func(wanted string) int { return slices.Index(columns, wanted) }
	take := func(fields []string, row func(values []string)) func([]string) {
		var at []int
		for _, field := range fields {
			at = append(at, column(field))
		}
		if slices.Contains(at, -1) {
			return nil
		}
		return func(line []string) {
			values := make([]string, len(at))
			for i, n := range at {
				if n >= len(line) {
					return
				}
				values[i] = line[n]
			}
			row(values)
		}
	}
	switch name {
	case "projects":
		return take([]string{"id", "repository_storage", "pending_delete"}, func(v []string) {
			d.storages[v[1]]++
			if v[2] == "t" {
				d.doomed[v[0]] = true
			}
		})
	case "project_repositories":
		return take([]string{"project_id", "disk_path"}, func(v []string) { d.paths[v[0]] = v[1] })
	case "snippet_repositories":
		return take([]string{"disk_path"}, func(v []string) { d.expected[v[0]] = true })
	case "project_statistics":
		return take([]string{"project_id", "commit_count"}, func(v []string) {
			if v[1] != "0" && v[1] != `\N` {
				d.commits[v[0]] = true
			}
		})
	}
	if file, is := files[name]; is {
		return take([]string{file.column}, func(v []string) {
			if v[0] == "1" || v[0] == `\N` {
				d.local[file.archive]++
			}
		})
	}
	return nil
}

// join finds the repositories that must be there.
func (d *dump) join() {
	for id := range d.commits {
		if path := d.paths[id]; path != "" && !d.doomed[id] {
			d.expected[path] = true
		}
	}
}
