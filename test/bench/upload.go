package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	ourKey  = "artifacts/sample-web/artifact.gz"
	pushKey = "artifacts/sample-web/artifact.zip"
)

// uploader packs a folder and uploads it, to a store.
type uploader struct {
	name    string
	options Options
	store   *store
	trust   string // file of certificates
	path    string // PATH
	key     string
	args    func(folder string) []string
}

// upload returns what it took, and the size of the object.
func (u uploader) upload(ctx context.Context, folder string) (usage, float64, error) {
	// A home of its own keeps this machine's configuration of the AWS CLI out.
	home, err := os.MkdirTemp(u.options.Work, "home-")
	if err != nil {
		return usage{}, 0, err
	}
	defer os.RemoveAll(home)
	c := command{args: u.args(folder), dir: u.options.Work, env: []string{
		"PATH=" + u.path, "HOME=" + home, "TMPDIR=" + home, "LANG=en_US.UTF-8",
		"AWS_ENDPOINT_URL=" + u.store.server.URL, "AWS_CA_BUNDLE=" + u.trust,
		"AWS_DEFAULT_REGION=" + region, "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret",
	}}
	used, _, err := c.run(ctx)
	if err != nil {
		return used, 0, err
	}
	size, err := u.store.take(u.key)
	u.options.logf("upload: %s: %.1f s, %.1f s of CPU, %.0f MB of memory, %.0f MB uploaded", u.name, used.wall.Seconds(), used.cpu.Seconds(), used.peak/1e6, float64(size)/1e6)
	return used, float64(size), err
}

func benchUpload(ctx context.Context, options Options, report *Report) error {
	if options.UploadPairs == 0 {
		return nil
	}
	folders := map[int]string{}
	for _, mb := range []int{options.FolderMB, options.SmallFolderMB} {
		options.logf("upload: making a folder of %d MB", mb)
		folders[mb] = filepath.Join(options.Work, fmt.Sprintf("folder-%d", mb))
		if err := makeFolder(folders[mb], int64(mb)*1e6); err != nil {
			return err
		}
	}
	large, small := folders[options.FolderMB], folders[options.SmallFolderMB]

	store := newStore(options.Keep)
	defer store.server.Close()
	certificates := filepath.Join(options.Work, "store.pem")
	if err := trust(store.server, certificates); err != nil {
		return err
	}
	path := filepath.Join(options.Root, ".venv", "bin") + ":/usr/local/bin:/usr/bin:/bin"
	withoutPigz, err := pathWithout("pigz", path, filepath.Join(options.Work, "bin"))
	if err != nil {
		return err
	}
	script := options.Script
	if !filepath.IsAbs(script) {
		script = filepath.Join(options.Root, script)
	}
	ours := uploader{
		name: "ours", options: options, store: store, trust: certificates, path: path, key: ourKey,
		args: func(folder string) []string {
			return []string{script, "--bucket", bucket, "--key", ourKey, "--source", folder,
				"--application", pair.Application, "--deployment-group", pair.Group}
		},
	}
	push := ours
	push.name, push.key = "aws deploy push", pushKey
	push.args = func(folder string) []string {
		return []string{awsCLI(options.Root), "deploy", "push", "--source", folder,
			"--application-name", pair.Application, "--s3-location", "s3://" + bucket + "/" + pushKey}
	}
	plain := ours
	plain.name, plain.path = "ours without pigz", withoutPigz

	// Of both, a small one first, unmeasured but for its memory.
	smallUsage, _, err := ours.upload(ctx, small)
	if err != nil {
		return err
	}
	if _, _, err := push.upload(ctx, small); err != nil {
		return err
	}
	var wall, cpu, size, peak, plainWall Series
	for n := range options.UploadPairs {
		options.logf("upload: pair %d of %d", n+1, options.UploadPairs)
		a, aSize, err := ours.upload(ctx, large)
		if err != nil {
			return err
		}
		b, bSize, err := push.upload(ctx, large)
		if err != nil {
			return err
		}
		wall.add(a.wall.Seconds(), b.wall.Seconds())
		cpu.add(a.cpu.Seconds(), b.cpu.Seconds())
		peak.add(a.peak, b.peak)
		size.add(aSize, bSize)
		if n == 0 {
			c, _, err := plain.upload(ctx, large)
			if err != nil {
				return err
			}
			plainWall.add(c.wall.Seconds(), b.wall.Seconds())
		}
	}
	what := fmt.Sprintf("upload of %d MB: ", options.FolderMB)
	report.Rows = append(report.Rows,
		Row{Name: what + "time", Unit: Seconds, Series: wall, Target: &Target{Times: 2}},
		Row{Name: what + "CPU time", Unit: Seconds, Series: cpu},
		Row{Name: what + "time without pigz", Unit: Seconds, Series: plainWall},
		Row{Name: what + "size of the artifact", Unit: Megabytes, Series: size},
		Row{Name: what + "peak memory", Unit: Megabytes, Series: peak},
		// Growth is a matter of our own: the reference is the smaller folder.
		Row{Name: fmt.Sprintf("upload of %d MB: peak memory", options.SmallFolderMB), Unit: Megabytes, Series: Series{Ours: []float64{smallUsage.peak}}})
	report.Notes = append(report.Notes, "upload: reference is `aws deploy push` of the same AWS CLI; both to a small S3 of our own over TLS on loopback, which compares checksums and drops the content.\n"+
		"Memory is the highest sum over all processes, looked at 20 times a second; a shared page counts once.")
	return nil
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
