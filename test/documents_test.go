package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// eachDocument runs check on every SSM document of both stacks that starts a program
// of ours; the others are the agent's. name is what its fixed name ends with, or
// "" without one.
func eachDocument(t *testing.T, check func(t *testing.T, name string, content map[string]any)) {
	t.Helper()
	each(t, "AWS::SSM::Document", func(t *testing.T, _ template, _ string, r resource) {
		if at(r.Properties, "Content", "mainSteps", 0, "action") == "aws:runDocument" {
			require.Nil(t, r.Metadata["Command"])
			return // TestS11_S5_theAgentIsInstalledBeforeItIsConfigured
		}
		name, _ := r.Properties["Name"].(string)
		check(t, strings.TrimPrefix(name, "gitlab-codedeploy-staging-"), r.Properties["Content"].(map[string]any))
	})
}

// runCommand returns a document's lines.
func runCommand(content map[string]any) (lines []any) {
	for _, line := range list(at(content, "mainSteps", 0, "inputs", "runCommand")) {
		lines = append(lines, whole(line))
	}
	return lines
}

// whole is a text that CloudFormation puts together, with <name> for a resource.
func whole(v any) string {
	if resource, is := at(v, "Ref").(string); is {
		return "<" + resource + ">"
	}
	parts := list(at(v, "Fn::Join", 1))
	if parts == nil {
		return text(v)
	}
	var all []string
	for _, part := range parts {
		all = append(all, whole(part))
	}
	return strings.Join(all, at(v, "Fn::Join", 0).(string))
}

// cutScript divides a document's lines into those that hand over the
// parameters, the last of which is "set --", and the script.
func cutScript(lines []any) (header, script []any) {
	for i, line := range lines {
		if strings.HasPrefix(whole(line), "set --") {
			return lines[:i+1], lines[i+1:]
		}
	}
	return nil, lines
}

func parametersOf(content map[string]any) map[string]any {
	parameters, _ := content["parameters"].(map[string]any)
	return parameters
}

// https://docs.aws.amazon.com/systems-manager/latest/userguide/documents-schemas-features.html
func TestS8_everyDocumentIsOneThatSystemsManagerTakes(t *testing.T) {
	eachDocument(t, func(t *testing.T, name string, content map[string]any) {
		var body bytes.Buffer
		encoder := json.NewEncoder(&body)
		encoder.SetEscapeHTML(false)
		require.NoError(t, encoder.Encode(content))
		assert.LessOrEqual(t, body.Len(), 64*1024, "Systems Manager's limit of a document")

		for key := range content {
			assert.Contains(t, []string{"schemaVersion", "description", "parameters", "mainSteps"}, key)
		}
		assert.Equal(t, "2.2", content["schemaVersion"])
		assert.NotEmpty(t, content["description"])
		steps := list(content["mainSteps"])
		require.Len(t, steps, 1, "get-command-invocation answers for one step")
		step := steps[0].(map[string]any)
		assert.Equal(t, "aws:runShellScript", step["action"])
		assert.Regexp(t, `^[A-Za-z0-9_-]+$`, step["name"])
		assert.Regexp(t, `^[1-9][0-9]*$`, at(step, "inputs", "timeoutSeconds"))
		for parameter, p := range parametersOf(content) {
			assert.Regexp(t, `^[A-Za-z]+$`, parameter)
			assert.Equal(t, "String", at(p, "type"), parameter)
			assert.NotEmpty(t, at(p, "description"), parameter)
			if preset := at(p, "default"); preset != nil {
				assert.Regexp(t, at(p, "allowedPattern"), preset, parameter)
			}
		}
	})
}

// TestS8_theTemplateFitsIntoCloudFormation: all scripts are in it.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
func TestS8_theTemplateFitsIntoCloudFormation(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ") // as the CDK writes it
	require.NoError(t, encoder.Encode(gitlab.raw))
	assert.Less(t, body.Len(), 1_000_000, "CloudFormation takes 1 MB")
}

