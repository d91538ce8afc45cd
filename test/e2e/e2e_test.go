// Package e2e asserts the demo: the whole way of a push on the emulator, run by
// the commands that users run.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/httpbody"
	"gitlab-codedeploy/test/e2e/emulator"
	"gitlab-codedeploy/test/inputs"
)

const (
	// hangs is far above what a demo takes: 20 s, or some minutes on a machine
	// that is busy with all other tests.
	hangs     = 8 * time.Minute
	stopTakes = time.Minute
)

// Made by TestMain.
var (
	root    string // of the Go module
	dir     string // for all files of these tests' emulators
	program string // the command under test
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	var err error
	if root, err = filepath.Abs("../.."); err == nil {
		dir, err = os.MkdirTemp("", "emulator-test-")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := emulator.CheckTools(root); err != nil {
		if os.Getenv("CI") == "true" {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Fprintln(os.Stderr, "skipped: "+err.Error())
		return 0
	}
	program = filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-o", program, "./cmd/emulator")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the command: %v\n%s", err, out)
		return 1
	}
	defer func() { _, _ = run(context.Background(), "down") }()
	return m.Run()
}

// output is what a command printed.
type output struct{ stdout, stderr string }

// command runs the program with the variables of a laptop that knows real
// accounts, inside somebody's Git hook and pipeline. None of them may matter.
func command(args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(program, append([]string{"--dir", dir}, args...)...)
	cmd.Env = append(os.Environ(),
		"AWS_PROFILE=production", "AWS_ACCESS_KEY_ID=AKIAREALREALREALREAL", "AWS_SECRET_ACCESS_KEY=real",
		"AWS_REGION=us-east-1", "AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_ENDPOINT_URL_S3=http://127.0.0.1:1",
		"GIT_DIR=/nonexistent", "CI_COMMIT_BRANCH=feature", "ARTIFACT_BUCKET=production", "EMULATOR_PORT=",
		// One deploy here is validated as an operator's is.
		"CDK_VALIDATION="+strconv.FormatBool(slices.Contains(args, "up")))
	return cmd, inputs.Are(root)
}

func run(ctx context.Context, args ...string) (output, error) {
	cmd, err := command(args...)
	if err != nil {
		return output{}, err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err = cmd.Start(); err == nil {
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
		err = cmd.Wait()
		stop()
	}
	return output{stdout.String(), stderr.String()}, err
}

// both is one demo and one emulator left running, started at the same moment.
var both = sync.OnceValue(func() (r struct {
	demo, up       output
	demoErr, upErr error
}) {
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	var commands sync.WaitGroup
	commands.Go(func() { r.demo, r.demoErr = run(ctx, "demo") })
	commands.Go(func() { r.up, r.upErr = run(ctx, "up") })
	commands.Wait()
	return r
})

// up returns the outputs of the emulator that is left running.
func up(t *testing.T) map[string]map[string]string {
	t.Helper()
	r := both()
	require.NoError(t, r.upErr, r.up.stderr)
	var outputs map[string]map[string]string
	readJSON(t, "outputs.json", &outputs)
	return outputs
}

func readJSON(t *testing.T, name string, value any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, value))
}

