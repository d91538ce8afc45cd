package deploy

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"mvdan.cc/sh/v3/syntax"

	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/cdk"
)

// UnknownEndpoint stands, in a rehearsal, for what only the deploy will read.
const UnknownEndpoint = "vpce-00000000000000000"

// rehearsal plays an account in which everything is as it should be, and prints what it is asked: a dry run runs the same
// code as a deploy. Its stack exists and is complete, so it is never asked for more.
type rehearsal struct {
	Stacks // nil: the calls below are all that such a stack needs
	out    io.Writer
	target Target
}

// Rehearse gives a target clients that print what they are asked.
func Rehearse(t Target, assembly cdk.Assembly, out io.Writer) Target {
	r := &rehearsal{out: out, target: t}
	_, _ = fmt.Fprintf(out, "# %s: an account without the bootstrap stack, or with one below %d: cdk %s\n", t.Name, t.Bootstrap, Quote(Bootstrap(assembly, t)...))
	if t.Protected {
		_, _ = fmt.Fprintf(out, "# %s: is there none yet? Then it is deployed twice, the first time unprotected\n", t.Name)
	}
	_, _ = fmt.Fprintf(out, "# %s: what is left of a creation that failed is deleted first, after a question (docs/operations.md)\n", t.Name)
	t.Clients = Clients{r, r}
	return t
}

func (r *rehearsal) print(service, operation string, input any) error {
	return calls.Call{Service: service, Operation: operation, Input: input}.Print(r.out)
}

func (r *rehearsal) GetParameter(_ context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	version := strconv.Itoa(r.target.Bootstrap)
	return &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: &version}}, r.print("ssm", "GetParameter", in)
}

func (r *rehearsal) DescribeStacks(_ context.Context, in *cloudformation.DescribeStacksInput, _ ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error) {
	return &cloudformation.DescribeStacksOutput{Stacks: []cfntypes.Stack{{
		StackName: in.StackName, StackStatus: cfntypes.StackStatusUpdateComplete,
		Outputs: []cfntypes.Output{{OutputKey: aws.String("S3EndpointId"), OutputValue: aws.String(UnknownEndpoint)}},
	}}}, r.print("cloudformation", "DescribeStacks", in)
}

func (r *rehearsal) SetStackPolicy(_ context.Context, in *cloudformation.SetStackPolicyInput, _ ...func(*cloudformation.Options)) (*cloudformation.SetStackPolicyOutput, error) {
	return &cloudformation.SetStackPolicyOutput{}, r.print("cloudformation", "SetStackPolicy", in)
}

// plainWord needs no quotes, where no variable could be set.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Quote are arguments as a shell takes them.
func Quote(words ...string) string {
	quoted := slices.Clone(words)
	for i, word := range words {
		if plainWord.MatchString(word) {
			continue
		}
		text, err := syntax.Quote(word, syntax.LangBash)
		if err != nil { // a zero byte, which no argument can have
			text = strconv.Quote(word)
		}
		quoted[i] = text
	}
	return strings.Join(quoted, " ")
}
