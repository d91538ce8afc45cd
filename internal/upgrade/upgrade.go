//go:build unix

// Package upgrade brings GitLab stop by stop to a version. No stop is left out, and none is
// left before its migrations are finished. It may be killed anywhere: the next run goes on
// where GitLab is.
package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/packages"
)

const (
	repository = "gitlab-codedeploy"
	// hopFile has "from to backup", from just before the package of a hop until the stop
	// is reached: what tells a package that was installed half from one that was not.
	hopFile = "/var/lib/gitlab-codedeploy/upgrading"
	// journal has a line for each hop that was done: time, from, to, backup.
	journal = "/var/lib/gitlab-codedeploy/upgrades"
	// noBackup stands for a backup's id.
	noBackup = "none"
)

const (
	limit           = 48 * time.Hour
	migrationsLimit = 24 * time.Hour
	readyWithin     = 30 * time.Minute
	readyPause      = 5 * time.Second
	migrationsPause = 30 * time.Second
	questionLimit   = 15 * time.Minute
	// backupLimit is the age that no backup may be older than.
	backupLimit = time.Hour
)

// Upgrade is one upgrade.
type Upgrade struct {
	GitLab omnibus.GitLab
	// RepositoryURL is where the repositories gitlab-ce and gitlab-ee are.
	RepositoryURL string
	// From refuses to start from an older version; the zero value takes any. Optional.
	From gitlab.Version
	// To is the last stop; the zero value is the first version without a known hole.
	To gitlab.Version
	// Backups are made before each hop. Nil upgrades without a way back.
	Backups Backups
	// Fix applies GitLab's documented remedies to migrations that do not finish.
	Fix bool
	// Keys are those that the packages are signed with; nil are GitLab's own.
	Keys []gitlab.SigningKey

	name, edition string
	installed     gitlab.Version
	configured    bool // the package's own reconfigure went well
	hop           hop
}

// Result is the end of an upgrade.
type Result struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Edition string `json:"edition"`
}

// hop is what hopFile says.
type hop struct{ from, to, backup string }

func (u *Upgrade) machine() *machine.Machine { return u.GitLab.Machine }

func (u *Upgrade) readHop() error {
	text, err := u.machine().ReadFile(hopFile)
	fields := strings.Fields(text)
	if len(fields) == 3 {
		u.hop = hop{fields[0], fields[1], fields[2]}
	} else {
		u.hop = hop{}
	}
	return err
}

func (u *Upgrade) source() packages.Repository {
	return packages.Repository{Machine: u.machine(), ID: repository, Base: u.RepositoryURL}
}

func (u *Upgrade) find(version gitlab.Version) (packages.Package, error) {
	p, err := packages.Server(u.machine(), u.edition, version)
	if u.Keys != nil {
		p.Keys = u.Keys
	}
	return p, err
}

var installedForm = regexp.MustCompile(`^(gitlab-(ce|ee))-(\d+\.\d+\.\d+)-(ce|ee)\.\d+\.[a-z0-9]+$`)

// readInstalled reads what rpm has.
func (u *Upgrade) readInstalled(ctx context.Context) error {
	found, err := packages.Installed(ctx, u.machine(), "gitlab-ce", "gitlab-ee")
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return omnibus.ErrNone
	}
	parts := installedForm.FindStringSubmatch(found[0])
	if len(found) > 1 || parts == nil {
		return fmt.Errorf("rpm has %q, and that is not one package of GitLab", strings.Join(found, " "))
	}
	u.name, u.edition = parts[1], parts[2]
	u.installed, err = gitlab.ParseVersion(parts[3])
	return err
}

// start is what both a run and a look begin with.
func (u *Upgrade) start() (path []gitlab.Stop, err error) {
	if err := u.readHop(); err != nil {
		return nil, err
	}
	if u.To == (gitlab.Version{}) {
		u.To = gitlab.SafeFrom(u.installed)
		if path, err = gitlab.Path(u.installed, u.To); err != nil {
			return nil, fmt.Errorf("the first version without a known hole is %s: %w; name the last stop (--to)", u.To, err)
		}
		u.machine().Say("no last stop is named: going to %s, the first version without a known hole", u.To)
	} else if path, err = gitlab.Path(u.installed, u.To); err != nil {
		return nil, err
	}
	if u.From.Compare(u.installed) > 0 && u.hop == (hop{}) && u.installed != u.To {
		return nil, fmt.Errorf("GitLab %s is installed, and --from says %s", u.installed, u.From)
	}
	return path, nil
}

// Plan returns the stops that are left.
func (u Upgrade) Plan(ctx context.Context) ([]gitlab.Stop, error) {
	if u.installed = u.From; u.From == (gitlab.Version{}) {
		if err := u.readInstalled(ctx); err != nil {
			return nil, err
		}
	}
	return u.start()
}