// aws calls the AWS CLI as a user does who evaluated the line that "up" printed.
func aws(t *testing.T, profile string, answer any, args ...string) {
	t.Helper()
	cmd := exec.Command("bash", append([]string{"-c", both().up.stdout + `exec "$@"`, "bash",
		filepath.Join(root, ".venv", "bin", "aws"), "--profile", profile}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "aws %s: %s", strings.Join(args, " "), stderr.String())
	if answer != nil {
		require.NoError(t, json.Unmarshal(out, answer), "%s", out)
	}
}

// accountB is what a client of the SDK works with in account B. What a test does
// many times, it does by that: the AWS CLI takes half a second of a processor to start.
func accountB(t *testing.T) awssdk.Config {
	t.Helper()
	up(t)
	e, err := emulator.Open(root, dir)
	require.NoError(t, err)
	c := e.B.Credentials
	config := awssdk.Config{
		Region: e.Config.Region, BaseEndpoint: &e.Endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	}
	httpbody.OnlyRead(&config)
	return config
}

func bucketClient(t *testing.T) *s3.Client {
	t.Helper()
	return s3.NewFromConfig(accountB(t), func(o *s3.Options) { o.UsePathStyle = true })
}

func TestS15_PushBecomesABlueGreenDeployment(t *testing.T) {
	r := both()
	require.NoError(t, r.demoErr, r.demo.stderr)

	line, rest, _ := strings.Cut(r.demo.stdout, "\n")
	assert.Empty(t, rest, "stdout is one line")
	var deployment map[string]string
	require.NoError(t, json.Unmarshal([]byte(line), &deployment), line)
	for _, name := range []string{"deploymentId", "versionId"} {
		assert.NotEmpty(t, deployment[name], name)
		delete(deployment, name)
	}
	assert.Equal(t, map[string]string{
		"application": "sample-web", "deploymentGroup": "sample-web-blue-green", "deploymentStyle": "BLUE_GREEN",
		"bucket": "example-deploy-local", "key": "artifacts/sample-web/artifact.gz", "state": "Succeeded",
	}, deployment)
}

func TestS15_DemoShowsEachStepWithItsTime(t *testing.T) {
	r := both()
	require.NoError(t, r.demoErr, r.demo.stderr)
	assert.Regexp(t, `(?m)^\[1/9\] .* … [0-9.]+ s$`, r.demo.stderr)
	assert.Regexp(t, `(?m)^\[9/9\] .* … [0-9.]+ s$`, r.demo.stderr)
}

func TestS15_ARejectedArtifactTurnsTheJobRed(t *testing.T) {
	r := both()
	require.NoError(t, r.demoErr, r.demo.stderr)
	assert.Regexp(t, `(?m)^ +the job is red, Rejected: .*"not-listed" is not on the list`, r.demo.stderr)
	assert.Regexp(t, `(?m)^ +the job is red, Rejected: the job is of project [0-9]+ \("team/another"\), want 1 \(team/sample-web\)`, r.demo.stderr)
}

func TestS15_DemoLeavesNothingBehind(t *testing.T) {
	require.NoError(t, both().demoErr, both().demo.stderr)
	folders, err := filepath.Glob(filepath.Join(dir, "demo-*"))
	require.NoError(t, err)
	assert.Empty(t, folders, "a demo that went well removes its folder")
	assert.Empty(t, processesOf(t, "demo-"))
}

func TestS15_TwoEmulatorsAtOnceDoNotMeet(t *testing.T) {
	up(t)
	require.NoError(t, both().demoErr)
	var demo struct{ VersionID, DeploymentID string }
	require.NoError(t, json.Unmarshal([]byte(both().demo.stdout), &demo))
	require.NotEmpty(t, demo.VersionID)
	var versions []string
	aws(t, "account-b", &versions, "s3api", "list-object-versions", "--bucket", "example-deploy-local",
		"--query", "Versions[].VersionId || `[]`")
	assert.NotContains(t, versions, demo.VersionID, "the demo's upload is in the other emulator")
	assert.NotContains(t, deployments(t), demo.DeploymentID)
}

func TestS3_S9_BucketAdmitsTheDeployedEndpointOfTheOtherAccount(t *testing.T) {
	outputs := up(t)
	endpoint := outputs["GitLab-local"]["S3EndpointId"]
	require.Regexp(t, `^vpce-[0-9a-f]{8,17}$`, endpoint)
	var policy string
	aws(t, "account-b", &policy, "s3api", "get-bucket-policy", "--bucket", outputs["Deploy-local"]["ArtifactBucketName"], "--query", "Policy")
	assert.Contains(t, policy, `"aws:SourceVpce":"`+endpoint+`"`)
}

func TestS9_EachProfileIsItsAccount(t *testing.T) {
	up(t)
	for profile, want := range map[string]string{"account-a": "111111111111", "account-b": "222222222222"} {
		var account string
		aws(t, profile, &account, "sts", "get-caller-identity", "--query", "Account")
		assert.Equal(t, want, account, profile)
	}
}

func TestS14_EachUploadBecomesOneDeploymentOfItsVersion(t *testing.T) {
	outputs := up(t)
	bucket := outputs["Deploy-local"]["ArtifactBucketName"]
	bundle := filepath.Join(t.TempDir(), "artifact.gz")
	require.NoError(t, exec.Command("tar", "-czf", bundle, "-C", filepath.Join(root, "test", "e2e", "sample"), ".").Run())

	want := map[string]string{} // eTag by version; both uploads have the same eTag
	for range 2 {
		// One after the other: of two that wait, only the newer one is deployed.
		queueIsHandled(t, outputs["Deploy-local"]["QueueUrl"])
		var put struct{ ETag, VersionId string }
		id := putToken(t, bucket, jobToken(t, "--project", "team/sample-web", "--ref", "main"))
		aws(t, "account-b", &put, "s3api", "put-object", "--bucket", bucket, "--key", "artifacts/sample-web/artifact.gz", "--body", bundle,
			"--metadata", "application-name=sample-web,deploymentgroup-name=sample-web-blue-green,upload-id="+id)
		want[put.VersionId] = strings.Trim(put.ETag, `"`)
	}
	url := outputs["Deploy-local"]["QueueUrl"]
	queueIsHandled(t, url)
	// AWS CLI 1 finds SQS by this option only.
	endpoint := strings.Join(strings.Split(url, "/")[:3], "/")
	var waiting []string
	aws(t, "account-b", &waiting, "sqs", "get-queue-attributes", "--endpoint-url", endpoint, "--queue-url", url, "--attribute-names", "All",
		"--query", "Attributes.[ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible]")
	assert.Equal(t, []string{"0", "0"}, waiting)

	got := map[string]string{}
	client := codedeploy.NewFromConfig(accountB(t))
	for _, id := range deployments(t) {
		known, err := client.GetDeployment(t.Context(), &codedeploy.GetDeploymentInput{DeploymentId: &id})
		require.NoError(t, err)
		if revision := known.DeploymentInfo.Revision.S3Location; want[awssdk.ToString(revision.Version)] == "" {
			continue // of another test
		}
		var info struct {
			Style    string
			Revision struct{ Bucket, Key, Version, ETag, BundleType string }
		}
		aws(t, "account-b", &info, "deploy", "get-deployment", "--deployment-id", id,
			"--query", "deploymentInfo.{Style: deploymentStyle.deploymentType, Revision: revision.s3Location}")
		assert.Equal(t, "BLUE_GREEN", info.Style)
		assert.Equal(t, bucket, info.Revision.Bucket)
		assert.Equal(t, "artifacts/sample-web/artifact.gz", info.Revision.Key)
		assert.Equal(t, "tgz", info.Revision.BundleType)
		assert.NotContains(t, got, info.Revision.Version, "deployed twice")
		got[info.Revision.Version] = info.Revision.ETag
	}
	assert.Equal(t, want, got)
}

func deployments(t *testing.T) []string {
	t.Helper()
	var ids []string
	aws(t, "account-b", &ids, "deploy", "list-deployments", "--query", "deployments")
	return ids
}

// queueIsHandled waits until a queue has no message, visible or in flight.
func queueIsHandled(t *testing.T, url string) {
	t.Helper()
	defer showLogs(t)
	queue := sqs.NewFromConfig(accountB(t))
	require.Eventually(t, func() bool {
		out, err := queue.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{"All"}})
		require.NoError(t, err)
		return out.Attributes["ApproximateNumberOfMessages"] == "0" && out.Attributes["ApproximateNumberOfMessagesNotVisible"] == "0"
	}, time.Minute, 100*time.Millisecond)
}

