package packages_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/packages"
	"gitlab-codedeploy/internal/packages/packagestest"
)

const base = "https://packages.example.com/gitlab"

func version(t *testing.T, text string) gitlab.Version {
	v, err := gitlab.ParseVersion(text)
	require.NoError(t, err)
	return v
}

// newKey makes a key, and returns its file and its fingerprint.
func newKey(t *testing.T, entities ...*openpgp.Entity) (file, fingerprint string) {
	if entities == nil {
		entity, err := packagestest.NewEntity()
		require.NoError(t, err)
		entities = append(entities, entity)
	}
	file, err := packagestest.File(entities...)
	require.NoError(t, err)
	return file, fmt.Sprintf("%X", entities[0].PrimaryKey.Fingerprint)
}

// newServer is a host, and what it installs as 13.10.2; the key is there and is GitLab's.
func newServer(t *testing.T) (*machinetest.Host, packages.Repository, packages.Package) {
	h := machinetest.New(t)
	p, err := packages.Server(h.Machine, "ce", version(t, "13.10.2"))
	require.NoError(t, err)
	file, fingerprint := newKey(t)
	p.Keys = []gitlab.SigningKey{{ID: "3D645A26AB9FBD22", Fingerprints: []string{fingerprint}}}
	packagestest.Serve(h, base+"/gitlab-ce/gpgkey/gitlab-gitlab-ce-3D645A26AB9FBD22.pub.gpg", file)
	for _, address := range []string{
		"https://packages.example.com/gpgkey/gitlab/3D645A26AB9FBD22.pub.gpg", "https://packages.example.com/gpgkey/gitlab/CB947AD886C8E8FD.pub.gpg",
		base + "/gitlab-ce/gpgkey/gitlab-gitlab-ce-CB947AD886C8E8FD.pub.gpg",
	} {
		h.OnPage(address, http.NotFound)
	}
	h.Answers("rpm --import", "")
	// yum 3.4.3: a long name moves the rest to the next line.
	h.Answers("yum -q", "Available Packages\ngitlab-ce.x86_64      13.10.1-ce.0.el7    gitlab-codedeploy\ngitlab-ce.x86_64\n                      13.10.2-ce.0.el7    gitlab-codedeploy\n")
	return h, packages.Repository{Machine: h.Machine, ID: "gitlab-codedeploy", Base: base}, p
}

func TestS8EachHostGetsThePackageThatThereIsForIt(t *testing.T) {
	h := machinetest.New(t)
	for question, want := range map[string]string{
		"2 x86_64 ce 13.10.2":       "gitlab-ce-13.10.2-ce.0.el7 el/7",
		"2 x86_64 ee 14.9.5":        "gitlab-ee-14.9.5-ee.0.amazon2 amazon/2",
		"2 aarch64 ce 15.4.6":       "gitlab-ce-15.4.6-ce.0.amazon2 amazon/2",
		"2023 x86_64 ce 16.3.9":     "gitlab-ce-16.3.9-ce.0.amazon2023 amazon/2023",
		"2023 aarch64 ce 18.11.13":  "gitlab-ce-18.11.13-ce.0.amazon2023 amazon/2023",
		"2 x86_64 runner 13.10.0":   "gitlab-runner-13.10.0-1 el/7",
		"2023 x86_64 runner 18.0.0": "gitlab-runner-18.0.0-1 amazon/2023",
	} {
		var system, kind, text string
		_, err := fmt.Sscan(question, &system, &h.Architecture, &kind, &text)
		require.NoError(t, err)
		h.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\""+system+"\"\n")
		var p packages.Package
		if kind == "runner" {
			p, err = packages.Runner(h.Machine, version(t, text))
		} else {
			p, err = packages.Server(h.Machine, kind, version(t, text))
		}
		require.NoError(t, err, question)
		assert.Equal(t, want, p.String()+" "+p.Repository, question)
		assert.Equal(t, text, p.Version())
	}
	h.Architecture = "aarch64"
	h.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2\"\n")
	_, err := packages.Server(h.Machine, "ce", version(t, "13.10.2"))
	require.ErrorIs(t, err, packages.ErrNoPackage)
	require.ErrorContains(t, err, "there is no package of GitLab 13.10.2 for Amazon Linux 2 on aarch64; there are amazon-linux-2 x86_64 from 7.0.0")
	h.Put("/etc/os-release", "ID=debian\nVERSION_ID=12\n")
	_, err = packages.Runner(h.Machine, version(t, "13.10.0"))
	require.EqualError(t, err, "this is not Amazon Linux 2 or 2023, but debian 12")
}

