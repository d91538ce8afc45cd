package constructs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// HostProgramProps configures [NewHostProgram].
type HostProgramProps struct {
	// Root is the folder of the Go module. Required.
	Root string

	// Region is the AWS region of the stack. Required.
	Region string

	// Architectures are those of the hosts, as "uname -m" says them. Equal ones count
	// once. At least one.
	Architectures []string
}

// HostProgram is the program that does operations on the hosts (cmd/host), one build
// for each processor. Documents fetch it ([NewHostDocument]). It lives as long as its
// stack.
type HostProgram struct {
	// Builds are in the order of their processors' names.
	Builds []*Program
	// Region is that of the bucket that they are published in.
	Region string
}

// NewHostProgram defines a HostProgram under scope.
func NewHostProgram(scope constructs.Construct, id string, props HostProgramProps) *HostProgram {
	scope = constructs.NewConstruct(scope, &id)
	architectures := slices.Compact(slices.Sorted(slices.Values(props.Architectures)))
	program := &HostProgram{Region: props.Region}
	for _, architecture := range architectures {
		program.Builds = append(program.Builds, NewProgram(scope, architecture, ProgramProps{
			Root: props.Root, Package: "cmd/host", Architecture: architecture,
		}))
	}
	return program
}

// Serve lets a host's role fetch the program. What is run on the host when the stack
// is made has to depend on the result.
func (p *HostProgram) Serve(scope constructs.Construct, id string, role awsiam.Role) awsiam.Policy {
	var objects []*string
	for _, build := range p.Builds {
		objects = append(objects, jsii.String(build.objectARN()))
	}
	return awsiam.NewPolicy(scope, &id, &awsiam.PolicyProps{
		Roles:      &[]awsiam.IRole{role},
		Statements: &[]awsiam.PolicyStatement{allow("FetchProgram", objects, "s3:GetObject")},
	})
}

// HostDocumentProps configures [NewHostDocument].
type HostDocumentProps struct {
	// Program is what the document runs. Required.
	Program *HostProgram

	// Command is its command, such as "backup". Required.
	Command string

	// Name is the document's name. Optional: CloudFormation makes one. A fixed
	// name is for documents that an operator's IAM policy names; it is safe,
	// since no change but that of the name replaces the document.
	Name string

	// Description is shown in the Systems Manager console. Required.
	Description string

	// Arguments are the same in every run: what the sender has no say in, such as a
	// bucket. Optional.
	Arguments []DocumentArgument

	// Parameters become further arguments, in this order. Optional.
	Parameters []DocumentParameter

	// TimeoutSeconds ends a run that takes longer. Required.
	TimeoutSeconds int

	// Detached gives the document a parameter RunId, and lets the operation go on as a
	// systemd unit of its own: the document ends at once. Optional.
	Detached bool
}

// DocumentParameter is one parameter of a document, and the argument that it becomes.
type DocumentParameter struct {
	// Name is the parameter's name in the document, such as "Version". Required.
	Name string

	// Flag is the argument, such as "--version". Required.
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

// DocumentArgument is an argument that is made at synthesis.
type DocumentArgument struct {
	// Flag is the argument, such as "--bucket", and Value what follows it:
	// letters, digits and . _ / : , @ - only. Required.
	Flag, Value string
}

// fixedValue is what needs no thought between single quotes.
var fixedValue = regexp.MustCompile(`^[A-Za-z0-9._/:,@-]+$`)

// runIDPattern is the form of a run's id: see internal/operation.
const runIDPattern = `[0-9]{8}T[0-9]{6}-[0-9a-f]{8}`

// HostDocument is a document that [NewHostDocument] has defined.
type HostDocument struct {
	Document awsssm.CfnDocument
	// Name is the document's name.
	Name *string
}

// NewHostDocument defines an SSM Command document under scope that runs the hosts'
// program as root. It is a starter: the program with the hash in it is there already,
// or is fetched, and nothing else can run. A new build is a new version of the document,
// so "cdk diff" shows that the program changed, and CloudFormation brings both together.
//
//	document ── hash ──▶ /opt/gitlab-codedeploy/<hash>/host ── exec ──▶ the command
//	                        └─ if it is not there: asset bucket ── S3 endpoint
//
// It lives as long as its stack.
func NewHostDocument(scope constructs.Construct, id string, props HostDocumentProps) *HostDocument {
	content, err := hostDocumentContent(props)
	if err != nil {
		panic("HostDocument " + id + ": " + err.Error())
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
		UpdateMethod:   jsii.String("NewVersion"), // Replace would give it a new name
		Content:        content,
	})
	document.AddMetadata(jsii.String("Command"), jsii.String("host "+props.Command))
	return &HostDocument{Document: document, Name: document.Ref()}
}

