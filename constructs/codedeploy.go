package constructs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// DeploymentGroup names an existing CodeDeploy deployment group, and who may
// deploy to it. Its JSON is what internal/trust and the functions read.
type DeploymentGroup struct {
	Application     string `json:"application"`
	DeploymentGroup string `json:"deploymentGroup"`

	// AnyProject lets whoever can upload deploy, without a proof.
	AnyProject bool `json:"anyProject,omitempty"`

	// Projects may deploy from Refs, which are branches and tags by their exact
	// names. Without any, nobody may.
	Projects []GitLabProject `json:"projects,omitempty"`
	Refs     []string        `json:"refs,omitempty"`

	// UnprotectedRefs lets refs deploy that GitLab does not protect.
	UnprotectedRefs bool `json:"unprotectedRefs,omitempty"`
}

// GitLabProject is a project by its id and its path.
type GitLabProject struct {
	ID   int    `json:"id"`
	Path string `json:"path"`
}

func (g DeploymentGroup) name() string { return g.Application + "/" + g.DeploymentGroup }

// deployers says in a line who may deploy to the group. A long line is cut, and
// ends with a hash of the whole: a reviewer sees that it changes.
func (g DeploymentGroup) deployers() string {
	switch {
	case g.AnyProject:
		return "any project, without a proof"
	case len(g.Projects) == 0:
		return "nobody"
	}
	var projects []string
	for _, p := range g.Projects {
		projects = append(projects, fmt.Sprintf("%d %s", p.ID, p.Path))
	}
	text := strings.Join(projects, ", ") + " from " + strings.Join(g.Refs, ", ")
	if g.UnprotectedRefs {
		text += ", unprotected too"
	}
	const most = 160
	if len(text) > most {
		sum := sha256.Sum256([]byte(text))
		text = strings.ToValidUTF8(text[:most], "") + "… " + hex.EncodeToString(sum[:4])
	}
	return text
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

// deploymentGroupsFile is the list of groups as the functions read it, with who
// may deploy to each. A file, because a thousand pairs do not fit the 4 KB that a
// function's environment may have.
func deploymentGroupsFile(groups []DeploymentGroup) map[string][]byte {
	list, err := json.Marshal(groups)
	if err != nil {
		panic(err)
	}
	return map[string][]byte{"deployment-groups.json": list}
}

// withoutDeployers leaves the pairs alone, for a function that lets nobody deploy.
func withoutDeployers(groups []DeploymentGroup) []DeploymentGroup {
	var pairs []DeploymentGroup
	for _, g := range groups {
		pairs = append(pairs, DeploymentGroup{Application: g.Application, DeploymentGroup: g.DeploymentGroup})
	}
	return pairs
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
