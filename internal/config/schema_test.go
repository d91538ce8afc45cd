package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite config/schema.json")

const schemaFile = "../../config/schema.json"

// schemaLine is the first line of each environment, by which an editor finds the schema.
// https://github.com/redhat-developer/yaml-language-server#using-inlined-schema
const schemaLine = "# yaml-language-server: $schema=./schema.json\n"

// TestGolden_theSchemaIsMadeOfTheTypes compares config/schema.json with the types of Config, their comments, and the rules
// of validate as far as these are data.
func TestGolden_theSchemaIsMadeOfTheTypes(t *testing.T) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	require.NoError(t, encoder.Encode(schemaOfConfig(t)))
	if *update {
		require.NoError(t, os.WriteFile(schemaFile, text.Bytes(), 0o644))
	}
	want, err := os.ReadFile(schemaFile)
	require.NoError(t, err, "make it with: go test ./internal/config -run Golden -update")
	assert.Equal(t, text.String(), string(want), "config/schema.json is not what the types say: go test ./internal/config -run Golden -update")
}

func schemaOfConfig(t *testing.T) *jsonschema.Schema {
	t.Helper()
	reflector := &jsonschema.Reflector{FieldNameTag: "yaml", DoNotReference: true, Anonymous: true}
	reflector.Mapper = func(of reflect.Type) *jsonschema.Schema {
		if of != projectsType {
			return nil
		}
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "array", Items: reflector.ReflectFromType(reflect.TypeFor[Project]())}, {Const: anyProject},
		}}
	}
	require.NoError(t, reflector.AddGoComments("gitlab-codedeploy/internal/config", "."))
	schema := reflector.ReflectFromType(configType)
	require.NotEmpty(t, schema.Description)
	schema.Title = "An environment of gitlab-codedeploy"
	finish(t, schema, configType, "", collectLimits(t))
	return schema
}

// collectLimits asks validate for the rules of every value, in a configuration in which everything is set.
func collectLimits(t *testing.T) map[string]limits {
	t.Helper()
	d := newDocument("schema")
	found := map[string]limits{}
	d.collect = func(path string, of limits) {
		if before, again := found[path]; !again || reflect.ValueOf(before).IsZero() {
			found[path] = of
		}
	}
	set(d, reflect.ValueOf(&d.config).Elem(), "")
	d.validate("x")
	return found
}

// set gives everything a value, and a place that is sound.
func set(d *document, into reflect.Value, path string) {
	d.places[into.Addr().Interface()] = &place{path: path, sound: true}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		set(d, into.Elem(), path)
	case reflect.Struct:
		if projects, is := into.Addr().Interface().(*Projects); is {
			set(d, reflect.ValueOf(&projects.List).Elem(), path)
			d.places[projects] = d.places[&projects.List]
			return
		}
		for _, f := range fieldsOf(into.Type()) {
			set(d, into.Field(f.index), child(path, f.key))
		}
	case reflect.Slice:
		into.Set(reflect.MakeSlice(into.Type(), 1, 1))
		set(d, into.Index(0), path+"[0]")
	case reflect.String:
		into.SetString("x")
	}
}

var docLink = regexp.MustCompile(`\[([A-Za-z.]+)\]`)

// finish adds what the library does not know: defaults, which keys may be left out, and the rules.
func finish(t *testing.T, schema *jsonschema.Schema, of reflect.Type, path string, rules map[string]limits) {
	t.Helper()
	if path != "" {
		schema.Version = "" // once is enough
	}
	schema.Description = docLink.ReplaceAllString(strings.Join(strings.Fields(schema.Description), " "), "$1")
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	rule := rules[path]
	schema.Pattern = rule.pattern
	schema.Enum = rule.allowed
	if rule.least != nil {
		schema.Minimum, schema.Maximum = json.Number(fmt.Sprint(*rule.least)), json.Number(fmt.Sprint(*rule.most))
	}
	switch {
	case of == projectsType:
		finish(t, schema.OneOf[0], reflect.TypeFor[[]Project](), path, rules)
	case of.Kind() == reflect.Slice:
		finish(t, schema.Items, of.Elem(), path+"[0]", rules)
	case of.Kind() == reflect.Struct:
		schema.Required = nil
		for _, f := range fieldsOf(of) {
			property, exists := schema.Properties.Get(f.key)
			require.True(t, exists, "%s.%s", path, f.key)
			if !f.optional {
				schema.Required = append(schema.Required, f.key)
			}
			if f.value != "" {
				require.NoError(t, yaml.Unmarshal([]byte(f.value), &property.Default))
				if property.Type == "string" {
					property.Default = f.value
				}
			}
			finish(t, property, of.Field(f.index).Type, child(path, f.key), rules)
		}
	}
}

