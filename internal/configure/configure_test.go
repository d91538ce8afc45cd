//go:build unix

package configure

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
)

const (
	reconfigure = "/opt/gitlab/bin/gitlab-ctl reconfigure"
	migrated    = "external_url 'https://old.example.com'\nnginx['listen_port'] = 80\nnginx['listen_https'] = false\ngitlab_rails['smtp_password'] = 'hunter2'\n"
	include     = "from_file '/etc/gitlab/gitlab-codedeploy.rb'\n"
)

// server is a host with GitLab as a restore leaves it: another server's gitlab.rb.
type server struct {
	*machinetest.Host
	Configure
	inForce  string // the settings that it was last reconfigured with
	failWith string // a reconfigure fails with settings that have this
	deafWith string // and the page does not come up with these
	asked    []string
	refuse   error // what the operator says
}

func newServer(t *testing.T) *server {
	s := &server{Host: machinetest.New(t), inForce: migrated, failWith: "nothing", deafWith: "nothing"}
	s.Put("/opt/gitlab/bin/gitlab-ctl", "")
	s.Put(omnibus.MainSettings, migrated)
	require.NoError(t, os.Chmod(s.Path(omnibus.MainSettings), 0o640))
	s.On(reconfigure, func(c machinetest.Call) int {
		s.inForce = s.Get(omnibus.MainSettings)
		if omnibus.Includes(s.inForce) {
			s.inForce += s.Get(omnibus.Settings)
		}
		if strings.Contains(s.inForce, s.failWith) {
			// files/gitlab-cookbooks/package/libraries/handlers/gitlab.rb of omnibus-gitlab 13.10.2
			c.Complain("There was an error running gitlab-ctl reconfigure:\n\nUnable to determine node name\n\n")
			c.Print("Chef Client failed. 0 resources updated in 02 seconds\n")
			return 1
		}
		return 0
	})
	s.OnPage("http://localhost/users/sign_in", func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(s.inForce, s.deafWith) {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		address := strings.TrimPrefix(r.Host, "https://")
		assert.Contains(t, s.inForce, "external_url 'https://"+address+"'")
	})
	s.Configure = Configure{GitLab: omnibus.GitLab{Machine: s.Machine}, Address: "https://gitlab.example.com", Confirm: func(question string) error {
		s.asked = append(s.asked, question)
		return s.refuse
	}}
	return s
}

func (s *server) apply(t *testing.T) (state string, err error) {
	synctest.Test(t, func(t *testing.T) { state, err = s.Apply(t.Context()) })
	return state, err
}

func (s *server) isNew(t *testing.T) {
	t.Helper()
	assert.Equal(t, migrated+"\n"+include, s.Get(omnibus.MainSettings))
	assert.Equal(t, omnibus.SettingsText(s.Address), s.Get(omnibus.Settings))
	assert.Equal(t, s.Get(omnibus.MainSettings)+s.Get(omnibus.Settings), s.inForce)
	s.isClean(t)
}

func (s *server) isOld(t *testing.T) {
	t.Helper()
	assert.Equal(t, migrated, s.Get(omnibus.MainSettings))
	assert.False(t, s.Exists(omnibus.Settings))
	assert.Equal(t, migrated, s.inForce)
	s.isClean(t)
}

func (s *server) isClean(t *testing.T) {
	t.Helper()
	names, err := s.List("/var/lib/gitlab-codedeploy")
	require.NoError(t, err)
	assert.Empty(t, names)
}

