package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// JobProgramProps configures [NewJobProgram].
type JobProgramProps struct {
	// Region is the AWS region of the stack. Required.
	Region string

	// Program is what jobs get. Required.
	Program *Program

	// Host brings it there. Required.
	Host *HostProgram

	// Runner is the host whose jobs get it, and Network its way to the program.
	// Required.
	Runner  *Runner
	Network *Network
}

// JobProgram brings a program into every job of the runner's host, and the role that
// jobs hold, without anybody's doing and whatever the job's image has:
//
//	document with the hash ── State Manager ──▶ /opt/gitlab-codedeploy/<hash>/artifact
//	                                       │       └─ bin/artifact ── read-only ──▶ each job's container
//	                                       └──▶ host job-credentials ── 169.254.170.2 ──▶ its AWS SDK
//
// State Manager runs the document when it changes, on each new host, and once a
// day: what was missed, because a host was off or an operation was under way, is
// made up for. Jobs that run keep the program that they have begun. It lives as
// long as its stack; the program stays on its host.
type JobProgram struct {
	Association awsssm.CfnAssociation
}

// NewJobProgram defines a JobProgram under scope.
func NewJobProgram(scope constructs.Construct, id string, props JobProgramProps) *JobProgram {
	scope = constructs.NewConstruct(scope, &id)
	right := props.Program.grantRead(scope, "Right", props.Runner.Role)
	document := NewHostDocument(scope, "Document", HostDocumentProps{
		Program:        props.Host,
		Command:        "install-program",
		Description:    "Bring " + props.Program.Name + " and a role into each job of this host",
		Arguments:      append(props.Program.arguments(props.Region), jobRoleArgument(props.Runner)),
		TimeoutSeconds: 900,
	})
	association := awsssm.NewCfnAssociation(scope, jsii.String("Association"), &awsssm.CfnAssociationProps{
		Name:               document.Name,
		ScheduleExpression: jsii.String("rate(1 day)"),
		Targets: []any{&awsssm.CfnAssociation_TargetProperty{
			Key:    jsii.String("InstanceIds"),
			Values: &[]*string{props.Runner.InstanceID},
		}},
	})
	// A changed document is run at once, and that is before the association is
	// looked at: the rights to the new objects come first.
	for _, dependency := range append([]constructs.IDependable{right, props.Runner.FetchesProgram, props.Runner.Role, props.Runner.TakesJobRole}, props.Network.Egress...) {
		document.Document.Node().AddDependency(dependency)
	}
	return &JobProgram{Association: association}
}

// jobRoleArgument is the role that a host gives its jobs. It is a constant of each
// document: who may send it cannot give jobs another one.
func jobRoleArgument(runner *Runner) DocumentArgument {
	return DocumentArgument{Flag: "--job-role", Value: *runner.JobRole.RoleArn()}
}
