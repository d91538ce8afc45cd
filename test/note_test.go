package test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/constructs"
	"gitlab-codedeploy/internal/cdk"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/review"
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
			inputs := scriptInputs(t, gitlab, "host install-runner")
			lines := list(inputs["runCommand"])
			inputs["runCommand"] = slices.Concat(lines[:3], []any{"# An edited line with `ticks`, a | and \x1b[31mcolours"}, lines[4:])
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
	names := slices.Sorted(maps.Keys(cases))
	var about []pairOf
	for _, name := range names {
		about = append(about, pairOf{&before, cases[name](t)})
	}
	for i, note := range notesOf(t, about) {
		t.Run(names[i], func(t *testing.T) { compareGolden(t, filepath.Join("testdata", "notes", names[i]+".md"), note) })
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
		if rawAt(tpl, id, "Metadata", "Command") == script {
			return rawAt(tpl, id, "Properties", "Content", "mainSteps", 0, "inputs").(map[string]any)
		}
	}
	require.Fail(t, "no document of "+script)
	return nil
}

// shortHash is what a note leaves of an asset's content hash.
var shortHash = regexp.MustCompile(`\b[0-9a-f]{8}…`)

// pairOf is what a note is about: the templates that are deployed, or nothing, and those after.
type pairOf struct {
	before *[2]template
	after  [2]template
}

// noteOf returns the note about one pair.
func noteOf(t *testing.T, before *[2]template, after [2]template) string {
	t.Helper()
	return notesOf(t, []pairOf{{before, after}})[0]
}

// notesOf returns the note about each pair. The library behind them is loaded once.
func notesOf(t *testing.T, about []pairOf) []string {
	t.Helper()
	tool(t, "node_modules/.bin/node")
	require.NoError(t, inputs.Are("..", "package-lock.json"))
	var pairs []review.Pair
	for _, p := range about {
		for i := range p.after {
			pair := review.Pair{Next: p.after[i].raw}
			if p.before != nil {
				pair.Deployed = p.before[i].raw
			}
			pairs = append(pairs, pair)
		}
	}
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	results, err := review.Compare(t.Context(), cdk.CLI{Root: root}, pairs)
	require.NoError(t, err)
	var notes []string
	for i := 0; i < len(results); i += 2 {
		note := review.Note("staging", []review.Stack{
			{Name: "GitLab-staging", Account: "111111111111", Region: "ap-northeast-1", Result: results[i]},
			{Name: "Deploy-staging", Account: "222222222222", Region: "ap-northeast-1", Result: results[i+1]},
		})
		notes = append(notes, shortHash.ReplaceAllString(note, "<asset>…"))
	}
	return notes
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
