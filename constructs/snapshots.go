package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsbackup"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// SnapshotsProps configures [NewSnapshots].
type SnapshotsProps struct {
	// VolumeID is the EBS volume that snapshots are made of. They are encrypted
	// when it is. Required.
	VolumeID *string

	// Key is what the volume is encrypted with. Required.
	Key awskms.Key

	// KeepDays is how long a snapshot is kept, in days. Required.
	KeepDays int

	// BreakGlassRoleARNs are roles that may change the vault's policy and lock,
	// beside the one that CloudFormation deploys with. Optional.
	BreakGlassRoleARNs []string

	// After is what must exist before the first snapshot. A vault with a snapshot
	// cannot be deleted, and a failed first deploy has to be undone. Required.
	After []constructs.IDependable
}

// Snapshots makes a snapshot of a volume each day, by AWS Backup, and deletes
// it when it is old enough; nobody else can. A snapshot is what the disk held
// at one moment, as after a power cut. The vault and what is in it outlive the
// stack.
//
// What refuses the deletion is the vault's policy, and a lock in governance
// mode. Both can be taken away, but only by a deploy or by those who may break
// the glass.
type Snapshots struct {
	VaultName *string
}

// jobs counts the jobs of a vault that came to an end: Completed, Failed,
// Aborted or Expired.
// https://docs.aws.amazon.com/aws-backup/latest/devguide/cloudwatch.html
func (s *Snapshots) jobs(end string, minutes int) awscloudwatch.IMetric {
	return metricOf("AWS/Backup", "NumberOfBackupJobs"+end, "Sum", minutes, map[string]*string{"BackupVaultName": s.VaultName})
}

// NewSnapshots defines a Snapshots under scope.
func NewSnapshots(scope constructs.Construct, id string, props SnapshotsProps) *Snapshots {
	scope = constructs.NewConstruct(scope, &id)
	vault := snapshotVault(scope, props)
	plan := awsbackup.NewCfnBackupPlan(scope, jsii.String("Plan"), &awsbackup.CfnBackupPlanProps{
		BackupPlan: &awsbackup.CfnBackupPlan_BackupPlanResourceTypeProperty{
			BackupPlanName: awscdk.Stack_Of(scope).StackName(),
			BackupPlanRule: []any{&awsbackup.CfnBackupPlan_BackupRuleResourceTypeProperty{
				RuleName:          jsii.String("daily"),
				TargetBackupVault: vault.Ref(),
				// UTC. A snapshot costs the server nothing that users notice.
				ScheduleExpression:      jsii.String("cron(0 17 * * ? *)"),
				StartWindowMinutes:      jsii.Number(60),
				CompletionWindowMinutes: jsii.Number(24 * 60),
				Lifecycle: &awsbackup.CfnBackupPlan_LifecycleResourceTypeProperty{
					DeleteAfterDays: jsii.Number(props.KeepDays),
				},
			}},
		},
	})
	volume := awscdk.Stack_Of(scope).FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("ec2"), Resource: jsii.String("volume"), ResourceName: props.VolumeID,
	})
	role, policy := snapshotRole(scope, volume)
	openToBackup(props.Key, role)
	selection := awsbackup.NewCfnBackupSelection(scope, jsii.String("Selection"), &awsbackup.CfnBackupSelectionProps{
		BackupPlanId: plan.Ref(),
		BackupSelection: &awsbackup.CfnBackupSelection_BackupSelectionResourceTypeProperty{
			SelectionName: jsii.String("data-volume"),
			IamRoleArn:    role.RoleArn(),
			Resources:     &[]*string{volume},
		},
	})
	// AWS Backup looks at what the role may do when the selection is made.
	selection.Node().AddDependency(policy)
	selection.Node().AddDependency(props.After...)
	return &Snapshots{VaultName: vaultName(scope)}
}

func snapshotVault(scope constructs.Construct, props SnapshotsProps) awsbackup.CfnBackupVault {
	vault := awsbackup.NewCfnBackupVault(scope, jsii.String("Vault"), &awsbackup.CfnBackupVaultProps{
		BackupVaultName: vaultName(scope),
		// AWS Backup itself still deletes what is older than it is to be kept.
		// https://docs.aws.amazon.com/aws-backup/latest/devguide/create-a-vault-access-policy.html
		AccessPolicy: map[string]any{
			"Version": "2012-10-17",
			"Statement": []any{map[string]any{
				"Sid":       "NobodyDeletesSnapshots",
				"Effect":    "Deny",
				"Principal": map[string]any{"AWS": "*"},
				"Action":    []string{"backup:DeleteRecoveryPoint", "backup:UpdateRecoveryPointLifecycle"},
				"Resource":  "*",
			}, map[string]any{
				// A Deny that anybody may take away is worth nothing.
				"Sid":       "NobodyOpensTheVault",
				"Effect":    "Deny",
				"Principal": map[string]any{"AWS": "*"},
				"Action": []string{
					"backup:PutBackupVaultAccessPolicy", "backup:DeleteBackupVaultAccessPolicy", "backup:DeleteBackupVault",
					"backup:PutBackupVaultLockConfiguration", "backup:DeleteBackupVaultLockConfiguration",
				},
				"Resource": "*",
				"Condition": map[string]any{
					"ArnNotEquals": map[string]any{"aws:PrincipalArn": append([]string{deployerARN(scope)}, props.BreakGlassRoleARNs...)},
				},
			}},
		},
		// No ChangeableForDays: with it the lock would be for ever, in governance
		// mode a deploy can change it. A job that keeps a snapshot for less fails.
		// https://docs.aws.amazon.com/aws-backup/latest/devguide/vault-lock.html
		LockConfiguration: &awsbackup.CfnBackupVault_LockConfigurationTypeProperty{
			MinRetentionDays: jsii.Number(props.KeepDays),
		},
	})
	vault.ApplyRemovalPolicy(awscdk.RemovalPolicy_RETAIN_ON_UPDATE_OR_DELETE, nil)
	acknowledge(vault, finding{
		rule:   "CKV_AWS_166",
		reason: "A snapshot of a volume has the volume's own encryption, whatever the vault's key; AWS's key of AWS Backup is for what has none.",
	})
	return vault
}

