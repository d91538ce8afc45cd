package emulator

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/internal/trust/signer"
)

// The emulator's GitLab is a key, and nothing else: it signs tokens for the jobs
// that run here. Its public half lies beside config/local.yaml, as an operator's
// would who has run "ops trust"; Git knows neither.

// signingKey is where the key is kept, one for all emulators of a checkout: they
// synthesise from the same configuration.
func signingKey(root string) string {
	return filepath.Join(root, ".tools", "emulator-gitlab-signing-key.pem")
}

// signingKeyCopy is where a user of "up" finds it.
const signingKeyCopy = "gitlab-signing-key.pem"

// prepareGitLab makes the key if there is none, and writes what the trigger has to
// know of it. Several emulators may do so at once.
func prepareGitLab(root string) error {
	gitlab, err := openGitLab(root)
	if err != nil {
		return err
	}
	file, text := config.KeysFile(filepath.Join(root, "config"), environment), gitlab.Keys().Encode()
	if there, err := os.ReadFile(file); err == nil && bytes.Equal(there, text) {
		return nil
	}
	return replace(file, text, 0o644)
}

// openGitLab reads the key, or makes it.
func openGitLab(root string) (*signer.Signer, error) {
	url, err := gitlabURL(root)
	if err != nil {
		return nil, err
	}
	path := signingKey(root)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		made, err := signer.New(url)
		if err != nil {
			return nil, err
		}
		if text, err = made.PEM(); err != nil {
			return nil, err
		}
		if err := place(path, text); err != nil {
			return nil, err
		}
		text, err = os.ReadFile(path) // of whoever was first
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	gitlab, err := signer.Parse(url, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return gitlab, nil
}

// gitlabURL reads the configuration without the keys, which may be those of
// another key.
func gitlabURL(root string) (string, error) {
	cfg, err := config.Load(filepath.Join(root, "config"), environment)
	return cfg.GitLab.URL(), err
}

// place makes a file with all of its content, unless there is one.
func place(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary, err := writeTemporary(path, text, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if err := os.Link(temporary, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// replace puts a file in the place of another one, in one step.
func replace(path string, text []byte, mode os.FileMode) error {
	temporary, err := writeTemporary(path, text, mode)
	if err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func writeTemporary(path string, text []byte, mode os.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// TokenRequest says what a job's token is about.
type TokenRequest struct {
	Project     string // a path, or ID:PATH
	Ref         string // a branch; refs/tags/NAME is a tag
	Unprotected bool
	Audience    string // "" makes a CI_JOB_JWT, as GitLab 13.10 has it
	TTL         time.Duration
}

// JobToken signs a token for a job of the emulator's GitLab.
func JobToken(root string, r TokenRequest) (string, error) {
	project, err := projectOf(root, r.Project)
	if err != nil {
		return "", err
	}
	ref, tag := strings.CutPrefix(r.Ref, "refs/tags/")
	switch {
	case ref == "":
		return "", fmt.Errorf("--ref: got %q, want a branch, or refs/tags/NAME", r.Ref)
	case r.TTL <= 0:
		return "", fmt.Errorf("--ttl: got %s, want a time above 0", r.TTL)
	}
	gitlab, err := openGitLab(root)
	if err != nil {
		return "", err
	}
	return gitlab.Token(signer.Job{
		Project: project, Ref: strings.TrimPrefix(ref, "refs/heads/"), Tag: tag, Unprotected: r.Unprotected,
		Audience: r.Audience, Issued: time.Now(), TTL: r.TTL,
	}), nil
}

// projectOf knows the ids of the projects in the configuration. Any other project
// has one that its path gives, the same each time.
func projectOf(root, name string) (trust.Project, error) {
	number, path, both := strings.Cut(name, ":")
	if both {
		id, err := strconv.ParseInt(number, 10, 64)
		if err != nil || id < 1 || path == "" {
			return trust.Project{}, fmt.Errorf("--project: got %q, want PATH, ID or ID:PATH", name)
		}
		return trust.Project{ID: id, Path: path}, nil
	}
	cfg, err := config.Load(filepath.Join(root, "config"), environment)
	if err != nil {
		return trust.Project{}, err
	}
	for _, g := range cfg.Deploy.DeploymentGroups {
		for _, p := range g.Projects.List {
			if p.Path == name || strconv.Itoa(p.ID) == name {
				return trust.Project{ID: int64(p.ID), Path: p.Path}, nil
			}
		}
	}
	if name == "" {
		return trust.Project{}, errors.New("--project: missing, want PATH, ID or ID:PATH")
	}
	if id, err := strconv.ParseInt(name, 10, 64); err == nil && id > 0 {
		return trust.Project{ID: id, Path: "team/project-" + name}, nil
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	return trust.Project{ID: 1_000_000 + int64(hash.Sum32()), Path: name}, nil
}

// tokenScript is how a user of "up" gets tokens. It runs the copy of this program
// that up has made for the host.
func tokenScript(root, work string) []byte {
	return fmt.Appendf(nil, `#!/bin/sh
# Prints the token of a job, signed by the emulator's GitLab:
#   job-token --project P --ref R [--unprotected] [--aud A] [--ttl SECONDS]
cd %s && exec %s --dir %s job-token "$@"
`, quote(root), quote(filepath.Join(work, "emulator")), quote(work))
}

// shareGitLab leaves key and script where a user of "up" looks for them.
func (e *Emulator) shareGitLab() error {
	key, err := os.ReadFile(signingKey(e.Root))
	if err != nil {
		return err
	}
	return errors.Join(
		replace(filepath.Join(e.Work, signingKeyCopy), key, 0o600),
		replace(filepath.Join(e.Work, "job-token"), tokenScript(e.Root, e.Work), 0o755))
}
