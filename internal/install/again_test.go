package install_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/install"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
)

func TestS5TheVolumeOfALostServerGoesOnInANewOne(t *testing.T) {
	t.Run("S5 install-gitlab | a server is lost, and a new one gets its volume | secrets, settings, users' numbers and password are as they were, and the volume is not formatted", func(t *testing.T) {
		lost := newHost(t)
		_, err := lost.install()
		require.NoError(t, err)
		lost.Put("/etc/gitlab/gitlab-secrets.json", `{"key": "of the database"}`)
		lost.Put("/etc/gitlab/gitlab.rb", "# mine\n"+lost.Get("/etc/gitlab/gitlab.rb"))
		before := lost.Files("/disk")

		h := newHost(t)
		require.NoError(t, os.RemoveAll(h.Path("/disk")))
		require.NoError(t, os.CopyFS(h.Path("/disk"), os.DirFS(lost.Path("/disk"))))
		h.filesystem, h.seed = lost.filesystem, lost.seed
		_, err = h.install(func(g *install.GitLab) {
			g.RootPassword = func(context.Context) (string, error) { return "another password", nil }
		})
		require.NoError(t, err)
		assert.Equal(t, before, h.Files("/disk"))
		assert.Equal(t, `{"key": "of the database"}`, h.Get("/etc/gitlab/gitlab-secrets.json"))
		assert.Contains(t, h.Talk.String(), "holds an xfs filesystem, which is kept")
		assert.Empty(t, h.RanLike("mkfs.xfs"))
		assert.Equal(t, password, h.seed)
		assert.Equal(t, 1, h.reconfigures, "the package skips its own on such a volume")
		numbers := regexp.MustCompile(`(?m)^(user|web_server|redis|postgresql|registry|prometheus)\['(uid|gid)'\] = 88[0-5]$`)
		assert.Len(t, numbers.FindAllString(h.Get("/etc/gitlab/gitlab-codedeploy.rb"), -1), 12)
	})
}

func TestS5APackageWithoutASignature(t *testing.T) {
	t.Run("S5 install-gitlab | the package is not signed, or by another key | it is refused by the manager, which is told to look, and nothing is installed", func(t *testing.T) {
		for _, said := range []string{ // yum 3.4.3 (yum/__init__.py), dnf 4 (dnf/base.py)
			"Package gitlab-ce-13.10.2-ce.0.el7.x86_64.rpm is not signed\n",
			"The GPG keys listed for the \"gitlab-codedeploy\" repository are already installed but they are not correct for this package.\nError: GPG check FAILED\n",
		} {
			h := newHost(t)
			h.On("yum -y --enablerepo=gitlab-codedeploy install", func(c machinetest.Call) int {
				c.Complain("%s", said)
				return 1
			})
			lines := strings.Split(strings.TrimSpace(said), "\n")
			h.failed("yum could not install " + pack + ": " + lines[len(lines)-1])
			assert.Contains(t, h.Get("/etc/yum.repos.d/gitlab-codedeploy.repo"), "\ngpgcheck=1\n")
			for _, command := range h.RanLike("yum") {
				assert.NotContains(t, command, "nogpgcheck")
			}
			assert.Empty(t, h.seed)
		}
	})
}

// The numbers are those of the files on the volume: they never change, whatever else does.
func TestS5TheNumbersOfUsersAreFixed(t *testing.T) {
	want := map[string]string{"user": "880", "web_server": "881", "redis": "882", "postgresql": "883", "registry": "884", "prometheus": "885"}
	for _, address := range []string{"https://gitlab.example.com", "https://other.example.com"} {
		for user, number := range want {
			for _, kind := range []string{"uid", "gid"} {
				assert.Contains(t, omnibus.SettingsText(address), "\n"+user+"['"+kind+"'] = "+number+"\n")
			}
		}
	}
}
