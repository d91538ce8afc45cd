package preflight

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"gitlab-codedeploy/internal/config"
)

// RoleReader is the part of the IAM client that tells of roles.
type RoleReader interface {
	GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error)
}

func hasReaderRoles(c *config.Config) bool {
	for _, application := range c.Deploy.Applications {
		if len(application.ReaderRoles) > 0 {
			return true
		}
	}
	return false
}

// readerRoles asks for the roles of every application. One that several have is asked for each time: each place
// has to be told.
func readerRoles(ctx context.Context, a *asking) []Finding {
	applications := a.config.Deploy.Applications
	return each(len(applications), func(i int) []Finding { return roles(ctx, a, applications[i].ReaderRoles) })
}

func hasBreakGlassRoles(c *config.Config) bool { return len(c.GitLab.BreakGlassRoles) > 0 }

func breakGlassRoles(ctx context.Context, a *asking) []Finding {
	return roles(ctx, a, a.config.GitLab.BreakGlassRoles)
}

// roles asks for each role that a policy names as a principal, by name or ARN. S3 refuses a policy with a principal
// that does not exist ("Invalid principal in policy").
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-bucket-user-policy-specifying-principal-intro.html
func roles(ctx context.Context, a *asking, named []string) []Finding {
	return each(len(named), func(i int) []Finding { return role(ctx, a, &named[i]) })
}

func role(ctx context.Context, a *asking, named *string) []Finding {
	name := (*named)[strings.LastIndex(*named, "/")+1:]
	want := "a role of account " + a.accountID()
	out, err := ask(ctx, a, a.Roles.GetRole, &iam.GetRoleInput{RoleName: &name})
	switch {
	case code(err) == "NoSuchEntity":
		return []Finding{a.wrong(named, quote(*named)+", which does not exist", want, "create the role first, correct the name, or take it out")}
	case err != nil:
		return []Finding{a.unchecked(named, "iam:GetRole", err)}
	}
	// GetRole knows names only; a role's ARN has its path, too.
	arn := aws.ToString(out.Role.Arn)
	path := strings.TrimPrefix(arn[strings.LastIndex(arn, ":")+1:], "role/")
	asked := *named
	if strings.HasPrefix(asked, "arn:") {
		if asked == arn {
			return nil
		}
	} else if path == name {
		return nil
	}
	return []Finding{a.wrong(named, fmt.Sprintf("%s, and the role of that name is %s", quote(asked), quote(arn)), want+" with its path",
		"write the whole ARN: "+harmless(arn))}
}