// A migrated gitlab.rb is kept and gets one line, which was shown before.
func TestS8_AMigratedGitLabRbIsKeptAndGetsOneLine(t *testing.T) {
	s := newServer(t)
	state, err := s.Check()
	require.NoError(t, err)
	assert.Equal(t, Differs, state)
	assert.Contains(t, s.Talk.String(), "/etc/gitlab/gitlab.rb does not include it. One line would be added at its end, and the rest is kept:\n+"+include)
	assert.Contains(t, s.Talk.String(), "\n+external_url 'https://gitlab.example.com'\n")
	assert.NotContains(t, s.Talk.String(), "hunter2")
	s.isOld(t)

	state, err = s.apply(t)
	require.NoError(t, err)
	assert.Equal(t, Applied, state)
	s.isNew(t)
	for file, mode := range map[string]os.FileMode{omnibus.MainSettings: 0o640, omnibus.Settings: 0o600} {
		info, err := os.Stat(s.Path(file))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode(), file)
	}

	state, err = s.apply(t)
	require.NoError(t, err)
	assert.Equal(t, Unchanged, state)
	state, err = s.Check()
	require.NoError(t, err)
	assert.Equal(t, Unchanged, state)
	assert.Len(t, s.RanLike(reconfigure), 1)
	assert.Len(t, s.asked, 1)
}

func TestS8_AGitLabRbWithAnOpenEndIsKeptAndOneThatIncludesOursToo(t *testing.T) {
	s := newServer(t)
	s.Put(omnibus.MainSettings, strings.TrimSuffix(migrated, "\n"))
	_, err := s.apply(t)
	require.NoError(t, err)
	s.isNew(t)
	s.Address = "https://moved.example.com"
	_, err = s.apply(t)
	require.NoError(t, err)
	s.isNew(t)
	assert.Contains(t, s.Talk.String(), "\n-external_url 'https://gitlab.example.com'\n+external_url 'https://moved.example.com'\n")
}

func TestS8_SettingsThatFollowAreNamedAndSecretsAreNotShown(t *testing.T) {
	s := newServer(t)
	s.Put(omnibus.MainSettings, migrated+include+"nginx['listen_port'] = 80\n")
	s.Put(omnibus.Settings, "gitlab_rails['smtp_password'] = 'hunter3'\n# a note\nGITLAB_TOKEN ||= 'hunter4'\n")
	_, err := s.Check()
	require.NoError(t, err)
	said := s.Talk.String()
	assert.Contains(t, said, "settings follow after the line that includes ours")
	assert.Contains(t, said, "-gitlab_rails['smtp_password'] = ********\n")
	assert.Contains(t, said, "\n-# a note\n")
	assert.NotContains(t, said, "hunter")
}

func TestS8_WhatFailsIsTakenBack(t *testing.T) {
	t.Run("S8 configure | reconfigure fails with the new settings | the old ones are back and reconfigured", func(t *testing.T) {
		s := newServer(t)
		s.failWith = "gitlab.example.com"
		_, err := s.apply(t)
		require.EqualError(t, err, "gitlab-ctl reconfigure failed: Unable to determine node name; the old settings are back, and GitLab answers with them")
		s.isOld(t)
	})
	t.Run("S8 configure | the sign-in page does not come up with the new settings | the old ones are back and answer", func(t *testing.T) {
		s := newServer(t)
		s.deafWith = "gitlab.example.com"
		_, err := s.apply(t)
		require.EqualError(t, err, "after the change /users/sign_in does not answer with 200; the last answer was HTTP 502; the old settings are back, and GitLab answers with them")
		s.isOld(t)
	})
	t.Run("S8 configure | neither the new nor the old settings work | it says so, keeps the old ones, and the next run goes on", func(t *testing.T) {
		s := newServer(t)
		s.failWith = "example.com"
		_, err := s.apply(t)
		require.EqualError(t, err, "the old settings are back, but gitlab-ctl reconfigure fails with them, too: Unable to determine node name")
		assert.Equal(t, migrated, s.Get(omnibus.MainSettings))
		s.failWith, s.deafWith = "nothing", "example.com"
		_, err = s.apply(t)
		require.EqualError(t, err, "the old settings are back and reconfigured, but /users/sign_in does not answer with 200; the last answer was HTTP 502")
		s.deafWith = "nothing"
		_, err = s.Check()
		require.NoError(t, err)
		assert.Contains(t, s.Talk.String(), "an earlier run did not finish: the next one, without --check, begins with undoing it")
		_, err = s.apply(t)
		require.NoError(t, err)
		s.isNew(t)
	})
	t.Run("the operator does not want it", func(t *testing.T) {
		s := newServer(t)
		s.refuse = errors.New("not confirmed: nothing was changed")
		_, err := s.apply(t)
		require.ErrorIs(t, err, s.refuse)
		s.isOld(t)
	})
	t.Run("S8 configure | it is interrupted while GitLab reconfigures | it says that the next run undoes it", func(t *testing.T) {
		s := newServer(t)
		ctx, interrupt := context.WithCancel(t.Context())
		s.On(reconfigure, func(machinetest.Call) int { interrupt(); return 1 })
		_, err := s.Apply(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "the change is not finished: run this again, which undoes it first")
		assert.True(t, s.Exists(journal+"/gitlab.rb"))
	})
}

