package constructs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"gitlab-codedeploy/internal/script"
)

// ScriptDocumentProps configures [NewScriptDocument].
type ScriptDocumentProps struct {
	// Root is the folder of the project, under which Script is found. Required.
	Root string

	// Name is the document's name. Optional: CloudFormation makes one. A fixed
	// name is for documents that an operator's IAM policy names; it is safe,
	// since no change but that of the name replaces the document.
	Name string

	// Script is the path of the script from Root, such as
	// "scripts/server/upgrade-gitlab.sh". Required.
	Script string

	// Description is shown in the Systems Manager console. Required.
	Description string

	// Parameters become the script's arguments, in this order. Optional.
	Parameters []ScriptParameter

	// Arguments are further arguments of the script, the same in every run: what
	// the sender has no say in. They stand before the Parameters. Optional.
	Arguments []ScriptArgument

	// TimeoutSeconds ends a run that takes longer. Required.
	TimeoutSeconds int

	// Detached gives the document a parameter RunId and the script a variable
	// RUN_ID of that value: the script goes on as a systemd unit of its own and
	// the document ends at once (scripts/lib/operation.sh). Optional.
	Detached bool
}

// ScriptParameter is one parameter of a document and the script's argument
// that it becomes.
type ScriptParameter struct {
	// Name is the parameter's name in the document, such as "Version". Required.
	Name string

	// Flag is the script's argument, such as "--version". Required.
	Flag string

	// Description is shown in the console. Required.
	Description string

	// Pattern is what Systems Manager lets through, anchored at both ends.
	// Required: a parameter is text in a shell script, so the pattern is what
	// stands between its sender and a root shell.
	Pattern string

	// Optional lets the sender leave the parameter out: it is Default then,
	// which Pattern has to let through.
	Optional bool
	Default  string
}

// ScriptArgument is an argument of the script that is made at synthesis.
type ScriptArgument struct {
	// Flag is the script's argument, such as "--bucket", and Value what follows it:
	// letters, digits and . _ / : , @ - only. Required.
	Flag, Value string
}

// fixedValue is what needs no thought between single quotes.
var fixedValue = regexp.MustCompile(`^[A-Za-z0-9._/:,@-]+$`)

// runIDPattern is the form of a run's id: see scripts/lib/operation.sh.
const runIDPattern = `[0-9]{8}T[0-9]{6}-[0-9a-f]{8}`

// ScriptDocument is an SSM Command document that runs one of the project's
// scripts as root. The script's text is part of the document, so "cdk diff"
// shows a changed line, and no host has to fetch anything first. It lives as
// long as its stack; a change makes a new version of it.
type ScriptDocument struct {
	Document awsssm.CfnDocument
	// Name is the document's name.
	Name *string
}

// NewScriptDocument defines a ScriptDocument under scope.
func NewScriptDocument(scope constructs.Construct, id string, props ScriptDocumentProps) *ScriptDocument {
	content, err := scriptDocumentContent(props)
	if err != nil {
		panic("ScriptDocument " + id + ": " + err.Error())
	}
	var name *string
	if props.Name != "" {
		name = &props.Name
	}
	document := awsssm.NewCfnDocument(scope, &id, &awsssm.CfnDocumentProps{
		Name:           name,
		DocumentType:   jsii.String("Command"),
		DocumentFormat: jsii.String("JSON"),
		TargetType:     jsii.String("/AWS::EC2::Instance"),
		// The default, Replace, would give the document a new name with each
		// change of a script.
		UpdateMethod: jsii.String("NewVersion"),
		Content:      content,
	})
	// "scripts/ops diff" names the script whose lines it shows.
	document.AddMetadata(jsii.String("Script"), &props.Script)
	return &ScriptDocument{Document: document, Name: document.Ref()}
}

// maxDocumentBytes is Systems Manager's limit for a document.
// https://docs.aws.amazon.com/general/latest/gr/ssm.html
const maxDocumentBytes = 64 * 1024

