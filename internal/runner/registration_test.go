package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/creachadair/tomledit"
	"github.com/creachadair/tomledit/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/jobrole/jobroletest"
	"gitlab-codedeploy/internal/machine/machinetest"
)

const (
	name           = "gitlab-codedeploy-staging"
	parameter      = "/gitlab-codedeploy/staging/runner-token"
	registration   = "GR1348941abcDEF_123-xyz"
	authentication = "glrt-abcDEF_123-xyz456"
)

// host is a runner's host with a played gitlab-runner, and the GitLab that it talks to.
//
// What it prints is that of GitLab Runner 13.10 to 16.11: network/gitlab.go for each
// answer, commands/register.go, verify.go and unregister.go for the last line, and
// log/runner_formatter.go for the colours, which it writes without a terminal.
type host struct {
	*machinetest.Host
	cloud   *awstest.Cloud
	systemd *jobroletest.Systemd
	r       Registration

	valid   []string          // tokens that GitLab takes
	known   map[string]string // registered runners: their names by their tokens
	down    bool              // GitLab does not answer
	dies    string            // where the program is killed: "registered", "saved" or "unregistered"
	stopped bool              // the service does not run
	token   *string           // the parameter
	refuse  error             // of DeleteParameter
	crashes bool              // gitlab-runner prints its token and ends
	flags   []string          // of the last registration
	left    []string          // what the environment of it held
}

func newHost(t *testing.T) *host {
	h := &host{
		Host: machinetest.New(t), cloud: awstest.New(t), valid: []string{registration}, known: map[string]string{}, token: aws.String(registration),
		r: Registration{Name: name, URL: "https://gitlab.example.com", Image: "alpine:3.20", Concurrency: 3, Parameter: parameter, Role: jobroletest.Role},
	}
	h.systemd = jobroletest.Play(h.Host)
	h.Put("/proc/meminfo", "MemTotal:        7994368 kB\nMemFree:          100000 kB\n")
	h.On("gitlab-runner register", h.register)
	h.On("gitlab-runner verify", h.verify)
	h.On("gitlab-runner unregister", h.unregister)
	h.On("systemctl is-active", func(machinetest.Call) int {
		if h.stopped {
			return 3
		}
		return 0
	})
	h.On("systemctl start gitlab-runner", func(machinetest.Call) int { h.stopped = false; return 0 })
	awstest.On(h.cloud, func(_ context.Context, in *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) {
		assert.True(t, aws.ToBool(in.WithDecryption))
		if h.token == nil {
			return nil, &types.ParameterNotFound{}
		}
		return &ssm.GetParameterOutput{Parameter: &types.Parameter{Value: h.token}}, nil
	})
	awstest.On(h.cloud, func(_ context.Context, in *ssm.DeleteParameterInput) (*ssm.DeleteParameterOutput, error) {
		assert.Equal(t, parameter, aws.ToString(in.Name))
		switch {
		case h.refuse != nil:
			return nil, h.refuse
		case h.token == nil:
			return nil, &types.ParameterNotFound{}
		}
		h.token = nil
		return &ssm.DeleteParameterOutput{}, nil
	})
	return h
}

// short is a token in messages: helpers/shorten_token.go, of 16.x for those of 16.x.
func short(token string) string {
	if secret, is := strings.CutPrefix(token, "glrt-"); is {
		return secret[:9]
	}
	return token[:min(8, len(token))]
}

// coloured is a line as log/runner_formatter.go writes it.
func coloured(level, text, token string) string {
	return fmt.Sprintf("\x1b[31;1m%s: %s\x1b[0;m  \x1b[31;1mrunner\x1b[0;m=%s\n", level, text, short(token))
}

func flag(c machinetest.Call, name string) string {
	for i, arg := range c.Args {
		if value, is := strings.CutPrefix(arg, name+"="); is {
			return value
		}
		if arg == name {
			return c.Args[i+1]
		}
	}
	return ""
}

