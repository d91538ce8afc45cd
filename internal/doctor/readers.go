package doctor

import (
	"context"
	"slices"
	"strings"

	"gitlab-codedeploy/internal/account"
)

// readers are the roles of the instances that CodeDeploy deploys to. Within an account either the bucket's policy or the
// role's own is enough; the role's is asked of IAM, the bucket's is read, because IAM simulates none for roles.
func readers(ctx context.Context, l *look) []Finding {
	statements, missing := l.artifactPolicy(ctx)
	if missing != nil {
		return missing
	}
	var found []Finding
	for _, application := range l.config.Deploy.Applications {
		for _, role := range l.config.Deploy.ReaderRoleARNs(l.config.Region, application) {
			f := l.reader(ctx, statements, role, l.config.Deploy.KeyPrefix(application.Name)+"doctor.gz")
			f.Check = "reader " + nameOf(role)
			found = append(found, f)
		}
	}
	if found == nil {
		return []Finding{unchecked("deploy.applications names no reader roles: whether instances read their artifacts is up to policies of their own")}
	}
	return found
}

func (l *look) reader(ctx context.Context, statements []bucketStatement, role, key string) Finding {
	object := l.object(key)
	for _, s := range statements {
		principals := texts(s.Principal)
		if of, is := s.Principal.(map[string]any); is {
			principals = texts(of["AWS"])
		}
		if s.Effect == "Allow" && strings.HasPrefix(s.Sid, "AgentsReadArtifacts") && slices.Contains(principals, role) &&
			slices.ContainsFunc(texts(s.Resource), func(r string) bool { return strings.HasPrefix(object, strings.TrimSuffix(r, "*")) }) {
			return ok("asked: s3:GetObject below %s. The bucket's policy allows it", key[:strings.LastIndex(key, "/")+1])
		}
	}
	denied, err := simulate(ctx, l.accounts[account.Deploy].AWS, role, []string{"s3:GetObject", "s3:GetObjectVersion"}, []string{object}, nil)
	switch {
	case code(err) == "NoSuchEntity":
		return wrong("create the role, or correct its name in deploy.applications", "the role does not exist")
	case err != nil:
		return refused("iam:SimulatePrincipalPolicy", err)
	case len(denied) > 0:
		return wrong("scripts/ops deploy --env "+l.config.Environment+" --only b brings it into the bucket's policy",
			"asked: s3:GetObject and s3:GetObjectVersion below %s. Neither the bucket's policy nor its own allows %s", key[:strings.LastIndex(key, "/")+1], joined(denied))
	}
	return ok("asked: s3:GetObject and s3:GetObjectVersion below %s. Its own policies allow it", key[:strings.LastIndex(key, "/")+1])
}
