package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/internal/upload/uploadtest"
)

const (
	ourKey  = "artifacts/sample-web/artifact.gz"
	pushKey = "artifacts/sample-web/artifact.zip"
)

// uploader packs a folder and uploads it.
type uploader struct {
	name    string
	options Options
	key     string
	args    func(folder string) []string
	env     []string // besides what upload sets
}

// uploaded is what an upload took, and the object's size.
type uploaded struct {
	usage
	size float64
}

func (u uploader) upload(ctx context.Context, store *uploadtest.Store, folder string) (uploaded, error) {
	// A home of its own keeps this machine's configuration of the AWS CLI out.
	home, err := os.MkdirTemp(u.options.Work, "home-")
	if err != nil {
		return uploaded{}, err
	}
	defer os.RemoveAll(home)
	certificates := filepath.Join(home, "certificates.pem")
	if err := trust(store.Server, certificates); err != nil {
		return uploaded{}, err
	}
	c := command{args: u.args(folder), dir: u.options.Work, memory: u.options.MemoryEvery, env: append([]string{
		"PATH=" + filepath.Join(u.options.Root, ".venv", "bin") + ":/usr/local/bin:/usr/bin:/bin", "HOME=" + home, "TMPDIR=" + home, "LANG=en_US.UTF-8",
		"AWS_ENDPOINT_URL=" + store.Server.URL, "AWS_CA_BUNDLE=" + certificates,
		"AWS_DEFAULT_REGION=" + region, "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret",
	}, u.env...)}
	used, err := c.run(ctx)
	if err != nil {
		return uploaded{}, err
	}
	size, err := store.Take(u.key)
	u.options.logf("upload: %s: %.1f s, %.1f s of CPU, %.0f MB of memory, %.0f MB uploaded", u.name, used.wall.Seconds(), used.cpu.Seconds(), used.peak/1e6, float64(size)/1e6)
	return uploaded{used, float64(size)}, err
}

func benchUpload(ctx context.Context, options Options, report *Report) error {
	large, small := filepath.Join(options.Work, "large"), filepath.Join(options.Work, "small")
	options.logf("upload: making folders of %d and %d MB", options.FolderMB, options.SmallFolderMB)
	if err := errors.Join(makeFolder(large, int64(options.FolderMB)*1e6), makeFolder(small, int64(options.SmallFolderMB)*1e6)); err != nil {
		return err
	}
	ours, push, err := uploaders(options)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("upload of %d MB: ", options.FolderMB)

	// A first one of both fills the disk's cache. Of it, only the memory counts.
	first := uploadtest.New(uploadtest.Options{})
	defer first.Server.Close()
	little, err := measurePair(ctx, ours, push, first, small)
	if err != nil {
		return err
	}
	for _, s := range []struct {
		name  string
		pace  uploadtest.Pace
		times float64
	}{{"S3 at AWS's pace", uploadtest.AWSPace, 7}, {"S3 that never waits", uploadtest.Pace{}, 5}} {
		store := uploadtest.New(uploadtest.Options{Pace: s.pace, Keep: options.Keep})
		defer store.Server.Close()
		var wall, cpu, size, memory Series
		for n := range options.UploadPairs {
			options.logf("upload: %s: pair %d of %d", s.name, n+1, options.UploadPairs)
			pair, err := measurePair(ctx, ours, push, store, large)
			if err != nil {
				return err
			}
			wall.add(pair.ours.wall.Seconds(), pair.reference.wall.Seconds())
			cpu.add(pair.ours.cpu.Seconds(), pair.reference.cpu.Seconds())
			memory.add(pair.ours.peak, pair.reference.peak)
			size.add(pair.ours.size, pair.reference.size)
		}
		report.Rows = append(report.Rows, Row{Name: what + "time, " + s.name, Unit: Seconds, Series: wall, Target: &Target{Times: s.times}})
		if s.pace != (uploadtest.Pace{}) {
			continue
		}
		report.Rows = append(report.Rows,
			Row{Name: what + "CPU time", Unit: Seconds, Series: cpu},
			Row{Name: what + "size of the artifact", Unit: Megabytes, Series: size},
			Row{Name: what + "peak memory", Unit: Megabytes, Series: memory, Target: &Target{Most: mostMemory}})
	}
	if err := benchMemory(ctx, options, ours, little.ours.peak, report); err != nil {
		return err
	}
	report.Notes = append(report.Notes, fmt.Sprintf(`upload: reference is "aws deploy push" of the same AWS CLI. Both send over TLS on loopback to a small S3 of our own, which
compares checksums and drops the content. At AWS's pace: %d ms a request, %.0f MB/s a connection, as AWS documents S3.
Memory is the highest sum over all processes, looked at 20 times a second; a page that they share counts once. The row of two
sizes has ours twice, the huge folder against the small one.`,
		uploadtest.AWSPace.Latency.Milliseconds(), uploadtest.AWSPace.Rate/1e6))
	return nil
}

