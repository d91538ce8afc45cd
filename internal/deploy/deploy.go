// Package deploy brings the stacks of an environment to their accounts, one after the other.
//
// The CDK's command deploys. Around it stands what it does not know: what became of an earlier
// deploy that failed, the policy by which CloudFormation refuses to replace what holds data, the
// protection from deletion that a stack gets only once it is complete, and the endpoint that the
// second account has to admit.
package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/cdk"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/steps"
)

// Target is a stack and the account that it goes to.
type Target struct {
	cdk.Stack
	Side    account.Side
	Profile string
	Clients
}

// Deploy is one deploy of an environment.
type Deploy struct {
	Environment string
	Targets     []Target // in the order of their deploys
	Assembly    cdk.Assembly
	CDK         cdk.Program
	Steps       *steps.Steps
	Confirm     func(question string) bool
	Work        string        // the folder for logs
	Method      string        // "change-set" or "direct", as of cdk deploy
	Timeout     time.Duration // of one stack
	Endpoint    string        // account A's S3 endpoint, for B alone; "" leaves what the stack has
	Approved    bool          // nobody is asked about permissions
	Terminal    bool          // the CDK's command may ask

	current Target
	state   cfntypes.StackStatus // of the current stack; "" when there is none, or only about to be
	lifted  string               // the policy that the current stack has to get back
}

// ErrTold ends a deploy whose reason was told already.
var ErrTold = errors.New("the deploy failed")

// EndpointID is what the id of an S3 endpoint looks like.
var EndpointID = regexp.MustCompile(`^vpce-[0-9a-f]{8,17}$`)

// webPage is what the CDK says when it gets one in the place of an answer.
var webPage = regexp.MustCompile(`(?i)<html|<!doctype html|XML parse error`)

// Run deploys, and returns the outputs of each stack.
func (d *Deploy) Run(ctx context.Context) ([]Outputs, error) {
	for _, t := range d.Targets {
		d.current = t
		if err := d.bootstrap(ctx); err != nil {
			return nil, err
		}
	}
	for i, t := range d.Targets {
		d.current = t
		if err := d.deploy(ctx); err != nil {
			return nil, err
		}
		if t.Side == account.GitLab && i < len(d.Targets)-1 {
			if err := d.readEndpoint(ctx); err != nil {
				return nil, err
			}
		}
	}
	var all []Outputs
	for _, t := range d.Targets {
		d.current = t
		outputs, err := d.outputs(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, outputs)
	}
	return all, nil
}

// Interrupted says what an interruption leaves.
func (d *Deploy) Interrupted() {
	if strings.Contains(d.Steps.Name(), "deploying") {
		d.Steps.Log("CloudFormation finishes what it has begun: look at the stack before you deploy again")
	}
	d.tellLifted()
}

// run makes one run of the CDK that changes an account.
func (d *Deploy) run(ctx context.Context, log string, args []string) error {
	log = filepath.Join(d.Work, log)
	err := d.CDK.Run(ctx, cdk.Run{Args: args, Log: log, Limit: d.Timeout, Asks: d.Terminal})
	var late cdk.Late
	switch {
	case err == nil:
		d.Steps.End()
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &late):
		d.Steps.Log("error: %s: %v (--timeout). CloudFormation may go on; log: %s", d.Steps.Name(), err, log)
		d.tellLifted()
		return ErrTold
	}
	d.Steps.Log("error: %s: %v after %s; log: %s", d.Steps.Name(), err, d.Steps.Took(), log)
	text, _ := os.ReadFile(log)
	if bytes.Contains(bytes.ToLower(text), []byte("denied by stack policy")) {
		d.Steps.Log("CloudFormation refused to replace or delete what holds data: docs/changes.md says which key does what, and docs/recovery.md how it is done on purpose")
	}
	if webPage.Match(text) {
		d.Steps.Log("AWS's answer was a web page: there is a proxy in between, or an emulator that does not serve every call; moto serves no change set of a stack that exists, and --method direct needs none")
	}
	if strings.Contains(d.Steps.Name(), "deploying") && d.state == "" {
		d.Steps.Log("CloudFormation undoes a creation that fails. Fix the cause and deploy again: what is left of it is cleared away first")
	}
	if d.lifted != "" {
		if err := d.protect(ctx, d.lifted); err != nil {
			return err
		}
	}
	return ErrTold
}

