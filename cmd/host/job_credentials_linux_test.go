package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/jobrole"
	"gitlab-codedeploy/internal/jobrole/jobroletest"
	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/remote/remotetest"
)

// TestS13_S9_AContainerOnABridgeUploadsWithTheRoleAndAStrangerDoesNot is the whole way, with
// the real program on a socket that systemd's own tool hands over, as a user without rights,
// and the real AWS CLI in a "container": a network namespace on a bridge, as Docker makes
// one for each job. A stranger is on the host's other side. STS and S3 are played. All of it
// is in namespaces of its own.
func TestS13_S9_AContainerOnABridgeUploadsWithTheRoleAndAStrangerDoesNot(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	cli := filepath.Join(root, ".venv", "bin", "aws")
	for _, tool := range []string{"unshare", "nsenter", "setpriv", "ip", "curl", "systemd-socket-activate", cli} {
		if _, err := exec.LookPath(tool); err != nil {
			lacksTool(t, tool)
		}
	}
	namespaces := []string{"unshare", "--net", "--mount", "--propagation", "private"}
	if os.Geteuid() != 0 || exec.Command(namespaces[0], append(namespaces[1:], "ip", "link", "add", "probe", "type", "veth")...).Run() != nil {
		lacksTool(t, "root, with the right to make namespaces and networks in them")
	}
	const inside = "GITLAB_CODEDEPLOY_PROGRAM"
	if os.Getenv(inside) == "" {
		command := exec.Command(namespaces[0], append(namespaces[1:], os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")...)
		command.Env = append(os.Environ(), inside+"="+remotetest.HostProgram(t))
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), "--- PASS: "+t.Name())
		return
	}

	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
		return string(out)
	}
	words := func(text string) []string { return strings.Fields(text) }
	// What /sys shows of networks is what its mount's namespace has.
	run(words("mount -t sysfs sysfs /sys")...)
	run(words("ip link set lo up")...)
	// The address, as the unit makes it, and once more: a restart of the socket does so.
	unit := socketOf(t)
	for range 2 {
		run(words(settingOf(t, unit, "ExecStartPre"))...)
	}
	// A job's bridge and container.
	run(words("ip link add br-0123456789ab type bridge")...)
	run(words("ip address add 172.18.0.1/24 dev br-0123456789ab")...)
	run(words("ip link set br-0123456789ab up")...)
	job := namespace(t)
	run(words("ip link add veth0 type veth peer name eth0 netns " + job)...)
	run(words("ip link set veth0 master br-0123456789ab up")...)
	// A stranger, who may send the host what is for that address.
	stranger := namespace(t)
	run(words("ip link add ens5 type veth peer name eth0 netns " + stranger)...)
	run(words("ip address add 10.0.0.1/24 dev ens5")...)
	run(words("ip link set ens5 up")...)
	in := func(pid string, args ...string) []string { return append(words("nsenter --net -t "+pid), args...) }
	for pid, network := range map[string]string{job: "172.18.0", stranger: "10.0.0"} {
		run(in(pid, words("ip address add "+network+".2/24 dev eth0")...)...)
		run(in(pid, words("ip link set eth0 up")...)...)
		run(in(pid, words("ip route add default via "+network+".1")...)...)
	}

	cloud := newPlayedAWS(t)
	command := exec.Command("systemd-socket-activate", "--listen", settingOf(t, unit, "ListenStream"),
		"--setenv", "AWS_ENDPOINT_URL="+cloud.local, "--setenv", "AWS_ACCESS_KEY_ID=HOST", "--setenv", "AWS_SECRET_ACCESS_KEY=HOST",
		"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs", "--bounding-set", "-all",
		os.Getenv(inside), "job-credentials", "--role-arn", jobroletest.Role.ARN, "--region", jobroletest.Role.Region)
	command.Stderr = os.Stderr
	require.NoError(t, command.Start())
	ended := false
	defer func() {
		if !ended {
			_ = command.Process.Kill()
			_ = command.Wait()
		}
	}()
	require.Eventually(t, func() bool { return exec.Command("curl", "--silent", "--fail", jobrole.URL).Run() == nil },
		20*time.Second, 50*time.Millisecond, "the host itself gets no answer")

	artifact := filepath.Join(t.TempDir(), "artifact.gz")
	require.NoError(t, os.WriteFile(artifact, []byte("content"), 0o644))
	upload := exec.Command("nsenter", in(job, append(append([]string{"env", "-i", "PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}, jobroletest.Role.Variables()...),
		// The source's own form.
		cli, "s3api", "put-object", "--endpoint-url", cloud.from("172.18.0.1"), "--bucket", "artifacts", "--key", "artifacts/artifact.gz", "--body", artifact,
		"--metadata", "application-name=sample-web,deploymentgroup-name=blue-green")...)[1:]...)
	out, err := upload.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), `"ETag"`)
	cloud.Lock()
	assert.Equal(t, []string{"PUT /artifacts/artifacts/artifact.gz ASIAJOB ap-northeast-1 sample-web"}, cloud.puts)
	cloud.Unlock()

	// The stranger does reach it, and is refused.
	asked := run(in(stranger, words("curl --silent --max-time 10 --write-out %{http_code} "+jobrole.URL)...)...)
	assert.Equal(t, "{\"code\":\"Forbidden\",\"message\":\"this answers the containers of its host only\"}\n403", asked)
	// So is a job by another address of the host.
	failed := exec.Command("nsenter", in(job, words("curl --silent --max-time 10 http://172.18.0.1"+strings.TrimPrefix(jobrole.URL, "http://"+jobrole.Address))...)[1:]...).Run()
	assert.Error(t, failed, "it listens at its own address only")

	// A stop is no failure.
	ended = true
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, command.Wait())
}