func TestS15_NoGapOfTheEmulatorHasClosed(t *testing.T) {
	up(t)
	var report emulator.GapReport
	readJSON(t, "gaps.json", &report)
	assert.Empty(t, report.Closed, "moto does these by itself now, or no stack asks for them: remove them from gaps.go")
	assert.Empty(t, report.Unlisted, "moto ignores these: list them in gaps.go")

	out, err := exec.Command(filepath.Join(root, ".venv", "bin", "python3"), "emulator/moto_server.py", "needless").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Empty(t, string(out), "moto does these by itself now: remove them from moto_server.py")
}

// TestS15_ADeployIsValidated: scripts/ops deploy lets the CDK validate what it
// synthesises.
func TestS15_ADeployIsValidated(t *testing.T) {
	up(t)
	var report struct {
		PluginReports []struct{ PluginName, Conclusion string }
	}
	readJSON(t, filepath.Join("deploy", "assembly", "validation-report.json"), &report)
	require.Len(t, report.PluginReports, 1)
	assert.Equal(t, "CloudFormation Validate", report.PluginReports[0].PluginName)
	assert.Equal(t, "success", report.PluginReports[0].Conclusion)
}

func TestS15_SecondUpFindsTheFirst(t *testing.T) {
	up(t)
	again, err := run(t.Context(), "up")
	require.NoError(t, err, again.stderr)
	assert.Equal(t, both().up.stdout, again.stdout)
	assert.Contains(t, again.stderr, "already up")
	assert.Equal(t, 1, strings.Count(again.stdout, "\n"))
}

func TestS15_CDKCLIWorksWithTheProfilesToo(t *testing.T) {
	up(t)
	cmd := exec.Command("bash", "-c", both().up.stdout+`exec "$@"`, "bash", filepath.Join(root, "node_modules", ".bin", "cdk"),
		"diff", "--app", filepath.Join(dir, "deploy", "assembly"), "--method", "template", "--profile", "account-b", "--fail", "Deploy-local")
	cmd.Env = []string{"PATH=" + filepath.Join(root, "node_modules", ".bin") + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "CDK_HOME=" + t.TempDir()}
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "There were no differences")
}

