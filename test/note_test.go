package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/constructs"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/stacks"
	"gitlab-codedeploy/test/inputs"
)

// TestGolden_NoteOf compares the notes that "scripts/ops diff" and a merge
// request show with reviewed ones. Deployed are the templates of staging.
func TestGolden_NoteOf(t *testing.T) {
	before := stagingWithPaths(t)
	cases := map[string]func(t *testing.T) [2]template{
		"nothing":                configured(func(*config.Config) {}),
		"another-zone":           configured(func(cfg *config.Config) { slices.Reverse(cfg.GitLab.Network.Zones) }),
		"a-larger-server":        configured(func(cfg *config.Config) { cfg.GitLab.Server.InstanceType = "m5.2xlarge" }),
		"a-new-deployment-group": configured(addGroup),
		"a-wider-load-balancer": configured(func(cfg *config.Config) {
			cfg.GitLab.LoadBalancer.AllowedRanges = append(cfg.GitLab.LoadBalancer.AllowedRanges, "198.51.100.0/24")
		}),
		"new-resources": configured(func(cfg *config.Config) { cfg.Pipeline = &examplePipeline }),
		"a-script-edit": edited(func(t *testing.T, gitlab, _ template) {
			inputs := scriptInputs(t, gitlab, "scripts/runner/install-runner.sh")
			lines := list(inputs["runCommand"])
			inputs["runCommand"] = slices.Concat(lines[:2], []any{"# An edited line with `ticks`, a | and \x1b[31mcolours"}, lines[3:])
		}),
		"a-wider-policy-and-a-lost-bucket": edited(func(t *testing.T, _, deploy template) {
			for _, id := range deploy.ofType(t, "AWS::S3::BucketPolicy") {
				statements := list(rawAt(deploy, id, "Properties", "PolicyDocument", "Statement"))
				statements[len(statements)-1].(map[string]any)["Principal"] = "*"
			}
			for _, id := range deploy.ofType(t, "AWS::S3::Bucket") {
				if strings.HasPrefix(id, "Artifacts") {
					rawAt(deploy, id).(map[string]any)["DeletionPolicy"] = "Delete"
				}
			}
		}),
		// The type lets no property of a volume replace it; another id does.
		"a-volume-of-another-id": edited(func(t *testing.T, gitlab, _ template) {
			id, _ := gitlab.one(t, "AWS::EC2::Volume")
			text, err := json.Marshal(gitlab.raw)
			require.NoError(t, err)
			clear(gitlab.raw)
			require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(string(text), `"`+id+`"`, `"AnotherVolume"`)), &gitlab.raw))
		}),
		"a-removed-alarm": edited(func(t *testing.T, _, deploy template) {
			ids := deploy.ofType(t, "AWS::CloudWatch::Alarm")
			delete(deploy.raw["Resources"].(map[string]any), ids[0])
		}),
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			compareGolden(t, filepath.Join("testdata", "notes", name+".md"), noteOf(t, &before, change(t)))
		})
	}
	kept, err := filepath.Glob(filepath.Join("testdata", "notes", "*"))
	require.NoError(t, err)
	assert.Len(t, kept, len(cases), "a reviewed note of no case")
}

func TestNoteOfAFirstDeploySaysSo(t *testing.T) {
	note := noteOf(t, nil, stagingWithPaths(t))
	assert.Contains(t, note, "It is not deployed yet: all of it is created.")
	assert.Contains(t, note, "| `Server/DataVolume` | AWS::EC2::Volume |")
	assert.NotContains(t, note, "MORE PERMISSIONS", "everything is new: nothing is more than before")
}

// TestNoteTellsEqualRulesOfTwoGroupsApart is about what the CDK's own diff does
// not show: the same rule, moved from one security group to another.
func TestNoteTellsEqualRulesOfTwoGroupsApart(t *testing.T) {
	before := stagingWithPaths(t)
	after := stagingWithPaths(t)
	groups := after[0].ofType(t, "AWS::EC2::SecurityGroup")
	var from, to map[string]any
	for _, id := range groups {
		properties := rawAt(after[0], id, "Properties").(map[string]any)
		switch {
		case strings.HasPrefix(id, "LoadBalancer"):
			from = properties
		case strings.HasPrefix(id, "Runner"):
			to = properties
		}
	}
	to["SecurityGroupIngress"] = from["SecurityGroupIngress"]
	delete(from, "SecurityGroupIngress")
	note := noteOf(t, &before, after)
	assert.Contains(t, note, "**MORE NETWORK ACCESS** in GitLab-staging")
	assert.Regexp(t, "\\| \\+ \\| `\\$\\{Runner.*`tcp 443`", note)
}

