// Package cfn reads a synthesised template with its intrinsic functions
// worked out, as if it were deployed: what only a deployment would tell has
// fixed values that follow from the logical ids.
package cfn

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Known is what a template does not say itself.
type Known struct {
	// Account and Region are where the stack is deployed. Required.
	Account, Region string
	// Parameters are the values of the template's parameters. Optional; without
	// one, its default.
	Parameters map[string]string
}

// Template is a synthesised template.
type Template struct {
	Resources  map[string]Resource
	Outputs    map[string]struct{ Value any }
	Parameters map[string]struct{ Default any }
	Conditions map[string]any

	known  Known
	worked sync.Map // properties of resources, worked out, by logical id
}

// Resource is one resource of a template, its properties as they stand there.
type Resource struct {
	Type       string
	Properties map[string]any
}

// Parse reads a template, given as JSON or as the maps that make it.
func Parse(template any, known Known) (*Template, error) {
	raw, ok := template.([]byte)
	if !ok {
		encoded, err := json.Marshal(template)
		if err != nil {
			return nil, err
		}
		raw = encoded
	}
	t := &Template{known: known}
	if err := json.Unmarshal(raw, t); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	if len(t.Resources) == 0 {
		return nil, fmt.Errorf("template: no resources")
	}
	return t, nil
}

// Account is the account that the stack is deployed in.
func (t *Template) Account() string { return t.known.Account }

// Region is the region that the stack is deployed in.
func (t *Template) Region() string { return t.known.Region }

// OfType returns the logical ids of the resources of a type, sorted.
func (t *Template) OfType(typ string) []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		if t.Resources[id].Type == typ {
			ids = append(ids, id)
		}
	}
	return ids
}

// Output returns the logical id of the resource that an output names, by Ref
// or by an attribute, or "".
func (t *Template) Output(name string) string {
	value, _ := t.Outputs[name].Value.(map[string]any)
	if id, ok := value["Ref"].(string); ok {
		return id
	}
	attribute, _ := value["Fn::GetAtt"].([]any)
	if len(attribute) == 0 {
		return ""
	}
	return attribute[0].(string)
}

// Properties returns the properties of a resource, worked out once. They are not the
// caller's to change.
func (t *Template) Properties(id string) map[string]any {
	if worked, is := t.worked.Load(id); is {
		return worked.(map[string]any)
	}
	properties, _ := t.Resolve(t.Resources[id].Properties).(map[string]any)
	t.worked.Store(id, properties)
	return properties
}
