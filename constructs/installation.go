package constructs

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// InstallationProps configures [NewInstallation].
type InstallationProps struct {
	// Document is what is run. It takes a parameter SignalUrl. Required.
	Document *HostDocument

	// InstanceID is the host that it is run on. Required.
	InstanceID *string

	// Parameters are the document's parameters but SignalUrl, by name. Optional.
	Parameters map[string]*string

	// After is what must exist before the host can run the document: its way
	// to Systems Manager and to the package repositories, its volume. Required.
	After []constructs.IDependable

	// TimeoutSeconds is how long the deploy waits for the program's signal.
	// Required; at most 43,200.
	TimeoutSeconds int
}

// Installation runs a document once on a host, when the stack is created, and
// lets the deploy wait for its outcome: the hosts' program itself reports success, or
// failure with the reason, to a wait condition. The association's own status
// is not enough, for it has been seen to say Success while the instance was
// not registered with Systems Manager yet.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-waitcondition.html
//
// State Manager runs the document again whenever the document or a parameter
// changes; the program leaves an installed host as it is.
type Installation struct {
	Association awsssm.CfnAssociation
	// Done is made when the program has reported success.
	Done awscdk.CfnWaitCondition
}

// signalURLPattern is the form of a wait condition handle's presigned URL.
const signalURLPattern = `^https://[A-Za-z0-9.-]+/[A-Za-z0-9%?&=._~:/+-]+$`

// NewInstallation defines an Installation under scope.
func NewInstallation(scope constructs.Construct, id string, props InstallationProps) *Installation {
	scope = constructs.NewConstruct(scope, &id)
	handle := awscdk.NewCfnWaitConditionHandle(scope, jsii.String("Signal"), nil)

	parameters := map[string]any{"SignalUrl": []*string{handle.Ref()}}
	for name, value := range props.Parameters {
		parameters[name] = []*string{value}
	}
	association := awsssm.NewCfnAssociation(scope, jsii.String("Association"), &awsssm.CfnAssociationProps{
		Name:       props.Document.Name,
		Parameters: parameters,
		Targets: []any{&awsssm.CfnAssociation_TargetProperty{
			Key:    jsii.String("InstanceIds"),
			Values: &[]*string{props.InstanceID},
		}},
	})
	for _, dependency := range props.After {
		association.Node().AddDependency(dependency)
	}
	done := awscdk.NewCfnWaitCondition(scope, jsii.String("Done"), &awscdk.CfnWaitConditionProps{
		Handle:  handle.Ref(),
		Timeout: jsii.String(fmt.Sprint(props.TimeoutSeconds)),
		Count:   jsii.Number(1),
	})
	done.AddResourceDependency(association, nil)
	return &Installation{Association: association, Done: done}
}
