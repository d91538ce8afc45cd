package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// change is what an update of a stack does to one resource, the worst last.
type change int

const (
	untouched change = iota
	created
	modified    // in place; an EC2 instance may be stopped and started for it
	conditional // in place or replaced: the service decides, by the values
	replaced
	deleted
)

func (c change) String() string {
	return []string{"untouched", "created", "changed", "changed or replaced", "replaced", "deleted"}[c]
}

// changes returns what CloudFormation does to each resource when after takes
// the place of before. What it does by itself, without a change of the
// template, is not among it.
func changes(t *testing.T, before, after template) map[string]change {
	t.Helper()
	found := map[string]change{}
	for id, r := range after.Resources {
		if _, was := before.Resources[id]; !was {
			found[id] = created
		} else if r.Type != before.Resources[id].Type {
			found[id] = replaced
		}
	}
	for id := range before.Resources {
		if _, is := after.Resources[id]; !is {
			found[id] = deleted
		}
	}
	// A replaced resource has another id, and so changes the properties that
	// refer to it, which may replace their resource in turn: again, until there
	// is nothing new.
	for again := true; again; {
		again = false
		for id, r := range after.Resources {
			was, existed := before.Resources[id]
			if !existed {
				continue
			}
			if c := changeOf(t, was, r, found); c > found[id] {
				found[id], again = c, true
			}
		}
	}
	return found
}

func changeOf(t *testing.T, before, after resource, found map[string]change) change {
	t.Helper()
	worst := untouched
	schema := schemaOf(t, after.Type)
	for _, kind := range []struct {
		paths []string
		is    change
	}{{schema.CreateOnlyProperties, replaced}, {schema.ConditionalCreateOnlyProperties, conditional}, {[]string{"/properties"}, modified}} {
		for _, path := range kind.paths {
			worst = max(worst, min(kind.is, differs(valuesAt(before, path), valuesAt(after, path), found)))
		}
	}
	return worst
}

// differs answers with replaced when two values are different for sure, and
// with conditional when they refer to what may be replaced.
func differs(before, after any, found map[string]change) change {
	if !reflect.DeepEqual(before, after) {
		return replaced
	}
	worst := untouched
	for _, id := range references(after) {
		if c := found[id]; c == replaced || c == conditional {
			worst = max(worst, c)
		}
	}
	return worst
}

// references returns the logical ids that a value refers to. A role's or a
// function's attribute never changes by a change in place, so only whom a value
// refers to counts, and not by which function.
func references(v any) []string {
	var ids []string
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			ids = append(ids, references(item)...)
		}
	case map[string]any:
		for key, item := range v {
			switch name, isText := item.(string); {
			case key == "Ref" && isText:
				ids = append(ids, name)
			case key == "Fn::GetAtt":
				ids = append(ids, text(at(item, 0)))
			case key == "Fn::Sub":
				for _, match := range substituted.FindAllStringSubmatch(text(item), -1) {
					ids = append(ids, match[1])
				}
			default:
				ids = append(ids, references(item)...)
			}
		}
	}
	return ids
}

var substituted = regexp.MustCompile(`\$\{([A-Za-z0-9]+)[.}]`)

// valuesAt returns the values at a path of a schema, such as
// "/properties/Listeners/*/Port", in the properties of a resource.
func valuesAt(r resource, path string) any {
	values := []any{r.Properties}
	for _, step := range strings.Split(strings.TrimPrefix(strings.TrimPrefix(path, "/properties"), "/"), "/") {
		if step == "" {
			continue
		}
		var next []any
		for _, v := range values {
			switch v := v.(type) {
			case map[string]any:
				if step == "*" {
					for _, item := range v {
						next = append(next, item)
					}
				} else if item, has := v[step]; has {
					next = append(next, item)
				}
			case []any:
				if step == "*" {
					next = append(next, v...)
				}
			}
		}
		values = next
	}
	// A map that is not there and an empty one are the same.
	if len(values) == 1 && len(path) == len("/properties") && len(r.Properties) == 0 {
		return []any{}
	}
	return values
}

// resourceSchema is what CloudFormation says of a resource type itself.
// https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html
type resourceSchema struct {
	CreateOnlyProperties            []string
	ConditionalCreateOnlyProperties []string
	PrimaryIdentifier               []string
}

var schemas = map[string]resourceSchema{}

// schemaOf returns the schema of a type. They are AWS's own, and come with
// cfn-lint: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resource-type-schemas.html
func schemaOf(t *testing.T, typ string) resourceSchema {
	t.Helper()
	if typ == "AWS::CDK::Metadata" {
		return resourceSchema{}
	}
	if s, known := schemas[typ]; known {
		return s
	}
	folder := filepath.Join(sitePackages(t, ".venv"), "cfnlint", "data", "schemas")
	var files map[string]string
	readJSON(t, filepath.Join(folder, "providers", staging(t).Region+".json"), &files)
	require.Contains(t, files, typ, "CloudFormation has no such type in this region")
	var s resourceSchema
	readJSON(t, filepath.Join(folder, "resources", files[typ]+".json"), &s)
	schemas[typ] = s
	return s
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, into), path)
}

// atLeast returns those of ids that change at least as badly as least, with how,
// sorted.
func atLeast(found map[string]change, ids []string, least change) []string {
	var bad []string
	for _, id := range ids {
		if found[id] >= least {
			bad = append(bad, id+" is "+found[id].String())
		}
	}
	slices.Sort(bad)
	return bad
}
