package test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
)

// withPipeline returns both templates with pipeline access.
func withPipeline(t *testing.T, change func(*config.Pipeline)) []template {
	t.Helper()
	cfg := staging(t)
	pipeline := examplePipeline
	if change != nil {
		change(&pipeline)
	}
	cfg.Pipeline = &pipeline
	gitlab, deploy := synthesise(t, cfg)
	return []template{gitlab, deploy}
}

// roleNamed returns a role by its name, and the statements of its policies.
func roleNamed(t *testing.T, tpl template, name string) (resource, []map[string]any) {
	t.Helper()
	for _, id := range tpl.ofType(t, "AWS::IAM::Role") {
		role := tpl.Resources[id]
		if role.Properties["RoleName"] != name {
			continue
		}
		var allowed []map[string]any
		for _, policy := range tpl.Resources {
			for _, holder := range list(policy.Properties["Roles"]) {
				if policy.Type == "AWS::IAM::Policy" && at(holder, "Ref") == id {
					allowed = append(allowed, statements(policy.Properties["PolicyDocument"])...)
				}
			}
		}
		require.Empty(t, role.Properties["ManagedPolicyArns"])
		require.Empty(t, role.Properties["Policies"])
		return role, allowed
	}
	require.Fail(t, "no role "+name)
	return resource{}, nil
}

func TestPipelineIsTrustedByNeitherAccountByDefault(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	for _, tpl := range []template{gitlab, deploy} {
		for id, r := range tpl.Resources {
			assert.NotEqual(t, "AWS::IAM::OIDCProvider", r.Type, id)
			assert.NotContains(t, text(r.Properties["AssumeRolePolicyDocument"]), "WebIdentity", id)
		}
	}
}

// TestPipelineRolesAreForOneProject: of a role's trust every part is given, for
// a condition that is missing would let other projects, or other users of the
// same GitLab, in.
func TestPipelineRolesAreForOneProject(t *testing.T) {
	for i, tpl := range withPipeline(t, nil) {
		provider, _ := tpl.one(t, "AWS::IAM::OIDCProvider")
		assert.Equal(t, "https://gitlab.example.com", tpl.Resources[provider].Properties["Url"])
		for name, branch := range map[string]string{"review": "*", "deploy": "main"} {
			role, _ := roleNamed(t, tpl, "gitlab-codedeploy-staging-"+name)
			assert.Equal(t, []map[string]any{{
				"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
				"Principal": map[string]any{"Federated": "arn:aws:iam::" + []string{"111111111111", "222222222222"}[i] + ":oidc-provider/gitlab.example.com"},
				"Condition": map[string]any{
					"StringEquals": map[string]any{"gitlab.example.com:aud": "sts.amazonaws.com"},
					"StringLike":   map[string]any{"gitlab.example.com:sub": "project_path:platform/gitlab-codedeploy:ref_type:branch:ref:" + branch},
				},
			}}, statements(role.Properties["AssumeRolePolicyDocument"]), name)
			assert.Contains(t, list(role.DependsOn), provider, name)
		}
	}
}

// TestPipelineReviewRoleReadsOneTemplate: any branch can have this role.
func TestPipelineReviewRoleReadsOneTemplate(t *testing.T) {
	for i, tpl := range withPipeline(t, nil) {
		_, allowed := roleNamed(t, tpl, "gitlab-codedeploy-staging-review")
		require.Len(t, allowed, 1)
		assert.Equal(t, []any{"cloudformation:GetTemplate"}, list(allowed[0]["Action"]))
		assert.Contains(t, text(allowed[0]["Resource"]), ":stack/"+[]string{"GitLab", "Deploy"}[i]+"-staging/*")
	}
}

// TestPipelineDeployRoleIsTheCDKs: what a deploy may do is decided by the roles
// of the bootstrap stack, and this one can be nobody else.
func TestPipelineDeployRoleIsTheCDKs(t *testing.T) {
	for i, tpl := range withPipeline(t, nil) {
		account := []string{"111111111111", "222222222222"}[i]
		_, allowed := roleNamed(t, tpl, "gitlab-codedeploy-staging-deploy")
		got := map[string]string{}
		for _, s := range allowed {
			got[text(s["Action"])] = text(s["Resource"])
		}
		require.Len(t, got, len(allowed))
		roles := got["sts:AssumeRole"]
		assert.Equal(t, 2, strings.Count(roles, ":role/"), roles)
		assert.Contains(t, roles, "role/cdk-hnb659fds-deploy-role-"+account+"-ap-northeast-1")
		assert.Contains(t, roles, "role/cdk-hnb659fds-file-publishing-role-"+account+"-ap-northeast-1")
		assert.Contains(t, got["ssm:GetParameter"], "parameter/cdk-bootstrap/hnb659fds/version")
		assert.Contains(t, got[`["cloudformation:DescribeStacks","cloudformation:SetStackPolicy"]`], "-staging/*")
		assert.Len(t, got, 3)
	}
}

func TestPipelineUsesAProviderThatIsThere(t *testing.T) {
	for i, tpl := range withPipeline(t, func(p *config.Pipeline) {
		p.ExistingProvider, p.IssuerURL = true, "https://gitlab.example.com/oidc"
	}) {
		for id, r := range tpl.Resources {
			assert.NotEqual(t, "AWS::IAM::OIDCProvider", r.Type, id)
		}
		role, _ := roleNamed(t, tpl, "gitlab-codedeploy-staging-deploy")
		trust := text(role.Properties["AssumeRolePolicyDocument"])
		assert.Contains(t, trust, ":iam::"+[]string{"111111111111", "222222222222"}[i]+":oidc-provider/gitlab.example.com/oidc")
		assert.Contains(t, trust, `"gitlab.example.com/oidc:sub"`)
	}
}

// TestPipelineFileFitsTheConstruct: names and audience stand in three places.
func TestPipelineFileFitsTheConstruct(t *testing.T) {
	file := read(t, ".gitlab-ci.yml")
	assert.Contains(t, file, "aud: sts.amazonaws.com")
	script := read(t, "scripts/pipeline/aws-profiles.sh")
	assert.Contains(t, script, ":role/gitlab-codedeploy-$ENVIRONMENT-$4")
	for _, match := range regexp.MustCompile(`aws-profiles\.sh (\w+)`).FindAllStringSubmatch(file, -1) {
		assert.Contains(t, []string{"review", "deploy"}, match[1])
	}
	for _, match := range regexp.MustCompile(`scripts/[a-z/.-]+[a-z]`).FindAllString(file, -1) {
		_, err := os.Stat("../" + match)
		assert.NoError(t, err, ".gitlab-ci.yml runs %s", match)
	}
	version := regexp.MustCompile(`(?m)^go ([0-9]+\.[0-9]+)`).FindStringSubmatch(read(t, "go.mod"))
	assert.Contains(t, file, "image: golang:"+version[1]+"-")
}
