package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/internal/upload/uploadtest"
)

// backedUpByScript is the last commit in which a script made backups.
const backedUpByScript = "8ccc40ea7f0bd3109be01bbd23b741ae6d78ef5f"

const benchBackupID = "1606734000_2020_11_30_13.10.2"

// benchBackup times a backup of a stand-in for GitLab, whose archive is there at once,
// against the script before it, with the AWS CLI of this checkout.
func benchBackup(ctx context.Context, options Options, report *Report) error {
	host := filepath.Join(options.Work, "backed-up")
	options.logf("backup: making an archive of %d MB", options.BackupMB)
	if err := makeGitLab(host, int64(options.BackupMB)*1e6); err != nil {
		return err
	}
	program := filepath.Join(options.Work, "backuphost")
	if err := gobuild.Build(options.Root, "./test/bench/backuphost", program, runtime.GOOS, runtime.GOARCH); err != nil {
		return err
	}
	script, err := backupScript(ctx, options)
	if err != nil {
		return err
	}
	var wall, cpu, memory Series
	for n := range options.BackupPairs {
		options.logf("backup: pair %d of %d", n+1, options.BackupPairs)
		ours, err := backUp(ctx, options, host, program, host, bucket)
		if err != nil {
			return err
		}
		var reference usage
		if script != "" {
			if reference, err = backUp(ctx, options, host, "bash", script, "--bucket", bucket, "--region", region); err != nil {
				return err
			}
		}
		wall.compare(ours.wall.Seconds(), reference.wall.Seconds())
		cpu.compare(ours.cpu.Seconds(), reference.cpu.Seconds())
		memory.compare(ours.peak, reference.peak)
	}
	what := fmt.Sprintf("backup of %d MB: ", options.BackupMB)
	report.Rows = append(report.Rows,
		Row{Name: what + "time", Unit: Seconds, Series: wall, Target: &Target{Times: 4}},
		Row{Name: what + "CPU time", Unit: Seconds, Series: cpu},
		Row{Name: what + "peak memory", Unit: Megabytes, Series: memory, Target: &Target{Most: mostMemory}})
	report.Notes = append(report.Notes, fmt.Sprintf("backup: of a stand-in for GitLab whose archive is there at once, half of it repositories and half uploads, to a small S3 of our own that never waits. "+
		"Reference is the script of commit %.7s; without that commit, or without root, there is none.", backedUpByScript))
	return nil
}

// backupScript is that of the commit, "" when it cannot run here.
func backupScript(ctx context.Context, options Options) (string, error) {
	if os.Geteuid() != 0 { // which the script wants
		options.logf("backup: not as root, so there is nothing to compare with")
		return "", nil
	}
	if !options.hasOldScripts(ctx, backedUpByScript) {
		return "", nil
	}
	old := filepath.Join(options.Work, "backup-script")
	if err := os.MkdirAll(old, 0o700); err != nil {
		return "", err
	}
	unpack := exec.CommandContext(ctx, "bash", "-c", `set -o pipefail; git -C "$1" archive "$2" scripts | tar -x -C "$3"`, "bash", options.Root, backedUpByScript, old)
	if out, err := unpack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack commit %s: %w: %s", backedUpByScript, err, out)
	}
	return filepath.Join(old, "scripts", "server", "backup-gitlab.sh"), nil
}

// backUp runs one of them to its end, and sees that the backup is there.
func backUp(ctx context.Context, options Options, host string, args ...string) (usage, error) {
	store := uploadtest.New(uploadtest.Options{})
	defer store.Server.Close()
	front := httptest.NewTLSServer(readable{store})
	defer front.Close()
	home, err := os.MkdirTemp(options.Work, "home-")
	if err != nil {
		return usage{}, err
	}
	defer os.RemoveAll(home)
	certificates := filepath.Join(home, "certificates.pem")
	if err := trust(front, certificates); err != nil {
		return usage{}, err
	}
	used, err := command{args: args, dir: options.Work, memory: options.MemoryEvery, env: []string{
		"PATH=" + filepath.Join(host, "bin") + ":" + filepath.Join(options.Root, ".venv", "bin") + ":/usr/local/bin:/usr/bin:/bin",
		"HOME=" + home, "TMPDIR=" + home, "LANG=en_US.UTF-8", "STAND_IN=" + host,
		"AWS_ENDPOINT_URL=" + front.URL, "AWS_CA_BUNDLE=" + certificates,
		"AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region, "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret",
		"BACKUP_DATA=" + filepath.Join(host, "var/opt/gitlab"), "BACKUP_CONFIG=" + filepath.Join(host, "etc/gitlab"),
		"BACKUP_STATE=" + home, "OPERATION_LOCK=" + filepath.Join(home, "lock"),
	}}.run(ctx)
	if err != nil {
		return used, err
	}
	if len(store.Versions("backups/"+benchBackupID+"/manifest.json")) != 1 || len(store.Bad()) > 0 {
		return used, fmt.Errorf("%s: there is no backup in the bucket; refused: %q", args[0], store.Bad())
	}
	options.logf("backup: %s: %.1f s, %.1f s of CPU, %.0f MB of memory", filepath.Base(args[0]), used.wall.Seconds(), used.cpu.Seconds(), used.peak/1e6)
	return used, nil
}

