// Command gitlab-codedeploy is the CDK app: "cdk synth" runs it.
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"gitlab-codedeploy/constructs"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/stacks"
)

func main() {
	err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Last, because the runtime may add a line of noise about its own end.
	jsii.Close()
	if err != nil {
		os.Exit(1)
	}
}

// run turns the CDK's panics into errors.
func run() (err error) {
	defer func() {
		// The CDK reports everything by panic, a compiler's message too. The
		// user needs the message; a trace helps only with a mistake of ours.
		switch p := recover().(type) {
		case nil:
		case runtime.Error:
			panic(p)
		default:
			err = fmt.Errorf("%v", p)
		}
	}()
	// The functions are compiled while the CDK starts.
	defer gobuild.Ahead(".", "linux", "arm64", "./lambda/trigger", "./lambda/status", "./lambda/markers")()
	app := awscdk.NewApp(nil)
	// "-c env=NAME" on the command line; cdk.json holds the default.
	environment, _ := app.Node().TryGetContext(jsii.String("env")).(string)
	cfg, err := config.Load("config", environment)
	if err != nil {
		return err
	}
	// And so are the programs of jobs and hosts, for the processors that these have.
	runner, server := constructs.GoArchitecture(cfg.GitLab.Runner.Architecture()), constructs.GoArchitecture(cfg.GitLab.Server.Architecture())
	defer gobuild.Ahead(".", "linux", runner, "./cmd/artifact", "./cmd/host")()
	if server != runner {
		defer gobuild.Ahead(".", "linux", server, "./cmd/host")()
	}
	gitlab, deploy := stacks.NewGitLab(app, cfg, "."), stacks.NewDeploy(app, cfg, ".")
	// "-c create=true" is for the first deploy: CloudFormation could not delete a
	// stack that was not created if it were protected already. The templates are
	// the same.
	if creating := app.Node().TryGetContext(jsii.String("create")); creating == "true" {
		gitlab.SetTerminationProtection(jsii.Bool(false))
		deploy.SetTerminationProtection(jsii.Bool(false))
	}
	constructs.AcceptFindings(app)
	assembly := app.Synth(nil)
	return stacks.WriteProtections(*assembly.Directory(), cfg)
}
