package emulator

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gitlab-codedeploy/test/e2e/childprocess"
)

// deployLimit bounds the deploy of both stacks. After a failed first deploy the
// CDK CLI would poll moto for ever.
const deployLimit = 8 * time.Minute

// deploy runs the operator's own command against both accounts.
func (e *Emulator) deploy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deployLimit)
	defer cancel()
	return childprocess.Run(ctx, childprocess.Command{
		Args: []string{
			filepath.Join(e.Root, "scripts", "ops"), "deploy", "--env", environment,
			"--profile-a", e.A.Profile, "--profile-b", e.B.Profile,
			// With a change set, moto's stacks have no outputs.
			"--method", "direct",
			"--timeout", "240",
			"--work", filepath.Join(e.Work, "deploy"),
			"--yes",
		},
		Dir: e.Root,
		Env: e.clientEnvironment(
			// The CDK CLI remembers which key belongs to which account; keys of
			// one emulator may come again in the next.
			"CDK_HOME="+filepath.Join(e.Work, "cdk-home"),
			"CDK_DISABLE_CLI_TELEMETRY=true",
			// Validating takes longer than synthesising, and make synth does it.
			"CDK_VALIDATION="+cmp.Or(os.Getenv("CDK_VALIDATION"), "false"),
			"TMPDIR="+os.TempDir(),
		),
		Log: e.log("deploy"),
	})
}

// queueURL turns the URL of a queue, which moto's CloudFormation gives as the
// real AWS's, into this emulator's. A client that follows such an output would
// call the real one.
func (e *Emulator) queueURL(url string) string {
	return strings.Replace(url, "https://sqs."+e.Config.Region+".amazonaws.com", e.Endpoint, 1)
}

// outputs returns the outputs of stacks by stack and name.
func (e *Emulator) outputs(stacks ...*Stack) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, s := range stacks {
		all[s.Name] = map[string]string{}
		for name, value := range s.Outputs {
			all[s.Name][name] = e.queueURL(value)
		}
	}
	return all
}
