package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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

	path, pathWithoutPigz string // PATH
}

// uploaded is what an upload took, and the object's size.
type uploaded struct {
	usage
	size float64
}

func (u uploader) with(variable string) uploader {
	u.name += ", " + variable
	u.env = append(u.env, variable)
	return u
}

func (u uploader) withoutPigz() uploader {
	u.name += " without pigz"
	u.path = u.pathWithoutPigz
	return u
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
	c := command{args: u.args(folder), dir: u.options.Work, memory: true, env: append([]string{
		"PATH=" + u.path, "HOME=" + home, "TMPDIR=" + home, "LANG=en_US.UTF-8",
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

// smallPart makes parts that fill the script's window of four also with the
// artifact of a small folder.
const smallPart = "ARTIFACT_PART_BYTES=5000000"

func benchUpload(ctx context.Context, options Options, report *Report) error {
	if options.UploadPairs == 0 {
		return nil
	}
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

	// A first one of both, unmeasured, fills the disk's cache.
	first := uploadtest.New(uploadtest.Options{})
	defer first.Server.Close()
	if _, err := measurePair(ctx, ours, push, first, small); err != nil {
		return err
	}
	for _, s := range []struct {
		name string
		pace uploadtest.Pace
	}{{"S3 at AWS's pace", uploadtest.AWSPace}, {"S3 that never waits", uploadtest.Pace{}}} {
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
		report.Rows = append(report.Rows, Row{Name: what + "time, " + s.name, Unit: Seconds, Series: wall, Target: &Target{Times: 2}})
		if s.pace != (uploadtest.Pace{}) {
			continue
		}
		plain, err := ours.withoutPigz().upload(ctx, store, large)
		if err != nil {
			return err
		}
		report.Rows = append(report.Rows,
			Row{Name: what + "the same, without pigz", Unit: Seconds, Series: Series{Ours: []float64{plain.wall.Seconds()}, Reference: []float64{median(wall.Reference)}}},
			Row{Name: what + "CPU time", Unit: Seconds, Series: cpu},
			Row{Name: what + "size of the artifact", Unit: Megabytes, Series: size},
			Row{Name: what + "peak memory", Unit: Megabytes, Series: memory})

		smallPeak, err := ours.with(smallPart).upload(ctx, store, small)
		if err != nil {
			return err
		}
		largePeak, err := ours.with(smallPart).upload(ctx, store, large)
		if err != nil {
			return err
		}
		report.Rows = append(report.Rows, Row{
			Name: fmt.Sprintf("upload: peak memory, %d against %d MB", options.FolderMB, options.SmallFolderMB), Unit: Megabytes,
			Series: Series{Ours: []float64{largePeak.peak}, Reference: []float64{smallPeak.peak}}, Target: &Target{Times: 0.8},
		})
	}
	report.Notes = append(report.Notes, fmt.Sprintf(`upload: reference is "aws deploy push" of the same AWS CLI. Both send over TLS on loopback to a small S3 of our own, which
compares checksums and drops the content. At AWS's pace: %d ms a request, %.0f MB/s a connection, as AWS documents S3.
Memory is the highest sum over all processes, looked at 20 times a second; a page that they share counts once. The last row
has ours twice, the larger folder against the smaller one, with parts so small that both have four of them under way.`,
		uploadtest.AWSPace.Latency.Milliseconds(), uploadtest.AWSPace.Rate/1e6))
	return nil
}

// uploaders are ours and the reference.
func uploaders(options Options) (ours, push uploader, err error) {
	script := options.Script
	if !filepath.IsAbs(script) {
		script = filepath.Join(options.Root, script)
	}
	ours = uploader{
		name: "ours", options: options, key: ourKey,
		path: filepath.Join(options.Root, ".venv", "bin") + ":/usr/local/bin:/usr/bin:/bin",
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
	ours.pathWithoutPigz, err = pathWithout("pigz", ours.path, filepath.Join(options.Work, "bin"))
	return ours, push, err
}

type uploadPair struct{ ours, reference uploaded }

func measurePair(ctx context.Context, ours, reference uploader, store *uploadtest.Store, folder string) (p uploadPair, err error) {
	if p.ours, err = ours.upload(ctx, store, folder); err != nil {
		return p, err
	}
	p.reference, err = reference.upload(ctx, store, folder)
	return p, err
}

// pathWithout makes a folder of links to every program of a PATH but one.
func pathWithout(program, path, folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	for dir := range strings.SplitSeq(path, ":") {
		entries, _ := os.ReadDir(dir) // It need not be there.
		for _, entry := range entries {
			if entry.Name() == program {
				continue
			}
			err := os.Symlink(filepath.Join(dir, entry.Name()), filepath.Join(folder, entry.Name()))
			if err != nil && !errors.Is(err, fs.ErrExist) { // The first one of a name counts.
				return "", err
			}
		}
	}
	return folder, nil
}
