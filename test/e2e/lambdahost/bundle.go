package lambdahost

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Unpack writes a function's deployed zip to folder taskRoot, all but bootstrap:
// that one is for Lambda's processor, is only checked to be so, and is to be
// replaced by one for this machine.
func Unpack(bundle []byte, taskRoot string) error {
	archive, err := zip.NewReader(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		return fmt.Errorf("read the function's zip: %w", err)
	}
	bootstrap := false
	for _, file := range archive.File {
		if strings.HasSuffix(file.Name, "/") {
			continue
		}
		if !filepath.IsLocal(file.Name) {
			return fmt.Errorf("the function's zip holds %q, outside its folder", file.Name)
		}
		content, err := readFile(file)
		if err != nil {
			return fmt.Errorf("read %s from the function's zip: %w", file.Name, err)
		}
		if file.Name == "bootstrap" {
			if err := checkBootstrap(file, content); err != nil {
				return err
			}
			bootstrap = true
			continue
		}
		path := filepath.Join(taskRoot, file.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	if !bootstrap {
		return fmt.Errorf("the function's zip has no bootstrap at its root, which provided.al2023 would start")
	}
	return nil
}

func readFile(file *zip.File) ([]byte, error) {
	r, err := file.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// checkBootstrap finds what Lambda would find only when it starts the function.
func checkBootstrap(file *zip.File, content []byte) error {
	binary, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("the deployed bootstrap is no Linux program: %w", err)
	}
	if binary.Machine != elf.EM_AARCH64 {
		return fmt.Errorf("the deployed bootstrap is for %s, want %s", binary.Machine, elf.EM_AARCH64)
	}
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("the deployed bootstrap is linked dynamically, and Lambda's image has not every library")
		}
	}
	if file.Mode()&0o111 == 0 {
		return fmt.Errorf("the deployed bootstrap is not executable (mode %s)", file.Mode())
	}
	return nil
}
