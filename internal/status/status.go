//go:build unix

// Package status tells how the GitLab of a host is. What cannot be read says so, and does
// not hide the rest. It changes nothing.
package status

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/migrations"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/operation"
)

// States of a row.
const (
	OK      = "ok"
	Wrong   = "wrong"
	Unknown = "unknown"
	Told    = "-" // it is neither
)

// Row is one line of it.
type Row struct{ Part, State, Found string }

// String is the row as programs read it: columns divided by tabs.
func (r Row) String() string {
	return r.Part + "\t" + r.State + "\t" + strings.TrimRight(strings.NewReplacer("\t", " ", "\n", " ").Replace(r.Found), " ")
}

// Status is a look at one GitLab.
type Status struct {
	GitLab omnibus.GitLab
	Runs   *operation.Runs
	// Longest is how long one part may take.
	Longest time.Duration
}

const (
	// full is the percentage of a disk from which on it is too full for a backup or an
	// upgrade.
	full = 85
	// shown is how many of the last operations are told.
	shown = 3
)

// Look tells about all parts. Tell gets each row as soon as it is known.
func (s Status) Look(ctx context.Context, tell func(Row)) error {
	for _, part := range []struct {
		name string
		look func(context.Context) []Row
	}{
		{"version", s.version},
		{"services", s.services},
		{"sign-in", s.page},
		{"sign-up", s.signUp},
		{"postgresql", s.postgresql},
		{"order", s.order},
		{"disk", s.disk},
		{"migrations", s.migrations},
		{"runners", s.runners},
		{"operation", s.operations},
	} {
		s.GitLab.Machine.Say("looking at: %s", part.name)
		limited, cancel := context.WithTimeoutCause(ctx, s.Longest, fmt.Errorf("it takes longer than %s", s.Longest))
		rows := part.look(limited)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, row := range rows {
			row.Part = part.name
			tell(row)
		}
	}
	return nil
}

// one is a single row. Its part is filled in by Look.
func one(state, format string, values ...any) []Row {
	return []Row{{State: state, Found: fmt.Sprintf(format, values...)}}
}

func notKnown(err error) []Row { return one(Unknown, "%v", err) }

var prettyName = regexp.MustCompile(`(?m)^PRETTY_NAME="?([^"\n]*)`)

func (s Status) version(context.Context) []Row {
	installed, err := s.GitLab.Installed()
	if err != nil {
		if errors.Is(err, omnibus.ErrNone) {
			return one(Wrong, "GitLab is not installed: %v", err)
		}
		return notKnown(err)
	}
	system := "an unknown system"
	text, _ := s.GitLab.Machine.ReadFile("/etc/os-release")
	if name := prettyName.FindStringSubmatch(text); name != nil {
		system = name[1]
	}
	return one(Told, "%s %s, %s", installed.Package, installed.Version, system)
}

var down = regexp.MustCompile(`^(?:down|fail|warning): ([^:]*):`)

func (s Status) services(ctx context.Context) []Row {
	// It fails when a service is down; that is told below.
	out, err := s.GitLab.Machine.Ask(ctx, machine.Cmd("gitlab-ctl", "status"))
	var exit *machine.ExitError
	if err != nil && !errors.As(err, &exit) {
		return notKnown(err)
	}
	up := 0
	var wrong []string
	for line := range strings.Lines(out) {
		if name := down.FindStringSubmatch(line); name != nil {
			wrong = append(wrong, name[1])
		} else if strings.HasPrefix(line, "run: ") {
			up++
		}
	}
	switch {
	case wrong != nil:
		return one(Wrong, "down: %s; %d are up", strings.Join(wrong, " "), up)
	case up > 0:
		return one(OK, "all %d are up", up)
	}
	said := machine.LastLine(out)
	if exit != nil {
		said = cmp.Or(machine.LastLine(exit.Tail), said)
	}
	return one(Unknown, "gitlab-ctl status names none: %s", said)
}

func (s Status) page(ctx context.Context) []Row {
	address, err := s.GitLab.Address()
	if err != nil {
		return notKnown(err)
	}
	if status, ok := s.GitLab.AnswersSignIn(ctx, address); !ok {
		return one(Wrong, "the page does not answer with 200; the answer was HTTP %03d", status)
	}
	return one(OK, "the page answers with 200")
}

