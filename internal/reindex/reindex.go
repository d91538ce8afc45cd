//go:build unix

// Package reindex brings all indexes of GitLab's PostgreSQL into the order that this host
// has for text (package collation says why they may be in another one). It may be killed
// anywhere: the next run goes on behind the last index that was written down.
package reindex

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
)

// Reindex is the operation on one GitLab.
type Reindex struct {
	GitLab omnibus.GitLab
	// Confirm asks people whether to go on; its error says that they do not want to.
	Confirm func(question string) error
}

// Result is what there was to do, or was done.
type Result struct {
	// Glibc is that of the host, and State one of those below.
	Glibc string `json:"glibc"`
	State string `json:"state"`
	// Indexes are how many are left to rebuild, or were rebuilt, and Bytes is their size
	// before.
	Indexes int   `json:"indexes"`
	Bytes   int64 `json:"bytes"`
}

// The states that are a result.
const (
	Unneeded = "unneeded"
	Needed   = "needed"
	Rebuilt  = "rebuilt"
)

const (
	// folder is where PostgreSQL's files are.
	folder   = "/var/opt/gitlab/postgresql"
	mebibyte = 1 << 20
	// An index is written anew beside the old one, and sorted in files before. walRoom is
	// for what PostgreSQL writes down meanwhile.
	copies  = 2
	walRoom = 1024 * mebibyte
	// Indexes are rebuilt so many, or so large, at a time: a start of psql takes longer
	// than a small index.
	atATime     = 100
	bytesAtOnce = 256 * mebibyte

	rebuildLimit = 6 * time.Hour
	stopLimit    = 5 * time.Minute
	startLimit   = 15 * time.Minute
	readyLimit   = 15 * time.Minute
)

// index is one of a database.
type index struct{ number, bytes int64 }

// piece are indexes that are rebuilt at a time.
type piece struct {
	database string
	indexes  []index
}

func (p piece) bytes() (sum int64) {
	for _, i := range p.indexes {
		sum += i.bytes
	}
	return sum
}

// Check says what there is to do, and changes nothing.
func (r Reindex) Check(ctx context.Context) (Result, error) {
	look, _, pieces, err := r.left(ctx)
	if err != nil || look.State == collation.Right {
		return Result{Glibc: look.Here.String(), State: Unneeded}, err
	}
	result := told(look, Needed, pieces)
	r.GitLab.Machine.Say("%d indexes of %d MiB are to be rebuilt. GitLab is away meanwhile", result.Indexes, result.Bytes/mebibyte)
	return result, r.checkRoom(pieces)
}

// Do rebuilds them, unless they are right. GitLab is away meanwhile, and comes back
// whatever happens.
func (r Reindex) Do(ctx context.Context) (result Result, err error) {
	m := r.GitLab.Machine
	look, record, pieces, err := r.left(ctx)
	if err != nil || look.State == collation.Right {
		return Result{Glibc: look.Here.String(), State: Unneeded}, err
	}
	if err := r.checkRoom(pieces); err != nil {
		return Result{}, err
	}
	result = told(look, Rebuilt, pieces)
	question := fmt.Sprintf("Rebuild %d indexes of %d MiB? GitLab is away meanwhile.", result.Indexes, result.Bytes/mebibyte)
	if err := r.Confirm(question); err != nil {
		return Result{}, err
	}
	// From here on some indexes may be in this order, and others in that.
	if err := record.Write(m); err != nil {
		return Result{}, err
	}
	if err := r.whileStopped(ctx, func() error { return r.rebuild(ctx, look, record, pieces) }); err != nil {
		return Result{}, err
	}
	if err := collation.Made(ctx, m); err != nil {
		return Result{}, err
	}
	if look, err = collation.LookAt(ctx, r.GitLab); err == nil && look.State != collation.Right {
		err = fmt.Errorf("all indexes are rebuilt, and yet %s", look)
	}
	if err != nil {
		return Result{}, err
	}
	m.Say("%s", look)
	return result, nil
}

