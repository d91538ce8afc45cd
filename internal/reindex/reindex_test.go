//go:build unix

package reindex_test

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/reindex"
)

const mebibyte = 1 << 20

// server is a host of Amazon Linux 2023 with the database of one of Amazon Linux 2.
type server struct {
	*machinetest.Host
	t       *testing.T
	indexes map[string][]*played // by database
	version string               // what PostgreSQL has written down; "" before 15
	collate string
	up      map[string]bool // services
	rebuilt []int64         // indexes, in the order in which they were asked for
	dies    int             // the number of the index at which PostgreSQL dies
	broken  []string        // what was not as it has to be
}

// played is an index: its number, its size, and the C library that it is in the order of.
type played struct {
	number, bytes int64
	order         string
	double        bool // its table has rows twice
}

func newServer(t *testing.T) *server {
	s := &server{Host: machinetest.New(t), t: t, version: "2.26", collate: "en_US.UTF-8", up: map[string]bool{"puma": true, "sidekiq": true}}
	s.AmazonLinux2023()
	s.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce 18.11.13\n")
	s.Put("/etc/gitlab/gitlab-codedeploy.rb", "external_url 'https://gitlab.example.com'\n")
	s.indexes = map[string][]*played{"gitlabhq_production": {}, "mattermost": {{number: 7, bytes: mebibyte, order: "2.26"}}, "postgres": {}}
	for i := range int64(250) {
		s.indexes["gitlabhq_production"] = append(s.indexes["gitlabhq_production"], &played{number: 1000 + i, bytes: 8192, order: "2.26"})
	}
	s.indexes["gitlabhq_production"][120].bytes = 3 * 1024 * mebibyte
	s.On("gitlab-psql", s.psql)
	// As runit's sv says it; puma's predecessor is not there.
	s.On("gitlab-ctl status", func(c machinetest.Call) int {
		if up, is := s.up[c.Args[2]]; !is || !up {
			return 1
		}
		return 0
	})
	s.On("gitlab-ctl stop", func(c machinetest.Call) int {
		s.up[c.Args[2]] = false
		return 0
	})
	s.On("gitlab-ctl start", func(machinetest.Call) int {
		s.up["puma"], s.up["sidekiq"] = true, true
		return 0
	})
	s.OnPage("http://localhost/users/sign_in", func(w http.ResponseWriter, _ *http.Request) {
		if !s.up["puma"] {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	return s
}

var numbers = regexp.MustCompile(`'\{([0-9,]+)\}'::oid\[\]`)

// psql is PostgreSQL: a transaction that fails changes nothing.
func (s *server) psql(c machinetest.Call) int {
	database := "gitlabhq_production"
	if at := slices.Index(c.Args, "--dbname"); at > 0 {
		database = c.Args[at+1]
	}
	switch {
	case strings.Contains(c.Input, "datallowconn"):
		for _, name := range []string{"gitlabhq_production", "mattermost", "postgres"} {
			c.Print("database\t%s\tc\t%s\t%s\n", name, s.collate, s.version)
		}
	case strings.Contains(c.Input, "pg_relation_size"):
		for _, i := range s.indexes[database] {
			c.Print("%d\t%d\n", i.number, i.bytes)
		}
	case strings.Contains(c.Input, "REINDEX INDEX"):
		if s.up["puma"] || s.up["sidekiq"] {
			s.broken = append(s.broken, "somebody works while an index is rebuilt")
		}
		var done []*played
		for number := range strings.SplitSeq(numbers.FindStringSubmatch(c.Input)[1], ",") {
			n, _ := strconv.ParseInt(number, 10, 64)
			at := slices.IndexFunc(s.indexes[database], func(i *played) bool { return i.number == n })
			i := s.indexes[database][at]
			if i.double {
				c.Complain("psql:<stdin>:16: ERROR:  could not create unique index \"index_%d\"\nDETAIL:  Key (name)=(a) is duplicated.\n", n)
				return 3
			}
			if s.dies == int(n) {
				c.Complain("psql:<stdin>:16: server closed the connection unexpectedly\n")
				return 2
			}
			done = append(done, i)
			s.rebuilt = append(s.rebuilt, n)
		}
		for _, i := range done {
			i.order = "2.34"
		}
	case strings.Contains(c.Input, "REFRESH COLLATION VERSION"):
		if s.version != "" {
			s.version = "2.34"
		}
	default:
		s.t.Errorf("SQL that is not played: %s", c.Input)
	}
	return 0
}

func (s *server) reindex() reindex.Reindex {
	return reindex.Reindex{GitLab: omnibus.GitLab{Machine: s.Machine}, Confirm: func(string) error { return nil }}
}

// wrong are the indexes that are not in this host's order.
func (s *server) wrong() (numbers []int64) {
	for _, of := range s.indexes {
		for _, i := range of {
			if i.order != "2.34" {
				numbers = append(numbers, i.number)
			}
		}
	}
	return numbers
}

// isDone asserts that all of it is as it should be at the end.
func (s *server) isDone(t *testing.T) {
	t.Helper()
	assert.Empty(t, s.wrong())
	assert.JSONEq(t, `{"glibc":"2.34"}`, s.Get(collation.File))
	assert.Equal(t, map[string]bool{"puma": true, "sidekiq": true}, s.up)
	assert.Empty(t, s.broken)
	look, err := collation.LookAt(t.Context(), omnibus.GitLab{Machine: s.Machine})
	require.NoError(t, err)
	assert.Equal(t, collation.Right, look.State, look)
}

func TestS8_AllIndexesOfAllDatabasesAreRebuilt(t *testing.T) {
	s := newServer(t)
	found, err := s.reindex().Check(t.Context())
	require.NoError(t, err)
	assert.Equal(t, reindex.Result{Glibc: "2.34", State: "needed", Indexes: 251, Bytes: 249*8192 + 3*1024*mebibyte + mebibyte}, found)
	assert.Empty(t, s.rebuilt)
	assert.False(t, s.Exists(collation.File))

	result, err := s.reindex().Do(t.Context())
	require.NoError(t, err)
	assert.Equal(t, reindex.Result{Glibc: "2.34", State: "rebuilt", Indexes: 251, Bytes: found.Bytes}, result)
	s.isDone(t)
	assert.Contains(t, s.Talk.String(), "251 of 251 indexes")
	assert.Contains(t, s.Talk.String(), "the indexes are in the order of this host (glibc 2.34)")

	s.Forget()
	result, err = s.reindex().Do(t.Context())
	require.NoError(t, err)
	assert.Equal(t, reindex.Result{Glibc: "2.34", State: "unneeded"}, result)
	assert.Empty(t, s.RanLike("gitlab-ctl"), "nobody is locked out for nothing")
}

// Before 15, PostgreSQL does not know it of a database.
func TestS8_WhatPostgreSQLDoesNotKnowIsRebuiltToo(t *testing.T) {
	s := newServer(t)
	s.version = ""
	result, err := s.reindex().Do(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "rebuilt", result.State)
	s.isDone(t)

	s = newServer(t)
	s.collate = "C"
	result, err = s.reindex().Do(t.Context())
	require.NoError(t, err)
	assert.Equal(t, reindex.Result{Glibc: "2.34", State: "unneeded"}, result, "bytes are the same everywhere")
}

func TestS8_ReindexesThatWereKilled(t *testing.T) {
	all := map[*machinetest.Host]*server{}
	machinetest.AtEveryStep(t, func(t *testing.T) (*machinetest.Host, func() error) {
		s := newServer(t)
		all[s.Host] = s
		return s.Host, func() error {
			_, err := s.reindex().Do(t.Context())
			return err
		}
	}, func(t *testing.T, host *machinetest.Host, _ func() error) {
		s := all[host]
		s.t = t
		look, err := collation.LookAt(t.Context(), omnibus.GitLab{Machine: s.Machine})
		require.NoError(t, err)
		if len(s.wrong()) > 0 {
			assert.NotEqual(t, collation.Right, look.State, "indexes of two orders, and nobody says so")
		}
		record, err := collation.ReadRecord(s.Machine)
		require.NoError(t, err)
		if len(s.rebuilt) > 0 {
			assert.NotEmpty(t, record.Misfit(collation.Glibc{Major: 2, Minor: 26}), "its old server would take the volume back")
		}
		_, err = s.reindex().Do(t.Context())
		require.NoError(t, err)
		if look.State == collation.Right { // it was killed after the last change that counts
			return
		}
		s.isDone(t)
	})
}

func TestS8_ReindexFaults(t *testing.T) {
	t.Run("S8 reindex | PostgreSQL dies in the middle | GitLab comes back, status tells it, and the next run goes on where it was", func(t *testing.T) {
		s := newServer(t)
		s.dies = 1130
		_, err := s.reindex().Do(t.Context())
		require.ErrorContains(t, err, "server closed the connection unexpectedly")
		assert.True(t, s.up["puma"])
		assert.NotEmpty(t, s.wrong())
		look, err := collation.LookAt(t.Context(), omnibus.GitLab{Machine: s.Machine})
		require.NoError(t, err)
		assert.Equal(t, collation.Other, look.State)
		s.dies, s.rebuilt = 0, nil
		result, err := s.reindex().Do(t.Context())
		require.NoError(t, err)
		assert.Less(t, result.Indexes, 251)
		assert.NotContains(t, s.rebuilt, int64(1000), "what is rebuilt stays so")
		assert.Contains(t, s.Talk.String(), "an earlier run did not finish: going on where it was")
		s.isDone(t)
	})
	t.Run("S8 reindex | a run for another C library did not finish | all indexes are rebuilt", func(t *testing.T) {
		s := newServer(t)
		s.Put(collation.File, `{"glibc":"2.26","rebuilding":"2.39","done":{"gitlabhq_production":1249,"mattermost":7}}`)
		result, err := s.reindex().Do(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 251, result.Indexes)
		s.isDone(t)
	})
	t.Run("S8 reindex | rows are there twice that may be there once | the index is named, all others are rebuilt, and the next run comes back to it", func(t *testing.T) {
		s := newServer(t)
		double := s.indexes["gitlabhq_production"][40]
		double.double = true
		_, err := s.reindex().Do(t.Context())
		require.ErrorContains(t, err, `1 indexes cannot be rebuilt, because rows are there twice that may be there once: psql:<stdin>:16: ERROR:  could not create unique index "index_1040"; all others are`)
		assert.Equal(t, []int64{1040}, s.wrong())
		assert.True(t, s.up["puma"])
		look, err := collation.LookAt(t.Context(), omnibus.GitLab{Machine: s.Machine})
		require.NoError(t, err)
		assert.Equal(t, collation.Other, look.State)
		double.double = false
		_, err = s.reindex().Do(t.Context())
		require.NoError(t, err)
		s.isDone(t)
	})
	t.Run("S8 reindex | the data volume has too little room | refused before GitLab is stopped", func(t *testing.T) {
		s := newServer(t)
		s.Free = 7*1024*mebibyte - 1
		for _, do := range []func() error{
			func() error { _, err := s.reindex().Check(t.Context()); return err },
			func() error { _, err := s.reindex().Do(t.Context()); return err },
		} {
			require.ErrorContains(t, do(), "too little disk: 7168 MiB are needed in /var/opt/gitlab/postgresql (twice what is rebuilt at a time, and a GiB), 7167 MiB are free")
		}
		assert.Empty(t, s.RanLike("gitlab-ctl"))
		assert.False(t, s.Exists(collation.File))
		s.Free++
		_, err := s.reindex().Do(t.Context())
		require.NoError(t, err)
	})
	t.Run("S8 reindex | nobody consents | nothing is changed", func(t *testing.T) {
		s := newServer(t)
		r := s.reindex()
		question := ""
		r.Confirm = func(asked string) error {
			question = asked
			return errors.New("not confirmed: nothing was changed")
		}
		_, err := r.Do(t.Context())
		require.EqualError(t, err, "not confirmed: nothing was changed")
		assert.Equal(t, "Rebuild 251 indexes of 3074 MiB? GitLab is away meanwhile.", question)
		assert.Empty(t, s.RanLike("gitlab-ctl"))
		assert.False(t, s.Exists(collation.File))
	})
	t.Run("S8 reindex | a service cannot be stopped | no index is touched, and what was stopped comes back", func(t *testing.T) {
		s := newServer(t)
		s.On("gitlab-ctl stop sidekiq", func(c machinetest.Call) int {
			c.Complain("timeout: run: sidekiq: (pid 1) 600s, want down\n")
			return 1
		})
		_, err := s.reindex().Do(t.Context())
		require.ErrorContains(t, err, "sidekiq cannot be stopped")
		assert.Empty(t, s.rebuilt)
		assert.True(t, s.up["puma"])
	})
	t.Run("S8 reindex | GitLab does not come back | it is said, and so that the indexes are right", func(t *testing.T) {
		s := newServer(t)
		s.On("gitlab-ctl start", func(machinetest.Call) int { return 1 })
		_, err := s.reindex().Do(t.Context())
		require.ErrorContains(t, err, "GitLab's services cannot be started")
		assert.Empty(t, s.wrong())
	})
	t.Run("S8 reindex | there is no GitLab, or its PostgreSQL is down | it says so", func(t *testing.T) {
		s := newServer(t)
		s.On("gitlab-psql", func(c machinetest.Call) int {
			c.Complain("psql: error: connection to server on socket failed\n")
			return 2
		})
		_, err := s.reindex().Do(t.Context())
		require.ErrorIs(t, err, omnibus.ErrDatabase)
		require.NoError(t, s.Remove("/opt/gitlab"))
		_, err = s.reindex().Check(t.Context())
		require.ErrorIs(t, err, omnibus.ErrNone)
	})
	t.Run("S8 reindex | PostgreSQL still says otherwise at the end | it is found out", func(t *testing.T) {
		s := newServer(t)
		s.On("gitlab-psql", func(c machinetest.Call) int {
			if strings.Contains(c.Input, "REFRESH") {
				return 0
			}
			return s.psql(c)
		})
		_, err := s.reindex().Do(t.Context())
		require.EqualError(t, err, fmt.Sprintf("all indexes are rebuilt, and yet %s", "PostgreSQL says that it was made with glibc 2.26, and this host has glibc 2.34: from 2.28 on text is sorted otherwise"))
	})
}
