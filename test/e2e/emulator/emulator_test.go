package emulator

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/test/e2e/childprocess"
)

func TestS15_NothingOfTheUsersAccountsReachesAChild(t *testing.T) {
	for _, name := range []string{
		"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL_SQS", "CDK_DEFAULT_ACCOUNT", "MOTO_ACCOUNT_ID",
		"GIT_DIR", "CI_COMMIT_BRANCH", "ARTIFACT_BUCKET", "DOCKER_HOST",
	} {
		t.Setenv(name, "the user's")
	}
	t.Setenv("NO_PROXY", "proxy.example.com")
	env := childEnvironment("/root-of-module", "AWS_ENDPOINT_URL=http://localhost:1")

	assert.NotContains(t, strings.Join(env, "\n"), "the user's")
	assert.Contains(t, env, "AWS_ENDPOINT_URL=http://localhost:1")
	assert.Contains(t, env, "AWS_EC2_METADATA_DISABLED=true")
	assert.Contains(t, env, "NO_PROXY=proxy.example.com,localhost,127.0.0.1")
	assert.Contains(t, env, "PATH=/root-of-module/node_modules/.bin:/root-of-module/.venv/bin:"+os.Getenv("PATH"))
	assert.Contains(t, env, "HOME="+os.Getenv("HOME"), "Go's caches are there")
}

func TestS15_EmulatorCallsThisMachineOnly(t *testing.T) {
	for _, url := range []string{"https://sqs.ap-northeast-1.amazonaws.com/", "http://192.0.2.1/", "http://localhost.example.com/"} {
		_, err := loopbackClient.Get(url)
		assert.ErrorContains(t, err, "the emulator is on this machine only", url)
	}
}

func TestS15_MissingToolsNameTheCommandThatInstallsThem(t *testing.T) {
	err := CheckTools(t.TempDir())
	assert.ErrorContains(t, err, "node_modules/.bin/cdk")
	assert.ErrorContains(t, err, "run make setup")
}

func TestS15_FailedStepSaysWhatFailedAndShowsItsLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "deploy.log")
	c := childprocess.Command{Args: []string{"/bin/sh", "-c", "echo the stack rolled back; exit 1"}, Log: log}
	var shown bytes.Buffer
	p := &progress{out: &shown, total: 3}
	require.NoError(t, p.run("start", func() error { return nil }))
	err := p.run("deploy both stacks", func() error { return childprocess.Run(t.Context(), c) })
	Explain(&shown, err)

	assert.Regexp(t, `^\[1/3\] start … 0\.\d s\n\[2/3\] deploy both stacks … failed after \d+\.\d s\n`, shown.String())
	assert.Contains(t, shown.String(), "error: deploy both stacks: sh failed: exit status 1\n")
	assert.Contains(t, shown.String(), "the end of "+log+":\n  the stack rolled back\n")
}

func TestS15_MotoThatDiesWhileStartingIsReportedWithItsLog(t *testing.T) {
	root := t.TempDir()
	python := filepath.Join(root, ".venv", "bin", "python3")
	require.NoError(t, os.MkdirAll(filepath.Dir(python), 0o755))
	require.NoError(t, os.WriteFile(python, []byte("#!/bin/sh\necho No module named moto; exit 1\n"), 0o755))
	log := filepath.Join(t.TempDir(), "logs", "moto.log")
	_, _, err := startMoto(t.Context(), root, log, 0, false)
	require.ErrorContains(t, err, "ended while starting")
	var shown bytes.Buffer
	Explain(&shown, err)
	assert.Contains(t, shown.String(), "No module named moto")
}

func TestS15_QueueURLsStayOnThisMachine(t *testing.T) {
	e := &Emulator{Endpoint: "http://localhost:5000", Config: config.Config{Region: "ap-northeast-1"}}
	s := &Stack{Name: "Deploy-local", Outputs: map[string]string{
		"QueueUrl": "https://sqs.ap-northeast-1.amazonaws.com/222222222222/artifacts", "ArtifactBucketName": "example-deploy-local",
	}}
	assert.Equal(t, map[string]map[string]string{"Deploy-local": {
		"QueueUrl": "http://localhost:5000/222222222222/artifacts", "ArtifactBucketName": "example-deploy-local",
	}}, e.outputs(s))
}

func TestS15_ExportLineSurvivesAnyFolderName(t *testing.T) {
	e := &Emulator{Work: "/home/o'neil/my repo/.emulator"}
	assert.Equal(t, `export AWS_CONFIG_FILE='/home/o'\''neil/my repo/.emulator/aws/config' `+
		`AWS_SHARED_CREDENTIALS_FILE='/home/o'\''neil/my repo/.emulator/aws/credentials'`, e.export())
}

func TestS15_DownCleansUpAfterACrashAndSparesStrangers(t *testing.T) {
	dir := t.TempDir()
	stranger, err := childprocess.Start(childprocess.Command{Args: []string{"sleep", "60"}, Log: filepath.Join(t.TempDir(), "log")})
	require.NoError(t, err)
	t.Cleanup(func() { stranger.Stop(0) })
	r := childprocess.Record{PID: stranger.PID(), Started: "before the crash", Command: "moto_server"}
	require.NoError(t, r.Write(pidFile(dir, "moto")))
	require.NoError(t, os.WriteFile(pidFile(dir, "host"), []byte("{"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "outputs.json"), []byte("{}"), 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "demo-kept", "logs"), 0o755))

	var shown bytes.Buffer
	require.NoError(t, Down(Options{Dir: dir, Progress: &shown}))
	assert.Equal(t, "nothing is up\n", shown.String())
	assert.NoError(t, syscall.Kill(stranger.PID(), 0), "a process that got the id later is not ours")
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{filepath.Join(dir, "demo-kept"), filepath.Join(dir, "lock")}, left)
}

func TestS15_UpAndDownDoNotMeetInAFolder(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(dir)
	require.NoError(t, err)
	assert.ErrorContains(t, Down(Options{Dir: dir, Progress: &bytes.Buffer{}}), "another up or down is at work in "+dir)
	unlock()
	assert.NoError(t, Down(Options{Dir: dir, Progress: &bytes.Buffer{}}))
}

func TestS15_CertificateWithAnotherARNIsRefused(t *testing.T) {
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	if err := CheckTools(root); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cfg, err := config.Load(filepath.Join(root, "config"), environment)
	require.NoError(t, err)
	e := &Emulator{Root: root, Work: t.TempDir(), Config: cfg}
	e.moto, e.Endpoint, err = startMoto(t.Context(), root, e.log("moto"), 0, false)
	require.NoError(t, err)
	defer e.stop()

	require.NoError(t, e.prepare(t.Context()))
	e.Config.GitLab.LoadBalancer.CertificateARN = "arn:aws:acm:ap-northeast-1:111111111111:certificate/another"
	assert.ErrorContains(t, e.importCertificate(t.Context()), "certificate/another, want "+cfg.GitLab.LoadBalancer.CertificateARN)
}

func TestS15_CallsAreBounded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	assert.ErrorIs(t, motoAPI(ctx, http.MethodGet, "http://"+silent.Addr().String()), context.DeadlineExceeded)
}