// bootstrap makes or updates the CDK's own stack where it is missing or older than the assembly asks for.
// https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping.html
func (d *Deploy) bootstrap(ctx context.Context) error {
	t := d.current
	out, err := t.GetParameter(ctx, &ssm.GetParameterInput{Name: &t.VersionParameter})
	var none *ssmtypes.ParameterNotFound
	has := "none yet"
	switch {
	case errors.As(err, &none):
	case err != nil:
		return fmt.Errorf("read %s in account %s as %s: %w", t.VersionParameter, t.Account, t.Profile, err)
	default:
		var value string
		if out.Parameter != nil {
			value = aws.ToString(out.Parameter.Value)
		}
		version, err := strconv.Atoi(value)
		if err != nil || version < 0 {
			return fmt.Errorf("%s in account %s is %q, not a number", t.VersionParameter, t.Account, plain.Line(value, 40))
		}
		if version >= t.Bootstrap {
			return nil
		}
		has = fmt.Sprintf("version %d, and %d is needed", version, t.Bootstrap)
	}
	if err := d.confirm("Account %s, %s: bootstrap stack: %s. Let the CDK deploy it?", t.Account, t.Region, has); err != nil {
		return err
	}
	d.Steps.Begin("bootstrapping account %s in %s (%s)", t.Account, t.Region, has)
	return d.run(ctx, "bootstrap-"+t.Name+".log", Bootstrap(d.Assembly, t))
}

// Bootstrap is the run that makes or updates an account's bootstrap stack. With --app the CDK does not synthesise anew for it.
func Bootstrap(assembly cdk.Assembly, t Target) []string {
	return []string{"bootstrap", "aws://" + t.Account + "/" + t.Region, "--app", string(assembly), "--profile", t.Profile, "--no-color"}
}

func (d *Deploy) confirm(format string, values ...any) error {
	if d.Confirm(fmt.Sprintf(format, values...)) {
		return nil
	}
	return fmt.Errorf("not confirmed; %s was not deployed", d.current.Name)
}

// deploy deploys the current stack. A new one is created unprotected: the CDK protects a stack before it creates
// anything in it, and CloudFormation could then not undo a creation that fails.
func (d *Deploy) deploy(ctx context.Context) error {
	t := d.current
	there := fmt.Sprintf("%s to account %s in %s as %s", t.Name, t.Account, t.Region, t.Profile)
	if err := d.makeWay(ctx); err != nil {
		return err
	}
	if err := d.preparePolicy(ctx); err != nil {
		return err
	}
	what := "deploying " + there
	if d.state == "" && t.Protected {
		unprotected, err := d.Assembly.Unprotected(t.Name, filepath.Join(d.Work, "unprotected"))
		if err != nil {
			return err
		}
		d.Steps.Begin("deploying %s, unprotected as long as its creation can fail", there)
		if err := d.run(ctx, "create-"+t.Name+".log", d.command(unprotected, false)); err != nil {
			return err
		}
		d.state = cfntypes.StackStatusCreateComplete
		if err := d.protect(ctx, d.policy("deploy-policy")); err != nil {
			return err
		}
		what += " again: a second update, in place, protects it from deletion"
	}
	d.Steps.Begin("%s", what)
	if err := d.run(ctx, "deploy-"+t.Name+".log", d.command(d.Assembly, true)); err != nil {
		return err
	}
	if err := d.protect(ctx, d.policy("policy")); err != nil {
		return err
	}
	d.lifted = ""
	return nil
}

// command is the run of the CDK that deploys the current stack.
func (d *Deploy) command(assembly cdk.Assembly, protect bool) []string {
	approval := "broadening"
	if d.Approved {
		approval = "never"
	}
	args := []string{"deploy", d.current.Name, "--app", string(assembly), "--exclusively", "--profile", d.current.Profile,
		"--method", d.Method, "--require-approval", approval, "--progress", "events", "--no-color"}
	// Left out, the stack keeps the value that it has.
	if d.current.Side == account.Deploy && d.Endpoint != "" {
		args = append(args, "--parameters", d.current.Name+":SourceVpceId="+d.Endpoint)
	}
	// What the assembly does not protect has no such parameter.
	if protect && d.template().Parameters["Protection"] != nil {
		args = append(args, "--parameters", d.current.Name+":Protection=on")
	}
	if !d.Terminal {
		args = append(args, "--ci") // no spinner, and all talk on one channel
	}
	return args
}