// Run upgrades.
func (u Upgrade) Run(ctx context.Context) (r Result, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s: start it again, and it is resumed", limit))
	defer cancel()
	if err := u.repairPackages(ctx); err != nil {
		return r, err
	}
	if err := u.readInstalled(ctx); err != nil {
		return r, err
	}
	first := u.installed
	if _, err := u.start(); err != nil {
		return r, err
	}
	if err := u.repairFiles(ctx); err != nil {
		return r, err
	}
	if err := u.settle(ctx); err != nil {
		return r, err
	}
	for {
		path, err := gitlab.Path(u.installed, u.To)
		if err != nil {
			return r, err
		}
		if len(path) == 0 {
			return Result{first.String(), u.installed.String(), u.edition}, nil
		}
		if err := u.leave(ctx, path[0]); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return r, err
		}
	}
}

// leave takes GitLab to the next stop.
func (u *Upgrade) leave(ctx context.Context, stop gitlab.Stop) error {
	m := u.machine()
	m.Say("from %s to %s: %s", u.installed, stop.Version, stop.Reason)
	m.Say("risks: %s", stop.Risks)
	if problems := u.check(ctx, stop); len(problems) > 0 {
		return fmt.Errorf("in the way of %s: %s", stop.Version, strings.Join(problems, "; "))
	}
	pack, err := u.find(stop.Version)
	if err != nil {
		return err
	}
	if err := u.source().Prepare(ctx, pack); err != nil {
		return err
	}
	backup, err := u.requireBackup(ctx)
	if err != nil {
		return err
	}
	u.hop = hop{u.installed.String(), stop.Version.String(), backup}
	if err := m.WriteFile(hopFile, fmt.Sprintf("%s %s %s\n", u.hop.from, u.hop.to, u.hop.backup), 0o600); err != nil {
		return err
	}
	if _, err := u.ask(ctx, "SELECT 1;"); err != nil {
		return fmt.Errorf("PostgreSQL does not answer right before the package, which then makes no checks: %w", err)
	}
	if err := u.installPackage(ctx, pack); err != nil {
		return err
	}
	return u.settle(ctx)
}

// requireBackup leaves a complete backup of what is installed, not older than an hour. Of
// another version it would be no way back.
func (u *Upgrade) requireBackup(ctx context.Context) (id string, err error) {
	m := u.machine()
	if u.Backups == nil {
		m.Say("WARNING: no backup before this hop (--backup-each-hop no): if it fails there is no way back")
		return noBackup, nil
	}
	b, found, err := u.Backups.Newest(ctx)
	if err != nil {
		return "", err
	}
	if found && b.Version == u.installed.String() && b.Edition == u.edition && b.Age >= 0 && b.Age <= backupLimit {
		m.Say("backup %s is %d minutes old: good", b.ID, int(b.Age.Minutes()))
		return b.ID, nil
	}
	m.Say("making a backup of GitLab %s", u.installed)
	if b, err = u.Backups.Make(ctx); err != nil {
		return "", fmt.Errorf("the backup of before failed: %w", err)
	}
	return b.ID, nil
}

// installPackage installs, and leaves what rpm has then.
func (u *Upgrade) installPackage(ctx context.Context, pack packages.Package) error {
	u.machine().Say("installing %s; its migrations take minutes to hours", pack)
	outcome, err := u.source().Install(ctx, pack, packages.Installing{Env: []string{"HOME=/root"}, Heard: hearing{u}})
	if err != nil {
		return fmt.Errorf("%w. Start the upgrade again when that is fixed", err)
	}
	u.configured = !outcome.ScriptFailed
	if outcome.ScriptFailed {
		u.machine().Say("the package's own reconfigure failed (%s): it is done again", outcome.Reason)
	}
	return u.readInstalled(ctx)
}

// settle leaves the installed version configured, running, and with all its migrations
// finished. Only then is a stop reached.
func (u *Upgrade) settle(ctx context.Context) error {
	if u.hop != (hop{}) && !u.configured || u.pendingSchema(ctx) != nil || u.running() != u.installed.String() {
		if err := u.reconfigure(ctx); err != nil {
			return err
		}
	}
	u.configured = false
	if err := u.waitUntilReady(ctx); err != nil {
		return err
	}
	// With auto_migrate switched off, a reconfigure ends well without migrating.
	if err := u.pendingSchema(ctx); err != nil {
		return err
	}
	if err := u.waitForMigrations(ctx); err != nil {
		return err
	}
	if now := u.running(); now != u.installed.String() {
		return fmt.Errorf("GitLab says it is %q, and %s is installed", now, u.installed)
	}
	if u.hop == (hop{}) {
		return nil
	}
	if err := u.clean(ctx); err != nil {
		return err
	}
	m := u.machine()
	done, err := m.ReadFile(journal)
	if err != nil {
		return err
	}
	if line := fmt.Sprintf(" %s %s %s\n", u.hop.from, u.hop.to, u.hop.backup); !strings.HasSuffix(done, line) {
		if err := m.WriteFile(journal, done+time.Now().UTC().Format(time.RFC3339)+line, 0o600); err != nil {
			return err
		}
	}
	if err := m.Remove(hopFile); err != nil {
		return err
	}
	u.hop = hop{}
	m.Say("GitLab is %s", u.installed)
	return nil
}