// TestS8_everyParameterStandsInQuotes: Systems Manager puts values into the
// script's text, and nothing else of it may look like a placeholder.
func TestS8_everyParameterStandsInQuotes(t *testing.T) {
	eachDocument(t, func(t *testing.T, name string, content map[string]any) {
		header, script := cutScript(runCommand(content))
		require.NotEmpty(t, header)
		assert.Equal(t, "#!/bin/sh", header[0])
		handed := fmt.Sprint(header...)
		var used []string
		for _, match := range regexp.MustCompile(`'\{\{ (\w+) \}\}'`).FindAllStringSubmatch(handed, -1) {
			used = append(used, match[1])
		}
		var declared []string
		for parameter := range parametersOf(content) {
			declared = append(declared, parameter)
		}
		assert.ElementsMatch(t, declared, used, "each is handed over once")
		assert.Equal(t, len(used), strings.Count(handed, "{{"), "none without quotes")
		for _, line := range script {
			assert.NotContains(t, line, "{{", "Systems Manager would replace it")
		}
		if name != "" && name != "follow" && name != "keys" { // these two only look, and end at once
			assert.Contains(t, handed, "'{{ RunId }}'", "an operation runs on by itself")
		}
	})
}

// TestS13_everyStarterIsOneLineOfArgumentsAndTheSameWayToTheProgram: nothing but its
// command tells one document of the hosts' program from another.
func TestS13_everyStarterIsOneLineOfArgumentsAndTheSameWayToTheProgram(t *testing.T) {
	starters := map[string]bool{}
	eachDocument(t, func(t *testing.T, name string, content map[string]any) {
		header, starter := cutScript(runCommand(content))
		require.Len(t, header, 3)
		assert.Equal(t, "set -eu", header[1])
		assert.Regexp(t, `^set -- [a-z-]+( --[a-z0-9-]+ '[^']*')*$`, header[2])
		if name != "" {
			assert.Contains(t, header[2], "set -- "+name, "scripts/ops follows an operation by its document's name")
		}
		starters[fmt.Sprint(starter...)] = true
		body, err := json.Marshal(content)
		require.NoError(t, err)
		assert.Less(t, len(body), 4096)
	})
	assert.Len(t, starters, 1)
}

// choices are all that the sender of a document of the hosts' program may choose, by
// parameter, and what he decides by it. What he could turn against the owner of the
// host, an address, a bucket, a key, a path, a repository, stands in the document.
var choices = map[string]string{
	"RunId":         "which run it is",
	"Run":           "which run he looks at",
	"LogFrom":       "from where on",
	"ResultFrom":    "from where on",
	"Wait":          "how long he waits",
	"Check":         "only to look",
	"Yes":           "that he was asked",
	"Action":        "which step it is",
	"KeepDays":      "which backups are old",
	"Backup":        "which backup is restored",
	"AcceptLost":    "how many repositories may be lost",
	"KeepSignUp":    "whether strangers may sign up",
	"LostSecrets":   "what is reset",
	"SignUp":        "whether strangers may sign up",
	"Mode":          "whether he only looks",
	"From":          "which version he has seen",
	"To":            "which version it becomes, of our table",
	"Version":       "which version it becomes",
	"BackupEachHop": "whether there is a way back",
	"FixKnownJobs":  "whether documented remedies are used",
	"JobsTimeout":   "how long jobs may go on",
}

func TestS13_whatASenderChoosesIsWhatAnOperatorDecides(t *testing.T) {
	found := 0
	eachDocument(t, func(t *testing.T, name string, content map[string]any) {
		if name == "" { // nobody but the stack sends one without a name
			return
		}
		found++
		for parameter, p := range parametersOf(content) {
			assert.Contains(t, choices, parameter, "%s: what does an operator decide by it?", name)
			pattern := regexp.MustCompile(at(p, "allowedPattern").(string))
			for _, foreign := range []string{
				"https://evil.example.com", "http://localhost:1", "evil.example.com", "s3://evil", "/tmp/evil", "../evil", "arn:aws:s3:::evil", "evil@example.com", "eu-central-1",
			} {
				assert.False(t, pattern.MatchString(foreign), "%s lets %s be %q", name, parameter, foreign)
			}
		}
	})
	assert.NotZero(t, found)
}

