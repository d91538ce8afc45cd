package constructs

import (
	"encoding/json"
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// DeploymentGroup names an existing CodeDeploy deployment group.
type DeploymentGroup struct {
	Application     string `json:"application"`
	DeploymentGroup string `json:"deploymentGroup"`
}

// maxNamedPairs is up to how many pairs a role's policy names each one. IAM
// takes 10,240 characters of inline policies a role, and names may have 100.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const maxNamedPairs = 16

// namedPairsOnly is the reason for what policies say above maxNamedPairs.
var namedPairsOnly = fmt.Sprintf("Groups and applications are named up to %d pairs; more do not fit a policy", maxNamedPairs)

// deploymentGroupARNs returns the ARNs of groups and of their applications, or
// one wildcard of each when there are too many to name.
func deploymentGroupARNs(scope constructs.Construct, groups []DeploymentGroup) (groupARNs, applicationARNs []*string) {
	if len(groups) > maxNamedPairs {
		return []*string{codeDeployARN(scope, "deploymentgroup", "*")}, []*string{codeDeployARN(scope, "application", "*")}
	}
	for _, g := range groups {
		groupARNs = append(groupARNs, codeDeployARN(scope, "deploymentgroup", g.Application+"/"+g.DeploymentGroup))
	}
	for _, application := range applicationNames(groups) {
		applicationARNs = append(applicationARNs, codeDeployARN(scope, "application", application))
	}
	return groupARNs, applicationARNs
}

// deploymentGroupsFile is the list of groups as the functions read it. A file,
// because a thousand pairs do not fit the 4 KB that a function's environment
// may have.
func deploymentGroupsFile(groups []DeploymentGroup) map[string][]byte {
	list, err := json.Marshal(groups)
	if err != nil {
		panic(err)
	}
	return map[string][]byte{"deployment-groups.json": list}
}

// applicationNames returns each application once, in the order of groups.
func applicationNames(groups []DeploymentGroup) []string {
	var names []string
	seen := map[string]bool{}
	for _, g := range groups {
		if !seen[g.Application] {
			seen[g.Application] = true
			names = append(names, g.Application)
		}
	}
	return names
}

// codeDeployARN returns the ARN of one of the account's CodeDeploy resources.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodedeploy.html
func codeDeployARN(scope constructs.Construct, kind, name string) *string {
	return awscdk.Stack_Of(scope).FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("codedeploy"), Resource: &kind, ResourceName: &name,
		ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
}
