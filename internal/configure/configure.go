//go:build unix

// Package configure brings our settings of GitLab up to date, and takes them back when
// GitLab does not come up with them. It may be killed anywhere: the next run begins with
// the settings of before.
package configure

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/pmezard/go-difflib/difflib"

	"gitlab-codedeploy/internal/omnibus"
)

const (
	// journal holds both files as they were, from before the first change until GitLab has
	// answered with the new ones. A file that was not there has no copy in it.
	journal = "/var/lib/gitlab-codedeploy/configuring"
	// limit is for the whole run. It ends before people stop waiting for it.
	limit = 55 * time.Minute
	// readyWithin is how long the sign-in page may take, each time.
	readyWithin = 15 * time.Minute
)

// both are the files that are changed.
var both = []string{omnibus.Settings, omnibus.MainSettings}

// Configure is the operation on one GitLab.
type Configure struct {
	GitLab omnibus.GitLab
	// Address is the one that users see. It has the form of omnibus.AddressPattern.
	Address string
	// Confirm asks people whether to go on; its error says that they do not want to.
	Confirm func(question string) error
}

// The states that are a result.
const (
	Unchanged = "unchanged"
	Differs   = "differs"
	Applied   = "applied"
)

// Check shows what would change, and changes nothing.
func (c Configure) Check() (state string, err error) {
	if err := c.ready(); err != nil {
		return "", err
	}
	m := c.GitLab.Machine
	if m.Exists(journal) {
		m.Say("an earlier run did not finish: the next one, without --check, begins with undoing it")
	}
	differs, err := c.showDifference()
	switch {
	case err != nil:
		return "", err
	case differs:
		return Differs, nil
	}
	m.Say("the settings are as they should be")
	return Unchanged, nil
}

// Apply shows what changes, asks, writes it, reconfigures, and waits for the sign-in page.
func (c Configure) Apply(ctx context.Context) (state string, err error) {
	if err := c.ready(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	m := c.GitLab.Machine
	for _, left := range []string{journal + ".new", journal + ".done"} { // of runs that were killed
		if m.Exists(left) {
			if err := m.Remove(left); err != nil {
				return "", err
			}
		}
	}
	unfinished := m.Exists(journal)
	if unfinished {
		m.Say("an earlier run did not finish: its old settings come back first")
		if err := c.putBack(); err != nil {
			return "", err
		}
	}
	differs, err := c.showDifference()
	if err != nil {
		return "", err
	}
	if !differs && !unfinished {
		m.Say("nothing to do: the settings are as they should be")
		return Unchanged, nil
	}
	if err := c.Confirm("Write this and reconfigure GitLab? It restarts what the settings concern."); err != nil {
		return "", err
	}
	return Applied, c.apply(ctx)
}

func (c Configure) ready() error {
	m := c.GitLab.Machine
	switch {
	case !c.GitLab.IsInstalled():
		return fmt.Errorf("%w: the installation writes its settings itself", omnibus.ErrNone)
	case !m.Exists(omnibus.MainSettings):
		return fmt.Errorf("%s is missing: GitLab has no settings at all", omnibus.MainSettings)
	}
	return nil
}

// showDifference tells what would change, and whether anything would.
func (c Configure) showDifference() (differs bool, err error) {
	m := c.GitLab.Machine
	have, err := m.ReadFile(omnibus.Settings)
	if err != nil {
		return false, err
	}
	if want := omnibus.SettingsText(c.Address); have != want {
		diff, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
			A: difflib.SplitLines(have), FromFile: omnibus.Settings + " (now)",
			B: difflib.SplitLines(want), ToFile: omnibus.Settings + " (new)", Context: 3,
		})
		if err != nil {
			return false, err
		}
		m.Say("%s would change:", omnibus.Settings)
		fmt.Fprint(m.Log, withoutSecrets(diff))
		differs = true
	}
	main, err := m.ReadFile(omnibus.MainSettings)
	switch {
	case err != nil:
		return false, err
	case !omnibus.Includes(main):
		// No diff of this one: it would show what stands around the line.
		m.Say("%s does not include it. One line would be added at its end, and the rest is kept:", omnibus.MainSettings)
		fmt.Fprintf(m.Log, "+%s\n", omnibus.IncludeLine)
		differs = true
	case omnibus.Follow(main):
		m.Say("note: settings follow after the line that includes ours in %s, and win over ours. "+
			"Some versions fail for them (NoMethodError): move that line to the end", omnibus.MainSettings)
	}
	return differs, nil
}

