package constructs

import (
	"regexp"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// finding names what checkers report and why it stays.
type finding struct {
	// rule is the rule's id: "AwsSolutions-S1" or "NIST.800.53.R5-…" for
	// cdk-nag, with a "::" in it for the CDK's own validation, "W3005" for
	// cfn-lint, "CKV_AWS_18" for checkov, "CT.S3.PR.2" for cfn-guard's Control
	// Tower rules. Checkers overlap: several ids, with blanks between, are rules
	// about the same thing.
	rule string
	// appliesTo narrows a rule of cdk-nag that reports several findings, such
	// as "Resource::arn:aws:s3:::bucket/*"; empty means the whole rule.
	appliesTo []string
	// reason is what a reviewer or an auditor needs to know.
	reason string
}

// AcceptedFinding is a finding that stays.
type AcceptedFinding struct {
	// Construct is what it is about: the resource, or for the CDK's own
	// validation also a construct above it.
	Construct constructs.IConstruct
	Rules     []string
	AppliesTo []string
	Reason    string
	// General means that it holds for every resource of this type, reported or
	// not.
	General bool
}

// inGeneral are findings that stay whatever the resource of a type is for.
// Everything else is acknowledged where the resource is made.
var inGeneral = map[string]finding{
	"AWS::IAM::Policy": {
		rule: "NIST.800.53.R5-IAMNoInlinePolicy",
		reason: "Each policy belongs to one role, is made and removed with it, and can be attached to nothing else. " +
			"A managed policy could be attached to anybody.",
	},
}

// findingNote is the type of the entries of construct metadata that acknowledge
// makes. They end up in the assembly's manifest.json, not in the template.
//
// They stand at the stack, with the path of the construct that they are about:
// reading the metadata of every construct, which is mostly the CDK's own, takes
// as long as defining the stacks does.
const findingNote = "gitlab-codedeploy:finding"

// acknowledge notes that findings on the resource behind construct are accepted.
func acknowledge(construct constructs.IConstruct, findings ...finding) {
	stack, path := awscdk.Stack_Of(construct).Node(), *construct.Node().Path()
	for _, f := range findings {
		stack.AddMetadata(jsii.String(findingNote), map[string]any{
			"path": path, "rules": strings.Fields(f.rule), "appliesTo": f.appliesTo, "reason": f.reason,
		}, nil)
	}
}

// AcceptedFindings returns what is accepted of root, an app or a stack, and
// below it.
func AcceptedFindings(root constructs.IConstruct) []AcceptedFinding {
	var found []AcceptedFinding
	for _, construct := range *root.Node().FindAll(constructs.ConstructOrder_PREORDER) {
		switch construct := construct.(type) {
		case awscdk.Stack:
			found = append(found, notesAt(construct)...)
		case awscdk.CfnResource:
			if f, general := inGeneral[*construct.CfnResourceType()]; general {
				found = append(found, AcceptedFinding{Construct: construct, Rules: strings.Fields(f.rule), Reason: f.reason, General: true})
			}
		}
	}
	return found
}

// notesAt returns what acknowledge noted about the constructs of a stack.
func notesAt(stack awscdk.Stack) []AcceptedFinding {
	var found []AcceptedFinding
	about := map[string]constructs.IConstruct{*stack.Node().Path(): stack}
	for _, entry := range *stack.Node().Metadata() {
		if *entry.Type != findingNote {
			continue
		}
		note := entry.Data.(map[string]any)
		found = append(found, AcceptedFinding{
			Construct: constructAt(about, note["path"].(string)), Rules: texts(note["rules"]), AppliesTo: texts(note["appliesTo"]), Reason: note["reason"].(string),
		})
	}
	return found
}

// constructAt returns the construct at a path, by way of those already known.
func constructAt(known map[string]constructs.IConstruct, path string) constructs.IConstruct {
	construct, is := known[path]
	if !is {
		end := strings.LastIndex(path, "/")
		construct = constructAt(known, path[:end]).Node().FindChild(jsii.String(path[end+1:]))
		known[path] = construct
	}
	return construct
}

func texts(list any) []string {
	var found []string
	elements, _ := list.([]any)
	for _, e := range elements {
		found = append(found, e.(string))
	}
	return found
}

// AcceptFindings tells the checkers what is accepted below root, each in the way
// that it reads, so that the app itself does not depend on a checker. A tree
// without this call shows them everything: that is how the tests find notes that
// have become needless.
//
// cfn-guard cannot be told: its Control Tower rules know no exceptions.
//
// https://github.com/cdklabs/cdk-nag#suppressing-a-rule
// https://github.com/aws-cloudformation/cfn-lint#metadata
// https://www.checkov.io/2.Basics/Suppressing%20and%20Skipping%20Policies.html
func AcceptFindings(root constructs.IConstruct) {
	for _, f := range AcceptedFindings(root) {
		for _, rule := range f.Rules {
			accept(f, rule)
		}
	}
}

// ResourceOf returns the CloudFormation resource behind a construct.
func ResourceOf(construct constructs.IConstruct) awscdk.CfnResource {
	if *awscdk.CfnResource_IsCfnResource(construct) {
		return construct.(awscdk.CfnResource)
	}
	return construct.Node().DefaultChild().(awscdk.CfnResource)
}

var (
	lintRule    = regexp.MustCompile(`^[EWI][0-9]{4}$`)
	checkovRule = regexp.MustCompile(`^CKV2?_`)
	guardRule   = regexp.MustCompile(`^CT\.`)
)

func accept(f AcceptedFinding, rule string) {
	switch {
	case strings.Contains(rule, "::"):
		awscdk.Validations_Of(f.Construct).Acknowledge(&awscdk.Acknowledgment{Id: &rule, Reason: &f.Reason})
	case lintRule.MatchString(rule):
		addToMetadata(f.Construct, "cfn-lint", []string{"config", "ignore_checks"}, rule)
	case checkovRule.MatchString(rule):
		addToMetadata(f.Construct, "checkov", []string{"skip"}, map[string]any{"id": rule, "comment": f.Reason})
	case guardRule.MatchString(rule):
	default:
		entry := map[string]any{"id": rule, "reason": f.Reason}
		if len(f.AppliesTo) > 0 {
			entry["applies_to"] = f.AppliesTo
		}
		addToMetadata(f.Construct, "cdk_nag", []string{"rules_to_suppress"}, entry)
	}
}

// addToMetadata appends an element to the list at path in the resource's
// metadata under key.
func addToMetadata(construct constructs.IConstruct, key string, path []string, element any) {
	resource := ResourceOf(construct)
	metadata, _ := resource.GetMetadata(&key).(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
	}
	at := metadata
	for _, step := range path[:len(path)-1] {
		next, _ := at[step].(map[string]any)
		if next == nil {
			next = map[string]any{}
		}
		at[step] = next
		at = next
	}
	last := path[len(path)-1]
	list, _ := at[last].([]any)
	at[last] = append(list, element)
	resource.AddMetadata(&key, metadata)
}
