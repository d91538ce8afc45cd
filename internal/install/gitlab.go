//go:build unix

// Package install installs GitLab on a host that has none. It may be killed anywhere: the
// next run goes on. A host that has GitLab already is left as it is.
package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"gitlab-codedeploy/internal/collation"
	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/packages"
)

const (
	dataFolder   = "/var/opt/gitlab"
	configFolder = "/etc/gitlab"
	// keptConfig is where configFolder really is, so that secrets and settings go with
	// the data.
	keptConfig = dataFolder + "/etc-gitlab"
	// bootstrapped is what the package looks for: it skips the first reconfigure with it,
	// and the volume of an earlier server has it.
	bootstrapped = dataFolder + "/bootstrapped"
	database     = dataFolder + "/postgresql/data/PG_VERSION"
	// unfinished exists from the first change to the host until GitLab has answered, and
	// newData as long as the database is one of this installation.
	unfinished = "/var/lib/gitlab-codedeploy/installing"
	newData    = "/var/lib/gitlab-codedeploy/installing-new-data"
	repository = "gitlab-codedeploy"
)

const (
	// limit is for the whole run. It ends before the SSM document's own hour does, so
	// that a run that takes too long can still say so.
	limit         = 55 * time.Minute
	volumeWithin  = 5 * time.Minute
	secretWithin  = 2 * time.Minute
	readyWithin   = 15 * time.Minute
	pause         = 5 * time.Second
	questionLimit = time.Minute
)

// GitLab is what is installed, and where.
type GitLab struct {
	Machine *machine.Machine
	// Version and Edition, "ce" or "ee".
	Version gitlab.Version
	Edition string
	// RepositoryURL is where the repositories gitlab-ce and gitlab-ee are.
	RepositoryURL string
	// Address is the one that users see. It has the form of omnibus.AddressPattern.
	Address string
	// DataVolume is the id of the EBS volume for /var/opt/gitlab.
	DataVolume string
	// Keys are those that the packages are signed with; nil are GitLab's own.
	Keys []gitlab.SigningKey
	// RootPassword reads the first password of GitLab's user root.
	RootPassword func(context.Context) (string, error)

	password string
	pack     packages.Package
	source   packages.Repository
	device   string
}

// Install installs it, and returns what there is now, for people.
func (g GitLab) Install(ctx context.Context) (done string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	m := g.Machine
	// The agent starts programs without HOME.
	if g.pack, err = packages.Server(m, g.Edition, g.Version); err != nil {
		return "", err
	}
	if g.Keys != nil {
		g.pack.Keys = g.Keys
	}
	g.source = packages.Repository{Machine: m, ID: repository, Base: g.RepositoryURL}
	if done, err = g.settled(ctx); done != "" || err != nil {
		return done, err
	}
	lock, err := m.LockWithin(ctx, machine.InstallLock, "install-gitlab", limit)
	if err != nil {
		return "", err
	}
	defer lock.Release()
	if done, err = g.settled(ctx); done != "" || err != nil {
		return done, err
	}
	for _, step := range []func(context.Context) error{
		g.checkUnfinished,
		// First, for a 13.x without a root password lets its first visitor set one.
		g.readRootPassword,
		func(context.Context) error { return m.WriteFile(unfinished, g.pack.String()+"\n", 0o600) },
		func(ctx context.Context) error {
			m.Say("looking for %s in %s", g.pack, g.source.Address(g.pack))
			return g.source.Prepare(ctx, g.pack)
		},
		g.mountDataVolume,
		g.mountSettings,
		g.checkVolumeContent,
		g.keepGitalyFiles,
		g.writeSettings,
		g.installPackage,
		g.waitUntilReady,
		g.switchSignUpOff,
		func(context.Context) error { return errors.Join(m.Remove(newData), m.Remove(unfinished)) },
	} {
		if err := step(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return "", cause
			}
			return "", err
		}
	}
	done = fmt.Sprintf("%s is installed and answers at %s", g.pack, g.Address)
	m.Say("%s", done)
	return done, nil
}

