// Package review says what a new template does to a deployed stack, as a note for people who have to agree to it.
//
// It compares the two templates, so it needs no right but to read the deployed one. What CloudFormation replaces comes from its
// own resource specification, in the library that "cdk diff" is made of. Permissions and rules of security groups are compared
// here: that library knows a list of properties with policies, and takes equal rules of two groups for the same rule.
package review

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Pair is a deployed template, nil when there is none, and the one to be deployed.
type Pair struct {
	Deployed map[string]any `json:"deployed"`
	Next     map[string]any `json:"next"`
}

// Library runs JavaScript with the libraries that package-lock.json pins: in and out are JSON.
type Library interface {
	Script(ctx context.Context, source string, in, out any) error
}

//go:embed replacements.js
var replacements string

// difference is what the library says of a resource.
type difference struct {
	Impact        string
	Before, After map[string]any
	Reasons       []reason
}

// reason is a property that makes CloudFormation replace a resource, and the replaced resource that it refers to.
type reason struct{ Name, Replaced string }

// fate is what becomes of the physical resource.
type fate string

const (
	created       fate = "created"
	changed       fate = "changed"
	replaced      fate = "replaced"
	maybeReplaced fate = "may be replaced"
	removed       fate = "removed"
	imported      fate = "imported"
)

var fates = map[string]fate{
	"WILL_CREATE": created, "WILL_UPDATE": changed, "WILL_REPLACE": replaced, "MAY_REPLACE": maybeReplaced,
	"WILL_DESTROY": removed, "WILL_ORPHAN": removed, "WILL_IMPORT": imported, "NO_CHANGE": changed,
}

// change is what a deploy does to one resource.
type change struct {
	id, name, kind string
	fate           fate
	because        []reason
	kept           string // what becomes of the old one: "Delete", "Retain…", "Snapshot"
	script         string
	values, notes  []valueChange
}

// Result is what a deploy does to one stack.
type Result struct {
	isNew       bool
	resources   []change
	permissions []permission
	rules       []rule
	rest        []valueChange
	name        func(id string) string
}

// Compare compares the templates of each pair. One start of the library serves all of them.
func Compare(ctx context.Context, library Library, pairs []Pair) ([]Result, error) {
	var found []map[string]difference
	if err := library.Script(ctx, replacements, pairs, &found); err != nil {
		return nil, fmt.Errorf("ask the library of cdk diff: %w", err)
	}
	if len(found) != len(pairs) {
		return nil, fmt.Errorf("ask the library of cdk diff: got %d answers, want %d", len(found), len(pairs))
	}
	results := make([]Result, len(pairs))
	for i, pair := range pairs {
		result, err := compare(pair, found[i])
		if err != nil {
			return nil, err
		}
		results[i] = result
	}
	return results, nil
}

func compare(pair Pair, differences map[string]difference) (Result, error) {
	before, after := object(pair.Deployed["Resources"]), object(pair.Next["Resources"])
	r := Result{isNew: pair.Deployed == nil, name: func(id string) string { return label(id, object(after[id]), object(before[id])) }}
	for _, id := range slices.Sorted(maps.Keys(differences)) {
		c, err := resourceChange(id, differences[id])
		if err != nil {
			return r, err
		}
		// The library counts the CDK's notes, too.
		if c.fate != changed || len(c.values) > 0 || len(c.notes) > 0 || touchesRows(id, object(before[id]), object(after[id])) {
			r.resources = append(r.resources, c)
		}
	}
	slices.SortStableFunc(r.resources, func(a, b change) int { return cmp.Compare(a.name, b.name) })
	gone, come := collect(before, permissionsOf), collect(after, permissionsOf)
	r.permissions = append(signed("-", onlyIn(gone, come)), signed("+", onlyIn(come, gone))...)
	slices.SortStableFunc(r.permissions, func(a, b permission) int {
		return cmp.Compare(r.name(a.ID)+a.At+a.Sid, r.name(b.ID)+b.At+b.Sid)
	})
	closed, opened := collect(before, rulesOf), collect(after, rulesOf)
	r.rules = append(signedRules("-", onlyIn(closed, opened)), signedRules("+", onlyIn(opened, closed))...)
	slices.SortStableFunc(r.rules, func(a, b rule) int {
		return cmp.Compare(a.Group+a.Direction+a.Ports+a.Peer, b.Group+b.Direction+b.Ports+b.Peer)
	})
	for _, part := range []string{"Description", "Parameters", "Rules", "Mappings", "Conditions", "Outputs"} {
		r.rest = append(r.rest, changedValues(plainPart(pair.Deployed[part]), plainPart(pair.Next[part]), []string{part})...)
	}
	return r, nil
}

