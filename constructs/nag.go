package constructs

import (
	"regexp"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
)

// finding names a rule of a checker and why its finding stays.
type finding struct {
	// rule is the rule's id: "AwsSolutions-S1" for cdk-nag, with a "::" in it
	// for the CDK's own validation, "W3005" for cfn-lint.
	rule string
	// appliesTo narrows a rule of cdk-nag that reports several findings, such
	// as "Resource::arn:aws:s3:::bucket/*"; empty means the whole rule.
	appliesTo []string
	// reason is what a reviewer or an auditor needs to know.
	reason string
}

// acknowledge records that findings on the resource behind construct are
// accepted. For cdk-nag and cfn-lint it writes the metadata that they read, so
// that the app itself does not depend on a checker.
// https://github.com/cdklabs/cdk-nag#suppressing-a-rule
// https://github.com/aws-cloudformation/cfn-lint#metadata
func acknowledge(construct constructs.IConstruct, findings ...finding) {
	var nag []map[string]any
	var lint []string
	for _, f := range findings {
		switch {
		case strings.Contains(f.rule, "::"):
			awscdk.Validations_Of(construct).Acknowledge(&awscdk.Acknowledgment{Id: &f.rule, Reason: &f.reason})
		case lintRule.MatchString(f.rule):
			lint = append(lint, f.rule)
		default:
			rule := map[string]any{"id": f.rule, "reason": f.reason}
			if len(f.appliesTo) > 0 {
				rule["applies_to"] = f.appliesTo
			}
			nag = append(nag, rule)
		}
	}
	if len(nag) > 0 {
		addMetadata(construct, "cdk_nag", map[string]any{"rules_to_suppress": nag})
	}
	if len(lint) > 0 {
		addMetadata(construct, "cfn-lint", map[string]any{"config": map[string]any{"ignore_checks": lint}})
	}
}

var lintRule = regexp.MustCompile(`^[EWI][0-9]{4}$`)

func addMetadata(construct constructs.IConstruct, key string, value any) {
	construct.Node().DefaultChild().(awscdk.CfnResource).AddMetadata(&key, value)
}