var runningForm = regexp.MustCompile(`^(\d+\.\d+\.\d+)(-ee)?$`)

// running is what the last reconfigure has noted for the services.
func (u *Upgrade) running() string {
	text, _ := u.machine().ReadFile("/var/opt/gitlab/gitlab-rails/VERSION")
	line, _, _ := strings.Cut(text, "\n")
	if parts := runningForm.FindStringSubmatch(line); parts != nil {
		return parts[1]
	}
	return ""
}

var autoMigrateOff = regexp.MustCompile(`(?m)^\s*gitlab_rails\['auto_migrate'\]\s*=\s*false`)

// pendingSchema says that schema migrations are left.
func (u *Upgrade) pendingSchema(ctx context.Context) error {
	_, err := u.machine().Ask(ctx, machine.Command{Args: []string{"gitlab-rake", "db:abort_if_pending_migrations"}, Timeout: questionLimit})
	if err == nil {
		return nil
	}
	why := ""
	if main, _ := u.machine().ReadFile(omnibus.MainSettings); autoMigrateOff.MatchString(main) {
		why = ", for gitlab_rails['auto_migrate'] = false stands in " + omnibus.MainSettings
	}
	return fmt.Errorf("schema migrations of %s are pending after its reconfigure%s: gitlab-rake db:migrate, then start the upgrade again (%w)", u.installed, why, err)
}

// chefsHour is what ends migrations in a reconfigure.
// https://docs.gitlab.com/update/package/package_troubleshooting/
const chefsHour = "timed out after 3600s"

func (u *Upgrade) reconfigure(ctx context.Context) error {
	m := u.machine()
	m.Say("configuring GitLab %s; its migrations take minutes to hours", u.installed)
	err := u.GitLab.Reconfigure(ctx, 0)
	if err != nil && strings.Contains(err.Error(), chefsHour) {
		m.Say("migrations take longer than Chef's hour: running them by themselves")
		if err := m.Logged(ctx, machine.Command{Args: []string{"gitlab-rake", "db:migrate"}}); err != nil {
			return fmt.Errorf("migrations of GitLab %s failed: %w", u.installed, err)
		}
		err = u.GitLab.Reconfigure(ctx, 0)
	}
	if err != nil {
		return fmt.Errorf("GitLab %s: %w. All of it is in %s; fix it and start the upgrade again", u.installed, err, machine.InstallLog)
	}
	return nil
}

// services says which services do not run, "" for none.
func (u *Upgrade) services(ctx context.Context) string {
	out, _ := u.machine().Ask(ctx, machine.Command{Args: []string{"gitlab-ctl", "status"}, Timeout: 2 * time.Minute})
	var down []string
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "run: ") && len(down) < 3 {
			down = append(down, line)
		}
	}
	switch {
	case strings.TrimSpace(out) == "":
		return "gitlab-ctl status names no service"
	case len(down) > 0:
		return "services are down: " + strings.Join(down, ", ")
	}
	return ""
}

func (u *Upgrade) waitUntilReady(ctx context.Context) error {
	u.machine().Say("waiting for services and sign-in page")
	address, err := u.GitLab.Address()
	if err != nil {
		return err
	}
	last := ""
	err = machine.Wait(ctx, readyWithin, readyPause, "it is not ready", func(ctx context.Context) (bool, error) {
		said := u.services(ctx)
		if said == "" {
			status, ok := u.GitLab.AnswersSignIn(ctx, address)
			if ok {
				return true, nil
			}
			said = fmt.Sprintf("the sign-in page answers with HTTP %03d", status)
		}
		if ctx.Err() == nil {
			last = said
		}
		return false, nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("GitLab %s does not get ready: %s. See gitlab-ctl status, gitlab-ctl tail", u.installed, cmp.Or(last, err.Error()))
	}
	return err
}

// ask asks the database for one value.
func (u *Upgrade) ask(ctx context.Context, question string) (string, error) {
	rows, err := u.GitLab.Query(ctx, omnibus.Statements{Text: question, Timeout: questionLimit})
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", errors.New("the database answers with something that is no value")
	}
	return rows[0][0], nil
}
