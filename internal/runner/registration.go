package runner

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"gitlab-codedeploy/internal/jobrole"
	"gitlab-codedeploy/internal/machine"
)

// States of a runner.
const (
	None    = "none"    // the configuration has no runner of that name
	Alive   = "alive"   // GitLab knows its token
	Removed = "removed" // GitLab does not
)

// What [Register] and [Unregister] have done.
const (
	Registered   = "registered"
	Kept         = "kept"
	Unregistered = "unregistered"
)

// Registration is what a runner is registered with.
type Registration struct {
	Name  string
	URL   string   // GitLab's address
	Image string   // of jobs that name none
	Tags  []string // with none it takes jobs that have none
	// Concurrency is how many jobs run at a time.
	Concurrency int
	// Parameter is the SSM parameter with the token.
	Parameter string
	// Role is that of the jobs.
	Role jobrole.Role
	// Timeout is for all tries: after a reset GitLab's processes take the old token for
	// another minute. 0 is the default.
	Timeout time.Duration
}

const (
	registerTimeout = 150 * time.Second
	registerPause   = 5 * time.Second
	oneTry          = 2 * time.Minute
	question        = time.Minute
)

// State asks GitLab about a runner of this host.
func State(ctx context.Context, m *machine.Machine, name string) (string, error) {
	config, err := read(m)
	if err != nil {
		return "", err
	}
	if !config.has(name) {
		return None, nil
	}
	hide(m, config.secrets()...)
	var said bytes.Buffer
	// Its status tells nothing: verify takes a GitLab that cannot be reached for a runner
	// that lives. "is alive" and "is removed" are those of registered runners, "is valid"
	// and "is not valid" those of runners that were made in GitLab.
	_, err = m.Ask(ctx, machine.Command{Args: []string{"gitlab-runner", "verify", "--name", name}, Stderr: &said, Timeout: question})
	text := m.Redacted(said.String())
	switch {
	case strings.Contains(text, "is removed") || strings.Contains(text, "is not valid"):
		return Removed, nil
	case strings.Contains(text, "is alive") || strings.Contains(text, "is valid"):
		return Alive, nil
	}
	why := reason(text)
	if why == "" && err != nil {
		why = err.Error()
	}
	return "", fmt.Errorf("GitLab cannot be asked about the runner: %s", cmp.Or(why, "gitlab-runner said nothing"))
}

// Register registers the runner, or leaves it as it is if GitLab knows it.
func Register(ctx context.Context, m *machine.Machine, client *ssm.Client, r Registration) (done string, err error) {
	state, err := State(ctx, m, r.Name)
	if err != nil {
		return "", err
	}
	if err := r.Role.Serve(ctx, m); err != nil {
		return "", err
	}
	switch state {
	case Alive:
		m.Say("the runner '%s' is registered and alive: it stays as it is", r.Name)
		if err := settle(m, r.Role); err != nil {
			return "", err
		}
		return Kept, verify(ctx, m, r.Name)
	case Removed:
		if err := forget(ctx, m, r.Name); err != nil {
			return "", err
		}
	}
	token, err := take(ctx, client, r.Parameter)
	if err != nil {
		return "", err
	}
	config, err := read(m)
	if err != nil {
		return "", err
	}
	if config.setConcurrent(r.Concurrency) {
		if err := config.save(); err != nil {
			return "", err
		}
	}
	if err := register(ctx, m, r, token); err != nil {
		return "", err
	}
	if err := settle(m, r.Role); err != nil {
		return "", err
	}
	return Registered, verify(ctx, m, r.Name)
}