// flags are the values of one that is there several times.
func flags(c machinetest.Call, name string) (values []string) {
	for i, arg := range c.Args {
		if arg == name {
			values = append(values, strconv.Quote(c.Args[i+1]))
		}
	}
	return values
}

func (h *host) register(c machinetest.Call) int {
	h.left = c.Env
	_, token, _ := strings.Cut(c.Env[0], "=")
	c.Complain("Runtime platform                                    \x1b[0;march\x1b[0;m=amd64 \x1b[0;mos\x1b[0;m=linux\n")
	if h.crashes {
		c.Complain("PANIC: Failed to register the runner with %s. You may be having network problems.\n", token)
		return 2
	}
	if !slices.Contains(h.valid, token) {
		c.Complain("%s", coloured("ERROR", "Registering runner... forbidden (check registration token)", token))
		c.Complain("\x1b[31;1mPANIC: Failed to register the runner. You may be having network problems.\x1b[0;m \n")
		return 2
	}
	own := fmt.Sprintf("0123456789abcdef%04d", len(h.known))
	if strings.HasPrefix(token, "glrt-") {
		for _, reserved := range []string{"--locked", "--tag-list", "--run-untagged"} {
			if flag(c, reserved) != "" {
				c.Complain("FATAL: Runner configuration other than name and executor configuration is reserved\n")
				return 1
			}
		}
		own = token
	}
	h.known[own] = flag(c, "--name")
	h.flags = c.Args
	c.Complain("Registering runner... succeeded                     \x1b[0;mrunner\x1b[0;m=%s\n", short(token))
	if h.dies == "registered" {
		h.Die(h.dies)
	}
	text := h.Get(Config) + fmt.Sprintf(`
[[runners]]
  name = %q
  url = %q
  token = %q
  executor = "docker"
  environment = [%s]
  [runners.docker]
    image = %q
    privileged = false
    cap_drop = [%q]
    memory = %q
    volumes = [%q, "/cache"]
`, flag(c, "--name"), flag(c, "--url"), own, strings.Join(flags(c, "--env"), ", "), flag(c, "--docker-image"), flag(c, "--docker-cap-drop"), flag(c, "--docker-memory"), flag(c, "--docker-volumes"))
	h.Put(Config, text)
	if h.dies == "saved" {
		h.Die(h.dies)
	}
	return 0
}

func (h *host) verify(c machinetest.Call) int {
	for token, of := range h.tokens() {
		alive, removed := "is alive", "is removed"
		if strings.HasPrefix(token, "glrt-") {
			alive, removed = "is valid", "is not valid"
		}
		switch {
		case of != flag(c, "--name"):
		case h.down:
			c.Complain("%s", coloured("WARNING", "Verifying runner... failed", token)+"")
			c.Complain("ERROR: Verifying runner... failed  \x1b[31;1mrunner\x1b[0;m=%s \x1b[31;1mstatus\x1b[0;m=502 Bad Gateway\n", short(token))
		case h.known[token] == of:
			c.Complain("Verifying runner... %s                        \x1b[0;mrunner\x1b[0;m=%s\n", alive, short(token))
		default:
			c.Complain("%s", coloured("ERROR", "Verifying runner... "+removed, token))
			if !slices.Contains(c.Args, "--delete") {
				c.Complain("FATAL: Failed to verify runners\n")
				return 1
			}
			h.drop(of)
		}
	}
	return 0
}

func (h *host) unregister(c machinetest.Call) int {
	for token, of := range h.tokens() {
		if of != flag(c, "--name") {
			continue
		}
		if h.down || h.known[token] == "" {
			c.Complain("FATAL: Failed to unregister runner %s\n", of)
			return 1
		}
		delete(h.known, token)
		if h.dies == "unregistered" {
			h.Die(h.dies)
		}
		h.drop(of)
	}
	return 0
}

