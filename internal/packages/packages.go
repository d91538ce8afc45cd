// Package packages installs GitLab's packages on a host: exact versions, from a
// repository that is otherwise disabled, signed by keys that are known by their whole
// fingerprint.
package packages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
)

// Package is an exact version for one host.
type Package struct {
	// Name is such as "gitlab-ce", and Release such as "13.10.2-ce.0.el7".
	Name, Release string
	// Repository is the folder of the distribution, such as "el/7".
	Repository string
	// Architecture is as "uname -m" says it.
	Architecture string
	// Keys are those that a package of that time is signed with.
	Keys []gitlab.SigningKey
	// keyFile and keyFolder are where their files are: see keyAddresses.
	keyFile, keyFolder string
}

// String is the package as rpm names it, without the architecture.
func (p Package) String() string { return p.Name + "-" + p.Release }

// Version is the version alone.
func (p Package) Version() string {
	version, _, _ := strings.Cut(p.Release, "-")
	return version
}

// ErrNoPackage says that GitLab publishes none for the host.
var ErrNoPackage = errors.New("there is no package")

// Server is the package of a GitLab's version for this host. Edition is "ce" or "ee".
func Server(m *machine.Machine, edition string, version gitlab.Version) (Package, error) {
	p, err := find(m, "gitlab", "GitLab", version)
	if err != nil {
		return Package{}, err
	}
	name := "gitlab-" + edition
	return Package{
		Name: name, Release: fmt.Sprintf("%s-%s.0.%s", version, edition, strings.ReplaceAll(p.Repository, "/", "")),
		Repository: p.Repository, Architecture: m.Architecture, Keys: gitlab.ServerKeys(version.String()),
		keyFile: name + "/gpgkey/gitlab-" + name, keyFolder: "gitlab",
	}, nil
}

// Runner is the package of a GitLab Runner's version for this host.
func Runner(m *machine.Machine, version gitlab.Version) (Package, error) {
	p, err := find(m, "gitlab-runner", "GitLab Runner", version)
	if err != nil {
		return Package{}, err
	}
	return Package{
		Name: "gitlab-runner", Release: version.String() + "-1",
		Repository: p.Repository, Architecture: m.Architecture, Keys: gitlab.RunnerKeys(version.String()),
		keyFile: "gitlab-runner/gpgkey/runner-gitlab-runner", keyFolder: "runner",
	}, nil
}

// find says which repository has a version for this host.
func find(m *machine.Machine, product, words string, version gitlab.Version) (gitlab.Package, error) {
	release := m.AmazonLinux()
	if release != "2" && release != "2023" {
		id, number := m.System()
		return gitlab.Package{}, fmt.Errorf("this is not Amazon Linux 2 or 2023, but %s", cmp.Or(strings.TrimSpace(id+" "+number), "an unknown system"))
	}
	p, has := gitlab.PackageOf(product, "amazon-linux-"+release, m.Architecture, version)
	if !has {
		return gitlab.Package{}, fmt.Errorf("%w of %s %s for Amazon Linux %s on %s; there are %s",
			ErrNoPackage, words, version, release, m.Architecture, gitlab.DescribePackages(product))
	}
	return p, nil
}

// URLPattern is what a base URL may be: https, and http from this very host.
const URLPattern = `https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?|http://localhost:[0-9]+(/[A-Za-z0-9._~/-]*)?`

// Repository is where packages come from.
type Repository struct {
	Machine *machine.Machine
	// ID names its file. Required.
	ID string
	// Base is the address below which the products' repositories are, such as
	// https://packages.gitlab.com/gitlab. Required.
	Base string
}

// manager is the package manager of the host. yum is the other one's name on Amazon
// Linux 2023.
func manager(m *machine.Machine) string {
	if m.AmazonLinux() == "2023" {
		return "dnf"
	}
	return "yum"
}

// Address is the repository's own address for a package.
func (r Repository) Address(p Package) string {
	return strings.Join([]string{strings.TrimSuffix(r.Base, "/"), p.Name, p.Repository, p.Architecture}, "/")
}

// Prepare makes exactly that package installable: it writes the repository's file, looks
// whether the package is there, and gives rpm the keys of its time.
func (r Repository) Prepare(ctx context.Context, p Package) error {
	if err := r.write(p); err != nil {
		return err
	}
	if err := r.require(ctx, p, "--disablerepo=*", "--enablerepo="+r.ID); err != nil {
		return err
	}
	return r.ImportKeys(ctx, p)
}

