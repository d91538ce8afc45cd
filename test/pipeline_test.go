package test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
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
		assert.Equal(t, "https://ci.example.com", tpl.Resources[provider].Properties["Url"])
		for name, branch := range map[string]string{"review": "main", "deploy": "main"} {
			role, _ := roleNamed(t, tpl, "gitlab-codedeploy-staging-"+name)
			assert.Equal(t, []map[string]any{{
				"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
				"Principal": map[string]any{"Federated": "arn:aws:iam::" + []string{"111111111111", "222222222222"}[i] + ":oidc-provider/ci.example.com"},
				"Condition": map[string]any{
					"StringEquals": map[string]any{"ci.example.com:aud": "sts.amazonaws.com"},
					"StringLike":   map[string]any{"ci.example.com:sub": "project_path:platform/gitlab-codedeploy:ref_type:branch:ref:" + branch},
				},
			}}, statements(role.Properties["AssumeRolePolicyDocument"]), name)
			assert.Contains(t, list(role.DependsOn), provider, name)
		}
	}
}

// TestPipelineReviewRoleReadsOneTemplate: its job handles what other branches made.
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
		p.ExistingProvider, p.IssuerURL = true, "https://ci.example.com/oidc"
	}) {
		for id, r := range tpl.Resources {
			assert.NotEqual(t, "AWS::IAM::OIDCProvider", r.Type, id)
		}
		role, _ := roleNamed(t, tpl, "gitlab-codedeploy-staging-deploy")
		trust := text(role.Properties["AssumeRolePolicyDocument"])
		assert.Contains(t, trust, ":iam::"+[]string{"111111111111", "222222222222"}[i]+":oidc-provider/ci.example.com/oidc")
		assert.Contains(t, trust, `"ci.example.com/oidc:sub"`)
	}
}

// TestPipelineFileFitsTheConstruct: names and audience stand in three places.
func TestPipelineFileFitsTheConstruct(t *testing.T) {
	file := read(t, ".gitlab-ci.yml")
	assert.Contains(t, file, "aud: sts.amazonaws.com")
	program := read(t, "cmd/ops/pipeline.go")
	assert.Contains(t, program, ":role/gitlab-codedeploy-%s-%s")
	assert.Contains(t, program, "const synthJob = \"synth\"")
	assert.Contains(t, file, "\nsynth:\n")
	roles := regexp.MustCompile(`ops pipeline credentials (\w+)`).FindAllStringSubmatch(file, -1)
	assert.Len(t, roles, 4)
	for _, match := range roles {
		assert.Contains(t, []string{"review", "deploy"}, match[1])
	}
	for name, job := range pipelineJobs(t, file) {
		for _, line := range texts(job["script"]) {
			if before, _, has := strings.Cut(line, "$("); has {
				assert.Regexp(t, `^\w+=$`, before, "%s goes on when a command inside of %s fails", name, line)
			}
		}
	}
	for _, match := range regexp.MustCompile(`scripts/[a-z/.-]+[a-z]`).FindAllString(file, -1) {
		_, err := os.Stat("../" + match)
		assert.NoError(t, err, ".gitlab-ci.yml runs %s", match)
	}
	version := regexp.MustCompile(`(?m)^go ([0-9]+\.[0-9]+)`).FindStringSubmatch(read(t, "go.mod"))
	assert.Contains(t, file, "image: golang:"+version[1]+"-")
}

// pipelineJobs returns the jobs of .gitlab-ci.yml, with what they take from
// "extends" and "default", but for templates, whose names begin with a dot.
func pipelineJobs(t *testing.T, file string) map[string]map[string]any {
	t.Helper()
	var parsed map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(file), &parsed))
	reserved := []string{"stages", "workflow", "variables", "default", "include"}
	var resolved func(name string) map[string]any
	resolved = func(name string) map[string]any {
		job := map[string]any{}
		own, isJob := parsed[name].(map[string]any)
		require.True(t, isJob, name)
		for _, parent := range list(own["extends"]) {
			maps.Copy(job, resolved(parent.(string)))
		}
		maps.Copy(job, own)
		return job
	}
	jobs := map[string]map[string]any{}
	for name := range parsed {
		if slices.Contains(reserved, name) || strings.HasPrefix(name, ".") {
			continue
		}
		jobs[name] = map[string]any{}
		if defaults, has := parsed["default"].(map[string]any); has {
			maps.Copy(jobs[name], defaults)
		}
		maps.Copy(jobs[name], resolved(name))
	}
	require.NotEmpty(t, jobs)
	return jobs
}

// sharedHosts says what in a pipeline lets jobs that hold tokens for AWS, and
// jobs that deploy, come to hosts that others are root on or run on.
func sharedHosts(jobs map[string]map[string]any) []string {
	var found []string
	for name, job := range jobs {
		tags := list(job["tags"])
		_, signsIn := job["id_tokens"]
		if (signsIn || name == "test") && len(tags) == 0 {
			found = append(found, name+": no tags, so any runner takes it")
		}
		for other, otherJob := range jobs {
			_, otherSignsIn := otherJob["id_tokens"]
			apart := signsIn && !otherSignsIn || job["stage"] == "deploy" && otherJob["stage"] != "deploy"
			if apart && slices.ContainsFunc(tags, func(tag any) bool { return slices.Contains(list(otherJob["tags"]), tag) }) {
				found = append(found, name+": its runner takes "+other)
			}
		}
	}
	slices.Sort(found)
	return found
}

// TestPipelineJobsWithTokensShareNoHost: the containers of "test" are
// privileged, so that any branch's job is root on its host.
func TestPipelineJobsWithTokensShareNoHost(t *testing.T) {
	file := read(t, ".gitlab-ci.yml")
	jobs := pipelineJobs(t, file)
	assert.Empty(t, sharedHosts(jobs))
	signIn := 0
	for name, job := range jobs {
		if _, has := job["id_tokens"]; has {
			signIn++
		}
		for _, tag := range list(job["tags"]) {
			assert.Contains(t, read(t, "docs/review.md"), "`"+tag.(string)+"`", "the runner of %s", name)
		}
	}
	assert.Equal(t, 4, signIn, "diff, notes, deploy-a, deploy-b")

	for _, mistake := range []struct{ old, new, seen string }{
		{"tags: [gitlab-codedeploy-deploy]", "tags: [gitlab-codedeploy-privileged]", "deploy-a: its runner takes test"},
		{"tags: [gitlab-codedeploy-review]", "tags: [gitlab-codedeploy-review, gitlab-codedeploy-privileged]", "diff: its runner takes test"},
		{"tags: [gitlab-codedeploy-deploy]", "tags: [gitlab-codedeploy-review]", "deploy-b: its runner takes diff"},
		{"  tags: [gitlab-codedeploy-deploy]\n", "", "deploy-b: no tags, so any runner takes it"},
		{"  tags: [gitlab-codedeploy-review]\n", "", "diff: no tags, so any runner takes it"},
		{"  tags: [gitlab-codedeploy-privileged]\n", "", "test: no tags, so any runner takes it"},
	} {
		require.Contains(t, file, mistake.old)
		seen := sharedHosts(pipelineJobs(t, strings.Replace(file, mistake.old, mistake.new, 1)))
		assert.Contains(t, seen, mistake.seen, mistake.old)
	}
}
