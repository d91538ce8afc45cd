package constructs

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// SecurityUpdatesProps configures [NewSecurityUpdates].
type SecurityUpdatesProps struct {
	// Program holds and releases operations. Required.
	Program *HostProgram

	// Environment names what is made. Required.
	Environment string

	// Hosts are the instances that get the updates. At least one.
	Hosts []UpdatedHost

	// Day is the day of the week, "SUN" to "SAT", and Time when it begins on that
	// day, as "HH:MM" in UTC. Required.
	Day, Time string
}

// UpdatedHost is an instance that gets security updates.
type UpdatedHost struct {
	// Instance is the construct of the instance, and ID its id. Required.
	Instance constructs.IConstruct
	ID       *string

	// System is its operating system, "amazon-linux-2" or "amazon-linux-2023".
	// Required.
	System string
}

// SecurityUpdates installs the security updates of Amazon Linux once a week, by
// Systems Manager's patch manager, and restarts a host that had some:
//
//	State Manager ── weekly ──▶ AWS-RunPatchBaselineWithHooks
//	                              hold-operations: no operation is under way, and none begins
//	                              what the host's baseline approves
//	                              a restart
//	                              release-operations
//
// GitLab, GitLab Runner and Docker are never among them: the baseline rejects
// these, their repositories are switched off on the hosts, and have no security
// notices, which the baseline asks for.
//
// It lives as long as its stack.
type SecurityUpdates struct {
	Association awsssm.CfnAssociation
}

// patchedSystems are patch manager's names of operating systems.
var patchedSystems = map[string]string{"amazon-linux-2": "AMAZON_LINUX_2", "amazon-linux-2023": "AMAZON_LINUX_2023"}

// neverPatched are the packages whose version is somebody's decision: GitLab may
// not skip its stops, and the runner keeps to GitLab's minor and to a Docker
// that it can talk to. By their names, with every version.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-approved-rejected-package-name-formats.html
var neverPatched = []string{"gitlab-ce", "gitlab-ee", "gitlab-runner", "gitlab-runner-helper-images", "docker"}

// approvedAfterDays lets an update that AWS takes back be gone before it comes.
const approvedAfterDays = 3

// NewSecurityUpdates defines a SecurityUpdates under scope.
func NewSecurityUpdates(scope constructs.Construct, id string, props SecurityUpdatesProps) *SecurityUpdates {
	scope = constructs.NewConstruct(scope, &id)
	group := "gitlab-codedeploy-" + props.Environment
	baselines := map[string]awsssm.CfnPatchBaseline{}
	var instances []*string
	for _, host := range props.Hosts {
		instances = append(instances, host.ID)
		// Patch manager finds the baseline of a host by this tag; without a blank in
		// it, the host's metadata may show tags.
		// https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-patch-groups.html
		awscdk.Tags_Of(host.Instance).Add(jsii.String("PatchGroup"), &group, nil)
		if baselines[host.System] == nil {
			baselines[host.System] = patchBaseline(scope, host.System, group)
		}
	}

	association := awsssm.NewCfnAssociation(scope, jsii.String("Schedule"), &awsssm.CfnAssociationProps{
		Name:               jsii.String("AWS-RunPatchBaselineWithHooks"),
		ScheduleExpression: jsii.String(weeklyAt(props.Day, props.Time)),
		// Not when it is made.
		ApplyOnlyAtCronInterval: jsii.Bool(true),
		Parameters: map[string]any{
			"Operation":             jsii.Strings("Install"),
			"RebootOption":          jsii.Strings("RebootIfNeeded"),
			"PreInstallHookDocName": []*string{hookDocument(scope, props, "Hold").Name},
			"OnExitHookDocName":     []*string{hookDocument(scope, props, "Release").Name},
		},
		Targets: []any{&awsssm.CfnAssociation_TargetProperty{
			Key: jsii.String("InstanceIds"), Values: &instances,
		}},
	})
	for _, host := range props.Hosts {
		association.Node().AddDependency(baselines[host.System])
	}
	return &SecurityUpdates{Association: association}
}

// hookDocument defines what patch manager runs before or after: "Hold" or
// "Release". When the first one fails, nothing is installed.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-aws-runpatchbaselinewithhooks.html
func hookDocument(scope constructs.Construct, props SecurityUpdatesProps, name string) *HostDocument {
	return NewHostDocument(scope, name, HostDocumentProps{
		Program:        props.Program,
		Command:        strings.ToLower(name) + "-operations",
		Description:    name + " the operations of a host, around security updates",
		TimeoutSeconds: operationSeconds,
	})
}

// weeklyAt returns State Manager's cron expression, which is in UTC.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/reference-cron-and-rate-expressions.html
func weeklyAt(day, time string) string {
	hour, minute, _ := strings.Cut(time, ":")
	h, errHour := strconv.Atoi(hour)
	m, errMinute := strconv.Atoi(minute)
	if errHour != nil || errMinute != nil {
		panic("SecurityUpdates: got time " + time + ", want HH:MM")
	}
	return fmt.Sprintf("cron(%d %d ? * %s *)", m, h, day)
}

// patchBaseline defines which updates hosts of a system get: what AWS calls a
// security update, of any severity.
func patchBaseline(scope constructs.Construct, system, group string) awsssm.CfnPatchBaseline {
	name, known := patchedSystems[system]
	if !known {
		panic("SecurityUpdates: got system " + system + ", want amazon-linux-2 or amazon-linux-2023")
	}
	return awsssm.NewCfnPatchBaseline(scope, jsii.String("Baseline-"+system), &awsssm.CfnPatchBaselineProps{
		Name:            jsii.String(group + "-" + system),
		Description:     jsii.String("Security updates, and never GitLab, GitLab Runner or Docker"),
		OperatingSystem: &name,
		PatchGroups:     jsii.Strings(group),
		ApprovalRules: &awsssm.CfnPatchBaseline_RuleGroupProperty{
			PatchRules: []any{&awsssm.CfnPatchBaseline_RuleProperty{
				ApproveAfterDays: jsii.Number(approvedAfterDays),
				ComplianceLevel:  jsii.String("HIGH"),
				PatchFilterGroup: &awsssm.CfnPatchBaseline_PatchFilterGroupProperty{
					PatchFilters: []any{&awsssm.CfnPatchBaseline_PatchFilterProperty{
						Key: jsii.String("CLASSIFICATION"), Values: jsii.Strings("Security"),
					}},
				},
			}},
		},
		RejectedPatches: jsii.Strings(neverPatched...),
		// Also not as what another package needs.
		RejectedPatchesAction: jsii.String("BLOCK"),
	})
}
