//go:build unix

package upgrade

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/migrations"
	"gitlab-codedeploy/internal/omnibus"
)

const (
	dataFolder     = "/var/opt/gitlab"
	databaseFolder = dataFolder + "/postgresql/data"
	optedOut       = "/etc/gitlab/disable-postgresql-upgrade"
	mebibyte       = 1 << 20
	// packageRoom is what a package needs in /opt, and its file in /var/cache.
	packageRoom = 6144 * mebibyte
	// dumpRoom is what the package's own database dump may need beyond the half of the
	// database, and logs meanwhile.
	dumpRoom = 1024 * mebibyte
)

// moves are the stops whose package moves PostgreSQL by itself, and to which version.
// https://docs.gitlab.com/administration/package_information/postgresql_versions/
var moves = map[[2]int]int{{13, 12}: 12, {15, 11}: 13, {16, 11}: 14, {17, 11}: 16, {18, 11}: 17}

// removed are settings that gitlab-ctl check-config of the version before does not know to
// be removed: the first version that refuses them, or ignores what they were for.
// omnibus-gitlab: files/gitlab-cookbooks/package/libraries/deprecations.rb
var removed = []struct {
	since   gitlab.Version
	setting *regexp.Regexp
	advice  string
}{
	{gitlab.Version{Major: 14}, regexp.MustCompile(`(?m)^\s*unicorn\[`), "unicorn settings, which 14.0 refuses: replace them by those of puma"},
	{gitlab.Version{Major: 14}, regexp.MustCompile(`(?m)^\s*(repmgr|repmgrd)\[`), "repmgr settings, which 14.0 refuses: replace them by those of Patroni"},
	{gitlab.Version{Major: 15, Minor: 1}, regexp.MustCompile(`(?m)^\s*gitaly\['ruby_rugged_git_config_search_path'\]`), "gitaly['ruby_rugged_git_config_search_path'], which 15.1 refuses: remove it"},
	{gitlab.Version{Major: 15, Minor: 5}, regexp.MustCompile(`(?m)^\s*gitlab_rails\['enable_jemalloc'\]`), "gitlab_rails['enable_jemalloc'], which 15.5 refuses: remove it"},
	{gitlab.Version{Major: 16, Minor: 3}, regexp.MustCompile(`(?m)^\s*grafana\['enable'\]\s*=\s*true`), "grafana['enable'] = true, which 16.3 refuses: remove the settings of grafana"},
	{gitlab.Version{Major: 19}, regexp.MustCompile(`(?m)^\s*(mattermost\[|mattermost_external_url)`), "mattermost settings, which 19.0 refuses: move Mattermost to a server of its own and remove them"},
}

var pinned = regexp.MustCompile(`(?m)^\s*postgresql\['version'\]\s*=\s*['"]?(\d+)`)

// check names all that is in the way of a stop.
func (u *Upgrade) check(ctx context.Context, stop gitlab.Stop) []string {
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	m := u.machine()
	// With these the package does not do its work, or not its checks.
	// https://docs.gitlab.com/update/package/
	for _, file := range skipFiles {
		if m.Exists(file) {
			add("%s is there, so that the package skips what it should do: rm %s", file, file)
		}
	}
	main, err := m.ReadFile(omnibus.MainSettings)
	if err != nil {
		add("%s cannot be read: %s", omnibus.MainSettings, err)
	}
	u.checkPostgreSQL(ctx, stop, main, add)
	u.checkOrder(ctx, add)
	u.checkSettings(ctx, stop.Version, main, add)
	u.checkStorage(ctx, stop.Version, add)
	for _, folder := range []string{"/opt", "/var/cache"} {
		u.checkRoom(folder, packageRoom, "a package needs", add)
	}
	if _, err := u.find(stop.Version); err != nil {
		add("%s", err)
	}
	return problems
}

