package constructs

import (
	"regexp"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
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

// inlinePolicies stay, whatever they are for. Everything else is acknowledged where the
// resource is made.
var inlinePolicies = finding{
	rule: "NIST.800.53.R5-IAMNoInlinePolicy",
	reason: "Each policy belongs to one role, is made and removed with it, and can be attached to nothing else. " +
		"A managed policy could be attached to anybody.",
}

// acknowledged has a list for each stack, and the last one is that of the stack which is
// being defined. The stack's metadata say which is its own: each call of the CDK, which
// is another process, takes as long as a thousand lines here.
var acknowledged = [][]AcceptedFinding{nil}

const acknowledgedOf = "gitlab-codedeploy:findings"

// NoteFindings begins the list of a stack that is about to be defined.
func NoteFindings(stack awscdk.Stack) {
	stack.Node().AddMetadata(jsii.String(acknowledgedOf), len(acknowledged), nil)
	acknowledged = append(acknowledged, nil)
}

// acknowledge notes that findings on the resource behind construct are accepted.
func acknowledge(construct constructs.IConstruct, findings ...finding) {
	last := &acknowledged[len(acknowledged)-1]
	for _, f := range findings {
		*last = append(*last, f.on(construct))
	}
}

func (f finding) on(construct constructs.IConstruct) AcceptedFinding {
	return AcceptedFinding{Construct: construct, Rules: strings.Fields(f.rule), AppliesTo: f.appliesTo, Reason: f.reason}
}

// AcceptedFindings returns what is accepted of root, an app or a stack, and
// below it.
func AcceptedFindings(root constructs.IConstruct) []AcceptedFinding {
	var found []AcceptedFinding
	for _, construct := range *root.Node().FindAll(constructs.ConstructOrder_PREORDER) {
		switch construct := construct.(type) {
		case awscdk.Stack:
			for _, entry := range *construct.Node().Metadata() {
				if *entry.Type == acknowledgedOf {
					found = append(found, acknowledged[int(entry.Data.(float64))]...)
				}
			}
		case awsiam.CfnPolicy:
			f := inlinePolicies.on(construct)
			f.General = true
			found = append(found, f)
		}
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
	if resource, is := construct.(awscdk.CfnResource); is {
		return resource
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
