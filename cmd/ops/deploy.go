package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/cdk"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/deploy"
	"gitlab-codedeploy/internal/preflight"
	"gitlab-codedeploy/internal/steps"
)

type deployOptions struct {
	bothOptions
	endpoint, method, timeout, work string
	skipPreflight                   bool
	sides                           []account.Side
}

func (p *program) deploy() *cobra.Command {
	var o deployOptions
	command := &cobra.Command{
		Use:   "deploy --env NAME --profile-a PROFILE --profile-b PROFILE",
		Short: "Deploy GitLab to account A, then the artifact bucket and its trigger to B",
		Long: `Deploys GitLab to account A, then the artifact bucket and its trigger to B.

Both stacks come from one synthesis of config/NAME.yaml, in which the CDK validates the
templates, unless CDK_VALIDATION=false is set. The bucket admits account A's S3 endpoint,
whose id is read from the first stack on the way. Before anything is changed, both accounts
are asked for what a deploy would fail on only later: roles, certificate, images, bucket
name, deployment groups, quotas. All findings come at once (docs/operations.md). An account
without the CDK's bootstrap stack, or with too old a one, gets it. Each stack gets a policy
by which CloudFormation refuses to replace or delete what holds data (docs/changes.md);
allowReplacement in config/NAME.yaml lifts it for this one deploy.

A stack that does not exist yet is created first and protected from deletion by a second
update: CloudFormation could not undo a failed creation otherwise. What a failed creation
has left is told, and deleted after a question.

Prints the outputs of both stacks on stdout as one JSON object:
{"GitLab-NAME": {"VpcId": …}, "Deploy-NAME": {…}}.

Exit status: 0 done; 1 a step failed, and its log is named; 2 wrong use, configuration or
credentials, or a finding, and nothing was changed; 130 and 143 interrupted.`,
		Example: "  scripts/ops deploy --env staging --profile-a gitlab-account --profile-b deploy-account",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if err := p.needTools(); err != nil {
				return err
			}
			if !o.yes && !o.dryRun && !p.terminal {
				return usageError{errNoTerminal}
			}
			return p.inWorkFolder(&o, func() error { return p.runDeploy(c.Context(), o) })
		},
	}
	o.add(command)
	command.Flags().StringVar(&o.endpoint, "endpoint", "", "with --only b: account A's S3 endpoint; default: the one that the stack has")
	command.Flags().StringVar(&o.method, "method", "change-set", "change-set or direct, as of cdk deploy")
	command.Flags().StringVar(&o.timeout, "timeout", "7200", "longest time for one stack, in `seconds`")
	command.Flags().StringVar(&o.work, "work", "", "`folder` to keep the synthesised templates and the logs in; default: a temporary one, kept after a failure")
	command.Flags().BoolVar(&o.skipPreflight, "skip-preflight", false, "do not ask first for what the deploy would fail on")
	command.Flags().Lookup("yes").Usage = "do not ask before permissions are widened, an account is bootstrapped, something may be replaced, or a stack whose creation failed is deleted; needed without a terminal"
	return command
}

func (o *deployOptions) check() (err error) {
	if o.sides, err = o.bothOptions.sides(); err != nil {
		return err
	}
	switch {
	case o.endpoint != "" && o.only != "b":
		err = errors.New("--endpoint is for --only b: otherwise it is read from account A")
	case o.endpoint != "" && !deploy.EndpointID.MatchString(o.endpoint):
		err = fmt.Errorf("--endpoint: want the id of a VPC endpoint, got %q", o.endpoint)
	case o.method != "change-set" && o.method != "direct":
		err = fmt.Errorf("--method: want change-set or direct, got %q", o.method)
	case !seconds.MatchString(o.timeout):
		err = fmt.Errorf("--timeout: want seconds, got %q", o.timeout)
	default:
		return nil
	}
	return usageError{err}
}

// inWorkFolder makes the folder for templates and logs, and takes it away again after a success, and after wrong use.
func (p *program) inWorkFolder(o *deployOptions, do func() error) (err error) {
	if o.work != "" {
		if o.work, err = filepath.Abs(o.work); err != nil {
			return err
		}
		if err := os.MkdirAll(o.work, 0o755); err != nil {
			return err
		}
		return do()
	}
	if o.work, err = os.MkdirTemp("", "ops-deploy."); err != nil {
		return err
	}
	err = do()
	if status := exitStatus(err); status == 0 || status == 2 {
		_ = os.RemoveAll(o.work)
	}
	return err
}

func (p *program) runDeploy(ctx context.Context, o deployOptions) error {
	at := &steps.Steps{Log: p.log, Now: p.now}
	d := &deploy.Deploy{
		Environment: o.environment, CDK: p.cdk, Steps: at, Work: o.work, Method: o.method, Endpoint: o.endpoint, Approved: o.yes, Terminal: p.terminal,
		Confirm: func(question string) bool { return p.confirm(o.options, question) == nil },
	}
	limit, _ := strconv.Atoi(o.timeout)
	d.Timeout = time.Duration(limit) * time.Second
	all, err := p.deployed(ctx, o, d)
	switch {
	case err != nil && ctx.Err() != nil:
		p.log("interrupted while %s; logs are in %s", at.Name(), o.work)
		d.Interrupted()
		return interrupted(ctx)
	case errors.Is(err, deploy.ErrTold):
		return ended{status: 1}
	case err != nil || o.dryRun:
		return err
	}
	if err := deploy.Print(p.stdout, all); err != nil {
		return err
	}
	if len(all) == 2 {
		p.sayNextSteps(o, all[0], all[1], d.Assembly)
	}
	return nil
}

