// Package script makes one text of a shell script and of what it sources: for
// SSM documents, and for hosts that have nothing else of this project.
package script

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// sourcedFile is the directive that tells shellcheck which file the next line
// sources. It is also what tells us.
var sourcedFile = regexp.MustCompile(`^\s*# shellcheck source=(\S+)$`)

// Inline returns the lines of the script at path, from root, with every
// sourced file in the place of its "source" line, and without the shebang.
func Inline(root, path string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return nil, err
	}
	var out []string
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		if i == 0 && strings.HasPrefix(lines[i], "#!") {
			continue
		}
		match := sourcedFile.FindStringSubmatch(lines[i])
		if match == nil {
			out = append(out, lines[i])
			continue
		}
		i++
		if i == len(lines) || !strings.HasPrefix(strings.TrimSpace(lines[i]), "source ") {
			return nil, fmt.Errorf("%s:%d: want a source line after %q", path, i+1, match[0])
		}
		sourced, err := Inline(root, match[1])
		if err != nil {
			return nil, err
		}
		out = append(out, sourced...)
	}
	return out, nil
}
