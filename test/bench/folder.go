package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What a folder to deploy consists of: three fifths sources, the rest archives
// and pictures, which are compressed already.
const (
	sourceShare = 0.6
	archiveSize = 1_000_000 // bytes
)

// makeFolder fills a folder with size bytes and an AppSpec file. Its sources
// are Go's own, which are there wherever this runs, as often as it takes: text
// made up from random words compresses like nothing that is deployed. The same
// size gives the same content with every copy of the same version of Go.
func makeFolder(root string, size int64) error {
	sources := int64(sourceShare * float64(size))
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	from := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	for n, left := 0, sources; left > 0; n++ {
		copied, err := copySources(from, filepath.Join(root, fmt.Sprintf("src-%02d", n)), left)
		if err != nil {
			return err
		}
		left -= copied
	}
	random := rand.NewChaCha8([32]byte([]byte("gitlab-codedeploy's bench folder")))
	for n, left := 0, size-sources; left > 0; n, left = n+1, left-archiveSize {
		if err := writeFile(filepath.Join(root, "lib", fmt.Sprintf("archive-%04d.bin", n)), io.LimitReader(random, min(left, archiveSize))); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(root, "appspec.yml"),
		strings.NewReader("version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/sample\n"))
}

// copySources copies files in the order of their names until it has limit
// bytes; the last one may be cut off.
func copySources(from, to string, limit int64) (copied int64, err error) {
	err = filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		if copied == limit {
			return fs.SkipAll
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		size := min(info.Size(), limit-copied)
		copied += size
		return writeFile(filepath.Join(to, strings.TrimPrefix(path, from)), io.LimitReader(file, size))
	})
	if err == nil && copied == 0 {
		err = errors.New("no sources in " + from)
	}
	return copied, err
}

func writeFile(file string, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	return f.Close()
}