// plainPart is a part of a template; none is an empty one.
func plainPart(value any) any {
	if value == nil {
		return map[string]any{}
	}
	return plain(value)
}

func (r Result) empty() bool {
	return len(r.resources)+len(r.permissions)+len(r.rules)+len(r.rest) == 0
}

// label is where a resource stands in the code, or its logical id in a template that was not made by the CDK's command.
func label(id string, resources ...map[string]any) string {
	for _, resource := range resources {
		if path, is := object(resource["Metadata"])["aws:cdk:path"].(string); is {
			_, path, _ = strings.Cut(path, "/")
			for _, end := range []string{"/Resource", "/Default"} {
				if shorter, cut := strings.CutSuffix(path, end); cut {
					return shorter
				}
			}
			return path
		}
	}
	return id
}

func resourceChange(id string, d difference) (change, error) {
	named, known := fates[d.Impact]
	if !known {
		return change{}, fmt.Errorf("the library of cdk diff says %q of %s, which this program does not know", d.Impact, id)
	}
	if named == maybeReplaced && takesVersions(d.Before, d.After) {
		named = changed
	}
	newest, policy := d.After, "UpdateReplacePolicy"
	if newest == nil { // of a removed one only the deployed template is left
		newest, policy = d.Before, "DeletionPolicy"
	}
	c := change{id: id, name: label(id, d.After, d.Before), fate: named, kind: text(newest["Type"]), kept: "Delete"}
	if kept, is := newest[policy].(string); is {
		c.kept = kept
	}
	if named == replaced || named == maybeReplaced {
		c.because = d.Reasons
	}
	c.script = cmp.Or(text(ownMetadata(newest)["Script"]), text(ownMetadata(newest)["Command"]))
	if d.Before != nil && d.After != nil {
		c.values = valuesOf(d.Before, d.After)
		c.notes = changedValues(anyObject(ownMetadata(d.Before)), anyObject(ownMetadata(d.After)), nil)
	}
	return c, nil
}

// takesVersions: such a document is never replaced by its content.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ssm-document.html
func takesVersions(before, after map[string]any) bool {
	return after["Type"] == "AWS::SSM::Document" && object(before["Properties"])["UpdateMethod"] == "NewVersion" &&
		object(after["Properties"])["UpdateMethod"] == "NewVersion"
}

// ownMetadata leaves out what the CDK notes for itself: it says nothing about the resource.
func ownMetadata(resource map[string]any) map[string]any {
	own := map[string]any{}
	for key, value := range object(resource["Metadata"]) {
		if !strings.HasPrefix(key, "aws:") {
			own[key] = value
		}
	}
	return own
}

func touchesRows(id string, before, after map[string]any) bool {
	gone, come := permissionsOf(id, before), permissionsOf(id, after)
	closed, opened := rulesOf(id, before), rulesOf(id, after)
	return len(onlyIn(gone, come))+len(onlyIn(come, gone))+len(onlyIn(closed, opened))+len(onlyIn(opened, closed)) > 0
}

// collect are the rows of all resources, in the order of their ids.
func collect[Row any](resources map[string]any, rowsOf func(string, map[string]any) []Row) (rows []Row) {
	for _, id := range slices.Sorted(maps.Keys(resources)) {
		rows = append(rows, rowsOf(id, object(resources[id]))...)
	}
	return rows
}
