//go:build unix

package backup_test

import (
	_ "embed"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

//go:embed testdata/repositories.sql
var repositoryTables string

// A real PostgreSQL with the tables of each version: what pg_dump writes is read, what is
// asked is answered.
func TestS10_backupAndRestoreOnARealDatabase(t *testing.T) {
	for _, version := range postgrestest.Versions {
		t.Run(version, func(t *testing.T) {
			full := map[string]string{"13.10": "13.10.2", "14.9": "14.9.5", "15.4": "15.4.6", "18.11": "18.11.13"}[version]
			d := postgrestest.New(t, version)
			d.SQL(repositoryTables)
			dumped := func(h *gitlabHost, change func([]tarMember) []tarMember) {
				h.On("gitlab-psql", d.Psql)
				h.members = func(members []tarMember) []tarMember {
					for i := range members {
						if members[i].name == "db/database.sql.gz" {
							members[i].content = gzipped([]byte(d.Text()))
						}
					}
					return change(members)
				}
			}
			whole := func(members []tarMember) []tarMember { return members }
			o := oldServer(t, full, "ce", func(h *gitlabHost) { dumped(h, whole) })
			h := newServer(t, o)
			h.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce "+full+"\n")
			h.On("gitlab-psql", d.Psql)
			h.On("gitlab-rails runner", func(c machinetest.Call) int {
				if strings.Contains(c.Input, "remaining") {
					c.Print("gitlab-codedeploy: 0\n")
				} else {
					c.Print("gitlab-codedeploy: closed\n")
				}
				return 0
			})
			findings, err := h.restoreOf(t, o.id)
			require.NoError(t, err, h.Talk)
			assert.Equal(t, "repositories ok all 1 with commits are there", rowsOf(findings)[0])
			assert.Contains(t, rowsOf(findings), "statistics ok ANALYZE is done")

			// A group's wiki, and one of a project without commits, are on the disk alone.
			const team = "@groups/6b/86/6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b.wiki"
			for _, path := range []string{team, "@hashed/00/00/" + d.SQL("SELECT max(id) FROM projects") + ".wiki", app + ".design"} {
				old := newGitLab(t, full, "ce")
				old.repository(path, "old")
				dumped(old, whole)
				_, err = old.toFolder(t)
				old.nothing(t, err, "has no bundle of 1 repositories: "+path)
			}

			// The database names a repository without a bundle, and a file without one.
			old := newGitLab(t, full, "ce")
			dumped(old, func(members []tarMember) []tarMember {
				return slices.DeleteFunc(members, func(m tarMember) bool { return strings.HasSuffix(m.name, ".bundle") })
			})
			_, err = old.toFolder(t)
			old.nothing(t, err, "has no bundle of 1 repositories: "+app)
			old = newGitLab(t, full, "ce")
			dumped(old, func(members []tarMember) []tarMember {
				for i := range members {
					if members[i].name == "lfs.tar.gz" {
						members[i].content = gzipped(tarOf())
					}
				}
				return members
			})
			_, err = old.toFolder(t)
			old.nothing(t, err, "lfs.tar.gz in "+o.id+"_gitlab_backup.tar holds no file, and the database names 1 on this server's disk")

			// Its project is deleted meanwhile.
			old = newGitLab(t, full, "ce")
			dumped(old, func(members []tarMember) []tarMember {
				d.SQL("UPDATE projects SET pending_delete = true WHERE id = (SELECT min(id) FROM projects)")
				return slices.DeleteFunc(members, func(m tarMember) bool { return strings.HasSuffix(m.name, ".bundle") })
			})
			_, err = old.toFolder(t)
			require.NoError(t, err)
		})
	}
}