func TestS8APlainUpdateOfTheHostDoesNotMoveGitLab(t *testing.T) {
	h, repository, p := newServer(t)
	require.NoError(t, repository.Prepare(t.Context(), p))
	file := h.Get("/etc/yum.repos.d/gitlab-codedeploy.repo")
	assert.Contains(t, file, "\n[gitlab-codedeploy]\n")
	assert.Contains(t, file, "\nbaseurl="+base+"/gitlab-ce/el/7/x86_64\nenabled=0\ngpgcheck=1\n")
	assert.Equal(t, []string{"yum -q --disablerepo=* --enablerepo=gitlab-codedeploy --showduplicates list available gitlab-ce"}, h.RanLike("yum"))
}

func TestS5AVersionThatTheRepositoryDoesNotHaveIsNamedWithTheRepository(t *testing.T) {
	h, repository, p := newServer(t)
	p.Release = "13.10.99-ce.0.el7"
	require.EqualError(t, repository.Prepare(t.Context(), p), "gitlab-ce 13.10.99-ce.0.el7 is not in "+base+"/gitlab-ce/el/7/x86_64")
	p.Release = "3.10.2-ce.0.el7" // and not a part of a word
	require.ErrorContains(t, repository.Prepare(t.Context(), p), "is not in")
	h.On("yum -q", func(c machinetest.Call) int {
		c.Complain("https://packages.example.com/gitlab/gitlab-ce/el/7/x86_64/repodata/repomd.xml: [Errno 14] HTTPS Error 404 - Not Found\nTrying other mirror.\nError: No matching Packages to list\n")
		return 1
	})
	err := repository.Prepare(t.Context(), p)
	require.ErrorContains(t, err, "cannot list gitlab-ce in "+base+"/gitlab-ce/el/7/x86_64: unreachable, or not a repository with that package")
	require.ErrorContains(t, err, "Error: No matching Packages to list")
	assert.Empty(t, h.RanLike("rpm --import"))
}

func TestALookLeavesNothingBehind(t *testing.T) {
	h, repository, p := newServer(t)
	require.NoError(t, repository.Look(t.Context(), p))
	names, err := h.List("/run")
	require.NoError(t, err)
	assert.Empty(t, names)
	assert.False(t, h.Exists("/etc/yum.repos.d"))
	command := h.RanLike("yum")[0]
	assert.Regexp(t, `^yum -q --config=\S+/look.conf --disablerepo=\* --enablerepo=look --showduplicates list available gitlab-ce$`, command)
	p.Release = "13.10.99-ce.0.el7"
	require.ErrorContains(t, repository.Look(t.Context(), p), "is not in")
	h.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n")
	h.Answers("dnf -q", "gitlab-ce.x86_64 0:13.10.99-ce.0.el7 look\n")
	require.NoError(t, repository.Look(t.Context(), p))
}