// readable is a store that says what it has.
type readable struct{ *uploadtest.Store }

func (s readable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>`)
		for _, o := range s.Under(r.URL.Query().Get("prefix")) {
			fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size><ETag>&quot;%s&quot;</ETag></Contents>", o.Key, o.Size, strings.Trim(o.ETag, `"`))
		}
		fmt.Fprint(w, "</ListBucketResult>")
	case r.Method == http.MethodHead && r.URL.Query().Has("partNumber"):
		found := s.Under(key)
		if len(found) == 0 {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(min(found[0].Size, 8<<20))) // what the AWS CLI sends at a time
	default:
		s.Server.Config.Handler.ServeHTTP(w, r)
	}
}

// makeGitLab makes the files that a backup is of, an archive of about a size, and
// commands that hand it over.
func makeGitLab(host string, size int64) error {
	const status = "#!/bin/sh\nfor s in gitaly postgresql; do echo \"run: $s: (pid 1) 5s; run: log: (pid 1) 5s\"; done\n"
	const create = "#!/bin/sh\nset -e\nln -f \"$STAND_IN/archive.tar\" \"$STAND_IN/var/opt/gitlab/backups/" + benchBackupID + "_gitlab_backup.tar\"\n" +
		"echo 'Creating backup archive: " + benchBackupID + "_gitlab_backup.tar ... done'\n"
	for name, text := range map[string]string{
		// A database of GitLab's that names no wiki for which a bundle would be looked for.
		"bin/gitlab-psql": "#!/bin/sh\ngrep -q pg_attribute && printf 'application_settings\\tid\\n'\nexit 0\n",
		"bin/gitlab-ctl":  status, "bin/gitlab-backup": create, "etc/gitlab/gitlab-secrets.json": "{}", "etc/gitlab/gitlab.rb": "# none\n",
		"var/opt/gitlab/backups/.keep": "", "var/opt/gitlab/gitlab-rails/shared/packages/ab/package": "package",
	} {
		if err := writeFile(filepath.Join(host, name), strings.NewReader(text)); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(host, name), 0o755); err != nil {
			return err
		}
	}
	file, err := os.Create(filepath.Join(host, "archive.tar"))
	if err != nil {
		return err
	}
	return errors.Join(writeArchive(file, size), file.Close())
}

func writeArchive(w io.Writer, size int64) error {
	out := tar.NewWriter(w)
	random := rand.NewChaCha8([32]byte([]byte("gitlab-codedeploy's bench folder")))
	add := func(name string, size int64, content io.Reader) error {
		if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, Typeflag: tar.TypeReg, Format: tar.FormatGNU}); err != nil {
			return err
		}
		_, err := io.CopyN(out, content, size)
		return err
	}
	small := func(name, text string) error {
		if strings.HasSuffix(name, ".gz") {
			var packed strings.Builder
			z := gzip.NewWriter(&packed)
			if _, err := io.WriteString(z, text); err != nil {
				return err
			}
			if err := z.Close(); err != nil {
				return err
			}
			text = packed.String()
		}
		return add(name, int64(len(text)), strings.NewReader(text))
	}
	var empty strings.Builder
	if err := tar.NewWriter(&empty).Close(); err != nil {
		return err
	}
	uploads, length, err := packedUploads(random, size/2)
	if err != nil {
		return err
	}
	defer os.Remove(uploads.Name())
	defer uploads.Close()
	const bundle = 5_000_000
	err = errors.Join(small("backup_information.yml", ":gitlab_version: 13.10.2\n:skipped: \n"),
		small("db/database.sql.gz", "-- PostgreSQL database dump\n"+strings.Repeat("-- a comment\n", 100_000)+"-- PostgreSQL database dump complete\n"),
		add("uploads.tar.gz", length, uploads), small("artifacts.tar.gz", empty.String()), small("lfs.tar.gz", empty.String()))
	for n := range max(1, size/2/bundle) {
		const begins = "# v2 git bundle\n"
		length := min(bundle, size/2) + int64(len(begins))
		err = errors.Join(err, add(fmt.Sprintf("repositories/@hashed/%02d/%04d.bundle", n%100, n), length, io.MultiReader(strings.NewReader(begins), random)))
	}
	return errors.Join(err, out.Close())
}

// packedUploads is an archive in gzip of files that are compressed already.
func packedUploads(random io.Reader, size int64) (*os.File, int64, error) {
	file, err := os.CreateTemp("", "bench-uploads-")
	if err != nil {
		return nil, 0, err
	}
	z := gzip.NewWriter(file)
	out := tar.NewWriter(z)
	for left := size; left > 0; left -= archiveSize {
		n := min(left, archiveSize)
		err = errors.Join(err, out.WriteHeader(&tar.Header{Name: fmt.Sprintf("./%d", left), Mode: 0o600, Size: n, Typeflag: tar.TypeReg}))
		if err != nil {
			break
		}
		if _, err = io.CopyN(out, random, n); err != nil {
			break
		}
	}
	err = errors.Join(err, out.Close(), z.Close())
	length, err2 := file.Seek(0, io.SeekCurrent)
	_, err3 := file.Seek(0, io.SeekStart)
	return file, length, errors.Join(err, err2, err3)
}
