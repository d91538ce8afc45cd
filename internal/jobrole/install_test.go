package jobrole_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/jobrole"
	"gitlab-codedeploy/internal/jobrole/jobroletest"
	"gitlab-codedeploy/internal/machine/machinetest"
)

// serve serves a role in a bubble of time.
func serve(t *testing.T, h *machinetest.Host, r jobrole.Role) (err error) {
	synctest.Test(t, func(t *testing.T) { err = r.Serve(t.Context(), h.Machine) })
	return err
}

// serves says that the host gives out the role's credentials, now and after a boot.
func serves(t *testing.T, s *jobroletest.Systemd, r jobrole.Role) {
	t.Helper()
	assert.Contains(t, s.Running[jobroletest.Service], "ExecStart="+r.Program+" job-credentials --role-arn "+r.ARN+" --region "+r.Region+"\n")
	assert.Contains(t, s.Running[jobroletest.Socket], "ListenStream=169.254.170.2:80\n")
	assert.True(t, s.Enabled[jobroletest.Socket])
}

func TestS13_AHostGivesItsContainersTheRole(t *testing.T) {
	t.Run("now and after a boot, as a user of its own without rights", func(t *testing.T) {
		h := machinetest.New(t)
		s := jobroletest.Play(h)
		require.NoError(t, serve(t, h, jobroletest.Role))
		serves(t, s, jobroletest.Role)
		unit := h.Get("/etc/systemd/system/" + jobroletest.Service)
		for _, line := range []string{"User=gitlab-job-credentials", "CapabilityBoundingSet=", "NoNewPrivileges=yes", "ProtectSystem=strict", "Restart=always"} {
			assert.Contains(t, strings.Split(unit, "\n"), line)
		}
		assert.Less(t, strings.Index(unit, "ProtectSystem=full"), strings.Index(unit, "ProtectSystem=strict"), "219 does not know strict, and keeps what it knew before")
		assert.NotContains(t, h.Talk.String(), "SECRET")
		assert.NotContains(t, h.Talk.String(), "TOKEN")
	})
	t.Run("what serves it already is left as it is", func(t *testing.T) {
		h := machinetest.New(t)
		jobroletest.Play(h)
		require.NoError(t, serve(t, h, jobroletest.Role))
		h.Step = func(what string) { t.Errorf("it changes something: %s", what) }
		require.NoError(t, serve(t, h, jobroletest.Role))
	})
	t.Run("another role, or another build of the program, takes its place", func(t *testing.T) {
		h := machinetest.New(t)
		s := jobroletest.Play(h)
		require.NoError(t, serve(t, h, jobroletest.Role))
		next := jobroletest.Role
		for _, change := range []func(*jobrole.Role){
			func(r *jobrole.Role) { r.ARN += "2" },
			func(r *jobrole.Role) { r.Program = "/opt/gitlab-codedeploy/1/host" },
		} {
			change(&next)
			require.NoError(t, serve(t, h, next))
			serves(t, s, next)
		}
	})
	t.Run("a new role is waited for until STS knows it", func(t *testing.T) {
		h := machinetest.New(t)
		s := jobroletest.Play(h)
		s.Refusals = 10
		require.NoError(t, serve(t, h, jobroletest.Role))
		serves(t, s, jobroletest.Role)
	})
}

func TestS13_AHostCannotServeTheRole(t *testing.T) {
	t.Run("S13 job-credentials | STS refuses the host the role | it fails with STS's words, and runners are not sent there", func(t *testing.T) {
		h := machinetest.New(t)
		jobroletest.Play(h).Refusals = 1000
		err := serve(t, h, jobroletest.Role)
		require.ErrorContains(t, err, "jobs would get no credentials: http://169.254.170.2/job-role answers 503: ")
		require.ErrorContains(t, err, "not authorized to perform: sts:AssumeRole")
	})
	t.Run("S13 job-credentials | the service died, or its address is gone | the next run brings both back", func(t *testing.T) {
		for _, unit := range []string{jobroletest.Service, jobroletest.Socket} {
			h := machinetest.New(t)
			s := jobroletest.Play(h)
			require.NoError(t, serve(t, h, jobroletest.Role))
			delete(s.Running, jobroletest.Service)
			delete(s.Running, unit)
			require.NoError(t, serve(t, h, jobroletest.Role))
			serves(t, s, jobroletest.Role)
		}
	})
	t.Run("S13 job-credentials | something else answers at the address | it fails and names it", func(t *testing.T) {
		for answer, want := range map[string]string{
			`{"RoleArn":"arn:aws:iam::111111111111:role/task","AccessKeyId":"ASIA"}`: `has credentials of "arn:aws:iam::111111111111:role/task", want ` + jobroletest.Role.ARN,
			`<html>`: "answers 200, and no JSON",
		} {
			h := machinetest.New(t)
			jobroletest.Play(h)
			h.OnPage(jobrole.URL, page(answer))
			require.ErrorContains(t, serve(t, h, jobroletest.Role), want)
		}
	})
	t.Run("S13 job-credentials | systemd cannot start it | it fails and says where to look", func(t *testing.T) {
		h := machinetest.New(t)
		jobroletest.Play(h)
		h.On("systemctl restart "+jobroletest.Socket, func(c machinetest.Call) int {
			c.Complain("Job for gitlab-job-credentials.socket failed.\n")
			return 1
		})
		require.ErrorContains(t, serve(t, h, jobroletest.Role), "cannot restart gitlab-job-credentials.socket: see journalctl --unit gitlab-job-credentials.socket")
	})
	t.Run("S13 job-credentials | its making is killed at any step, also over an older one | the next run ends well", func(t *testing.T) {
		old := jobroletest.Role
		old.ARN += "-old"
		for _, before := range []*jobrole.Role{nil, &old} {
			played := map[*machinetest.Host]*jobroletest.Systemd{}
			machinetest.AtEveryStep(t, func(t *testing.T) (*machinetest.Host, func() error) {
				h := machinetest.New(t)
				played[h] = jobroletest.Play(h)
				if before != nil {
					require.NoError(t, serve(t, h, *before))
				}
				return h, func() error { return jobroletest.Role.Serve(context.Background(), h.Machine) }
			}, func(t *testing.T, h *machinetest.Host, _ func() error) {
				require.NoError(t, serve(t, h, jobroletest.Role))
				serves(t, played[h], jobroletest.Role)
			})
		}
	})
}
