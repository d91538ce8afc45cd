package review

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// valueChange is a value of a template that changes; nil where there is none.
type valueChange struct {
	path          []string
	before, after any
	script        bool
}

func object(value any) map[string]any {
	found, _ := value.(map[string]any)
	return found
}

// anyObject is an object that is never missing.
func anyObject(value map[string]any) any { return value }

func list(value any) []any {
	switch value := value.(type) {
	case nil:
		return nil
	case []any:
		return value
	}
	return []any{value}
}

// canonical is the same text for equal values, whatever the order of keys.
func canonical(value any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(fmt.Errorf("a value that came from JSON is none: %w", err))
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// text is a string as it is, and another value as JSON.
func text(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	}
	return canonical(value)
}

// plain is a value with its intrinsic functions written as ${…}, the form that CloudFormation has for them inside of texts.
func plain(value any) any {
	switch value := value.(type) {
	case []any:
		all := make([]any, len(value))
		for i, element := range value {
			all[i] = plain(element)
		}
		return all
	case map[string]any:
		if len(value) == 1 {
			for name, argument := range value {
				if written, is := function(name, argument); is {
					return written
				}
			}
		}
		all := make(map[string]any, len(value))
		for key, child := range value {
			all[key] = plain(child)
		}
		return all
	}
	return value
}

func function(name string, argument any) (string, bool) {
	switch name {
	case "Ref":
		return "${" + text(argument) + "}", true
	case "Fn::GetAtt":
		return "${" + joined(list(argument), ".") + "}", true
	case "Fn::Sub":
		sub, is := argument.(string)
		return sub, is
	case "Fn::Join":
		parts := list(argument)
		if len(parts) != 2 {
			return "", false
		}
		separator, is := parts[0].(string)
		elements, isList := parts[1].([]any)
		if !is || !isList {
			return "", false
		}
		written := make([]string, len(elements))
		for i, element := range elements {
			if written[i], is = plain(element).(string); !is {
				return "", false
			}
		}
		return strings.Join(written, separator), true
	}
	return "", false
}

func joined(values []any, separator string) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = text(value)
	}
	return strings.Join(texts, separator)
}

// onlyIn are the elements of one list that another has not, each as often as it is missing there.
func onlyIn[Element any](one, other []Element) (only []Element) {
	left := map[string]int{}
	for _, element := range other {
		left[canonical(element)]++
	}
	for _, element := range one {
		key := canonical(element)
		if left[key] > 0 {
			left[key]--
			continue
		}
		only = append(only, element)
	}
	return only
}

// isScript: a list of lines is a script.
func isScript(value any) bool {
	lines, is := value.([]any)
	return is && len(lines) > 3 && !slices.ContainsFunc(lines, func(line any) bool { _, is := line.(string); return !is })
}

var shownElsewhere = []string{"SecurityGroupIngress", "SecurityGroupEgress", "ManagedPolicyArns"}

// changedValues lists what is different between two values, as far down as it can be told apart. Policies and rules are left
// out: they are shown as such.
func changedValues(before, after any, path []string) (changes []valueChange) {
	if canonical(before) == canonical(after) || isPolicy(before) || isPolicy(after) || len(path) > 0 && slices.Contains(shownElsewhere, path[0]) {
		return nil
	}
	if isScript(before) && isScript(after) {
		return []valueChange{{path: path, script: true, before: before, after: after}}
	}
	at := func(step string) []string { return append(slices.Clone(path), step) }
	one, isObject := before.(map[string]any)
	other, isAnother := after.(map[string]any)
	if isObject && isAnother {
		keys := maps.Clone(one)
		maps.Copy(keys, other)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			changes = append(changes, changedValues(one[key], other[key], at(key))...)
		}
		return changes
	}
	elements, isList := before.([]any)
	others, isListToo := after.([]any)
	if !isList || !isListToo {
		return []valueChange{{path: path, before: before, after: after}}
	}
	if len(elements) == len(others) && !slices.ContainsFunc(elements, func(element any) bool { return object(element) == nil }) {
		for i := range elements {
			changes = append(changes, changedValues(elements[i], others[i], at(strconv.Itoa(i)))...)
		}
		return changes
	}
	gone, come := onlyIn(elements, others), onlyIn(others, elements)
	if len(gone)+len(come) == 0 { // another order
		return []valueChange{{path: path, before: before, after: after}}
	}
	c := valueChange{path: path}
	if len(gone) > 0 {
		c.before = gone
	}
	if len(come) > 0 {
		c.after = come
	}
	return []valueChange{c}
}

var attributes = []string{"DeletionPolicy", "UpdateReplacePolicy", "DependsOn", "Condition", "CreationPolicy", "UpdatePolicy"}

// attribute: DependsOn has no order, and one name may stand for a list of one.
func attribute(resource map[string]any, name string) any {
	if name != "DependsOn" {
		return resource[name]
	}
	sorted := append([]any{}, list(resource[name])...)
	slices.SortFunc(sorted, func(a, b any) int { return strings.Compare(text(a), text(b)) })
	return sorted
}

func valuesOf(before, after map[string]any) []valueChange {
	changes := changedValues(plainPart(before["Properties"]), plainPart(after["Properties"]), nil)
	for _, name := range attributes {
		changes = append(changes, changedValues(attribute(before, name), attribute(after, name), []string{name})...)
	}
	return changes
}