// tokens are those in the configuration, with their runners' names.
func (h *host) tokens() map[string]string {
	found := map[string]string{}
	config, err := read(h.Machine)
	if err != nil {
		panic(err)
	}
	for _, r := range config.runners() {
		found[textOf(r.head, "token")] = textOf(r.head, "name")
	}
	return found
}

// drop takes a runner out of the configuration.
func (h *host) drop(name string) {
	config, _ := read(h.Machine)
	var kept []*tomledit.Section
	dropping := false
	for _, section := range config.file.Sections {
		if section.TableName().Equals(parser.Key{"runners"}) {
			dropping = textOf(section, "name") == name
		}
		if !dropping {
			kept = append(kept, section)
		}
	}
	config.file.Sections = kept
	_ = config.save()
}

// do registers as the command does.
func (h *host) do(t *testing.T) (done string, err error) {
	synctest.Test(t, func(t *testing.T) { done, err = h.run(t.Context()) })
	return done, err
}

func (h *host) run(ctx context.Context) (string, error) {
	client := ssm.NewFromConfig(h.cloud.Config("ap-northeast-1"))
	defer RemoveParameter(ctx, h.Machine, client, parameter)
	return Register(ctx, h.Machine, client, h.r)
}

// nowhere fails when a token was shown, or is left but in the runner's configuration.
func (h *host) nowhere(t *testing.T, err error, tokens ...string) {
	t.Helper()
	shown := fmt.Sprint(h.Talk, err, h.Ran(), h.Get("/var/log/gitlab-codedeploy-install.log"))
	for _, token := range tokens {
		assert.NotContains(t, shown, token)
	}
}

func (h *host) config(t *testing.T) string {
	t.Helper()
	return h.Get(Config)
}

