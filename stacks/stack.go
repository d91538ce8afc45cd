package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"gitlab-codedeploy/constructs"
	"gitlab-codedeploy/internal/config"
)

// newStack defines an empty stack "<name>-<environment>" in account.
func newStack(app awscdk.App, name, account, description string, cfg config.Config) awscdk.Stack {
	stack := awscdk.NewStack(app, jsii.String(name+"-"+cfg.Environment), &awscdk.StackProps{
		Env:                   &awscdk.Environment{Account: &account, Region: &cfg.Region},
		Description:           jsii.String(description + " (gitlab-codedeploy)"),
		TerminationProtection: jsii.Bool(cfg.TerminationProtection),
	})
	constructs.NoteFindings(stack)
	awscdk.Tags_Of(stack).Add(jsii.String("project"), jsii.String("gitlab-codedeploy"), nil)
	awscdk.Tags_Of(stack).Add(jsii.String("environment"), &cfg.Environment, nil)
	return stack
}

// pipelineAccessProps is the same in both accounts.
func pipelineAccessProps(cfg config.Config) constructs.PipelineAccessProps {
	return constructs.PipelineAccessProps{
		Environment:      cfg.Environment,
		IssuerURL:        cfg.Pipeline.IssuerURL,
		ProjectPath:      cfg.Pipeline.ProjectPath,
		Branch:           cfg.Pipeline.Branch,
		ExistingProvider: cfg.Pipeline.ExistingProvider,
	}
}

// output defines an output of stack. Its name is part of the product's
// interface: scripts and people look it up.
func output(stack awscdk.Stack, name string, value *string, description string) {
	awscdk.NewCfnOutput(stack, &name, &awscdk.CfnOutputProps{Value: value, Description: &description})
}
