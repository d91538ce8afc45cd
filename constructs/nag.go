package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
)

// finding names a rule of cdk-nag and why its finding stays.
type finding struct {
	// rule is the rule's id, such as "AwsSolutions-S1".
	rule string
	// appliesTo narrows a rule that reports several findings, such as
	// "Action::s3:Abort*"; empty means the whole rule.
	appliesTo []string
	// reason is what a reviewer or an auditor needs to know.
	reason string
}

// acknowledge records that findings on the CloudFormation resource behind
// construct are accepted. It writes the metadata that cdk-nag reads, so that
// the app itself does not depend on the checker.
// https://github.com/cdklabs/cdk-nag#suppressing-a-rule
func acknowledge(construct constructs.IConstruct, findings ...finding) {
	resource, ok := construct.Node().DefaultChild().(awscdk.CfnResource)
	if !ok {
		resource = construct.(awscdk.CfnResource)
	}
	rules := make([]map[string]any, 0, len(findings))
	for _, f := range findings {
		rule := map[string]any{"id": f.rule, "reason": f.reason}
		if len(f.appliesTo) > 0 {
			rule["applies_to"] = f.appliesTo
		}
		rules = append(rules, rule)
	}
	metadata := map[string]any{"rules_to_suppress": rules}
	resource.AddMetadata(stringPtr("cdk_nag"), metadata)
}

func stringPtr(s string) *string { return &s }