func compiled(t *testing.T) *validator.Schema {
	t.Helper()
	text, err := os.Open(schemaFile)
	require.NoError(t, err)
	defer text.Close()
	document, err := validator.UnmarshalJSON(text)
	require.NoError(t, err)
	compiler := validator.NewCompiler()
	require.NoError(t, compiler.AddResource("schema.json", document))
	schema, err := compiler.Compile("schema.json")
	require.NoError(t, err)
	return schema
}

// instance is a file as a JSON schema sees it.
func instance(t *testing.T, text string) any {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	value, err := validator.UnmarshalJSON(bytes.NewReader(asJSON))
	require.NoError(t, err)
	return value
}

func TestConfigEveryEnvironmentNamesTheSchemaAndFollowsIt(t *testing.T) {
	files, err := filepath.Glob("../../config/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	schema := compiled(t)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(text), schemaLine), "%s begins with: %s", file, schemaLine)
		assert.NoError(t, schema.Validate(instance(t, string(text))), file)
	}
}

// What an editor marks is a mistake for Load, too.
func TestConfigTheSchemaFindsMistakes(t *testing.T) {
	raw, err := os.ReadFile("../../config/staging.yaml")
	require.NoError(t, err)
	schema := compiled(t)
	for name, change := range map[string][2]string{
		"an unknown key":               {"region: ap-northeast-1", "region: ap-northeast-1\nregoin: x"},
		"a required key is missing":    {"region: ap-northeast-1", ""},
		"one is missing further down":  {"    domainName: gitlab.example.com", ""},
		"an account that is a number":  {`account: "111111111111"`, "account: 111111111111"},
		"an account of 11 digits":      {`account: "111111111111"`, `account: "11111111111"`},
		"a Region's pattern":           {"region: ap-northeast-1", "region: Tokyo"},
		"an image":                     {"imageId: ami-0123456789abcdef0", "imageId: latest"},
		"a number out of bounds":       {"rootVolumeGiB: 30", "rootVolumeGiB: 7"},
		"a number in quotes":           {"rootVolumeGiB: 30", `rootVolumeGiB: "30"`},
		"days that AWS does not have":  {"logRetentionDays: 365", "logRetentionDays: 364"},
		"an edition":                   {"edition: ce", "edition: core"},
		"a list where a word is":       {"operatingSystem: amazon-linux-2023", "operatingSystem: [amazon-linux-2023]"},
		"a project without a path":     {"          path: team/sample-web", ""},
		"a truth that is none":         {"terminationProtection: true", "terminationProtection: sure"},
		"a time of day":                {`time: "18:00"`, `time: "24:00"`},
		"a system that is not offered": {"operatingSystem: amazon-linux-2023", "operatingSystem: amazon-linux-2022"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(string(raw), change[0], change[1], 1)
			require.NotEqual(t, string(raw), text)
			assert.Error(t, schema.Validate(instance(t, text)))
			_, err := load("config/staging.yaml", "staging", []byte(text))
			assert.Error(t, err)
		})
	}
}

func TestConfigTheSchemaKnowsTheWordAny(t *testing.T) {
	raw, err := os.ReadFile("../../config/staging.yaml")
	require.NoError(t, err)
	environment := instance(t, string(raw)).(map[string]any)
	group := environment["deploy"].(map[string]any)["deploymentGroups"].([]any)[0].(map[string]any)
	group["projects"] = "any"
	require.NoError(t, compiled(t).Validate(environment))
	group["projects"] = "everybody"
	assert.Error(t, compiled(t).Validate(environment))
}

// The rules that are data reach the schema, each at its own key.
func TestConfigTheRulesReachTheSchema(t *testing.T) {
	rules := collectLimits(t)
	for _, path := range []string{
		"region", "gitlab.account", "gitlab.server.imageId", "gitlab.server.dataVolumeId", "gitlab.runner.tags[0]", "gitlab.backup.keepDays",
		"gitlab.securityUpdates.day", "gitlab.loadBalancer.certificateArn", "gitlab.loadBalancer.hostedZone.id", "gitlab.breakGlassRoles[0]",
		"deploy.logRetentionDays", "deploy.applications[0].readerRoles[0]", "deploy.deploymentGroups[0].projects[0].path",
		"pipeline.issuerUrl", "pipeline.forkPipelines", "gitlab.network.readableBuckets[0]",
	} {
		assert.NotZero(t, rules[path], path)
	}
	for path, rule := range rules {
		if rule.pattern != "" {
			assert.NotContains(t, rule.pattern, "111111111111", "%s: the rule is of every environment", path)
			_, err := regexp.Compile(rule.pattern)
			assert.NoError(t, err)
		}
	}
}