func TestS13_TheRunnerIsRegistered(t *testing.T) {
	t.Run("until 15.11 with the registration token and its flags, and it is alive", func(t *testing.T) {
		h := newHost(t)
		h.r.Tags = []string{"deploy", "linux"}
		done, err := h.do(t)
		require.NoError(t, err, h.Talk)
		assert.Equal(t, Registered, done)
		assert.Nil(t, h.token)
		assert.Equal(t, []string{"REGISTRATION_TOKEN=" + registration}, h.left)
		flags := strings.Join(h.flags, " ")
		assert.Contains(t, flags, "--locked=false --run-untagged=false --tag-list deploy,linux")
		assert.Contains(t, h.config(t), "concurrent = 3\n")
		assert.Contains(t, h.config(t), `image = "alpine:3.20"`)
		assert.Contains(t, h.config(t), `volumes = ["/opt/gitlab-codedeploy/bin:/opt/gitlab-codedeploy/bin:ro", "/cache"]`)
		h.nowhere(t, err, registration, registration[:8])
	})
	t.Run("without tags it takes untagged jobs", func(t *testing.T) {
		h := newHost(t)
		_, err := h.do(t)
		require.NoError(t, err)
		assert.Contains(t, h.flags, "--run-untagged=true")
		assert.NotContains(t, h.flags, "--tag-list")
	})
	t.Run("from 16.0 on neither tags nor lock are sent with the token of a runner that was made for it", func(t *testing.T) {
		h := newHost(t)
		h.r.Tags, h.valid, h.token = []string{"deploy"}, []string{authentication}, aws.String(authentication)
		done, err := h.do(t)
		require.NoError(t, err, h.Talk)
		assert.Equal(t, Registered, done)
		assert.Equal(t, []string{"CI_SERVER_TOKEN=" + authentication}, h.left)
		h.nowhere(t, err, authentication, "glrt-abc", "abcDEF_12")
		state, err := State(t.Context(), h.Machine, name)
		require.NoError(t, err)
		assert.Equal(t, Alive, state)
	})
	t.Run("its jobs are kept apart from the first one on: networks of their own, no raw sockets, a part of the memory", func(t *testing.T) {
		h := newHost(t)
		_, err := h.do(t)
		require.NoError(t, err)
		flags := strings.Join(h.flags, " ")
		// (7994368 kB - 1 GiB) / 3
		assert.Contains(t, flags, "--docker-cap-drop NET_RAW --docker-memory 2261m --env FF_NETWORK_PER_BUILD=1")
	})
	t.Run("its jobs hold their role from the first one on", func(t *testing.T) {
		h := newHost(t)
		h.On("gitlab-runner register", func(c machinetest.Call) int {
			assert.Contains(t, h.systemd.Running[jobroletest.Service], jobroletest.Role.ARN, "its first job may come a moment later")
			return h.register(c)
		})
		_, err := h.do(t)
		require.NoError(t, err)
		assert.Contains(t, strings.Join(h.flags, " "), "--env AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/job-role --env AWS_DEFAULT_REGION=ap-northeast-1")
		assert.NotContains(t, fmt.Sprint(h.Talk, h.Get("/var/log/gitlab-codedeploy-install.log")), "SECRET")
	})
	t.Run("a runner that is registered and alive stays as it is, and the parameter goes", func(t *testing.T) {
		h := newHost(t)
		_, err := h.do(t)
		require.NoError(t, err)
		before := h.config(t)
		h.token = aws.String(registration)
		h.Forget()
		done, err := h.do(t)
		require.NoError(t, err)
		assert.Equal(t, Kept, done)
		assert.Equal(t, before, h.config(t))
		assert.Len(t, h.known, 1)
		assert.Nil(t, h.token)
		assert.Empty(t, h.RanLike("gitlab-runner register"))
		state, err := State(t.Context(), h.Machine, name)
		require.NoError(t, err)
		assert.Equal(t, Alive, state)
	})
	t.Run("a runner that GitLab does not know any more is registered anew, and others on the host are kept", func(t *testing.T) {
		h := newHost(t)
		_, err := h.do(t)
		require.NoError(t, err)
		h.Put(Config, h.config(t)+"[[runners]]\n  name = \"by hand\" # mine\n  url = \"https://gitlab.example.com\"\n  token = \"01230123\"\n  executor = \"shell\"\n")
		clear(h.known)
		state, err := State(t.Context(), h.Machine, name)
		require.NoError(t, err)
		assert.Equal(t, Removed, state)
		h.token = aws.String(registration)
		done, err := h.do(t)
		require.NoError(t, err, h.Talk)
		assert.Equal(t, Registered, done)
		assert.Equal(t, 1, strings.Count(h.config(t), `name = "`+name+`"`))
		assert.Contains(t, h.config(t), `name = "by hand"  # mine`)
	})
	t.Run("a settings file of an earlier runner keeps all but the number of jobs", func(t *testing.T) {
		h := newHost(t)
		h.Put(Config, "# ours\nconcurrent = 1\ncheck_interval = 5\nlog_level = \"warning\"\n\n")
		_, err := h.do(t)
		require.NoError(t, err)
		assert.Contains(t, h.config(t), "concurrent = 3\n")
		assert.Equal(t, 1, strings.Count(h.config(t), "concurrent"))
		for _, line := range []string{"# ours\n", "check_interval = 5\n", "log_level = \"warning\"\n"} {
			assert.Contains(t, h.config(t), line)
		}
	})
	t.Run("the configuration is readable by root only", func(t *testing.T) {
		h := newHost(t)
		h.dies = "registered"
		_, was := h.RunKilledAt(0, func() error { _, err := h.run(t.Context()); return err })
		require.True(t, was)
		info, err := os.Stat(h.Path(Config))
		require.NoError(t, err)
		assert.Equal(t, "-rw-------", info.Mode().String(), "as it was before gitlab-runner has written it")
	})
	t.Run("a token that GitLab's processes do not know yet is tried again", func(t *testing.T) {
		h := newHost(t)
		h.valid = nil
		synctest.Test(t, func(t *testing.T) {
			time.AfterFunc(time.Minute, func() { h.valid = []string{registration} })
			start := time.Now()
			_, err := h.run(t.Context())
			require.NoError(t, err)
			assert.Equal(t, time.Minute, time.Since(start).Truncate(10*time.Second))
		})
		assert.Contains(t, h.Get("/var/log/gitlab-codedeploy-install.log"), "forbidden")
	})
}

