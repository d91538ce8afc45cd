// Package leaving finds out whether an old server may be backed up for good, to be restored
// on a new one: no backup has what is in Redis.
package leaving

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"gitlab-codedeploy/internal/migrations"
	"gitlab-codedeploy/internal/omnibus"
)

//go:embed rb/sidekiq.rb
var sidekiqProgram string

// askLimit is how long one question may take: Rails needs minutes on a busy server.
const askLimit = 15 * time.Minute

// Report is what was found.
type Report struct {
	Package string `json:"package"`
	Version string `json:"version"`
	// Ready is true when nothing would be lost that somebody has asked for.
	Ready   bool    `json:"ready"`
	Sidekiq Sidekiq `json:"sidekiq"`
	// Left is how many background migrations, or jobs of them, are unfinished.
	Left int `json:"migrationsLeft"`
	// Remedies say what to do, one a finding. Warnings stop nothing.
	Remedies []string `json:"remedies"`
	Warnings []string `json:"warnings"`
}

// Sidekiq is what Redis holds of it, in jobs.
type Sidekiq struct {
	Busy      int `json:"busy"`
	Enqueued  int `json:"enqueued"`
	Scheduled int `json:"scheduled"`
	Retries   int `json:"retries"`
}

// Look asks GitLab. It changes nothing, and fails when something cannot be known.
func Look(ctx context.Context, g omnibus.GitLab) (report Report, err error) {
	installed, err := g.Installed()
	if err != nil {
		return report, err
	}
	report = Report{Package: installed.Package, Version: installed.Version.String(), Remedies: []string{}, Warnings: []string{}}
	left, err := migrations.Find(ctx, g, installed.Version)
	if err != nil {
		return report, fmt.Errorf("count the background migrations: %w", err)
	}
	answer, err := g.Rails(ctx, omnibus.Ruby{Name: "look into Sidekiq", Text: sidekiqProgram, Timeout: askLimit})
	if err != nil {
		return report, err
	}
	counts := map[string]*int{}
	if err := json.Unmarshal([]byte(answer), &counts); err != nil {
		return report, fmt.Errorf("look into Sidekiq: got %.100q, want numbers", answer)
	}
	for name, to := range map[string]*int{
		"busy": &report.Sidekiq.Busy, "enqueued": &report.Sidekiq.Enqueued, "scheduled": &report.Sidekiq.Scheduled, "retries": &report.Sidekiq.Retries,
	} {
		if counts[name] == nil || *counts[name] < 0 {
			return report, fmt.Errorf("look into Sidekiq: got no number of %s: %.100q", name, answer)
		}
		*to = *counts[name]
	}
	report.Left = left.Total()
	report.judge(left)
	return report, nil
}

func (r *Report) judge(left migrations.Left) {
	remedy := func(format string, args ...any) { r.Remedies = append(r.Remedies, fmt.Sprintf(format, args...)) }
	if s := r.Sidekiq; s.Busy+s.Enqueued > 0 {
		remedy("Sidekiq has %d jobs busy and %d enqueued, which somebody has asked for, want 0: stop nginx and leave sidekiq running "+
			"(gitlab-ctl start sidekiq), stop its timetable (Admin > Monitoring > Background jobs > Cron > Disable all), and look again", s.Busy, s.Enqueued)
	}
	if left.Queued > 0 {
		remedy("Sidekiq has %d jobs of background migrations, now or for later, want 0: leave sidekiq running (gitlab-ctl start sidekiq), "+
			"and look again; large ones take hours", left.Queued)
	}
	if n := left.Lost(); n > 0 {
		remedy("the database follows %d jobs of background migrations that Sidekiq does not have any more, want 0: nobody will do them by "+
			"themselves. Run them again before the backup: https://docs.gitlab.com/update/background_migrations/", n)
	}
	for status, words := range map[migrations.Status]string{
		migrations.Failed:     "failed: finish each before the backup",
		migrations.Paused:     "are paused: resume each (Admin > Monitoring > Background migrations)",
		migrations.Finalizing: "are being finalized, or were when somebody's task was killed: see to it that the task ends",
	} {
		if found := left.With(status); len(found) > 0 {
			remedy("%d batched migrations %s. The first is %s: https://docs.gitlab.com/update/background_migrations/", len(found), words, found[0])
		}
	}
	if n := len(left.Batched) - len(left.With(migrations.Failed)) - len(left.With(migrations.Paused)) - len(left.With(migrations.Finalizing)); n > 0 {
		remedy("%d batched migrations are under way, want 0: leave sidekiq running (gitlab-ctl start sidekiq), and look again", n)
	}
	// Jobs that are lost here, and counted above, are no other ones.
	if s := r.Sidekiq; s.Scheduled > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("Sidekiq has %d jobs for later, which stay behind: reminders, expiries and the like come again by GitLab's timetable", s.Scheduled))
	}
	if s := r.Sidekiq; s.Retries > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("Sidekiq has %d jobs that failed and would be tried again; they stay behind: look at them (Admin > Monitoring > Background jobs > Retries)", s.Retries))
	}
	r.Ready = len(r.Remedies) == 0
}
