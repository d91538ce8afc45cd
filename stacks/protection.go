package stacks

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"gitlab-codedeploy/internal/config"
)

// Protection is a CloudFormation stack policy: what an update of a stack may do
// to its resources. CloudFormation itself decides by it, whoever deploys and
// whatever the reason of the change is, and undoes a deploy that is denied.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/protect-stack-resources.html
type Protection struct {
	Statement []ProtectionStatement
}

// ProtectionStatement allows or denies actions on the resources that match
// both Resource and Condition.
type ProtectionStatement struct {
	Effect    string
	Action    []string
	Principal string // "*": a stack policy knows no other
	Resource  []string
	// Condition narrows the statement by "ResourceType", if it is set.
	Condition map[string]map[string][]string `json:",omitempty"`
}

// keptTypes hold data, or an address or name that others know, wherever they
// are in a stack.
var keptTypes = []string{
	"AWS::Backup::BackupVault",
	"AWS::EC2::EIP",
	"AWS::EC2::Subnet",
	"AWS::EC2::VPC",
	"AWS::EC2::Volume",
	"AWS::EC2::VolumeAttachment",
	"AWS::ElasticLoadBalancingV2::LoadBalancer",
	"AWS::S3::Bucket",
	"AWS::SQS::Queue",
	"AWS::SecretsManager::Secret",
}

// keptResources are what else the server and its way in consist of, by the
// beginnings of their logical ids, which the constructs' ids make. The runner's
// host is none of them: it holds nothing that is worth a refused deploy.
var (
	keptResources = []string{
		"LogicalResourceId/Server*", "LogicalResourceId/LoadBalancer*", "LogicalResourceId/NetworkS3*", "LogicalResourceId/Backups*", "LogicalResourceId/Snapshots*",
	}
	keptResourceTypes = []string{
		"AWS::EC2::Instance", "AWS::EC2::SecurityGroup", "AWS::EC2::VPCEndpoint", "AWS::IAM::InstanceProfile", "AWS::IAM::Role", "AWS::KMS::Key",
	}
)

// closed is the policy between deploys, and of each one that is not let to do
// more: everything may be changed in place, and what is kept may be neither
// replaced nor deleted.
func closed() Protection {
	deny := ProtectionStatement{Effect: "Deny", Action: []string{"Update:Replace", "Update:Delete"}, Principal: "*"}
	types, resources := deny, deny
	types.Resource, types.Condition = []string{"*"}, resourceTypes(keptTypes)
	resources.Resource, resources.Condition = keptResources, resourceTypes(keptResourceTypes)
	return Protection{[]ProtectionStatement{allowEverything, types, resources}}
}

// A stack with a policy denies what no statement allows.
var allowEverything = ProtectionStatement{Effect: "Allow", Action: []string{"Update:*"}, Principal: "*", Resource: []string{"*"}}

func resourceTypes(types []string) map[string]map[string][]string {
	return map[string]map[string][]string{"StringEquals": {"ResourceType": types}}
}

// Protections returns the policies of the stacks of cfg by file name: for each
// stack NAME the policy that it has between deploys, NAME.policy.json, and the
// one for the deploy of this configuration, NAME.deploy-policy.json. They
// differ when the configuration allows a replacement.
func Protections(cfg config.Config) map[string]Protection {
	files := map[string]Protection{}
	for name, open := range map[string]bool{
		"GitLab": cfg.GitLab.Server.AllowReplacement,
		"Deploy": cfg.Deploy.Artifacts.AllowReplacement,
	} {
		during := closed()
		if open {
			during = Protection{[]ProtectionStatement{allowEverything}}
		}
		files[fmt.Sprintf("%s-%s.policy.json", name, cfg.Environment)] = closed()
		files[fmt.Sprintf("%s-%s.deploy-policy.json", name, cfg.Environment)] = during
	}
	return files
}

// WriteProtections writes the policies of the stacks of cfg into the folder of
// the cloud assembly, where "scripts/ops deploy" takes them from.
func WriteProtections(folder string, cfg config.Config) error {
	for name, policy := range Protections(cfg) {
		text, err := json.MarshalIndent(policy, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("write stack policy: %w", err)
		}
	}
	return nil
}