func TestKeysAreAcceptedByTheirWholeFingerprint(t *testing.T) {
	const (
		below = base + "/gitlab-ce/gpgkey/gitlab-gitlab-ce-3D645A26AB9FBD22.pub.gpg"
		above = "https://packages.example.com/gpgkey/gitlab/3D645A26AB9FBD22.pub.gpg"
	)

	t.Run("S5 install-gitlab | a key has moved to its new address | it is found there", func(t *testing.T) {
		h, repository, p := newServer(t)
		file, fingerprint := newKey(t)
		p.Keys[0].Fingerprints = []string{"00", fingerprint}
		h.OnPage(below, http.NotFound)
		packagestest.Serve(h, above, file)
		var got string
		h.On("rpm --import", func(c machinetest.Call) int {
			got = h.Get(strings.TrimPrefix(c.Args[2], h.Root))
			return 0
		})
		require.NoError(t, repository.ImportKeys(t.Context(), p))
		assert.Equal(t, file, got)
		names, _ := h.List("/run")
		assert.Empty(t, names)
	})
	t.Run("S5 install-gitlab | somebody put another key at GitLab's address | it is not given to rpm, and both are named", func(t *testing.T) {
		h, repository, p := newServer(t)
		other, fingerprint := newKey(t)
		packagestest.Serve(h, below, other)
		packagestest.Serve(h, above, other)
		err := repository.ImportKeys(t.Context(), p)
		require.ErrorContains(t, err, "none of the package keys could be had: "+below+" has the key "+fingerprint+", want "+p.Keys[0].Fingerprints[0])
		assert.Empty(t, h.RanLike("rpm"))
	})
	t.Run("S5 install-gitlab | a second key stands in the file of the right one | the file is refused", func(t *testing.T) {
		h, repository, p := newServer(t)
		first, err := packagestest.NewEntity()
		require.NoError(t, err)
		second, err := packagestest.NewEntity()
		require.NoError(t, err)
		both, fingerprint := newKey(t, first, second)
		p.Keys[0].Fingerprints = []string{fingerprint}
		one, _ := newKey(t, first)
		two, _ := newKey(t, second)
		for text, want := range map[string]string{
			both: "it has several keys, want one", one + two: "it has 2 keys, want one", "<html>": "it has 0 keys, want one",
			"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n": "it is no key",
		} {
			packagestest.Serve(h, below, text)
			require.ErrorContains(t, repository.ImportKeys(t.Context(), p), want)
		}
		assert.Empty(t, h.RanLike("rpm"))
		packagestest.Serve(h, below, one)
		require.NoError(t, repository.ImportKeys(t.Context(), p))
	})
	t.Run("a key that is gone is left out as long as another is there", func(t *testing.T) {
		h, repository, p := newServer(t)
		p.Keys = append([]gitlab.SigningKey{{ID: "CB947AD886C8E8FD", Fingerprints: []string{"98BF"}}}, p.Keys...)
		require.NoError(t, repository.ImportKeys(t.Context(), p))
		assert.Len(t, h.RanLike("rpm --import"), 1)
		assert.Contains(t, h.Talk.String(), "the package key CB947AD886C8E8FD is left out: ")
	})
	t.Run("a server that fails for a moment is asked again, and a redirection leads to no other protocol", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, repository, p := newServer(t)
			file, fingerprint := newKey(t)
			p.Keys[0].Fingerprints = []string{fingerprint}
			asked := 0
			h.OnPage(below, func(w http.ResponseWriter, r *http.Request) {
				if asked++; asked < 3 {
					w.WriteHeader(http.StatusBadGateway)
					return
				}
				http.Redirect(w, r, "https://storage.example.com/key", http.StatusFound)
			})
			packagestest.Serve(h, "https://storage.example.com/key", file)
			require.NoError(t, repository.ImportKeys(t.Context(), p))
			h.OnPage(below, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://storage.example.com/key", http.StatusFound)
			})
			h.OnPage(above, http.NotFound)
			packagestest.Serve(h, "http://storage.example.com/key", file)
			require.ErrorContains(t, repository.ImportKeys(t.Context(), p), "it redirects to http, want https")
		})
	})
}

func TestEachVersionHasTheKeysOfItsTime(t *testing.T) {
	h := machinetest.New(t)
	for text, want := range map[string]int{"13.10.2": 1, "17.6.9": 1, "17.7.0": 2, "18.11.13": 2} {
		v := version(t, text)
		h.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2\"\n")
		if v.Major > 16 {
			h.Put("/etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n")
		}
		p, err := packages.Server(h.Machine, "ce", v)
		require.NoError(t, err)
		assert.Len(t, p.Keys, want, text)
	}
}

func TestWhatIsInstalledIsWhatRpmHas(t *testing.T) {
	h := machinetest.New(t)
	// rpm 4.11 and later: the missing ones on stdout, and their number as the status.
	h.On("rpm -q", func(c machinetest.Call) int {
		c.Print("gitlab-ce-13.10.2-ce.0.el7\npackage gitlab-ee is not installed\n")
		return 1
	})
	found, err := packages.Installed(t.Context(), h.Machine, "gitlab-ce", "gitlab-ee")
	require.NoError(t, err)
	assert.Equal(t, []string{"gitlab-ce-13.10.2-ce.0.el7"}, found)
	h.On("rpm -q", func(c machinetest.Call) int {
		c.Complain("error: rpmdb: BDB0113 Thread/process 1/2 failed: BDB1507 Thread died in Berkeley DB library\n")
		return 1
	})
	_, err = packages.Installed(t.Context(), h.Machine, "gitlab-ce")
	require.ErrorContains(t, err, "Thread died in Berkeley DB library")
}