func TestS13_RegisterRunnerFails(t *testing.T) {
	cases := []struct {
		name    string
		prepare func(*testing.T, *host)
		want    []string
	}{
		{
			name:    "S13 register-runner | GitLab refuses the token | it fails with what GitLab answered, the parameter is gone, the token is not shown",
			prepare: func(_ *testing.T, h *host) { h.valid = nil },
			want:    []string{"gitlab-runner register failed: ERROR: Registering runner... forbidden (check registration token) runner=********", "PANIC: Failed to register the runner."},
		},
		{
			name:    "S13 register-runner | gitlab-runner crashes and prints the token | the token is not shown, and the parameter is gone",
			prepare: func(_ *testing.T, h *host) { h.crashes = true },
			want:    []string{"Failed to register the runner with ********. You may be having network problems."},
		},
		{
			name: "S13 register-runner | GitLab does not answer about a registered runner | it fails and registers nothing",
			prepare: func(t *testing.T, h *host) {
				_, err := h.do(t)
				require.NoError(t, err)
				h.down, h.token = true, aws.String(registration)
			},
			want: []string{"GitLab cannot be asked about the runner: ", "502 Bad Gateway"},
		},
		{
			name:    "S13 register-runner | there is no token to take | it fails and says so",
			prepare: func(_ *testing.T, h *host) { h.token = nil },
			want:    []string{"cannot read the token in " + parameter, "ParameterNotFound"},
		},
		{
			name:    "S13 register-runner | the parameter holds something else | it fails, and does not show it",
			prepare: func(_ *testing.T, h *host) { h.token = aws.String("GR1348941abcDEF_123-xyz\n$(id)") },
			want:    []string{parameter + " holds no token"},
		},
		{
			name:    "S13 register-runner | STS refuses the role of its jobs | it fails before the token is used",
			prepare: func(_ *testing.T, h *host) { h.systemd.Refusals = 1000 },
			want:    []string{"jobs would get no credentials: ", "not authorized to perform: sts:AssumeRole"},
		},
		{
			name:    "S13 register-runner | the configuration is no TOML | it fails before the token is used",
			prepare: func(_ *testing.T, h *host) { h.Put(Config, "concurrent = \n[[") },
			want:    []string{Config + " is not TOML: "},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			c.prepare(t, h)
			before := h.config(t)
			_, err := h.do(t)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			assert.Nil(t, h.token)
			h.nowhere(t, err, registration, registration[:8], "0123456789abcdef", "01234567")
			assert.Equal(t, strings.Count(before, name), strings.Count(h.config(t), name))
		})
	}
	t.Run("S13 register-runner | the parameter cannot be removed | the runner is registered, with a warning", func(t *testing.T) {
		h := newHost(t)
		h.refuse = awstest.Refusal("AccessDeniedException", "no")
		done, err := h.do(t)
		require.NoError(t, err)
		assert.Equal(t, Registered, done)
		assert.Contains(t, h.Talk.String(), "warning: "+parameter+" could not be removed and still holds a token: ")
	})
	t.Run("S13 register-runner | the service is not running | it is started", func(t *testing.T) {
		h := newHost(t)
		h.stopped = true
		_, err := h.do(t)
		require.NoError(t, err)
		assert.False(t, h.stopped)
		assert.Len(t, h.RanLike("systemctl start gitlab-runner"), 1)
	})
	t.Run("S13 register-runner | the program is told to end while it tries | it ends, and the parameter is gone", func(t *testing.T) {
		h := newHost(t)
		h.valid = nil
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			stopped := errors.New("stopped by a signal")
			time.AfterFunc(20*time.Second, func() { cancel(stopped) })
			_, err := h.run(ctx)
			require.ErrorIs(t, err, stopped)
		})
		assert.Nil(t, h.token)
	})
}

