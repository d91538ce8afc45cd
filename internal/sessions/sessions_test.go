//go:build unix

package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
)

// TestMain is also the plug-in of these tests: this program under another name.
func TestMain(m *testing.M) {
	if folder := os.Getenv("PLAYED_PLUGIN"); folder != "" {
		os.Exit(play(folder))
	}
	os.Exit(m.Run())
}

// play notes how it was started, and ends with the number in the file "status", or by a signal that is passed on.
func play(folder string) int {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		text, err := os.ReadFile(filepath.Join(folder, "version"))
		if err != nil {
			return 1
		}
		_, _ = os.Stdout.Write(text)
		return 0
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	started, _ := json.Marshal(map[string]any{"args": os.Args[1:], "response": os.Getenv(responseVariable)})
	_ = os.WriteFile(filepath.Join(folder, "new"), started, 0o600)
	_ = os.Rename(filepath.Join(folder, "new"), filepath.Join(folder, "started"))
	if _, err := os.Stat(filepath.Join(folder, "stay")); err == nil {
		<-signals
		return 42
	}
	return 7
}

// newPlugin is a plug-in of a version, and the folder that it writes to.
func newPlugin(t *testing.T, version string) (Program, string) {
	t.Helper()
	folder := t.TempDir()
	t.Setenv("PLAYED_PLUGIN", folder)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "version"), []byte(version), 0o600))
	program, err := os.Executable()
	require.NoError(t, err)
	return Program(program), folder
}

type start struct {
	Args     []string
	Response string
}

func started(t *testing.T, folder string) start {
	t.Helper()
	var s start
	text, err := os.ReadFile(filepath.Join(folder, "started"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &s))
	return s
}

func newCloud(t *testing.T) *awstest.Cloud {
	cloud := awstest.New(t)
	awstest.On(cloud, func(context.Context, *ssm.StartSessionInput) (*ssm.StartSessionOutput, error) {
		return &ssm.StartSessionOutput{SessionId: aws.String("alice-1"), TokenValue: aws.String("the-token"), StreamUrl: aws.String("wss://stream")}, nil
	})
	return cloud
}

var target = &ssm.StartSessionInput{Target: aws.String("i-1")}

const response = `{"SessionId":"alice-1","TokenValue":"the-token","StreamUrl":"wss://stream"}`

func TestS7_TheTokenIsInNoArgumentListWhereThePluginIsNewEnough(t *testing.T) {
	for version, hidden := range map[string]bool{
		"1.2.497.0\n": false, "1.2.463.0": false, "1.1": false, "rubbish": false, "": false, "1.2.497.0.1": false,
		"1.2.497.1\n": true, "1.2.764.0": true, "1.3": true, "2": true,
	} {
		plugin, folder := newPlugin(t, version)
		status, err := Open(t.Context(), ssm.NewFromConfig(newCloud(t).Config("ap-northeast-1")), plugin, "operator", target)
		require.NoError(t, err)
		assert.Equal(t, 7, status)
		got := started(t, folder)
		require.Len(t, got.Args, 6)
		assert.Equal(t, []string{"ap-northeast-1", "StartSession", "operator", `{"Target":"i-1"}`, "https://ssm.ap-northeast-1.amazonaws.com"}, got.Args[1:])
		if hidden {
			assert.Equal(t, responseVariable, got.Args[0], version)
			assert.JSONEq(t, response, got.Response)
		} else {
			assert.JSONEq(t, response, got.Args[0], version)
			assert.Empty(t, got.Response)
		}
	}
}

func TestS7_ThePluginAsksWhereTheSessionWasAskedFor(t *testing.T) {
	for want, change := range map[string]func(*ssm.Options){
		"http://localhost:5000":                    func(o *ssm.Options) { o.BaseEndpoint = aws.String("http://localhost:5000") },
		"https://ssm-fips.us-east-1.amazonaws.com": func(o *ssm.Options) { o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled },
		"https://ssm.us-east-1.api.aws":            func(o *ssm.Options) { o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled },
		"https://ssm.cn-north-1.amazonaws.com.cn":  func(o *ssm.Options) { o.Region = "cn-north-1" },
	} {
		plugin, folder := newPlugin(t, "2")
		_, err := Open(t.Context(), ssm.NewFromConfig(newCloud(t).Config("us-east-1"), change), plugin, "", target)
		require.NoError(t, err)
		assert.Equal(t, want, started(t, folder).Args[5])
	}
}

// A signal that is sent to this program alone reaches the plug-in, and its end is the session's.
func TestS7_SignalsGoToThePlugin(t *testing.T) {
	plugin, folder := newPlugin(t, "2")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "stay"), nil, 0o600))
	ended := make(chan int, 1)
	go func() {
		status, err := Open(context.Background(), ssm.NewFromConfig(newCloud(t).Config("us-east-1")), plugin, "", target)
		assert.NoError(t, err)
		ended <- status
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(folder, "started")); return err == nil }, 20*time.Second, 5*time.Millisecond)
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	// A terminal sends these to both; here the plug-in would die of them.
	for _, typed := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		require.NoError(t, self.Signal(typed))
	}
	require.NoError(t, self.Signal(syscall.SIGTERM))
	select {
	case status := <-ended:
		assert.Equal(t, 42, status)
	case <-time.After(20 * time.Second):
		t.Fatal("the plug-in was not told")
	}
}

func TestS7_ASessionThatNothingCameOfIsEnded(t *testing.T) {
	cloud := newCloud(t)
	awstest.On(cloud, func(context.Context, *ssm.TerminateSessionInput) (*ssm.TerminateSessionOutput, error) {
		return nil, errors.New("no right to end it")
	})
	_, err := Open(t.Context(), ssm.NewFromConfig(cloud.Config("us-east-1")), Program(filepath.Join(t.TempDir(), "gone")), "", target)
	require.ErrorContains(t, err, "gone: no such file")
	require.ErrorContains(t, err, "no right to end it")
	assert.Equal(t, []string{"ssm:StartSession", "ssm:TerminateSession"}, cloud.Names())
}
