package remotetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Document is a document of Systems Manager: the lines of its script, and what its parameters may be.
type Document struct {
	Lines      []string
	Command    string // of the hosts' program, which "<starter>" starts
	Parameters map[string]Parameter
}

// Parameter is one of a document.
type Parameter struct {
	Pattern  string `json:"allowedPattern"`
	Default  string `json:"default"`
	optional bool
}

// UnmarshalJSON knows a default from none.
func (p *Parameter) UnmarshalJSON(text []byte) error {
	type plain Parameter
	if err := json.Unmarshal(text, (*plain)(p)); err != nil {
		return err
	}
	var has map[string]any
	err := json.Unmarshal(text, &has)
	_, p.optional = has["default"]
	return err
}

// documents are those of the golden template, by their names. That the real ones hold the same is proved by test/documents_test.go.
func documents(t testing.TB, root string) map[string]Document {
	t.Helper()
	found, err := readDocuments(root)
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return maps.Clone(found)
}

var read struct {
	sync.Once
	documents map[string]Document
	err       error
}

// readDocuments reads the template once a process.
func readDocuments(root string) (map[string]Document, error) {
	read.Do(func() {
		text, err := os.ReadFile(filepath.Join(root, "test/testdata/GitLab-staging.template.json"))
		if err == nil {
			read.documents, err = parseDocuments(text)
		}
		read.err = err
	})
	return read.documents, read.err
}

func parseDocuments(text []byte) (map[string]Document, error) {
	var template struct {
		Resources map[string]struct {
			Type       string
			Metadata   struct{ Command string }
			Properties json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &template); err != nil {
		return nil, err
	}
	found := map[string]Document{}
	for _, resource := range template.Resources {
		if resource.Type != "AWS::SSM::Document" || resource.Metadata.Command == "" {
			continue
		}
		var properties struct {
			Name    string
			Content struct {
				Parameters map[string]Parameter
				MainSteps  []struct {
					Inputs struct{ RunCommand []any }
				}
			}
		}
		if err := json.Unmarshal(resource.Properties, &properties); err != nil {
			return nil, err
		}
		document := Document{Command: resource.Metadata.Command, Parameters: properties.Content.Parameters}
		for _, line := range properties.Content.MainSteps[0].Inputs.RunCommand {
			document.Lines = append(document.Lines, lineOf(line))
		}
		if properties.Name != "" {
			found[properties.Name] = document
		}
	}
	return found, nil
}

// lineOf is a line of a template, in which a value that CloudFormation fills in is
// "some-resource".
func lineOf(line any) string {
	if text, is := line.(string); is {
		return text
	}
	object, _ := line.(map[string]any)
	join, _ := object["Fn::Join"].([]any)
	if len(join) != 2 {
		return "some-resource"
	}
	text := ""
	parts, _ := join[1].([]any)
	for _, part := range parts {
		text += lineOf(part)
	}
	return text
}

// values are those of all parameters, or an error as Systems Manager's.
func (d Document) values(given map[string][]string) (map[string]string, error) {
	values := map[string]string{}
	for name := range given {
		if _, declared := d.Parameters[name]; !declared {
			return nil, fmt.Errorf("parameter %s is not declared", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Parameters)) {
		parameter := d.Parameters[name]
		value, is := given[name]
		switch {
		case is && len(value) != 1, !is && !parameter.optional:
			return nil, fmt.Errorf("parameter %s needs one value", name)
		case is:
			values[name] = value[0]
		default:
			values[name] = parameter.Default
		}
		if !regexp.MustCompile(parameter.Pattern).MatchString(values[name]) {
			return nil, fmt.Errorf("parameter %s does not match %s", name, parameter.Pattern)
		}
	}
	return values, nil
}

var placeholder = regexp.MustCompile(`\{\{ *(\w+) *\}\}`)

// text is the document's script as the agent runs it, with the parameters in their places.
func (d Document) text(t testing.TB, root string, values map[string]string) string {
	t.Helper()
	var lines []string
	for _, line := range d.Lines {
		if line == "<starter>" { // What finds and checks the program is another test's.
			line = "exec '" + HostProgram(t) + `' "$@"`
		}
		lines = append(lines, line)
	}
	return placeholder.ReplaceAllStringFunc(strings.Join(lines, "\n")+"\n", func(found string) string {
		return values[placeholder.FindStringSubmatch(found)[1]]
	})
}

// projectRoot is the folder with go.mod above a test.
func projectRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		require.NotEqual(t, dir, filepath.Dir(dir), "no go.mod above the test")
		dir = filepath.Dir(dir)
	}
}