// forbidden are the characters that no parameter may hold, whatever it is for:
// with them a value could leave its quotes, or become one of Systems Manager's
// placeholders, or more than one line of a log.
const forbidden = "'\"$`\\;{}<>|()!*# \t\n\r\x00\x1b\x7f"

func TestS8_noParameterLetsAShellThrough(t *testing.T) {
	hostile := []string{
		"", "'", "';id;'", "' '", `"`, "$(id)", "${IFS}", "`id`", "a;id", "a\nid", "a\r\nid", "\x00", "{{ RunId }}", "{{RunId}}", "{{ssm:/a}}",
		"a b", "a\tb", "a|id", "a&id\n", ">/etc/passwd", "<x", "\\", "\\'", "*", "~\n", "../../etc/passwd\n", "#", "!x", "\u2028", "’", "-\n",
		"--yes", "-o", "a\x1b[2J",
	}
	eachDocument(t, func(t *testing.T, _ string, content map[string]any) {
		for name, p := range parametersOf(content) {
			text := at(p, "allowedPattern").(string)
			assert.Regexp(t, `^\^.*\$$`, text, name)
			pattern, err := regexp.Compile(text)
			require.NoError(t, err, name)
			for _, value := range hostile {
				if value == "" && at(p, "default") == "" {
					continue
				}
				assert.False(t, pattern.MatchString(value), "%s lets %q through: %s", name, value, text)
			}
			// And whatever else it lets through, none of these is in it.
			assert.Empty(t, allowedOf(t, text), "%s: %s", name, text)
		}
	})
}

// TestS8_anOpenPatternIsFound keeps the test above honest.
func TestS8_anOpenPatternIsFound(t *testing.T) {
	for pattern, want := range map[string]string{
		`^[a-z]+$`: "", `^(ce|ee)$`: "", `^https://[A-Za-z0-9.-]+(:[0-9]+)?$`: "", `^[^a]$`: "any of many", `^.$`: "any of many", `^a.*$`: "any of many",
		`^[a-z ]$`: " ", `^a'b$`: "'", `^[ -~]+$`: "any of many", `^\s$`: "\t\n\r ", `^\w+$`: "", `^\S+$`: "any of many", `^a|b$`: "an end that is open",
		`^a$|^b`: "an end that is open", `^(a|)$`: "", `^a$\n?`: "an end that is open", `^[#-&]$`: "$#",
	} {
		assert.ElementsMatch(t, []rune(want), []rune(allowedOf(t, pattern)), pattern)
	}
}

// allowedOf returns the forbidden characters that a value which matches the
// pattern can hold. It reads the pattern, and so proves it for every value.
func allowedOf(t *testing.T, pattern string) string {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	require.NoError(t, err)
	// "^a|b$" is anchored at one end only, whatever its text begins and ends with.
	if parsed.Op != syntax.OpConcat || parsed.Sub[0].Op != syntax.OpBeginText || parsed.Sub[len(parsed.Sub)-1].Op != syntax.OpEndText {
		return "an end that is open"
	}
	found := ""
	var walk func(re *syntax.Regexp)
	walk = func(re *syntax.Regexp) {
		switch re.Op {
		case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
			found = "any of many"
		case syntax.OpLiteral, syntax.OpCharClass:
			for _, c := range forbidden {
				if holds(re, c) && !strings.ContainsRune(found, c) {
					found += string(c)
				}
			}
			// A class that was written as what it is not.
			if holds(re, '\u2028') || len(found) > 6 {
				found = "any of many"
			}
		}
		for _, sub := range re.Sub {
			walk(sub)
		}
	}
	walk(parsed)
	return found
}

func holds(re *syntax.Regexp, c rune) bool {
	if re.Op == syntax.OpLiteral {
		return strings.ContainsRune(string(re.Rune), c)
	}
	for i := 0; i+1 < len(re.Rune); i += 2 {
		if re.Rune[i] <= c && c <= re.Rune[i+1] {
			return true
		}
	}
	return false
}