// left finds what there is to do, unless all is right.
func (r Reindex) left(ctx context.Context) (look collation.Look, record collation.Record, pieces []piece, err error) {
	if look, err = r.look(ctx); err != nil || look.State == collation.Right {
		return look, record, nil, err
	}
	if record, err = r.record(look); err == nil {
		pieces, err = r.plan(ctx, look, record)
	}
	return look, record, pieces, err
}

func told(look collation.Look, state string, pieces []piece) Result {
	result := Result{Glibc: look.Here.String(), State: state}
	for _, p := range pieces {
		result.Indexes += len(p.indexes)
		result.Bytes += p.bytes()
	}
	return result
}

func (r Reindex) look(ctx context.Context) (collation.Look, error) {
	if _, err := r.GitLab.Installed(); err != nil {
		return collation.Look{}, err
	}
	look, err := collation.LookAt(ctx, r.GitLab)
	if err == nil {
		r.GitLab.Machine.Say("%s", look)
	}
	return look, err
}

// record is what a rebuild is to be written down in: that of one which did not finish, if
// it was for this very C library.
func (r Reindex) record(look collation.Look) (collation.Record, error) {
	record, err := collation.ReadRecord(r.GitLab.Machine)
	if err != nil {
		return record, err
	}
	if record.Rebuilding != look.Here.String() {
		record.Rebuilding, record.Done = look.Here.String(), nil
	} else {
		r.GitLab.Machine.Say("an earlier run did not finish: going on where it was")
	}
	if record.Done == nil {
		record.Done = map[string]int64{}
	}
	return record, nil
}

//go:embed sql/indexes.sql
var indexes string

// plan finds what is left to rebuild. Indexes that somebody makes meanwhile are right.
func (r Reindex) plan(ctx context.Context, look collation.Look, record collation.Record) ([]piece, error) {
	var pieces []piece
	for _, database := range look.Databases {
		rows, err := r.GitLab.Query(ctx, omnibus.Statements{Text: indexes, Database: database})
		if err != nil {
			return nil, fmt.Errorf("the indexes of %s cannot be listed: %w", database, err)
		}
		next := piece{database: database}
		for _, row := range rows {
			i, err := parseIndex(row)
			if err != nil {
				return nil, err
			}
			if i.number <= record.Done[database] {
				continue
			}
			if n := len(next.indexes); n == atATime || n > 0 && next.bytes()+i.bytes > bytesAtOnce {
				pieces = append(pieces, next)
				next = piece{database: database}
			}
			next.indexes = append(next.indexes, i)
		}
		if len(next.indexes) > 0 {
			pieces = append(pieces, next)
		}
	}
	return pieces, nil
}

func parseIndex(row []string) (index, error) {
	if len(row) == 2 {
		number, err := strconv.ParseInt(row[0], 10, 64)
		bytes, bad := strconv.ParseInt(row[1], 10, 64)
		if errors.Join(err, bad) == nil {
			return index{number, bytes}, nil
		}
	}
	return index{}, fmt.Errorf("%w It says %.200q of an index", omnibus.ErrDatabase, row)
}

func (r Reindex) checkRoom(pieces []piece) error {
	largest := int64(0)
	for _, p := range pieces {
		largest = max(largest, p.bytes())
	}
	need := copies*largest + walRoom
	free, err := r.GitLab.Machine.Free(folder)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("too little disk: %d MiB are needed in %s (twice what is rebuilt at a time, and a GiB), %d MiB are free", need/mebibyte, folder, free/mebibyte)
	}
	return nil
}