// settled says which GitLab there is that this program has nothing to do with any more:
// State Manager runs it again whenever its document changes.
func (g *GitLab) settled(ctx context.Context) (done string, err error) {
	if g.Machine.Exists(unfinished) {
		return "", nil
	}
	found, err := packages.Installed(ctx, g.Machine, "gitlab-ce", "gitlab-ee")
	if err != nil {
		return "", err
	}
	name := strings.Join(found, " and ")
	if name == "" && g.Machine.Exists("/opt/gitlab") {
		manifest, err := g.Machine.ReadFile("/opt/gitlab/version-manifest.txt")
		if err != nil {
			return "", err
		}
		first, _, _ := strings.Cut(manifest, "\n")
		name = cmp.Or(first, "a GitLab of unknown version") + " in /opt/gitlab, without its package,"
	}
	if name == "" {
		return "", nil
	}
	done = name + " is installed already and stays as it is"
	g.Machine.Say("%s", done)
	return done, nil
}

func (g *GitLab) checkUnfinished(ctx context.Context) error {
	if !g.Machine.Exists(unfinished) {
		return nil
	}
	found, err := packages.Installed(ctx, g.Machine, "gitlab-ce", "gitlab-ee")
	if err != nil {
		return err
	}
	for _, name := range found {
		if name != g.pack.String() {
			return fmt.Errorf("%s is installed, by a run that did not finish, and %s is asked for: an installed version is never changed here", name, g.pack)
		}
	}
	g.Machine.Say("an earlier run did not finish: resuming it")
	return nil
}