func TestS15_TakenPortIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port

	cmd, err := command("demo")
	require.NoError(t, err)
	cmd.Env = append(cmd.Env, "EMULATOR_PORT="+strconv.Itoa(port))
	out, err := cmd.CombinedOutput()
	assert.Equal(t, 1, exitCode(err), "%s", out)
	assert.Contains(t, string(out), fmt.Sprintf("port %d (EMULATOR_PORT)", port))
}

func TestS15_WrongUseIsExplained(t *testing.T) {
	for _, args := range [][]string{{}, {"dmeo"}, {"demo", "twice"}, {"--port", "1", "demo"}} {
		out, err := run(t.Context(), args...)
		assert.Equal(t, 2, exitCode(err), "%v", args)
		assert.Empty(t, out.stdout)
		assert.Contains(t, out.stderr, "Usage: emulator")
	}
}

// startDemo returns a demo that is deploying the stacks, with what it has shown.
func startDemo(t *testing.T) (cmd *exec.Cmd, stderr io.Reader, seen string) {
	t.Helper()
	cmd, err := command("demo")
	require.NoError(t, err)
	stderr, err = cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		folders, err := filepath.Glob(filepath.Join(dir, "demo-*"))
		require.NoError(t, err)
		for _, folder := range folders {
			require.NoError(t, os.RemoveAll(folder))
		}
	})
	seen = readUntil(t, stderr, "[2/")
	require.Eventually(t, func() bool { return len(processesOf(t, "demo-")) >= 2 }, stopTakes, 20*time.Millisecond, "moto and ops should run")
	return cmd, stderr, seen
}

func TestS15_InterruptedDemoStopsEverything(t *testing.T) {
	cmd, stderr, seen := startDemo(t)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	began := time.Now()
	seen += readUntil(t, stderr, "")
	assert.Equal(t, 130, exitCode(cmd.Wait()), seen)
	assert.Less(t, time.Since(began), stopTakes)
	assert.Contains(t, seen, "interrupt")
	assert.Contains(t, seen, "logs are kept in "+dir)
	assert.Empty(t, processesOf(t, "demo-"))
}

func TestS15_KilledDemoTakesItsProcessesAlong(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can tie a process to its parent")
	}
	cmd, _, _ := startDemo(t)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	assert.Eventually(t, func() bool { return len(processesOf(t, "demo-")) == 0 }, stopTakes, 50*time.Millisecond)
}

// readUntil reads until the text has come; the empty text means until the end.
func readUntil(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var seen []byte
	for b := make([]byte, 256); text == "" || !bytes.Contains(seen, []byte(text)); {
		n, err := r.Read(b)
		seen = append(seen, b[:n]...)
		if err != nil {
			require.Empty(t, text, "ended before %q came: %s", text, seen)
			break
		}
	}
	return string(seen)
}

// Last, because it takes away what the tests above and in the files before this one, by their
// names, share.
func TestS15_DownStopsWhatUpStarted(t *testing.T) {
	up(t)
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		require.Len(t, processesOf(t, ""), 4, "moto, the host and its functions")
	}
	first, err := run(t.Context(), "down")
	require.NoError(t, err, first.stderr)
	assert.Empty(t, first.stdout)
	assert.Equal(t, "down\n", first.stderr)
	assert.Empty(t, processesOf(t, ""))
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	left = slices.DeleteFunc(left, func(file string) bool { return file == filepath.Join(dir, "artifact") }) // the jobs' program, made by these tests
	assert.ElementsMatch(t, []string{program, filepath.Join(dir, "lock")}, left)

	second, err := run(t.Context(), "down")
	require.NoError(t, err, second.stderr)
	assert.Equal(t, "nothing is up\n", second.stderr)
}

// processesOf lists the processes that work in folders of these tests whose
// names begin with prefix. Only Linux shows where a process works: elsewhere
// the command line has to do.
func processesOf(t *testing.T, prefix string) []string {
	t.Helper()
	place := filepath.Join(dir, prefix)
	var found []string
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(t, err)
	if len(links) == 0 {
		out, err := exec.Command("ps", "-axo", "command").Output()
		require.NoError(t, err)
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, place) && !strings.HasPrefix(line, program) {
				found = append(found, line)
			}
		}
		return found
	}
	for _, link := range links {
		process := filepath.Dir(link)
		folder, _ := os.Readlink(link) // empty for one that has just ended
		text, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		commandLine := strings.ReplaceAll(string(text), "\x00", " ")
		if !strings.HasPrefix(commandLine, program) && (strings.HasPrefix(folder, place) || strings.Contains(commandLine, place)) {
			found = append(found, commandLine)
		}
	}
	return found
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