// "S8 configure | killed at any step | the next run ends with the new settings in force, or the old ones come back"
func TestS8_KilledAtAnyStep(t *testing.T) {
	const _ = "S8 configure | killed at any step | the next run ends with the new settings in force, or the old ones come back"
	var s *server
	machinetest.AtEveryStep(t, func(t *testing.T) (*machinetest.Host, func() error) {
		s = newServer(t)
		return s.Host, func() error {
			_, err := s.Apply(context.Background())
			return err
		}
	}, func(t *testing.T, _ *machinetest.Host, again func() error) {
		_, err := s.Check()
		require.NoError(t, err)
		require.NoError(t, again())
		s.isNew(t)
	})
}

// The way back is killed at each of its steps as well.
func TestS8_KilledAtAnyStepOfTheWayBack(t *testing.T) {
	const _ = "S8 configure | killed at any step while the old settings come back | the next run ends with the new settings in force"
	var s *server
	machinetest.AtEveryStep(t, func(t *testing.T) (*machinetest.Host, func() error) {
		s = newServer(t)
		s.failWith = "gitlab.example.com"
		return s.Host, func() error {
			_, err := s.Apply(context.Background())
			return err
		}
	}, func(t *testing.T, _ *machinetest.Host, again func() error) {
		s.failWith = "nothing"
		require.NoError(t, again())
		s.isNew(t)
	})
}

func TestS8_WhatGitLabRunsWithIsUnknownAfterAKill(t *testing.T) {
	t.Run("S8 configure | killed during the reconfigure, and nothing differs any more | it is reconfigured all the same", func(t *testing.T) {
		s := newServer(t)
		_, err := s.apply(t)
		require.NoError(t, err)
		s.Address = "https://moved.example.com"
		play := false
		s.On(reconfigure, func(machinetest.Call) int {
			s.inForce = s.Get(omnibus.MainSettings) + s.Get(omnibus.Settings) // and then it is killed
			if !play {
				panic("killed")
			}
			return 0
		})
		func() {
			defer func() { _ = recover() }()
			_, _ = s.Apply(t.Context())
		}()
		assert.Contains(t, s.inForce, "moved.example.com")
		s.Address, play = "https://gitlab.example.com", true
		state, err := s.apply(t)
		require.NoError(t, err)
		assert.Equal(t, Applied, state)
		assert.Contains(t, s.Talk.String(), "an earlier run did not finish: its old settings come back first")
		s.isNew(t)
	})
}

func TestS8_WithoutGitLabNothingIsDone(t *testing.T) {
	s := newServer(t)
	require.NoError(t, os.RemoveAll(s.Path("/opt/gitlab")))
	_, err := s.apply(t)
	require.EqualError(t, err, "there is no GitLab on this host: the installation writes its settings itself")
	s.Put("/opt/gitlab/bin/gitlab-ctl", "")
	require.NoError(t, os.Remove(s.Path(omnibus.MainSettings)))
	_, err = s.Check()
	require.EqualError(t, err, "/etc/gitlab/gitlab.rb is missing: GitLab has no settings at all")
}
