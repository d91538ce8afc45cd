package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// documented is a command of scripts/ops in a document.
type documented struct {
	place string // file and line
	words []string
	whole bool // it stands in a block, to be copied as it is; within a sentence it may leave flags out
}

var (
	inSentence  = regexp.MustCompile("`scripts/ops ([a-z-][^`]*)`")
	placeholder = regexp.MustCompile(`<[^<>]*>`)
)

// documentedCommands are those of the documents that are written by hand.
func documentedCommands(t *testing.T) []documented {
	t.Helper()
	var files []string
	// By name, as what other steps write into the folder above would change the result.
	for _, pattern := range []string{"README.md", "README.ja.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join("../..", pattern))
		require.NoError(t, err)
		files = append(files, found...)
	}
	var all []documented
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		block := false
		for i, line := range strings.Split(string(text), "\n") {
			line = strings.TrimSpace(line)
			place := fmt.Sprintf("%s:%d", file, i+1)
			command, is := strings.CutPrefix(line, "scripts/ops ")
			switch {
			case strings.HasPrefix(line, "```"):
				block = !block
			case block && is:
				all = append(all, documented{place, wordsOf(command), true})
			case !block:
				for _, match := range inSentence.FindAllStringSubmatch(line, -1) {
					all = append(all, documented{place, wordsOf(match[1]), false})
				}
			}
		}
	}
	return all
}

// wordsOf are what a shell makes of a command, with a value in each placeholder's place.
func wordsOf(command string) []string {
	command, _, _ = strings.Cut(command, " #")
	command, _, _ = strings.Cut(command, " >")
	command = placeholder.ReplaceAllString(command, "staging")
	return strings.Fields(strings.NewReplacer("[", "", "]", "", "…", "x").Replace(command))
}

// undocumentable says why the program does not take a command, or nothing.
func undocumentable(p *program, d documented) string {
	root := p.command()
	root.InitDefaultCompletionCmd()
	// A word such as up|down is each of them.
	for i, word := range d.words {
		if choices := strings.Split(word, "|"); len(choices) > 1 {
			for _, choice := range choices {
				one := append(append(append([]string{}, d.words[:i]...), choice), d.words[i+1:]...)
				if fault := undocumentable(p, documented{d.place, one, d.whole}); fault != "" {
					return fault
				}
			}
			return ""
		}
	}
	if strings.HasPrefix(d.words[0], "-") {
		return "" // the program's own flags
	}
	command, rest, err := root.Find(d.words)
	if err != nil {
		return err.Error()
	}
	if command == root {
		return "no command " + d.words[0]
	}
	if err := command.ParseFlags(rest); err != nil {
		return err.Error()
	}
	if command.Args != nil && (d.whole || command.Flags().NArg() > 0) {
		if err := command.Args(command, command.Flags().Args()); err != nil {
			return err.Error()
		}
	}
	environment := command.Flags().Lookup("env")
	if d.whole && environment != nil && !environment.Changed && !onlyComputes(d.words) {
		return "--env is required"
	}
	return ""
}

// onlyComputes says whether a command only computes, of flags alone.
func onlyComputes(words []string) bool {
	text := strings.Join(words, " ")
	return strings.HasPrefix(text, "upgrade --plan --from ")
}

// TestDocumentedCommandsAreTaken is about names, flags, their values and arguments: a document that names others is wrong.
func TestDocumentedCommandsAreTaken(t *testing.T) {
	all := documentedCommands(t)
	require.Greater(t, len(all), 100)
	for _, d := range all {
		if fault := undocumentable(&program{}, d); fault != "" {
			t.Errorf("%s: scripts/ops %s: %s", strings.TrimPrefix(d.place, "../../"), strings.Join(d.words, " "), fault)
		}
	}
}

func TestDocumentedCommandsThatAreWrongAreFound(t *testing.T) {
	for command, want := range map[string]string{
		"chekc --env staging":                 "no command chekc",
		"check --env staging --follow":        "unknown flag: --follow",
		"check --env <env> now":               `unknown command "now"`,
		"backup --profile a":                  "--env is required",
		"status --env staging --timeout soon": "invalid argument",
		"sample up|sideways --env staging":    "unknown flag: --env", // of sample itself
		"check --env <env> # says why":        "",
		"upgrade --plan --from 13.10.2":       "",
		"rollback --env production [--to V]":  "",
	} {
		fault := undocumentable(&program{}, documented{"here", wordsOf(command), true})
		if want == "" {
			assert.Empty(t, fault, command)
		} else {
			assert.Contains(t, fault, want, command)
		}
	}
}

// TestOperationsAreFollowedByACommandThatCanDoSo is about what people are told to type when this program ends before an operation.
func TestOperationsAreFollowedByACommandThatCanDoSo(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	found := 0
	for _, source := range sources {
		text, err := os.ReadFile(source)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`remote\.Operation\{Name: "[a-z-]+", Command: "([a-z-]+)"`).FindAllStringSubmatch(string(text), -1) {
			found++
			command, _, err := (&program{}).command().Find([]string{match[1]})
			require.NoError(t, err, source)
			assert.NotNil(t, command.Flags().Lookup("follow"), "%s: scripts/ops %s has no --follow", source, match[1])
		}
	}
	assert.GreaterOrEqual(t, found, 8)
}