var examplePipeline = config.Pipeline{
	IssuerURL: "https://ci.example.com", ProjectPath: "platform/gitlab-codedeploy", Branch: "main", ForkPipelines: config.ForksFixed,
}

func addGroup(cfg *config.Config) {
	cfg.Deploy.DeploymentGroups = append(cfg.Deploy.DeploymentGroups,
		config.DeploymentGroup{Application: "sample-api", DeploymentGroup: "sample-api-blue-green"})
}

// configured returns the templates of staging with another configuration.
func configured(change func(*config.Config)) func(*testing.T) [2]template {
	return func(t *testing.T) [2]template {
		cfg := staging(t)
		change(&cfg)
		return withPaths(t, cfg)
	}
}

// edited returns the templates of staging after somebody edited them.
func edited(edit func(t *testing.T, gitlab, deploy template)) func(*testing.T) [2]template {
	return func(t *testing.T) [2]template {
		templates := stagingWithPaths(t)
		edit(t, templates[0], templates[1])
		return templates
	}
}

var stagingPaths [2]template

// stagingWithPaths returns a copy of the templates of staging, synthesised once.
func stagingWithPaths(t *testing.T) [2]template {
	t.Helper()
	if stagingPaths[0].raw == nil {
		stagingPaths = withPaths(t, staging(t))
	}
	copied := stagingPaths
	for i := range copied {
		text, err := json.Marshal(stagingPaths[i].raw)
		require.NoError(t, err)
		copied[i].raw = nil
		require.NoError(t, json.Unmarshal(text, &copied[i].raw))
	}
	return copied
}

// withPaths returns both templates as the CDK's command makes them: with the
// place of each resource in the code.
func withPaths(t *testing.T, cfg config.Config) [2]template {
	t.Helper()
	app := newAppAsTheCLI(t)
	gitlab, deploy := stacks.NewGitLab(app, cfg, ".."), stacks.NewDeploy(app, cfg, "..")
	constructs.AcceptFindings(app)
	return [2]template{templateOf(t, gitlab), templateOf(t, deploy)}
}

// rawAt follows path in a resource of the template that is written to files.
func rawAt(tpl template, id string, path ...any) any {
	return at(tpl.raw["Resources"], append([]any{id}, path...)...)
}

// scriptInputs returns the inputs of the document that is made from a script.
func scriptInputs(t *testing.T, tpl template, script string) map[string]any {
	t.Helper()
	for _, id := range tpl.ofType(t, "AWS::SSM::Document") {
		if rawAt(tpl, id, "Metadata", "Script") == script {
			return rawAt(tpl, id, "Properties", "Content", "mainSteps", 0, "inputs").(map[string]any)
		}
	}
	require.Fail(t, "no document of "+script)
	return nil
}

// shortHash is what a note leaves of an asset's content hash.
var shortHash = regexp.MustCompile(`\b[0-9a-f]{8}…`)

// noteOf returns the note about going from the templates before, or from
// nothing, to those after.
func noteOf(t *testing.T, before *[2]template, after [2]template) string {
	t.Helper()
	folder := t.TempDir()
	type stack struct {
		Stack   string `json:"stack"`
		Account string `json:"account"`
		Region  string `json:"region"`
	}
	both := []stack{{"GitLab-staging", "111111111111", "ap-northeast-1"}, {"Deploy-staging", "222222222222", "ap-northeast-1"}}
	writeJSON(t, filepath.Join(folder, "stacks.json"), both)
	for i, s := range both {
		writeJSON(t, filepath.Join(folder, "new", s.Stack+".json"), after[i].raw)
		if before != nil {
			writeJSON(t, filepath.Join(folder, "deployed", s.Stack+".json"), before[i].raw)
		}
	}
	require.NoError(t, inputs.Are("..", "scripts", "package-lock.json"))
	cmd := exec.Command(tool(t, "node_modules/.bin/node"), "../scripts/ops.d/diff.js", "staging", folder)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	return shortHash.ReplaceAllString(string(out), "<asset>…")
}

func writeJSON(t *testing.T, path string, value any) {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, text, 0o644))
}

// tool returns the path of a program that "make setup" installs.
func tool(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(filepath.Join("..", path))
	require.NoError(t, err)
	if _, err := os.Stat(full); err != nil {
		if os.Getenv("CI") == "true" {
			require.Fail(t, path+" is missing: run make setup")
		}
		t.Skip(path + " is missing: run make setup")
	}
	return full
}
