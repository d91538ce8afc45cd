package main

import (
	"bytes"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/internal/upload/uploadtest"
	"gitlab-codedeploy/test/inputs"
)

// built is a folder for the program itself, which is built once, for what a
// process alone can show.
var built string

var binary = sync.OnceValues(func() (string, error) {
	file := filepath.Join(built, "artifact")
	return file, gobuild.Build("../..", "./cmd/artifact", file, runtime.GOOS, runtime.GOARCH)
})

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	var err error
	if built, err = os.MkdirTemp("", "artifact-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(built)
	return m.Run()
}

// process is the program as a job runs it, with nothing of this machine's own
// settings.
func process(t *testing.T, endpoint string, args ...string) (command *exec.Cmd, stdout, stderr *lockedBuffer) {
	t.Helper()
	require.NoError(t, inputs.Are("../..", "go.mod", "go.sum", "cmd/artifact", "internal"))
	file, err := binary()
	require.NoError(t, err)
	stdout, stderr = &lockedBuffer{}, &lockedBuffer{}
	command = exec.Command(file, args...)
	command.Env = []string{
		"AWS_ENDPOINT_URL=" + endpoint, "AWS_DEFAULT_REGION=ap-northeast-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret",
		"ARTIFACT_BUCKET=artifacts-test", "APPLICATION_NAME=web", "DEPLOYMENT_GROUP_NAME=web-blue-green", "DEPLOY_POLL_SECONDS=0.01",
	}
	command.Stdout, command.Stderr = stdout, stderr
	return command, stdout, stderr
}

// lockedBuffer may be read while a process writes it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// interruptedAt starts a process, sends it a signal as soon as it has come
// somewhere, and returns the status that it ends with.
func interruptedAt(t *testing.T, command *exec.Cmd, signal syscall.Signal, come func() bool) int {
	t.Helper()
	require.NoError(t, command.Start())
	defer func() { _ = command.Process.Kill() }()
	require.Eventually(t, come, 30*time.Second, 2*time.Millisecond)
	require.NoError(t, command.Process.Signal(signal))
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		return exit.ExitCode()
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
		return 0
	}
}

//fault:whole the job is cancelled during an upload | what was sent is taken back
func TestS13_ASignalDuringAnUploadTakesItBack(t *testing.T) {
	for signal, want := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGINT: 130, syscall.SIGHUP: 129} {
		b := uploadtest.NewBucket(t, at("UploadPart", uploadtest.Fault{Hang: true}))
		j := newJob(t, b)
		j.write(t, "big", noise(14_000_000))
		command, stdout, stderr := process(t, b.Front.URL, "upload", "--source", j.source)
		status := interruptedAt(t, command, signal, func() bool { return strings.Contains(strings.Join(b.Calls(), " "), "UploadPart") })
		assert.Equal(t, want, status, stderr)
		assert.Zero(t, b.Unfinished(), "%s", stderr)
		assert.Empty(t, b.Versions(defaultKey))
		assert.Empty(t, stdout.String())
		assert.Contains(t, stderr.String(), "interrupted")
		assert.Contains(t, stderr.String(), "the unfinished upload is taken back")
	}
}