func (s Status) signUp(ctx context.Context) []Row {
	open, err := s.GitLab.SignUpIsOpen(ctx)
	switch {
	case err != nil:
		return notKnown(err)
	case open:
		return one(Told, "open: whoever reaches the page can make an account; scripts/ops reset-tokens --close-sign-up closes it")
	}
	return one(OK, "closed: accounts are made by administrators")
}

//go:embed sql/postgresql.sql
var postgresql string

func (s Status) postgresql(ctx context.Context) []Row {
	rows, err := s.GitLab.Query(ctx, omnibus.Statements{Text: postgresql})
	if err != nil {
		return notKnown(err)
	}
	if len(rows) != 1 {
		return one(Unknown, "it told no version: %q", rows)
	}
	return one(OK, "PostgreSQL %s answers", rows[0][0])
}

// order is told when text comes in another order here than in the indexes.
func (s Status) order(ctx context.Context) []Row {
	look, err := collation.LookAt(ctx, s.GitLab)
	switch {
	case err != nil:
		return notKnown(err)
	case look.State == collation.Other:
		return one(Wrong, "%s, and GitLab does not find all that is there: scripts/ops reindex rebuilds the indexes", look)
	case look.State == collation.Unknown:
		return one(Unknown, "%s: scripts/ops reindex makes sure", look)
	}
	return nil
}

func (s Status) disk(ctx context.Context) (rows []Row) {
	out, err := s.GitLab.Machine.Ask(ctx, machine.Cmd("df", "-P", "-h", "/", "/var/opt/gitlab"))
	if err != nil {
		return notKnown(err)
	}
	var seen []string
	for line := range strings.Lines(out) {
		// Filesystem, size, used, free, percent, place. One twice is told once.
		column := strings.Fields(line)
		if len(column) < 6 || slices.Contains(seen, line) {
			continue
		}
		used, err := strconv.Atoi(strings.TrimSuffix(column[4], "%"))
		if err != nil {
			continue // the head
		}
		seen = append(seen, line)
		place := strings.Join(column[5:], " ")
		if used >= full {
			rows = append(rows, one(Wrong, "%s is %d%% full: %s of %s free", place, used, column[3], column[1])...)
		} else {
			rows = append(rows, one(OK, "%s: %s of %s free", place, column[3], column[1])...)
		}
	}
	if rows == nil {
		return one(Unknown, "df named no disk")
	}
	return rows
}

// migrations tells what an upgrade would say of them.
func (s Status) migrations(ctx context.Context) []Row {
	installed, err := s.GitLab.Installed()
	if err != nil {
		return one(Unknown, "GitLab's version is not known")
	}
	left, err := migrations.Find(ctx, s.GitLab, installed.Version)
	switch {
	case err != nil:
		return notKnown(err)
	case left.Total() > 0:
		return one(Wrong, "no upgrade until they are finished: %s", left)
	}
	return one(OK, "no background migration is left")
}

//go:embed sql/runners.sql
var runners string

// runners goes by the last contact, which GitLab writes down once an hour.
func (s Status) runners(ctx context.Context) []Row {
	rows, err := s.GitLab.Query(ctx, omnibus.Statements{Text: runners})
	if err != nil {
		return notKnown(err)
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return one(Unknown, "gitlab-psql said %.200q", rows)
	}
	online, err := strconv.Atoi(rows[0][0])
	if err != nil {
		return one(Unknown, "gitlab-psql said %.200q", rows)
	}
	if online == 0 {
		return one(Wrong, "none of %s was in contact within two hours", rows[0][1])
	}
	return one(OK, "%d of %s were in contact within two hours", online, rows[0][1])
}

func (s Status) operations(ctx context.Context) (rows []Row) {
	if holder := s.GitLab.Machine.Holder(machine.OperationLock); holder != "" {
		rows = one(Told, "under way: %s", holder)
	}
	runs, err := s.Runs.List(ctx)
	if err != nil {
		return append(rows, notKnown(err)...)
	}
	told := 0
	for _, run := range runs {
		if run.Operation == "status" { // this one, and its like
			continue
		}
		state := map[operation.State]string{operation.Running: "is under way", operation.Lost: "was lost"}[run.State]
		if run.State == operation.Ended {
			state = fmt.Sprintf("ended with %d", run.Status)
		}
		rows = append(rows, one(Told, "%s %s, started %s (run %s)", run.Operation, state, run.Started.UTC().Format(time.RFC3339), run.ID)...)
		if told++; told == shown {
			break
		}
	}
	return rows
}
