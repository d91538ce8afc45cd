//go:build unix

package upgrade

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/migrations"
	"gitlab-codedeploy/internal/omnibus"
)

var (
	//go:embed rb/retry.rb
	retry string
	//go:embed rb/rerun.rb
	rerun string
)

const (
	// patience is how often in a row the question may fail: not known is not finished.
	patience = 5
	// tellAgain is how often people hear of a wait that does not move.
	tellAgain = 10 * time.Minute
	// finalizingWithin is how long a migration may be finalizing without any process that
	// does it: a task that was killed leaves it so for ever.
	finalizingWithin = 10 * time.Minute
)

// waitForMigrations ends when nothing is left.
func (u *Upgrade) waitForMigrations(ctx context.Context) error {
	m := u.machine()
	said, told, strange, fixed := "", time.Time{}, 0, false
	orphaned := time.Time{} // since when nobody finalizes
	return machine.Wait(ctx, migrationsLimit, migrationsPause, "the migrations of "+u.installed.String()+" are not finished; start the upgrade again to go on waiting", func(ctx context.Context) (bool, error) {
		left, err := migrations.Find(ctx, u.GitLab, u.installed)
		if err != nil {
			if strange++; strange >= patience || ctx.Err() != nil {
				return false, fmt.Errorf("whether the migrations of %s are finished cannot be told: %w", u.installed, err)
			}
			return false, nil
		}
		strange = 0
		if left.Total() == 0 {
			return true, nil
		}
		if len(left.With(migrations.Finalizing)) == 0 || u.isFinalizing(ctx) {
			orphaned = time.Time{}
		} else if orphaned.IsZero() {
			orphaned = time.Now()
		}
		stuck := u.stuck(left, !orphaned.IsZero() && time.Since(orphaned) >= finalizingWithin)
		if len(stuck) > 0 {
			switch {
			case !u.Fix:
				return false, fmt.Errorf("migrations of %s do not finish by themselves: %s. Or start again with --fix-known-jobs", u.installed, strings.Join(stuck, "; "))
			case fixed && (len(left.With(migrations.Failed)) > 0 || left.Lost() > 0):
				return false, fmt.Errorf("migrations of %s have failed, the documented remedies included: %s", u.installed, left)
			case !fixed:
				fixed = true
				return false, u.fix(ctx, left)
			}
		}
		if text := left.String(); text != said || time.Since(told) >= tellAgain {
			m.Say("waiting for migrations: %s", text)
			said, told = text, time.Now()
		}
		return false, nil
	})
}

// isFinalizing says whether any process may be at it: the task, or migrations of a schema.
func (u *Upgrade) isFinalizing(ctx context.Context) bool {
	_, err := u.machine().Ask(ctx, machine.Cmd("pgrep", "-f", "background_migrations:finalize|db:migrate|gitlab-ctl reconfigure"))
	return err == nil
}

// stuck says what does not get less by itself, and what GitLab's documentation does about it.
// https://docs.gitlab.com/update/background_migrations/
func (u *Upgrade) stuck(left migrations.Left, orphaned bool) (said []string) {
	for _, b := range left.Batched {
		switch {
		case b.Status == migrations.Failed:
			said = append(said, fmt.Sprintf("%s failed: Admin Area, Monitoring, Background Migrations, Retry", b))
		case b.Status == migrations.Paused:
			said = append(said, fmt.Sprintf("%s was paused by somebody: Admin Area, Monitoring, Background Migrations, Resume", b))
		case b.Status == migrations.Finalizing && orphaned:
			said = append(said, fmt.Sprintf("%s was left behind by a task that was killed", b))
		}
	}
	if left.Lost() > 0 {
		said = append(said, left.String())
	}
	return said
}

// fix applies the documented remedies, and nothing else.
func (u *Upgrade) fix(ctx context.Context, left migrations.Left) error {
	m := u.machine()
	for _, b := range left.Batched {
		if b.Status == migrations.Active {
			continue
		}
		m.Say("letting the batched migration %d run again: %s", b.ID, b)
		if _, err := u.GitLab.Rails(ctx, omnibus.Ruby{
			Name: "retry the batched migration", Text: retry, Input: map[string]int{"id": b.ID}, Changes: true, Timeout: questionLimit,
		}); err != nil {
			m.Say("that failed: %s", err)
		}
	}
	if left.Lost() == 0 {
		return nil
	}
	var classes []string
	for class := range left.Jobs {
		classes = append(classes, class)
	}
	slices.Sort(classes)
	m.Say("running %d jobs that Sidekiq does not have any more: %s", left.Lost(), strings.Join(classes, ", "))
	if _, err := u.GitLab.Rails(ctx, omnibus.Ruby{
		Name: "run the lost jobs", Text: rerun, Input: map[string][]string{"classes": classes}, Changes: true, Timeout: migrationsLimit,
	}); err != nil {
		m.Say("that failed: %s", err)
	}
	return nil
}
