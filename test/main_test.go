// Package test checks the synthesised templates: goldens, fine assertions,
// invariants over all resources, and the rules of the house.
package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/constructs"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/stacks"
)

// TestMain closes the one jsii kernel that all tests share. No test here may
// call t.Parallel: the kernel serves one request at a time.
func TestMain(m *testing.M) {
	startAgain()
	code := m.Run()
	jsii.Close()
	os.Exit(code)
}

// startAgain starts this program again, on one processor and without the CDK's own
// validation of the templates, which takes longer than the synthesis does. The tests
// about findings ask for it by name (validated). The CDK knows nothing but a variable
// for it, and the kernel has taken its environment when the CDK's packages were
// initialised, before any code here runs.
func startAgain() {
	const variable = "CDK_VALIDATION"
	if os.Getenv(variable) == "false" {
		return
	}
	program, err := os.Executable()
	if err == nil {
		err = os.Setenv(variable, "false")
	}
	if err == nil {
		err = keepToOneProcessor()
	}
	if err == nil {
		jsii.Close() // has a folder, and no process yet
		err = syscall.Exec(program, os.Args, os.Environ())
	}
	panic(fmt.Errorf("start the tests with %s=false, on one processor: %w", variable, err))
}

// newApp returns an app with the context of cdk.json, and with the compiling
// of functions off, so that a test neither drifts from "cdk synth" nor waits
// for the compiler.
func newApp(t *testing.T) awscdk.App {
	t.Helper()
	raw, err := os.ReadFile("../cdk.json")
	require.NoError(t, err)
	var file struct{ Context map[string]any }
	require.NoError(t, json.Unmarshal(raw, &file))
	context := map[string]any{"aws:cdk:bundling-stacks": []string{}}
	maps.Copy(context, file.Context)
	outdir := t.TempDir()
	return awscdk.NewApp(&awscdk.AppProps{Context: &context, Outdir: &outdir})
}

// newAppAsTheCLI is newApp with what the CDK's command adds: the place of each
// resource in the code. cfn-lint knows the CDK's templates by it.
func newAppAsTheCLI(t *testing.T) awscdk.App {
	t.Helper()
	app := newApp(t)
	app.Node().SetContext(jsii.String("aws:cdk:enable-path-metadata"), true)
	return app
}

// validated adds the CDK's own validation to an app, as "cdk synth" does without
// being asked.
func validated(app awscdk.App) {
	awscdk.Validations_Of(app).AddPlugins(validation())
}

// validation is made once: reading its rules takes seconds.
var validation = sync.OnceValue(func() awscdk.CloudFormationValidatePlugin {
	return awscdk.NewCloudFormationValidatePlugin(nil)
})

// staging returns the configuration of the goldens.
func staging(t *testing.T) config.Config {
	t.Helper()
	cfg, err := config.Load("../config", "staging")
	require.NoError(t, err)
	return cfg
}

// synthesise returns the templates of both stacks of cfg. What is accepted stays
// untold: only checkers and goldens read it, and it takes a quarter of the time.
func synthesise(t *testing.T, cfg config.Config) (gitlab, deploy template) {
	t.Helper()
	app := newApp(t)
	a, b := stacks.NewGitLab(app, cfg, ".."), stacks.NewDeploy(app, cfg, "..")
	return templateOf(t, a), templateOf(t, b)
}

// synthesiseGitLab is synthesise for what asks for that stack alone.
func synthesiseGitLab(t *testing.T, cfg config.Config) template {
	t.Helper()
	return templateOf(t, stacks.NewGitLab(newApp(t), cfg, ".."))
}

// synthesiseDeploy is synthesise for what asks for that stack alone.
func synthesiseDeploy(t *testing.T, cfg config.Config) template {
	t.Helper()
	return templateOf(t, stacks.NewDeploy(newApp(t), cfg, ".."))
}

