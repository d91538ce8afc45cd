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

// dataFile stands before a line NAME=$(cat "…the file…"), which a document, having no files, cannot run.
var (
	dataFile = regexp.MustCompile(`^# inlined data=(\S+)$`)
	dataLine = regexp.MustCompile(`^([A-Z_]+)=\$\(cat ".*"\)$`)
)

// inlineData returns the lines that set the variable in lines[i] to what the file holds.
func inlineData(root, path, file string, lines []string, i int) ([]string, error) {
	if i == len(lines) || !dataLine.MatchString(lines[i]) {
		return nil, fmt.Errorf("%s:%d: want NAME=$(cat \"…\") after the data's name, %s", path, i+1, file)
	}
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return nil, err
	}
	const end = "END_OF_DATA"
	if text := string(data); strings.Contains(text, "{{") || strings.Contains(text, end) {
		return nil, fmt.Errorf("%s contains {{ or %s", file, end)
	}
	out := []string{dataLine.FindStringSubmatch(lines[i])[1] + "=$(cat <<'" + end + "'"}
	out = append(out, strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")...)
	return append(out, end, ")"), nil
}

var functionLine = regexp.MustCompile(`^[a-z_0-9]+\(\) `)

// withoutComments leaves out what lines say of themselves at their top and before their functions: Systems Manager takes
// documents of 64 KB at most. Other comments stay, for in text that a script writes they are none, and so does the help.
func withoutComments(lines []string) []string {
	var out []string
	begin := 0 // of the comment that the lines before i are, or i
	for i, line := range lines {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "#/") {
			continue
		}
		if begin > 0 && !functionLine.MatchString(line) {
			out = append(out, lines[begin:i]...)
		}
		out = append(out, line)
		begin = i + 1
	}
	if begin > 0 {
		out = append(out, lines[begin:]...)
	}
	return out
}

// Inline returns the lines of the script at path, from root, with every
// sourced file in the place of its "source" line, and without the shebang and
// the comments above functions.
func Inline(root, path string) ([]string, error) {
	lines, err := inline(root, path)
	return withoutComments(lines), err
}

func inline(root, path string) ([]string, error) {
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
		if match := dataFile.FindStringSubmatch(lines[i]); match != nil {
			i++
			data, err := inlineData(root, path, match[1], lines, i)
			if err != nil {
				return nil, err
			}
			out = append(out, data...)
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
		sourced, err := inline(root, match[1])
		if err != nil {
			return nil, err
		}
		out = append(out, withoutComments(sourced)...)
	}
	return out, nil
}
