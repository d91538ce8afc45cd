//go:build unix

package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/pgzip"

	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine"
)

// Places of GitLab on a host.
const (
	configFolder = "/etc/gitlab"
	dataFolder   = "/var/opt/gitlab"
	sharedFolder = dataFolder + "/gitlab-rails/shared"
	secretsFile  = "gitlab-secrets.json"
)

// withPackages is the first version whose own backup has packages and Terraform states.
var withPackages = must(gitlab.ParseVersion("14.7.0"))

func must(v gitlab.Version, err error) gitlab.Version {
	if err != nil {
		panic(err)
	}
	return v
}

// packed are the folders of an archive, by the name that they have in it.
type packed []struct{ name, folder string }

// shared is what GitLab leaves out before 14.7.
var shared = packed{{"packages", sharedFolder + "/packages"}, {"terraform_state", sharedFolder + "/terraform_state"}}

// configuration is what GitLab leaves out in all versions, beside single files.
// https://docs.gitlab.com/administration/backup_restore/backup_gitlab/#data-not-included-in-a-backup
var configuration = packed{
	{"ssl", configFolder + "/ssl"}, {"trusted-certs", configFolder + "/trusted-certs"},
	{"encrypted_settings", sharedFolder + "/encrypted_settings"},
}

// secretFiles are single files of the configuration.
func secretFiles(m *machine.Machine) []string {
	found := []string{configFolder + "/" + secretsFile, configFolder + "/gitlab.rb", configFolder + "/gitlab-codedeploy.rb"}
	names, _ := m.List("/etc/ssh")
	for _, name := range names {
		if strings.HasPrefix(name, "ssh_host_") && (strings.HasSuffix(name, "_key") || strings.HasSuffix(name, "_key.pub")) {
			found = append(found, "/etc/ssh/"+name)
		}
	}
	return found
}

// putLeftOut stores what gitlab-backup leaves out.
func putLeftOut(ctx context.Context, m *machine.Machine, s Store, id, version string) (parts []backups.Part, err error) {
	add := func(key string, expected int64, write func(io.Writer) error) error {
		part, err := s.Put(ctx, key, expected, write)
		parts = append(parts, part)
		return err
	}
	v, err := gitlab.ParseVersion(version)
	if err != nil {
		return nil, err
	}
	if v.Compare(withPackages) < 0 && shared.any(m) {
		if err := add(backups.SharedKey(id), shared.size(m), shared.write(ctx, m)); err != nil {
			return nil, err
		}
	}
	for _, file := range secretFiles(m) {
		text, err := m.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if text == "" && !m.Exists(file) {
			continue
		}
		key := backups.SecretKey(id, filepath.Base(file))
		if err := add(key, int64(len(text)), func(w io.Writer) error { _, err := io.WriteString(w, text); return err }); err != nil {
			return nil, err
		}
	}
	if configuration.any(m) {
		if err := add(backups.SecretKey(id, "configuration.tar.gz"), configuration.size(m), configuration.write(ctx, m)); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// any says whether one of the folders has a file.
func (p packed) any(m *machine.Machine) bool {
	for _, f := range p {
		if names, _ := m.List(f.folder); len(names) > 0 {
			return true
		}
	}
	return false
}

// size is about what the folders have.
func (p packed) size(m *machine.Machine) (bytes int64) {
	for _, f := range p {
		bytes += m.Used(f.folder)
	}
	return bytes + 1<<20
}

// write writes the folders as a tar in gzip, from which tar 1.26 reads.
func (p packed) write(ctx context.Context, m *machine.Machine) func(io.Writer) error {
	return func(w io.Writer) error {
		// pgzip that is told of an error never ends: it is told of none.
		gate := &shutting{to: ending{ctx, w}}
		compressor, err := pgzip.NewWriterLevel(gate, pgzip.BestSpeed)
		if err != nil {
			return err
		}
		out := tar.NewWriter(compressor)
		for _, f := range p {
			if err := pack(m, out, f.folder, f.name); err != nil {
				return errors.Join(gate.err, err, compressor.Close())
			}
		}
		err = out.Close()
		return errors.Join(err, compressor.Close(), gate.err)
	}
}

// shutting takes the rest of a stream for nobody once it has failed.
type shutting struct {
	to  io.Writer
	err error
}

func (s *shutting) Write(p []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.to.Write(p)
	}
	return len(p), nil
}

// pack writes a folder. GitLab goes on working: what is gone by now is left out, and
// what got shorter is filled up with zeros, as tar does it.
func pack(m *machine.Machine, out *tar.Writer, folder, name string) error {
	root, err := filepath.EvalSymlinks(m.Path(folder)) // it may be on another disk
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(at string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		below, _ := filepath.Rel(root, at)
		info, err := os.Stat(at) // certificates are often links
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case info.IsDir() != entry.IsDir(), !info.IsDir() && !info.Mode().IsRegular():
			return nil
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		header.Name, header.Format = filepath.Join(name, below), tar.FormatGNU
		header.AccessTime, header.ChangeTime = header.ModTime, header.ModTime
		if info.IsDir() {
			header.Name += "/"
			return out.WriteHeader(header)
		}
		return packFile(out, at, header)
	})
}

func packFile(out *tar.Writer, at string, header *tar.Header) error {
	file, err := os.Open(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := out.WriteHeader(header); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	n, err := io.Copy(out, io.LimitReader(file, header.Size))
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	_, err = io.CopyN(out, zeros{}, header.Size-n)
	return err
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