// scriptDocumentContent returns the body of the document, schema 2.2.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/documents-command-ssm-plugin-reference.html
func scriptDocumentContent(props ScriptDocumentProps) (map[string]any, error) {
	script, err := script.Inline(props.Root, props.Script)
	if err != nil {
		return nil, err
	}
	for _, line := range script {
		// Systems Manager would take it for one of its own placeholders.
		if strings.Contains(line, "{{") {
			return nil, fmt.Errorf("%s contains {{", props.Script)
		}
	}
	parameters := map[string]any{}
	lines := []string{"#!/usr/bin/env bash"}
	if props.Detached {
		run := ScriptParameter{Name: "RunId", Description: "Id that the sender gives the run; the same one starts nothing twice", Pattern: "^(" + runIDPattern + "|nightly)$"}
		if parameters[run.Name], err = run.definition(); err != nil {
			return nil, err
		}
		lines = append(lines, "export RUN_ID='{{ RunId }}'")
	}
	arguments := []string{"set --"}
	for _, a := range props.Arguments {
		if !fixedValue.MatchString(a.Value) {
			return nil, fmt.Errorf("argument %s: got %q, want letters, digits and . _ / : , @ - only", a.Flag, a.Value)
		}
		arguments = append(arguments, fmt.Sprintf("%s '%s'", a.Flag, a.Value))
	}
	for _, p := range props.Parameters {
		if parameters[p.Name], err = p.definition(); err != nil {
			return nil, err
		}
		arguments = append(arguments, fmt.Sprintf("%s '{{ %s }}'", p.Flag, p.Name))
	}
	lines = append(append(lines, strings.Join(arguments, " ")), script...)
	content := map[string]any{
		"schemaVersion": "2.2",
		"description":   props.Description,
		"parameters":    parameters,
		"mainSteps": []any{map[string]any{
			"action": "aws:runShellScript",
			"name":   "run",
			"inputs": map[string]any{
				"timeoutSeconds": fmt.Sprint(props.TimeoutSeconds),
				"runCommand":     lines,
			},
		}},
	}
	size, err := documentSize(content)
	if err != nil {
		return nil, err
	}
	if size > maxDocumentBytes {
		return nil, fmt.Errorf("%s makes a document of %d bytes, and Systems Manager takes %d", props.Script, size, maxDocumentBytes)
	}
	return content, nil
}

// documentSize is the most that the document may have when CloudFormation
// sends it, which does not say how it writes JSON: with a blank after each
// comma and colon, and with characters beyond ASCII as escapes. Of Go's own
// escapes there are none for <, > and &, of which scripts are full.
func documentSize(content map[string]any) (int, error) {
	var body, spread bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(content); err != nil {
		return 0, err
	}
	// Without any indentation: a line end for each blank.
	if err := json.Indent(&spread, body.Bytes(), "", ""); err != nil {
		return 0, err
	}
	size := 0
	for _, r := range spread.String() {
		if r < utf8.RuneSelf {
			size++
		} else {
			size += len(`\u0000`)
		}
	}
	return size, nil
}

// definition returns the parameter as the document declares it.
func (p ScriptParameter) definition() (map[string]any, error) {
	if !strings.HasPrefix(p.Pattern, "^") || !strings.HasSuffix(p.Pattern, "$") {
		return nil, fmt.Errorf("parameter %s: pattern %q is not anchored at both ends", p.Name, p.Pattern)
	}
	definition := map[string]any{
		"type":           "String",
		"description":    p.Description,
		"allowedPattern": p.Pattern,
	}
	if p.Optional {
		pattern, err := regexp.Compile(p.Pattern)
		if err != nil || !pattern.MatchString(p.Default) {
			return nil, fmt.Errorf("parameter %s: pattern %q does not let the default %q through", p.Name, p.Pattern, p.Default)
		}
		definition["default"] = p.Default
	}
	return definition, nil
}