// A whole upload dies at each of its calls, while S3 is well and while that call is
// one that it resets, refuses as too many, answers wrongly, or not at all. Who was
// killed takes nothing back: a part of an upload is no object, and the bucket's
// lifecycle removes it.
//
//fault:whole the job's container is killed at any call of an upload, while S3 is well or not | there is the whole artifact or none, and the job that runs again is done
//fault:whole the job is cancelled at any call of an upload, while S3 is well or not | it ends, there is the whole artifact or none, and no part of one
func TestS13_AnUploadThatDiesAtAnyCallLeavesAWholeArtifactOrNone(t *testing.T) {
	big := noise(6_000_000) // two parts
	moments := []uploadtest.Call{
		{Operation: "CreateMultipartUpload", Number: 1}, {Operation: "UploadPart", Number: 1}, {Operation: "UploadPart", Number: 2},
		{Operation: "CompleteMultipartUpload", Number: 1},
	}
	troubles := map[string]uploadtest.Fault{
		"well": {}, "reset": {After: true}, "503": {Status: 503, Code: "SlowDown"}, "a wrong checksum": {Lie: true}, "no answer": {Hang: true},
	}
	for _, moment := range moments {
		for name, trouble := range troubles {
			for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
				t.Run(fmt.Sprintf("%s %d, %s, %s", moment.Operation, moment.Number, name, signal), func(t *testing.T) {
					come := make(chan struct{})
					var once sync.Once
					b := uploadtest.NewBucket(t, func(c uploadtest.Call) uploadtest.Fault {
						if c.Operation != moment.Operation || c.Number != moment.Number {
							return uploadtest.Fault{}
						}
						fault := trouble
						fault.Do = func() { once.Do(func() { close(come) }) }
						return fault
					})
					j := newJob(t, b)
					j.write(t, "big", big)
					command, stdout, stderr := process(t, b.Front.URL, "upload", "--source", j.source)
					command.Env = append(command.Env, "GITLAB_CODEDEPLOY_TOKEN=a.b.c")
					require.NoError(t, command.Start())
					<-come
					_ = command.Process.Signal(signal)
					err := command.Wait()

					// Of an upload whose id was never heard nobody can take anything back.
					unheard := moment.Operation == "CreateMultipartUpload" && trouble.After
					if signal == syscall.SIGTERM && !unheard {
						assert.Zero(t, b.Unfinished(), "%s", stderr)
					}
					if err == nil {
						assert.Len(t, b.Versions(defaultKey), 1, "%s", stderr) // It was too late.
					} else {
						assert.Empty(t, stdout.String(), "no result")
					}
					for _, token := range b.Tokens() {
						assert.Equal(t, "a.b.c", token)
					}

					command, _, stderr = process(t, b.Front.URL, "upload", "--source", j.source)
					require.NoError(t, command.Run(), stderr)
					assert.True(t, big == unpacked(t, b.Content(t, defaultKey))["./big"], "the artifact is whole")
					versions := b.Versions(defaultKey)
					assert.LessOrEqual(t, len(versions), 2)
					for _, v := range versions { // The same folder gives the same bytes.
						assert.Equal(t, [2]any{versions[0].ETag, versions[0].Size}, [2]any{v.ETag, v.Size})
					}
				})
			}
		}
	}
}

//fault:whole the job is cancelled while it packs | it ends at once and leaves no files
func TestS13_ASignalWhilePackingEndsAtOnceAndLeavesNoFiles(t *testing.T) {
	j := newJob(t, nil)
	j.write(t, "huge", "")
	require.NoError(t, os.Truncate(filepath.Join(j.source, "huge"), 1<<40)) // a hole: packing it takes a quarter of an hour
	work := t.TempDir()
	command, stdout, stderr := process(t, "http://localhost:1", "upload", "--source", j.source, "--dry-run")
	command.Env = append(command.Env, "TMPDIR="+work, "HOME="+work)
	status := interruptedAt(t, command, syscall.SIGTERM, func() bool { return strings.Contains(stderr.String(), "packing") })
	assert.Equal(t, 143, status, stderr)
	assert.Empty(t, stdout.String())
	left, err := os.ReadDir(work)
	require.NoError(t, err)
	assert.Empty(t, left)
}

//fault:whole the job is cancelled while it waits | it says that the deployment goes on, and the result is there
func TestS15_ASignalDuringTheWaitLeavesTheResult(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	b.Says(map[string]any{"state": "InProgress", "deploymentId": "d-7"})
	j := newJob(t, b)
	command, stdout, stderr := process(t, b.Front.URL, "upload", "--source", j.source, "--wait")
	status := interruptedAt(t, command, syscall.SIGTERM, func() bool { return strings.Contains(stderr.String(), "InProgress after") })
	assert.Equal(t, 143, status)
	assert.Regexp(t, `error: interrupted after 0m0\ds in state InProgress; deployment d-7 goes on\n$`, stderr)
	assert.Equal(t, "d-7", run{stdout: stdout.String()}.field(t, "deploymentId"))
}

// A log that nobody reads any more does not end an upload half-way.
//
//fault:whole nobody reads the log any more | the upload is done
func TestS13_AClosedLogDoesNotEndTheUpload(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	command, stdout, _ := process(t, b.Front.URL, "upload", "--source", j.source)
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	command.Stderr = writer
	require.NoError(t, command.Run())
	assert.NotNil(t, run{stdout: stdout.String()}.field(t, "versionId"))
}

