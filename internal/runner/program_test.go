package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/jobrole/jobroletest"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/machine/machinetest"
)

const offered = JobPrograms + "/artifact"

// bench is a host, and a bucket with programs.
type bench struct {
	*machinetest.Host
	cloud    *awstest.Cloud
	systemd  *jobroletest.Systemd
	objects  map[string]string
	refusals int
	broken   bool // programs do not run on this host
}

func newBench(t *testing.T) *bench {
	b := &bench{Host: machinetest.New(t), cloud: awstest.New(t), objects: map[string]string{}}
	b.Put("/proc/meminfo", "MemTotal:        8388608 kB\n")
	b.systemd = jobroletest.Play(b.Host)
	awstest.On(b.cloud, func(_ context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
		assert.Equal(t, "assets", aws.ToString(in.Bucket))
		if b.refusals > 0 {
			b.refusals--
			return nil, awstest.Refusal("AccessDenied", "Access Denied")
		}
		text, is := b.objects[aws.ToString(in.Key)]
		if !is {
			return nil, &types.NoSuchKey{}
		}
		return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(text))}, nil
	})
	return b
}

// publish puts a build into the bucket.
func (b *bench) publish(n int) Program {
	text := fmt.Sprintf("build %d", n)
	sum := sha256.Sum256([]byte(text))
	p := Program{Name: "artifact", SHA256: hex.EncodeToString(sum[:]), Bucket: "assets", Key: fmt.Sprintf("%d.bin", n)}
	b.objects[p.Key] = text
	b.On(p.path()+" --help", func(machinetest.Call) int {
		if b.broken {
			return 126
		}
		return 0
	})
	return p
}

func (b *bench) install(ctx context.Context, p Program) error {
	return InstallProgram(ctx, b.Machine, s3.NewFromConfig(b.cloud.Config("ap-northeast-1"), func(o *s3.Options) { o.RetryMaxAttempts = 1 }), p, jobroletest.Role, "install-program (by hand)")
}

// do installs in a bubble of time.
func (b *bench) do(t *testing.T, p Program) (err error) {
	synctest.Test(t, func(t *testing.T) { err = b.install(t.Context(), p) })
	return err
}

// files are all below a folder of the host.
func (b *bench) files(t *testing.T, folders ...string) (found []string) {
	for _, folder := range folders {
		require.NoError(t, filepath.WalkDir(b.Path(folder), func(path string, entry os.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				found = append(found, strings.TrimPrefix(path, b.Root))
			}
			return nil
		}))
	}
	return found
}