// whileStopped does something while nobody works with the database: rows that are added
// with a wrong index can be there twice.
func (r Reindex) whileStopped(ctx context.Context, do func() error) (err error) {
	m := r.GitLab.Machine
	defer func() {
		started := m.Logged(context.WithoutCancel(ctx), machine.Command{Args: []string{"gitlab-ctl", "start"}, Timeout: startLimit})
		if started != nil {
			err = errors.Join(err, fmt.Errorf("GitLab's services cannot be started: %w", started))
			return
		}
		if err == nil {
			err = r.ready(ctx)
		}
	}()
	for _, service := range []string{"puma", "unicorn", "sidekiq"} {
		status := machine.Command{Args: []string{"gitlab-ctl", "status", service}, Timeout: stopLimit}
		if _, err := m.Ask(ctx, status); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue // not each version has each of them, and a killed run has stopped some
		}
		m.Say("stopping %s", service)
		if err := m.Do(ctx, machine.Command{Args: []string{"gitlab-ctl", "stop", service}, Timeout: stopLimit}); err != nil {
			return fmt.Errorf("%s cannot be stopped: %w", service, err)
		}
	}
	return do()
}

func (r Reindex) ready(ctx context.Context) error {
	address, err := r.GitLab.Address()
	if err == nil {
		err = r.GitLab.WaitForSignIn(ctx, address, readyLimit)
	}
	if err != nil {
		return fmt.Errorf("all indexes are rebuilt, but %w", err)
	}
	return nil
}

//go:embed sql/refresh.sql
var refresh string

func (r Reindex) rebuild(ctx context.Context, look collation.Look, record collation.Record, pieces []piece) error {
	total, done := told(look, "", pieces), 0
	var double []string
	for _, p := range pieces {
		failed, err := r.rebuildPiece(ctx, p)
		if err != nil {
			return err
		}
		double = append(double, failed...)
		if len(double) == 0 { // otherwise the next run has to come back to it
			record.Done[p.database] = p.indexes[len(p.indexes)-1].number
			if err := record.Write(r.GitLab.Machine); err != nil {
				return err
			}
		}
		done += len(p.indexes)
		r.GitLab.Machine.Say("%d of %d indexes", done, total.Indexes)
	}
	if len(double) > 0 {
		return fmt.Errorf("%d indexes cannot be rebuilt, because rows are there twice that may be there once: %s; all others are. "+
			"Remove the surplus rows (https://docs.gitlab.com/administration/raketasks/maintenance/#detect-postgresql-collation-version-mismatches), and run this again",
			len(double), strings.Join(double, "; "))
	}
	for _, database := range look.Databases {
		if _, err := r.GitLab.Query(ctx, omnibus.Statements{Text: refresh, Database: database, Changes: true}); err != nil {
			return fmt.Errorf("PostgreSQL does not write down in %s that its indexes are new: %w", database, err)
		}
	}
	return nil
}

//go:embed sql/rebuild.sql
var rebuildSQL string

// rebuildPiece rebuilds indexes in one transaction. When rows are there twice, the others
// are rebuilt one by one, and what failed is told.
func (r Reindex) rebuildPiece(ctx context.Context, p piece) (double []string, err error) {
	err = r.reindex(ctx, p.database, p.indexes)
	if !isDouble(err) {
		return nil, err
	}
	for _, i := range p.indexes {
		err := r.reindex(ctx, p.database, []index{i})
		switch {
		case isDouble(err):
			var exit *machine.ExitError
			_ = errors.As(err, &exit)
			double = append(double, cmp.Or(exit.Tail, err.Error()))
		case err != nil:
			return double, err
		}
	}
	return double, nil
}

// isDouble says whether a unique index could not be built.
func isDouble(err error) bool {
	var exit *machine.ExitError
	return errors.As(err, &exit) && strings.Contains(exit.Tail, "could not create unique index")
}

func (r Reindex) reindex(ctx context.Context, database string, these []index) error {
	var numbers []string
	for _, i := range these {
		numbers = append(numbers, strconv.FormatInt(i.number, 10))
	}
	_, err := r.GitLab.Query(ctx, omnibus.Statements{
		Text: strings.Replace(rebuildSQL, "'{0}'", "'{"+strings.Join(numbers, ",")+"}'", 1), Database: database, Changes: true, Timeout: rebuildLimit,
	})
	return err
}