func TestS13_RegisterRunnerIsKilled(t *testing.T) {
	t.Run("S13 register-runner | killed at any step | the next run ends with one living runner and no parameter", func(t *testing.T) {
		again := func(t *testing.T, h *host) {
			h.dies, h.token = "", aws.String(registration)
			_, err := h.do(t)
			require.NoError(t, err, h.Talk)
			assert.Nil(t, h.token)
			assert.Equal(t, 1, strings.Count(h.config(t), `name = "`+name+`"`))
			alive := 0
			for token := range h.tokens() {
				if h.known[token] == name {
					alive++
				}
			}
			assert.Equal(t, 1, alive)
			h.nowhere(t, err, registration)
		}
		hosts := map[*machinetest.Host]*host{}
		machinetest.AtEveryStep(t, func(t *testing.T) (*machinetest.Host, func() error) {
			h := newHost(t)
			h.stopped = true
			hosts[h.Host] = h
			return h.Host, func() error { _, err := h.run(context.Background()); return err }
		}, func(t *testing.T, m *machinetest.Host, _ func() error) {
			h := hosts[m]
			h.stopped = true
			again(t, h)
			assert.False(t, h.stopped)
		})
		for _, where := range []string{"registered", "saved"} {
			t.Run("in gitlab-runner, once it has "+where, func(t *testing.T) {
				h := newHost(t)
				h.dies = where
				_, was := h.RunKilledAt(0, func() error { _, err := h.run(t.Context()); return err })
				require.True(t, was)
				again(t, h)
			})
		}
	})
}

func TestS13_TheRunnerIsUnregistered(t *testing.T) {
	registered := func(t *testing.T) *host {
		h := newHost(t)
		_, err := h.do(t)
		require.NoError(t, err)
		return h
	}
	t.Run("once; a dead one leaves the configuration", func(t *testing.T) {
		h := registered(t)
		done, err := Unregister(t.Context(), h.Machine, name)
		require.NoError(t, err)
		assert.Equal(t, Unregistered, done)
		assert.Empty(t, h.known)
		assert.NotContains(t, h.config(t), name)
		done, err = Unregister(t.Context(), h.Machine, name)
		require.NoError(t, err)
		assert.Equal(t, None, done)

		h = registered(t)
		clear(h.known)
		done, err = Unregister(t.Context(), h.Machine, name)
		require.NoError(t, err)
		assert.Equal(t, Unregistered, done)
		assert.NotContains(t, h.config(t), name)
	})
	t.Run("S13 unregister-runner | GitLab does not answer | it fails, and the runner stays in the configuration", func(t *testing.T) {
		h := registered(t)
		h.down = true
		_, err := Unregister(t.Context(), h.Machine, name)
		require.ErrorContains(t, err, "GitLab cannot be asked about the runner: ")
		assert.Contains(t, h.config(t), name)
		h.nowhere(t, err, "01234567")
	})
	t.Run("S13 unregister-runner | killed after GitLab forgot the runner | the next run clears the configuration", func(t *testing.T) {
		h := registered(t)
		h.dies = "unregistered"
		_, was := h.RunKilledAt(0, func() error { _, err := Unregister(t.Context(), h.Machine, name); return err })
		require.True(t, was)
		assert.Contains(t, h.config(t), name)
		_, err := Unregister(t.Context(), h.Machine, name)
		require.NoError(t, err)
		assert.NotContains(t, h.config(t), name)
	})
	t.Run("S13 unregister-runner | gitlab-runner reports success, and the runner is still there | it fails and says so", func(t *testing.T) {
		h := registered(t)
		h.Answers("gitlab-runner unregister", "")
		_, err := Unregister(t.Context(), h.Machine, name)
		require.ErrorContains(t, err, "gitlab-runner unregister reports success, and "+Config+" still has the runner")
	})
}