func TestS13_AProgramComesIntoEveryJob(t *testing.T) {
	t.Run("by its hash, jobs have it, and others may read and run it", func(t *testing.T) {
		b := newBench(t)
		b.Put(Config, written)
		p := b.publish(1)
		require.NoError(t, b.do(t, p))
		assert.Equal(t, "build 1", b.Get(offered))
		info, err := b.Stat(offered)
		require.NoError(t, err)
		assert.Equal(t, "-rwxr-xr-x", info.Mode().String())
		info, err = b.Stat(JobPrograms)
		require.NoError(t, err)
		assert.Equal(t, "drwxr-xr-x", info.Mode().String())
		assert.Equal(t, "build 1", b.Get(p.path()))
		assert.Equal(t, []string{"/cache " + jobProgramsVolume}, listOf(t, b.Get(Config), "volumes"))
		info, err = b.Stat(Config)
		require.NoError(t, err)
		assert.Equal(t, "-rw-------", info.Mode().String())
		assert.Contains(t, b.Talk.String(), "jobs have artifact "+p.SHA256)
	})
	t.Run("jobs hold the role, from its credentials to the variables that lead there", func(t *testing.T) {
		b := newBench(t)
		b.Put(Config, written)
		require.NoError(t, b.do(t, b.publish(1)))
		assert.Contains(t, b.systemd.Running[jobroletest.Service], jobroletest.Role.ARN)
		assert.Equal(t, []string{"FF_NETWORK_PER_BUILD=1 AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/job-role AWS_DEFAULT_REGION=ap-northeast-1"}, listOf(t, b.Get(Config), "environment"))
	})
	t.Run("what is there already is not fetched again, and nothing is written", func(t *testing.T) {
		b := newBench(t)
		b.Put(Config, written)
		p := b.publish(1)
		require.NoError(t, b.do(t, p))
		calls := len(b.cloud.Calls())
		b.Step = func(what string) { t.Errorf("it changes something: %s", what) }
		require.NoError(t, b.do(t, p))
		assert.Len(t, b.cloud.Calls(), calls)
	})
	t.Run("the next build takes the place of the one before it, in the same folder, and that one goes", func(t *testing.T) {
		b := newBench(t)
		first, second := b.publish(1), b.publish(2)
		require.NoError(t, b.do(t, first))
		before, err := b.Stat(JobPrograms)
		require.NoError(t, err)
		begun, err := b.Open(offered) // as a job that runs has it
		require.NoError(t, err)
		defer begun.Close()
		require.NoError(t, b.do(t, second))
		assert.Equal(t, "build 2", b.Get(offered))
		after, err := b.Stat(JobPrograms)
		require.NoError(t, err)
		assert.True(t, os.SameFile(before, after), "the mount of containers that run")
		old, err := io.ReadAll(begun)
		require.NoError(t, err)
		assert.Equal(t, "build 1", string(old), "jobs keep the program that they began with")
		assert.False(t, b.Exists(first.folder()))
		assert.Len(t, b.files(t, Programs), 2)
		// And back, as a deploy is taken back.
		require.NoError(t, b.do(t, first))
		assert.Equal(t, "build 1", b.Get(offered))
	})
	t.Run("builds of other programs stay, and so does what is not ours", func(t *testing.T) {
		b := newBench(t)
		other := Programs + "/" + strings.Repeat("0", 64)
		for _, file := range []string{other + "/host", other + "/artifact", Programs + "/notes/artifact"} {
			b.Put(file, "x")
		}
		require.NoError(t, b.do(t, b.publish(1)))
		assert.True(t, b.Exists(other+"/host"))
		assert.False(t, b.Exists(other+"/artifact"))
		assert.True(t, b.Exists(Programs+"/notes/artifact"))
	})
	t.Run("without a registered runner the program waits for one", func(t *testing.T) {
		b := newBench(t)
		require.NoError(t, b.do(t, b.publish(1)))
		assert.False(t, b.Exists(Config))
	})
}

