package doctor

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/plain"
)

// The version that stacks with the CDK's own synthesizer need, and the parameter that the bootstrap stack keeps its own in.
// https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html
const (
	leastBootstrap     = 6
	bootstrapParameter = "/cdk-bootstrap/hnb659fds/version"
)

func bootstrapOf(side account.Side) func(context.Context, *look) []Finding {
	return func(ctx context.Context, l *look) []Finding {
		out, err := ssm.NewFromConfig(l.accounts[side].AWS).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(bootstrapParameter)})
		remedy := "scripts/ops deploy makes it, with an administrator's rights; or cdk bootstrap aws://" + l.accounts[side].ID + "/" + l.config.Region
		switch {
		case code(err) == "ParameterNotFound":
			return []Finding{wrong(remedy, "the account has no bootstrap stack of the CDK in %s", l.config.Region)}
		case err != nil:
			return []Finding{refused("ssm:GetParameter", err)}
		case out.Parameter == nil:
			return []Finding{unchecked("Systems Manager answered without the parameter")}
		}
		text := aws.ToString(out.Parameter.Value)
		version, err := strconv.Atoi(text)
		switch {
		case err != nil:
			return []Finding{wrong(remedy, "%s is %q, want a number", bootstrapParameter, plain.Line(text, 40))}
		case version < leastBootstrap:
			return []Finding{wrong(remedy, "version %d, want %d or later", version, leastBootstrap)}
		}
		return []Finding{ok("version %d", version)}
	}
}
