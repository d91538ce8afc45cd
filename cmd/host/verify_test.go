//go:build unix

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/leaving"
	"gitlab-codedeploy/internal/machine/machinetest"
)

// oldServer is one with GitLab 13.10.2: what its tables and Redis hold is as GitLab's own
// programs tell it.
type oldServer struct {
	*console
	remaining string // Gitlab::BackgroundMigration.remaining: lib/gitlab/background_migration.rb
	sidekiq   string // Sidekiq::Stats, of Sidekiq 5.2
	jobs      string // rows of background_migration_jobs that were not done
	batched   string
}

func newOldServer(t *testing.T) *oldServer {
	o := &oldServer{console: newConsole(t), remaining: "0", sidekiq: `{"busy":0,"enqueued":0,"scheduled":0,"retries":0}`}
	o.Put("/opt/gitlab/version-manifest.txt", "gitlab-ce 13.10.2\n")
	o.On("gitlab-psql", func(c machinetest.Call) int {
		switch {
		case strings.Contains(c.Input, "FROM batched_background_migrations"):
			c.Print("%s", o.batched)
		case strings.Contains(c.Input, "FROM background_migration_jobs"):
			c.Print("%s", o.jobs)
		default: // which tables there are
			c.Print("application_settings\tid\nbackground_migration_jobs\tid\n")
			if o.batched != "" {
				c.Print("batched_background_migrations\tid\n")
			}
		}
		return 0
	})
	o.On("gitlab-rails runner -e production -", func(c machinetest.Call) int {
		answer := o.sidekiq
		if strings.Contains(c.Input, "remaining") {
			answer = o.remaining
		}
		c.Print("gitlab-codedeploy: %s\n", answer)
		return 0
	})
	return o
}

func (o *oldServer) verifies(t *testing.T) (status int, report leaving.Report) {
	t.Helper()
	status, stdout := o.types("verify", "--leaving")
	require.NoError(t, json.Unmarshal([]byte(stdout), &report), "%s", o.Talk)
	return status, report
}

func TestS10_AServerIsLeftWhenNothingStaysBehind(t *testing.T) {
	t.Run("nothing is left", func(t *testing.T) {
		o := newOldServer(t)
		status, report := o.verifies(t)
		assert.Zero(t, status, o.Talk)
		assert.True(t, report.Ready)
		assert.Equal(t, "gitlab-ce 13.10.2", report.Package+" "+report.Version)
		assert.Empty(t, report.Remedies)
	})
	for name, tt := range map[string]struct {
		change func(*oldServer)
		says   string
	}{
		"S10 verify | Sidekiq still works on what somebody has asked for | the old server may not be left, and it says how to get there": {
			func(o *oldServer) { o.sidekiq = `{"busy":2,"enqueued":30,"scheduled":4,"retries":1}` },
			"Sidekiq has 2 jobs busy and 30 enqueued, which somebody has asked for, want 0: stop nginx and leave sidekiq running",
		},
		"S10 verify | Sidekiq has background migrations for later | the old server may not be left: the new one would take them for finished": {
			func(o *oldServer) { o.remaining = "1200" },
			"Sidekiq has 1200 jobs of background migrations, now or for later, want 0",
		},
		"S10 verify | followed jobs were lost before | the old server may not be left, and it names GitLab's page": {
			func(o *oldServer) { o.jobs = "PopulateNamespaces\t7\n" },
			"the database follows 7 jobs of background migrations that Sidekiq does not have any more",
		},
		"S10 verify | batched migrations failed, or are paused | each kind has its remedy": {
			func(o *oldServer) {
				o.batched = "1\t4\tBackfill\tpublic.events\tid\t[]\n2\t0\tCopy\tpublic.users\tid\t[]\n3\t1\tMove\tpublic.users\tid\t[]\n4\t5\tEnd\tpublic.users\tid\t[]\n"
			},
			"1 batched migrations failed: finish each before the backup. The first is Backfill on public.events (failed)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOldServer(t)
			tt.change(o)
			status, report := o.verifies(t)
			assert.Equal(t, 1, status)
			assert.False(t, report.Ready)
			assert.Contains(t, o.Talk.String(), tt.says)
			assert.Contains(t, o.Talk.String(), "error: this server may not be left yet")
			if o.batched != "" {
				assert.Len(t, report.Remedies, 4)
			}
		})
	}
	t.Run("what is for later, or would be tried again, is said and stops nothing", func(t *testing.T) {
		o := newOldServer(t)
		o.sidekiq = `{"busy":0,"enqueued":0,"scheduled":4,"retries":1}`
		status, report := o.verifies(t)
		assert.Zero(t, status, o.Talk)
		assert.Len(t, report.Warnings, 2)
		assert.Contains(t, o.Talk.String(), "warning: Sidekiq has 4 jobs for later")
	})
	t.Run("S10 verify | Redis, Rails or the database do not answer | what is not known is not 0", func(t *testing.T) {
		for name, change := range map[string]func(*oldServer){
			"no numbers":    func(o *oldServer) { o.sidekiq = "nil" },
			"one is absent": func(o *oldServer) { o.sidekiq = `{"busy":0,"enqueued":0,"scheduled":0}` },
			"below zero":    func(o *oldServer) { o.sidekiq = `{"busy":-1,"enqueued":0,"scheduled":0,"retries":0}` },
			"no GitLab":     func(o *oldServer) { o.Put("/opt/gitlab/version-manifest.txt", "") },
			"Redis is down": func(o *oldServer) {
				o.On("gitlab-rails runner -e production -", func(c machinetest.Call) int {
					c.Complain("Redis::CannotConnectError: No such file or directory\n")
					return 1
				})
			},
		} {
			o := newOldServer(t)
			change(o)
			status, stdout := o.types("verify", "--leaving")
			assert.Equal(t, 1, status, name)
			assert.Empty(t, stdout, name)
			assert.Contains(t, o.Talk.String(), "error: whether this server may be left is not known: ", name)
		}
	})
	t.Run("wrong use", func(t *testing.T) {
		o := newOldServer(t)
		for _, args := range [][]string{{"verify"}, {"verify", "--leaving", "now"}} {
			status, _ := o.types(args...)
			assert.Equal(t, 2, status)
		}
	})
}