// template is the current stack's, as far as a deploy has to know it.
func (d *Deploy) template() (t template) {
	text, err := os.ReadFile(d.Assembly.Template(d.current.Name))
	if err == nil {
		_ = json.Unmarshal(text, &t) // the CDK says what is wrong with it
	}
	return t
}

type template struct {
	Parameters map[string]json.RawMessage
	Resources  map[string]struct {
		Type       string
		Properties map[string]any
	}
}

func (d *Deploy) policy(kind string) string {
	return filepath.Join(string(d.Assembly), d.current.Name+"."+kind+".json")
}

// protect gives the stack the policy in a file. A stack that is not there yet, or is only about to be, gets it after its deploy.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/protect-stack-resources.html
func (d *Deploy) protect(ctx context.Context, file string) error {
	policy, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, err = d.current.SetStackPolicy(ctx, &cloudformation.SetStackPolicyInput{StackName: &d.current.Name, StackPolicyBody: aws.String(string(policy))})
	if err != nil && !DoesNotExist(err) {
		return fmt.Errorf("set the policy of %s: %w", d.current.Name, err)
	}
	return nil
}

// preparePolicy comes before each deploy: what was lifted once, by a deploy that did not end here, is so no more.
func (d *Deploy) preparePolicy(ctx context.Context) error {
	between, err := os.ReadFile(d.policy("policy"))
	if err != nil {
		return err
	}
	during, err := os.ReadFile(d.policy("deploy-policy"))
	if err != nil {
		return err
	}
	if !bytes.Equal(between, during) {
		d.Steps.Log("warning: config/%s.yaml has allowReplacement: this deploy may replace or delete what holds data in %s", d.Environment, d.current.Name)
		if err := d.confirm("Let CloudFormation replace or delete what it has to in %s of account %s?", d.current.Name, d.current.Account); err != nil {
			return err
		}
		d.lifted = d.policy("policy")
	}
	return d.protect(ctx, d.policy("deploy-policy"))
}

// tellLifted is for when the deploy may still go on: a policy that came back now would stop it half-way.
func (d *Deploy) tellLifted() {
	if d.lifted != "" {
		d.Steps.Log("the policy of %s is still lifted: deploy again with allowReplacement taken out", d.current.Name)
	}
}

func (d *Deploy) readEndpoint(ctx context.Context) error {
	outputs, err := d.outputs(ctx)
	if err != nil {
		return err
	}
	id := outputs.Get("S3EndpointId")
	if !EndpointID.MatchString(id) {
		return fmt.Errorf("output S3EndpointId of %s is %q, not the id of a VPC endpoint; Deploy-%s was not touched", d.current.Name, plain.Line(id, 100), d.Environment)
	}
	d.Endpoint = id
	d.Steps.Log("S3 endpoint of account %s: %s", d.current.Account, id)
	return nil
}

func (d *Deploy) outputs(ctx context.Context) (Outputs, error) {
	d.Steps.At("reading the outputs of %s", d.current.Name)
	found, err := d.describe(ctx, d.current.Name)
	if err == nil && found == nil {
		err = errors.New("there is no such stack")
	}
	if err != nil {
		return Outputs{}, fmt.Errorf("read the outputs of %s: %w", d.current.Name, err)
	}
	return Outputs{Stack: d.current.Name, Outputs: found.Outputs}, nil
}

// describe returns the stack of a name or an id, or none.
func (d *Deploy) describe(ctx context.Context, name string) (*cfntypes.Stack, error) {
	out, err := d.current.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	switch {
	case DoesNotExist(err):
		return nil, nil
	case err != nil:
		return nil, err
	case len(out.Stacks) != 1:
		return nil, fmt.Errorf("got %d stacks, want 1", len(out.Stacks))
	}
	return &out.Stacks[0], nil
}

// DoesNotExist: "If the stack doesn't exist, a ValidationError is returned."
// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html
func DoesNotExist(err error) bool {
	var refused smithy.APIError
	return errors.As(err, &refused) && refused.ErrorCode() == "ValidationError" && strings.Contains(refused.ErrorMessage(), "does not exist")
}