// checkOrder: migrations look for rows, and add them. A move of PostgreSQL would take the
// indexes along, and lose that they are of another C library.
func (u *Upgrade) checkOrder(ctx context.Context, add func(string, ...any)) {
	look, err := collation.LookAt(ctx, u.GitLab)
	switch {
	case err != nil:
		add("whether the database's indexes are in this host's order cannot be told: %s", err)
	case look.State != collation.Right:
		add("%s: scripts/ops reindex first", look)
	}
}

func (u *Upgrade) checkRoom(folder string, need int64, why string, add func(string, ...any)) {
	free, err := u.machine().Free(folder)
	switch {
	case err != nil:
		add("the room in %s cannot be told: %s", folder, err)
	case free < need:
		add("%s has %d MiB free, and %s %d", folder, free/mebibyte, why, need/mebibyte)
	}
}

func (u *Upgrade) checkPostgreSQL(ctx context.Context, stop gitlab.Stop, main string, add func(string, ...any)) {
	m := u.machine()
	answer, err := u.ask(ctx, "SHOW server_version_num;")
	number, bad := strconv.Atoi(answer)
	if err != nil || bad != nil || number < 90000 || number > 999999 {
		// The package makes no checks at all when it does not answer.
		add("PostgreSQL does not say its version (%v): it has to run during the upgrade, gitlab-ctl start postgresql", errors.Join(err, bad))
		return
	}
	have := number / 10000
	moved := moves[[2]int{stop.Version.Major, stop.Version.Minor}]
	out, why := m.Exists(optedOut), ""
	if out {
		why = fmt.Sprintf(", and %s opted out of it: rm %s, then", optedOut, optedOut)
	}
	if pin := pinned.FindStringSubmatch(main); pin != nil {
		why += fmt.Sprintf(", and postgresql['version'] = %s in %s pins it by hand: remove that line, then", pin[1], omnibus.MainSettings)
		if have >= stop.PostgreSQL {
			m.Say("note: postgresql['version'] = %s in %s pins PostgreSQL by hand: no package moves it, and a later stop needs a newer one", pin[1], omnibus.MainSettings)
		}
		out = true
	}
	if have < stop.PostgreSQL {
		if why == "" {
			why = ": "
		} else {
			why += " "
		}
		add("PostgreSQL is %d, and GitLab %s needs %d%sgitlab-ctl pg-upgrade (GitLab is down meanwhile; it needs the size of the database on the disk)", have, stop.Version, stop.PostgreSQL, why)
	}
	// The package dumps the database into GitLab's folder of backups, and a move copies it
	// beside itself.
	folder, err := u.GitLab.BackupFolder()
	if err != nil {
		add("%s", err)
		return
	}
	size := m.Used(databaseFolder)
	dump, move := size/2+dumpRoom, int64(0)
	if moved > have && !out {
		move = size
	}
	inside := strings.HasPrefix(folder+"/", dataFolder+"/")
	switch {
	case inside && move > 0:
		u.checkRoom(dataFolder, dump+move, fmt.Sprintf("the package's own database backup and the move from PostgreSQL %d to %d need", have, moved), add)
	case inside:
		u.checkRoom(dataFolder, dump, "the package's own database backup needs", add)
	default:
		u.checkRoom(folder, dump, "the package's own database backup needs", add)
		if move > 0 {
			u.checkRoom(dataFolder, move, fmt.Sprintf("the move from PostgreSQL %d to %d needs", have, moved), add)
		}
	}
}

