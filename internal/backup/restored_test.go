//go:build unix

package backup_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine/machinetest"
)

// restores is what a played GitLab does with a restore.
type restores struct {
	says     string   // lines on the way
	status   int      // of gitlab-backup restore, half-way when it is not 0
	hangs    bool     // it does not end
	lose     []string // repositories that come back empty, as Gitaly 14.4 to 16.2 leaves them
	broken   string   // what else fails: reconfigure, page, analyze, check
	during   func()   // while it runs
	violated []string // what was not as it has to be
	roles    string   // rows of the server's roles and extensions
	left     string   // rows of background migrations that are left
	signUp   string   // t or f
	sorted   string   // the glibc that PostgreSQL has written down
}

var blessed = regexp.MustCompile(`old|new`)

// playRestore lets a host restore backups: lib/backup of v13.10.2.
func (h *gitlabHost) playRestore() {
	h.restores.roles = "extension\tpg_trgm\nrole\tgitlab\nrole\tgitlab-psql\n"
	h.restores.signUp = "t"
	h.OnPage("http://localhost/users/sign_in", func(w http.ResponseWriter, r *http.Request) {
		if h.restores.broken == "page" {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	h.On("/opt/gitlab/bin/gitlab-ctl reconfigure", func(c machinetest.Call) int {
		if h.restores.broken == "reconfigure" {
			// files/gitlab-cookbooks/package/libraries/handlers/gitlab.rb of omnibus-gitlab
			c.Complain("There was an error running gitlab-ctl reconfigure:\n\nthe secrets are no JSON\n\n")
			return 1
		}
		h.Put(data+"/applied-secrets", h.Get("/etc/gitlab/gitlab-secrets.json"))
		return 0
	})
	h.On("gitlab-ctl stop", func(c machinetest.Call) int {
		h.services[c.Args[2]] = "down"
		return 0
	})
	up := func(machinetest.Call) int {
		for name := range h.services {
			h.services[name] = "run"
		}
		return 0
	}
	h.On("gitlab-ctl start", up)
	h.On("gitlab-ctl restart", up)
	real := func(c machinetest.Call) int {
		command := exec.Command(c.Args[0], c.Args[1:]...)
		command.Stderr = c.Stderr
		if err := command.Run(); err != nil {
			return 1
		}
		return 0
	}
	h.On("tar", real)
	h.On("cp", real)
	h.On("gitlab-psql", func(c machinetest.Call) int {
		switch {
		case strings.Contains(c.Input, "pg_roles"):
			c.Print("%s", h.restores.roles)
		case strings.Contains(c.Input, "project_repositories"):
			c.Print("%s", h.rows())
		case strings.Contains(c.Input, "pg_attribute"):
			c.Print("%s", schema)
		case strings.Contains(c.Input, "FROM background_migration_jobs"):
			c.Print("%s", h.restores.left)
		case strings.Contains(c.Input, "FROM batched_background_migrations"):
		case strings.Contains(c.Input, "pg_collation"):
			c.Print("database\tgitlabhq_production\tc\ten_US.UTF-8\t%s\n", h.restores.sorted)
		case strings.Contains(c.Input, "signup_enabled"):
			c.Print("%s\n", h.restores.signUp)
		case strings.Contains(c.Input, "ANALYZE"):
			if h.restores.broken == "analyze" {
				c.Complain("ERROR:  out of memory\n")
				return 3
			}
		default:
			c.Complain("ERROR:  not played: %s\n", c.Input)
			return 3
		}
		return 0
	})
	h.On("gitlab-rails runner", func(c machinetest.Call) int {
		if strings.Contains(c.Input, "BackgroundMigration.remaining") {
			c.Print("gitlab-codedeploy: 0\n") // Redis is empty
			return 0
		}
		h.restores.signUp = "f"
		c.Print("gitlab-codedeploy: closed\n")
		return 0
	})
	h.On("gitlab-rake gitlab:doctor:secrets", func(c machinetest.Call) int {
		failures := 0
		if !strings.Contains(h.Get("/etc/gitlab/gitlab-secrets.json"), h.Get(data+"/postgresql/data/dump")) {
			failures = 7 // the database knows which secrets it was written with
		}
		c.Print("I, [2021-04-01T00:00:00]  INFO -- : - Ci::Variable failures: %d\n", failures)
		return 0
	})
	h.On("gitlab-rake gitlab:check", func(c machinetest.Call) int {
		if h.restores.broken == "check" {
			c.Print("Redis version >= 5? ... no\n  Try fixing it:\n  Update your redis\n")
		}
		return 0
	})
}

// restore is gitlab-backup restore.
func (h *gitlabHost) restore(c machinetest.Call) int {
	violate := func(format string, args ...any) {
		h.restores.violated = append(h.restores.violated, fmt.Sprintf(format, args...))
	}
	id := strings.TrimPrefix(c.Args[len(c.Args)-2], "BACKUP=")
	if c.Args[len(c.Args)-1] != "force=yes" || !slices.Contains(c.Env, "GITLAB_ASSUME_YES=1") {
		violate("it asks, and nobody answers")
	}
	for _, service := range []string{"puma", "sidekiq"} {
		if h.services[service] == "run" {
			violate("%s is running", service)
		}
	}
	if h.Get(data+"/applied-secrets") != h.Get("/etc/gitlab/gitlab-secrets.json") {
		violate("it was not reconfigured")
	}
	name := folder + "/" + id + tarName
	if h.Owners[name] != "like:"+folder {
		violate("GitLab cannot read the archive")
	}
	content, err := os.ReadFile(h.Path(name))
	if err != nil {
		c.Complain("The backup file %s does not exist!\n", name)
		return 1
	}
	if h.restores.during != nil {
		h.restores.during()
	}
	if h.restores.hangs {
		select {
		case <-c.Ctx.Done():
		case <-time.After(100 * time.Hour):
		}
		return 1
	}
	must(os.RemoveAll(h.Path(repoBase)))
	c.Print("%s", h.restores.says)
	if h.restores.status != 0 {
		c.Complain("rake aborted!\n")
		return h.restores.status
	}
	// lib/backup/database.rb of v13.10.2 prints psql's first error behind its own words.
	c.Print("Restoring PostgreSQL database gitlabhq_production ... ERROR:  must be owner of extension pg_trgm\nERROR:  relation \"public.a\" does not exist\n[DONE]\n")
	into := map[string]string{"uploads": "gitlab-rails/uploads", "artifacts": "gitlab-rails/shared/artifacts", "lfs": "gitlab-rails/shared/lfs-objects",
		"packages": "gitlab-rails/shared/packages", "terraform_state": "gitlab-rails/shared/terraform_state"}
	eachOf(bytes.NewReader(content), func(name string, r io.Reader) {
		part, is := strings.CutSuffix(name, ".tar.gz")
		switch {
		case name == "db/database.sql.gz":
			text := string(gunzipped(r))
			_, rest, _ := strings.Cut(text, "\nSELECT '")
			old, _, _ := strings.Cut(rest, "'")
			h.Put(data+"/postgresql/data/dump", old)
		case strings.HasSuffix(name, ".bundle"):
			at := strings.TrimPrefix(strings.TrimSuffix(name, ".bundle"), "repositories/")
			text, err := io.ReadAll(r)
			must(err)
			h.Put(repoBase+at+".git/HEAD", "ref: refs/heads/master\n")
			if !slices.Contains(h.restores.lose, at) {
				h.repository(at, blessed.FindString(string(text)))
			}
		case is && into[part] != "":
			must(os.RemoveAll(h.Path(data + "/" + into[part])))
			eachOf(bytes.NewReader(gunzipped(r)), func(name string, r io.Reader) {
				text, err := io.ReadAll(r)
				must(err)
				h.Put(path.Join(data, into[part], name), string(text))
			})
		}
	})
	c.Print("Restore task is done.\n")
	return 0
}

// eachOf calls f for each file in a tar.
func eachOf(from io.Reader, f func(name string, content io.Reader)) {
	for members := tar.NewReader(from); ; {
		header, err := members.Next()
		if err == io.EOF {
			return
		}
		must(err)
		if header.Typeflag == tar.TypeReg {
			f(path.Clean(header.Name), members)
		}
	}
}

func gunzipped(r io.Reader) []byte {
	plain, err := gzip.NewReader(r)
	must(err)
	text, err := io.ReadAll(plain)
	must(err)
	return text
}
