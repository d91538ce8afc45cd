package awstest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/httpbody"
)

// Moto starts the emulator's moto_server, and returns what clients of the SDK reach it by,
// over HTTP. It is for what a played answer cannot tell: what a service makes of a call.
// Root is the project's folder as seen from the test's.
func Moto(t testing.TB, root, region string) aws.Config {
	t.Helper()
	server, err := filepath.Abs(filepath.Join(root, ".venv/bin/moto_server"))
	require.NoError(t, err)
	if _, err := os.Stat(server); err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "moto_server is missing: scripts/setup.sh installs it")
		t.Skip("moto_server is missing: scripts/setup.sh installs it")
	}
	command := exec.CommandContext(t.Context(), server, "-H", "127.0.0.1", "-p", "0")
	talk, err := command.StderrPipe()
	require.NoError(t, err)
	command.Stdout = command.Stderr
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Wait() }) // the end of the test's context ends it
	address := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(talk); lines.Scan(); {
			if found := running.FindStringSubmatch(lines.Text()); found != nil {
				address <- found[1]
			}
		}
		close(address)
	}()
	select {
	case url := <-address:
		require.NotEmpty(t, url, "moto_server ended")
		config := aws.Config{Region: region, BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
		httpbody.OnlyRead(&config)
		return config
	case <-time.After(time.Minute):
		require.Fail(t, "moto_server does not start")
		return aws.Config{}
	}
}

var running = regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)