// deployed does all of it, or prints what it would do.
func (p *program) deployed(ctx context.Context, o deployOptions, d *deploy.Deploy) (all []deploy.Outputs, err error) {
	if d.Assembly, d.Targets, err = p.synthesise(ctx, o.bothOptions, o.sides, d.Steps, o.work); err != nil {
		return nil, err
	}
	if o.dryRun {
		return nil, p.rehearse(ctx, o, d)
	}
	opened, err := p.identify(ctx, o.bothOptions, d.Targets, d.Steps)
	if err != nil {
		return nil, err
	}
	if err := p.preflight(ctx, o, opened, d.Steps); err != nil {
		return nil, err
	}
	for i, t := range d.Targets {
		d.Targets[i].Clients = deploy.NewClients(opened[t.Side])
	}
	return d.Run(ctx)
}

// rehearse runs the same code in accounts that are as they should be, and prints what it asks of them.
func (p *program) rehearse(ctx context.Context, o deployOptions, d *deploy.Deploy) error {
	d.CDK = p.printer()
	d.Steps = &steps.Steps{Log: func(string, ...any) {}, Now: p.now}
	if o.assembly == "" {
		if err := d.CDK.Run(ctx, cdk.Run{Args: cdk.Synthesis(o.environment, string(d.Assembly))}); err != nil {
			return err
		}
	}
	if err := p.rehearseIdentities(d.Targets); err != nil {
		return err
	}
	for i, t := range d.Targets {
		if !o.skipPreflight {
			_, _ = fmt.Fprintf(p.stdout, "# %s: preflight, which changes nothing: %s\n", t.Name, strings.Join(preflight.Actions(preflightAccount(t.Side)), " "))
		}
		d.Targets[i] = deploy.Rehearse(t, d.Assembly, p.stdout)
	}
	_, err := d.Run(ctx)
	return err
}

func preflightAccount(side account.Side) preflight.Account {
	if side == account.GitLab {
		return preflight.A
	}
	return preflight.B
}

// preflight ends the command when a deploy would fail.
func (p *program) preflight(ctx context.Context, o deployOptions, opened map[account.Side]aws.Config, at *steps.Steps) error {
	if o.skipPreflight {
		p.log("warning: --skip-preflight: nothing was asked first; what is missing shows when CloudFormation fails on it")
		return nil
	}
	at.Begin("asking for what the deploy would fail on")
	source, err := config.LoadSource(p.configs, o.environment)
	if err != nil {
		return usageError{err}
	}
	asked := &preflight.Preflight{Source: source, Clients: map[preflight.Account]*preflight.Clients{}, Now: p.now}
	for side, loaded := range opened {
		asked.Clients[preflightAccount(side)] = preflight.NewClients(loaded)
	}
	report := asked.Run(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	log, err := os.Create(filepath.Join(o.work, "preflight.log"))
	if err != nil {
		return err
	}
	if err := errors.Join(report.Print(io.MultiWriter(p.stderr, log)), log.Close()); err != nil {
		return err
	}
	if report.Stops() {
		return usageError{errors.New("nothing was deployed, and nothing was changed; fix what stands above, or pass --skip-preflight")}
	}
	at.End()
	return nil
}

// sayNextSteps says what no deploy can do.
func (p *program) sayNextSteps(o deployOptions, gitlab, applications deploy.Outputs, assembly cdk.Assembly) {
	url := gitlab.Get("Url")
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "/")
	ops := func(command string) string {
		return "scripts/ops " + deploy.Quote(command, "--env", o.environment, "--profile", *o.profiles[account.GitLab])
	}
	lines := []string{"", "Next:"}
	// With a hosted zone in the configuration the stack made the record itself.
	if !assembly.Has(gitlab.Stack, "AWS::Route53::RecordSet") {
		lines = append(lines, fmt.Sprintf("- DNS: point %s at %s (CNAME, or an alias record).", host, gitlab.Get("LoadBalancerDnsName")))
	}
	lines = slices.Concat(lines, []string{
		fmt.Sprintf("- GitLab: sign in at %s as root. The password:", url), "  " + ops("root-password") + " --show",
		"- Runner: when GitLab answers there, register it:", "  " + ops("register-runner"),
		fmt.Sprintf("- Each application: set the CI variable ARTIFACT_BUCKET to %s,", applications.Get("ArtifactBucketName")),
		"  and take the job from scripts/ci/deploy.gitlab-ci.yml.",
	})
	for _, line := range lines {
		_, _ = fmt.Fprintln(p.stderr, line)
	}
}
