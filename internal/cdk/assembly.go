package cdk

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// Assembly is a folder that a synthesis has written.
type Assembly string

// Stack is what an assembly says about one of its stacks.
type Stack struct {
	Name, Account, Region string
	Bootstrap             int    // the least version of the account's bootstrap stack
	VersionParameter      string // of Systems Manager, which tells that version
	Protected             bool   // from deletion
}

// Manifest is the file that makes a folder an assembly.
// https://docs.aws.amazon.com/cdk/api/v2/docs/cloud-assembly-schema-readme.html
func (a Assembly) Manifest() string { return filepath.Join(string(a), "manifest.json") }

// Template is the file of a stack's template.
func (a Assembly) Template(stack string) string {
	return filepath.Join(string(a), stack+".template.json")
}

var (
	place     = regexp.MustCompile(`^aws://([0-9]{12})/([a-z0-9-]+)$`)
	parameter = regexp.MustCompile(`^/[A-Za-z0-9_./-]+$`)
)

// Stack reads what a deploy needs to know of a stack.
func (a Assembly) Stack(name string) (Stack, error) {
	var manifest struct {
		Artifacts map[string]struct {
			Environment string
			Properties  struct {
				TerminationProtection             bool
				RequiresBootstrapStackVersion     int
				BootstrapStackVersionSsmParameter string
			}
		}
	}
	if err := readJSON(a.Manifest(), &manifest); err != nil {
		return Stack{}, err
	}
	found, is := manifest.Artifacts[name]
	if !is {
		return Stack{}, fmt.Errorf("the assembly has no stack %s", name)
	}
	where := place.FindStringSubmatch(found.Environment)
	s := Stack{Name: name, Bootstrap: found.Properties.RequiresBootstrapStackVersion,
		VersionParameter: found.Properties.BootstrapStackVersionSsmParameter, Protected: found.Properties.TerminationProtection}
	if where == nil || s.Bootstrap <= 0 || !parameter.MatchString(s.VersionParameter) {
		return Stack{}, fmt.Errorf("stack %s of the assembly lacks an account, a region or a bootstrap version: %q, %d, %q",
			name, found.Environment, s.Bootstrap, s.VersionParameter)
	}
	s.Account, s.Region = where[1], where[2]
	return s, nil
}

// Has says whether the template of a stack has a resource of a type.
func (a Assembly) Has(stack, resourceType string) bool {
	var template struct {
		Resources map[string]struct{ Type string }
	}
	if err := readJSON(a.Template(stack), &template); err != nil {
		return false
	}
	for _, resource := range template.Resources {
		if resource.Type == resourceType {
			return true
		}
	}
	return false
}

// Unprotected makes a copy of the assembly that does not protect a stack from deletion.
func (a Assembly) Unprotected(stack, folder string) (Assembly, error) {
	if err := os.RemoveAll(folder); err != nil {
		return "", err
	}
	if err := os.CopyFS(folder, os.DirFS(string(a))); err != nil {
		return "", err
	}
	copied := Assembly(folder)
	var manifest map[string]any
	if err := readJSON(copied.Manifest(), &manifest); err != nil {
		return "", err
	}
	artifacts, _ := manifest["artifacts"].(map[string]any)
	artifact, _ := artifacts[stack].(map[string]any)
	properties, is := artifact["properties"].(map[string]any)
	if !is {
		return "", fmt.Errorf("%s: stack %s has no properties", copied.Manifest(), stack)
	}
	properties["terminationProtection"] = false
	text, err := json.Marshal(manifest)
	if err != nil {
		return "", err
	}
	return copied, os.WriteFile(copied.Manifest(), text, 0o644)
}

func readJSON(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
