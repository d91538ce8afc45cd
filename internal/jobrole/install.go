package jobrole

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine"
)

// ARN is the form of a role's.
const ARN = `arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+`

// Role is what the jobs of a host hold.
type Role struct {
	ARN string
	// Region is the host's: its STS is asked, and jobs are told of it, since they cannot
	// ask the instance.
	Region string
	// Program is the hosts' program, by its whole path.
	Program string
}

// CredentialsVariables is what all variables begin with that say where credentials of a
// container are.
const CredentialsVariables = "AWS_CONTAINER_CREDENTIALS_"

// RegionVariable is the one that the AWS CLI and all SDKs but some take. AWS_REGION would
// go before what a project says with this one.
const RegionVariable = "AWS_DEFAULT_REGION"

// Variables are what a job's SDK needs to find the role, as NAME=VALUE.
func (r Role) Variables() []string {
	return []string{CredentialsVariables + "RELATIVE_URI=" + path, RegionVariable + "=" + r.Region}
}

const (
	name    = "gitlab-job-credentials"
	folder  = "/etc/systemd/system/"
	socket  = name + ".socket"
	service = name + ".service"
	// served is what runs since the host booted: the text of both units.
	served = "/run/" + name
)

// URL is what the variables stand for.
const URL = "http://" + Address + path

// socketUnit makes the address, and listens at it: so the service needs no right but to
// answer. It comes after the network, which may set up the loopback device anew.
const socketUnit = `# Written by gitlab-codedeploy.
[Unit]
Description=Address of the credentials of CI jobs
DefaultDependencies=no
Requires=sysinit.target
After=sysinit.target network.target
Before=gitlab-runner.service shutdown.target
Conflicts=shutdown.target

[Socket]
# Link-local, and on no device that leads out of the host: containers come by their bridge.
ExecStartPre=/sbin/ip address replace ` + Address + `/32 dev lo
ListenStream=` + Address + `:80
FreeBind=yes

[Install]
WantedBy=multi-user.target
`

// serviceUnit runs the service with nothing but the network. Later systemds than Amazon
// Linux 2's know more; 219 passes over what it does not.
const serviceUnit = `# Written by gitlab-codedeploy.
[Unit]
Description=Credentials of CI jobs
Requires=` + socket + `
After=` + socket + `

[Service]
ExecStart=%s job-credentials --role-arn %s --region %s
User=` + name + `
Restart=always
RestartSec=5
LimitNOFILE=4096
CapabilityBoundingSet=
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=full
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
# From here on, not systemd 219's.
ProtectSystem=strict
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
MemoryMax=256M
TasksMax=64
`

const (
	// A new role is known to STS some seconds after it was made.
	answerTimeout = 3 * time.Minute
	answerPause   = 5 * time.Second
	question      = time.Minute
)

// Serve lets this host give its containers the role's credentials, now and after each boot.
// It ends when they are there. What serves them already is left as it is.
func (r Role) Serve(ctx context.Context, m *machine.Machine) error {
	units := map[string]string{socket: socketUnit, service: fmt.Sprintf(serviceUnit, r.Program, r.ARN, r.Region)}
	stamp := units[socket] + units[service]
	if now, err := m.ReadFile(served); err != nil {
		return err
	} else if now == stamp && r.answers(ctx, m) == nil {
		return nil
	}
	m.Say("containers get the credentials of %s at %s", r.ARN, URL)
	if err := r.user(ctx, m); err != nil {
		return err
	}
	for _, unit := range []string{socket, service} {
		if err := m.WriteFile(folder+unit, units[unit], 0o644); err != nil {
			return err
		}
	}
	// systemd starts no socket whose service runs.
	for _, args := range [][]string{{"daemon-reload"}, {"enable", socket}, {"stop", service}, {"restart", socket}, {"start", service}} {
		if err := m.Do(ctx, machine.Cmd(append([]string{"systemctl"}, args...)...)); err != nil {
			return fmt.Errorf("cannot %s: see journalctl --unit %s --unit %s: %w", strings.Join(args, " "), socket, service, err)
		}
	}
	var refused error
	err := machine.Wait(ctx, answerTimeout, answerPause, "no credentials", func(ctx context.Context) (bool, error) {
		err := r.answers(ctx, m)
		if ctx.Err() == nil { // else it was cut off, and says nothing
			refused = err
		}
		return err == nil, nil
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		if refused == nil {
			refused = err
		}
		return fmt.Errorf("jobs would get no credentials: %w", refused)
	}
	return m.WriteFile(served, stamp, 0o600)
}

// user makes the service's own user. Systemd 219 cannot make one for the time being.
func (r Role) user(ctx context.Context, m *machine.Machine) error {
	if _, err := m.Ask(ctx, machine.Command{Args: []string{"id", "--user", name}, Timeout: question}); err == nil {
		return nil
	}
	err := m.Do(ctx, machine.Cmd("useradd", "--system", "--no-create-home", "--home-dir", "/", "--shell", "/sbin/nologin", name))
	if err != nil {
		return fmt.Errorf("cannot make the user %s: %w", name, err)
	}
	return nil
}

// answers asks as a job does. What it gets is shown nowhere.
func (r Role) answers(ctx context.Context, m *machine.Machine) error {
	status, body, err := m.Get(ctx, URL, nil)
	if err != nil {
		return err
	}
	var said struct {
		document
		refusal
	}
	if err := json.Unmarshal([]byte(body), &said); err != nil {
		return fmt.Errorf("%s answers %d, and no JSON", URL, status)
	}
	switch {
	case status != http.StatusOK:
		return fmt.Errorf("%s answers %d: %s", URL, status, said.Message)
	case said.RoleArn != r.ARN:
		return fmt.Errorf("%s has credentials of %q, want %s", URL, said.RoleArn, r.ARN)
	}
	return nil
}