// lacksTool says what a whole test needs. In CI all of it has to be there.
func lacksTool(t *testing.T, tool string) {
	t.Helper()
	require.NotEqual(t, "true", os.Getenv("CI"), "there is no %s", tool)
	t.Skipf("there is no %s", tool)
}

// socketOf is the unit that a host gets.
func socketOf(t *testing.T) string {
	h := machinetest.New(t)
	jobroletest.Play(h)
	require.NoError(t, jobroletest.Role.Serve(t.Context(), h.Machine))
	return h.Get("/etc/systemd/system/" + jobroletest.Socket)
}

func settingOf(t *testing.T, unit, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(unit)
	require.NotNil(t, found, name)
	return found[1]
}

// namespace is a network of its own: the process in it.
func namespace(t *testing.T) (pid string) {
	command := exec.Command("sleep", "600")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return fmt.Sprint(command.Process.Pid)
}

// playedAWS is STS and S3 of the host's network.
type playedAWS struct {
	sync.Mutex
	local string
	port  string
	puts  []string
}

var credential = regexp.MustCompile(`Credential=([^/]+)/[0-9]+/([^/]+)/`)

func newPlayedAWS(t *testing.T) *playedAWS {
	p := &playedAWS{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		signed := credential.FindStringSubmatch(r.Header.Get("Authorization"))
		switch {
		case signed == nil:
			http.Error(w, "not signed", http.StatusForbidden)
		case r.Method == http.MethodPost && strings.Contains(string(body), "Action=AssumeRole&"):
			// Of https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
			fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAJOB</AccessKeyId><SecretAccessKey>SECRET</SecretAccessKey><SessionToken>TOKEN</SessionToken><Expiration>%s</Expiration>
</Credentials><AssumedRoleUser><Arn>arn:aws:sts::111111111111:assumed-role/x/y</Arn><AssumedRoleId>A:y</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>`,
				time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		case r.Method == http.MethodPut && r.Header.Get("X-Amz-Security-Token") == "TOKEN":
			p.Lock()
			p.puts = append(p.puts, strings.Join([]string{r.Method, r.URL.Path, signed[1], signed[2], r.Header.Get("X-Amz-Meta-Application-Name")}, " "))
			p.Unlock()
			w.Header().Set("ETag", `"9a0364b9e99bb480dd25e1f0284c8555"`)
		default:
			http.Error(w, "not played", http.StatusNotImplemented)
		}
	}))
	require.NoError(t, server.Listener.Close())
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	require.NoError(t, err)
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	_, p.port, err = net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	p.local = p.from("127.0.0.1")
	return p
}

func (p *playedAWS) from(host string) string { return "http://" + host + ":" + p.port }
