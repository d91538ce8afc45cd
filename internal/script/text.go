package script

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// folders hold the hosts' scripts, from the root of the checkout.
var folders = []string{"scripts/server", "scripts/runner"}

// Names are those of the hosts' scripts, without ".sh".
func Names(root string) ([]string, error) {
	var names []string
	for _, folder := range folders {
		entries, err := os.ReadDir(filepath.Join(root, folder))
		if err != nil {
			return nil, fmt.Errorf("list the hosts' scripts: %w", err)
		}
		for _, entry := range entries {
			if name, is := strings.CutSuffix(entry.Name(), ".sh"); is && entry.Type().IsRegular() {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// Text is a host's script with what it sources in it, so that one file is all that a host needs.
func Text(root, name string) (string, error) {
	names, err := Names(root)
	if err != nil {
		return "", err
	}
	if !slices.Contains(names, name) {
		return "", &UnknownError{Name: name, Names: names}
	}
	path := filepath.Join(folders[0], name+".sh")
	if _, err := os.Stat(filepath.Join(root, path)); err != nil {
		path = filepath.Join(folders[1], name+".sh")
	}
	lines, err := Inline(root, path)
	if err != nil {
		return "", err
	}
	return "#!/usr/bin/env bash\n" + strings.Join(lines, "\n") + "\n", nil
}

// UnknownError says that there is no such script.
type UnknownError struct {
	Name  string
	Names []string // that there are
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("no script %q: want one of %s", e.Name, strings.Join(e.Names, " "))
}
