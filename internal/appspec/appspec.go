// Package appspec reads the AppSpec file of a folder that is to be deployed and judges both as CodeDeploy does, before
// anything is sent. It refuses what CodeDeploy's agent refuses, and warns about what the agent passes over in silence.
//
//	folder ──▶ bundle (what of it travels)
//	   │
//	   └─ appspec.yml ──▶ nodes (YAML library) ──▶ values (YAML 1.1, as Ruby has them)
//	                                                  │
//	                       server.go: hooks, files, permissions      resources.go: Amazon ECS and Lambda
//
// The rules are those of the agent's version 1.8.1, which reads YAML with Ruby's Psych 4 and libyaml 0.2.5:
// https://github.com/aws/aws-codedeploy-agent
package appspec

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Problem is one finding, with its place: "appspec.yml:12:5".
type Problem struct {
	File         string
	Line, Column int // from 1; 0 where it is about the whole file or folder
	Message      string
	// Warning means that the deployment goes on, and does not do what the file seems to say.
	Warning bool
}

func (p Problem) String() string {
	text := p.File
	if p.Line > 0 {
		text += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	if p.Warning {
		text += ": warning"
	}
	return text + ": " + p.Message
}

// Platform is what an AppSpec file deploys to. It is "" where the file does not say.
type Platform string

// The compute platforms of CodeDeploy. Resources: tells the last two from the first.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure.html
const (
	Server Platform = "Server"
	ECS    Platform = "ECS"
	Lambda Platform = "Lambda"
)

// Result is what is to be said about a folder.
type Result struct {
	Platform Platform
	File     string    // the AppSpec file, relative to the folder
	Problems []Problem // errors and warnings in order of place
}

// Check judges a folder and its AppSpec file. excluded says which paths (slash-separated, relative to the folder) do not
// travel, so that a script that is excluded is missing; it may be nil. The error means that the folder could not be read.
func Check(folder string, excluded func(path string) bool) (Result, error) {
	b, err := openBundle(folder, excluded)
	if err != nil {
		return Result{}, err
	}
	r := &report{file: "appspec.yml"}
	result, err := check(b, r)
	if err != nil {
		return Result{}, err
	}
	result.File, result.Problems = r.file, r.sorted()
	return result, nil
}

func check(b *bundle, r *report) (Result, error) {
	b, text, err := b.appSpec(r)
	if err != nil || text == nil {
		return Result{}, err
	}
	if path.Ext(r.file) == ".json" && !checkJSON(r, text) {
		return Result{}, nil
	}
	root := parse(r, text)
	if root == nil {
		return Result{}, nil
	}
	if root.kind != mapping {
		r.refuse(root, "got %s, want version, os, files and hooks with their values", root)
		return Result{}, nil
	}
	if forResources(root) {
		return Result{Platform: checkResources(r, root)}, nil
	}
	if path.Base(r.file) != "appspec.yml" {
		// The agent looks for both names when it installs, but for the first only when it runs hooks: hook_executor.rb.
		r.refuse(nil, "got %s, want the name appspec.yml: the agent runs no hook without it", r.file)
	}
	return Result{Platform: Server}, checkServer(r, b, root)
}

// report gathers what is found in one file.
type report struct {
	file     string
	problems []Problem
}

// refuse adds an error at a value; nil stands for the whole file.
func (r *report) refuse(at *value, format string, args ...any) { r.add(false, at, format, args...) }

// warn adds a warning at a value.
func (r *report) warn(at *value, format string, args ...any) { r.add(true, at, format, args...) }

func (r *report) add(warning bool, at *value, format string, args ...any) {
	p := Problem{File: r.file, Warning: warning, Message: fmt.Sprintf(format, args...)}
	if at != nil {
		p.Line, p.Column = at.line, at.column
	}
	r.problems = append(r.problems, p)
}

// sorted is by place and then as found; one value that is used twice is told once.
func (r *report) sorted() []Problem {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(r.problems)
}

// quote shows a text from outside on one line, within bounds, and without what could steer a terminal.
func quote(text string) string {
	const most = 100
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	for _, r := range text {
		if r == '\'' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.Quote(text)
		}
	}
	return "'" + text + "'"
}