// mostMemory is what a job's container has left beside a build.
const mostMemory = 128e6

// benchMemory compares the memory for a huge folder with that for a small one.
func benchMemory(ctx context.Context, options Options, ours uploader, small float64, report *Report) error {
	huge := filepath.Join(options.Work, "huge")
	options.logf("upload: making a folder of %d MB", options.HugeFolderMB)
	if err := makeFolder(huge, int64(options.HugeFolderMB)*1e6); err != nil {
		return err
	}
	defer os.RemoveAll(huge)
	store := uploadtest.New(uploadtest.Options{})
	defer store.Server.Close()
	used, err := ours.upload(ctx, store, huge)
	if err != nil {
		return err
	}
	report.Rows = append(report.Rows,
		Row{Name: fmt.Sprintf("upload of %d MB: peak memory", options.HugeFolderMB), Unit: Megabytes, Series: Series{Ours: []float64{used.peak}}, Target: &Target{Most: mostMemory}},
		Row{
			Name: fmt.Sprintf("upload: peak memory, %d against %d MB", options.HugeFolderMB, options.SmallFolderMB), Unit: Megabytes,
			Series: Series{Ours: []float64{used.peak}, Reference: []float64{small}}, Target: &Target{Times: 0.8},
		})
	return nil
}

// benchProgram builds what jobs run, for each kind of runner.
func benchProgram(ctx context.Context, options Options, report *Report) error {
	for _, arch := range []string{"amd64", "arm64"} {
		if err := ctx.Err(); err != nil {
			return err
		}
		options.logf("building %s for %s", jobProgram, arch)
		binary := filepath.Join(options.Work, "artifact-"+arch)
		if err := gobuild.Build(options.Root, jobProgram, binary, "linux", arch); err != nil {
			return err
		}
		info, err := os.Stat(binary)
		if err != nil {
			return err
		}
		report.Rows = append(report.Rows, Row{
			Name: "artifact: program for " + arch, Unit: Megabytes, Series: Series{Ours: []float64{float64(info.Size())}}, Target: &Target{Most: 15e6},
		})
	}
	return nil
}

const jobProgram = "./cmd/artifact"

// uploaders are ours and the reference.
func uploaders(options Options) (ours, push uploader, err error) {
	script := options.Script
	if !filepath.IsAbs(script) {
		script = filepath.Join(options.Root, script)
	}
	program := filepath.Join(options.Work, "artifact")
	if err := gobuild.Build(options.Root, jobProgram, program, runtime.GOOS, runtime.GOARCH); err != nil {
		return ours, push, err
	}
	ours = uploader{
		name: "ours", options: options, key: ourKey, env: []string{"ARTIFACT_PROGRAM=" + program},
		args: func(folder string) []string {
			return []string{script, "--bucket", bucket, "--key", ourKey, "--source", folder,
				"--application", pair.Application, "--deployment-group", pair.Group}
		},
	}
	push = ours
	push.name, push.key = "aws deploy push", pushKey
	push.args = func(folder string) []string {
		return []string{awsCLI(options.Root), "deploy", "push", "--source", folder,
			"--application-name", pair.Application, "--s3-location", "s3://" + bucket + "/" + pushKey}
	}
	return ours, push, nil
}

type uploadPair struct{ ours, reference uploaded }

func measurePair(ctx context.Context, ours, reference uploader, store *uploadtest.Store, folder string) (p uploadPair, err error) {
	if p.ours, err = ours.upload(ctx, store, folder); err != nil {
		return p, err
	}
	p.reference, err = reference.upload(ctx, store, folder)
	return p, err
}