//fault:whole the image has no tools and no room for files | the upload is done
func TestS13_TheProgramNeedsNothingElse(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	command, stdout, stderr := process(t, b.Front.URL, "upload", "--source", j.source)
	command.Env = append(command.Env, "PATH=/nonexistent", "TMPDIR=/nonexistent") // no tool, no room for files, no home
	require.NoError(t, command.Run(), stderr)
	assert.NotNil(t, run{stdout: stdout.String()}.field(t, "versionId"))
}

func TestS13_AJobWithoutCredentialsIsToldWhereTheyComeFrom(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	command, _, stderr := process(t, b.Front.URL, "upload", "--source", j.source)
	command.Env = append(command.Env, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_EC2_METADATA_DISABLED=true")
	var exit *exec.ExitError
	require.True(t, errors.As(command.Run(), &exit))
	assert.Equal(t, 1, exit.ExitCode())
	assert.Contains(t, stderr.String(), "on the GitLab runner's host it gets them from the role of jobs")
	assert.Empty(t, b.Sent())
}

// As the AWS CLI has them: a profile of a file, an endpoint and an authority of
// one's own.
func TestS13_AWSIsReachedByTheEnvironmentsSettings(t *testing.T) {
	b := uploadtest.NewBucket(t, nil)
	j := newJob(t, b)
	home := t.TempDir()
	bundle := filepath.Join(home, "ca.pem")
	require.NoError(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Store.Server.Certificate().Raw}), 0o600))
	settings := filepath.Join(home, "config")
	require.NoError(t, os.WriteFile(settings, []byte("[profile job]\nregion = ap-northeast-1\nendpoint_url = "+b.Store.Server.URL+
		"\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n"), 0o600))
	for _, trusted := range []bool{true, false} {
		command, stdout, stderr := process(t, "", "upload", "--source", j.source)
		command.Env = []string{
			"AWS_CONFIG_FILE=" + settings, "AWS_PROFILE=job", "AWS_MAX_ATTEMPTS=1",
			"ARTIFACT_BUCKET=artifacts-test", "APPLICATION_NAME=web", "DEPLOYMENT_GROUP_NAME=web-blue-green",
		}
		if trusted {
			command.Env = append(command.Env, "AWS_CA_BUNDLE="+bundle)
		}
		err := command.Run()
		if !trusted {
			require.Error(t, err)
			assert.Contains(t, stderr.String(), "certificate")
			continue
		}
		require.NoError(t, err, stderr)
		assert.NotNil(t, run{stdout: stdout.String()}.field(t, "versionId"))
	}
}

func TestS13_TheProgramIsStaticAndSmall(t *testing.T) {
	require.NoError(t, inputs.Are("../..", "go.mod", "go.sum", "cmd/artifact", "internal"))
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		file := filepath.Join(t.TempDir(), arch)
		if runtime.GOOS == "linux" && runtime.GOARCH == arch {
			var err error
			file, err = binary()
			require.NoError(t, err)
		} else {
			require.NoError(t, gobuild.Build("../..", "./cmd/artifact", file, "linux", arch))
		}
		info, err := os.Stat(file)
		require.NoError(t, err)
		assert.Less(t, info.Size(), int64(15_000_000), arch)
		image, err := elf.Open(file)
		require.NoError(t, err)
		assert.Equal(t, machine, image.Machine)
		libraries, err := image.ImportedLibraries()
		require.NoError(t, err)
		assert.Empty(t, libraries)
		require.NoError(t, image.Close())
	}
}

func TestS13_MakeBuildsTheProgramWithItsVersion(t *testing.T) {
	require.NoError(t, inputs.Are("../..", "Makefile", "go.mod", "go.sum", "cmd/artifact", "internal"))
	bin := t.TempDir()
	out, err := exec.Command("make", "-C", "../..", "artifact", "BIN="+bin).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(filepath.Join(bin, "artifact"), "--version").CombinedOutput()
	require.NoError(t, err)
	assert.Regexp(t, `^artifact version \S+\n$`, string(out))
	assert.NotContains(t, string(out), "devel")
}