// newAppWithStaging returns an app with both stacks of staging.
func newAppWithStaging(t *testing.T) awscdk.App {
	t.Helper()
	app := newAppAsTheCLI(t)
	stacks.NewGitLab(app, staging(t), "..")
	stacks.NewDeploy(app, staging(t), "..")
	constructs.AcceptFindings(app)
	return app
}

var stagingTemplates struct{ gitlab, deploy template }

// synthesiseStaging returns the templates of the staging configuration as they
// are deployed, made once.
func synthesiseStaging(t *testing.T) (gitlab, deploy template) {
	t.Helper()
	if stagingTemplates.gitlab.Resources == nil {
		app := newApp(t)
		a, b := stacks.NewGitLab(app, staging(t), ".."), stacks.NewDeploy(app, staging(t), "..")
		constructs.AcceptFindings(app)
		stagingTemplates.gitlab, stagingTemplates.deploy = templateOf(t, a), templateOf(t, b)
	}
	return stagingTemplates.gitlab, stagingTemplates.deploy
}

// template is a synthesised CloudFormation template.
type template struct {
	Resources  map[string]resource
	Outputs    map[string]any
	Parameters map[string]any
	Conditions map[string]any

	raw map[string]any
}

// resource is one resource of a template.
type resource struct {
	Type                string
	Properties          map[string]any
	Metadata            map[string]any
	DependsOn           any
	DeletionPolicy      string
	UpdateReplacePolicy string
}

// templateOf synthesises the app of a stack, if nobody has, and returns the
// stack's template. It takes the file: half a megabyte is slow to get from the
// kernel.
func templateOf(t *testing.T, stack awscdk.Stack) template {
	t.Helper()
	folder := *awscdk.Stage_Of(stack).Synth(nil).Directory()
	encoded, err := os.ReadFile(filepath.Join(folder, *stack.TemplateFile()))
	require.NoError(t, err)
	var result template
	require.NoError(t, json.Unmarshal(encoded, &result))
	require.NoError(t, json.Unmarshal(encoded, &result.raw))
	return result
}

// ofType returns the ids of the resources of one type, sorted. It fails the
// test when there is none: a check of nothing proves nothing.
func (tpl template) ofType(t *testing.T, typ string) []string {
	t.Helper()
	var ids []string
	for id, r := range tpl.Resources {
		if r.Type == typ {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	require.NotEmpty(t, ids, "no %s in the template", typ)
	return ids
}

// one returns the only resource of a type.
func (tpl template) one(t *testing.T, typ string) (string, resource) {
	t.Helper()
	ids := tpl.ofType(t, typ)
	require.Len(t, ids, 1, "want one %s", typ)
	return ids[0], tpl.Resources[ids[0]]
}

// at follows path (map keys, and indexes as int) into v; nil where it ends.
func at(v any, path ...any) any {
	for _, step := range path {
		switch key := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[key]
		case int:
			list, _ := v.([]any)
			if key >= len(list) {
				return nil
			}
			v = list[key]
		}
	}
	return v
}

// ref is the intrinsic function that stands for the resource id.
func ref(id string) map[string]any { return map[string]any{"Ref": id} }

// getAtt is the intrinsic function that stands for an attribute of id.
func getAtt(id, attribute string) map[string]any {
	return map[string]any{"Fn::GetAtt": []any{id, attribute}}
}

// list returns v as a list; one value is a list of one.
func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// statements returns the statements of a policy document.
func statements(document any) []map[string]any {
	var found []map[string]any
	for _, s := range list(at(document, "Statement")) {
		found = append(found, s.(map[string]any))
	}
	return found
}

// tagOf returns the value of a tag of r, or nil.
func tagOf(r resource, key string) any {
	for _, tag := range list(r.Properties["Tags"]) {
		if at(tag, "Key") == key {
			return at(tag, "Value")
		}
	}
	return nil
}

// text returns v, whatever intrinsic functions it is made of, as JSON.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(encoded)
}
