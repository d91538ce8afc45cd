package collation_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
)

func TestVersionsOfTheCLibrary(t *testing.T) {
	for text, isNew := range map[string]bool{"glibc 2.17\n": false, "2.26": false, "2.27": false, "glibc 2.28": true, "2.34": true, "2.100": true, "3.0": true, "1.99": false} {
		version, err := collation.ParseGlibc(text)
		require.NoError(t, err)
		assert.Equal(t, isNew, version.IsNew(), text)
		assert.Equal(t, strings.TrimPrefix(strings.TrimSpace(text), "glibc "), version.String())
	}
	for _, text := range []string{"", "musl 1.2", "2", "glibc", "2.x", "153.14.1", "2.34 2.26"} {
		_, err := collation.ParseGlibc(text)
		assert.Error(t, err, text)
	}
}

// The rows are those of versions.sql: kind, database, provider, datcollate, version.
func TestWhatPostgreSQLAndTheRecordSay(t *testing.T) {
	const english = "database\tgitlabhq_production\tc\ten_US.UTF-8\t%s\ndatabase\tpostgres\tc\ten_US.UTF-8\t%s\n"
	since15 := func(version string) string { return fmt.Sprintf(english, version, version) }
	before15 := since15("")
	for name, tt := range map[string]struct {
		here, record, rows string
		state              collation.State
		says               string
	}{
		"a server of Amazon Linux 2, of before there was a record":     {"2.26", "", before15, collation.Right, "the indexes are in the order of this host (glibc 2.26)"},
		"a server that was installed on Amazon Linux 2023":             {"2.34", `{"glibc":"2.34"}`, before15 + "collation\t\tc\t\t2.34\n", collation.Right, "the indexes are in the order of this host (glibc 2.34)"},
		"a newer glibc of the same order":                              {"2.39", `{"glibc":"2.34"}`, since15("2.34"), collation.Right, "(glibc 2.39)"},
		"its volume on Amazon Linux 2023":                              {"2.34", "", before15, collation.Unknown, "nothing says in which order its indexes are, and servers were on Amazon Linux 2 (glibc 2.26) before that was written down, and this host has glibc 2.34: from 2.28 on text is sorted otherwise"},
		"a volume with a record":                                       {"2.34", `{"glibc":"2.26"}`, before15, collation.Other, "its indexes are in the order of glibc 2.26"},
		"PostgreSQL 13 and 14, whose collations have versions":         {"2.34", "", before15 + "collation\t\tc\t\t2.26\n", collation.Other, "PostgreSQL says that it was made with glibc 2.26"},
		"PostgreSQL 15 and later, whose databases have versions":       {"2.34", "", since15("2.26"), collation.Other, "PostgreSQL says that it was made with glibc 2.26"},
		"a record that PostgreSQL knows better than":                   {"2.34", `{"glibc":"2.34"}`, since15("2.26"), collation.Other, "PostgreSQL says that it was made with glibc 2.26"},
		"PostgreSQL that was moved to a newer version on the new host": {"2.34", `{"glibc":"2.26"}`, since15("2.34"), collation.Other, "its indexes are in the order of glibc 2.26"},
		"a volume of Amazon Linux 2023 back on Amazon Linux 2":         {"2.26", `{"glibc":"2.34"}`, before15, collation.Other, "its indexes are in the order of glibc 2.34, and this host has glibc 2.26"},
		"a rebuild that did not finish":                                {"2.34", `{"glibc":"2.26","rebuilding":"2.34","done":{"a":1}}`, since15("2.34"), collation.Other, "a rebuild of its indexes in the order of glibc 2.34 did not finish"},
		"a rebuild of what nobody had written down":                    {"2.34", `{"rebuilding":"2.34"}`, since15("2.34"), collation.Other, "a rebuild of its indexes in the order of glibc 2.34 did not finish"},
		"text that is compared byte by byte":                           {"2.34", `{"glibc":"2.26"}`, "database\tgitlabhq_production\tc\tC\t\ndatabase\tpostgres\tc\tPOSIX\t\ncollation\t\tc\t\t2.26\n", collation.Right, ""},
		"an order of ICU, or of PostgreSQL's own":                      {"2.34", "", "database\tgitlabhq_production\ti\ten_US.UTF-8\t2.26\ndatabase\tpostgres\tb\tC.UTF-8\t1\n", collation.Right, ""},
		"C.UTF-8, which PostgreSQL and older glibcs do not take as C":  {"2.34", `{"glibc":"2.26"}`, "database\tgitlabhq_production\tc\tC.UTF-8\t\n", collation.Other, "its indexes are in the order of glibc 2.26"},
		"one database of two that depends on it, such as Mattermost's": {"2.34", `{"glibc":"2.26"}`, "database\tgitlabhq_production\tc\tC\t\ndatabase\tmattermost\tc\ten_US.UTF-8\t\n", collation.Other, "its indexes are in the order of glibc 2.26"},
	} {
		t.Run(name, func(t *testing.T) {
			h := machinetest.New(t)
			h.Answers("getconf GNU_LIBC_VERSION", "glibc "+tt.here+"\n")
			if tt.record != "" {
				h.Put(collation.File, tt.record)
			}
			h.Answers("gitlab-psql", tt.rows)
			look, err := collation.LookAt(t.Context(), omnibus.GitLab{Machine: h.Machine})
			require.NoError(t, err)
			assert.Equal(t, tt.state, look.State)
			assert.Contains(t, look.String(), tt.says)
		})
	}
}

func TestWhatCannotBeTold(t *testing.T) {
	for name, tt := range map[string]struct {
		record, rows, says string
		change             func(*machinetest.Host)
	}{
		"a record that is none": {record: "{", says: collation.File + " cannot be read"},
		"a record of something": {record: `{"glibc":"new"}`, says: `got "new", want a version of glibc`},
		"PostgreSQL is down": {says: "GitLab's database does not answer", change: func(h *machinetest.Host) {
			h.On("gitlab-psql", func(machinetest.Call) int { return 2 })
		}},
		"PostgreSQL talks rubbish": {rows: "a\tb\n", says: `It says ["a" "b"]`},
		"PostgreSQL names nothing": {says: "It names no database"},
		"another C library": {says: `got "musl 1.2", want a version of glibc`, change: func(h *machinetest.Host) {
			h.Answers("getconf GNU_LIBC_VERSION", "musl 1.2")
		}},
		"no getconf": {says: "the version of this host's C library is not known", change: func(h *machinetest.Host) {
			h.On("getconf", func(machinetest.Call) int { return 127 })
			h.On("getconf GNU_LIBC_VERSION", func(machinetest.Call) int { return 127 })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := machinetest.New(t)
			h.Answers("gitlab-psql", tt.rows)
			if tt.record != "" {
				h.Put(collation.File, tt.record)
			}
			if tt.change != nil {
				tt.change(h)
			}
			_, err := collation.LookAt(t.Context(), omnibus.GitLab{Machine: h.Machine})
			require.ErrorContains(t, err, tt.says)
		})
	}
}
