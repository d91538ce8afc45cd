// Package jobroletest plays what jobrole needs of a host: its systemd, and the service
// that this starts.
package jobroletest

import (
	"fmt"
	"net/http"
	"regexp"

	"gitlab-codedeploy/internal/jobrole"
	"gitlab-codedeploy/internal/machine/machinetest"
)

// Names of the units and their user.
const (
	Socket  = "gitlab-job-credentials.socket"
	Service = "gitlab-job-credentials.service"
	user    = "gitlab-job-credentials"
	units   = "/etc/systemd/system/"
)

// Systemd is that of a host. What it prints is systemd 219's (src/core/socket.c and
// systemctl.c).
type Systemd struct {
	// Running are the units that run, with what was loaded of them when they were started.
	Running map[string]string
	// Enabled are those that run after a boot.
	Enabled map[string]bool
	// Refusals is how often STS refuses the role before it gives it.
	Refusals int
	// User says that the service's user is there.
	User bool

	h      *machinetest.Host
	loaded map[string]string
}

// Role is one that tests serve.
var Role = jobrole.Role{ARN: "arn:aws:iam::111111111111:role/GitLab-staging-RunnerJobRole-1", Region: "ap-northeast-1", Program: "/opt/gitlab-codedeploy/0/host"}

// Play plays it.
func Play(h *machinetest.Host) *Systemd {
	s := &Systemd{Running: map[string]string{}, Enabled: map[string]bool{}, h: h, loaded: map[string]string{}}
	h.On("id --user "+user, func(c machinetest.Call) int {
		if !s.User {
			c.Complain("id: %s: no such user\n", user)
			return 1
		}
		c.Print("991\n")
		return 0
	})
	h.On("useradd --system", func(c machinetest.Call) int {
		if s.User {
			c.Complain("useradd: user '%s' already exists\n", user)
			return 9
		}
		s.User = c.Args[len(c.Args)-1] == user
		return 0
	})
	h.On("systemctl daemon-reload", func(machinetest.Call) int {
		for _, unit := range []string{Socket, Service} {
			s.loaded[unit] = h.Get(units + unit)
		}
		return 0
	})
	for _, unit := range []string{Socket, Service} {
		h.On("systemctl enable "+unit, s.known(unit, func(machinetest.Call) int { s.Enabled[unit] = true; return 0 }))
		h.On("systemctl stop "+unit, s.known(unit, func(machinetest.Call) int { s.stop(unit); return 0 }))
		h.On("systemctl start "+unit, s.known(unit, func(c machinetest.Call) int { return s.start(c, unit) }))
		// Whether a restart of the socket stops the service in time is systemd's affair: here
		// it does not.
		h.On("systemctl restart "+unit, s.known(unit, func(c machinetest.Call) int { delete(s.Running, unit); return s.start(c, unit) }))
	}
	h.OnPage(jobrole.URL, s.answer)
	return s
}

func (s *Systemd) known(unit string, do func(machinetest.Call) int) func(machinetest.Call) int {
	return func(c machinetest.Call) int {
		if s.loaded[unit] == "" {
			c.Complain("Failed to %s %s: Unit %[2]s not loaded.\n", c.Args[1], unit)
			return 5
		}
		return do(c)
	}
}

// stop stops what needs the unit, too.
func (s *Systemd) stop(unit string) {
	delete(s.Running, unit)
	if unit == Socket {
		delete(s.Running, Service)
	}
}

func (s *Systemd) start(c machinetest.Call, unit string) int {
	switch {
	case unit == Socket && s.Running[Service] != "":
		c.Complain("Job for %s failed: Socket service %s already active, refusing.\n", unit, Service)
		return 1
	case unit == Service && !s.User:
		c.Complain("Job for %s failed: Failed at step USER\n", unit)
		return 1
	case unit == Service && s.Running[Socket] == "":
		s.Running[Socket] = s.loaded[Socket] // its unit requires it
	}
	s.Running[unit] = s.loaded[unit]
	return 0
}

var started = regexp.MustCompile(`(?m)^ExecStart=(\S+) job-credentials --role-arn (\S+) --region \S+$`)

// answer is the service as its unit starts it.
func (s *Systemd) answer(w http.ResponseWriter, _ *http.Request) {
	found := started.FindStringSubmatch(s.Running[Service])
	switch {
	case found == nil:
		w.WriteHeader(http.StatusBadGateway) // in truth nobody listens
	case s.Refusals > 0:
		s.Refusals--
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"code":"NoCredentials","message":"the host cannot take the role of its jobs: AccessDenied: User is not authorized to perform: sts:AssumeRole"}`)
	default:
		fmt.Fprintf(w, `{"RoleArn":%q,"AccessKeyId":"ASIA1","SecretAccessKey":"SECRET","Token":"TOKEN","Expiration":"2026-11-28T12:00:00Z"}`, found[2])
	}
}
