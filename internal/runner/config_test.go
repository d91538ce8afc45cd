package runner

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/jobrole/jobroletest"
	"gitlab-codedeploy/internal/machine/machinetest"
)

// written is a configuration as gitlab-runner 13.10 writes it (commands/register.go).
const written = `concurrent = 2
check_interval = 0

[session_server]
  session_timeout = 1800

[[runners]]
  name = "one"
  token = "0123"
  executor = "docker"
  [runners.custom_build_dir]
  [runners.cache]
    [runners.cache.s3]
  [runners.docker]
    tls_verify = false
    image = "alpine:3.20"
    volumes = ["/cache"]
    shm_size = 0
`

// settled is what becomes of a configuration on a host of 8 GiB.
func settled(t *testing.T, text string) (after string, err error) {
	t.Helper()
	h := machinetest.New(t)
	h.Put("/proc/meminfo", "MemTotal:        8388608 kB\n")
	h.Put(Config, text)
	err = settle(h.Machine, jobroletest.Role)
	return h.Get(Config), err
}

// listOf are the texts of a list of each Docker runner.
func listOf(t *testing.T, text, key string) (found []string) {
	t.Helper()
	h := machinetest.New(t)
	h.Put(Config, text)
	config, err := read(h.Machine)
	require.NoError(t, err)
	for _, r := range config.runners() {
		table := r.docker
		if key == "environment" {
			table = r.head
		}
		if table == nil {
			found = append(found, "nothing")
			continue
		}
		texts, err := textsOf(table, key)
		require.NoError(t, err)
		found = append(found, strings.Join(texts, " "))
	}
	return found
}

func TestS13_RunnersThatWereRegisteredBeforeGetWhatTheyLack(t *testing.T) {
	text := written + `
[[runners]]
  name = "two"
  executor = "docker"
  environment = ["A=1", "FF_NETWORK_PER_BUILD=false", "AWS_DEFAULT_REGION=us-east-1"] # mine
  [runners.docker]
    image = "alpine:3.20"
    volumes = []
    memory = "9g"
    cap_drop = ["ALL"]
  [runners.machine]
    IdleCount = 0
[[runners]]
  name = "three"
  executor = "docker"
  [runners.docker]
    image = "alpine:3.20"
[[runners]]
  name = "four"
  executor = "shell"
[[runners]]
  name = "five"
  executor = "docker"
  [runners.docker]
    volumes = ["` + jobProgramsVolume + `", "/cache"]
[[runners]]
  name = "six"
  executor = "docker"
  environment = ["AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1/"]
  [runners.docker]
    volumes = [
      "/cache", # of all jobs
      '/srv/tools:/tools',
    ]
`
	after, err := settled(t, text)
	require.NoError(t, err)
	again, err := settled(t, after)
	require.NoError(t, err)
	assert.Equal(t, after, again)
	assert.Equal(t, []string{
		"/cache " + jobProgramsVolume, jobProgramsVolume, jobProgramsVolume, "nothing", jobProgramsVolume + " /cache", "/cache /srv/tools:/tools " + jobProgramsVolume,
	}, listOf(t, after, "volumes"))
	assert.Equal(t, []string{"NET_RAW", "ALL NET_RAW", "NET_RAW", "nothing", "NET_RAW", "NET_RAW"}, listOf(t, after, "cap_drop"))
	const credentials = " AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/job-role"
	const all = "FF_NETWORK_PER_BUILD=1" + credentials + " AWS_DEFAULT_REGION=ap-northeast-1"
	assert.Equal(t, []string{all, "A=1 FF_NETWORK_PER_BUILD=false AWS_DEFAULT_REGION=us-east-1" + credentials, all, "", all, "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1/ FF_NETWORK_PER_BUILD=1 AWS_DEFAULT_REGION=ap-northeast-1"},
		listOf(t, after, "environment"), "what somebody has decided stays")
	assert.Equal(t, 4, strings.Count(after, `memory = "3584m"`), "(8 GiB - 1 GiB) / 2")
	assert.Contains(t, after, `memory = "9g"`)
	for _, kept := range []string{"# mine", "# of all jobs", "session_timeout = 1800", `image = "alpine:3.20"`, "IdleCount = 0", "[runners.cache.s3]", "shm_size = 0", `token = "0123"`} {
		assert.Equal(t, strings.Count(text, kept), strings.Count(after, kept), kept)
	}
}

func TestS13_AConfigurationThatIsNotUnderstoodStaysAsItIs(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"something else at that place": {`["/cache"]`, `["/srv/tools:/opt/gitlab-codedeploy/bin"]`, `the runner "one" mounts something else at /opt/gitlab-codedeploy/bin: write "` + jobProgramsVolume + `" into its volumes by hand`},
		"the same place, writable":     {`["/cache"]`, `["/opt/gitlab-codedeploy/bin:/opt/gitlab-codedeploy/bin"]`, "mounts something else"},
		"a volume without a host's":    {`["/cache"]`, `["/opt/gitlab-codedeploy/bin"]`, "mounts something else"},
		"volumes that are no list":     {`["/cache"]`, `"/cache"`, "volumes is not a list"},
		"volumes that are no texts":    {`["/cache"]`, `[1]`, "got 1, want a text"},
		"no TOML":                      {`["/cache"]`, `["/cache"`, Config + " is not TOML"},
		"an inline table":              {"  [runners.docker]\n", "\n", "has no table [runners.docker]"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(written, c.from, c.to, 1)
			require.NotEqual(t, written, text)
			after, err := settled(t, text)
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, text, after)
		})
	}
	h := machinetest.New(t)
	h.Put(Config, written)
	require.ErrorContains(t, settle(h.Machine, jobroletest.Role), "/proc/meminfo says nothing of MemTotal")
}

func TestS13_AJobHasItsPartOfTheMemory(t *testing.T) {
	h := machinetest.New(t)
	for jobs, want := range map[int]string{1: "7168m", 2: "3584m", 999: "512m"} {
		h.Put("/proc/meminfo", "MemFree: 1 kB\nMemTotal:        8388608 kB\n")
		got, err := memoryOfJob(h.Machine, jobs)
		require.NoError(t, err)
		assert.Equal(t, want, got, jobs)
	}
}
