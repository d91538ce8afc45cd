// Package migrations finds out what is left of GitLab's background migrations.
//
// GitLab has had two kinds: jobs of Sidekiq until 15.0, and from 13.11 on, by and by for
// all, batched ones, with a row each in the database. A stop of an upgrade may be left only
// when neither is pending, running or failed, and a server only when Sidekiq has none: no
// backup has what is in Redis.
// https://docs.gitlab.com/update/background_migrations/
package migrations

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/omnibus"
)

var (
	//go:embed sql/batched.sql
	batchedQuery string
	//go:embed sql/jobs.sql
	jobsQuery string
	//go:embed rb/queued.rb
	queuedProgram string
)

// askLimit is how long one question may take: Rails needs minutes on a busy server.
const askLimit = 15 * time.Minute

// Status is that of a batched migration, as GitLab counts them:
// app/models/gitlab/database/background_migration/batched_migration.rb, lib/ since 14.6.
type Status int

// The statuses of batched migrations. Finished (3) and finalized (6) are never left.
const (
	Paused     Status = 0
	Active     Status = 1
	Failed     Status = 4
	Finalizing Status = 5 // by somebody's task; a killed one stays there for ever
)

func (s Status) String() string {
	switch s {
	case Paused:
		return "paused"
	case Active:
		return "active"
	case Failed:
		return "failed"
	case Finalizing:
		return "finalizing"
	}
	return "status " + strconv.Itoa(int(s))
}

// Batched is one batched migration.
type Batched struct {
	ID            int
	Status        Status
	Class         string
	Table, Column string
	// Arguments are a JSON list.
	Arguments string
}

func (b Batched) String() string { return fmt.Sprintf("%s on %s (%s)", b.Class, b.Table, b.Status) }

// DiffCommits is a class of jobs that 14.5 and later run in the foreground, for hours, when
// it was not done before.
const DiffCommits = "MigrateMergeRequestDiffCommitUsers"

// stuck are classes of jobs that are known to stay pending though nothing is left to do.
// https://gitlab.com/gitlab-org/gitlab/-/blob/master/doc/update/versions/gitlab_14_changes.md
var stuck = map[string]bool{
	"PopulateTopicsTotalProjectsCountCache": true, "UpdateVulnerabilityOccurrencesLocation": true,
	"PopulateTopicsNonPrivateProjectsCount": true, "ResetDuplicateCiRunnersTokenValuesOnProjects": true,
}

// Left is what is left.
type Left struct {
	Batched []Batched
	// Queued is how many jobs Sidekiq has, now or for later. Versions after 15.0 have none.
	Queued int
	// Jobs are followed jobs that were not done, by class, as far as they count: all of
	// them below 14.3, later those of DiffCommits.
	Jobs map[string]int
}

// Total is how many migrations or jobs are left.
func (l Left) Total() int {
	total := len(l.Batched) + l.Queued
	for _, n := range l.Jobs {
		total += n
	}
	return total
}

// With are the batched ones of a status.
func (l Left) With(status Status) (found []Batched) {
	for _, b := range l.Batched {
		if b.Status == status {
			found = append(found, b)
		}
	}
	return found
}

// Lost is how many followed jobs Sidekiq does not have any more: a server that was
// restored has none in Redis, and nobody will do them by itself.
func (l Left) Lost() int {
	if l.Queued > 0 {
		return 0
	}
	total := 0
	for _, n := range l.Jobs {
		total += n
	}
	return total
}

func (l Left) String() string {
	var parts []string
	if len(l.Batched) > 0 {
		var some []string
		for _, b := range l.Batched[:min(3, len(l.Batched))] {
			some = append(some, b.String())
		}
		if more := len(l.Batched) - len(some); more > 0 {
			some = append(some, fmt.Sprintf("%d more", more))
		}
		parts = append(parts, fmt.Sprintf("%d batched: %s", len(l.Batched), strings.Join(some, ", ")))
	}
	if l.Queued > 0 {
		parts = append(parts, fmt.Sprintf("%d jobs in Sidekiq", l.Queued))
	}
	pending := 0
	for _, n := range l.Jobs {
		pending += n
	}
	if pending > 0 {
		where := "pending"
		if l.Lost() > 0 {
			where = "pending that Sidekiq does not have"
		}
		parts = append(parts, fmt.Sprintf("%d jobs %s", pending, where))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, "; ")
}