// register tries until GitLab takes the token.
func register(ctx context.Context, m *machine.Machine, r Registration, token string) error {
	memory, err := memoryOfJob(m, r.Concurrency)
	if err != nil {
		return err
	}
	// All of it at once, for its first job may come a moment later.
	command := machine.Command{Timeout: oneTry, Args: []string{
		"gitlab-runner", "register", "--non-interactive", "--url", r.URL, "--name", r.Name, "--executor", "docker",
		"--docker-image", r.Image, "--docker-volumes", jobProgramsVolume, "--docker-cap-drop", noRawSockets,
		"--docker-memory", memory,
	}}
	for _, variable := range environment(r.Role) {
		command.Args = append(command.Args, "--env", variable)
	}
	if strings.HasPrefix(token, "glrt-") {
		// It belongs to a runner whose tags and lock were set when it was made, and the
		// flags for them are refused with it.
		// https://docs.gitlab.com/ci/runners/new_creation_workflow/
		command.Env = []string{"CI_SERVER_TOKEN=" + token}
	} else {
		command.Env = []string{"REGISTRATION_TOKEN=" + token}
		command.Args = append(command.Args, "--locked=false", "--run-untagged="+strconv.FormatBool(len(r.Tags) == 0))
		if len(r.Tags) > 0 {
			command.Args = append(command.Args, "--tag-list", strings.Join(r.Tags, ","))
		}
	}
	hide(m, token)
	m.Say("registering '%s' at %s", r.Name, r.URL)
	var refused error
	err = machine.Wait(ctx, cmp.Or(r.Timeout, registerTimeout), registerPause, "no success", func(ctx context.Context) (bool, error) {
		err := m.Logged(ctx, command)
		if ctx.Err() == nil { // else it was cut off, and says nothing
			refused = err
		}
		return err == nil, nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("gitlab-runner register failed: %s", why(cmp.Or(refused, err)))
	}
	config, err := read(m)
	if err != nil {
		return err
	}
	if !config.has(r.Name) {
		return fmt.Errorf("gitlab-runner register reports success, and %s has no runner '%s'", Config, r.Name)
	}
	return nil
}

// Unregister takes a runner out of GitLab and out of the configuration. Jobs under way
// are not waited for.
func Unregister(ctx context.Context, m *machine.Machine, name string) (done string, err error) {
	state, err := State(ctx, m, name)
	switch {
	case err != nil:
		return "", err
	case state == None:
		m.Say("there is no runner '%s' on this host: nothing to do", name)
		return None, nil
	case state == Removed:
		err = forget(ctx, m, name)
	default:
		m.Say("unregistering '%s'", name)
		if err = m.Logged(ctx, machine.Command{Args: []string{"gitlab-runner", "unregister", "--name", name}, Timeout: question}); err != nil {
			return "", fmt.Errorf("gitlab-runner unregister failed: %s", why(err))
		}
		err = gone(m, name, "gitlab-runner unregister reports success, and ")
	}
	if err != nil {
		return "", err
	}
	m.Say("the runner '%s' is unregistered", name)
	return Unregistered, nil
}

// forget takes a runner out of the configuration that GitLab does not know: unregister
// would fail for it, and keep it.
func forget(ctx context.Context, m *machine.Machine, name string) error {
	m.Say("GitLab does not know the runner '%s' of this host: it is taken out of %s", name, Config)
	err := m.Logged(ctx, machine.Command{Args: []string{"gitlab-runner", "verify", "--delete", "--name", name}, Timeout: question})
	if left := gone(m, name, ""); left != nil {
		return errors.Join(left, err)
	}
	return nil
}

func gone(m *machine.Machine, name, before string) error {
	config, err := read(m)
	if err == nil && config.has(name) {
		err = fmt.Errorf("%s%s still has the runner '%s'", before, Config, name)
	}
	return err
}

// verify makes sure that GitLab knows the runner and that it asks for jobs. The service
// reads a changed configuration by itself.
func verify(ctx context.Context, m *machine.Machine, name string) error {
	state, err := State(ctx, m, name)
	if err != nil {
		return err
	}
	if state != Alive {
		return fmt.Errorf("the runner '%s' is registered, but not alive: it is %s", name, state)
	}
	if _, err := m.Ask(ctx, machine.Cmd("systemctl", "is-active", "--quiet", service)); err != nil {
		m.Say("starting the service %s", service)
		if err := m.Do(ctx, machine.Cmd("systemctl", "start", service)); err != nil {
			return fmt.Errorf("cannot start %s: see journalctl --unit %s: %w", service, service, err)
		}
	}
	m.Say("the runner '%s' is alive", name)
	return nil
}

const service = "gitlab-runner"

// settle gives the jobs of runners that were registered before what they lack.
func settle(m *machine.Machine, role jobrole.Role) error {
	config, err := read(m)
	if err != nil {
		return err
	}
	changed, err := config.settle(role)
	if err != nil || !changed {
		return err
	}
	if err := config.save(); err != nil {
		return err
	}
	m.Say("jobs have %s and a role of their own, and are kept apart, from now on", JobPrograms)
	return nil
}

var tokenForm = regexp.MustCompile(`^[A-Za-z0-9._=-]{8,255}$`)

func take(ctx context.Context, client *ssm.Client, parameter string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, question)
	defer cancel()
	out, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: &parameter, WithDecryption: aws.Bool(true)})
	if err != nil {
		return "", fmt.Errorf("cannot read the token in %s: %w", parameter, err)
	}
	token := aws.ToString(out.Parameter.Value)
	if !tokenForm.MatchString(token) {
		return "", fmt.Errorf("%s holds no token", parameter)
	}
	return token, nil
}

// RemoveParameter removes the parameter of a token, which must not outlive a
// registration, however that ends: also when the program is told to end.
func RemoveParameter(ctx context.Context, m *machine.Machine, client *ssm.Client, parameter string) {
	m.Changing("remove the parameter " + parameter)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), question)
	defer cancel()
	_, err := client.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &parameter})
	if err != nil && !errors.As(err, new(*types.ParameterNotFound)) {
		m.Say("warning: %s could not be removed and still holds a token: %v", parameter, err)
	}
}

// hide keeps tokens out of what is shown, and their beginnings, by which gitlab-runner
// names a runner: up to 15.x eight characters, later nine, of what follows "glrt-".
func hide(m *machine.Machine, tokens ...string) {
	for _, token := range tokens {
		secret, _ := strings.CutPrefix(token, "glrt-")
		_, typed, is := strings.Cut(secret, "_") // "t1_" says what kind of runner it is for
		if !is || len(typed) < 8 {
			typed = secret
		}
		for _, form := range []string{token, secret, typed} {
			for _, length := range []int{len(form), 9, 8} {
				if len(form) >= 8 {
					m.Secrets = append(m.Secrets, form[:min(length, len(form))])
				}
			}
		}
	}
	// What is within another one comes after it.
	slices.SortFunc(m.Secrets, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	m.Secrets = slices.Compact(m.Secrets)
}

// why is the reason of a command that failed.
func why(err error) string {
	var exit *machine.ExitError
	if errors.As(err, &exit) {
		return cmp.Or(reason(exit.Tail), fmt.Sprintf("it ended with %d and said nothing", exit.Status))
	}
	return err.Error()
}

var complaint = regexp.MustCompile(`^(ERROR|WARNING|FATAL|PANIC): `)

// reason is the end of what gitlab-runner says: the line above the last one has what
// GitLab answered, and the last one is the same for all failures.
func reason(text string) string {
	var all, complaints []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			all = append(all, line)
			if complaint.MatchString(line) {
				complaints = append(complaints, line)
			}
		}
	}
	if len(complaints) == 0 {
		complaints = all[max(0, len(all)-1):]
	}
	return strings.Join(complaints[max(0, len(complaints)-2):], " | ")
}