// secret is a line of a diff with what somebody may have written into our file by hand.
var secret = regexp.MustCompile(`(?im)^([-+ ].*(?:password|passwd|secret|token|key|salt)[^=\n]*=).*$`)

func withoutSecrets(diff string) string { return secret.ReplaceAllString(diff, "$1 ********") }

// apply takes everything back when GitLab does not come up with the new settings.
func (c Configure) apply(ctx context.Context) error {
	m := c.GitLab.Machine
	err := c.keepOld()
	if err != nil {
		return err
	}
	if err = c.writeNew(); err == nil {
		m.Say("reconfiguring GitLab; this takes some minutes")
		if err = c.GitLab.Reconfigure(ctx, limit); err == nil {
			if err = c.GitLab.WaitForSignIn(ctx, c.Address, readyWithin); err != nil {
				err = fmt.Errorf("after the change %w", err)
			}
		}
	}
	if err == nil {
		if err = c.forgetOld(); err == nil {
			m.Say("GitLab runs with the new settings and answers at %s", c.Address)
		}
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the change is not finished: run this again, which undoes it first: %w", err)
	}
	m.Say("%v", err)
	if back := c.takeBack(ctx); back != nil {
		return back
	}
	return fmt.Errorf("%w; the old settings are back, and GitLab answers with them", err)
}

// keepOld makes the journal in one step: it is there in full or not at all. That of a run
// that was undone is as good.
func (c Configure) keepOld() error {
	m := c.GitLab.Machine
	if m.Exists(journal) {
		return nil
	}
	if err := m.MakeFolder(journal+".new", 0o700); err != nil {
		return err
	}
	for _, file := range both {
		if m.Exists(file) {
			if err := m.Copy(file, journal+".new/"+path.Base(file)); err != nil {
				return err
			}
		}
	}
	return m.Rename(journal+".new", journal)
}

func (c Configure) writeNew() error {
	m := c.GitLab.Machine
	main, err := m.ReadFile(omnibus.MainSettings)
	if err != nil {
		return err
	}
	if err := m.WriteFile(omnibus.Settings, omnibus.SettingsText(c.Address), omnibus.SettingsMode); err != nil {
		return err
	}
	if omnibus.Includes(main) {
		return nil
	}
	return m.Rewrite(omnibus.MainSettings, omnibus.WithInclude(main))
}

// putBack leaves both files as they are in the journal.
func (c Configure) putBack() (err error) {
	m := c.GitLab.Machine
	for _, file := range both {
		kept := journal + "/" + path.Base(file)
		if m.Exists(kept) {
			err = errors.Join(err, m.Copy(kept, file))
		} else if m.Exists(file) {
			err = errors.Join(err, m.Remove(file))
		}
	}
	return err
}

// takeBack brings GitLab up with the old settings. When that fails the journal stays, so
// that the next run begins with them, too.
func (c Configure) takeBack(ctx context.Context) error {
	m := c.GitLab.Machine
	m.Say("putting the old settings back")
	if err := c.putBack(); err != nil {
		return fmt.Errorf("the old settings cannot be put back; they are in %s: %w", journal, err)
	}
	if err := c.GitLab.Reconfigure(ctx, limit); err != nil {
		said := strings.Replace(err.Error(), "gitlab-ctl reconfigure failed:", "gitlab-ctl reconfigure fails with them, too:", 1)
		return fmt.Errorf("the old settings are back, but %s", said)
	}
	address, err := c.GitLab.Address()
	if err == nil {
		err = c.GitLab.WaitForSignIn(ctx, address, readyWithin)
	}
	if err != nil {
		return fmt.Errorf("the old settings are back and reconfigured, but %w", err)
	}
	return c.forgetOld()
}

func (c Configure) forgetOld() error {
	m := c.GitLab.Machine
	if err := m.Rename(journal, journal+".done"); err != nil {
		return err
	}
	return m.Remove(journal + ".done")
}