// write writes the repository's file. It stays disabled: a plain "yum update" must never
// move GitLab, which may not skip its stops. Packages are checked by their own signature.
// The metadata's is left out, for mirrors seldom have it, and versions are asked for exactly.
func (r Repository) write(p Package) error {
	return r.Machine.WriteFile("/etc/yum.repos.d/"+r.ID+".repo", fmt.Sprintf(`# Written by gitlab-codedeploy, which names this repository when it installs.
[%s]
name=%[1]s
baseurl=%s
enabled=0
gpgcheck=1
repo_gpgcheck=0
metadata_expire=300
`, r.ID, r.Address(p)), 0o644)
}

// listLimit bounds a look at a repository. GitLab's have tens of thousands of packages.
const listLimit = 10 * time.Minute

// Look says whether the repository has the package, and leaves the host as it is but for
// a folder of its own in /run, which goes again. yum of Amazon Linux 2 takes a repository
// from a settings file only.
func (r Repository) Look(ctx context.Context, p Package) (err error) {
	folder := fmt.Sprintf("/run/gitlab-codedeploy-look-%d", time.Now().UnixNano())
	defer func() { err = errors.Join(err, r.Machine.Remove(folder)) }()
	err = r.Machine.WriteFile(folder+"/look.conf", fmt.Sprintf("[main]\ncachedir=%[1]s/cache\nreposdir=%[1]s/none\nlogfile=/dev/null\n\n[look]\nname=look\nbaseurl=%s\nenabled=1\ngpgcheck=1\n",
		r.Machine.Path(folder), r.Address(p)), 0o600)
	if err != nil {
		return err
	}
	return r.require(ctx, p, "--config="+r.Machine.Path(folder)+"/look.conf", "--disablerepo=*", "--enablerepo=look")
}

// require fails when the repository does not have exactly that.
func (r Repository) require(ctx context.Context, p Package, options ...string) error {
	args := append([]string{manager(r.Machine), "-q"}, options...)
	list, err := r.Machine.Ask(ctx, machine.Command{
		Args: append(args, "--showduplicates", "list", "available", p.Name), Timeout: listLimit,
	})
	if err != nil {
		return fmt.Errorf("cannot list %s in %s: unreachable, or not a repository with that package: %w", p.Name, r.Address(p), err)
	}
	// A long name moves the rest to the next line: words count, not columns.
	words := strings.Fields(list)
	if !slices.Contains(words, p.Release) && !slices.Contains(words, "0:"+p.Release) {
		return fmt.Errorf("%s %s is not in %s", p.Name, p.Release, r.Address(p))
	}
	return nil
}

// keyAddresses are where a key's file may be: below the repository, where it was until
// 2026, and at the root of the host.
// https://docs.gitlab.com/omnibus/update/package_signatures/
func (r Repository) keyAddresses(p Package, key gitlab.SigningKey) []string {
	base := strings.TrimSuffix(r.Base, "/")
	host := base
	if u, err := url.Parse(base); err == nil {
		host = u.Scheme + "://" + u.Host
	}
	return []string{
		fmt.Sprintf("%s/%s-%s.pub.gpg", base, p.keyFile, key.ID),
		fmt.Sprintf("%s/gpgkey/%s/%s.pub.gpg", host, p.keyFolder, key.ID),
	}
}

// ImportKeys gives rpm the keys of a package's time. A key counts by its fingerprint
// alone: who has the address, or the way to it, could put another one there. One that
// neither address has is left out: if it was the right one, the package is refused.
func (r Repository) ImportKeys(ctx context.Context, p Package) error {
	var found int
	var reasons []string
	for _, key := range p.Keys {
		text, err := r.key(ctx, p, key)
		if err != nil {
			r.Machine.Say("the package key %s is left out: %s", key.ID, err)
			reasons = append(reasons, err.Error())
			continue
		}
		file := "/run/gitlab-codedeploy-" + key.ID + ".pub"
		if err := r.Machine.WriteFile(file, text, 0o600); err != nil {
			return err
		}
		err = r.Machine.Do(ctx, machine.Command{Args: []string{"rpm", "--import", r.Machine.Path(file)}, Timeout: time.Minute})
		err = errors.Join(err, r.Machine.Remove(file))
		if err != nil {
			return fmt.Errorf("rpm does not take the package key %s: %w", key.ID, err)
		}
		found++
	}
	if found == 0 {
		return fmt.Errorf("none of the package keys could be had: %s", strings.Join(reasons, "; "))
	}
	return nil
}