// readRootPassword reads what reaches GitLab through the environment of the installation,
// and nothing else.
// https://docs.gitlab.com/omnibus/installation/#set-up-the-initial-account
func (g *GitLab) readRootPassword(ctx context.Context) error {
	g.Machine.Say("reading the root password from Secrets Manager")
	var last error
	// A new instance's role can take a moment to work.
	err := machine.Wait(ctx, secretWithin, pause, "the secret cannot be read", func(ctx context.Context) (bool, error) {
		password, err := g.RootPassword(ctx)
		if ctx.Err() == nil || err == nil {
			g.password, last = password, err
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: nothing was installed: %w", err, last)
	}
	if len(g.password) < 8 || strings.ContainsAny(g.password, "\r\n\x00") || strings.HasPrefix(g.password, `{"`) && strings.HasSuffix(g.password, "}") {
		return errors.New("the secret is no password: want one line of at least 8 characters, not JSON")
	}
	g.Machine.Secrets = append(g.Machine.Secrets, g.password)
	return nil
}

var workhorseVersion = regexp.MustCompile(`[0-9]{2}\.[0-9]+\.[0-9]+`)

// checkVolumeContent stops before the package is installed on the data of an earlier
// server that it does not fit.
func (g *GitLab) checkVolumeContent(ctx context.Context) error {
	m := g.Machine
	if m.Exists(newData) {
		return nil
	}
	here, err := collation.OfHost(ctx, m)
	if err != nil {
		return err
	}
	if !m.Exists(database) {
		// Its indexes will be made here. First, for a run may end in between.
		if err := (collation.Record{Glibc: here.String()}).Write(m); err != nil {
			return err
		}
		return m.WriteFile(newData, "", 0o600)
	}
	secrets, err := m.ReadFile(configFolder + "/gitlab-secrets.json")
	if err != nil {
		return err
	}
	if secrets == "" {
		return fmt.Errorf("%s holds the data of an earlier server and not its secrets: put its gitlab-secrets.json into %s (a backup's secrets hold it) and run this again; with new secrets, what is encrypted in the database would be lost", g.DataVolume, configFolder)
	}
	// Workhorse carries GitLab's version since they share a repository; before, it had 8.x.
	text, err := m.ReadFile(dataFolder + "/gitlab-workhorse/VERSION")
	if err != nil {
		return err
	}
	if version := workhorseVersion.FindString(text); version != "" && version != g.Version.String() {
		return fmt.Errorf("%s holds the data of GitLab %s, and %s is asked for: install the same version (gitlab.server.version)", g.DataVolume, version, g.Version)
	}
	return g.checkOrder(here)
}

// checkOrder refuses a database whose indexes are in the order of another C library: from
// its first minute GitLab would not find what is there, and would make it again.
func (g *GitLab) checkOrder(here collation.Glibc) error {
	record, err := collation.ReadRecord(g.Machine)
	if err != nil {
		return err
	}
	if misfit := record.Misfit(here); misfit != "" {
		return fmt.Errorf("%s holds the database of an earlier server: %s, and this host has glibc %s, where text is sorted otherwise. Nothing was changed: "+
			"give the volume back to a server of its own system, and restore its backup on a new one (docs/amazon-linux-2023.md)", g.DataVolume, misfit, here)
	}
	return nil
}

// keepGitalyFiles: 14.7 to 14.9 keep Gitaly's hooks and Git in /tmp, where Amazon Linux
// removes what was not touched for ten days. Whatever version this host begins with, its
// upgrades pass 14.9.
// https://gitlab.com/gitlab-org/gitaly/-/issues/4113
func (g *GitLab) keepGitalyFiles(context.Context) error {
	return g.Machine.WriteFile("/etc/tmpfiles.d/gitlab-codedeploy.conf",
		"# Written by gitlab-codedeploy: Gitaly runs from these until GitLab 14.10.\nx /tmp/gitaly-*\n", 0o644)
}

// writeSettings comes before the package, whose first reconfigure reads them.
func (g *GitLab) writeSettings(context.Context) error {
	m := g.Machine
	if err := m.WriteFile(omnibus.Settings, omnibus.SettingsText(g.Address), omnibus.SettingsMode); err != nil {
		return err
	}
	if m.Exists(omnibus.MainSettings) {
		main, err := m.ReadFile(omnibus.MainSettings)
		if err != nil {
			return err
		}
		if !omnibus.Includes(main) {
			return fmt.Errorf("%s is not ours and does not include our settings: add the line %s at its end", omnibus.MainSettings, omnibus.IncludeLine)
		}
		m.Say("%s is kept; it includes %s", omnibus.MainSettings, omnibus.Settings)
		return nil
	}
	return m.WriteFile(omnibus.MainSettings, fmt.Sprintf(`%s
# Add settings above the last line.

# The package looks for this line here, and skips its first reconfigure
# without it. What counts is the one in the included file.
external_url '%s'

%s
`, omnibus.SettingsHeader, g.Address, omnibus.IncludeLine), 0o600)
}

func (g *GitLab) installPackage(ctx context.Context) error {
	m := g.Machine
	found, err := packages.Installed(ctx, m, g.pack.Name)
	if err != nil {
		return err
	}
	reconfigure := m.Exists(bootstrapped) || len(found) > 0
	seed := []string{"HOME=/root", "GITLAB_ROOT_PASSWORD=" + g.password}
	if len(found) == 0 {
		m.Say("installing %s; this takes ten minutes and more", g.pack)
		outcome, err := g.source.Install(ctx, g.pack, packages.Installing{Env: seed})
		if err != nil {
			return err
		}
		reconfigure = reconfigure || outcome.ScriptFailed
	}
	if !reconfigure && m.Exists(bootstrapped) {
		return nil
	}
	m.Say("configuring %s", g.pack)
	return omnibus.GitLab{Machine: m}.Reconfigure(ctx, limit, seed...)
}

func (g *GitLab) waitUntilReady(ctx context.Context) error {
	err := omnibus.GitLab{Machine: g.Machine}.WaitForSignIn(ctx, g.Address, readyWithin)
	var not omnibus.NotReady
	if errors.As(err, &not) && not.Status >= http.StatusMultipleChoices && not.Status < http.StatusBadRequest {
		return fmt.Errorf("/users/sign_in redirects (HTTP %d), as it does while root has no password", not.Status)
	}
	return err
}

// switchSignUpOff is for the database of this installation: one of an earlier server has a
// setting that somebody has made.
func (g *GitLab) switchSignUpOff(ctx context.Context) error {
	if !g.Machine.Exists(newData) {
		return nil
	}
	g.Machine.Say("switching sign-up off: administrators make accounts")
	return omnibus.GitLab{Machine: g.Machine}.CloseSignUp(ctx)
}
