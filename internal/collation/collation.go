// Package collation knows whether the indexes of GitLab's database are in the order that
// this host has for text.
//
// PostgreSQL asks the C library in which order texts come, and an index stays in the order
// that it was made in. glibc 2.28 has another order than those before it: with the data of
// a host of Amazon Linux 2 (2.26) on one of Amazon Linux 2023 (2.34), PostgreSQL looks in
// the wrong places, finds nothing, and takes a second row of what may be there once. Only
// texts that are compared byte by byte (C, POSIX) are the same in both.
// https://wiki.postgresql.org/wiki/Locale_data_changes
// https://docs.gitlab.com/administration/postgresql/upgrading_os/
package collation

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
)

// Glibc is a version of the C library.
type Glibc struct{ Major, Minor int }

func (g Glibc) String() string { return fmt.Sprintf("%d.%d", g.Major, g.Minor) }

var glibcVersion = regexp.MustCompile(`^(?:glibc )?(\d{1,3})\.(\d{1,3})$`)

// ParseGlibc reads a version as getconf or PostgreSQL says it: "glibc 2.34", "2.34".
func ParseGlibc(text string) (Glibc, error) {
	found := glibcVersion.FindStringSubmatch(strings.TrimSpace(text))
	if found == nil {
		return Glibc{}, fmt.Errorf("got %.100q, want a version of glibc such as 2.34", text)
	}
	major, _ := strconv.Atoi(found[1])
	minor, _ := strconv.Atoi(found[2])
	return Glibc{major, minor}, nil
}

// IsNew says whether it has the order that 2.28 came with.
func (g Glibc) IsNew() bool { return g.Major > 2 || g.Major == 2 && g.Minor >= 28 }

// OfHost is the C library of this host. Omnibus brings none of its own.
func OfHost(ctx context.Context, m *machine.Machine) (Glibc, error) {
	out, err := m.Ask(ctx, machine.Cmd("getconf", "GNU_LIBC_VERSION"))
	if err != nil {
		return Glibc{}, fmt.Errorf("the version of this host's C library is not known: %w", err)
	}
	return ParseGlibc(out)
}

// File is where a server writes down in which order its indexes are. It is on the data
// volume, and goes where the indexes go. PostgreSQL itself writes such a thing down from 15
// on, and a move to another version of PostgreSQL loses it.
const File = "/var/opt/gitlab/gitlab-codedeploy-order.json"

// Record is what stands in it. Without the file it is empty: the data is of a time when
// servers were on Amazon Linux 2 only.
type Record struct {
	// Glibc made the order of the indexes; "" is not known.
	Glibc string `json:"glibc,omitempty"`
	// Rebuilding is the glibc of a rebuild that has not finished: some indexes are in its
	// order. Done is the number of the last index that is, in each database.
	Rebuilding string           `json:"rebuilding,omitempty"`
	Done       map[string]int64 `json:"done,omitempty"`
}

// ReadRecord reads it.
func ReadRecord(m *machine.Machine) (Record, error) {
	text, err := m.ReadFile(File)
	if err != nil || text == "" {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return Record{}, fmt.Errorf("%s cannot be read: %w", File, err)
	}
	for _, version := range []string{r.Glibc, r.Rebuilding} {
		if _, err := ParseGlibc(version); version != "" && err != nil {
			return Record{}, fmt.Errorf("%s cannot be read: %w", File, err)
		}
	}
	return r, nil
}

// Write writes it.
func (r Record) Write(m *machine.Machine) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return m.WriteFile(File, string(text)+"\n", 0o644)
}

// Made writes down that all indexes are in the order of this host: they were made here.
func Made(ctx context.Context, m *machine.Machine) error {
	here, err := OfHost(ctx, m)
	if err != nil {
		return err
	}
	return Record{Glibc: here.String()}.Write(m)
}

// Misfit says in words why data with that record is not for a host, "" when it is. It is for
// a time when no PostgreSQL is there to be asked.
func (r Record) Misfit(here Glibc) string {
	if r.Rebuilding != "" {
		return fmt.Sprintf("a rebuild of its indexes in the order of glibc %s did not finish", r.Rebuilding)
	}
	if r.Glibc == "" {
		if here.IsNew() {
			return "nothing says in which order its indexes are, and servers were on Amazon Linux 2 (glibc 2.26) before that was written down"
		}
		return ""
	}
	if made, err := ParseGlibc(r.Glibc); err == nil && made.IsNew() == here.IsNew() {
		return ""
	}
	return fmt.Sprintf("its indexes are in the order of glibc %s", r.Glibc)
}

// State is what a look has found.
type State int

// States of the order.
const (
	// Right: the indexes are in the order that this host has, or no text depends on it.
	Right State = iota
	// Unknown: nothing says in which order they are.
	Unknown
	// Other: some are in another one.
	Other
)

// Look is what was found out about a PostgreSQL that runs.
type Look struct {
	State State
	// Here is the host's C library, and Why the reason of a State that is not Right.
	Here Glibc
	Why  string
	// Databases are all that may have indexes, with those that no order matters to.
	Databases []string
}

//go:embed sql/versions.sql
var versions string

// LookAt asks PostgreSQL, and reads what was written down.
func LookAt(ctx context.Context, g omnibus.GitLab) (Look, error) {
	here, err := OfHost(ctx, g.Machine)
	if err != nil {
		return Look{}, err
	}
	record, err := ReadRecord(g.Machine)
	if err != nil {
		return Look{}, err
	}
	rows, err := g.Query(ctx, omnibus.Statements{Text: versions})
	if err != nil {
		return Look{}, fmt.Errorf("%w %w", omnibus.ErrDatabase, err)
	}
	look := Look{Here: here}
	depends := false
	var others []string
	for _, row := range rows {
		if len(row) != 5 {
			return Look{}, fmt.Errorf("%w It says %.200q", omnibus.ErrDatabase, row)
		}
		kind, name, provider, collate, version := row[0], row[1], row[2], row[3], row[4]
		if kind == "database" {
			look.Databases = append(look.Databases, name)
			// ICU and PostgreSQL's own order are none of glibc's.
			if provider != "c" || collate == "C" || collate == "POSIX" {
				continue
			}
			depends = true
		}
		if made, err := ParseGlibc(version); err == nil && made.IsNew() != here.IsNew() && !slices.Contains(others, version) {
			others = append(others, version)
		}
	}
	switch misfit := record.Misfit(here); {
	case len(look.Databases) == 0:
		return Look{}, fmt.Errorf("%w It names no database", omnibus.ErrDatabase)
	case !depends:
		// Also what PostgreSQL says of collations that no database uses.
	case record.Rebuilding != "":
		look.State, look.Why = Other, misfit
	case len(others) > 0:
		look.State, look.Why = Other, "PostgreSQL says that it was made with glibc "+strings.Join(others, " and ")
	case misfit != "" && record.Glibc == "":
		look.State, look.Why = Unknown, misfit
	case misfit != "":
		look.State, look.Why = Other, misfit
	}
	return look, nil
}

// String is the look in words.
func (l Look) String() string {
	if l.State == Right {
		return fmt.Sprintf("the indexes are in the order of this host (glibc %s)", l.Here)
	}
	return fmt.Sprintf("%s, and this host has glibc %s: from 2.28 on text is sorted otherwise", l.Why, l.Here)
}
