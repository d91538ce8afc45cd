// Package omnibus is the GitLab of a host, as the Omnibus package installs it: its
// settings, its database, its Rails, its page. What versions of GitLab there are is data,
// and stands in package gitlab, which knows of no host.
package omnibus

import (
	"errors"
	"fmt"
	"strings"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
)

// GitLab is the one on a host.
type GitLab struct{ Machine *machine.Machine }

const (
	control  = "/opt/gitlab/bin/gitlab-ctl"
	manifest = "/opt/gitlab/version-manifest.txt"
)

// IsInstalled says whether the host has GitLab, or half of it: a package that was not
// installed to its end counts.
func (g GitLab) IsInstalled() bool { return g.Machine.Exists(control) }

// Installed is what is installed.
type Installed struct {
	// Package is its name, such as "gitlab-ce".
	Package string
	Version gitlab.Version
}

// ErrNone says that there is no GitLab on the host.
var ErrNone = errors.New("there is no GitLab on this host")

// Installed reads what is installed from the package's own list, whose first line is such
// as "gitlab-ce 13.10.2". The error is [ErrNone] without one.
func (g GitLab) Installed() (Installed, error) {
	text, err := g.Machine.ReadFile(manifest)
	if err != nil {
		return Installed{}, err
	}
	if text == "" {
		return Installed{}, fmt.Errorf("%w: %s cannot be read", ErrNone, manifest)
	}
	line, _, _ := strings.Cut(text, "\n")
	name, version, _ := strings.Cut(strings.TrimSpace(line), " ")
	version, _, _ = strings.Cut(version, "-") // 18.2.1-ee.0
	parsed, err := gitlab.ParseVersion(version)
	if err != nil {
		return Installed{}, fmt.Errorf("%s names no version: %q", manifest, line)
	}
	return Installed{name, parsed}, nil
}