// vaultName is the vault's name. It has to have one, and a vault that outlived
// its stack must not stand in the way of the next stack: the name ends with the
// beginning of the stack's own id, arn:…:stack/NAME/UUID.
func vaultName(scope constructs.Construct) *string {
	uuid := awscdk.Fn_Select(jsii.Number(2), awscdk.Fn_Split(jsii.String("/"), awscdk.Aws_STACK_ID(), nil))
	return jsii.String(*awscdk.Stack_Of(scope).StackName() + "-" + *awscdk.Fn_Select(jsii.Number(0), awscdk.Fn_Split(jsii.String("-"), uuid, nil)))
}

// openToBackup lets the role make snapshots under the key, as AWS's own policy for
// backups does for each key, and not decrypt anything.
// https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSBackupServiceRolePolicyForBackup.html
func openToBackup(key awskms.Key, role awsiam.Role) {
	throughService(key, "SnapshotsOfBackup", "ec2", []*string{role.RoleArn()}, nil,
		"kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo")
	principal := &[]awsiam.IPrincipal{awsiam.NewArnPrincipal(role.RoleArn())}
	key.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid: jsii.String("BackupLooks"), Principals: principal, Actions: jsii.Strings("kms:DescribeKey"), Resources: jsii.Strings("*"),
	}), nil)
	key.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid: jsii.String("GrantsForBackup"), Principals: principal, Actions: jsii.Strings("kms:CreateGrant"), Resources: jsii.Strings("*"),
		Conditions: &forAWSResource,
	}), nil)
}

// snapshotRole defines the role that AWS Backup makes snapshots of one volume
// with: of AWS's own policy for backups, the statements for EBS without copies
// and archives.
// https://docs.aws.amazon.com/aws-backup/latest/devguide/security-iam-awsmanpol.html
func snapshotRole(scope constructs.Construct, volume *string) (awsiam.Role, awsiam.Policy) {
	role := awsiam.NewRole(scope, jsii.String("Role"), &awsiam.RoleProps{
		AssumedBy: awsiam.NewServicePrincipal(jsii.String("backup.amazonaws.com"), nil),
	})
	snapshots := awscdk.Stack_Of(scope).FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("ec2"), Account: jsii.String(""), Resource: jsii.String("snapshot"), ResourceName: jsii.String("*"),
	})
	vault := awscdk.Stack_Of(scope).FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("backup"), Resource: jsii.String("backup-vault"), ResourceName: vaultName(scope),
		ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
	remove := allow("DeleteOwnSnapshots", []*string{snapshots}, "ec2:DeleteSnapshot")
	remove.AddCondition(jsii.String("Null"), map[string]any{"aws:ResourceTag/aws:backup:source-resource": "false"})
	policy := awsiam.NewPolicy(role, jsii.String("Snapshots"), &awsiam.PolicyProps{
		Roles: &[]awsiam.IRole{role},
		Statements: &[]awsiam.PolicyStatement{
			allow("SnapshotVolume", []*string{volume, snapshots}, "ec2:CreateSnapshot"),
			allow("TagSnapshots", []*string{snapshots}, "ec2:CreateTags"),
			remove,
			// These know no narrower resource.
			// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
			allow("Look", []*string{jsii.String("*")}, "ec2:DescribeSnapshots", "ec2:DescribeTags", "ec2:DescribeVolumes", "tag:GetResources"),
			allow("UseVault", []*string{vault}, "backup:CopyIntoBackupVault", "backup:DescribeBackupVault"),
		},
	})
	acknowledge(policy, finding{
		rule:      "AwsSolutions-IAM5",
		appliesTo: []string{"Resource::" + *snapshots, "Resource::*"},
		reason:    "A snapshot has no id before it is made, and what only describes knows no resource; deletion is limited to AWS Backup's own snapshots.",
	})
	return role, policy
}