// ProgramFolder is where hosts keep this project's programs.
const ProgramFolder = "/opt/gitlab-codedeploy"

// hostDocumentContent returns the body of the document, schema 2.2. Systems Manager's
// agent gives the lines to sh.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/documents-command-ssm-plugin-reference.html
func hostDocumentContent(props HostDocumentProps) (map[string]any, error) {
	parameters := map[string]any{}
	arguments := []string{"set --", props.Command}
	declared := props.Parameters
	if props.Detached {
		declared = append([]DocumentParameter{{
			Name: "RunId", Flag: "--detach", Description: "Id that the sender gives the run; the same one starts nothing twice",
			Pattern: "^(" + runIDPattern + "|nightly)$",
		}}, declared...)
	}
	for _, a := range props.Arguments {
		if !fixedValue.MatchString(a.Value) && !*awscdk.Token_IsUnresolved(a.Value) {
			return nil, fmt.Errorf("argument %s: got %q, want letters, digits and . _ / : , @ - only", a.Flag, a.Value)
		}
		arguments = append(arguments, fmt.Sprintf("%s '%s'", a.Flag, a.Value))
	}
	for _, p := range declared {
		definition, err := p.definition()
		if err != nil {
			return nil, err
		}
		parameters[p.Name] = definition
		arguments = append(arguments, fmt.Sprintf("%s '{{ %s }}'", p.Flag, p.Name))
	}
	lines := append([]string{"#!/bin/sh", "set -eu", strings.Join(arguments, " ")}, props.Program.starter()...)
	return map[string]any{
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
	}, nil
}

// starter are the lines that find the program, or fetch it, and become it. A right
// that was just given reaches S3 some seconds later.
func (p *HostProgram) starter() []string {
	lines := []string{"case $(uname -m) in"}
	for _, build := range p.Builds {
		lines = append(lines, fmt.Sprintf("%s) hash=%s key='%s' ;;", build.Architecture, build.SHA256, *build.ObjectKey))
	}
	bucket := *p.Builds[0].BucketName
	return append(lines,
		`*) echo "error: there is no program for the processor of this host" >&2; exit 1 ;;`,
		"esac",
		"program="+ProgramFolder+"/$hash/host",
		`is_it() { echo "$hash  $1" | sha256sum --check --status 2>/dev/null; }`,
		`if ! is_it "$program"; then`,
		`  (umask 022; mkdir -p "${program%/*}")`,
		`  tries=0`,
		fmt.Sprintf(`  until aws s3api get-object --region '%s' --bucket '%s' --key "$key" "$program.$$" >/dev/null; do`, p.Region, bucket),
		`    tries=$((tries + 1)); [ "$tries" -lt 8 ] || { rm -f "$program.$$"; exit 1; }; sleep 10`,
		"  done",
		fmt.Sprintf(`  is_it "$program.$$" || { rm -f "$program.$$"; echo "error: s3://%s/$key is not the program with the hash $hash" >&2; exit 1; }`, bucket),
		`  chmod 755 "$program.$$"; mv -f "$program.$$" "$program"`,
		"fi",
		`exec "$program" "$@"`,
	)
}

// definition returns the parameter as the document declares it.
func (p DocumentParameter) definition() (map[string]any, error) {
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