// key returns the file of a key, once its fingerprint is right.
func (r Repository) key(ctx context.Context, p Package, key gitlab.SigningKey) (string, error) {
	var all error
	for _, address := range r.keyAddresses(p, key) {
		text, err := r.Machine.Fetch(ctx, address)
		if err == nil {
			var fingerprint string
			switch fingerprint, err = gitlab.KeyFingerprint(text); {
			case err != nil:
				err = fmt.Errorf("%s: %w", address, err)
			case !key.Is(fingerprint):
				err = fmt.Errorf("%s has the key %s, want %s", address, fingerprint, strings.Join(key.Fingerprints, " or "))
			default:
				return text, nil
			}
		}
		all = errors.Join(all, err)
	}
	return "", errors.New(strings.ReplaceAll(all.Error(), "\n", "; "))
}

// installedForm is a package as rpm's queryformat below prints it.
const installedForm = `%{NAME}-%{VERSION}-%{RELEASE}\n`

// Installed returns those of the packages that are installed, as name-version-release.
// A package can be there twice, when rpm was killed. rpm tells the missing ones on stdout
// too, and fails for them.
func Installed(ctx context.Context, m *machine.Machine, names ...string) ([]string, error) {
	out, err := m.Ask(ctx, machine.Command{Args: append([]string{"rpm", "-q", "--queryformat", installedForm}, names...), Timeout: 2 * time.Minute})
	if err != nil && machine.Status(err) < 0 {
		return nil, err
	}
	var found []string
	missing := 0
	for line := range strings.Lines(out) {
		switch line = strings.TrimSpace(line); {
		case line == "":
		case strings.Contains(line, " "):
			missing++
		default:
			found = append(found, line)
		}
	}
	if err != nil && missing == 0 {
		return nil, err // it has another reason to fail, such as its database
	}
	return found, nil
}

// Installing is how a package is installed.
type Installing struct {
	// Env is added to the environment, as NAME=value; a secret in it has to be one of
	// the machine's Secrets.
	Env []string
	// With are further packages of the same step, each with its exact version.
	With []string
	// Heard gets each line that is said, when it is. Optional.
	Heard io.Writer
	// Timeout is how long it may take; 0 is as long as the context.
	Timeout time.Duration
}

// Outcome is how an installation that ended well ended.
type Outcome struct {
	// ScriptFailed says that a scriptlet after the package's files has failed, of which
	// rpm only warns: GitLab's reconfigure runs in one.
	ScriptFailed bool
	// Reason is why.
	Reason string
}

var failedScript = regexp.MustCompile(`scriptlet failed|(?i)error in POSTTRANS`)

// Install installs the package that [Repository.Prepare] has prepared, and looks whether
// it is there: yum of Amazon Linux 2 says "Complete!" after a %pre that failed.
func (r Repository) Install(ctx context.Context, p Package, how Installing) (Outcome, error) {
	said, err := r.Machine.Talked(ctx, machine.Command{
		Args: append([]string{manager(r.Machine), "-y", "--enablerepo=" + r.ID, "install", p.String()}, how.With...), Env: how.Env, Stdout: how.Heard, Timeout: how.Timeout,
	})
	if err != nil && machine.Status(err) < 0 {
		return Outcome{}, err
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("%s could not install %s: %s", manager(r.Machine), p, cmp.Or(Reason(said), fmt.Sprintf("it ended with %d and said nothing", machine.Status(err))))
	}
	found, err := Installed(ctx, r.Machine, p.Name)
	if err != nil {
		return Outcome{}, err
	}
	if !slices.Contains(found, p.String()) {
		return Outcome{}, fmt.Errorf("%s reports success, and %s is not installed: %s", manager(r.Machine), p, cmp.Or(Reason(said), "it said nothing"))
	}
	if failedScript.MatchString(said) {
		return Outcome{ScriptFailed: true, Reason: Reason(said)}, nil
	}
	return Outcome{}, nil
}
