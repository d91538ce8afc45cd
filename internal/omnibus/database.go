package omnibus

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine"
)

// statementsLimit is the longest time for statements, unless somebody says otherwise.
const statementsLimit = 10 * time.Minute

// Statements are SQL for GitLab's own database.
type Statements struct {
	// Text is the SQL. It ends each statement with a semicolon. Required.
	Text string
	// Database is another one of the same PostgreSQL; "" is GitLab's own.
	Database string
	// Changes says that the host is another one afterwards.
	Changes bool
	// Timeout is how long all of it may take; 0 is ten minutes. It is the only limit:
	// GitLab ends each statement after a minute by itself.
	// https://docs.gitlab.com/omnibus/settings/database/ (statement_timeout)
	Timeout time.Duration
}

// Rows are what statements printed, all of them in a row.
type Rows [][]string

// Query runs statements in one transaction: the first error undoes all of them. Columns
// come as text, and none of them may hold a tab or a line end.
func (g GitLab) Query(ctx context.Context, s Statements) (Rows, error) {
	out, err := g.Print(ctx, s)
	if err != nil {
		return nil, err
	}
	var rows Rows
	for line := range strings.Lines(out) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows, nil
}

// Print is Query for who wants the text: of COPY … TO STDOUT, for one.
func (g GitLab) Print(ctx context.Context, s Statements) (string, error) {
	if s.Timeout == 0 {
		s.Timeout = statementsLimit
	}
	var out bytes.Buffer // all of it: Ask would keep the end
	// gitlab-psql knows the database and its user. "--file -" is what lets psql put
	// --single-transaction around stdin.
	command := machine.Command{
		Args: []string{
			"gitlab-psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--field-separator=\t",
			"--set", "ON_ERROR_STOP=1", "--single-transaction", "--file", "-",
		},
		Stdin: strings.NewReader("SET statement_timeout = 0;\n" + s.Text + "\n"), Stdout: &out, Timeout: s.Timeout,
	}
	if s.Database != "" { // gitlab-psql names its own before, and the last one counts
		command.Args = append(command.Args, "--dbname", s.Database)
	}
	run := g.Machine.AskTo
	if s.Changes {
		run = g.Machine.Do
	}
	err := run(ctx, command)
	var exit *machine.ExitError
	if errors.As(err, &exit) {
		// What follows the error, a line of SQL and where in it, is no reason.
		if line := errorLine.FindString(exit.Tail); line != "" {
			exit.Tail = line
		}
	}
	return out.String(), shorter("gitlab-psql", err)
}

var errorLine = regexp.MustCompile(`(?m)^.*(ERROR|FATAL): .*$`)

// shorter names a command by its first word in an error: the rest is long, and always the
// same.
func shorter(name string, err error) error {
	var exit *machine.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	short := *exit
	short.Command = machine.Cmd(name)
	return &short
}

//go:embed sql/schema.sql
var schema string

// Schema is what tables there are, and what columns they have: versions differ in them, and
// nothing is assumed.
type Schema map[string]map[string]bool

// ErrDatabase says that GitLab's database cannot be asked.
var ErrDatabase = errors.New("GitLab's database does not answer: is PostgreSQL up (gitlab-ctl status postgresql)?")

// Schema reads it.
func (g GitLab) Schema(ctx context.Context) (Schema, error) {
	rows, err := g.Query(ctx, Statements{Text: schema})
	if err != nil {
		return nil, fmt.Errorf("%w %w", ErrDatabase, err)
	}
	s := Schema{}
	for _, row := range rows {
		if len(row) != 2 {
			return nil, fmt.Errorf("%w It says %q", ErrDatabase, strings.Join(row, " "))
		}
		if s[row[0]] == nil {
			s[row[0]] = map[string]bool{}
		}
		s[row[0]][row[1]] = true
	}
	if !s.HasTable("application_settings") {
		return nil, errors.New("the database has no application_settings, so it is not GitLab's")
	}
	return s, nil
}

// HasTable says whether there is such a table.
func (s Schema) HasTable(table string) bool { return s[table] != nil }

// Has says whether there is such a column.
func (s Schema) Has(table, column string) bool { return s[table][column] }