func (u *Upgrade) checkSettings(ctx context.Context, to gitlab.Version, main string, add func(string, ...any)) {
	said := ""
	_, err := u.machine().Ask(ctx, machine.Command{Args: []string{"gitlab-ctl", "check-config", "--version=" + to.String()}, Timeout: 10 * time.Minute})
	var exit *machine.ExitError
	if errors.As(err, &exit) {
		var lines []string
		for line := range strings.Lines(exit.Tail) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
		said = strings.Join(lines[max(0, len(lines)-3):], " ")
	} else if err != nil {
		said = err.Error()
	}
	if err != nil {
		add("gitlab.rb has settings that GitLab %s does not take (gitlab-ctl check-config --version=%s): %s", to, to, said)
	}
	for _, r := range removed {
		if u.installed.Compare(r.since) < 0 && to.Compare(r.since) >= 0 && r.setting.MatchString(main) {
			add("%s has %s", omnibus.MainSettings, r.advice)
		}
	}
}

var legacyFound = regexp.MustCompile(`Found (\d+) (projects|attachments) using Legacy Storage`)

// checkStorage: 14.0 knows hashed storage only.
// https://docs.gitlab.com/administration/raketasks/storage/
func (u *Upgrade) checkStorage(ctx context.Context, to gitlab.Version, add func(string, ...any)) {
	hashed := gitlab.Version{Major: 14}
	if to.Compare(hashed) < 0 || u.installed.Compare(hashed) >= 0 {
		return
	}
	for _, kind := range []string{"projects", "attachments"} {
		out, err := u.machine().Ask(ctx, machine.Command{Args: []string{"gitlab-rake", "gitlab:storage:legacy_" + kind}, Timeout: questionLimit})
		found := legacyFound.FindStringSubmatch(out)
		switch {
		case err != nil:
			add("legacy storage of %s cannot be told: %s", kind, err)
		case found == nil:
			add("legacy storage of %s cannot be told: %s", kind, machine.LastLine(out))
		case found[1] != "0":
			add("%s %s are in legacy storage: gitlab-rake gitlab:storage:migrate_to_hashed, and wait for its jobs", found[1], kind)
		}
	}
}

// Look is the result of a preflight.
type Look struct {
	From  string `json:"from"`
	Next  string `json:"next"`
	To    string `json:"to"`
	Ready bool   `json:"ready"`
}

// Preflight makes every check for the next stop, tells all that is in the way, and changes
// nothing.
func (u Upgrade) Preflight(ctx context.Context) (l Look, err error) {
	if err := u.readInstalled(ctx); err != nil {
		return l, err
	}
	path, err := u.start()
	if err != nil {
		return l, err
	}
	m := u.machine()
	var problems []string
	if u.hop != (hop{}) {
		problems = append(problems, fmt.Sprintf("an upgrade to %s did not finish: start it again without --preflight", u.hop.to))
	}
	if said := u.services(ctx); said != "" {
		problems = append(problems, said)
	}
	left, err := migrations.Find(ctx, u.GitLab, u.installed)
	switch {
	case err != nil:
		problems = append(problems, fmt.Sprintf("whether the migrations of %s are finished cannot be told: %s", u.installed, err))
	case left.Total() > 0:
		problems = append(problems, fmt.Sprintf("migrations of %s are not finished: %s", u.installed, left))
	}
	next := ""
	if len(path) > 0 {
		next = path[0].Version.String()
		problems = append(problems, u.check(ctx, path[0])...)
		if pack, err := u.find(path[0].Version); err == nil {
			if err := u.source().Look(ctx, pack); err != nil {
				problems = append(problems, err.Error())
			}
		}
		if u.Backups != nil {
			if _, found, err := u.Backups.Newest(ctx); err != nil {
				problems = append(problems, err.Error())
			} else if !found {
				m.Say("there is no complete backup yet: the run makes one")
			}
		}
	}
	for _, problem := range problems {
		m.Say("in the way: %s", problem)
	}
	if len(problems) > 0 {
		return l, fmt.Errorf("preflight found something in the way of GitLab %s: see above; nothing was changed", path0(path, u.installed))
	}
	return Look{u.installed.String(), next, u.To.String(), true}, nil
}

func path0(path []gitlab.Stop, installed gitlab.Version) string {
	if len(path) > 0 {
		return path[0].Version.String()
	}
	return installed.String()
}