func TestS13_InstallProgramFails(t *testing.T) {
	t.Run("S13 install-program | the object is another than the hash says | it is not run, not kept, and the old one stays", func(t *testing.T) {
		b := newBench(t)
		require.NoError(t, b.do(t, b.publish(1)))
		second := b.publish(2)
		b.objects["2.bin"] += " tampered"
		sum := sha256.Sum256([]byte("build 2 tampered"))
		require.ErrorContains(t, b.do(t, second), "s3://assets/2.bin has the SHA-256 "+hex.EncodeToString(sum[:])+", want "+second.SHA256)
		assert.Len(t, awstest.Inputs[s3.GetObjectInput](b.cloud), 2, "to try again would not help")
		assert.Equal(t, "build 1", b.Get(offered))
		assert.Len(t, b.files(t, Programs), 2)
		assert.Empty(t, b.RanLike(second.path()))
	})
	t.Run("S13 install-program | the program on the host was changed | it is fetched again", func(t *testing.T) {
		b := newBench(t)
		p := b.publish(1)
		require.NoError(t, b.do(t, p))
		require.NoError(t, os.WriteFile(b.Path(offered), []byte("tampered"), 0o755))
		require.NoError(t, b.do(t, p))
		assert.Equal(t, "build 1", b.Get(offered))
	})
	t.Run("S13 install-program | S3 refuses at first, as a new right is not known there yet | it is tried again", func(t *testing.T) {
		b := newBench(t)
		b.refusals = 3
		require.NoError(t, b.do(t, b.publish(1)))
		assert.Len(t, awstest.Inputs[s3.GetObjectInput](b.cloud), 4)
	})
	t.Run("S13 install-program | S3 refuses, or has no such object | it fails with S3's words, and the old one stays", func(t *testing.T) {
		b := newBench(t)
		require.NoError(t, b.do(t, b.publish(1)))
		second := b.publish(2)
		delete(b.objects, "2.bin")
		err := b.do(t, second)
		require.ErrorContains(t, err, "cannot fetch artifact from s3://assets/2.bin: ")
		require.ErrorContains(t, err, "NoSuchKey")
		assert.Equal(t, "build 1", b.Get(offered))
	})
	t.Run("S13 install-program | the program does not run on this host's processor | the old one stays", func(t *testing.T) {
		b := newBench(t)
		require.NoError(t, b.do(t, b.publish(1)))
		b.broken = true
		require.ErrorContains(t, b.do(t, b.publish(2)), "does not run on this host (x86_64)")
		assert.Equal(t, "build 1", b.Get(offered))
	})
	t.Run("S13 install-program | killed at any step | there is a whole program at every time, and the next run ends well", func(t *testing.T) {
		benches := map[*machinetest.Host]*bench{}
		machinetest.AtEveryStep(t, func(t *testing.T) (*machinetest.Host, func() error) {
			b := newBench(t)
			benches[b.Host] = b
			require.NoError(t, b.do(t, b.publish(1)))
			second := b.publish(2)
			b.Put(Config, written)
			return b.Host, func() error { return b.install(context.Background(), second) }
		}, func(t *testing.T, h *machinetest.Host, _ func() error) {
			b := benches[h]
			assert.Contains(t, []string{"build 1", "build 2"}, b.Get(offered))
			second := b.publish(2)
			require.NoError(t, b.do(t, second))
			assert.Equal(t, "build 2", b.Get(offered))
			assert.Equal(t, []string{"/cache " + jobProgramsVolume}, listOf(t, b.Get(Config), "volumes"))
			assert.ElementsMatch(t, []string{offered, second.path(), Config}, b.files(t, Programs, filepath.Dir(Config)))
		})
	})
	t.Run("S13 install-program | STS refuses the role of jobs | the program is there, and no job is sent to the role", func(t *testing.T) {
		b := newBench(t)
		b.Put(Config, written)
		b.systemd.Refusals = 1000
		require.ErrorContains(t, b.do(t, b.publish(1)), "jobs would get no credentials: ")
		assert.Equal(t, "build 1", b.Get(offered))
		assert.Equal(t, written, b.Get(Config))
	})
	t.Run("S13 install-program | a runner's jobs are in the host's own network | it is told that they reach the host's role", func(t *testing.T) {
		b := newBench(t)
		b.Put(Config, strings.Replace(written, "shm_size = 0", "network_mode = \"host\"", 1))
		require.NoError(t, b.do(t, b.publish(1)))
		assert.Contains(t, b.Talk.String(), `the runner "one" has network_mode "host": its jobs can take the role of the host, too`)
	})
	t.Run("S13 install-program | it was killed while it fetched | the half that is left goes", func(t *testing.T) {
		b := newBench(t)
		p := b.publish(1)
		b.Put(p.folder()+"/.artifact.123", "bui")
		b.Put(p.path()+".new", "bui")
		require.NoError(t, b.do(t, p))
		assert.Len(t, b.files(t, Programs), 2)
	})
	t.Run("S13 install-program | the runner mounts something else there | the file stays as it is, and the line to write is told", func(t *testing.T) {
		b := newBench(t)
		text := strings.Replace(written, `["/cache"]`, `["/srv/tools:/opt/gitlab-codedeploy/bin"]`, 1)
		b.Put(Config, text)
		require.ErrorContains(t, b.do(t, b.publish(1)), `write "`+jobProgramsVolume+`" into its volumes by hand`)
		assert.Equal(t, text, b.Get(Config))
		assert.Equal(t, "build 1", b.Get(offered))
	})
	t.Run("S13 install-program | an operation is under way on the host | it is waited for, and at last the program is there and the configuration left for the next run", func(t *testing.T) {
		b := newBench(t)
		b.Put(Config, written)
		lock, err := b.Lock(machine.OperationLock, "register-runner (run 1)")
		require.NoError(t, err)
		p := b.publish(1)
		err = b.do(t, p)
		require.ErrorContains(t, err, "register-runner (run 1), since ")
		assert.True(t, errors.As(err, new(machine.Held)))
		assert.Equal(t, "build 1", b.Get(offered))
		assert.Equal(t, written, b.Get(Config))
		synctest.Test(t, func(t *testing.T) {
			time.AfterFunc(operationTime/2, lock.Release)
			require.NoError(t, b.install(t.Context(), p))
		})
		assert.Equal(t, []string{"/cache " + jobProgramsVolume}, listOf(t, b.Get(Config), "volumes"))
	})
}