// What yum 3.4.3 of Amazon Linux 2, rpm 4.11 and GitLab's %pre say; the latter's words are
// those of omnibus-gitlab 14.0 to 19.2, config/templates/package-scripts/preinst.erb.
func TestTheRealReasonOfAFailedPackageIsTold(t *testing.T) {
	const end = `
error: %pre(gitlab-ce-14.0.12-ce.0.el7.x86_64) scriptlet failed, exit status 1
Error in PREIN scriptlet in rpm package gitlab-ce-14.0.12-ce.0.el7.x86_64
gitlab-ce-13.12.15-ce.0.el7.x86_64 was supposed to be removed but is not!
  Verifying  : gitlab-ce-14.0.12-ce.0.el7.x86_64                            1/2

Failed:
  gitlab-ce.x86_64 0:13.12.15-ce.0.el7      gitlab-ce.x86_64 0:14.0.12-ce.0.el7

Complete!
`
	for said, want := range map[string]string{
		"Running transaction\ngitlab preinstall: \ngitlab preinstall: Your version of PostgreSQL is no longer supported. Please upgrade your PostgreSQL version to 12.\ngitlab preinstall: Check https://docs.gitlab.com/omnibus/settings/database.html#upgrade-packaged-postgresql-server for details.\ngitlab preinstall: \ngitlab preinstall: Upgrade failed. Retry the upgrade after upgrading your PostgreSQL version." + end:                                   "Your version of PostgreSQL is no longer supported. Please upgrade your PostgreSQL version to 12. Check https://docs.gitlab.com/omnibus/settings/database.html#upgrade-packaged-postgresql-server for details. Upgrade failed. Retry the upgrade after upgrading your PostgreSQL version.",
		"gitlab preinstall: Automatically backing up only the GitLab SQL database (excluding everything else!)\nDumping PostgreSQL database gitlabhq_production ... pg_dump: error: No space left on device\ngitlab preinstall: \ngitlab preinstall: Database backup failed! If you want to skip this backup, run the following command and try again:\ngitlab preinstall: \ngitlab preinstall:  sudo touch /etc/gitlab/skip-auto-backup\ngitlab preinstall: " + end: "Database backup failed: Dumping PostgreSQL database gitlabhq_production ... pg_dump: error: No space left on device",
		"Malformed configuration JSON file found at /opt/gitlab/embedded/nodes/gitlab.json." + end: "Malformed configuration JSON file found at /opt/gitlab/embedded/nodes/gitlab.json.",
	} {
		for _, status := range []int{0, 1} {
			h, repository, p := newServer(t)
			p.Release = "14.0.12-ce.0.el7"
			h.On("yum -y --enablerepo=gitlab-codedeploy install gitlab-ce-14.0.12-ce.0.el7", func(c machinetest.Call) int {
				c.Print("%s", said)
				return status
			})
			h.Answers("rpm -q", "gitlab-ce-13.12.15-ce.0.el7\n")
			_, err := repository.Install(t.Context(), p, packages.Installing{})
			how := "yum reports success, and gitlab-ce-14.0.12-ce.0.el7 is not installed: "
			if status != 0 {
				how = "yum could not install gitlab-ce-14.0.12-ce.0.el7: "
			}
			require.EqualError(t, err, how+want)
			assert.Contains(t, h.Talk.String(), "Complete!", "people see all of it")
		}
	}
	for said, want := range map[string]string{
		"Package gitlab-ce-13.10.2-ce.0.el7.x86_64.rpm is not signed\n": "Package gitlab-ce-13.10.2-ce.0.el7.x86_64.rpm is not signed",
		"Total 1.0 MB/s\nError: GPG check FAILED\nThe downloaded packages were saved in cache until the next successful transaction.\nYou can remove cached packages by executing 'dnf clean packages'.\n": "Error: GPG check FAILED",
		"one\ntwo\n": "two",
		"":           "",
	} {
		assert.Equal(t, want, packages.Reason(said))
	}
}

func TestAFailedScriptletAfterTheFilesIsToldAndNoFailure(t *testing.T) {
	h, repository, p := newServer(t)
	h.Secrets = []string{"s3cret word"}
	h.On("yum -y", func(c machinetest.Call) int {
		assert.Equal(t, []string{"GITLAB_ROOT_PASSWORD=s3cret word"}, c.Env)
		c.Complain("There was an error running gitlab-ctl reconfigure:\n\nexecute[x] (a::b line 1) had an error: s3cret word\n")
		c.Complain("warning: %%posttrans(gitlab-ce-13.10.2-ce.0.el7.x86_64) scriptlet failed, exit status 1\n")
		return 0
	})
	h.Answers("rpm -q", "gitlab-ce-13.10.2-ce.0.el7\n")
	outcome, err := repository.Install(t.Context(), p, packages.Installing{Env: []string{"GITLAB_ROOT_PASSWORD=s3cret word"}})
	require.NoError(t, err)
	assert.True(t, outcome.ScriptFailed)
	assert.Contains(t, outcome.Reason, "execute[x] (a::b line 1) had an error: ********")
	h.Answers("yum -y", "Complete!\n")
	outcome, err = repository.Install(t.Context(), p, packages.Installing{Env: []string{"GITLAB_ROOT_PASSWORD=s3cret word"}})
	require.NoError(t, err)
	assert.Equal(t, packages.Outcome{}, outcome)
}