// Find asks the database, and up to 15.0 Rails, what an installed version has left. It
// fails when anything fails or answers something unexpected: what is not known is not 0.
func Find(ctx context.Context, g omnibus.GitLab, installed gitlab.Version) (left Left, err error) {
	left.Jobs = map[string]int{}
	schema, err := g.Schema(ctx)
	if err != nil {
		return left, err
	}
	const batched, jobs = "batched_background_migrations", "background_migration_jobs"
	// All versions from 14.0 on have it: its absence is another database's.
	if !schema.HasTable(batched) && !older(installed, 14, 0) {
		return left, fmt.Errorf("the database has no table %s, and GitLab %s has one", batched, installed)
	}
	if schema.HasTable(batched) {
		if left.Batched, err = readBatched(ctx, g); err != nil {
			return left, err
		}
	}
	if schema.HasTable(jobs) && older(installed, 15, 1) {
		if left.Jobs, err = readJobs(ctx, g, installed); err != nil {
			return left, err
		}
	}
	if older(installed, 15, 1) {
		answer, err := g.Rails(ctx, omnibus.Ruby{Name: "count the background migrations in Sidekiq", Text: queuedProgram, Timeout: askLimit})
		if err != nil {
			return left, err
		}
		if left.Queued, err = count("Gitlab::BackgroundMigration.remaining", answer); err != nil {
			return left, err
		}
	}
	return left, nil
}

func older(v gitlab.Version, major, minor int) bool {
	return v.Compare(gitlab.Version{Major: major, Minor: minor}) < 0
}

var (
	className  = regexp.MustCompile(`^[A-Za-z0-9_:]+$`)
	tableName  = regexp.MustCompile(`^[a-z0-9_.]+$`)
	columnName = regexp.MustCompile(`^[a-z0-9_]+$`)
	arguments  = regexp.MustCompile(`^\[.*\]$`)
)

func readBatched(ctx context.Context, g omnibus.GitLab) (all []Batched, err error) {
	rows, err := g.Query(ctx, omnibus.Statements{Text: batchedQuery, Timeout: askLimit})
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if len(row) == 6 && row[5] == `"[]"` { // the column's default, from a migration of Rails
			row[5] = "[]"
		}
		// What comes from a database goes into a command line later.
		if len(row) != 6 || !className.MatchString(row[2]) || !tableName.MatchString(row[3]) || !columnName.MatchString(row[4]) || !arguments.MatchString(row[5]) {
			return nil, fmt.Errorf("batched_background_migrations: %.100q is no row of it", strings.Join(row, " "))
		}
		id, err := count("an id", row[0])
		if err != nil {
			return nil, err
		}
		status, err := count("a status", row[1])
		if err != nil {
			return nil, err
		}
		all = append(all, Batched{ID: id, Status: Status(status), Class: row[2], Table: row[3], Column: row[4], Arguments: row[5]})
	}
	return all, nil
}

func readJobs(ctx context.Context, g omnibus.GitLab, installed gitlab.Version) (map[string]int, error) {
	rows, err := g.Query(ctx, omnibus.Statements{Text: jobsQuery, Timeout: askLimit})
	if err != nil {
		return nil, err
	}
	jobs := map[string]int{}
	for _, row := range rows {
		if len(row) != 2 || !className.MatchString(row[0]) {
			return nil, fmt.Errorf("background_migration_jobs: %.100q is no row of the question", strings.Join(row, " "))
		}
		n, err := count("the jobs of "+row[0], row[1])
		if err != nil {
			return nil, err
		}
		if !stuck[row[0]] && (older(installed, 14, 3) || row[0] == DiffCommits) {
			jobs[row[0]] = n
		}
	}
	return jobs, nil
}

func count(what, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1e9 {
		return 0, fmt.Errorf("%s: got %.100q, want a number", what, text)
	}
	return n, nil
}
