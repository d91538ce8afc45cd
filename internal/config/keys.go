package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"gitlab-codedeploy/internal/trust"
)

// KeysFile is where the public keys of an environment's GitLab lie.
func KeysFile(dir, environment string) string { return filepath.Join(dir, environment+".jwks.json") }

// maxKeysFile bounds what is read of the file.
const maxKeysFile = 1 << 20

// readKeys answers no keys when there is no file: a new GitLab has none that anybody could have read.
func readKeys(dir, environment string) (trust.Keys, error) {
	file := KeysFile(dir, environment)
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if !isFile(file) { // opening a pipe would wait for its other end
		return nil, fmt.Errorf("%s: got something else, want a file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read GitLab's keys: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeysFile))
	if err != nil {
		return nil, fmt.Errorf("read GitLab's keys: %w", err)
	}
	keys, err := trust.ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\nscripts/ops trust writes this file", file, err)
	}
	return keys, nil
}
